package kms_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/campaign"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/keystoretest"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// A sighting is what callers see of the keys of a backup: those that live, and those of which there
// is a tombstone.
type sighting struct {
	alive map[string]string
	tombs map[string]bool
}

// sight looks at the keys of a backup.
func sight(t testing.TB, m *kms.Manager, backup []byte, recipient kms.Root) sighting {
	s := sighting{map[string]string{}, map[string]bool{}}
	for _, id := range keysOf(t, backup, recipient) {
		key, err := m.DescribeKey(t.Context(), id)
		if err != nil {
			require.ErrorIs(t, err, kms.ErrNotFound)
			continue
		}
		versions, err := m.KeyVersions(t.Context(), id)
		require.NoError(t, err)
		s.alive[id] = fmt.Sprint(key, versions)
	}
	for _, tomb := range kit.Tombstones(t, m) {
		s.tombs[tomb.KeyID] = true
	}
	return s
}

// keysOf are the IDs of the keys in a backup.
func keysOf(t testing.TB, backup []byte, recipient kms.Root) (ids []string) {
	items, err := kms.BackupItems(backup, recipient)
	require.NoError(t, err)
	for _, item := range items {
		if item.Kind == kms.KeyItem {
			ids = append(ids, string(item.Body[:36]))
		}
	}
	return ids
}

// agrees holds the report of a Restore to what was seen before and after it.
func (s sighting) agrees(t testing.TB, what string, after sighting, report kms.RestoreReport, ids []string) {
	t.Helper()
	skipped := map[string]kms.SkipReason{}
	for _, item := range report.Skipped {
		if item.Alias == "" {
			skipped[item.KeyID] = item.Why
		}
	}
	var want kms.RestoreReport
	for _, id := range ids {
		was, alive := s.alive[id], after.alive[id]
		switch {
		case was == "" && alive != "":
			want.Restored++
		case skipped[id] != "":
			require.Equal(t, skipped[id] == kms.SkippedDeleted, alive == "", "%s: %s", what, id)
			require.Equal(t, was, alive, what)
		case was != alive:
			want.Merged = append(want.Merged, id)
		case alive == "" && !s.tombs[id] && after.tombs[id]:
			want.Tombstones++
		default:
			want.Unchanged++
		}
	}
	require.Equal(t, want.Restored, report.Restored, "%s: restored", what)
	require.Equal(t, want.Merged, report.Merged, "%s: merged", what)
	require.Equal(t, want.Tombstones, report.Tombstones, "%s: tombstones", what)
	require.Equal(t, want.Unchanged, report.Unchanged, "%s: unchanged", what)
	require.Equal(t, report.Backup.Keys, report.Restored+len(report.Merged)+report.Tombstones+report.Unchanged+len(skipped), what)
}

// A lineage is an instance whose backups are restored, and what shows that its keys are there.
type lineage struct {
	k         *kmstest.KMS
	store     keystore.Store
	recipient kms.Root
	root      kms.Root
	key       int // which of its instance keys it has
	backups   []lineageBackup
	texts     map[string][]byte // a ciphertext by key
	last      string            // key
}

type lineageBackup struct {
	bytes   []byte
	key     int
	expires time.Time
}

func (l *lineage) open(t testing.TB) *kms.Manager {
	return l.k.Another(t, smallCache, func(c *kms.Config) { c.Store, c.Root = l.store, l.root })
}

// copy is the same on a copy of the store.
func (l *lineage) copy(t testing.TB) *lineage {
	c := *l
	c.store, c.texts = kit.CopyStore(t, l.store), maps.Clone(l.texts)
	return &c
}

// steps are what happens to a lineage before it ends.
var steps = map[byte]func(t testing.TB, l *lineage, m *kms.Manager){
	'B': func(t testing.TB, l *lineage, m *kms.Manager) { // a backup
		in, err := m.DescribeInstance(t.Context(), "acme")
		require.NoError(t, err)
		l.backups = append(slices.Clip(l.backups), lineageBackup{kit.Backup(t, m, "acme", l.recipient), l.key, in.ExpiresAt})
	},
	'C': func(t testing.TB, l *lineage, m *kms.Manager) { // changes
		ctx := t.Context()
		if l.last != "" {
			require.NoError(t, kit.Err(m.RotateKey(ctx, l.last)))
		}
		key, err := m.CreateKey(ctx, &kms.CreateKeyOptions{Instance: "acme"})
		require.NoError(t, err)
		l.texts[key.ID], err = m.Encrypt(ctx, key.ID, []byte(key.ID), nil)
		require.NoError(t, err)
		l.last = key.ID
	},
	'S': func(t testing.TB, l *lineage, m *kms.Manager) { // a Shred
		in, err := m.DescribeInstance(t.Context(), "acme")
		require.NoError(t, err)
		if !in.Shredding { // else it finishes the one that was begun
			l.key++
		}
		require.NoError(t, kit.Err(m.Shred(t.Context(), "acme")))
	},
	'K': func(t testing.TB, l *lineage, m *kms.Manager) { // a Shred that is killed behind its first write
		in, err := m.DescribeInstance(t.Context(), "acme")
		require.NoError(t, err)
		if in.Shredding {
			return
		}
		l.key++
		dying := keystoretest.NewFlaky(l.store)
		var puts atomic.Int32
		dying.OnPut(func(string) (bool, error) {
			if puts.Add(1) == 1 {
				return true, nil
			}
			return false, errors.New("killed")
		})
		dead := &lineage{k: l.k, store: dying, root: l.root}
		require.Error(t, kit.Err(dead.open(t).Shred(t.Context(), "acme")))
	},
	'R': func(t testing.TB, l *lineage, m *kms.Manager) { // another root
		next := kit.Root(t, byte(20+len(l.texts)+l.key+len(l.backups)))
		require.NoError(t, m.RotateRoot(t.Context(), next))
		l.root = next
	},
}

// ends are the ways in which the instance of a lineage ends, or not.
var ends = map[string]func(t testing.TB, l *lineage) (released bool){
	"lives": func(testing.TB, *lineage) bool { return false },
	"released": func(t testing.TB, l *lineage) bool {
		require.NoError(t, kit.Err(l.open(t).ReleaseInstance(t.Context(), "acme", kit.Force())))
		return true
	},
	"expired": func(t testing.TB, l *lineage) bool {
		l.k.Clock.AdvanceDays(115)
		for range 2 {
			require.NoError(t, kit.Err(l.open(t).Maintain(t.Context())))
			l.k.Clock.AdvanceDays(2)
		}
		return true
	},
	"over": func(_ testing.TB, l *lineage) bool { l.k.Clock.AdvanceDays(115); return true }, // and no Maintain ran
}

func items(t testing.TB, s keystore.Store) (all []keystore.Item) {
	for item, err := range s.List(t.Context(), "", "") {
		require.NoError(t, err)
		all = append(all, item)
	}
	return all
}

// restores restores a backup: it does what it says, or is refused and leaves every byte as it was.
func (l *lineage) restores(t testing.TB, what string, b lineageBackup, released bool) (done bool) {
	ctx, m := t.Context(), l.open(t)
	before, seen := items(t, l.store), sight(t, m, b.bytes, l.recipient)
	past := released && !b.expires.After(l.k.Clock.Now())
	opts := &kms.RestoreOptions{}
	if past {
		err := kit.Err(m.Restore(ctx, bytes.NewReader(b.bytes), l.recipient, nil))
		require.Error(t, err, what)
		require.Contains(t, []string{"ErrInvalid", "ErrBackup"}, kit.Conditions(err)[0], what)
		require.Equal(t, before, items(t, l.store), what)
		opts.ExpiresAt = l.k.Clock.Now().AddDate(0, 1, 0)
	}
	if released && b.key != l.key {
		err := kit.Err(m.Restore(ctx, bytes.NewReader(b.bytes), l.recipient, opts))
		require.Equal(t, []string{"ErrBackup"}, kit.Conditions(err), what)
		require.Contains(t, kms.Hint(err), "a backup that was made", what)
		require.Equal(t, before, items(t, l.store), what)
		return false
	}
	report, err := m.Restore(ctx, bytes.NewReader(b.bytes), l.recipient, opts)
	require.NoError(t, err, what)
	require.Empty(t, report.Skipped, what)
	require.Equal(t, released, report.Made, what)
	if !opts.ExpiresAt.IsZero() {
		require.Equal(t, opts.ExpiresAt, report.Instance.ExpiresAt, what)
	} else {
		require.False(t, report.Instance.ExpiresAt.IsZero() || report.Instance.ExpiresAt.After(b.expires), what)
	}
	ids := keysOf(t, b.bytes, l.recipient)
	seen.agrees(t, what, sight(t, m, b.bytes, l.recipient), report, ids)
	for _, m := range []*kms.Manager{m, l.open(t)} {
		for _, id := range ids {
			plain, err := m.Decrypt(ctx, l.texts[id], nil)
			require.NoError(t, err, what)
			require.Equal(t, id, string(plain))
		}
		for key, err := range m.Keys(ctx, nil) {
			require.NoError(t, err, "%s: %s", what, key.ID)
		}
	}
	require.NoError(t, kit.Err(m.Maintain(ctx)), what)
	return true
}

// TestRestoreLineages: of all histories of backup, change, Shred, a Shred that is killed, another root,
// and an end, each Restore of each backup brings back every key of it, or is refused and leaves every
// byte as it was. Nothing is ever ErrTampered, the report agrees with what is seen, and nothing comes back
// for longer than it had. Then it ends once more, and each backup is restored once more.
func TestRestoreLineages(t *testing.T) {
	t.Parallel()
	length, histories, restored, refused := 3, 0, 0, 0
	if campaign.Running() {
		length = 5
	}
	recipient := kit.Root(t, 7)
	var live func(l *lineage, path string)
	count := func(done bool) bool {
		if done {
			restored++
		} else {
			refused++
		}
		return done
	}
	live = func(l *lineage, path string) {
		if len(path) < length {
			for _, step := range slices.Sorted(maps.Keys(steps)) {
				next := l.copy(t)
				steps[step](t, next, next.open(t))
				live(next, path+string(step))
			}
		}
		if !strings.Contains(path, "B") {
			return
		}
		for end, over := range ends {
			histories++
			ended, now := l.copy(t), l.k.Clock.Now()
			released := over(t, ended)
			for i, b := range ended.backups {
				what := fmt.Sprintf("%s, %s, backup %d", path, end, i)
				back := ended.copy(t)
				if !count(back.restores(t, what, b, released)) {
					continue
				}
				if ends["released"](t, back); len(path) == length {
					for j, b := range back.backups {
						count(back.copy(t).restores(t, fmt.Sprintf("%s, released, backup %d", what, j), b, true))
					}
				}
			}
			l.k.Clock.Set(now)
		}
	}
	k := kmstest.New(t, smallCache)
	require.NoError(t, kit.Err(k.CreateInstance(t.Context(), &kms.InstanceOptions{ID: "acme", ExpiresAt: k.Clock.Now().AddDate(0, 0, 100)})))
	first := &lineage{k: k, store: k.Store, recipient: recipient, root: k.Root, texts: map[string][]byte{}}
	for range 2 {
		steps['C'](t, first, k.Manager)
	}
	live(first.copy(t), "")
	require.Positive(t, refused)
	t.Logf("%d histories: %d backups were restored, %d refused", histories, restored, refused)
}

// TestZeroRestoreOptions goes through the options of backups: with the zero value of each nothing that
// is brought back is weaker than it was.
func TestZeroRestoreOptions(t *testing.T) {
	ctx, recipient := t.Context(), kit.Root(t, 7)
	restore := func(m *kms.Manager, b []byte, o *kms.RestoreOptions) (kms.RestoreReport, error) {
		return m.Restore(ctx, bytes.NewReader(b), recipient, o)
	}
	begin := func(t *testing.T) (*kmstest.KMS, string, []byte) {
		k := kmstest.New(t)
		id := kit.Tenant(t, k, "acme", 10)
		return k, id, kit.Backup(t, k.Manager, "acme", recipient)
	}
	expired := func(t *testing.T, o *kms.RestoreOptions) {
		k, _, backup := begin(t)
		k.Clock.AdvanceDays(30)
		require.NoError(t, kit.Err(k.Maintain(ctx)))
		for _, m := range []*kms.Manager{k.Manager, kit.NewService(t, k).Manager} {
			require.ErrorIs(t, kit.Err(restore(m, backup, o)), kms.ErrInvalid)
		}
	}
	of := map[reflect.Type]map[string]func(t *testing.T, o *kms.RestoreOptions){
		reflect.TypeFor[kms.RestoreOptions](): {
			"ExpiresAt": expired, "NeverExpires": expired,
			"Tombstones": func(t *testing.T, o *kms.RestoreOptions) {
				k, id, backup := begin(t)
				kit.Purge(t, k, id)
				report, err := restore(k.Manager, backup, o)
				require.NoError(t, err)
				require.Equal(t, []kms.SkippedItem{{KeyID: id, Why: kms.SkippedDeleted}}, report.Skipped)
				report, err = restore(kit.NewService(t, k).Manager, backup, o)
				require.NoError(t, err)
				require.Equal(t, report.Backup.At, report.UnknownSince, "it says what it does not know")
			},
			"DryRun": func(t *testing.T, o *kms.RestoreOptions) { // and the protection, which no option is about
				k, _, backup := begin(t)
				require.NoError(t, kit.Err(k.RenewInstance(ctx, "acme", time.Time{})))
				late := kit.Backup(t, k.Manager, "acme", recipient)
				require.NoError(t, kit.Err(k.ReleaseInstance(ctx, "acme", kit.Force())))
				report, err := restore(k.Manager, backup, o)
				require.NoError(t, err)
				require.False(t, report.Instance.ExpiresAt.IsZero(), "it is that of the backup")
				require.NoError(t, kit.Err(k.SetInstanceDeletionProtection(ctx, "acme", kms.InstanceProtection{On: true, Reason: "the audit"})))
				k.Clock.AdvanceDays(30)
				require.NoError(t, kit.Err(k.Maintain(ctx)))
				require.ErrorIs(t, kit.Err(restore(k.Manager, late, o)), kms.ErrInvalid, "it ended here, whatever a backup says")
				report, err = restore(k.Manager, late, &kms.RestoreOptions{NeverExpires: true})
				require.NoError(t, err)
				require.True(t, report.Made)
				require.True(t, report.Instance.Protected)
				require.Equal(t, "the audit", report.Instance.ProtectedWhy)
			},
			"Progress": nil,
		},
		reflect.TypeFor[kms.BackupOptions](): {"Progress": nil},
	}
	for options, fields := range of {
		require.Equal(t, options.NumField(), len(fields))
		for i := range options.NumField() {
			check, known := fields[options.Field(i).Name]
			require.True(t, known, options.Field(i).Name)
			if check != nil {
				for _, o := range []*kms.RestoreOptions{nil, {}} {
					check(t, o)
				}
			}
		}
	}
}
