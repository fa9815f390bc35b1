package kms_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/provider"
	"github.com/keyhold/kms/software"
	"github.com/stretchr/testify/require"
)

// receiptOf is a receipt, and that Explain and a second Manager agree with it.
func receiptOf(t *testing.T, k *kmstest.KMS, id string, root kms.Root) kms.DeletionReceipt {
	t.Helper()
	stored := kit.StoredItems(t, k)
	d, err := k.DeletionReceipt(t.Context(), id)
	require.NoError(t, err)
	again, err := k.Another(t, func(c *kms.Config) { c.Root = root }).DeletionReceipt(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, d, again)
	require.Equal(t, stored, kit.StoredItems(t, k), "it wrote")
	x, err := k.Explain(t.Context(), kms.OpDeletionReceipt, id)
	require.NoError(t, err)
	require.True(t, x.Allowed)
	require.Equal(t, id, d.KeyID)
	require.Equal(t, k.Clock.Now(), d.At)
	last := kms.NotDeleted
	for _, l := range d.Reached {
		require.Equal(t, last+1, l.Level, "a level is left out")
		last = l.Level
	}
	require.Equal(t, d.Level, last)
	require.Equal(t, d.Level == kms.DeletionLevel4, d.Missing == "")
	require.Equal(t, d.Missing == "", d.Do == "")
	return d
}

// TestDeletionReceipt goes through the life and the deletion of a key: each level with its time,
// what is missing for the next, and level 4 with its condition.
func TestDeletionReceipt(t *testing.T) {
	kit.EachStore(t, func(t *testing.T) {
		for _, instance := range shreddable {
			t.Run(instance, func(t *testing.T) {
				ctx := t.Context()
				k := kit.New(t, func(c *kms.Config) { c.PurgeDelay = 24 * time.Hour })
				if instance != kms.DefaultInstance {
					require.NoError(t, kit.Err(k.CreateInstance(ctx, &kms.InstanceOptions{ID: instance})))
				}
				id, root := kit.KeyIn(t, k, instance), k.Root
				is := func(level kms.DeletionLevel, missing string) kms.DeletionReceipt {
					t.Helper()
					d := receiptOf(t, k, id, root)
					require.Equal(t, level, d.Level)
					require.Equal(t, instance, d.Instance)
					require.Contains(t, d.Missing, missing)
					return d
				}
				is(kms.NotDeleted, "Enabled")
				require.NoError(t, kit.Err(k.DisableKey(ctx, id)))
				is(kms.NotDeleted, "Disabled")
				require.NoError(t, kit.Err(k.ScheduleKeyDeletion(ctx, id, 7)))
				is(kms.DeletionLevel0, "2026-01-08")
				k.Clock.AdvanceDays(7)
				due := k.Clock.Now()
				require.Equal(t, due, is(kms.DeletionLevel1, "not purged").Reached[1].Since)
				kit.Maintain(t, k)
				is(kms.DeletionLevel1, "not purged")
				k.Clock.AdvanceDays(1)
				purged := k.Clock.Now()
				require.Equal(t, []string{id}, kit.Maintain(t, k).Purged)
				d := is(kms.DeletionLevel3, "the instance key under which")
				require.Equal(t, []time.Time{{}, due, purged, purged}, []time.Time{d.Reached[0].Since, d.Reached[1].Since, d.Reached[2].Since, d.Reached[3].Since})

				// Rotated too early: the present root has sealed the old instance key.
				root = kit.Root(t, 2)
				require.NoError(t, k.RotateRoot(ctx, root))
				require.Contains(t, is(kms.DeletionLevel3, "the instance key under which").Do, "Shred")
				dieAt(k, 2, false)
				require.Error(t, kit.Err(k.Shred(ctx, instance)))
				k.Store.OnPut(nil)
				is(kms.DeletionLevel3, "not finished")
				root = kit.Root(t, 3)
				require.NoError(t, k.RotateRoot(ctx, root), "in the midst of it: it has sealed both")
				is(kms.DeletionLevel3, "not finished")
				k.Clock.AdvanceDays(1)
				require.NoError(t, kit.Err(k.Shred(ctx, instance)))
				require.Contains(t, is(kms.DeletionLevel3, "the present root opens").Do, "RotateRoot")
				require.NoError(t, k.RotateRoot(ctx, root), "with the same root")
				is(kms.DeletionLevel3, "the present root opens")
				k.Clock.AdvanceDays(1)
				rotated := k.Clock.Now()
				root = kit.Root(t, 4)
				require.NoError(t, k.RotateRoot(ctx, root))
				d = is(kms.DeletionLevel4, "")
				require.Equal(t, rotated, d.Reached[4].Since)
				require.Contains(t, d.Reached[4].If, "if every root that was in use before RotateRoot at "+rotated.Format(time.RFC3339)+" was destroyed")
				in, err := k.DescribeInstance(ctx, instance)
				require.NoError(t, err)
				require.False(t, in.KeyedAt.Before(purged))
				require.Equal(t, rotated, in.RootedAt)
				require.Contains(t, d.Reached[4].If, "every backup from before "+in.KeyedAt.Format(time.RFC3339))

				// A key that is deleted later is not helped by what came before.
				late := kit.KeyIn(t, k, instance)
				require.NoError(t, kit.Err(k.DisableKey(ctx, late)))
				require.NoError(t, kit.Err(k.ScheduleKeyDeletion(ctx, late, 7)))
				k.Clock.AdvanceDays(7)
				kit.Maintain(t, k)
				k.Clock.AdvanceDays(1)
				kit.Maintain(t, k)
				require.Equal(t, kms.DeletionLevel3, receiptOf(t, k, late, root).Level)
				require.Equal(t, kms.DeletionLevel4, receiptOf(t, k, id, root).Level)
				if instance == kms.DefaultInstance {
					return
				}
				// What a backup brings back may have the first instance key again.
				backup := kit.Backup(t, k.Manager, instance, root)
				require.NoError(t, kit.Err(k.ReleaseInstance(ctx, instance, nil)))
				require.ErrorIs(t, kit.Err(k.DeletionReceipt(ctx, id)), kms.ErrNotFound)
				x, err := k.Explain(ctx, kms.OpDeletionReceipt, id)
				require.NoError(t, err)
				require.False(t, x.Allowed)
				kit.Restore(t, k.Manager, backup, root, nil)
				require.Equal(t, kms.DeletionLevel3, receiptOf(t, k, id, root).Level)
				root = kit.Root(t, 5)
				require.NoError(t, k.RotateRoot(ctx, root))
				require.Equal(t, kms.DeletionLevel3, receiptOf(t, k, id, root).Level)
			})
		}
	})
}

// TestDeletionReceiptHardware: what the hardware destroyed is on no old media.
func TestDeletionReceiptHardware(t *testing.T) {
	k := kmstest.New(t, kit.InHardware)
	id := kit.HardwareKey(t, k)
	kit.Purge(t, k, id)
	d := receiptOf(t, k, id, k.Root)
	require.Equal(t, kms.DeletionLevel4, d.Level)
	require.Contains(t, d.Reached[4].If, "hardware")
}

// A fakeToken is hardware: what it gives to be sealed is a name, and what it destroyed is gone.
type fakeToken struct {
	software.Provider
	mu   sync.Mutex
	keys map[string][]byte
}

func (f *fakeToken) keep(material []byte, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	name := rand.Text()
	f.keys[name] = material
	return []byte(name), nil
}

func (f *fakeToken) Generate(ctx context.Context, id string, spec provider.Spec, use provider.Use) ([]byte, error) {
	return f.keep(f.Provider.Generate(ctx, id, spec, use))
}

func (f *fakeToken) Import(ctx context.Context, id string, spec provider.Spec, use provider.Use, key []byte) ([]byte, error) {
	return f.keep(f.Provider.Import(ctx, id, spec, use, key))
}

func (f *fakeToken) Open(ctx context.Context, id string, spec provider.Spec, name []byte) (provider.Key, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	material, ok := f.keys[string(name)]
	if !ok {
		return nil, provider.ErrNoKey
	}
	return f.Provider.Open(ctx, id, spec, material)
}

func (f *fakeToken) Destroy(_ context.Context, _ string, name []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.keys, string(name))
	return nil
}

// A thief has every state that the store was ever in, the present root, the token, the sources
// and the owner's material, and sets the clock at will.
type thief struct {
	*kmstest.KMS
	id          string
	ciphertexts [][]byte
	ec          kms.EncryptionContext
	material    []byte // of an imported key
	born        time.Time
	stores      [][]keystore.Item
}

func (s *thief) look(t *testing.T) { s.stores = append(s.stores, kit.StoredItems(t, s.KMS)) }

// reads reports whether the thief reads a ciphertext: from each state of the store, with the
// records of the instances from each that came later, so that the present root opens them.
func (s *thief) reads(t *testing.T, root kms.Root) bool {
	t.Helper()
	for i, was := range s.stores {
		for _, later := range s.stores[i:] {
			store := new(keystore.Memory)
			for n, items := range [][]keystore.Item{was, later} {
				for _, item := range items {
					if strings.HasPrefix(item.Name, "instance/") == (n == 1) {
						require.NoError(t, kit.Err(store.Put(t.Context(), item.Name, "", item.Value)))
					}
				}
			}
			if s.readsFrom(t, store, root) {
				return true
			}
		}
	}
	return false
}

func (s *thief) readsFrom(t *testing.T, store keystore.Store, root kms.Root) bool {
	ctx := t.Context()
	m, err := kms.Open(ctx, s.ConfigWith(func(c *kms.Config) {
		c.Store, c.Root, c.Now = store, root, func() time.Time { return s.born.Add(time.Hour) }
	}))
	if err != nil {
		return false
	}
	_, _ = m.CancelKeyDeletion(ctx, s.id)
	_, _ = m.EnableKey(ctx, s.id)
	opens := func() bool {
		return slices.ContainsFunc(s.ciphertexts, func(c []byte) bool { return kit.Err(m.Decrypt(ctx, c, s.ec)) == nil })
	}
	if opens() {
		return true
	}
	if s.material == nil || kit.Err(m.DeleteKeyMaterial(ctx, s.id, &kms.DeleteMaterialOptions{Force: true, Reason: "theft"})) != nil {
		return false
	}
	p, err := kit.ImportParameters(ctx, m, store, root, s.id, s.born.Add(time.Hour))
	if err != nil {
		return false
	}
	wrapped, err := kms.WrapForImport(p, s.material)
	require.NoError(t, err)
	return kit.Err(m.ImportKeyMaterial(ctx, s.id, wrapped, p.Token, time.Time{})) == nil && opens()
}

// TestDeletionReceiptIsTrue: for each origin, in software and in hardware, taken over or not, and for
// each order of purge, Shred and RotateRoot, the receipt says level 4 if and only if a thief reads
// nothing.
func TestDeletionReceiptIsTrue(t *testing.T) {
	ctx := t.Context()
	const purge, shred, rotate = "purge", "Shred", "RotateRoot"
	levels := map[kms.DeletionLevel]int{}
	for _, kind := range []string{"made", "imported", "taken over", "without material", "withdrawn"} {
		for _, protection := range []kms.Protection{kms.ProtectionSoftware, kms.ProtectionHSM} {
			for _, order := range [][]string{
				{purge}, {purge, shred}, {purge, rotate}, {purge, shred, rotate}, {purge, rotate, shred},
				{shred, purge, rotate}, {shred, rotate, purge}, {rotate, purge, shred}, {rotate, shred, purge},
				{shred, purge, rotate, shred, rotate}, {purge, rotate, shred, rotate},
			} {
				what := fmt.Sprintf("%s, %s, %v", kind, protection, order)
				old := kit.OldKeyring(t, "invoices", 2)
				k := kmstest.New(t, kit.WithSources(old.Source), func(c *kms.Config) { c.HSM = &fakeToken{keys: map[string][]byte{}} })
				require.NoError(t, kit.Err(k.CreateInstance(ctx, &kms.InstanceOptions{ID: "acme", Protection: protection})))
				s := &thief{KMS: k, born: k.Clock.Now()}
				switch kind {
				case "made":
					s.id = kit.KeyIn(t, k, "acme")
				case "imported", "withdrawn":
					s.material = kit.Material()
					s.id, _, _ = kit.ImportedKeyIn(t, k, "acme", s.material)
				case "taken over":
					require.NoError(t, kit.Err(k.MigrateLegacyKey(ctx, old.ID, "acme")))
					s.id, s.ciphertexts, s.ec = old.ID, old.Ciphertexts, old.EC
				case "without material":
					s.id, s.material = kit.ExternalKeyIn(t, k, "acme"), kit.Material()
				}
				if kind == "made" || s.material != nil && kind != "without material" {
					c, err := k.Encrypt(ctx, s.id, []byte("x"), nil)
					require.NoError(t, err)
					s.ciphertexts = [][]byte{c}
				}
				s.look(t)
				if kind == "withdrawn" {
					require.NoError(t, kit.Err(k.DeleteKeyMaterial(ctx, s.id, nil)))
					s.look(t)
				}
				k.Manager = k.Another(t, kit.WithSources(old.Empty)) // it was deleted there
				root := k.Root
				for n, step := range order {
					k.Clock.AdvanceDays(1)
					switch step {
					case purge:
						if kit.StateOf(t, k.Manager, s.id) == kms.Enabled {
							require.NoError(t, kit.Err(k.DisableKey(ctx, s.id)))
						}
						require.NoError(t, kit.Err(k.ScheduleKeyDeletion(ctx, s.id, 7)))
						s.look(t)
						k.Clock.AdvanceDays(7)
						require.Equal(t, []string{s.id}, kit.Maintain(t, k).Purged)
					case shred:
						require.NoError(t, kit.Err(k.Shred(ctx, "acme")))
					case rotate:
						root = kit.Root(t, byte(10+n))
						require.NoError(t, k.RotateRoot(ctx, root))
					}
					s.look(t)
				}
				d, err := k.DeletionReceipt(ctx, s.id)
				require.NoError(t, err)
				levels[d.Level]++
				reads := s.reads(t, root)
				require.Equal(t, reads, d.Level < kms.DeletionLevel4, "%s: %s, but read: %v", what, d.Level, reads)
				last := d.Reached[len(d.Reached)-1]
				require.Equal(t, kind == "taken over", strings.Contains(last.If, "the other system"), what)
				require.Equal(t, protection == kms.ProtectionHSM && d.Level == kms.DeletionLevel4, strings.Contains(last.If, "the hardware"), what)
			}
		}
	}
	require.Len(t, levels, 2)
	require.Greater(t, min(levels[kms.DeletionLevel3], levels[kms.DeletionLevel4]), 20)
}

// TestDeletionReceiptOfPrivateKeys: a private key that was imported works by itself wherever its
// owner kept a copy, and the receipt says so.
func TestDeletionReceiptOfPrivateKeys(t *testing.T) {
	k := kmstest.New(t, kit.InHardware)
	for _, protection := range []kms.Protection{kms.ProtectionSoftware, kms.ProtectionHSM} {
		key, err := k.CreateKey(t.Context(), &kms.CreateKeyOptions{Spec: kms.SpecEd25519, Origin: kms.OriginExternal, Protection: protection})
		require.NoError(t, err)
		require.NoError(t, kit.Err(k.ScheduleKeyDeletion(t.Context(), key.ID, 7)))
		k.Clock.AdvanceDays(7)
		kit.Maintain(t, k)
		d := receiptOf(t, k, key.ID, k.Root)
		require.Contains(t, d.Reached[len(d.Reached)-1].If, "the owner's copies of the imported private key")
	}
}

// TestSealedFields: each field of a record that holds bytes, or something sealed, is known to the
// receipts.
func TestSealedFields(t *testing.T) {
	require.Equal(t, kms.FieldsWithBytes(), kms.SealedFields())
}

// TestDeletionReceiptOlder: a tombstone of an earlier version has no note of when the last went.
func TestDeletionReceiptOlder(t *testing.T) {
	f := loadFrozen(t)
	m, _ := f.open(t)
	gone := 0
	for id, state := range f.Keys {
		d, err := m.DeletionReceipt(t.Context(), id)
		require.NoError(t, err)
		if state == kms.Deleted.String() {
			gone++
			require.GreaterOrEqual(t, d.Level, kms.DeletionLevel1)
		} else {
			require.LessOrEqual(t, d.Level, kms.DeletionLevel0)
		}
	}
	require.Positive(t, gone)
}

// TestDeletionLevels: the words of the receipts are those of the threat model.
func TestDeletionLevels(t *testing.T) {
	model, err := os.ReadFile("docs/threat-model.md")
	require.NoError(t, err)
	require.Equal(t, "none", kms.NotDeleted.String())
	require.Equal(t, "none", kms.DeletionLevel(99).String())
	require.Equal(t, "level 0", kms.DeletionLevel0.String())
	require.Equal(t, "level 4", kms.DeletionLevel4.String())
	for level, who := range kms.WhoCannot() {
		row := "| " + strings.TrimPrefix(level.String(), "level ") + " | "
		found := false
		for line := range strings.Lines(string(model)) {
			found = found || strings.HasPrefix(line, row) && strings.Contains(line, "| "+who+" |")
		}
		require.True(t, found, "%s: %q", level, who)
	}
}
