package kms_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/campaign"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// A snapshot is what the keys of a history were at a moment, as callers saw them.
type snapshot map[string]kms.Key

// A history is the random life of an instance: what is done next follows from the seed.
type history struct {
	t        *testing.T
	k        *kmstest.KMS
	rand     *rand.Rand
	instance string
	keys     []string
	material map[string][2][]byte // of imported keys: wrapped, and the token
	texts    map[string][][]byte  // ciphertexts by key
}

func newHistory(t *testing.T, seed uint64) *history {
	h := &history{t: t, k: kmstest.New(t, smallCache), rand: rand.New(rand.NewPCG(seed, 5)), instance: kms.DefaultInstance,
		material: map[string][2][]byte{}, texts: map[string][][]byte{}}
	if seed%4 != 0 {
		h.instance = "acme"
		require.NoError(t, kit.Err(h.k.CreateInstance(t.Context(), &kms.InstanceOptions{ID: h.instance})))
	}
	for range 2 + h.rand.IntN(3) {
		h.create()
	}
	if seed%100 == 0 { // an RSA key is made for each
		id, wrapped, token := kit.ImportedKeyIn(t, h.k, h.instance, kit.Material())
		h.keys, h.material[id] = append(h.keys, id), [2][]byte{wrapped, token}
	}
	return h
}

// smallCache is for Managers of which there are thousands.
func smallCache(c *kms.Config) { c.CacheKeys = 16 }

func (h *history) create() { h.keys = append(h.keys, kit.KeyIn(h.t, h.k, h.instance)) }

// live does n random things. That some are refused is life.
func (h *history) live(n int) {
	ctx, k, r := h.t.Context(), h.k, h.rand
	for range n {
		id := h.keys[r.IntN(len(h.keys))]
		switch r.IntN(14) {
		case 0:
			h.create()
		case 1, 2:
			_, _ = k.DisableKey(ctx, id)
		case 3:
			_, _ = k.EnableKey(ctx, id)
		case 4, 5:
			_, _ = k.DisableKey(ctx, id)
			_, _ = k.ScheduleKeyDeletion(ctx, id, 7+r.IntN(4))
		case 6:
			_, _ = k.CancelKeyDeletion(ctx, id)
			if r.IntN(2) == 0 {
				_, _ = k.EnableKey(ctx, id)
			}
		case 7:
			_, _ = k.SetDeletionProtection(ctx, id, r.IntN(3) > 0, "so it came")
		case 8:
			_, _ = k.AddDependent(ctx, id, kms.Dependent{Name: fmt.Sprintf("table %d", r.IntN(3))})
		case 9:
			_, _ = k.RemoveDependent(ctx, id, kms.Dependent{Name: fmt.Sprintf("table %d", r.IntN(3))})
		case 10:
			_, _ = k.RotateKey(ctx, id)
		case 11:
			if c, err := k.Encrypt(ctx, id, []byte(id), nil); err == nil {
				h.texts[id] = append(h.texts[id], c)
			}
		case 12:
			k.Clock.AdvanceDays(1 + r.IntN(4))
			if r.IntN(2) == 0 {
				require.NoError(h.t, kit.Err(k.Maintain(ctx)))
			}
		case 13:
			h.reimport(ctx, id)
		}
	}
}

// reimport deletes the material of an imported key, or imports it again.
func (h *history) reimport(ctx context.Context, id string) {
	m, imported := h.material[id]
	switch {
	case imported && h.rand.IntN(2) == 0:
		_, _ = h.k.DeleteKeyMaterial(ctx, id, nil)
	case imported:
		_, _ = h.k.ImportKeyMaterial(ctx, id, m[0], m[1], time.Time{})
	}
}

// look takes a snapshot of what a Manager knows of the keys.
func (h *history) look(m *kms.Manager) snapshot {
	s := snapshot{}
	for key, err := range m.Keys(h.t.Context(), nil) {
		require.NoError(h.t, err)
		s[key.ID] = key
	}
	return s
}

// strictness is the order of states, the strictest last.
var strictness = []kms.State{kms.Enabled, kms.Disabled, kms.PendingImport, kms.PendingDeletion, kms.Deleted}

// at is what a key of a snapshot is at a later moment, if nothing but time happened to it.
func (s snapshot) at(id string, now time.Time) (key kms.Key, rank int) {
	key, ok := s[id]
	switch {
	case !ok:
		key.State = kms.Deleted
	case !key.DeletionDate.IsZero() && !now.Before(key.DeletionDate):
		key.State = kms.Deleted
	}
	return key, slices.Index(strictness, key.State)
}

// noWeaker fails if a key is weaker than it was in a snapshot.
func (h *history) noWeaker(what, id string, was snapshot, is snapshot) {
	t, now := h.t, h.k.Clock.Now()
	before, least := was.at(id, now)
	after, rank := is.at(id, now)
	require.GreaterOrEqual(t, rank, least, "%s: %s was %s and is %s", what, id, before.State, after.State)
	if after.State == kms.Deleted {
		return
	}
	require.True(t, after.Protected || !before.Protected, "%s: %s was protected", what, id)
	for _, d := range before.Dependents {
		require.Contains(t, after.Dependents, d, "%s: %s", what, id)
	}
	if before.State == kms.PendingDeletion {
		require.False(t, after.DeletionDate.After(before.DeletionDate), "%s: the deletion date of %s", what, id)
	}
	require.GreaterOrEqual(t, after.PrimaryVersion, before.PrimaryVersion, "%s: %s", what, id)
}

// opens fails if an Enabled key does not open what was encrypted under it.
func (h *history) opens(m *kms.Manager, is snapshot) (opened int) {
	for id, texts := range h.texts {
		if is[id].State != kms.Enabled {
			continue
		}
		for _, c := range texts {
			plain, err := m.Decrypt(h.t.Context(), c, nil)
			require.NoError(h.t, err)
			require.Equal(h.t, id, string(plain))
			opened++
		}
	}
	return opened
}

// TestRestoreHistories: an instance lives, is backed up, lives on, and the backup is restored:
// where it lives, after it was released, over an older copy of the key store, and into a new
// one. No key that was deleted is back, and no key is weaker than it was before the restore, or than
// it is in the backup. The report agrees with what is seen before and after.
func TestRestoreHistories(t *testing.T) {
	t.Parallel()
	runs := campaign.Size(1000, 20_000)
	var keys, deleted, opened int
	recipient := kit.Root(t, 7)
	for seed := range uint64(runs) {
		h := newHistory(t, seed)
		h.live(h.rand.IntN(30))
		older, olderStore := h.look(h.k.Manager), kit.CopyStore(t, h.k.Store)
		h.live(h.rand.IntN(30))
		backup := kit.Backup(t, h.k.Manager, h.instance, recipient)
		then := h.look(h.k.Manager)
		old, texts := slices.Clone(h.keys), maps.Clone(h.texts)
		h.live(h.rand.IntN(30))
		before, now, graves := h.look(h.k.Manager), h.k.Clock.Now(), kit.Tombstones(t, h.k.Manager)

		what := fmt.Sprintf("seed %d", seed)
		m := h.k.Manager
		restore := func(opts *kms.RestoreOptions) kms.RestoreReport {
			seen := sight(t, m, backup, recipient)
			report := kit.Restore(t, m, backup, recipient, opts)
			seen.agrees(t, what, sight(t, m, backup, recipient), report, keysOf(t, backup, recipient))
			return report
		}
		switch kind := seed % 5; {
		case kind == 0: // where it lives
			restore(nil)
		case kind == 1: // after its release, if it can be
			if h.instance != kms.DefaultInstance {
				require.NoError(t, kit.Err(m.ReleaseInstance(t.Context(), h.instance, kit.Force())))
			}
			restore(nil)
		case kind == 2: // over an older copy of the store
			m = h.k.Another(t, func(c *kms.Config) { c.Store = olderStore })
			restore(nil)
			before = older
		case kind == 3: // into a new one that is told of the tombstones
			m = kit.NewService(t, h.k, smallCache).Manager
			restore(&kms.RestoreOptions{Tombstones: graves})
		default: // into a new one that is not
			m = kit.NewService(t, h.k, smallCache).Manager
			report := restore(nil)
			require.Equal(t, report.Backup.At, report.UnknownSince)
		}
		after := h.look(m)
		fromNew := seed%5 > 2
		if seed%5 > 1 {
			h.texts = texts // later ones may be under later versions
		}
		opened += h.opens(m, after)
		for _, id := range old { // the keys of the backup
			keys++
			backed, _ := then.at(id, now)
			here, _ := before.at(id, now)
			gone := backed.State == kms.Deleted && (fromNew || seed%5 == 2 && older[id].ID != "" || here.State == kms.Deleted)
			switch {
			case gone, here.State == kms.Deleted && seed%5 != 4 && !(seed%5 == 2 && older[id].ID == ""):
				require.Equal(t, "", after[id].ID, "%s: %s is back", what, id)
				deleted++
				continue
			case fromNew:
				h.noWeaker(what+": the backup", id, then, after)
				backed.Instance, backed.Underlying = after[id].Instance, after[id].Underlying
				require.Equal(t, backed, after[id], what)
				continue
			}
			if older[id].ID != "" || seed%5 != 2 {
				h.noWeaker(what+": before", id, before, after)
			}
			switch {
			case backed.State == kms.Deleted, backed.State == kms.PendingImport && here.State != kms.PendingImport:
				_, rank := after.at(id, now)
				require.Positive(t, rank, "%s: %s is suspended", what, id)
				backed.State = kms.Disabled
			default:
				h.noWeaker(what+": the backup", id, then, after)
			}
		}
	}
	require.Positive(t, deleted)
	require.Positive(t, opened)
	t.Logf("%d histories with %d keys: %d were deleted and none is back; none is weaker; %d ciphertexts were opened", runs, keys, deleted, opened)
}
