package pgstore_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
)

// life is a key as the model of a history knows it: its facts. All begin Enabled.
type life struct{ noMaterial, disabled, scheduled, destroyed bool }

func (l life) state(later bool) string {
	switch {
	case l.destroyed || l.scheduled && later:
		return "not found"
	case l.scheduled:
		return "PendingDeletion"
	case l.noMaterial:
		return "PendingImport"
	case l.disabled:
		return "Disabled"
	default:
		return "Enabled"
	}
}

// A modelCall is an operation of a history on one key.
type modelCall struct {
	op  string
	key int
}

// operations are what a step is to the keys that it concerns.
func (h *history) operations(worker int, s step) []porcupine.Operation {
	one := porcupine.Operation{ClientId: worker, Call: s.Begun, Return: s.Ended, Input: modelCall{s.Op, s.Key}, Output: s.Said}
	if s.Op != "maintain later" {
		return []porcupine.Operation{one}
	}
	var all []porcupine.Operation
	for i, k := range h.Keys { // it looks at all, one after the other
		one.Input, one.Output = modelCall{s.Op, i}, "left"
		if slices.Contains(s.PurgedIDs, k.ID) {
			one.Output = "purged"
		}
		all = append(all, one)
	}
	return all
}

// lifeOfAKey says what every call may answer, and what it makes of a key.
var lifeOfAKey = porcupine.NondeterministicModel{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[int][]porcupine.Operation{}
		for _, o := range history {
			key := o.Input.(modelCall).key
			byKey[key] = append(byKey[key], o)
		}
		var parts [][]porcupine.Operation
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() []any { return []any{life{}} },
	Step: func(state, input, output any) []any {
		before, call, said := state.(life), input.(modelCall), output.(string)
		if call.op == "maintain later" {
			return maintained(before, said)
		}
		answer, after := before.call(call.op)
		switch said {
		case answer:
			return []any{after}
		case "?":
			return []any{before, after}
		default:
			return nil
		}
	},
	DescribeOperation: func(input, output any) string {
		return fmt.Sprintf("%s = %s", input.(modelCall).op, output)
	},
}

// maintained is what a pass may make of a key. One that is due is destroyed, unless another
// was quicker; who reports it has made the last step.
func maintained(l life, said string) []any {
	destroyed := l
	destroyed.destroyed = true
	switch {
	case said == "purged" && (l.scheduled || l.destroyed):
		return []any{destroyed}
	case said == "left" && l.scheduled:
		return []any{l, destroyed}
	case said == "left":
		return []any{l}
	default:
		return nil
	}
}

// call returns what a call answers, and what the key is after it.
func (l life) call(op string) (answer string, after life) {
	op, later := strings.CutSuffix(op, " later")
	state, after := l.state(later), l
	if state == "not found" {
		return state, l
	}
	may := func(states ...string) string {
		if slices.Contains(states, state) {
			return "ok"
		}
		return "state"
	}
	switch op {
	case "encrypt", "decrypt":
		if state == "Enabled" {
			state = "ok"
		}
		return state, l
	case "describe":
		return state, l
	case "enable":
		answer, after.disabled = may("Enabled", "Disabled"), false
	case "disable":
		answer, after.disabled = may("Enabled", "Disabled"), true
	case "schedule":
		answer, after.scheduled = may("PendingImport", "Disabled"), true
	case "cancel":
		answer, after.scheduled = may("PendingDeletion"), false
	case "delete material":
		answer, after.noMaterial = may("PendingImport", "Enabled", "Disabled", "PendingDeletion"), true
	case "import":
		answer, after.noMaterial = may("PendingImport", "Enabled", "Disabled"), false
	}
	if answer != "ok" {
		after = l
	}
	return answer, after
}

// TestModelRefuses: the model takes no history that could not be.
func TestModelRefuses(t *testing.T) {
	t.Parallel()
	model := lifeOfAKey.ToModel()
	call := func(begun, ended int64, op, said string) porcupine.Operation {
		return porcupine.Operation{Call: begun, Return: ended, Input: modelCall{op, 0}, Output: said}
	}
	disabled := call(1, 2, "disable", "ok")
	scheduled := call(3, 4, "schedule", "ok")
	for name, history := range map[string]struct {
		possible bool
		calls    []porcupine.Operation
	}{
		"a use after a disable":          {false, []porcupine.Operation{disabled, call(3, 4, "encrypt", "ok")}},
		"a use beside a disable":         {true, []porcupine.Operation{disabled, call(1, 4, "encrypt", "ok")}},
		"a refusal before the disable":   {false, []porcupine.Operation{call(0, 1, "encrypt", "Disabled"), call(2, 3, "disable", "ok")}},
		"seen and unseen":                {false, []porcupine.Operation{call(0, 9, "disable", "ok"), call(1, 2, "describe", "Disabled"), call(3, 4, "describe", "Enabled")}},
		"cancelled and purged":           {false, []porcupine.Operation{disabled, scheduled, call(5, 8, "cancel", "ok"), call(5, 8, "maintain later", "purged"), call(9, 10, "describe", "Disabled")}},
		"purged, and back":               {false, []porcupine.Operation{disabled, scheduled, call(5, 6, "maintain later", "purged"), call(7, 8, "describe", "PendingDeletion")}},
		"purged, and nobody had said it": {true, []porcupine.Operation{disabled, scheduled, call(5, 6, "maintain later", "left"), call(7, 8, "describe", "not found")}},
		"nobody knows, and it was":       {true, []porcupine.Operation{call(1, 2, "disable", "?"), call(3, 4, "encrypt", "Disabled")}},
		"nobody knows, and it was not":   {true, []porcupine.Operation{call(1, 2, "disable", "?"), call(3, 4, "encrypt", "ok")}},
		"an error that should not be":    {false, []porcupine.Operation{call(1, 2, "encrypt", "kms: a record was changed")}},
	} {
		require.Equal(t, history.possible, porcupine.CheckOperations(model, history.calls), name)
	}
}
