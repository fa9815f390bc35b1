package main

import (
	"context"
	"sync"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/keystore/pgstore"
)

const table = "fleet_keys"

// openStore opens the table that the fleet shares, its keys, and has Run look after both:
// it keeps this process fresh, and does what time does. Any number of processes may.
func openStore(ctx context.Context, dsn string, config kms.Config) (*kms.Manager, func(), error) {
	store, err := pgstore.Open(ctx, dsn, &pgstore.Options{Table: table})
	if err != nil {
		return nil, nil, err
	}
	config.Store = store
	keys, err := kms.Open(ctx, config)
	if err != nil {
		_ = store.Close()
		return nil, nil, err
	}
	running, stop := context.WithCancel(ctx)
	var run sync.WaitGroup
	run.Go(func() { _ = keys.Run(running) })
	return keys, func() {
		stop()
		run.Wait()
		_ = store.Close()
	}, nil
}
