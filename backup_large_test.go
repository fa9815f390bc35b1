package kms_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/campaign"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/boltstore"
	"github.com/keyhold/kms/keystore/keystoretest"
	"github.com/keyhold/kms/software"
	"github.com/stretchr/testify/require"
)

// The bounds for an instance of 100 000 keys.
const (
	largeTime   = time.Minute
	largeMemory = 64 << 20
)

// A gauge is the most memory that was in use at the moments when it was asked, above what
// was in use when it was made.
type gauge struct {
	base, peak uint64
	begun      time.Time
}

func newGauge() *gauge {
	runtime.GC()
	g := &gauge{begun: time.Now()}
	g.base = inUse()
	return g
}

func inUse() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

func (g *gauge) look(int) { g.peak = max(g.peak, inUse()) }

func (g *gauge) check(t *testing.T, what string, keys int) {
	g.look(0)
	took, above := time.Since(g.begun), g.peak-min(g.base, g.peak)
	t.Logf("%-8s %6d keys: %6.2f s, at most %4.1f MiB above %.1f MiB", what, keys, took.Seconds(), float64(above)/(1<<20), float64(g.base)/(1<<20))
	require.Less(t, above, uint64(largeMemory), what)
	if campaign.Running() {
		require.Less(t, took, largeTime, what)
	}
}

// TestLargeInstance: an instance of 100 000 keys is backed up, verified and restored into a new
// key store on a disk, each in a minute and in 64 MiB, and is released by one write. Without
// KEYHOLD_CAMPAIGN it has 3000 keys.
func TestLargeInstance(t *testing.T) {
	ctx := t.Context()
	n := campaign.Size(3000, 100_000)
	folder, recipient, root := t.TempDir(), kit.Root(t, 7), kit.Root(t, 8)
	open := func(name string) (*kms.Manager, *keystoretest.Flaky) {
		store, err := boltstore.Open(filepath.Join(folder, name), &boltstore.Options{Create: true})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, store.Close()) })
		flaky := keystoretest.NewFlaky(store)
		m, err := kms.Open(ctx, kms.Config{Store: flaky, Root: root, Software: software.New()})
		require.NoError(t, err)
		return m, flaky
	}
	m, store := open("keys")
	require.NoError(t, kit.Err(m.CreateInstance(ctx, &kms.InstanceOptions{ID: "acme"})))
	createMany(t, m, "acme", n)
	ids := names(t, store)
	require.Len(t, ids, n)
	for i := 0; i < n; i += 100 {
		require.NoError(t, m.CreateAlias(ctx, fmt.Sprintf("alias/%d", i), ids[i]))
	}
	c, err := m.Encrypt(ctx, ids[n/2], []byte("hello"), nil)
	require.NoError(t, err)

	path := filepath.Join(folder, "backup")
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	g := newGauge()
	info, err := m.BackupInstance(ctx, "acme", f, recipient, &kms.BackupOptions{Progress: g.look})
	require.NoError(t, err)
	require.Equal(t, n, info.Keys)
	require.Equal(t, n/100, info.Aliases)
	g.check(t, "backup", n)

	_, err = f.Seek(0, 0)
	require.NoError(t, err)
	g = newGauge()
	verified, err := kms.VerifyBackup(ctx, &watched{f, g, 0}, recipient)
	require.NoError(t, err)
	require.Equal(t, info, verified)
	g.check(t, "verify", n)

	_, err = f.Seek(0, 0)
	require.NoError(t, err)
	to, _ := open("fresh")
	g = newGauge()
	report, err := to.Restore(ctx, f, recipient, &kms.RestoreOptions{Progress: g.look})
	require.NoError(t, err)
	require.Equal(t, n, report.Restored)
	require.Equal(t, n/100, report.Aliases)
	g.check(t, "restore", n)
	plain, err := to.Decrypt(ctx, c, nil)
	require.NoError(t, err)
	require.Equal(t, "hello", string(plain))

	before := store.Calls().Put
	begun := time.Now()
	require.NoError(t, kit.Err(m.ReleaseInstance(ctx, "acme", kit.Force())))
	t.Logf("release  %6d keys: %6.2f s", n, time.Since(begun).Seconds())
	require.Equal(t, 1, store.Calls().Put-before, "one write")
	for _, id := range ids {
		require.ErrorIs(t, kit.Err(m.DescribeKey(ctx, id)), kms.ErrNotFound)
	}
	require.ErrorIs(t, kit.Err(m.Decrypt(ctx, c, nil)), kms.ErrNotFound)
}

// watched is a reader that has the gauge look now and then.
type watched struct {
	*os.File
	g *gauge
	n int
}

func (w *watched) Read(p []byte) (int, error) {
	if w.n++; w.n%8 == 0 {
		w.g.look(0)
	}
	return w.File.Read(p)
}

// createMany makes keys from many sides, so that a store on a disk takes them together.
func createMany(t testing.TB, m *kms.Manager, instance string, n int) {
	var all sync.WaitGroup
	failed := make(chan error, 64)
	for w := range 64 {
		all.Go(func() {
			for range n/64 + min(1, max(0, n%64-w)) {
				if _, err := m.CreateKey(context.WithoutCancel(t.Context()), &kms.CreateKeyOptions{Instance: instance}); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	all.Wait()
	require.Empty(t, failed)
}

// names are the IDs of the keys in a store.
func names(t testing.TB, s keystore.Store) (ids []string) {
	for item, err := range s.List(t.Context(), "key/", "") {
		require.NoError(t, err)
		ids = append(ids, item.Name[len("key/"):])
	}
	return ids
}
