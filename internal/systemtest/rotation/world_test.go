package rotation_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/internal/sealing"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/software"
	"github.com/stretchr/testify/require"
)

var now = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// A scene is what all schedules begin with: a store with some instances, each with a key.
type scene struct {
	old, next, recipient kms.Root
	store                *keystore.Memory
	keys                 map[string]string // instance -> key
	texts                map[string][]byte // key -> ciphertext of "x"
	backups              map[string][]byte // of instances that are gone from the store
}

// A world is one schedule: a copy of the scene, and what was acknowledged since.
type world struct {
	*testing.T
	*scene
	store *keystore.Memory
	acked map[string][]byte // key -> ciphertext of "x"
	until time.Time         // that "a" was renewed to
}

func config(store keystore.Store, root kms.Root) kms.Config {
	return kms.Config{Store: store, Root: root, Software: software.New(), Now: func() time.Time { return now }, CacheKeys: 8, PurgeDelay: -1}
}

func newScene(t *testing.T) *scene {
	ctx := t.Context()
	s := &scene{old: kit.Root(t, 1), next: kit.Root(t, 2), recipient: kit.Root(t, 9), store: new(keystore.Memory),
		keys: map[string]string{}, texts: map[string][]byte{}, backups: map[string][]byte{}}
	m, err := kms.Open(ctx, config(s.store, s.old))
	require.NoError(t, err)
	for _, id := range []string{kms.DefaultInstance, "a", "b", "released"} {
		if id != kms.DefaultInstance {
			require.NoError(t, kit.Err(m.CreateInstance(ctx, &kms.InstanceOptions{ID: id, ExpiresAt: now.AddDate(1, 0, 0)})))
		}
		key, err := m.CreateKey(ctx, &kms.CreateKeyOptions{Instance: id})
		require.NoError(t, err)
		s.keys[id] = key.ID
		s.texts[key.ID], err = m.Encrypt(ctx, key.ID, []byte("x"), nil)
		require.NoError(t, err)
	}
	s.backups["released"] = kit.Backup(t, m, "released", s.recipient)
	require.NoError(t, kit.Err(m.ReleaseInstance(ctx, "released", nil)))

	elsewhere, err := kms.Open(ctx, config(new(keystore.Memory), s.old))
	require.NoError(t, err)
	require.NoError(t, kit.Err(elsewhere.CreateInstance(ctx, &kms.InstanceOptions{ID: "absent"})))
	key, err := elsewhere.CreateKey(ctx, &kms.CreateKeyOptions{Instance: "absent"})
	require.NoError(t, err)
	s.keys["absent"] = key.ID
	s.texts[key.ID], err = elsewhere.Encrypt(ctx, key.ID, []byte("x"), nil)
	require.NoError(t, err)
	s.backups["absent"] = kit.Backup(t, elsewhere, "absent", s.recipient)
	return s
}

func (s *scene) world(t *testing.T) *world {
	w := &world{T: t, scene: s, store: kit.CopyStore(t, s.store), acked: map[string][]byte{}}
	for _, id := range []string{kms.DefaultInstance, "a", "b"} {
		w.acked[s.keys[id]] = s.texts[s.keys[id]]
	}
	return w
}

// process opens a Manager with a way to the store of its own.
func (w *world) process(root kms.Root) (*process, *kms.Manager) {
	p := &process{Store: w.store}
	m, err := kms.Open(w.Context(), config(p, root))
	require.NoError(w, err)
	return p, m
}

// opens tells the state of the store for one root.
func (w *world) opens(root kms.Root) *kms.Manager {
	m, err := kms.Open(w.Context(), config(w.store, root))
	if err != nil {
		require.ErrorIs(w, err, kms.ErrRoot)
		return nil
	}
	return m
}

// reads tells whether a Manager opens what was encrypted under a key.
func (w *world) reads(m *kms.Manager, id string) bool {
	if m == nil {
		return false
	}
	plain, err := m.Decrypt(w.Context(), w.acked[id], nil)
	if err != nil {
		require.ErrorIs(w, err, kms.ErrRoot, "of key %s", id)
		return false
	}
	return bytes.Equal(plain, []byte("x"))
}

// meanwhile: whatever was acknowledged opens with one root or the other.
func (w *world) meanwhile() {
	old, next := w.opens(w.old), w.opens(w.next)
	require.True(w, old != nil || next != nil, "no root opens the store")
	for id := range w.acked {
		require.True(w, w.reads(old, id) || w.reads(next, id), "key %s is out of reach", id)
	}
}

// repeat finishes the rotation with a new process, opened with either root.
func (w *world) repeat(preferNext bool) {
	old, next := w.opens(w.old), w.opens(w.next)
	if next != nil && (preferNext || old == nil) {
		require.NoError(w, next.RotateRoot(w.Context(), w.next, w.old), "repeated by a process that was opened with the new root")
		return
	}
	require.NoError(w, old.RotateRoot(w.Context(), w.next), "repeated by a process that was opened with the old root")
}

// settled: the new root alone opens everything that was acknowledged, and the old one nothing.
func (w *world) settled() *kms.Manager {
	require.Nil(w, w.opens(w.old), "the old root opens the store")
	m := w.opens(w.next)
	require.NotNil(w, m)
	for id := range w.acked {
		require.True(w, w.reads(m, id), "key %s is lost", id)
	}
	for in, err := range m.Instances(w.Context()) {
		require.NoError(w, err)
		if in.State != kms.InstanceReleased {
			require.Equal(w, []bool{false, true}, []bool{w.sealedBy(w.old, in.ID), w.sealedBy(w.next, in.ID)}, "what the old root and the new one open of %s", in.ID)
		}
	}
	if !w.until.IsZero() {
		in, err := m.DescribeInstance(w.Context(), "a")
		require.NoError(w, err)
		require.Equal(w, w.until, in.ExpiresAt)
	}
	return m
}

// sealedBy reports whether a root opens anything in the record of an instance.
func (w *world) sealedBy(root kms.Root, id string) bool {
	item, err := w.store.Get(w.Context(), "instance/"+id)
	require.NoError(w, err)
	named, _ := sealing.Named(item.Value)
	body, ok := sealing.Peek(named, item.Value)
	require.True(w, ok)
	var rec struct {
		Store []byte
		Seals []struct{ Key, Former []byte }
	}
	require.NoError(w, json.Unmarshal(body, &rec))
	require.NotEmpty(w, rec.Seals)
	for _, seal := range rec.Seals {
		for _, sealed := range [][]byte{seal.Key, seal.Former} {
			if _, err := root.Decrypt(sealed, sealing.RootContext(rec.Store, id)); err == nil {
				return true
			}
		}
	}
	return false
}

// A deed is what a process does beside the rotation. It notes what was acknowledged. Again does it by
// a process that has the new root, once the rotation is over and the deed was refused.
type deed struct {
	name  string
	do    func(ctx context.Context, w *world, m *kms.Manager) error
	again func(w *world, m *kms.Manager)
}

// newKey makes a key in an instance and encrypts under it.
func newKey(ctx context.Context, w *world, m *kms.Manager, instance string) error {
	key, err := m.CreateKey(ctx, &kms.CreateKeyOptions{Instance: instance})
	if err != nil {
		return err
	}
	text, err := m.Encrypt(ctx, key.ID, []byte("x"), nil)
	if err == nil {
		w.acked[key.ID] = text
	}
	return err
}

func create(ctx context.Context, w *world, m *kms.Manager) error {
	if _, err := m.CreateInstance(ctx, &kms.InstanceOptions{ID: "new"}); err != nil {
		return err
	}
	return newKey(ctx, w, m, "new")
}

func restore(id string) deed {
	do := func(ctx context.Context, w *world, m *kms.Manager) error {
		_, err := m.Restore(ctx, bytes.NewReader(w.backups[id]), w.recipient, nil)
		if err == nil {
			w.acked[w.keys[id]] = w.texts[w.keys[id]]
		}
		return err
	}
	return deed{"restore what is " + id, do, func(w *world, m *kms.Manager) { require.NoError(w, do(w.Context(), w, m)) }}
}

func shred(id string) deed {
	do := func(ctx context.Context, w *world, m *kms.Manager) error { return kit.Err(m.Shred(ctx, id)) }
	return deed{"shred " + id, do, func(w *world, m *kms.Manager) { require.NoError(w, do(w.Context(), w, m)) }}
}

func keyIn(id string) deed {
	return deed{"a key in " + id, func(ctx context.Context, w *world, m *kms.Manager) error { return newKey(ctx, w, m, id) }, nil}
}

var deeds = []deed{
	{"create", create, func(w *world, m *kms.Manager) {
		_, err := m.CreateInstance(w.Context(), &kms.InstanceOptions{ID: "new"})
		require.NoError(w, err, "a creation that lost to the rotation, repeated under its ID")
		require.NoError(w, newKey(w.Context(), w, m, "new"))
	}},
	restore("released"), restore("absent"),
	shred("b"), shred(kms.DefaultInstance),
	{"renew", func(ctx context.Context, w *world, m *kms.Manager) error {
		until := now.AddDate(2, 0, 0)
		_, err := m.RenewInstance(ctx, "a", until)
		if err == nil {
			w.until = until
		}
		return err
	}, nil},
	keyIn("b"), keyIn(kms.DefaultInstance),
}

// expected are the refusals that a deed may meet beside a rotation.
func expected(err error) bool {
	return err == nil || errors.Is(err, kms.ErrRoot) || errors.Is(err, errKilled)
}
