// Package faults_test makes the store, the root, the providers and the sources of old keys fail.
package faults_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/keystore"
	"github.com/stretchr/testify/require"
)

// A faultScene is what a method is called on, so that it has something to do.
type faultScene struct {
	spec   kms.Spec   // SpecAES256
	origin kms.Origin // OriginExternal, of AES
	state  kms.State  // Enabled
	before func(ctx context.Context, s *kit.Subject) error
	call   func(ctx context.Context, s *kit.Subject, m *kms.Manager) error // as kit.EveryCall does
}

var faultScenes = map[string]faultScene{
	"EnableKey":            {state: kms.Disabled},
	"ScheduleKeyDeletion":  {state: kms.Disabled},
	"CancelKeyDeletion":    {state: kms.PendingDeletion},
	"Maintain":             {state: kms.Deleted},
	"ImportKeyMaterial":    {state: kms.PendingImport},
	"RotateKey":            {origin: kms.OriginKMS},
	"UpdateRotationPolicy": {origin: kms.OriginKMS},
	"RetireKeyVersions": {origin: kms.OriginKMS, before: func(ctx context.Context, s *kit.Subject) error {
		return kit.Err(s.RotateKey(ctx, s.ID))
	}},
	"CancelRetirement": {origin: kms.OriginKMS, before: func(ctx context.Context, s *kit.Subject) error {
		if err := kit.Err(s.RotateKey(ctx, s.ID)); err != nil {
			return err
		}
		return kit.Err(s.RetireKeyVersions(ctx, s.ID, kms.RetireOptions{Before: 2, Days: 7, Force: true, Reason: "r"}))
	}},
	"Sign": {spec: kms.SpecEd25519}, "Verify": {spec: kms.SpecEd25519},
	"SignDigest": {spec: kms.SpecECP256}, "VerifyDigest": {spec: kms.SpecECP256},
	"GetPublicKey": {spec: kms.SpecECP256}, "Signer": {spec: kms.SpecECP256},
	"GenerateMac": {spec: kms.SpecHMAC256}, "VerifyMac": {spec: kms.SpecHMAC256},
	"RemoveDependent": {before: func(ctx context.Context, s *kit.Subject) error {
		return kit.Err(s.AddDependent(ctx, s.ID, kms.Dependent{Name: "d"}))
	}},
	"SetTags": {call: func(ctx context.Context, s *kit.Subject, m *kms.Manager) error {
		return kit.Err(m.SetTags(ctx, s.ID, map[string]string{"a": "b"}))
	}},
	"SetBrownout": {call: func(ctx context.Context, s *kit.Subject, m *kms.Manager) error {
		return kit.Err(m.SetBrownout(ctx, s.ID, 0.5, s.Expires))
	}},
	"RotateRoot": {call: func(ctx context.Context, s *kit.Subject, m *kms.Manager) error {
		return m.RotateRoot(ctx, sameRoot{s.Root})
	}},
	"CreateInstance": {call: func(ctx context.Context, s *kit.Subject, m *kms.Manager) error {
		return kit.Err(m.CreateInstance(ctx, &kms.InstanceOptions{ID: "fresh"}))
	}},
	"RenewInstance": {call: func(ctx context.Context, s *kit.Subject, m *kms.Manager) error {
		return kit.Err(m.RenewInstance(ctx, s.Instance, s.Expires.AddDate(0, 0, 1)))
	}},
	"SetInstanceDeletionProtection": {call: func(ctx context.Context, s *kit.Subject, m *kms.Manager) error {
		return kit.Err(m.SetInstanceDeletionProtection(ctx, s.Instance, kms.InstanceProtection{On: true}))
	}},
	"ReleaseInstance": {call: func(ctx context.Context, s *kit.Subject, m *kms.Manager) error {
		return kit.Err(m.ReleaseInstance(ctx, s.Instance, kit.Force()))
	}},
}

// sameRoot is another root to look at, that opens the same: so a Manager that begins anew can be
// opened at every moment of a rotation.
type sameRoot struct{ kms.Root }

// wasDone is what a call is refused with that was done before.
var wasDone = map[string]string{
	"CreateAlias": "ErrExists", "CreateInstance": "ErrExists", "DeleteAlias": "ErrNotFound", "ReleaseInstance": "ErrNotFound",
	"ScheduleKeyDeletion": "ErrState", "CancelKeyDeletion": "ErrState", "RetireKeyVersions": "ErrState", "CancelRetirement": "ErrState", "RenewInstance": "ErrInvalid",
}

// doneTwice are the methods that do their work again when they are called again. The error of
// the first call says that its outcome is not known.
var doneTwice = map[string]bool{"CreateKey": true, "RotateKey": true}

// onOtherGoroutines are the methods that call the store from goroutines of their own, where a
// panic of the store ends the process, and no test.
var onOtherGoroutines = map[string]bool{"Restore": true, "Shred": true}

// TestStoreFaults fails the k-th call of the store, for each k, of each method, in eight ways. Each
// time the answer is one of the package, nothing half done is to be seen, and whoever calls
// again ends where one ends to whom nothing happened, or is told that it was done.
//
// Not told (TestStaleRead) is a record that is older than the last one, when it is the first that a process reads
// of its key: then the answer is what it once was. What is written is held to the version that was
// read, so nothing is written because of it.
func TestStoreFaults(t *testing.T) {
	cells := make(chan int, 1000)
	t.Run("methods", func(t *testing.T) {
		of := reflect.TypeFor[*kms.Manager]()
		for i := range of.NumMethod() {
			name := of.Method(i).Name
			if name == "Run" || name == "Close" || name == "Service" { // see kit.EveryCall
				continue
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				n := newFaultBench(t, name).all(t)
				require.NotZero(t, n, "no call of the store")
				cells <- n
			})
		}
	})
	close(cells)
	methods, sum := 0, 0
	for n := range cells {
		methods, sum = methods+1, sum+n
	}
	t.Logf("%d methods, %d cells", methods, sum)
}

// A faultBench is a method and a store to try it on.
type faultBench struct {
	*kit.Subject
	name   string
	call   func(ctx context.Context, m *kms.Manager) error
	stored *keystore.Memory
	last   map[string]keystore.Item

	conditions    []string // of the answer when nothing goes wrong
	start         []any    // what is to be seen before the call
	end, endTwice []any    // after it, and after it was done twice
}

func newFaultBench(t *testing.T, name string) *faultBench {
	sc := faultScenes[name]
	if sc.origin == "" && sc.spec == "" {
		sc.origin = kms.OriginExternal
	}
	if sc.spec == "" {
		sc.spec = kms.SpecAES256
	}
	if sc.state == 0 {
		sc.state = kms.Enabled
	}
	b := &faultBench{Subject: kit.NewSubjectOf(t, sc.spec, "", sc.origin, sc.state), name: name}
	if sc.before != nil {
		require.NoError(t, sc.before(t.Context(), b.Subject))
	}
	b.call = func(ctx context.Context, m *kms.Manager) error {
		if sc.call != nil {
			return sc.call(ctx, b.Subject, m)
		}
		return kit.EveryCall(ctx, b.Subject, m)[name]()
	}
	// The last write of each item of the key is made once more, so that something is older.
	history := remembering(kit.CopyStore(t, b.Store))
	m := b.Over(t, history)
	for _, description := range []string{"was", ""} {
		_, err := m.SetDescription(t.Context(), b.ID, description)
		if sc.state == kms.Enabled || sc.state == kms.Disabled {
			require.NoError(t, err)
		}
	}
	b.stored, b.last = kit.CopyStore(t, history), history.last
	// A copy gives versions of its own.
	for name := range b.last {
		was := b.last[name]
		if was.Version != "" {
			was.Version = "older"
		}
		b.last[name] = was
	}

	clean := kit.CopyStore(t, b.stored)
	b.start = b.seen(t, clean)
	m = b.Over(t, clean)
	b.conditions = kit.Conditions(b.call(t.Context(), m))
	b.end = b.seen(t, clean)
	_ = b.call(t.Context(), m)
	b.endTwice = b.seen(t, clean)
	if !doneTwice[name] {
		require.Equal(t, b.end, b.endTwice)
	}
	return b
}

// seen is what a process sees that begins now. Keys that were made have no name, and come last.
func (b *faultBench) seen(t *testing.T, s keystore.Store) []any { return b.by(t, b.Over(t, s)) }

func (b *faultBench) by(t *testing.T, m *kms.Manager) []any {
	var made []any
	all := kit.Outcome(t, m)
	for i, one := range all { // that a Shred was begun is told, and is no half of one
		if in, ok := one.(kms.Instance); ok {
			in.Shredding = false
			all[i] = in
		}
	}
	all = slices.DeleteFunc(all, func(one any) bool {
		key, ok := one.(kms.Key)
		if !ok {
			return false
		}
		_, err := b.Store.Get(t.Context(), "key/"+key.ID)
		if ok = errors.Is(err, keystore.ErrNotFound); ok {
			key.ID = "made"
			made = append(made, key)
		}
		return ok
	})
	return append(all, made...)
}

// all tries all cells, and returns how many there are.
func (b *faultBench) all(t *testing.T) (cells int) {
	for k := 1; ; k++ {
		reached := false
		for _, m := range mishaps {
			if m == panics && onOtherGoroutines[b.name] {
				continue
			}
			for _, warm := range []bool{false, true} {
				called, fits := b.cell(t, k, m, warm)
				reached = reached || called
				if fits {
					cells++
				}
			}
		}
		if !reached {
			return cells
		}
		require.Less(t, k, 200)
	}
}

// cell has the k-th call of the store go wrong, of a process that begins now or of one that knows
// the key, and tells whether there was such a call, and whether that can happen to it.
func (b *faultBench) cell(t *testing.T, k int, how mishap, warm bool) (called, fits bool) {
	what := fmt.Sprintf("%s: call %d, %s, warm: %v", b.name, k, how, warm)
	store := &faulty{Store: kit.CopyStore(t, b.stored), last: maps.Clone(b.last)}
	m := b.Over(t, store)
	if warm {
		_, _ = m.DescribeKey(t.Context(), b.ID)
		_, _ = m.DescribeInstance(t.Context(), b.Instance)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	store.arm(how, k, cancel)
	panicked, err := b.try(ctx, m)
	called, fits = store.calls >= k, store.fits
	store.arm("", 0, nil)
	if !fits {
		return called, false
	}

	if panicked != nil {
		require.Equal(t, storesOwn, panicked, what)
		require.Equal(t, panics, how, what)
	}
	got := kit.Conditions(err)
	if err != nil {
		require.NotEmpty(t, got, "%s: %v", what, err)
	}
	switch {
	case panicked != nil || slices.Equal(got, b.conditions):
	case how == outrun && slices.Equal(got, []string{"ErrExists"}): // the other took the name
	case how == answersWrong || how == answersStale:
		for _, one := range got {
			require.Contains(t, []string{"ErrTampered", "ErrNotFound", "ErrPendingImport", "ErrUnavailable", "ErrRoot", "ErrExists"}, one, "%s: %v", what, err)
		}
	default:
		want := kms.ErrUnavailable
		if ctx.Err() != nil {
			want = kms.ErrCanceled
		}
		require.ErrorIs(t, err, want, what)
	}

	now := b.seen(t, store)
	if !reflect.DeepEqual(now, b.start) {
		require.Equal(t, b.end, now, "half done: %s", what)
	}
	panicked, again := b.try(t.Context(), m)
	require.Nil(t, panicked, what)
	if got := kit.Conditions(again); !slices.Equal(got, b.conditions) {
		require.Equal(t, []string{wasDone[b.name]}, got, "%s: %v, then %v", what, err, again)
		require.Equal(t, b.end, now, what)
	}
	end := b.seen(t, store)
	if doneTwice[b.name] && !reflect.DeepEqual(end, b.end) {
		require.Equal(t, b.endTwice, end, what)
		require.Equal(t, b.end, now, what)
		return called, true
	}
	require.Equal(t, b.end, end, what)
	require.Equal(t, b.end, b.by(t, m), what)
	return called, true
}

// try calls the method, and returns what the store panicked with.
func (b *faultBench) try(ctx context.Context, m *kms.Manager) (panicked any, err error) {
	defer func() { panicked = recover() }()
	return nil, b.call(ctx, m)
}

// TestStaleRead: what a store answers that is older than what this process knows does not bring
// back what the key was. A process that reads nothing else believes it, where the record was
// written by this service; it cannot know better. What it writes is refused.
func TestStaleRead(t *testing.T) {
	ctx := t.Context()
	s := kit.NewSubject(t, kms.OriginExternal, kms.Enabled)
	history := remembering(kit.CopyStore(t, s.Store))
	require.NoError(t, kit.Err(s.Over(t, history).DisableKey(ctx, s.ID)))
	name := "key/" + s.ID
	was := keystore.Item{Name: name, Value: history.last[name].Value, Version: "older"} // a copy gives versions of its own
	stale := func() (*faulty, *kms.Manager) {
		store := &faulty{Store: kit.CopyStore(t, history), last: map[string]keystore.Item{name: was}}
		return store, s.Over(t, store)
	}

	store, knows := stale()
	require.ErrorIs(t, kit.Err(knows.Encrypt(ctx, s.ID, nil, nil)), kms.ErrDisabled)
	store.arm(answersStale, 1, nil)
	require.ErrorIs(t, kit.Err(knows.Encrypt(ctx, s.ID, nil, nil)), kms.ErrDisabled)
	require.False(t, store.fits, "it was not asked")

	store, begins := stale()
	store.arm(answersStale, 1, nil)
	require.NoError(t, kit.Err(begins.Encrypt(ctx, s.ID, nil, nil)), "not told")
	require.True(t, store.fits)

	store, begins = stale()
	store.arm(answersStale, 1, nil)
	key, err := begins.SetDescription(ctx, s.ID, "d")
	require.NoError(t, err)
	require.True(t, store.fits)
	require.Equal(t, kms.Disabled, key.State, "what was written goes by what stands there")
}
