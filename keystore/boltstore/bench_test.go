package boltstore_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"
)

// BenchmarkCreate creates items of 512 bytes with names that grow with time, durably. The
// floor is what bbolt needs for the same names and values when they are grouped by hand,
// as many in a transaction as there are writers. The two take turns, and the metric
// "x-floor", the time of the store as a multiple of the floor's, is the median of all
// turns, so that it depends little on who else uses the disk.
func BenchmarkCreate(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			store, floor := creator(b, writers), floorCreator(b, writers)
			block := 16 * writers
			var storeTime, floorTime time.Duration
			var ratios []float64
			b.ResetTimer()
			for from := 0; from < b.N; from += block {
				to := min(from+block, b.N)
				s := store(from, to)
				b.StopTimer()
				f := floor(from, to)
				storeTime, floorTime = storeTime+s, floorTime+f
				ratios = append(ratios, s.Seconds()/f.Seconds())
				b.StartTimer()
			}
			b.StopTimer()
			slices.Sort(ratios)
			b.ReportMetric(ratios[len(ratios)/2], "x-floor")
			b.ReportMetric(float64(b.N)/storeTime.Seconds(), "creates/s")
			b.ReportMetric(float64(b.N)/floorTime.Seconds(), "floor-creates/s")
		})
	}
}

func benchName(i int) string { return fmt.Sprintf("key/%032x", i) }

// creator returns a function that creates some items and tells how long it took.
func creator(b *testing.B, writers int) func(from, to int) time.Duration {
	s := openNew(b)
	value := make([]byte, 512)
	return func(from, to int) time.Duration {
		start := time.Now()
		var all sync.WaitGroup
		for worker := range writers {
			all.Go(func() {
				for i := from + worker; i < to; i += writers {
					if _, err := s.Put(b.Context(), benchName(i), "", value); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
		return time.Since(start)
	}
}

// floorCreator does as creator does, with bbolt alone and one goroutine.
func floorCreator(b *testing.B, group int) func(from, to int) time.Duration {
	db, err := bbolt.Open(newPath(b), 0o600, &bbolt.Options{FreelistType: bbolt.FreelistMapType, NoStatistics: true})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, db.Close()) })
	bucket, value := []byte("items"), make([]byte, 512+8)
	require.NoError(b, db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket(bucket)
		return err
	}))
	return func(from, to int) time.Duration {
		start := time.Now()
		for ; from < to; from += group {
			if err := db.Update(func(tx *bbolt.Tx) error {
				items := tx.Bucket(bucket)
				items.FillPercent = 0.95
				for i := from; i < min(from+group, to); i++ {
					if err := items.Put([]byte(benchName(i)), value); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				b.Fatal(err)
			}
		}
		return time.Since(start)
	}
}
