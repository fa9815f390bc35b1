package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"

	"github.com/keyhold/kms"
)

// A caller is on whose behalf something is done. The zero caller may do nothing.
type caller struct {
	role   role
	tenant string // of role tenant
}

type role int

const (
	nobody   role = iota
	tenant        // uses the key, for its own notes
	operator      // looks after the key, and does not use it
	itself        // the service: makes its key, and does what time does
)

// allowed is what a role may do with keys. What is not in it is refused.
var allowed = map[role]map[kms.Op]bool{
	tenant:   {kms.OpEncrypt: true, kms.OpDecrypt: true},
	operator: {kms.OpDescribeKey: true, kms.OpEnableKey: true, kms.OpDisableKey: true},
	itself:   {kms.OpDescribeKey: true, kms.OpCreateKey: true, kms.OpCreateAlias: true, kms.OpMaintain: true},
}

// authorize is Config.Authorize: a second look, behind the handlers. A handler that forgot
// to ask whose note it is gives nothing away, for the context says whose it is.
func authorize(ctx context.Context, r kms.Request) error {
	who, _ := ctx.Value(callerKey{}).(caller)
	switch {
	case !allowed[who.role][r.Op]:
		return errors.New("the role does not allow it")
	case who.role == tenant && r.EncryptionContext["tenant"] != who.tenant:
		return errors.New("another tenant's")
	}
	return nil
}

type callerKey struct{}

func as(ctx context.Context, c caller) context.Context { return context.WithValue(ctx, callerKey{}, c) }

// observe is Config.Observe: a log of who used keys for what, as far as keys go. No event
// holds a secret; texts and encryption contexts are not in it at all.
func observe(log *slog.Logger) func(context.Context, kms.Event) {
	return func(ctx context.Context, e kms.Event) {
		who, _ := ctx.Value(callerKey{}).(caller)
		level, result := slog.LevelInfo, "ok"
		if e.Err != nil {
			level, result = slog.LevelWarn, kms.Code(e.Err)
		}
		log.Log(ctx, level, "key", "caller", who.String(), "op", e.Op.String(), "key", e.KeyID, "result", result)
	}
}

// String is the caller's name in the log.
func (c caller) String() string {
	return [...]string{nobody: "nobody", tenant: "tenant " + c.tenant, operator: "operator", itself: "itself"}[c.role]
}

// callers knows tokens by their hashes, so that looking one up tells nothing by its time.
type callers map[[sha256.Size]byte]caller

func readCallers(path string) (callers, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var file struct {
		Operator string            `json:"operator"`
		Tenants  map[string]string `json:"tenants"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	known := callers{}
	add := func(token string, c caller) error {
		hash := sha256.Sum256([]byte(token))
		if _, taken := known[hash]; taken || len(token) < 16 {
			return fmt.Errorf("%s: every caller needs a token of its own, of 16 characters or more", path)
		}
		known[hash] = c
		return nil
	}
	err = add(file.Operator, caller{role: operator})
	for name, token := range file.Tenants {
		err = errors.Join(err, add(token, caller{role: tenant, tenant: name}))
	}
	return known, err
}

// of is who sent a request, or nobody.
func (c callers) of(r *http.Request) caller {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return caller{}
	}
	return c[sha256.Sum256([]byte(token))]
}
