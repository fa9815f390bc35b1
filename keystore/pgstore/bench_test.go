package pgstore_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/software"
)

// BenchmarkCreateKey creates keys durably, beside raw INSERTs of rows of that size: each
// writer with a prepared statement on a connection of its own. The two take turns, and the
// metric "x-raw", how many times as fast as raw, is the median of all turns, so that it
// depends little on who else uses the machine.
func BenchmarkCreateKey(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			m, raw := manager(b, open(b, dsn(b), newTable()), 0), rawInserter(b, writers)
			create := func(int) error {
				_, err := m.CreateKey(context.Background(), nil)
				return err
			}
			block := 32 * writers
			var ratios []float64
			b.ResetTimer()
			for from := 0; from < b.N; from += block {
				n := min(block, b.N-from)
				own := clock(b, n, writers, create)
				b.StopTimer()
				ratios = append(ratios, clock(b, n, writers, raw).Seconds()/own.Seconds())
				b.StartTimer()
			}
			b.StopTimer()
			slices.Sort(ratios)
			b.ReportMetric(ratios[len(ratios)/2], "x-raw")
		})
	}
}

// BenchmarkDecrypt decrypts with a key that is in memory, as processes of a fleet do, beside
// the same on keystore.Memory. The metric "x-memory" is the time as a multiple of Memory's.
func BenchmarkDecrypt(b *testing.B) {
	for _, size := range []int{32, 1024} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			shared := manager(b, open(b, dsn(b), newTable()), time.Second)
			ctx, cancel := context.WithCancel(b.Context())
			var running sync.WaitGroup
			running.Go(func() { _ = shared.Run(ctx) })
			b.Cleanup(running.Wait)
			b.Cleanup(cancel)
			decrypter := func(m *kms.Manager) func(int) error {
				key, err := m.CreateKey(b.Context(), nil)
				require.NoError(b, err)
				c, err := m.Encrypt(b.Context(), key.ID, make([]byte, size), nil)
				require.NoError(b, err)
				return func(int) error {
					_, err := m.Decrypt(context.Background(), c, nil)
					return err
				}
			}
			own, memory := decrypter(shared), decrypter(manager(b, new(keystore.Memory), 0))
			const block = 5000
			var ratios []float64
			b.ResetTimer()
			for from := 0; from < b.N; from += block {
				n := min(block, b.N-from)
				took := clock(b, n, 1, own)
				b.StopTimer()
				ratios = append(ratios, took.Seconds()/clock(b, n, 1, memory).Seconds())
				b.StartTimer()
			}
			b.StopTimer()
			slices.Sort(ratios)
			b.ReportMetric(ratios[len(ratios)/2], "x-memory")
		})
	}
}

func manager(t testing.TB, s keystore.Store, staleness time.Duration) *kms.Manager {
	root, err := software.NewRoot(rootKey)
	require.NoError(t, err)
	m, err := kms.Open(t.Context(), kms.Config{Store: s, Root: root, Software: software.New(), MaxStaleness: staleness})
	require.NoError(t, err)
	return m
}

// clock tells how long n calls take, made by some workers.
func clock(b *testing.B, n, workers int, call func(worker int) error) time.Duration {
	start := time.Now()
	err := each(workers, func(w int) error {
		for i := w; i < n; i += workers {
			if err := call(w); err != nil {
				return err
			}
		}
		return nil
	})
	took := time.Since(start)
	require.NoError(b, err)
	return took
}

// rawInserter inserts rows as CreateKey does, and nothing more.
func rawInserter(b *testing.B, writers int) func(worker int) error {
	table := pgx.Identifier{newTable().Table}.Sanitize()
	pool, err := pgxpool.New(b.Context(), dsn(b, fmt.Sprintf("pool_max_conns=%d", writers)))
	require.NoError(b, err)
	b.Cleanup(pool.Close)
	_, err = pool.Exec(b.Context(), `CREATE TABLE `+table+` (name text COLLATE "C" PRIMARY KEY, version text NOT NULL, value bytea NOT NULL)`)
	require.NoError(b, err)
	value := make([]byte, 620)
	conns := make([]*pgxpool.Conn, writers)
	for i := range conns {
		conns[i], err = pool.Acquire(b.Context())
		require.NoError(b, err)
		b.Cleanup(conns[i].Release)
	}
	insert := `INSERT INTO ` + table + ` (name, version, value) VALUES ($1, $2, $3)`
	return func(worker int) error {
		name := fmt.Sprintf("key/%020d-%s", time.Now().UnixNano(), rand.Text()[:16])
		_, err := conns[worker].Exec(context.Background(), insert, name, rand.Text(), value)
		return err
	}
}
