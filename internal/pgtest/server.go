package pgtest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Server is a PostgreSQL server on the loopback, with the database "postgres" and a
// superuser of that name who needs no password.
type Server struct {
	programs string // folder
	folder   string // data, certificate and log; the server's user owns it
	owner    *owner
	port     int
	guard    io.Closer // as long as it is open the guard waits
	guarding *exec.Cmd
}

// Address is where the server listens.
func (s *Server) Address() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// DSN is the connection string of the server, or of a proxy at another address before it.
// Settings like "sslmode=disable" may be added.
func (s *Server) DSN(address string, settings ...string) string {
	return "postgres://postgres@" + address + "/postgres?" + strings.Join(append([]string{"sslmode=disable"}, settings...), "&")
}

// Certificate is the file with the server's certificate, which signs itself and is for
// 127.0.0.1.
func (s *Server) Certificate() string { return filepath.Join(s.folder, "server.crt") }

// Stop stops the server in a mode of pg_ctl: "fast" or "immediate", which is a crash.
func (s *Server) Stop(t testing.TB, mode string) {
	t.Helper()
	if err := s.control("stop", "-m", mode); err != nil {
		t.Fatal(err)
	}
}

// Start starts a server that was stopped, and waits until it takes connections.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
}

// Data is the folder of the server's data, with everything that it wrote.
func (s *Server) Data() string { return s.data() }

func (s *Server) data() string { return filepath.Join(s.folder, "data") }

func (s *Server) start() error {
	return s.control("start", "-l", filepath.Join(s.folder, "log"))
}

func (s *Server) control(what string, more ...string) error {
	return s.run("pg_ctl", append([]string{what, "-w", "-s", "-D", s.data()}, more...)...)
}

// run runs one of PostgreSQL's programs as the server's user. What pg_ctl starts would
// keep a pipe open: complaints go to a file.
func (s *Server) run(program string, args ...string) error {
	complaints, err := os.CreateTemp(s.folder, "complaints")
	if err != nil {
		return err
	}
	defer complaints.Close()
	cmd := exec.Command(filepath.Join(s.programs, program), args...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = s.folder, append(os.Environ(), "LC_ALL=C"), s.owner.attributes()
	cmd.Stdout, cmd.Stderr = complaints, complaints
	if err := cmd.Run(); err != nil {
		said, _ := os.ReadFile(complaints.Name())
		log, _ := os.ReadFile(filepath.Join(s.folder, "log"))
		return fmt.Errorf("pgtest: %s: %w\n%s%s", program, err, said, log[max(0, len(log)-2000):])
	}
	return os.Remove(complaints.Name())
}

// start makes a cluster and starts its server.
func start(programs string) (*Server, error) {
	s, err := prepare(programs)
	if err != nil {
		return nil, err
	}
	err = s.run("initdb", "-D", s.data(), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
	if err == nil {
		err = s.startSomewhere()
	}
	if err != nil {
		return nil, errors.Join(err, s.remove())
	}
	return s, nil
}

// prepare makes the folder of a server, and the guard that removes it.
func prepare(programs string) (s *Server, err error) {
	s = &Server{programs: programs}
	if s.owner, err = findOwner(); err != nil {
		return nil, err
	}
	if s.folder, err = os.MkdirTemp("", "keyhold-postgres-"); err != nil {
		return nil, err
	}
	if err = s.owner.give(s.folder); err == nil {
		err = s.watch()
	}
	if err != nil {
		return nil, errors.Join(err, s.remove())
	}
	return s, nil
}

// startSomewhere starts the server on a port that is free. It may be taken before the
// server has it, and then there are others.
func (s *Server) startSomewhere() (err error) {
	for range 5 {
		if err = s.configure(); err == nil {
			if err = s.start(); err == nil {
				return nil
			}
		}
	}
	return err
}

const settings = `
listen_addresses = '127.0.0.1'
port = %d
unix_socket_directories = ''
max_connections = 300
shared_buffers = '32MB'
autovacuum_naptime = '5s'
ssl = on
ssl_cert_file = '%[2]s/server.crt'
ssl_key_file = '%[2]s/server.key'
wal_level = replica
max_wal_size = '256MB'
`

// configure chooses a port that is free and writes the settings.
func (s *Server) configure() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.port = l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return err
	}
	if err := s.certify(); err != nil {
		return err
	}
	path := filepath.Join(s.data(), "postgresql.conf")
	if err := os.WriteFile(path, fmt.Appendf(nil, settings, s.port, s.folder), 0o600); err != nil {
		return err
	}
	return s.owner.give(path)
}

// watch starts a process that stops the server and removes what is in its folder when this
// process ends, however it ends. The folder itself it may remove only where the server's user may
// write to the folder that it is in, as to /tmp.
func (s *Server) watch() error {
	cmd := exec.Command("/bin/sh", "-c", `trap '' INT TERM; read -r _; "$1" stop -s -m immediate -D "$2/data" 2>/dev/null; rm -rf "$2" 2>/dev/null; [ ! -e "$2/data" ]`,
		"guard", filepath.Join(s.programs, "pg_ctl"), s.folder)
	cmd.Dir, cmd.SysProcAttr = "/", s.owner.attributes()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	s.guard, s.guarding = stdin, cmd
	return cmd.Start()
}

// remove stops the server and removes all that it had.
func (s *Server) remove() error {
	if s.guard == nil {
		return os.RemoveAll(s.folder)
	}
	err := errors.Join(s.guard.Close(), s.guarding.Wait())
	if err != nil {
		err = fmt.Errorf("pgtest: stopping the server in %s: %w", s.folder, err)
	}
	return errors.Join(err, os.RemoveAll(s.folder))
}
