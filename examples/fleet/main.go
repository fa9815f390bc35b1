// Command fleet shows several processes that share their keys in a PostgreSQL database: one
// disables a key, and the others refuse it.
//
//	go run ./examples/fleet -dsn postgres://… -dir folder
//
// The folder keeps the root that seals the keys; in earnest each process has it from a safer
// place. The keys are in the table fleet_keys.
//
// It makes a key, starts two more processes that use it as fast as they can, disables it,
// and tells how long after that each of them used it for the last time. All have promised,
// with MaxStaleness, to obey within a second. Since they run Run, it takes milliseconds.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/keystore/pgstore"
	"github.com/keyhold/kms/software"
)

const maxStaleness = time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

// run is what the first process does, and, with -use, what the others do.
func run(ctx context.Context, out io.Writer, args []string) error {
	flags := flag.NewFlagSet("fleet", flag.ExitOnError)
	dsn := flags.String("dsn", os.Getenv("DATABASE_URL"), "connection `string` of the database")
	dir := flags.String("dir", "", "`folder` of the root")
	use := flags.String("use", "", "`key` to use until it is refused: what the other processes are started with")
	_ = flags.Parse(args) // ends the program where it fails

	switch {
	case *dsn == "" || *dir == "":
		return errors.New("name a database with -dsn, or DATABASE_URL, and a folder with -dir")
	case *use != "":
		return member(ctx, out, *dsn, *dir, *use)
	}
	if err := os.MkdirAll(*dir, 0o700); err != nil {
		return err
	}
	return first(ctx, out, *dsn, *dir)
}

// first makes a key, has two others use it, and disables it.
func first(ctx context.Context, out io.Writer, dsn, dir string) error {
	if err := firstStart(ctx, dsn, dir); err != nil {
		return err
	}
	keys, done, err := open(ctx, dsn, dir)
	if err != nil {
		return err
	}
	defer done()
	key, err := keys.CreateKey(ctx, &kms.CreateKeyOptions{Description: "of the fleet"})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "process 1 made the key", key.ID)

	var others []*process
	for n := range 2 {
		p, err := start(ctx, n+2, dsn, "-dir", dir, "-use", key.ID)
		if err != nil {
			return err
		}
		defer p.end()
		others = append(others, p)
	}
	for _, p := range others {
		if _, err := p.line(); err != nil {
			return err
		}
		fmt.Fprintf(out, "process %d uses it\n", p.n)
	}

	asked := time.Now()
	if _, err := keys.DisableKey(ctx, key.ID); err != nil {
		return err
	}
	disabled := time.Now()
	fmt.Fprintln(out, "process 1 disabled it, which took", disabled.Sub(asked).Round(10*time.Microsecond))
	for _, p := range others {
		line, err := p.line()
		if err != nil {
			return err
		}
		last, err := strconv.ParseInt(line, 10, 64)
		if err != nil {
			return err
		}
		late := max(0, time.Unix(0, last).Sub(disabled)).Round(10 * time.Microsecond)
		fmt.Fprintf(out, "process %d refuses it; its last use began %v after the disable returned\n", p.n, late)
		if late > maxStaleness {
			return errors.New("that is later than was promised")
		}
	}
	return nil
}

// member uses a key until it is refused, and prints when the last use began.
func member(ctx context.Context, out io.Writer, dsn, dir, key string) error {
	keys, done, err := open(ctx, dsn, dir)
	if err != nil {
		return err
	}
	defer done()
	var last time.Time
	for {
		begun := time.Now()
		switch _, err := keys.GenerateDataKey(ctx, key, nil); {
		case errors.Is(err, kms.ErrDisabled):
			_, err := fmt.Fprintln(out, last.UnixNano())
			return err
		case err != nil:
			return err
		case last.IsZero():
			fmt.Fprintln(out, "ready")
		}
		last = begun
	}
}

func rootFile(dir string) string { return filepath.Join(dir, "root.key") }

// firstStart makes the root and then the table, if there is no table yet that another root could
// have sealed.
func firstStart(ctx context.Context, dsn, dir string) error {
	store, err := pgstore.Open(ctx, dsn, &pgstore.Options{Table: table})
	if errors.Is(err, pgstore.ErrNoTable) {
		if _, err := software.CreateRootFile(rootFile(dir)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		store, err = pgstore.Open(ctx, dsn, &pgstore.Options{Table: table, Create: true})
	}
	if err != nil {
		return err
	}
	return store.Close()
}

// open opens the keys of the fleet, and keeps fresh what it knows of them until done is
// called.
func open(ctx context.Context, dsn, dir string) (keys *kms.Manager, done func(), err error) {
	root, err := software.OpenRootFile(rootFile(dir))
	if err != nil {
		return nil, nil, err
	}
	return openStore(ctx, dsn, kms.Config{Root: root, Software: software.New(), MaxStaleness: maxStaleness})
}

// A process is one of the others.
type process struct {
	n   int
	cmd *exec.Cmd
	out *bufio.Reader
}

// start starts a process. The connection string may hold a password, and everybody can see
// arguments.
func start(ctx context.Context, n int, dsn string, args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env, cmd.Stderr = append(os.Environ(), "DATABASE_URL="+dsn), os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &process{n, cmd, bufio.NewReader(stdout)}, cmd.Start()
}

// line reads what the process says next.
func (p *process) line() (string, error) {
	line, err := p.out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("process %d: %w", p.n, err)
	}
	return strings.TrimSpace(line), nil
}

func (p *process) end() {
	_ = p.cmd.Process.Kill() // it has ended by itself, if all went well
	_ = p.cmd.Wait()
}
