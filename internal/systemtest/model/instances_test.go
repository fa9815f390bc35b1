package model_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/keyhold/kms"
)

const day = 24 * time.Hour

// instanceNames are the instances that there are, and one that there is not.
func (w *twins) instanceNames() []string {
	names := slices.Sorted(maps.Keys(w.instances))
	slices.Reverse(names) // the default one comes last of them
	return append(names, "i9")
}

// describeInstance is what is known of an instance in the model.
func (w *twins) describeInstance(i *modelInstance) kms.Instance {
	d := kms.Instance{
		ID: i.name, Protection: w.level(), CreatedAt: i.created, ExpiresAt: i.expires, ReleasesAt: w.ends(i), ReleasedAt: i.released, RootedAt: i.rooted, Protected: i.protected,
		State: map[string]kms.InstanceState{"Active": kms.InstanceActive, "Expired": kms.InstanceExpired, "Released": kms.InstanceReleased}[w.life(i)],
	}
	if i.name == kms.DefaultInstance {
		d.Protection = ""
	}
	if i.protected {
		d.ProtectedWhy, d.ReleaseOnly = "why", i.mild
	}
	if i.forced {
		d.ReleasedWhy = "why"
	}
	return d
}

func (w *twins) compareInstance(i *modelInstance, got kms.Instance) {
	w.Helper()
	if differ := differences(got, w.describeInstance(i)); differ != "" {
		w.diverges("the service describes %s with %s", i.name, differ)
	}
}

func (w *twins) createInstance() {
	w.createInstanceFor(pick(w, "name", "i1", "i2", kms.DefaultInstance), pick(w, "expiry", day, 0, 30*day, -1))
}

func (w *twins) createInstanceFor(name string, d time.Duration) {
	i := &modelInstance{name: name, created: w.now}
	switch {
	case d > 0:
		i.expires = w.now.Add(d)
	case d < 0:
		i.expires = w.now
	}
	want := done
	switch {
	case d < 0:
		want = "ErrInvalid"
	case w.instances[i.name] != nil:
		want = "ErrExists"
	}
	var got kms.Instance
	if w.do(fmt.Sprintf("CreateInstance %s, expiry in %s", i.name, d), want, func(m *kms.Manager) (err error) {
		got, err = m.CreateInstance(w.tb.Context(), &kms.InstanceOptions{ID: i.name, ExpiresAt: i.expires})
		return err
	}) {
		w.instances[i.name] = i
		w.compareInstance(i, got)
	}
}

// changeInstance is change for instances.
func (w *twins) changeInstance(what, name string, effect func(*modelInstance) string, ask func(*kms.Manager) (kms.Instance, error)) {
	w.Helper()
	i, want := w.instances[name], "ErrNotFound"
	switch {
	case name == kms.DefaultInstance && strings.HasPrefix(what, "ReleaseInstance"):
		want = "ErrUnsupported"
	case i != nil && w.life(i) != "Released":
		want = effect(i)
	}
	var got kms.Instance
	if w.do(what, want, func(m *kms.Manager) (err error) { got, err = ask(m); return err }) {
		w.compareInstance(i, got)
	}
}

func (w *twins) renewInstance() {
	name, d := pick(w, "instance", w.instanceNames()...), pick(w, "until", 2*day, 40*day, 0, -1)
	var until time.Time
	switch {
	case d > 0:
		until = w.now.Add(d)
	case d < 0:
		until = w.now
	}
	w.changeInstance(fmt.Sprintf("RenewInstance %s for %s", name, d), name, func(i *modelInstance) string {
		if d != 0 && (i.expires.IsZero() || d < 0 || !until.After(i.expires)) {
			return "ErrInvalid"
		}
		i.expires, i.seen = until, time.Time{}
		return done
	}, func(m *kms.Manager) (kms.Instance, error) { return m.RenewInstance(w.tb.Context(), name, until) })
}

func (w *twins) releaseInstance() {
	name, force := pick(w, "instance", w.instanceNames()...), pick(w, "force", false, true)
	w.changeInstance(fmt.Sprintf("ReleaseInstance %s, force %t", name, force), name, func(i *modelInstance) string {
		switch {
		case i.protected:
			return "ErrProtected"
		case !force:
			return w.unforced(i)
		}
		i.forced = true
		for _, name := range w.release(i) {
			w.tell(kms.StepPurged, name)
		}
		w.tell(kms.StepReleased, i.name)
		return done
	}, func(m *kms.Manager) (kms.Instance, error) {
		return m.ReleaseInstance(w.tb.Context(), name, &kms.ReleaseOptions{Force: force, Reason: "why"})
	})
}

// unforced is what refuses a release without force. There is never a backup.
func (m *model) unforced(i *modelInstance) string {
	found := map[string]bool{"ErrNoBackup": true}
	for _, k := range m.keys {
		if k.home == i && m.own(k) != "Deleted" {
			found["ErrProtected"] = found["ErrProtected"] || k.protected
			found["ErrInUse"] = found["ErrInUse"] || len(k.users) > 0
		}
	}
	maps.DeleteFunc(found, func(_ string, is bool) bool { return !is })
	return strings.Join(slices.Sorted(maps.Keys(found)), "+")
}

func (w *twins) protectInstance() {
	name, how := pick(w, "instance", w.instanceNames()...), pick(w, "how", "on", "off", "for releases")
	on, mild := how != "off", how == "for releases"
	pending, counted := 0, 0
	w.changeInstance(fmt.Sprintf("SetInstanceDeletionProtection %s %s", name, how), name, func(i *modelInstance) string {
		if mild && name == kms.DefaultInstance {
			return "ErrInvalid"
		}
		i.protected, i.mild = on, mild
		for _, k := range w.keys {
			if k.home == i && w.own(k) == "PendingDeletion" {
				pending++
			}
		}
		return done
	}, func(m *kms.Manager) (kms.Instance, error) {
		in, err := m.SetInstanceDeletionProtection(w.tb.Context(), name, kms.InstanceProtection{On: on, ReleaseOnly: mild, Reason: "why"})
		counted, in.PendingDeletions = in.PendingDeletions, 0
		return in, err
	})
	if counted != pending {
		w.diverges("the service counts %d deletions that run on, the model %d", counted, pending)
	}
}
