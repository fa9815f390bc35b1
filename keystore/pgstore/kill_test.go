package pgstore_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/internal/campaign"
	"github.com/keyhold/kms/internal/pgtest"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/pgstore"
)

// A writing tells a process what to write.
type writing struct{ Table, Prefix string }

// An ack tells of a Put that returned.
type ack struct {
	Name    string
	N       int
	Version keystore.Version
}

const childWriters = 4

// writeForEver puts with several writers and tells of each Put that returned. Each writer
// goes on counting its own item up and makes a new item in between. What fails is tried
// again: the server may be down.
func writeForEver(dsn string, in *json.Decoder, out *json.Encoder) error {
	ctx := context.Background()
	var w writing
	if err := in.Decode(&w); err != nil {
		return err
	}
	var s *pgstore.Store
	for {
		var err error
		if s, err = pgstore.Open(ctx, dsn, &pgstore.Options{Table: w.Table, Create: true}); err == nil {
			break // else the server is down
		}
	}
	var mu sync.Mutex
	errs := make([]error, childWriters)
	var all sync.WaitGroup
	for i := range childWriters {
		all.Go(func() {
			errs[i] = writeOne(ctx, s, fmt.Sprintf("%s/count/%d", w.Prefix, i), func(a ack) error {
				mu.Lock()
				defer mu.Unlock()
				return out.Encode(a)
			})
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func writeOne(ctx context.Context, s *pgstore.Store, name string, tell func(ack) error) error {
	for {
		item, err := s.Get(ctx, name)
		if err != nil && !errors.Is(err, keystore.ErrNotFound) {
			continue // the server is down
		}
		for n, version := number(item.Value)+1, item.Version; ; n++ {
			if version, err = s.Put(ctx, name, version, value(n)); err != nil {
				break // the server is down, or has done what a process that was killed had sent: look again
			}
			if err := tell(ack{name, n, version}); err != nil {
				return err
			}
			made := fmt.Sprintf("made/%s/%08d", name, n)
			switch v, err := s.Put(ctx, made, "", value(n)); {
			case err == nil:
				if err := tell(ack{made, n, v}); err != nil {
					return err
				}
			case errors.Is(err, keystore.ErrConflict):
				return fmt.Errorf("%s is there", made)
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

func value(n int) []byte { return fmt.Appendf(nil, "%d%s", n, strings.Repeat(" ", n%3000)) }

func number(value []byte) int {
	n, _ := strconv.Atoi(strings.TrimSpace(string(value)))
	return n
}

// TestKilledUnderLoad: processes that write are killed, and so is the server, again and
// again. Every Put that had returned is there, and nothing older has come back.
func TestKilledUnderLoad(t *testing.T) {
	t.Parallel()
	rounds := campaign.Size(60, 3000) // each kills three writers, and each third the server
	server := pgtest.New(t)
	opts := newTable()
	at := server.DSN(server.Address(), "pool_max_conns=4", "connect_timeout=5")
	s := open(t, at, opts)
	told := map[string]ack{}
	check := func(names map[string]ack) {
		for name, a := range names {
			item, err := s.Get(t.Context(), name)
			require.NoError(t, err, "%s was put", name)
			switch n := number(item.Value); {
			case n == a.N:
				require.Equal(t, a.Version, item.Version)
			case strings.Contains(name, "made/"):
				require.Equal(t, a.N, n, name)
			default: // put, and killed before it could tell
				require.Greater(t, n, a.N, "%s went back", name)
			}
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	writers := make([]*writerChild, 3)
	for n := range rounds {
		for i := range writers {
			writers[i] = startWriter(t, at, writing{opts.Table, fmt.Sprintf("w%d", i)})
		}
		for _, w := range writers {
			w.await(t, 1+random.IntN(40))
		}
		if n%3 == 0 {
			server.Stop(t, "immediate")
			server.Start(t)
			for _, w := range writers {
				w.await(t, 1) // it goes on by itself
			}
		}
		news := map[string]ack{}
		for _, w := range writers { // each while those behind it go on
			maps.Copy(news, w.kill(t))
		}
		check(news) // while nobody writes, or there would be more to check each time
		maps.Copy(told, news)
	}
	check(told)
	t.Logf("%d names were put over %d kills and %d crashes, and none was lost", len(told), 3*rounds, (rounds+2)/3)
}

// A writerChild is a process that writes, and what it told.
type writerChild struct {
	*child
	more  chan struct{} // says that there is more
	ended chan struct{}

	mu   sync.Mutex
	told map[string]ack
	n    int
}

func startWriter(t *testing.T, dsn string, what writing) *writerChild {
	w := &writerChild{child: startChild(t, "write", dsn), told: map[string]ack{}, more: make(chan struct{}, 1),
		ended: make(chan struct{})}
	require.NoError(t, w.in.Encode(what))
	go func() {
		defer close(w.ended)
		for {
			var a ack
			if w.out.Decode(&a) != nil { // what it told before it was killed has been read
				return
			}
			w.mu.Lock()
			w.told[a.Name] = a
			w.n++
			w.mu.Unlock()
			select {
			case w.more <- struct{}{}:
			default:
			}
		}
	}()
	return w
}

// await waits until a writer has told of n Puts from now on.
func (w *writerChild) await(t *testing.T, n int) {
	t.Helper()
	count := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.n
	}
	late := time.After(time.Minute)
	for want := count() + n; count() < want; {
		select {
		case <-w.more:
		case <-w.ended:
			t.Fatal("a writer gave up")
		case <-late:
			t.Fatal("a writer does not get on")
		}
	}
}

// kill kills a writer and returns what it had told.
func (w *writerChild) kill(t *testing.T) map[string]ack {
	require.NoError(t, w.Process.Kill())
	<-w.ended
	require.Error(t, w.Wait())
	return w.told
}
