package storetest

import (
	"io"
	"os"
	"os/exec"
	"testing"
)

// Child is a process that runs the test binary once more.
type Child struct {
	*exec.Cmd
	Stdin  io.WriteCloser
	Stdout io.Reader
}

// StartChild starts a Child that ends with the test at the latest. It adds env to the
// environment, by which TestMain tells a Child from the tests. The Child writes its errors to
// os.Stderr.
func StartChild(t testing.TB, env ...string) Child {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() }) // the context has ended, and with it the process
	return Child{cmd, stdin, stdout}
}
