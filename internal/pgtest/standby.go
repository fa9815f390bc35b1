package pgtest

import (
	"fmt"
	"testing"
)

// Standby returns a server that follows s, for this test alone.
func (s *Server) Standby(t testing.TB) *Server {
	t.Helper()
	standby, err := prepare(s.programs)
	if err == nil {
		err = standby.run("pg_basebackup", "-D", standby.data(), "-R", "-c", "fast",
			"-d", fmt.Sprintf("host=127.0.0.1 port=%d user=postgres", s.port))
	}
	if err == nil {
		err = standby.startSomewhere()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := standby.remove(); err != nil {
			t.Error(err)
		}
	})
	return standby
}

// Promote makes a standby a primary, and waits until it is one.
func (s *Server) Promote(t testing.TB) {
	t.Helper()
	if err := s.control("promote"); err != nil {
		t.Fatal(err)
	}
}
