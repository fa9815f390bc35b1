package pgstore_test

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/campaign"
	"github.com/keyhold/kms/keystore/pgstore"
	"github.com/keyhold/kms/software"
)

// A history is what several processes are to do at the same time: each worker does ops
// at random to keys of one table.
type history struct {
	Table string
	Seed  uint64
	Keys  []linearKey
}

// A linearKey is a key of a history, Enabled when it begins.
type linearKey struct {
	ID         string
	Ciphertext []byte
	Wrapped    []byte // with Token, of a key whose material is imported
	Token      []byte
}

// A step is one call of one worker: what was done to which key, when, and what came back.
type step struct {
	Op        string
	Key       int
	Begun     int64
	Ended     int64
	Said      string
	PurgedIDs []string
}

const (
	linearProcesses = 4
	linearWorkers   = 4 // of each process
	linearSteps     = 10
)

// The two clocks of a history: a deletion that is scheduled by the first is due by the second.
var (
	linearNow   = time.Date(2026, time.March, 1, 0, 0, 0, 0, time.UTC)
	linearLater = linearNow.AddDate(0, 0, 8)
)

// linearOps are what may be done, and how often.
var linearOps = []struct {
	name   string
	weight int
}{
	{"encrypt", 8}, {"decrypt", 8}, {"describe", 4}, {"enable", 6}, {"disable", 8}, {"schedule", 6}, {"cancel", 6},
	{"encrypt later", 2}, {"describe later", 3}, {"cancel later", 1}, {"maintain later", 1},
	{"delete material", 3}, {"import", 4},
}

func managers(ctx context.Context, pool *pgxpool.Pool, table string) (now, later *kms.Manager, s *pgstore.Store, err error) {
	if s, err = pgstore.OpenPool(ctx, pool, &pgstore.Options{Table: table, Create: true}); err != nil {
		return nil, nil, nil, err
	}
	root, err := software.NewRoot(rootKey)
	if err != nil {
		return nil, nil, nil, err
	}
	at := func(t time.Time) *kms.Manager {
		m, failed := kms.Open(ctx, kms.Config{Store: s, Root: root, Software: software.New(), PurgeDelay: -1,
			Now: func() time.Time { return t }})
		err = errors.Join(err, failed)
		return m
	}
	return at(linearNow), at(linearLater), s, err
}

// makeHistories is a process that takes part in histories.
func makeHistories(dsn string, in *json.Decoder, out *json.Encoder) error {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, dsn)
	if err != nil {
		return err
	}
	defer pool.Close()
	for {
		var h history
		if err := in.Decode(&h); err != nil {
			return err
		}
		now, later, s, err := managers(ctx, pool, h.Table)
		if err != nil {
			return err
		}
		if err := errors.Join(out.Encode("ready"), in.Decode(new(string))); err != nil {
			return err
		}
		steps := make([][]step, linearWorkers)
		var all sync.WaitGroup
		for w := range steps {
			all.Go(func() {
				random := rand.New(rand.NewPCG(h.Seed, uint64(w)))
				for range linearSteps {
					steps[w] = append(steps[w], h.step(ctx, random, now, later))
				}
			})
		}
		all.Wait()
		if err := errors.Join(s.Close(), out.Encode(steps)); err != nil {
			return err
		}
	}
}

// step makes one call.
func (h *history) step(ctx context.Context, random *rand.Rand, now, later *kms.Manager) step {
	total := 0
	for _, op := range linearOps {
		total += op.weight
	}
	n, name := random.IntN(total), ""
	for _, op := range linearOps {
		if n -= op.weight; n < 0 {
			name = op.name
			break
		}
	}
	s := step{Op: name, Key: random.IntN(len(h.Keys))}
	k := h.Keys[s.Key]
	if k.Token == nil && (name == "import" || name == "delete material") {
		s.Op = "describe"
	}
	s.Begun = time.Now().UnixNano()
	var err error
	var key kms.Key
	switch s.Op {
	case "encrypt":
		_, err = now.Encrypt(ctx, k.ID, []byte("text"), nil)
	case "encrypt later":
		_, err = later.Encrypt(ctx, k.ID, []byte("text"), nil)
	case "decrypt":
		_, err = now.Decrypt(ctx, k.Ciphertext, nil)
	case "describe":
		key, err = now.DescribeKey(ctx, k.ID)
	case "describe later":
		key, err = later.DescribeKey(ctx, k.ID)
	case "enable":
		_, err = now.EnableKey(ctx, k.ID)
	case "disable":
		_, err = now.DisableKey(ctx, k.ID)
	case "schedule":
		_, err = now.ScheduleKeyDeletion(ctx, k.ID, 7)
	case "cancel":
		_, err = now.CancelKeyDeletion(ctx, k.ID)
	case "cancel later":
		_, err = later.CancelKeyDeletion(ctx, k.ID)
	case "maintain later":
		var report kms.Report
		report, err = later.Maintain(ctx)
		s.PurgedIDs = report.Purged
	case "delete material":
		_, err = now.DeleteKeyMaterial(ctx, k.ID, nil)
	case "import":
		_, err = now.ImportKeyMaterial(ctx, k.ID, k.Wrapped, k.Token, time.Time{})
	}
	s.Ended = time.Now().UnixNano()
	switch {
	case err != nil:
		s.Said = said(err)
	case key.ID != "":
		s.Said = key.State.String()
	default:
		s.Said = "ok"
	}
	return s
}

// said names a refusal. What may or may not have been done is a question mark; what should
// never be said is spelled out.
func said(err error) string {
	for _, c := range []struct {
		cond error
		name string
	}{
		{kms.ErrUnavailable, "?"}, {kms.ErrNotFound, "not found"}, {kms.ErrState, "state"}, {kms.ErrDisabled, "Disabled"},
		{kms.ErrPendingDeletion, "PendingDeletion"}, {kms.ErrPendingImport, "PendingImport"},
	} {
		if errors.Is(err, c.cond) {
			return c.name
		}
	}
	return err.Error()
}

// TestLinearizable: what processes do to keys at the same time is as if it had been done
// one after the other, in an order that fits what each of them saw.
func TestLinearizable(t *testing.T) {
	t.Parallel()
	histories := campaign.Size(100, 2000)
	dsn := dsn(t, "pool_max_conns=4")
	pool, err := pgxpool.New(t.Context(), dsn)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	processes := make([]*child, linearProcesses)
	for i := range processes {
		processes[i] = startChild(t, "linear", dsn)
	}
	seen := map[string]int{}
	for n := range histories {
		h := begin(t, pool, n%10 == 0)
		for i, p := range processes {
			h.Seed = uint64(n*linearProcesses + i)
			require.Equal(t, "ready", ask[string](t, p, h))
		}
		for _, p := range processes {
			require.NoError(t, p.in.Encode("go"))
		}
		var all []porcupine.Operation
		purged := map[string]int{}
		for i, p := range processes {
			var workers [][]step
			require.NoError(t, p.out.Decode(&workers))
			for w, steps := range workers {
				for _, s := range steps {
					seen[s.Op+": "+s.Said]++
					all = append(all, h.operations(i*linearWorkers+w, s)...)
					for _, id := range s.PurgedIDs {
						purged[id]++
					}
				}
			}
		}
		for id, times := range purged {
			require.Equal(t, 1, times, "key %s was purged more than once", id)
		}
		model := lifeOfAKey.ToModel()
		result, info := porcupine.CheckOperationsVerbose(model, all, time.Minute)
		if result != porcupine.Ok {
			picture := t.Name() + ".html"
			_ = porcupine.VisualizePath(model, info, picture)
			require.Equal(t, porcupine.Ok, result, "history %d; see %s", n, picture)
		}
	}
	t.Logf("%d histories of %d calls; %v", histories, linearProcesses*linearWorkers*linearSteps, seen)
	for _, want := range []string{"encrypt: ok", "encrypt: Disabled", "encrypt: PendingDeletion", "encrypt: PendingImport", "encrypt: not found",
		"encrypt later: not found", "cancel: ok", "cancel: state", "schedule: ok", "import: ok", "delete material: ok"} {
		require.NotZero(t, seen[want], "no history has %q", want)
	}
}

// begin makes the table and the keys of a history.
func begin(t *testing.T, pool *pgxpool.Pool, imports bool) history {
	h := history{Table: newTable().Table}
	m, _, s, err := managers(t.Context(), pool, h.Table)
	require.NoError(t, err)
	add := func(k linearKey, created kms.Key, err error) *linearKey {
		require.NoError(t, err)
		k.ID = created.ID
		h.Keys = append(h.Keys, k)
		return &h.Keys[len(h.Keys)-1]
	}
	for range 2 {
		created, err := m.CreateKey(t.Context(), nil)
		add(linearKey{}, created, err)
	}
	if imports {
		created, err := m.CreateKey(t.Context(), &kms.CreateKeyOptions{Origin: kms.OriginExternal})
		k := add(linearKey{}, created, err)
		params, err := m.GetParametersForImport(t.Context(), k.ID, nil)
		require.NoError(t, err)
		k.Token = params.Token
		k.Wrapped, err = kms.WrapForImport(params, []byte("0123456789abcdef0123456789ABCDEF"))
		require.NoError(t, err)
		_, err = m.ImportKeyMaterial(t.Context(), k.ID, k.Wrapped, k.Token, time.Time{})
		require.NoError(t, err)
	}
	for i := range h.Keys {
		h.Keys[i].Ciphertext, err = m.Encrypt(t.Context(), h.Keys[i].ID, []byte("text"), nil)
		require.NoError(t, err)
	}
	require.NoError(t, s.Close())
	return h
}
