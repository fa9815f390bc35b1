package memory_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/keyid"
	"github.com/keyhold/kms/internal/sealing"
	"github.com/keyhold/kms/internal/wrapping"
	"github.com/keyhold/kms/software"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		child()
		return
	}
	os.Exit(m.Run())
}

// TestNothingStaysBehind searches the memory of a process that has used keys. What a caller or the
// service has wiped is not in it once. A key that is in use is, so that the search is known to find
// something. It asserts nothing about keys that stay in use for the life of a process (the root, the
// keys of an instance, opened keys), nor about what the standard library and Tink leave behind of
// private keys that they parsed.
func TestNothingStaysBehind(t *testing.T) {
	t.Parallel()
	rootKey, material := make([]byte, 32), make([]byte, 32)
	rand.Read(rootKey)
	rand.Read(material)
	root, err := software.NewRoot(rootKey)
	require.NoError(t, err)

	p := startChild(t)
	p.give(t, rootKey)
	heard := map[string][]byte{}
	hear := func(names ...string) {
		for _, name := range names {
			heard[name] = p.hear(t, name)
		}
	}
	hear("a live key", "a data key", "a data key that was opened", "a plaintext", "a plaintext that was opened",
		"the instance", "the key to import into", "the public key", "the token")

	wrapped, err := kms.WrapForImport(kms.ImportParameters{Algorithm: kms.WrapAESKeyWrap, PublicKey: heard["the public key"]}, material)
	require.NoError(t, err)
	p.give(t, wrapped)
	hear("done")

	instanceKey, private := unsealed(t, root, heard)
	found := p.search(t, map[string][]byte{
		"a live key": heard["a live key"], "a data key": heard["a data key"], "a data key that was opened": heard["a data key that was opened"],
		"a plaintext": heard["a plaintext"], "a plaintext that was opened": heard["a plaintext that was opened"],
		"the instance key": instanceKey, "imported material": material, "the private key of a token": private,
	})
	require.Positive(t, found["a live key"], "the search finds nothing at all")
	delete(found, "a live key")
	for what, times := range found {
		require.Zero(t, times, "%s is still in memory", what)
	}
}

// unsealed opens the instance key and the private key of the token, as one with the root could.
func unsealed(t *testing.T, root kms.Root, heard map[string][]byte) (instanceKey, private []byte) {
	t.Helper()
	instance, _ := sealing.Named(heard["the instance"])
	body, ok := sealing.Peek(instance, heard["the instance"])
	require.True(t, ok)
	var record struct {
		Store      []byte
		Seals      []struct{ Key []byte }
		Generation uint64
	}
	require.NoError(t, json.Unmarshal(body, &record))
	instanceKey, err := root.Decrypt(record.Seals[0].Key, sealing.RootContext(record.Store, instance))
	require.NoError(t, err)
	keys, err := sealing.Derive(instance, record.Store, record.Generation, bytes.Clone(instanceKey))
	require.NoError(t, err)
	id, ok := keyid.Parse(string(heard["the key to import into"]))
	require.True(t, ok)
	opened, err := keys.Open(sealing.ImportToken(id), heard["the token"][1:])
	require.NoError(t, err)
	token, ok := wrapping.DecodeToken(opened)
	require.True(t, ok)
	return instanceKey, token.Private
}

// A process is the child.
type process struct {
	pid int
	in  io.WriteCloser
	out *bufio.Reader
}

func startChild(t *testing.T) *process {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), childVariable+"=1"), os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
	})
	return &process{cmd.Process.Pid, in, bufio.NewReader(out)}
}

func (p *process) give(t *testing.T, b []byte) {
	t.Helper()
	require.NoError(t, write(p.in, b))
}

// hear returns what the child says next, which has that name.
func (p *process) hear(t *testing.T, name string) []byte {
	t.Helper()
	got, err := read(p.out)
	require.NoError(t, err, "the child ended before %s", name)
	require.Equal(t, name, string(got))
	b, err := read(p.out)
	require.NoError(t, err)
	return b
}

// chunk is how much is searched at once; no mapping that is longer than largest is: the shadow of the
// race detector is, and is nearly empty.
const (
	chunk   = 4 << 20
	largest = 1 << 30
)

// search counts how often secrets are in the memory of the child, which waits meanwhile.
func (p *process) search(t *testing.T, secrets map[string][]byte) map[string]int {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", p.pid))
	require.NoError(t, err)
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", p.pid))
	require.NoError(t, err)
	defer mem.Close()
	longest := 0
	for _, secret := range secrets {
		longest = max(longest, len(secret))
	}
	counts, searched := map[string]int{}, 0
	for line := range strings.Lines(string(maps)) {
		var from, to uint64
		var mode string
		_, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode)
		require.NoError(t, err, line)
		if !strings.HasPrefix(mode, "rw") || to-from > largest {
			continue
		}
		b := make([]byte, chunk+longest-1) // what lies across a border is in both chunks, and may count twice
		for at := from; at < to; at += chunk {
			n, err := mem.ReadAt(b[:min(uint64(len(b)), to-at)], int64(at))
			if n == 0 && err != nil {
				continue // a page that is reserved
			}
			searched += n
			for name, secret := range secrets {
				counts[name] += bytes.Count(b[:n], secret)
			}
		}
	}
	require.Greater(t, searched, 1<<20, "what was read is no memory of a Go program")
	for name := range secrets {
		counts[name] += 0
	}
	return counts
}

// write and read send a message after its length, without a copy of it.
func write(w io.Writer, b []byte) error {
	if _, err := w.Write([]byte{byte(len(b) >> 8), byte(len(b))}); err != nil {
		return err
	}
	_, err := w.Write(b)
	return err
}

func read(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	b := make([]byte, int(length[0])<<8|int(length[1]))
	_, err := io.ReadFull(r, b)
	return b, err
}
