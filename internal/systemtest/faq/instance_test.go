package faq_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/keyhold/kms"
	"github.com/stretchr/testify/require"
)

// The commands about instances, services, and what may be done.

func (f *faq) createInstance(t *testing.T, d *datadriven.TestData) (string, error) {
	o := &kms.InstanceOptions{ID: first(t, d), Name: word(d, "name")}
	if days := number(t, d, "days"); days > 0 {
		o.ExpiresAt = f.k.Clock.Now().AddDate(0, 0, days)
	}
	return tellInstance(f.m.CreateInstance(t.Context(), o))
}

func (f *faq) describeInstance(t *testing.T, d *datadriven.TestData) (string, error) {
	return tellInstance(f.m.DescribeInstance(t.Context(), first(t, d)))
}

func (f *faq) renew(t *testing.T, d *datadriven.TestData) (string, error) {
	until := f.k.Clock.Now().AddDate(0, 0, number(t, d, "days"))
	return tellInstance(f.m.RenewInstance(t.Context(), first(t, d), until))
}

func (f *faq) release(t *testing.T, d *datadriven.TestData) (string, error) {
	return tellInstance(f.m.ReleaseInstance(t.Context(), first(t, d), &kms.ReleaseOptions{Force: d.HasArg("force"), Reason: word(d, "why")}))
}

func (f *faq) protectInstance(t *testing.T, d *datadriven.TestData) (string, error) {
	p := kms.InstanceProtection{On: d.Cmd == "protect-instance", ReleaseOnly: d.HasArg("release-only"), Reason: word(d, "why")}
	return tellInstance(f.m.SetInstanceDeletionProtection(t.Context(), first(t, d), p))
}

func (f *faq) planRelease(t *testing.T, d *datadriven.TestData) (string, error) {
	plan, err := f.m.PlanRelease(t.Context(), first(t, d))
	return strings.TrimSuffix(plan.String(), "\n"), err
}

func (f *faq) deleteMaterial(t *testing.T, d *datadriven.TestData) (string, error) {
	return tell(f.m.DeleteKeyMaterial(t.Context(), f.key(t, d), &kms.DeleteMaterialOptions{Force: d.HasArg("force"), Reason: word(d, "why")}))
}

// service has a service do something with its key: key, disable, schedule …
func (f *faq) service(t *testing.T, d *datadriven.TestData) (string, error) {
	s := f.m.Service(first(t, d))
	switch verb := word(d, "does"); verb {
	case "", "key":
		key, err := s.Key(t.Context())
		if err == nil {
			f.name(s.Alias(), &faqKey{id: key.ID})
		}
		return tell(key, err)
	case "disable":
		return tell(s.DisableKey(t.Context()))
	case "schedule":
		return tell(s.ScheduleKeyDeletion(t.Context(), number(t, d, "days")))
	case "cancel":
		return tell(s.CancelKeyDeletion(t.Context()))
	default:
		d.Fatalf(t, "a service does key, disable, schedule or cancel, not %q", verb)
		return "", nil
	}
}

func (f *faq) plan(t *testing.T, d *datadriven.TestData) (string, error) {
	plan, err := f.m.PlanDeletion(t.Context(), f.key(t, d))
	return strings.TrimSuffix(plan.String(), "\n"), err
}

func (f *faq) explain(t *testing.T, d *datadriven.TestData) (string, error) {
	for op := range kms.Op(math.MaxUint8) {
		if op.String() != word(d, "op") {
			continue
		}
		x, err := f.m.Explain(t.Context(), op, f.key(t, d))
		if err != nil {
			return "", err
		}
		if x.Allowed {
			return "it would be done", nil
		}
		lines := []string{"it would be refused"}
		for _, reason := range x.Reasons {
			lines = append(lines, "- "+reason.Error(), "  "+kms.Hint(reason))
		}
		return strings.Join(lines, "\n"), nil
	}
	d.Fatalf(t, "there is no operation %q", word(d, "op"))
	return "", nil
}

func (f *faq) usage(t *testing.T, d *datadriven.TestData) (string, error) {
	u, err := f.m.KeyUsage(t.Context(), f.key(t, d))
	lines := []string{fmt.Sprintf("%d uses, %d refused", u.Uses(), u.Refused)}
	for _, a := range u.Attempts {
		lines = append(lines, fmt.Sprintf("at %s: %s, %s", a.At.Format(time.RFC3339), a.Op, a.Code))
	}
	return strings.Join(lines, "\n"), err
}

func (f *faq) brownout(t *testing.T, d *datadriven.TestData) (string, error) {
	share := float64(number(t, d, "percent")) / 100
	return tell(f.m.SetBrownout(t.Context(), f.key(t, d), share, f.k.Clock.Now().AddDate(0, 0, number(t, d, "days"))))
}

func (f *faq) addAlias(t *testing.T, d *datadriven.TestData) (string, error) {
	return "named", f.m.CreateAlias(t.Context(), word(d, "name"), f.key(t, d))
}

func (f *faq) dropAlias(t *testing.T, d *datadriven.TestData) (string, error) {
	return "the name is gone", f.m.DeleteAlias(t.Context(), first(t, d))
}

func tellInstance(in kms.Instance, err error) (string, error) {
	s := fmt.Sprintf("%s is %s", in.ID, in.State)
	if !in.ExpiresAt.IsZero() {
		s += ", expires at " + in.ExpiresAt.Format(time.RFC3339)
	}
	if in.State == kms.InstanceExpired {
		s += ", is released at " + in.ReleasesAt.Format(time.RFC3339)
	}
	if in.Protected {
		s += "\nprotected: " + in.ProtectedWhy
	}
	return s, err
}

// notices is what was told to Observe that somebody should hear, since it was last asked.
func (f *faq) notices(*testing.T, *datadriven.TestData) (string, error) {
	lines := f.heard
	f.heard = nil
	if lines == nil {
		return "nothing", nil
	}
	return strings.Join(lines, "\n"), nil
}

func (f *faq) hear(e kms.Event) {
	if e.Notice == "" {
		return
	}
	line := string(e.Notice)
	switch {
	case e.Instance != "":
		line += ": instance " + e.Instance
	case e.KeyID != "":
		line += ": key " + e.KeyID + ", " + e.Op.String()
	}
	f.heard = append(f.heard, line)
}

// TestMayIDelete is the conversation that docs/ shows, made by running it.
func TestMayIDelete(t *testing.T) {
	if *update {
		require.NoError(t, setRewrite())
	}
	datadriven.RunTest(t, "../../../docs/may-i-delete-this-key.txt", newFAQ(t).answer)
}
