package main

import (
	"slices"
	"sync"
	"testing"
	"time"
)

// A task is one line of the table: an operation, how large, with how many keys and goroutines.
type task struct {
	op               string
	size             int
	keys, goroutines int
}

// A result is what was measured of one contestant in a task.
type result struct {
	name   string
	quiet  float64   // ns of one operation in the tenth of the rounds that was disturbed least; with several goroutines, of all together
	median float64   // and in the middle one
	ratios []float64 // of the first contestant to it, in each round, ascending
	allocs float64
}

// newResult makes a result of the times of its rounds and those of the first contestant.
func newResult(name string, allocs float64, times, first []float64) *result {
	r := &result{name: name, allocs: allocs}
	for round := range times {
		r.ratios = append(r.ratios, first[round]/times[round])
	}
	slices.Sort(r.ratios)
	sorted := slices.Sorted(slices.Values(times))
	r.quiet, r.median = sorted[len(sorted)/10], sorted[len(sorted)/2]
	return r
}

// batch is how long one contestant runs before the next has its turn: so short that whatever
// slows the machine down slows all of them down.
const batch = 300 * time.Microsecond

// measure runs all contestants in turns, as many rounds as are asked for.
func measure(t task, contestants []*contestant, rounds int) []*result {
	plaintext := make([]byte, t.size)
	runs, turns, allocs := make([]func(n int), len(contestants)), make([]int, len(contestants)), make([]float64, len(contestants))
	for k, c := range contestants {
		do := c.do(t, plaintext)
		at := 0 // so that the next turn goes on with other keys
		runs[k] = func(n int) {
			inParallel(t.goroutines, n, t.keys, at, do)
			at = (at + n) % t.keys
		}
		runs[k](max(t.keys, 100) * t.goroutines) // each key was used before
		allocs[k] = testing.AllocsPerRun(1000, func() { do(0) })
		began := time.Now()
		runs[k](200)
		turns[k] = max(20, int(200*batch/max(time.Since(began), 1)))
	}
	times := make([][]float64, len(contestants))
	for round := range rounds {
		for at := range contestants {
			k := (at + round) % len(contestants)
			began := time.Now()
			runs[k](turns[k])
			times[k] = append(times[k], float64(time.Since(began))/float64(turns[k]))
		}
	}
	var results []*result
	for k, c := range contestants {
		results = append(results, newResult(c.name, allocs[k], times[k], times[0]))
	}
	return results
}

// do is one operation of a task, with key number i.
func (c *contestant) do(t task, plaintext []byte) func(i int) {
	switch t.op {
	case "GenerateDataKey":
		return c.dataKey
	case "Encrypt":
		return func(i int) { c.encrypt(i, plaintext) }
	default:
		openers := make([]func(), t.keys)
		for i := range openers {
			openers[i] = c.opener(i, plaintext)
		}
		return func(i int) { openers[i]() }
	}
}

// inParallel shares n turns among goroutines, which go through the keys with wide steps, from
// different ones on; the first from number at.
func inParallel(goroutines, n, keys, at int, do func(i int)) {
	const step = 7919 // a prime: it meets every key
	if goroutines == 1 {
		for i := range n {
			do((at + i) * step % keys)
		}
		return
	}
	var all sync.WaitGroup
	for g := range goroutines {
		all.Go(func() {
			for i := range n / goroutines {
				do(((at+i)*step + g*keys/goroutines) % keys)
			}
		})
	}
	all.Wait()
}
