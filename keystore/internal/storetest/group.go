// Package storetest has what the tests of boltstore and pgstore share: Puts that wait together,
// and a second process. Only tests import it.
package storetest

import (
	"runtime"
	"sync"

	"github.com/keyhold/kms/keystore"
)

// Result is what a Put returned.
type Result struct {
	Version keystore.Version
	Err     error
}

// Group makes n Puts share a commit and returns their results. The caller holds the queue in
// which Puts wait: queued returns how many are in it, and release lets them go. Group starts
// each Put when the one before it is in the queue, so that they are in order.
func Group(n int, queued func() int, release func(), put func(i int) (keystore.Version, error)) []Result {
	results := make([]Result, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { results[i].Version, results[i].Err = put(i) })
		Until(func() bool { return queued() == i+1 })
	}
	release()
	all.Wait()
	return results
}

// Until lets other goroutines run until done returns true.
func Until(done func() bool) {
	for !done() {
		runtime.Gosched()
	}
}
