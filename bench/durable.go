package main

import (
	"context"
	"encoding/binary"
	"path/filepath"
	"time"

	"github.com/keyhold/kms/keystore/boltstore"
	"go.etcd.io/bbolt"
)

// durable measures CreateKey on a file, durable when it returns, beside bbolt by itself: puts of
// values of that size, those that wait together in one transaction. Both files are on the
// same disk, hold that many keys already, and have their turns in every round.
func durable(ctx context.Context, folder string, keys, writers, rounds int) []*result {
	s := must(boltstore.Open(filepath.Join(folder, "keys"), &boltstore.Options{Create: true}))
	defer s.Close()
	m := newManager(ctx, s, newRoot(), 0)
	key := must(m.CreateKey(ctx, nil))
	value := make([]byte, len(must(s.Get(ctx, "key/"+key.ID)).Value))
	put, stop := groupedBolt(filepath.Join(folder, "raw"))
	defer stop()
	inParallel(64, keys, 1, 0, func(int) { must(m.CreateKey(ctx, nil)) })
	inParallel(64, keys, 1, 0, func(int) { put(value) })
	names := []string{"keyhold", "grouped bbolt"}
	runs := []func(int){func(int) { must(m.CreateKey(ctx, nil)) }, func(int) { put(value) }}
	times := make([][]float64, len(runs))
	turns := 20 * writers
	for range rounds {
		for k, run := range runs {
			began := time.Now()
			inParallel(writers, turns, 1, 0, run)
			times[k] = append(times[k], float64(time.Since(began))/float64(turns))
		}
	}
	return []*result{newResult(names[0], 0, times[0], times[0]), newResult(names[1], 0, times[1], times[0])}
}

// groupedBolt is the least grouped writer that bbolt allows: one goroutine that puts all
// that is waiting in one transaction, under names that grow.
func groupedBolt(file string) (put func(value []byte), stop func()) {
	db := must(bbolt.Open(file, 0o600, &bbolt.Options{FreelistType: bbolt.FreelistMapType}))
	bucket := []byte("items")
	check(db.Update(func(tx *bbolt.Tx) error { return only(tx.CreateBucket(bucket)) }))
	type waiting struct {
		value []byte
		done  chan error
	}
	queue := make(chan waiting, 64)
	putAll := func(group []waiting) error {
		return db.Update(func(tx *bbolt.Tx) error {
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
	}
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
			err := putAll(group)
			for _, w := range group {
				w.done <- err
			}
		}
	}()
	put = func(value []byte) {
		w := waiting{value, make(chan error, 1)}
		queue <- w
		check(<-w.done)
	}
	return put, func() { close(queue); _ = db.Close() }
}

func only[T any](_ T, err error) error { return err }
