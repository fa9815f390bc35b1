package kms

import "sync"

// crewSize is how many jobs a crew does at once: as many writes as a store that groups them
// takes together.
const crewSize = 64

// A crew does jobs side by side on goroutines that end with them, and takes no more after
// one has failed. Whoever makes one waits for it.
type crew struct {
	places chan struct{}
	all    sync.WaitGroup
	mu     sync.Mutex
	failed error // the first
}

// crew makes one for jobs of a call. They share it, and so it has read its clock before.
func (c *call) crew() *crew {
	c.began()
	return &crew{places: make(chan struct{}, crewSize)}
}

// do has a job done as soon as there is a place. It returns the error of an earlier one.
func (w *crew) do(job func() error) error {
	w.places <- struct{}{}
	if err := w.err(); err != nil {
		<-w.places
		return err
	}
	w.all.Go(func() {
		defer func() { <-w.places }()
		if err := job(); err != nil {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.failed == nil {
				w.failed = err
			}
		}
	})
	return nil
}

// wait waits until all jobs are over and returns the first error.
func (w *crew) wait() error {
	w.all.Wait()
	return w.err()
}

func (w *crew) err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failed
}
