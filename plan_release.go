package kms

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// maxNamed is how many keys of an instance are named where some of them stand for all.
const maxNamed = 100

// named is how many keys there are of a kind, and the IDs of the first.
type named struct {
	n     int
	first []string
}

func (k *named) add(id string) {
	if k.n++; len(k.first) < maxNamed {
		k.first = append(k.first, id)
	}
}

// text counts the keys and names three.
func (k *named) text(what string) string {
	s := count(k.n, what) + ": " + strings.Join(k.first[:min(3, len(k.first))], ", ")
	if k.n > 3 {
		s += ", …"
	}
	return s
}

// A survey is what the keys of an instance are, as far as it bears on the end of the instance.
type survey struct {
	alive     int   // keys that are not Deleted
	pending   int   // of those: PendingDeletion
	protected named // by themselves
	inUse     named // with dependents
	damaged   named // whose records cannot be read
}

// survey reads all keys of an instance, and hands each that is alive to each, if that is not nil.
func (m *Manager) survey(ctx context.Context, c *call, rec *instanceRecord, each func(r *record) error) (s survey, err error) {
	keys := m.home.Load().keys
	if rec.ID != DefaultInstance {
		if keys, err = m.openInstance(ctx, c, rec); err != nil || keys == nil {
			return s, err
		}
	}
	for item, err := range m.recordsOf(ctx, c, keys) {
		switch {
		case item == nil:
			return s, err
		case err != nil:
			s.damaged.add(item.text)
			continue
		}
		r := item.record
		state := r.facts().state(c.now())
		if state == Deleted {
			continue
		}
		s.alive++
		if state == PendingDeletion {
			s.pending++
		}
		if r.Protected {
			s.protected.add(r.id())
		}
		if len(r.Dependents) > 0 {
			s.inUse.add(r.id())
		}
		if each == nil {
			continue
		}
		if err := each(r); err != nil {
			return s, err
		}
	}
	return s, nil
}

// blockers are the refusals of a release without Force because of the keys.
func (s *survey) blockers(op Op, instance string) (all []error) {
	if s.protected.n > 0 {
		all = append(all, newProtectedKeys(op, instance, s.protected))
	}
	if s.inUse.n > 0 {
		all = append(all, newKeysInUse(op, instance, s.inUse))
	}
	return all
}

// ReleasePlan is the answer to "may I release this instance?": a verdict and the evidence for it.
// Its String is a page to be read. Of each list of keys it has the first 100, ascending.
type ReleasePlan struct {
	Verdict   Verdict
	Instance  Instance
	Keys      int      // that it has and that are not Deleted
	Protected []string // those under deletion protection of their own
	InUse     []string // those with dependents
	Recent    []string // those that were asked for less than QuietDays ago, done or refused
	Steps     []PlanStep
	Blockers  []error   // why ReleaseInstance without Force would be refused now, each with its Hint
	At        time.Time // of the plan
}

// PlanRelease reports whether an instance may be released by hand: what would refuse it, what
// speaks against it, and which steps are still to be taken: to confirm that no data depends on
// its keys, to back it up, and to switch its deletion protection off. It changes nothing. It
// reads every key of the instance and what is known of its use. Config.OnRelease is not asked: a
// backup that it would make is missing in the plan. An instance that was released is ErrNotFound.
func (m *Manager) PlanRelease(ctx context.Context, id string) (_ ReleasePlan, err error) {
	c := m.begin(OpPlanRelease)
	defer c.end(ctx, &err)
	rec, err := m.namedInstance(ctx, c, id)
	if err != nil {
		return ReleasePlan{}, err
	}
	if rec.state(c.now()) == InstanceReleased {
		return ReleasePlan{}, instanceGone(c.op, id)
	}
	p := ReleasePlan{Instance: rec.describe(c.now()), At: c.now()}
	quiet := c.now().Add(-QuietDays * 24 * time.Hour)
	var recent named
	s, err := m.survey(ctx, c, rec, func(r *record) error {
		usage, err := m.keyUsage(ctx, c, r.ID)
		if err == nil && (usage.Last().Last.After(quiet) || usage.LastRefused.At.After(quiet)) {
			recent.add(r.id())
		}
		return err
	})
	if err != nil {
		return ReleasePlan{}, err
	}
	p.Keys, p.Protected, p.InUse, p.Recent = s.alive, s.protected.first, s.inUse.first, recent.first
	asked := c.also(OpReleaseInstance)
	if p.Blockers, err = m.instanceObstacles(ctx, asked, rec); err != nil {
		return ReleasePlan{}, err
	}
	p.Steps = []PlanStep{p.confirm(&s, &recent), p.unprotect(), p.backup(m.onRelease != nil)} // a backup holds the protection, too
	p.judge()
	return p, nil
}

// confirm is the first step.
func (p *ReleasePlan) confirm(s *survey, recent *named) PlanStep {
	step := PlanStep{Do: "Confirm that no data still depends on its keys.", Evidence: []string{"it has " + count(s.alive, "key")}}
	if s.pending > 0 {
		step.Evidence = append(step.Evidence, "of these are PendingDeletion: "+fmt.Sprint(s.pending))
	}
	for _, doubt := range []struct {
		of   *named
		text string
	}{
		{&s.protected, "under deletion protection"},
		{&s.inUse, "registered as what something depends on"},
		{recent, fmt.Sprintf("asked for less than %d days ago", QuietDays)},
		{&s.damaged, "not readable, so what protects them is not known"},
	} {
		if doubt.of.n > 0 {
			step.Doubts = append(step.Doubts, doubt.text+", "+doubt.of.text("key"))
		}
	}
	step.Done = len(step.Doubts) == 0
	return step
}

// backup is the second step.
func (p *ReleasePlan) backup(hook bool) PlanStep {
	step := PlanStep{Do: "Back the instance up with BackupInstance, and keep what opens the backup.", Done: !p.blockedBy(ErrNoBackup) && !p.Instance.BackedUpAt.IsZero()}
	if at := p.Instance.BackedUpAt; !at.IsZero() {
		step.Evidence = append(step.Evidence, "the last backup is of "+instant(at))
	}
	if hook {
		step.Evidence = append(step.Evidence, "Config.OnRelease is asked first, and may make one")
	}
	return step
}

// unprotect is the third step.
func (p *ReleasePlan) unprotect() PlanStep {
	step := PlanStep{Do: "Switch the deletion protection of the instance off.", Done: !p.Instance.Protected}
	if p.Instance.Protected {
		step.Evidence = append(step.Evidence, "it is on: "+quoted(p.Instance.ProtectedWhy))
	}
	return step
}

func (p *ReleasePlan) blockedBy(cond error) bool {
	return slices.ContainsFunc(p.Blockers, func(err error) bool { return refusedAs(err, cond) })
}

func (p *ReleasePlan) judge() {
	switch {
	case p.blockedBy(ErrUnsupported):
		p.Verdict = VerdictImpossible
	case len(p.Blockers) > 0:
		p.Verdict = VerdictBlocked
	case !p.Steps[0].Done:
		p.Verdict = VerdictDoubtful
	default:
		p.Verdict = VerdictReady
	}
}

// String is the plan as a page of text.
func (p ReleasePlan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Instance %s: %s\n", p.Instance.ID, p.Verdict)
	if at := p.Instance.ReleasesAt; !at.IsZero() {
		fmt.Fprintf(&b, "It will be released at %s by itself, whatever protects it, unless RenewInstance moves that date.\n", instant(at))
	}
	writeSteps(&b, p.Steps)
	writeBlockers(&b, OpReleaseInstance, p.Blockers)
	return b.String()
}
