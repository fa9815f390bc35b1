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
		d.ProtectedWhy = "why"
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
			return "ErrNoBackup"
		}
		for _, name := range w.release(i) {
			w.tell(kms.StepPurged, name)
		}
		w.tell(kms.StepReleased, i.name)
		return done
	}, func(m *kms.Manager) (kms.Instance, error) {
		return m.ReleaseInstance(w.tb.Context(), name, &kms.ReleaseOptions{Force: force})
	})
}

func (w *twins) protectInstance() {
	name, on := pick(w, "instance", w.instanceNames()...), pick(w, "on", true, false)
	w.changeInstance(fmt.Sprintf("SetInstanceDeletionProtection %s %t", name, on), name, func(i *modelInstance) string {
		i.protected = on
		return done
	}, func(m *kms.Manager) (kms.Instance, error) {
		return m.SetInstanceDeletionProtection(w.tb.Context(), name, on, "why")
	})
}
