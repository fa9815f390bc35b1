package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRun starts the program, uses it, ends it, and does so again over the same folder.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	args := []string{"-dir", dir, "-callers", callersFile(t), "-address", "localhost:0"}
	require.ErrorIs(t, run(t.Context(), new(bytes.Buffer), args, nil), fs.ErrNotExist, "there is nothing yet")
	made, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, made, "and nothing is made")
	for _, args := range [][]string{append(args, "-init"), args} {
		ctx, stop := context.WithCancel(t.Context())
		var out bytes.Buffer // read when run has returned
		listens, ended := make(chan net.Addr, 1), make(chan error, 1)
		go func() { ended <- run(ctx, &out, args, func(a net.Addr) { listens <- a }) }()
		var address string
		select {
		case a := <-listens:
			address = "http://" + a.String()
		case err := <-ended:
			require.NoError(t, err)
			t.FailNow()
		}

		id := ask(t, "POST", address+"/notes", `{"title":"Monday","text":"`+secret+`"}`)["id"]
		require.Equal(t, secret, ask(t, "GET", address+"/notes/"+id, "")["text"])
		stop()
		require.NoError(t, <-ended)
		require.Contains(t, out.String(), `"op":"Maintain"`)
		require.NotContains(t, out.String(), secret)
	}
	require.ErrorIs(t, run(t.Context(), new(bytes.Buffer), append(args, "-init"), nil), fs.ErrExist, "there is a root")
	require.Error(t, run(t.Context(), new(bytes.Buffer), nil, nil), "no folder")
}

func ask(t *testing.T, method, url, body string) (answer map[string]string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+acmeToken)
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Less(t, response.StatusCode, 300)
	require.NoError(t, json.NewDecoder(response.Body).Decode(&answer))
	return answer
}
