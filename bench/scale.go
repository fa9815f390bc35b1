package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/keystore/boltstore"
)

// scale makes that many keys on a file, in a process that then opens it cold, uses each key once
// and goes on using them, and says what that takes. It is for a few words, not for ratios.
func scale(ctx context.Context, folder string, keys int) string {
	var b strings.Builder
	file, root := filepath.Join(folder, "many"), newRoot()
	ids, created := createMany(ctx, file, root, keys)
	fmt.Fprintf(&b, "- %s keys made durable by 64 writers: %s a second; the file has %s MB.\n",
		spaced(float64(keys)), spaced(float64(keys)/created.Seconds()), spaced(float64(must(os.Stat(file)).Size())/1e6))

	began := time.Now()
	s := must(boltstore.Open(file, &boltstore.Options{Create: true}))
	defer s.Close()
	m := newManager(ctx, s, root, keys)
	must(m.GenerateDataKey(ctx, ids[keys/2], nil))
	fmt.Fprintf(&b, "- Opened cold, until the first data key: %.1f ms.\n", ms(time.Since(began)))

	runtime.GC()
	before := heap()
	began = time.Now()
	for _, id := range ids {
		must(m.GenerateDataKey(ctx, id, nil))
	}
	first := time.Since(began) / time.Duration(keys)
	runtime.GC()
	runtime.GC()
	fmt.Fprintf(&b, "- Each key used once: %s ns; live heap of an opened key: %s bytes.\n",
		spaced(float64(first)), spaced(float64(heap()-before)/float64(keys)))

	many, times, middle := throughAll(keys, func(i int) { must(m.GenerateDataKey(ctx, ids[i], nil)) })
	fmt.Fprintf(&b, "- GenerateDataKey through all keys, %s ns, is %.1f times that of one of them (in the middle round %.1f).\n",
		spaced(many), times, middle)
	_, times, middle = throughAll(keys, leastKMS(keys).dataKey)
	fmt.Fprintf(&b, "- With the least KMS, in memory alone, it is %.1f times (in the middle round %.1f).\n", times, middle)

	other := newManager(ctx, s, root, 1) // which has counted no uses that it would keep
	fmt.Fprintf(&b, "- Maintain looking at all keys, once in 24 hours: %.0f ms.\n", ms(timed(func() { must(other.Maintain(ctx)) })))
	fmt.Fprintf(&b, "- Maintain with nothing due: %.2f ms.\n", ms(timed(func() { must(other.Maintain(ctx)) })))

	at := durable(ctx, must(os.MkdirTemp(folder, "at")), keys, 64, 40)
	fmt.Fprintf(&b, "- CreateKey by 64 writers where there are as many keys already: %s ns, %.2f times what grouped bbolt alone does in the time (in the middle round %.2f).\n",
		spaced(at[0].quiet), at[1].quiet/at[0].quiet, at[1].median/at[0].median)
	return b.String()
}

// throughAll does something with each of many keys in turn, and with one of them alone: how many ns
// it takes then, and how many times as long as with the one, when least is disturbed and in the
// middle round.
func throughAll(keys int, do func(i int)) (ns, times, middle float64) {
	one := func(int) { do(0) }
	var ofOne, ofAll []float64
	for round := range 200 {
		ofOne = append(ofOne, float64(timed(func() { inParallel(1, 1000, 1, 0, one) }))/1000)
		ofAll = append(ofAll, float64(timed(func() { inParallel(1, 1000, keys, round*1000, do) }))/1000)
	}
	many, single := newResult("", 0, ofAll, ofOne), newResult("", 0, ofOne, ofOne)
	return many.quiet, many.quiet / single.quiet, many.median / single.median
}

func createMany(ctx context.Context, file string, root kms.Root, keys int) (ids []string, took time.Duration) {
	s := must(boltstore.Open(file, &boltstore.Options{Create: true}))
	defer s.Close()
	m := newManager(ctx, s, root, 1)
	ids = make([]string, keys)
	return ids, timed(func() {
		var all sync.WaitGroup
		for w := range 64 {
			all.Go(func() {
				for i := w; i < keys; i += 64 {
					ids[i] = must(m.CreateKey(ctx, nil)).ID
				}
			})
		}
		all.Wait()
	})
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func timed(do func()) time.Duration {
	began := time.Now()
	do()
	return time.Since(began)
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }
