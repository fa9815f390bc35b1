// Command mutants tells whether the tests notice when a guard breaks. For each of its mutants it
// breaks one line of the module in a copy, and runs the tests that have to fail.
//
//	go run ./internal/mutants          all of them
//	go run ./internal/mutants alias    those whose name has that word
//
// A mutant that survives is a test that is missing.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	chosen := list
	if len(os.Args) > 1 {
		chosen = nil
		for _, m := range list {
			if strings.Contains(m.name, os.Args[1]) {
				chosen = append(chosen, m)
			}
		}
	}
	caught, err := runAll(ctx, chosen)
	fmt.Printf("%d of %d mutants were caught\n", caught, len(chosen))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err != nil || caught != len(chosen) || caught == 0 {
		os.Exit(1)
	}
}

// atOnce is how many mutants are run at once.
const atOnce = 2

// runAll runs the tests of all without a change, which have to pass, and then each mutant.
func runAll(ctx context.Context, chosen []mutant) (caught int, err error) {
	work, err := newFolder()
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(work)
	var copies [atOnce]copied
	for i := range copies {
		if copies[i], err = newCopy(work, i); err != nil {
			return 0, err
		}
	}
	for _, control := range controls(chosen) {
		if out, err := copies[0].test(ctx, control); err != nil {
			return 0, fmt.Errorf("without a change the tests of %s fail: %w\n%s", control.pkg, err, out)
		}
		fmt.Printf("passes without a change: %s\n", control.pkg)
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	queue := make(chan mutant)
	for i := range copies {
		all.Go(func() {
			for m := range queue {
				begun := time.Now()
				how, failed := copies[i].try(ctx, m)
				mu.Lock()
				fmt.Printf("%-15s %-48s %4.0f s\n", how, m.name, time.Since(begun).Seconds())
				if err = errors.Join(err, failed); how == wasCaught {
					caught++
				}
				mu.Unlock()
			}
		})
	}
	for _, m := range chosen {
		queue <- m
	}
	close(queue)
	all.Wait()
	return caught, err
}

// controls are the tests of all mutants, one for each package.
func controls(chosen []mutant) (all []mutant) {
	at := map[string]int{}
	for _, m := range chosen {
		i, known := at[m.pkg]
		if !known {
			at[m.pkg] = len(all)
			all = append(all, mutant{name: "control", pkg: m.pkg, run: m.run})
			continue
		}
		all[i].run += "|" + m.run
	}
	return all
}

// newFolder makes a folder in memory, where the system has one. Others may look: a database
// server that a test starts runs as somebody else.
func newFolder() (string, error) {
	folder, err := os.MkdirTemp("/dev/shm", "mutants")
	if err != nil {
		folder, err = os.MkdirTemp("", "mutants")
	}
	return folder, errors.Join(err, os.Chmod(folder, 0o755))
}

// A copied module can be broken.
type copied struct{ folder, temp string }

// newCopy copies the module that is the working folder, without what is hidden and without
// modules in it.
func newCopy(work string, n int) (copied, error) {
	c := copied{filepath.Join(work, fmt.Sprint("module", n)), filepath.Join(work, fmt.Sprint("temp", n))}
	if err := errors.Join(os.Mkdir(c.temp, 0o755), os.Chmod(c.temp, os.ModeSticky|0o777)); err != nil {
		return c, err
	}
	return c, filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			_, other := os.Stat(filepath.Join(path, "go.mod"))
			if path != "." && (strings.HasPrefix(d.Name(), ".") || other == nil) {
				return filepath.SkipDir
			}
			return os.MkdirAll(filepath.Join(c.folder, path), 0o755)
		}
		if !d.Type().IsRegular() {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(c.folder, path), content, 0o644)
	})
}

const (
	wasCaught    = "caught"
	hasSurvived  = "SURVIVED"
	doesNotBuild = "DOES NOT BUILD"
	wasNotTried  = "NOT TRIED"
)

// try breaks the copy, runs the tests, and mends it.
func (c copied) try(ctx context.Context, m mutant) (how string, err error) {
	path := filepath.Join(c.folder, m.file)
	whole, err := os.ReadFile(path)
	if err != nil {
		return wasNotTried, err
	}
	broken, err := m.apply(whole)
	if err != nil {
		return wasNotTried, err
	}
	if err := os.WriteFile(path, broken, 0o644); err != nil {
		return wasNotTried, err
	}
	out, failed := c.test(ctx, m)
	switch {
	case ctx.Err() != nil:
		how, err = wasNotTried, ctx.Err()
	case failed == nil:
		how = hasSurvived
	case bytes.Contains(out, []byte("[build failed]")) || bytes.Contains(out, []byte("[setup failed]")):
		how, err = doesNotBuild, fmt.Errorf("%s:\n%s", m.name, out)
	case !bytes.Contains(out, []byte("--- FAIL")) && !bytes.Contains(out, []byte("panic: ")):
		how, err = wasNotTried, fmt.Errorf("%s: no test failed: %w\n%s", m.name, failed, out)
	default:
		how = wasCaught
	}
	return how, errors.Join(err, os.WriteFile(path, whole, 0o644))
}

// apply changes the content of the file of a mutant.
func (m mutant) apply(content []byte) ([]byte, error) {
	if n := bytes.Count(content, []byte(m.old)); n != 1 {
		return nil, fmt.Errorf("%s: its text stands %d times in %s, and not once", m.name, n, m.file)
	}
	return bytes.Replace(content, []byte(m.old), []byte(m.new), 1), nil
}

// test runs the tests of a mutant. Paths are trimmed, so that copies share what was built; what
// is run for seconds is not worth optimizing.
func (c copied) test(ctx context.Context, m mutant) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-trimpath", "-gcflags=-N -l", "-ldflags=-s -w",
		"-vet=off", "-failfast", "-timeout", "5m", "-run", m.run, m.pkg)
	cmd.Dir = c.folder
	cmd.Env = append(os.Environ(), "TMPDIR="+c.temp)
	return cmd.CombinedOutput()
}
