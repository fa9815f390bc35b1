package storetest_test

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/internal/storetest"
)

const echo = "STORETEST_ECHO"

func TestMain(m *testing.M) {
	if os.Getenv(echo) == "" {
		os.Exit(m.Run())
	}
	_, _ = io.Copy(os.Stdout, os.Stdin)
}

func TestStartChild(t *testing.T) {
	t.Parallel()
	c := storetest.StartChild(t, echo+"=1")
	_, err := io.WriteString(c.Stdin, "said")
	require.NoError(t, err)
	require.NoError(t, c.Stdin.Close())
	said, err := io.ReadAll(c.Stdout)
	require.NoError(t, err)
	require.Equal(t, "said", string(said))
	require.NoError(t, c.Wait())
}

// A Child that nobody waits for ends with its test.
func TestChildEndsWithTest(t *testing.T) {
	t.Parallel()
	var c storetest.Child
	t.Run("start", func(t *testing.T) { c = storetest.StartChild(t, echo+"=1") })
	require.NotNil(t, c.ProcessState)
	require.False(t, c.ProcessState.Success())
}

// Each Put begins when those before it wait, none ends before release, and each has its own
// result.
func TestGroup(t *testing.T) {
	t.Parallel()
	var queue atomic.Int64
	held := make(chan struct{})
	refused := errors.New("refused")
	results := storetest.Group(5, func() int { return int(queue.Load()) }, func() { close(held) },
		func(i int) (keystore.Version, error) {
			place := queue.Add(1)
			<-held
			if place != int64(i+1) || i == 3 {
				return "", refused
			}
			return keystore.Version('a' + rune(i)), nil
		})
	require.Equal(t, []storetest.Result{{"a", nil}, {"b", nil}, {"c", nil}, {"", refused}, {"e", nil}}, results)
}
