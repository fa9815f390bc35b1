package boltstore_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/boltstore"
	"github.com/keyhold/kms/keystore/internal/storetest"
)

// Tests that need a second process run this binary again, with what it shall do in childDo
// and the path of the store in childPath.
const (
	childDo   = "BOLTSTORE_CHILD_DO"
	childPath = "BOLTSTORE_CHILD_PATH"
)

func TestMain(m *testing.M) {
	switch path := os.Getenv(childPath); os.Getenv(childDo) {
	case "hold":
		childExit(hold(path))
	case "write":
		childExit(writeForEver(path))
	default:
		os.Exit(m.Run())
	}
}

func childExit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// A child is a second process. Closing Stdin asks it to end.
type child struct {
	storetest.Child
	lines *bufio.Reader
}

func startChild(t *testing.T, do, path string) child {
	t.Helper()
	c := storetest.StartChild(t, childDo+"="+do, childPath+"="+path)
	return child{c, bufio.NewReader(c.Stdout)}
}

// hold has the store open until stdin ends.
func hold(path string) error {
	s, err := boltstore.Open(path, &boltstore.Options{Create: true})
	if err != nil {
		return err
	}
	fmt.Println("open")
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, s.Close())
}

// TestInUseElsewhere: one process has the file at a time.
func TestInUseElsewhere(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	other := startChild(t, "hold", path)
	line, err := other.lines.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "open\n", line)
	_, err = boltstore.Open(path, &boltstore.Options{Create: true})
	require.ErrorIs(t, err, boltstore.ErrInUse)
	require.NoError(t, other.Stdin.Close())
	require.NoError(t, other.Wait())
	s, err := boltstore.Open(path, &boltstore.Options{Create: true})
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

const childWriters = 8

// writeForEver puts with several writers and tells of each Put that returned, in a line:
// the name, the number in the value, the version. Each writer goes on counting its own
// item up and makes a new item in between.
func writeForEver(path string) error {
	s, err := boltstore.Open(path, &boltstore.Options{Create: true})
	if err != nil {
		return err
	}
	errs := make([]error, childWriters)
	var all sync.WaitGroup
	for w := range childWriters {
		all.Go(func() { errs[w] = writeOne(s, fmt.Sprintf("count/%d", w)) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func writeOne(s *boltstore.Store, name string) error {
	ctx := context.Background()
	item, err := s.Get(ctx, name)
	if err != nil && !errors.Is(err, keystore.ErrNotFound) {
		return err
	}
	n := number(item.Value)
	for version := item.Version; ; {
		n++
		if version, err = acked(ctx, s, name, version, n); err != nil {
			return err
		}
		if _, err = acked(ctx, s, fmt.Sprintf("made/%s/%08d", name, n), "", n); err != nil {
			return err
		}
	}
}

func acked(ctx context.Context, s *boltstore.Store, name string, old keystore.Version, n int) (keystore.Version, error) {
	version, err := s.Put(ctx, name, old, fmt.Appendf(nil, "%d%s", n, strings.Repeat(" ", n%3000)))
	if err == nil {
		_, err = fmt.Printf("%s %d %s\n", name, n, version) // one write, so lines stay whole
	}
	return version, err
}

func number(value []byte) int {
	n, _ := strconv.Atoi(strings.TrimSpace(string(value)))
	return n
}

// TestKilledUnderLoad: a process that writes is killed, again and again. Every Put that
// had returned is there, and the store opens at once.
func TestKilledUnderLoad(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	type ack struct {
		n       int
		version keystore.Version
	}
	told := map[string]ack{}
	for kill := range 20 {
		writer := startChild(t, "write", path)
		for lines := 0; ; lines++ {
			if lines == 10+17*kill {
				require.NoError(t, writer.Process.Kill())
			}
			line, err := writer.lines.ReadString('\n')
			if err != nil { // what it told before it was killed has been read
				require.ErrorIs(t, err, io.EOF)
				require.GreaterOrEqual(t, lines, 10)
				break
			}
			var name string
			var a ack
			_, err = fmt.Sscan(line, &name, &a.n, &a.version)
			require.NoError(t, err)
			told[name] = a
		}
		require.Error(t, writer.Wait())

		s, err := boltstore.Open(path, &boltstore.Options{Create: true})
		require.NoError(t, err, "after kill %d", kill)
		for name, a := range told {
			item, err := s.Get(t.Context(), name)
			require.NoError(t, err, "%s was put before kill %d", name, kill)
			switch n := number(item.Value); {
			case n == a.n:
				require.Equal(t, a.version, item.Version)
			case strings.HasPrefix(name, "count/"): // put, and killed before it could tell
				require.Greater(t, n, a.n)
				require.NotEqual(t, a.version, item.Version)
			default:
				require.Equal(t, a.n, n, "%s after kill %d", name, kill)
			}
		}
		require.NoError(t, s.Close())
	}
	t.Logf("%d names were put, and none was lost", len(told))
}
