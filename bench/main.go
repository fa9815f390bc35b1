// Command bench measures this module beside the least that could do the same, and beside others
// that do something like it. It is a module of its own, so that they stay out of the other's
// dependencies.
//
//	cd bench && go run .
//
// prints a table of ratios, all taken in one run in which each contestant has its turn
// every third of a millisecond, and draws the plot, speed.svg.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

func main() {
	rounds := flag.Int("rounds", 300, "how many turns each contestant has; 0: only -scale is done")
	keys := flag.Int("scale", 100_000, "how many keys to make on a file; 0: none. At 1000000 it takes minutes")
	svg := flag.String("svg", "speed.svg", "where to draw the plot; empty: nowhere")
	write := flag.String("write", "", "a document in which to replace the tables, instead of printing them")
	flag.Parse()
	if err := run(context.Background(), *rounds, *keys, *svg, *write); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, rounds, keys int, svg, write string) error {
	if rounds == 0 {
		folder, err := os.MkdirTemp("", "bench")
		if err != nil {
			return err
		}
		defer os.RemoveAll(folder)
		fmt.Print(caption(rounds) + ".\n\n" + scale(ctx, folder, keys))
		return nil
	}
	var tasks []task
	var results [][]*result
	legend := ""
	for _, many := range []int{1, 10_000} {
		contestants := newContestants(ctx, many)
		if many == 1 {
			legend = who(contestants)
		}
		for _, t := range tasksOf(many) {
			fmt.Fprintf(os.Stderr, "bench: %s of %d bytes, %d keys, %d goroutines\n", t.op, t.size, t.keys, t.goroutines)
			tasks = append(tasks, t)
			results = append(results, measure(t, contestants, rounds))
		}
	}
	folder, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	for _, writers := range []int{1, 64} {
		fmt.Fprintf(os.Stderr, "bench: CreateKey by %d writers\n", writers)
		tasks = append(tasks, task{"CreateKey", 0, 1, writers})
		sub, err := os.MkdirTemp(folder, "durable")
		if err != nil {
			return err
		}
		results = append(results, durable(ctx, sub, 0, writers, max(5, rounds/10)))
	}
	text := caption(rounds) + ".\n\n" + legend + "\n" + table(tasks, results) + "\n" + scaling(tasks, results)
	if keys > 0 {
		fmt.Fprintf(os.Stderr, "bench: %d keys on a file\n", keys)
		text += scale(ctx, folder, keys)
	}
	text += "\nOf Vault's transit engine there is the core (vault/sdk), without its requests, tokens and audit: the engine itself, of vault v1.21.4, builds in its own repository alone. SoftHSM is not in the run.\n"
	if svg != "" {
		if err := os.WriteFile(svg, []byte(plot(charts(tasks, results), caption(rounds))), 0o644); err != nil {
			return err
		}
	}
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

// who says whom each contestant stands for.
func who(contestants []*contestant) string {
	var b strings.Builder
	for _, c := range contestants {
		fmt.Fprintf(&b, "- *%s*: %s\n", c.name, c.what)
	}
	return b.String()
}

// tasksOf are the tasks for so many keys.
func tasksOf(keys int) []task {
	tasks := []task{
		{"GenerateDataKey", 32, keys, 1}, {"Encrypt", 32, keys, 1}, {"Decrypt", 32, keys, 1},
	}
	if keys == 1 {
		tasks = append(tasks,
			task{"Encrypt", 1024, keys, 1}, task{"Decrypt", 1024, keys, 1}, task{"Encrypt", 4096, keys, 1}, task{"Decrypt", 4096, keys, 1})
	}
	return append(tasks, task{"GenerateDataKey", 32, keys, 2}, task{"Decrypt", 32, keys, 2})
}

// scaling says what a second goroutine brings.
func scaling(tasks []task, results [][]*result) string {
	var b strings.Builder
	for k, two := range tasks {
		for j, one := range tasks {
			if two.goroutines == 2 && one == (task{two.op, two.size, two.keys, 1}) {
				fmt.Fprintf(&b, "- %s of %d bytes, %s keys: two goroutines do %.2f times what one does (raw: %.2f).\n",
					two.op, two.size, spaced(float64(two.keys)), results[j][0].quiet/results[k][0].quiet, named(results[j], "raw").quiet/named(results[k], "raw").quiet)
			}
		}
	}
	return b.String()
}

func named(results []*result, name string) *result {
	for _, r := range results {
		if r.name == name {
			return r
		}
	}
	panic("bench: no such contestant")
}

// charts are the tasks that are drawn.
func charts(tasks []task, results [][]*result) []chart {
	var all []chart
	for k, t := range tasks {
		if t.keys == 1 && t.goroutines == 1 && t.op != "CreateKey" && t.size != 4096 {
			all = append(all, chart{fmt.Sprintf("%s, %d bytes", t.op, t.size), results[k]})
		}
	}
	return all
}

// caption says where the figures come from.
func caption(rounds int) string {
	commit, err := exec.Command("git", "describe", "--always", "--dirty", "--abbrev=12").Output()
	if err != nil {
		commit = []byte("unknown")
	}
	load, _ := os.ReadFile("/proc/loadavg") // on Linux alone
	busy := ""
	if one, _, ok := strings.Cut(string(load), " "); ok {
		busy = ", load " + one
	}
	return fmt.Sprintf("%s, %s, %s/%s, %d CPUs%s, commit %s, cd bench && go run . -rounds %d",
		time.Now().UTC().Format(time.DateOnly), runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), busy,
		strings.TrimSpace(string(commit)), rounds)
}
