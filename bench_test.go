package kms_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/software"
	"github.com/stretchr/testify/require"
)

// The benchmarks put the service beside two floors in the same run, so that what is read is
// a ratio and not a machine: see bench_floor_test.go. `make bench` makes the table.

// A contestant does the three operations for key number i. The last argument of seal and
// open is how many bytes there are.
type contestant interface {
	dataKey(i int)
	seal(i, size int)
	open(i, size int)
}

var contestants = []struct {
	name string
	make func(testing.TB, int) contestant
}{
	{"keyhold", func(t testing.TB, keys int) contestant { return manyKeys(t, keys) }},
	{"least", func(t testing.TB, keys int) contestant { return newLeastKMS(t, keys) }},
	{"raw", func(t testing.TB, _ int) contestant { return newRawGCM(t) }},
}

// BenchmarkUse is every use of a key, for one and for many keys and goroutines.
func BenchmarkUse(b *testing.B) {
	for _, keys := range []int{1, 10_000} {
		made := make([]contestant, len(contestants))
		var once sync.Once
		for _, row := range []struct {
			op    string
			sizes []int
			do    func(c contestant, i, size int)
		}{
			{"GenerateDataKey", []int{32}, func(c contestant, i, _ int) { c.dataKey(i) }},
			{"Encrypt", benchSizes, contestant.seal},
			{"Decrypt", benchSizes, contestant.open},
		} {
			for _, size := range row.sizes {
				for _, goroutines := range []int{1, 2} {
					for n, c := range contestants {
						b.Run(fmt.Sprintf("op=%s/size=%d/keys=%d/goroutines=%d/impl=%s", row.op, size, keys, goroutines, c.name), func(b *testing.B) {
							once.Do(func() {
								for n, c := range contestants {
									made[n] = c.make(b, keys)
								}
							})
							b.ReportAllocs()
							inParallel(b, goroutines, keys, func(i int) { row.do(made[n], i, size) })
						})
					}
				}
			}
		}
	}
}

var benchSizes = []int{32, 1024, 4096}

// inParallel shares b.N turns among goroutines, which go through the keys in the same order
// from different ones on. Each key has been used before: package testing collects garbage
// when a benchmark begins, and what is kept in pools is lost by that.
func inParallel(b *testing.B, goroutines, keys int, do func(i int)) {
	order := rand.New(rand.NewPCG(1, 2)).Perm(keys)
	for i := range keys {
		do(i)
	}
	b.ResetTimer()
	var all sync.WaitGroup
	for g := range goroutines {
		turns := b.N / goroutines
		if g == 0 {
			turns += b.N % goroutines
		}
		all.Go(func() {
			at := g * keys / goroutines
			for range turns {
				do(order[at])
				if at++; at == keys {
					at = 0
				}
			}
		})
	}
	all.Wait()
}

// service is the Manager as a contestant.
type service struct {
	m      *kms.Manager
	ctx    context.Context
	ids    []string
	sealed map[int][][]byte // by size, then key
}

// manyKeys is a service over Memory that has used each of its keys before.
func manyKeys(t testing.TB, keys int) *service {
	root, err := software.NewRoot(pattern(32))
	require.NoError(t, err)
	s := &service{ctx: context.Background(), sealed: map[int][][]byte{}}
	s.m, err = kms.Open(s.ctx, kms.Config{Store: new(keystore.Memory), Root: root, Software: software.New()})
	require.NoError(t, err)
	for range keys {
		key, err := s.m.CreateKey(s.ctx, nil)
		require.NoError(t, err)
		s.ids = append(s.ids, key.ID)
		for _, size := range benchSizes {
			c, err := s.m.Encrypt(s.ctx, key.ID, plaintexts[:size], nil)
			require.NoError(t, err)
			s.sealed[size] = append(s.sealed[size], c)
		}
	}
	return s
}

var plaintexts = make([]byte, 4096)

func (s *service) dataKey(i int) {
	if _, err := s.m.GenerateDataKey(s.ctx, s.ids[i], nil); err != nil {
		panic(err)
	}
}

func (s *service) seal(i, size int) {
	if _, err := s.m.Encrypt(s.ctx, s.ids[i], plaintexts[:size], nil); err != nil {
		panic(err)
	}
}

func (s *service) open(i, size int) {
	if _, err := s.m.Decrypt(s.ctx, s.sealed[size][i], nil); err != nil {
		panic(err)
	}
}

// BenchmarkContext is what an encryption context of two pairs adds to a data key.
func BenchmarkContext(b *testing.B) {
	s := manyKeys(b, 1)
	for name, ec := range map[string]kms.EncryptionContext{"none": nil, "two": {"tenant": "7", "table": "invoices"}} {
		b.Run("pairs="+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.m.GenerateDataKey(s.ctx, s.ids[0], ec); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestAllocationsOfUse: no use of a key takes more than six allocations.
func TestAllocationsOfUse(t *testing.T) {
	s := manyKeys(t, 1)
	for name, use := range map[string]func(){
		"GenerateDataKey": func() { s.dataKey(0) }, "Encrypt": func() { s.seal(0, 32) }, "Decrypt": func() { s.open(0, 32) },
	} {
		allocs := testing.AllocsPerRun(1000, use)
		t.Log(name, allocs)
		require.LessOrEqual(t, allocs, float64(6), name)
	}
}
