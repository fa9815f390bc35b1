// Package forensics_test reads old media with every key that an attacker may have.
package forensics_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/campaign"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/internal/pgtest"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/boltstore"
	"github.com/keyhold/kms/keystore/pgstore"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/software"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { os.Exit(kit.Main(m)) }

// media are the stores of the forensic tests: each with what it has on its medium at a moment,
// and at the end, beyond what it was given to write.
var media = []struct {
	name string
	open func(t *testing.T) (s keystore.Store, now, end func() [][]byte)
}{
	{"Memory", func(*testing.T) (keystore.Store, func() [][]byte, func() [][]byte) {
		none := func() [][]byte { return nil }
		return new(keystore.Memory), none, none
	}},
	{"boltstore", func(t *testing.T) (keystore.Store, func() [][]byte, func() [][]byte) {
		path := filepath.Join(t.TempDir(), "keys.db")
		s, err := boltstore.Open(path, &boltstore.Options{Create: true})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		file := func() [][]byte {
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			return [][]byte{b}
		}
		return s, file, file
	}},
	{"pgstore", openPostgresMedia},
}

// openPostgresMedia has the rows of the table at a moment, and at the end the table's file and
// the write-ahead log since the beginning.
func openPostgresMedia(t *testing.T) (keystore.Store, func() [][]byte, func() [][]byte) {
	pool, table, begun := kit.Database(t), "t"+rand.Text(), time.Now()
	s, err := pgstore.OpenPool(t.Context(), pool, &pgstore.Options{Table: table, Create: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	quoted := pgx.Identifier{table}.Sanitize()
	rows := func() [][]byte {
		found, err := pool.Query(t.Context(), "SELECT value FROM "+quoted)
		require.NoError(t, err)
		all, err := pgx.CollectRows(found, pgx.RowTo[[]byte])
		require.NoError(t, err)
		return all
	}
	files := func() (all [][]byte) {
		_, err := pool.Exec(t.Context(), "CHECKPOINT")
		require.NoError(t, err)
		var relation string
		require.NoError(t, pool.QueryRow(t.Context(), "SELECT pg_relation_filepath($1::regclass)", quoted).Scan(&relation))
		data := pgtest.Shared(t).Data()
		paths, err := filepath.Glob(filepath.Join(data, "pg_wal", "0*"))
		require.NoError(t, err)
		require.NotEmpty(t, paths)
		for _, path := range append(paths, filepath.Join(data, relation)) {
			if info, err := os.Stat(path); err == nil && info.ModTime().Before(begun) {
				continue
			}
			b, err := os.ReadFile(path)
			if !errors.Is(err, os.ErrNotExist) { // the log goes on
				require.NoError(t, err)
			}
			all = append(all, b)
		}
		return all
	}
	return s, rows, files
}

// A keeper is a store that keeps every value that was ever put.
type keeper struct {
	keystore.Store
	mu   sync.Mutex
	kept [][]byte
}

func (s *keeper) Unwrap() keystore.Store { return s.Store }

func (s *keeper) Put(ctx context.Context, name string, old keystore.Version, v []byte) (keystore.Version, error) {
	s.mu.Lock()
	s.kept = append(s.kept, bytes.Clone(v))
	s.mu.Unlock()
	return s.Store.Put(ctx, name, old, v)
}

// A scene is a key store in which 20 keys lived and some were deleted, with all that is left of it.
type scene struct {
	*kmstest.KMS
	store       *keeper
	now, end    func() [][]byte
	dice        *mathrand.Rand
	media       [][]byte
	roots       []kms.Root // that were in use, the present one last
	recipient   kms.Root
	backups     [][]byte
	keys        []string
	material    map[string][]byte   // of those that were imported
	ciphertexts map[string][][]byte // by key
	deleted     []string
	instanceKey []byte // of the default instance, out of a backup; nil
}

const sceneKeys = 20

func newScene(t *testing.T, medium int, seed uint64) *scene {
	t.Helper()
	s := &scene{dice: mathrand.New(mathrand.NewPCG(seed, 0)), material: map[string][]byte{}, ciphertexts: map[string][][]byte{}, recipient: freshRoot(t)}
	below, now, end := media[medium].open(t)
	s.store, s.now, s.end = &keeper{Store: below}, now, end
	first := freshRoot(t)
	s.KMS = kmstest.New(t, func(c *kms.Config) { c.Store, c.Root = s.store, first })
	s.roots = []kms.Root{first}
	require.NoError(t, kit.Err(s.CreateInstance(t.Context(), &kms.InstanceOptions{ID: "tenant-7"})))
	for n := range sceneKeys {
		instance := shreddable[n%2]
		if n%5 == 4 {
			material := []byte(rand.Text() + rand.Text())[:32]
			id, _, _ := kit.ImportedKeyIn(t, s.KMS, instance, material)
			s.keys, s.material[id] = append(s.keys, id), material
		} else {
			s.keys = append(s.keys, kit.KeyIn(t, s.KMS, instance))
		}
		s.encrypt(t, s.keys[n])
	}
	s.look()
	return s
}

func freshRoot(t *testing.T) kms.Root {
	t.Helper()
	root, err := software.NewRoot([]byte(rand.Text() + rand.Text())[:32])
	require.NoError(t, err)
	return root
}

// encrypt keeps a ciphertext of a key, whose plaintext is the key's ID.
func (s *scene) encrypt(t *testing.T, id string) {
	t.Helper()
	c, err := s.Encrypt(t.Context(), id, []byte(id), nil)
	require.NoError(t, err)
	s.ciphertexts[id] = append(s.ciphertexts[id], c)
}

// look keeps what is on the medium.
func (s *scene) look() { s.media = append(s.media, s.now()...) }

// live lets the keys live for some steps. Each is Enabled after it, or has lost its material.
func (s *scene) live(t *testing.T, steps int) {
	t.Helper()
	ctx := t.Context()
	for range steps {
		id := s.keys[s.dice.IntN(len(s.keys))]
		state := func() kms.State {
			key, err := s.DescribeKey(ctx, id)
			require.NoError(t, err)
			return key.State
		}
		switch what := s.dice.IntN(12); {
		case state() == kms.PendingImport:
			wrapped, token := kit.WrapMaterial(t, s.KMS, id, s.material[id])
			require.NoError(t, kit.Err(s.ImportKeyMaterial(ctx, id, wrapped, token, time.Time{})))
		case what == 0 && s.material[id] != nil:
			require.NoError(t, kit.Err(s.DeleteKeyMaterial(ctx, id, nil)))
		case what < 3 && s.material[id] == nil:
			require.NoError(t, kit.Err(s.RotateKey(ctx, id)))
			s.encrypt(t, id)
		case what == 3:
			require.NoError(t, kit.Err(s.DisableKey(ctx, id)))
			require.NoError(t, kit.Err(s.ScheduleKeyDeletion(ctx, id, 7)))
			require.NoError(t, kit.Err(s.CancelKeyDeletion(ctx, id)))
			require.NoError(t, kit.Err(s.EnableKey(ctx, id)))
		case what == 4:
			s.rotateRoot(t)
		case what == 5:
			require.NoError(t, kit.Err(s.Shred(ctx, shreddable[s.dice.IntN(2)])))
		case what == 6:
			kit.Maintain(t, s.KMS)
		default:
			require.NoError(t, kit.Err(s.SetDescription(ctx, id, rand.Text())))
			s.encrypt(t, id)
		}
		s.look()
	}
}

func (s *scene) rotateRoot(t *testing.T) {
	t.Helper()
	next := freshRoot(t)
	require.NoError(t, s.RotateRoot(t.Context(), next))
	s.roots = append(s.roots, next)
}

// delete deletes and purges some keys. Of those that were not, all have their material.
func (s *scene) delete(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	k := 1 + s.dice.IntN(sceneKeys-1)
	for _, n := range s.dice.Perm(sceneKeys)[:k] {
		id := s.keys[n]
		if key, err := s.DescribeKey(ctx, id); err == nil && key.State == kms.Enabled {
			require.NoError(t, kit.Err(s.DisableKey(ctx, id)))
		}
		require.NoError(t, kit.Err(s.ScheduleKeyDeletion(ctx, id, 7+s.dice.IntN(3))))
		s.deleted = append(s.deleted, id)
		s.look()
	}
	s.Clock.AdvanceDays(10)
	require.Len(t, kit.Maintain(t, s.KMS).Purged, k)
	s.look()
}

// read is how many keys an attacker reads who has all bytes and these roots: of the deleted ones,
// and of the others. Of a key he reads all ciphertexts or none.
func (s *scene) read(t *testing.T, roots ...kms.Root) (deleted, others int) {
	t.Helper()
	f := &forensic{roots: roots, home: s.instanceKey}
	for _, m := range s.material {
		f.imported = append(f.imported, m)
	}
	for _, media := range [][][]byte{s.store.kept, s.media, s.backups} {
		for _, m := range media {
			f.carve(m)
		}
	}
	f.open()
	for _, id := range s.keys {
		n := 0
		for _, c := range s.ciphertexts[id] {
			if plain, ok := f.reads(t.Context(), c); ok {
				require.Equal(t, id, string(plain))
				n++
			}
		}
		switch {
		case n == 0:
		case slices.Contains(s.deleted, id):
			deleted++
		default:
			require.Len(t, s.ciphertexts[id], n, "of a key he reads a part")
			others++
		}
	}
	return deleted, others
}

// rawFilesHoldRecords is sure that the files of a store are read, and not looked past.
func (s *scene) rawFilesHoldRecords(t *testing.T, files [][]byte) {
	t.Helper()
	f := &forensic{roots: s.roots}
	for _, b := range files {
		f.carve(b)
	}
	f.open()
	if len(files) > 0 {
		require.NotEmpty(t, f.records)
		require.NotEmpty(t, f.instances)
		require.NotEmpty(t, f.materials)
	}
}

// shreddable are the instances whose keys are shredded.
var shreddable = []string{kms.DefaultInstance, "tenant-7"}

// TestForensics: who has every byte that the store ever wrote, the backups, the present root, the
// material of imported keys and the source reads none of the deleted keys after Shred and
// RotateRoot, and all others. With the roots of before he reads them all: it is an attack.
func TestForensics(t *testing.T) {
	for medium := range media {
		t.Run(media[medium].name, func(t *testing.T) {
			trials := campaign.Size(3, 100)
			gone, kept := 0, 0
			for trial := range trials {
				seed := uint64(time.Now().UnixNano()) + uint64(trial)
				s := newScene(t, medium, seed)
				s.live(t, 15)
				for _, instance := range shreddable {
					s.backups = append(s.backups, kit.Backup(t, s.Manager, instance, s.recipient))
				}
				s.live(t, 15)
				s.delete(t)
				for _, instance := range shreddable {
					require.NoError(t, kit.Err(s.Shred(t.Context(), instance)))
					s.look()
				}
				s.rotateRoot(t)
				s.look()
				files := s.end()
				s.media = append(s.media, files...)
				s.rawFilesHoldRecords(t, files)
				k := len(s.deleted)
				gone, kept = gone+k, kept+sceneKeys-k
				for _, id := range s.deleted {
					receipt, err := s.DeletionReceipt(t.Context(), id)
					require.NoError(t, err)
					require.Equal(t, kms.DeletionLevel4, receipt.Level)
				}
				last := len(s.roots) - 1
				deleted, others := s.read(t, s.roots[last])
				require.Zero(t, deleted, "seed %d: a deleted key was read", seed)
				require.Equal(t, sceneKeys-k, others, "seed %d", seed)
				deleted, others = s.read(t, s.roots...)
				require.Equal(t, k, deleted, "seed %d: with the old roots", seed)
				require.Equal(t, sceneKeys-k, others, "seed %d", seed)
				deleted, others = s.read(t)
				require.Zero(t, deleted+others, "seed %d: without a root", seed)
			}
			t.Logf("%d trials: of %d deleted keys 0 were read with the present root, of %d others all; with the old roots all of both",
				trials, gone, kept)
		})
	}
}

// TestForensicsOrder: what is left out, or done in another order, is read.
func TestForensicsOrder(t *testing.T) {
	const shred, rotate = "Shred", "RotateRoot"
	for _, row := range []struct {
		steps []string
		dead  bool
	}{
		{[]string{shred, rotate}, true}, {[]string{rotate, shred, rotate}, true}, {[]string{shred, rotate, shred}, true},
		{nil, false}, {[]string{shred}, false}, {[]string{rotate}, false}, {[]string{rotate, shred}, false},
	} {
		s := newScene(t, 0, 1)
		s.delete(t)
		for _, step := range row.steps {
			if step == rotate {
				s.rotateRoot(t)
				continue
			}
			for _, instance := range shreddable {
				require.NoError(t, kit.Err(s.Shred(t.Context(), instance)))
			}
		}
		deleted, others := s.read(t, s.roots[len(s.roots)-1])
		require.Equal(t, sceneKeys-len(s.deleted), others)
		receipt, err := s.DeletionReceipt(t.Context(), s.deleted[0])
		require.NoError(t, err)
		if row.dead {
			require.Zero(t, deleted, row.steps)
			require.Equal(t, kms.DeletionLevel4, receipt.Level, row.steps)
		} else {
			require.Len(t, s.deleted, deleted, row.steps)
			require.Equal(t, kms.DeletionLevel3, receipt.Level, row.steps)
		}
	}
}

// TestForensicsBackup: neither a deletion nor Shred reaches a backup. Who has one of before the
// deletion, and its recipient, has the key; and who has one of before the Shred has the instance
// key, which opens old media.
func TestForensicsBackup(t *testing.T) {
	s := newScene(t, 0, 1)
	backup := kit.Backup(t, s.Manager, kms.DefaultInstance, s.recipient)
	s.delete(t)
	late := kit.Backup(t, s.Manager, kms.DefaultInstance, s.recipient)
	require.NoError(t, kit.Err(s.Shred(t.Context(), kms.DefaultInstance)))
	s.rotateRoot(t)
	deleted, _ := s.read(t, s.roots[len(s.roots)-1])
	s.instanceKey = instanceKeyIn(t, late, s.recipient)
	more, _ := s.read(t, s.roots[len(s.roots)-1])
	require.Greater(t, more, deleted, "the backup has the key that opens them")
	elsewhere := kmstest.New(t)
	kit.Restore(t, elsewhere.Manager, backup, s.recipient, nil)
	read := 0
	for n, id := range s.keys {
		if n%2 == 0 && slices.Contains(s.deleted, id) {
			require.NoError(t, kit.Err(elsewhere.Decrypt(t.Context(), s.ciphertexts[id][0], nil)))
			read++
		}
	}
	require.Positive(t, read)
	other := kit.Root(t, 9)
	require.ErrorIs(t, kit.Err(kms.VerifyBackup(t.Context(), bytes.NewReader(backup), other)), kms.ErrBackup)
}
