package pgstore_test

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/internal/pgtest"
	"github.com/keyhold/kms/keystore/internal/storetest"
)

// Tests that need more processes run this binary again, with what a process shall do in
// childDo and the server in childDSN. Parent and child say JSON to each other. A child ends
// when its stdin does.
const (
	childDo  = "PGSTORE_CHILD_DO"
	childDSN = "PGSTORE_CHILD_DSN"
)

// children are what a process can do.
var children = map[string]func(dsn string, in *json.Decoder, out *json.Encoder) error{
	"write":   writeForEver,
	"linear":  makeHistories,
	"service": serveKeys,
}

func TestMain(m *testing.M) {
	do := os.Getenv(childDo)
	if do == "" {
		os.Exit(pgtest.Main(m))
	}
	if err := children[do](os.Getenv(childDSN), json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)); err != nil && err != io.EOF {
		fmt.Fprintln(os.Stderr, do+":", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// A child is another process.
type child struct {
	*exec.Cmd
	in  *json.Encoder
	out *json.Decoder
}

// startChild starts a process that ends with the test at the latest.
func startChild(t testing.TB, do, dsn string) *child {
	t.Helper()
	c := storetest.StartChild(t, childDo+"="+do, childDSN+"="+dsn)
	return &child{c.Cmd, json.NewEncoder(c.Stdin), json.NewDecoder(c.Stdout)}
}

// ask says something to a child and reads its answer.
func ask[A any](t testing.TB, c *child, question any) (answer A) {
	t.Helper()
	require.NoError(t, c.in.Encode(question))
	require.NoError(t, c.out.Decode(&answer))
	return answer
}
