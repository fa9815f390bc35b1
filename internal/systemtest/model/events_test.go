package model_test

import (
	"context"
	"maps"

	"github.com/keyhold/kms"
)

// What is told of steps that nobody asked for: from it alone a log rebuilds what was done to every
// key and instance.

// tell notes a step of the model.
func (m *model) tell(step kms.Step, name string) { m.told[string(step)+" "+name]++ }

// release ends an instance. In hardware its keys are purged one by one, which are returned.
func (m *model) release(i *modelInstance) (purged []string) {
	i.released = m.now
	for _, k := range m.keys {
		if m.hardware && k.home == i && !k.purged {
			k.purged = true
			purged = append(purged, k.name)
		}
	}
	return purged
}

func (w *twins) hear(_ context.Context, e kms.Event) {
	if e.Step != "" {
		w.heard = append(w.heard, e)
	}
}

// compareLog holds what was heard against what the model did.
func (w *twins) compareLog() {
	w.Helper()
	log := map[string]int{}
	for _, e := range w.heard {
		name := e.Instance
		if e.KeyID != "" {
			name = w.known([]string{e.KeyID})[0]
		}
		switch {
		case e.Err != nil:
			w.diverges("the step %s of %s failed: %v", e.Step, name, e.Err)
		case e.Step != kms.StepNoticed: // which the model does not have
			log[string(e.Step)+" "+name]++
		}
	}
	if !maps.Equal(log, w.told) {
		w.diverges("Observe was told %v, the model %v", log, w.told)
	}
}
