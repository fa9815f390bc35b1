package kms

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/keyhold/kms/internal/keyid"
)

// QuietDays is for how many days of 24 hours nothing must have asked for a key before
// PlanDeletion finds nothing against its deletion.
const QuietDays = 7

// DeletionPlan is the answer to "may I delete this key?": a verdict and the evidence for it.
// Its String is a page to be read.
type DeletionPlan struct {
	Verdict  Verdict
	Key      Key
	Aliases  []string // that name the key
	Usage    KeyUsage
	Steps    []PlanStep
	Blockers []error   // why ScheduleKeyDeletion would be refused now, each with its Hint
	At       time.Time // of the plan
}

// Verdict says whether a key may be deleted, or an instance released.
type Verdict string

// The verdicts. ScheduleKeyDeletion is done if and only if it is Doubtful or Ready, and so is
// ReleaseInstance without Force.
const (
	VerdictImpossible Verdict = "Impossible" // it cannot be done from here: the key is read-only, or the instance is not one to release
	VerdictScheduled  Verdict = "Scheduled"  // its deletion is scheduled already
	VerdictBlocked    Verdict = "Blocked"    // the call would be refused: take the steps first
	VerdictDoubtful   Verdict = "Doubtful"   // nothing would stop it, but something may still need the key, or one of the keys
	VerdictReady      Verdict = "Ready"      // nothing that the service knows of speaks against it
)

// PlanStep is one of the things to do before a key is deleted.
type PlanStep struct {
	Do       string
	Done     bool     // as far as the service can know
	Evidence []string // what is known
	Doubts   []string // what speaks against it
}

// PlanDeletion tells whether a key may be deleted: what would refuse it, what speaks against
// it, and what of the steps before it is still to be taken: to disable the key, and to confirm
// that no data depends on it. It changes nothing. The service keeps no ciphertexts and
// cannot know which there are: what it knows is what was registered as a dependent, which
// names the key has, and who asked for it when. Ready means no more than that.
//
// By what the key is, it is refused with ErrNotFound.
func (m *Manager) PlanDeletion(ctx context.Context, ref string) (_ DeletionPlan, err error) {
	c := m.begin(OpPlanDeletion)
	defer c.end(ctx, &err)
	id, err := m.resolve(ctx, c, ref)
	if err != nil {
		return DeletionPlan{}, err
	}
	e, err := m.load(ctx, c, id)
	if err != nil {
		return DeletionPlan{}, err
	}
	r := e.record
	ie, err := m.allow(ctx, c, r)
	if err != nil {
		return DeletionPlan{}, err
	}
	p := DeletionPlan{Key: m.describe(r, ie, c.now()), At: c.now()}
	if p.Usage, err = m.keyUsage(ctx, c, r.ID); err != nil {
		return DeletionPlan{}, err
	}
	if p.Aliases, err = m.aliasesOf(ctx, c, r.ID); err != nil {
		return DeletionPlan{}, err
	}
	asked := c.also(OpScheduleKeyDeletion)
	asked.keyID = c.keyID
	if ie, err = m.homeOf(ctx, asked, r.keys.ID()); err != nil {
		return DeletionPlan{}, err
	}
	p.Blockers = r.refusals(asked, ie, r.obstacles(asked, ie))
	p.Steps = []PlanStep{p.disable(r), p.confirm(r)}
	p.judge(r)
	return p, nil
}

// aliasesOf are the names of a key.
func (m *Manager) aliasesOf(ctx context.Context, c *call, id keyid.ID) (names []string, err error) {
	for item, failed := range m.store.List(ctx, aliasSegment, "") {
		if failed != nil {
			return nil, c.storeFailed(c.keyID, failed)
		}
		if a, tampered := m.readAlias(ctx, c, item); tampered == nil && a.id == id {
			names = append(names, item.Name)
		}
	}
	return names, nil
}

// disable is the first step.
func (p *DeletionPlan) disable(r *record) PlanStep {
	s := PlanStep{Do: "Disable the key."}
	state := p.Key.Underlying
	s.Done = state != Enabled
	switch {
	case state == Disabled && !r.DisabledAt.IsZero():
		s.Evidence = append(s.Evidence, "it is Disabled since "+instant(r.DisabledAt))
	default:
		s.Evidence = append(s.Evidence, "it is "+state.String())
	}
	return s
}

// confirm is the second step. What can be found by asking is its evidence; what speaks
// against a deletion is a doubt.
func (p *DeletionPlan) confirm(r *record) PlanStep {
	s := PlanStep{Do: "Confirm that no data still depends on it."}
	for _, d := range r.Dependents {
		s.Doubts = append(s.Doubts, "registered as depending on it: "+quoted(d.Name))
	}
	for _, name := range p.Aliases {
		s.Doubts = append(s.Doubts, name+" still names it")
	}
	last, refused := p.Usage.Last(), p.Usage.LastRefused
	if p.Usage.Uses() == 0 {
		s.Evidence = append(s.Evidence, "no use of it is known")
	}
	for _, v := range p.Usage.Versions {
		what := fmt.Sprintf("version %d was used", v.Version)
		if v.Version == 0 {
			what = "what another system encrypted with it was opened"
		}
		s.Evidence = append(s.Evidence, fmt.Sprintf("%s %s, last at %s by %s", what, times(v.Uses), instant(v.Last), v.LastOp))
	}
	if v := p.Usage.Retired; v.Uses > 0 {
		s.Evidence = append(s.Evidence, fmt.Sprintf("versions that were retired were used %s, last at %s by %s", times(v.Uses), instant(v.Last), v.LastOp))
	}
	quiet := p.At.Add(-QuietDays * 24 * time.Hour)
	if last.Last.After(quiet) {
		s.Doubts = append(s.Doubts, fmt.Sprintf("it was used less than %d days ago", QuietDays))
	}
	if p.Usage.Refused > 0 {
		s.Evidence = append(s.Evidence, fmt.Sprintf("uses of it were refused %s, last at %s: %s, %s",
			times(p.Usage.Refused), instant(refused.At), refused.Op, refused.Code))
	}
	if refused.At.After(quiet) {
		s.Doubts = append(s.Doubts, fmt.Sprintf("somebody wanted to use it less than %d days ago, and was refused", QuietDays))
	}
	if r.Disabled && r.DisabledAt.After(quiet) {
		s.Doubts = append(s.Doubts, fmt.Sprintf("it is disabled for less than %d days: who needs it rarely has not noticed yet", QuietDays))
	}
	s.Done = len(s.Doubts) == 0
	return s
}

func (p *DeletionPlan) judge(r *record) {
	switch {
	case r.Owner != OwnerCustomer:
		p.Verdict = VerdictImpossible
	case p.Key.Underlying == PendingDeletion:
		p.Verdict = VerdictScheduled
	case len(p.Blockers) > 0:
		p.Verdict = VerdictBlocked
	case !p.Steps[1].Done:
		p.Verdict = VerdictDoubtful
	default:
		p.Verdict = VerdictReady
	}
}

// String is the plan as a page of text.
func (p DeletionPlan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Key %s: %s\n", p.Key.ID, p.Verdict)
	if !p.Key.DeletionDate.IsZero() {
		fmt.Fprintf(&b, "It will be deleted at %s. Until then it can be had back with CancelKeyDeletion.\n", instant(p.Key.DeletionDate))
	}
	writeSteps(&b, p.Steps)
	writeBlockers(&b, OpScheduleKeyDeletion, p.Blockers)
	return b.String()
}

func writeSteps(b *strings.Builder, steps []PlanStep) {
	for i, s := range steps {
		done := map[bool]string{true: "Done.", false: "To do."}[s.Done]
		fmt.Fprintf(b, "%d. %s %s\n", i+1, s.Do, done)
		for _, line := range s.Evidence {
			fmt.Fprintf(b, "   - %s\n", line)
		}
		for _, line := range s.Doubts {
			fmt.Fprintf(b, "   ! %s\n", line)
		}
	}
}

func writeBlockers(b *strings.Builder, op Op, blockers []error) {
	if len(blockers) > 0 {
		b.WriteString(op.String() + " would be refused:\n")
	}
	for _, err := range blockers {
		if r := refusalOf(err); r != nil {
			fmt.Fprintf(b, "   - %s\n     %s\n", r.brief(), Hint(err))
		}
	}
}

func times(n uint64) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}
