package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/stretchr/testify/require"
)

// leastSchedules is how many schedules of two processes are run, at least.
const leastSchedules = 2000

// A fate is what becomes of the two processes where the schedule has them.
type fate struct {
	name         string
	rotator      verdict
	other        verdict
	rotatorFirst bool
}

var fates = []fate{
	{name: "the rotation goes first", rotatorFirst: true},
	{name: "the other goes first"},
	{name: "the rotation is killed before a call", rotator: diesBefore, rotatorFirst: true},
	{name: "the rotation is killed after a call", rotator: diesAfter, rotatorFirst: true},
	{name: "the other is killed before a call", other: diesBefore},
	{name: "the other is killed after a call", other: diesAfter},
}

// TestRotationInterleaved: the rotation of the root is stopped at each of its calls of the store, then
// another process at each of its own, and then both go on, in either order, or one is killed. All that was
// acknowledged opens with one root or the other at any time, and with the new one alone when RotateRoot
// has returned nil, if need be repeated by a process that has either root.
func TestRotationInterleaved(t *testing.T) {
	s := newScene(t)
	schedules := 0
	for _, d := range deeds {
		for _, f := range fates {
			for i := 0; ; i++ {
				more := false
				for j := 0; ; j++ {
					reached := s.schedule(t, d, f, i, j)
					schedules++
					more = more || reached[0]
					if !reached[1] {
						break
					}
				}
				if !more {
					break
				}
			}
		}
	}
	require.GreaterOrEqual(t, schedules, leastSchedules)
	t.Logf("%d schedules", schedules)
}

// schedule runs one, and tells whether either process had as many calls to make.
func (s *scene) schedule(t *testing.T, d deed, f fate, i, j int) (reached [2]bool) {
	defer func() {
		if t.Failed() {
			t.Logf("%s; %s; the rotation at call %d, the other at call %d", d.name, f.name, i, j)
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		w := s.world(t)
		rotator, m := w.process(w.old)
		other, o := w.process(w.old)
		var rotated, done error
		ctx := context.WithoutCancel(t.Context())
		rotator.start(func() { rotated = m.RotateRoot(ctx, w.next) })
		reached[0] = rotator.steps(i) == i && !rotator.over()
		other.start(func() { done = d.do(ctx, w, o) })
		reached[1] = other.steps(j) == j && !other.over()

		run := func(p *process, v verdict) {
			if v != goes {
				p.step(v)
			}
			p.finish()
		}
		if f.rotatorFirst {
			run(rotator, f.rotator)
			run(other, f.other)
		} else {
			run(other, f.other)
			run(rotator, f.rotator)
		}
		require.True(t, rotator.over() && other.over())
		require.True(t, expected(done), "the other process: %v", done)
		if f.rotator == goes {
			require.NoError(t, rotated)
		} else {
			require.True(t, rotated == nil || errors.Is(rotated, errKilled), "%v", rotated)
		}
		w.end(d, rotated, done, (i+j)%2 == 0)
	})
	return reached
}

func (p *process) over() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

// end checks what a schedule has left.
func (w *world) end(d deed, rotated, done error, preferNext bool) {
	w.meanwhile()
	if rotated != nil {
		w.repeat(preferNext)
	}
	m := w.settled()
	if errors.Is(done, kms.ErrRoot) && !errors.Is(done, errKilled) && d.again != nil {
		d.again(w, m)
		w.settled()
	}
	require.NoError(w, m.RotateRoot(w.Context(), w.next), "once more")
	w.settled()
}

// TestRotationAtRandom: three processes, of which two rotate the root, take their steps in random order,
// and are killed now and then.
func TestRotationAtRandom(t *testing.T) {
	s := newScene(t)
	for seed := range uint64(kit.OnMemory(t, 300, 1000)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { s.atRandom(t, seed) })
		})
	}
}

func (s *scene) atRandom(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	w, ctx := s.world(t), context.WithoutCancel(t.Context())
	var all []*process
	errs := make([]error, 4)
	for i := range errs {
		p, m := w.process(w.old)
		d := deeds[r.IntN(len(deeds))]
		switch {
		case i < 2:
			d.do = func(ctx context.Context, w *world, m *kms.Manager) error { return m.RotateRoot(ctx, w.next) }
		case i == 2 && seed%2 == 0: // a key in an instance that another process is just making
			d.do = create
		case i == 3 && seed%2 == 0:
			d = keyIn("new")
		}
		p.start(func() { errs[i] = d.do(ctx, w, m) })
		all = append(all, p)
	}
	for left := len(all); left > 0; {
		p := all[r.IntN(len(all))]
		v := goes
		if r.IntN(60) == 0 {
			v = []verdict{diesBefore, diesAfter}[r.IntN(2)]
		}
		for range 1 + r.IntN(6) {
			if !p.step(v) {
				break
			}
		}
		left = 0
		for _, p := range all {
			if !p.over() {
				left++
			}
		}
	}
	w.meanwhile()
	if errs[0] != nil && errs[1] != nil {
		w.repeat(r.IntN(2) == 0)
	}
	w.settled()
}
