package pgstore_test

import (
	"context"
	"encoding/json"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/keystore/pgstore"
	"github.com/keyhold/kms/software"
)

// A serving tells a process what to serve.
type serving struct {
	Table        string
	MaxStaleness time.Duration
}

// A request is a call of a process' service, and an answer what came of it.
type request struct {
	Op, Key string
	Timeout time.Duration
}

type answer struct {
	Said         string
	Begun, Ended int64
}

// newService opens a service as processes of a fleet have it, and runs it until ctx ends.
func newService(ctx context.Context, dsn string, what serving) (*kms.Manager, *pgstore.Store, error) {
	s, err := pgstore.Open(ctx, dsn, &pgstore.Options{Table: what.Table, Create: true})
	if err != nil {
		return nil, nil, err
	}
	root, err := software.NewRoot(rootKey)
	if err != nil {
		return nil, nil, err
	}
	m, err := kms.Open(ctx, kms.Config{Store: s, Root: root, Software: software.New(), MaxStaleness: what.MaxStaleness})
	if err == nil {
		go func() { _ = m.Run(ctx) }()
	}
	return m, s, err
}

// serveKeys is a process of a fleet.
func serveKeys(dsn string, in *json.Decoder, out *json.Encoder) error {
	ctx := context.Background()
	var what serving
	if err := in.Decode(&what); err != nil {
		return err
	}
	m, _, err := newService(ctx, dsn, what)
	if err != nil {
		return err
	}
	if err := out.Encode("ready"); err != nil {
		return err
	}
	for {
		var r request
		if err := in.Decode(&r); err != nil {
			return err
		}
		if err := out.Encode(r.do(ctx, m)); err != nil {
			return err
		}
	}
}

func (r request) do(ctx context.Context, m *kms.Manager) answer {
	if r.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.Timeout)
		defer cancel()
	}
	a := answer{Said: "ok", Begun: time.Now().UnixNano()}
	var err error
	switch r.Op {
	case "encrypt":
		_, err = m.Encrypt(ctx, r.Key, nil, nil)
	case "disable":
		_, err = m.DisableKey(ctx, r.Key)
	case "enable":
		_, err = m.EnableKey(ctx, r.Key)
	}
	a.Ended = time.Now().UnixNano()
	if err != nil {
		a.Said = said(err)
	}
	return a
}
