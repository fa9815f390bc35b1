// Command benchtable runs the benchmarks of this module and prints a Markdown table of
// how they stand to their floors. It is for the makers of this module: see `make bench`.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

func main() {
	count := flag.Int("count", 5, "how often to run everything; the table has medians")
	benchtime := flag.String("benchtime", "100ms", "how long each benchmark runs each time")
	pattern := flag.String("bench", "^Benchmark(Use|Durable)$", "which benchmarks")
	write := flag.String("write", "", "a document in which to replace the table, instead of printing it")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *count, *benchtime, *pattern, *write); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, count int, benchtime, pattern, write string) error {
	began := time.Now()
	folder, err := os.MkdirTemp("", "benchtable")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	binary := filepath.Join(folder, "bench.test")
	if _, err := output(ctx, "go", "test", "-c", "-o", binary, "."); err != nil {
		return err
	}
	// Every run is a process of its own and goes through all benchmarks, so that a slow
	// minute of the machine falls on both sides of a ratio.
	var runs []string
	for i := range count {
		out, err := output(ctx, binary, "-test.run=^$", "-test.bench="+pattern, "-test.benchtime="+benchtime)
		if err != nil {
			return err
		}
		runs = append(runs, out)
		fmt.Fprintf(os.Stderr, "benchtable: %d of %d runs done after %s\n", i+1, count, time.Since(began).Round(time.Second))
	}
	text := caption(ctx, runs[0], benchtime, count) + "\n" + table(parse(runs))
	if write == "" {
		fmt.Print(text)
		return nil
	}
	document, err := os.ReadFile(write)
	if err != nil {
		return err
	}
	changed, err := replaced(string(document), "\n"+text+"\n")
	if err != nil {
		return err
	}
	return os.WriteFile(write, []byte(changed), 0o644)
}

// caption says where the figures come from.
func caption(ctx context.Context, out, benchtime string, count int) string {
	cpu := "an unknown CPU"
	if m := cpuLine.FindStringSubmatch(out); m != nil {
		cpu = m[1]
	}
	commit, err := output(ctx, "git", "describe", "--always", "--dirty", "--abbrev=12")
	if err != nil {
		commit = "unknown"
	}
	return fmt.Sprintf("%s, %s, %s/%s, %s with %d CPUs, commit %s, `go run ./internal/benchtable -count %d -benchtime %s`. "+
		"Medians of %d runs; ratios are of the same run, with their range.\n",
		time.Now().UTC().Format(time.DateOnly), runtime.Version(), runtime.GOOS, runtime.GOARCH, cpu, runtime.NumCPU(),
		strings.TrimSpace(commit), count, benchtime, count)
}

func output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("benchtable: %s: %w\n%s", filepath.Base(name), err, out)
	}
	return string(out), nil
}
