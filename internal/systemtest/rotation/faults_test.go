package rotation_test

import (
	"context"
	"errors"
	"maps"
	"sync/atomic"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/keystore"
	"github.com/stretchr/testify/require"
)

// A flaky root fails at one of its calls.
type flaky struct {
	kms.Root
	calls *int
	at    int
}

var errOutage = errors.New("the root cannot be reached")

func (f flaky) call() error {
	*f.calls++
	if *f.calls == f.at {
		return errOutage
	}
	return nil
}

func (f flaky) Encrypt(plain, ad []byte) ([]byte, error) {
	if err := f.call(); err != nil {
		return nil, err
	}
	return f.Root.Encrypt(plain, ad)
}

func (f flaky) Decrypt(sealed, ad []byte) ([]byte, error) {
	if err := f.call(); err != nil {
		return nil, err
	}
	return f.Root.Decrypt(sealed, ad)
}

// TestRotationRootFails: either root fails at each of its calls in turn. What RotateRoot did until then
// leaves everything in reach, and it can be repeated.
func TestRotationRootFails(t *testing.T) {
	s := newScene(t)
	for at, more := 1, true; more; at++ {
		w, calls := s.world(t), 0
		m, err := kms.Open(t.Context(), config(w.store, flaky{s.old, &calls, at + 1})) // which is a call
		require.NoError(t, err)
		err = m.RotateRoot(t.Context(), flaky{s.next, &calls, at + 1})
		more = calls > at
		w.meanwhile()
		if err != nil {
			require.ErrorIs(t, err, kms.ErrRoot, "at call %d", at)
			w.repeat(at%2 == 0)
		}
		w.settled()
	}
}

// TestRotationCanceled: the context ends at each call of the store in turn.
func TestRotationCanceled(t *testing.T) {
	s := newScene(t)
	for at, more := 1, true; more; at++ {
		w := s.world(t)
		ctx, cancel := context.WithCancel(t.Context())
		store := &ending{Store: w.store, left: 1 << 30, end: cancel}
		m, err := kms.Open(ctx, config(store, w.old))
		require.NoError(t, err)
		store.left = at
		err = m.RotateRoot(ctx, w.next)
		more = store.left <= 0
		cancel()
		w.meanwhile()
		if err != nil {
			require.ErrorIs(t, err, context.Canceled)
			w.repeat(at%2 == 0)
		}
		w.settled()
	}
}

// An ending store ends a context before one of its calls, which it then makes all the same.
type ending struct {
	keystore.Store
	left int
	end  func()
}

func (e *ending) count() {
	if e.left--; e.left == 0 {
		e.end()
	}
}

func (e *ending) Get(ctx context.Context, name string) (keystore.Item, error) {
	e.count()
	return e.Store.Get(ctx, name)
}

func (e *ending) Put(ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
	e.count()
	return e.Store.Put(ctx, name, old, value)
}

// TestRotationServes: while a rotation is under way, and after it failed, the Manager that rotates and
// one that has the previous root alone use, back up and shred what they have not met before; and the
// root can be rotated to another one instead.
func TestRotationServes(t *testing.T) {
	s, ctx := newScene(t), t.Context()
	w := s.world(t)
	p, m := w.process(w.old)
	_, other := w.process(w.old)
	store := &failing{Store: p.Store, at: 3} // behind the seal of the default instance, and one other
	p.Store = store
	require.ErrorIs(t, m.RotateRoot(ctx, w.next), errOutage)
	store.at = -1
	w.meanwhile()
	for _, in := range []string{"a", "b", kms.DefaultInstance} {
		for _, m := range []*kms.Manager{m, other} {
			require.True(t, w.reads(m, s.keys[in]), in)
			require.NotEmpty(t, kit.Backup(t, m, in, s.recipient))
			require.NoError(t, newKey(ctx, w, m, in))
		}
		require.NoError(t, kit.Err(m.Shred(ctx, in)), "by the Manager that has both roots")
	}
	require.NoError(t, kit.Err(other.CreateInstance(ctx, &kms.InstanceOptions{ID: "fresh"})))
	require.NoError(t, newKey(ctx, w, other, "fresh"))
	require.NoError(t, m.RotateRoot(ctx, w.next))
	w.settled()
}

// A failing store fails at one of its calls.
type failing struct {
	keystore.Store
	at    int64
	calls atomic.Int64
}

func (f *failing) Put(ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
	if f.calls.Add(1) == f.at {
		return "", errOutage
	}
	return f.Store.Put(ctx, name, old, value)
}

// half begins a rotation that fails after the seal of the default instance, and n others.
func (w *world) half(n int) {
	p, m := w.process(w.old)
	p.Store = &failing{Store: w.store, at: int64(n) + 2}
	require.ErrorIs(w, m.RotateRoot(w.Context(), w.next), errOutage)
}

// TestRotationRoots: who has which roots can finish what, and what cannot be finished loses nothing.
func TestRotationRoots(t *testing.T) {
	s, ctx := newScene(t), t.Context()
	third := kit.Root(t, 3)
	t.Run("the next root alone", func(t *testing.T) {
		w := s.world(t)
		w.half(0)
		m := w.opens(w.next)
		err := m.RotateRoot(ctx, w.next)
		require.ErrorIs(t, err, kms.ErrRoot, "it cannot open what the previous root has sealed")
		require.NotEmpty(t, kms.Hint(err))
		w.meanwhile()
		require.NoError(t, m.RotateRoot(ctx, w.next, w.old))
		w.settled()
	})
	t.Run("the next root, when all is carried over", func(t *testing.T) {
		w := s.world(t)
		w.half(2)
		require.NoError(t, w.opens(w.next).RotateRoot(ctx, w.next))
		w.settled()
	})
	t.Run("another root instead", func(t *testing.T) {
		w := s.world(t)
		w.half(1)
		m := w.opens(w.old)
		require.NoError(t, m.RotateRoot(ctx, third), "what was begun is given up")
		require.Nil(t, w.opens(w.next))
		w.scene = &scene{old: s.old, next: third, recipient: s.recipient, keys: s.keys, texts: s.texts}
		w.settled()
	})
	t.Run("another root, while something is under the unfinished one alone", func(t *testing.T) {
		w := s.world(t)
		w.half(1)
		next := w.opens(w.next)
		require.NoError(t, kit.Err(next.CreateInstance(ctx, &kms.InstanceOptions{ID: "under-next"})))
		require.NoError(t, newKey(ctx, w, next, "under-next"))
		require.ErrorIs(t, w.opens(w.old).RotateRoot(ctx, third), kms.ErrRoot)
		w.meanwhile()
		require.NoError(t, w.opens(w.old).RotateRoot(ctx, third, w.next))
		w.scene = &scene{old: s.old, next: third, recipient: s.recipient, keys: s.keys, texts: s.texts}
		w.settled()
	})
	t.Run("to the root that there is", func(t *testing.T) {
		w := s.world(t)
		m := w.opens(w.old)
		require.NoError(t, m.RotateRoot(ctx, w.old))
		for _, in := range []string{"a", kms.DefaultInstance} {
			d, err := m.DescribeInstance(ctx, in)
			require.NoError(t, err)
			require.Zero(t, d.RootedAt, "no other root")
		}
		require.NoError(t, m.RotateRoot(ctx, w.next))
		w.settled()
	})
	t.Run("a nil root", func(t *testing.T) {
		w := s.world(t)
		require.ErrorIs(t, w.opens(w.old).RotateRoot(ctx, w.next, nil), kms.ErrInvalid)
		require.Nil(t, w.opens(w.next))
	})
}

// TestRotationLeavesOne: an instance that none of the roots opens is reported and holds up no other,
// and is carried over when its root is given.
func TestRotationLeavesOne(t *testing.T) {
	s, ctx := newScene(t), t.Context()
	w := s.world(t)
	lost := kit.Root(t, 7)
	m := w.opens(w.old)
	odd := &oddRoot{Root: w.old, lost: lost, instance: "odd"}
	o, err := kms.Open(ctx, config(w.store, odd))
	require.NoError(t, err)
	require.NoError(t, kit.Err(o.CreateInstance(ctx, &kms.InstanceOptions{ID: "odd"})))
	known := maps.Clone(w.acked)
	require.NoError(t, newKey(ctx, w, o, "odd"))
	all := w.acked
	w.acked = known

	for range 2 {
		err = m.RotateRoot(ctx, w.next)
		require.ErrorIs(t, err, kms.ErrRoot)
		require.Contains(t, err.Error(), "odd")
		require.Nil(t, w.opens(w.old), "the others are done")
		next := w.opens(w.next)
		for id := range w.acked {
			require.True(t, w.reads(next, id))
		}
		require.ErrorIs(t, kit.Err(next.CreateInstance(ctx, &kms.InstanceOptions{ID: "odd"})), kms.ErrExists, "it is there")
		m = next
	}
	third := kit.Root(t, 3)
	require.ErrorIs(t, m.RotateRoot(ctx, third), kms.ErrRoot)
	w.scene = &scene{old: s.next, next: third}
	w.acked = all
	require.NoError(t, w.opens(third).RotateRoot(ctx, third, lost), "its root is found")
	w.settled()
}

// An oddRoot seals one instance with another key.
type oddRoot struct {
	kms.Root
	lost     kms.Root
	instance string
}

func (r *oddRoot) of(ad []byte) kms.Root {
	if len(ad) >= len(r.instance) && string(ad[len(ad)-len(r.instance):]) == r.instance {
		return r.lost
	}
	return r.Root
}

func (r *oddRoot) Encrypt(plain, ad []byte) ([]byte, error)  { return r.of(ad).Encrypt(plain, ad) }
func (r *oddRoot) Decrypt(sealed, ad []byte) ([]byte, error) { return r.of(ad).Decrypt(sealed, ad) }

// TestRotationHidesWhatWasLost: an instance whose creation lost to a rotation is in no list, and no call
// changes it, also by a process that was there before; a restore that lost leaves what was there before.
func TestRotationHidesWhatWasLost(t *testing.T) {
	s, ctx := newScene(t), t.Context()
	for _, d := range []deed{deeds[0], restore("released")} {
		w := s.world(t)
		p, late := w.process(w.old)
		_, before := w.process(w.old)
		was, _ := before.DescribeInstance(ctx, "released")
		hook := &hooked{Store: p.Store}
		p.Store = hook
		hook.put = func(name string) {
			if name == "instance/new" || name == "instance/released" {
				hook.put = nil
				require.NoError(t, w.opens(w.old).RotateRoot(ctx, w.next))
			}
		}
		require.ErrorIs(t, d.do(ctx, w, late), kms.ErrRoot)
		for _, m := range []*kms.Manager{before, w.opens(w.next)} {
			for in, err := range m.Instances(ctx) {
				require.NoError(t, err)
				require.NotEqual(t, "new", in.ID)
			}
			require.ErrorIs(t, kit.Err(m.DescribeInstance(ctx, "new")), kms.ErrNotFound)
			require.ErrorIs(t, kit.Err(m.RenewInstance(ctx, "new", now.AddDate(3, 0, 0))), kms.ErrNotFound)
			require.ErrorIs(t, kit.Err(m.ReleaseInstance(ctx, "new", kit.Force())), kms.ErrNotFound)
			if err := kit.Err(m.Maintain(ctx)); err != nil { // of keys that it has not met before
				require.ErrorIs(t, err, kms.ErrRoot)
				require.NotContains(t, err.Error(), "new")
			}
			is, err := m.DescribeInstance(ctx, "released")
			require.NoError(t, err)
			require.Equal(t, was, is)
			require.ErrorIs(t, kit.Err(m.DescribeKey(ctx, s.keys["released"])), kms.ErrNotFound)
		}
		d.again(w, w.opens(w.next))
	}
}

// A hooked store does something before a Put.
type hooked struct {
	keystore.Store
	put func(name string)
}

func (h *hooked) Put(ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
	if h.put != nil {
		h.put(name)
	}
	return h.Store.Put(ctx, name, old, value)
}

// TestRotationRepeatedByTheNext: a rotation that was killed in its second phase and repeated by a process
// that has the next root alone leaves the dates and the receipts of a rotation to another root.
func TestRotationRepeatedByTheNext(t *testing.T) {
	s, ctx := newScene(t), t.Context()
	w := s.world(t)
	w.half(3)
	m := w.opens(w.next)
	require.NotNil(t, m, "the second phase has begun")
	require.NoError(t, m.RotateRoot(ctx, w.next))
	w.settled()
	for _, id := range []string{"a", "b", kms.DefaultInstance} {
		in, err := m.DescribeInstance(ctx, id)
		require.NoError(t, err)
		require.Equal(t, now, in.RootedAt, id)
	}
}
