package kms_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/keystore/boltstore"
	"github.com/keyhold/kms/software"
	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"
)

// BenchmarkDurable is CreateKey on a file, durable when it returns, beside bbolt by itself:
// puts of values of that size, those that wait together in one transaction.
func BenchmarkDurable(b *testing.B) {
	for _, writers := range []int{1, 64} {
		name := fmt.Sprintf("op=CreateKey/size=0/keys=1/goroutines=%d", writers)
		b.Run(name+"/impl=keyhold", func(b *testing.B) {
			b.ReportAllocs()
			s, err := boltstore.Open(filepath.Join(b.TempDir(), "keys"), nil)
			require.NoError(b, err)
			defer s.Close()
			root, err := software.NewRoot(pattern(32))
			require.NoError(b, err)
			m, err := kms.Open(b.Context(), kms.Config{Store: s, Root: root, Software: software.New()})
			require.NoError(b, err)
			inParallel(b, writers, 1, func(int) {
				if _, err := m.CreateKey(context.Background(), nil); err != nil {
					panic(err)
				}
			})
		})
		b.Run(name+"/impl=raw", func(b *testing.B) {
			b.ReportAllocs()
			puts, stop := groupedBolt(b)
			defer stop()
			value := make([]byte, recordSize(b))
			inParallel(b, writers, 1, func(int) { puts(value) })
		})
	}
}

// recordSize is the size of the record of a new key.
func recordSize(t testing.TB) int {
	f := loadFrozen(t)
	return len(f.Store["key/"+enabledKey(t, f)])
}

// groupedBolt is the least grouped writer that bbolt allows: one goroutine that puts all
// that is waiting in one transaction, under names that grow.
func groupedBolt(b *testing.B) (put func(value []byte), stop func()) {
	db, err := bbolt.Open(filepath.Join(b.TempDir(), "raw"), 0o600, &bbolt.Options{FreelistType: bbolt.FreelistMapType})
	require.NoError(b, err)
	bucket := []byte("items")
	require.NoError(b, db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket(bucket)
		return err
	}))
	type waiting struct {
		value []byte
		done  chan error
	}
	queue := make(chan waiting, 64)
	go func() {
		for first := range queue {
			group := []waiting{first}
			for more := true; more; {
				select {
				case w := <-queue:
					group = append(group, w)
				default:
					more = false
				}
			}
			err := db.Update(func(tx *bbolt.Tx) error {
				items := tx.Bucket(bucket)
				for _, w := range group {
					n, err := items.NextSequence()
					if err != nil {
						return err
					}
					name := append([]byte("key/00000000-0000-7000-8000-0000"), binary.BigEndian.AppendUint64(nil, n)...)
					if err := items.Put(name, w.value); err != nil {
						return err
					}
				}
				return nil
			})
			for _, w := range group {
				w.done <- err
			}
		}
	}()
	put = func(value []byte) {
		w := waiting{value, make(chan error, 1)}
		queue <- w
		if err := <-w.done; err != nil {
			panic(err)
		}
	}
	return put, func() {
		close(queue)
		_ = db.Close()
	}
}
