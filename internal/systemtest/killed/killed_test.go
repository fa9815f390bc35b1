package killed_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/campaign"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/keystore/boltstore"
	"github.com/stretchr/testify/require"
)

// killsOfOne is how often the life of one store is ended.
const killsOfOne = 25

// TestKilledUnderLoad: a process that uses and changes keys with several goroutines is killed with
// kill -9, again and again. The store opens. Every call that had returned stands; one that had not
// was done or was not. A key that was purged stays gone, and is purged once; every other one
// opens what it sealed.
func TestKilledUnderLoad(t *testing.T) {
	first := newStoreFile(t)
	stores := (campaign.Size(500, 10_000) + killsOfOne - 1) / killsOfOne
	for lane := range 2 {
		t.Run(fmt.Sprint(lane), func(t *testing.T) {
			t.Parallel()
			var sum tally
			for n := lane; n < stores; n += 2 {
				sum.add(t, n, lead(t, first, "live", killsOfOne))
			}
			require.Positive(t, sum.purged)
			t.Logf("%d kills, %d calls told of, %d keys of which %d were purged", sum.kills, sum.tales/2, sum.keys, sum.purged)
		})
	}
}

// TestKilledIsNoticed: a store that says that a Put was made before it was is found out.
func TestKilledIsNoticed(t *testing.T) {
	first := newStoreFile(t)
	for range 5 {
		if got := lead(t, first, "lie", killsOfOne); got.err != nil {
			t.Logf("after %d kills: %v", got.kills, got.err)
			return
		}
	}
	t.Fatal("a store that lies was believed")
}

type tally struct {
	kills, tales, keys, purged int
	err                        error
}

func (sum *tally) add(t *testing.T, n int, one tally) {
	require.NoError(t, one.err, "store %d, after kill %d", n, one.kills)
	sum.kills += one.kills
	sum.tales += one.tales
	sum.keys += one.keys
	sum.purged += one.purged
}

// inMemory is a folder for files that need not outlive the machine: kill -9 of a process takes
// nothing from the memory of the system.
func inMemory(t *testing.T) string {
	folder, err := os.MkdirTemp("/dev/shm", "keyhold")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(folder)) })
	return folder
}

// newStoreFile makes the file that each life begins with: with a key of imported material for each
// goroutine.
func newStoreFile(t *testing.T) (folder string) {
	ctx := t.Context()
	folder = inMemory(t)
	store, err := boltstore.Open(filepath.Join(folder, "keys"), &boltstore.Options{Create: true})
	require.NoError(t, err)
	m, err := openLife(ctx, store, lifeNow, func(string) {})
	require.NoError(t, err)
	owners := map[string]anOwner{}
	for who := range livers {
		key, err := m.CreateKey(ctx, &kms.CreateKeyOptions{Origin: kms.OriginExternal, Description: fmt.Sprintf("w%d", who)})
		require.NoError(t, err)
		p, err := m.GetParametersForImport(ctx, key.ID, nil)
		require.NoError(t, err)
		wrapped, err := kms.WrapForImport(p, kit.Pattern(32))
		require.NoError(t, err)
		owners[key.ID] = anOwner{who, wrapped, p.Token}
	}
	text, err := json.Marshal(owners)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(folder, "owners"), text, 0o600))
	require.NoError(t, store.Close())
	return folder
}

// lead leads the life of one store, which ends often.
func lead(t *testing.T, first, do string, kills int) (sum tally) {
	folder := inMemory(t)
	for _, name := range []string{"keys", "owners"} {
		text, err := os.ReadFile(filepath.Join(first, name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), text, 0o600))
	}
	l := &ledger{keys: map[string]*account{}, aliases: map[string][]string{}, open: map[int]tale{}, purged: map[string]bool{}}
	owners := map[string]anOwner{}
	require.NoError(t, readJSON(filepath.Join(folder, "owners"), &owners))
	for id, own := range owners {
		l.keys[id] = &account{who: own.Who, may: []fact{{}}}
	}
	for sum.err == nil && sum.kills < kills {
		sum.err = l.oneLife(t, folder, do)
		sum.kills++
	}
	if sum.err == nil {
		sum.err = l.lastDay(t, folder)
	}
	sum.tales, sum.keys, sum.purged = l.tales, len(l.keys), len(l.purged)
	return sum
}

// oneLife is one child: it is started, listened to, killed, and what it left is looked at.
func (l *ledger) oneLife(t *testing.T, folder, do string) error {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childDo+"="+do, childFolder+"="+folder)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewReader(out)
	kill := 1 + rand.IntN(150)
	for n := 0; ; n++ {
		if n == kill {
			require.NoError(t, cmd.Process.Kill())
		}
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) { // what it told before it was killed has been read
			require.GreaterOrEqual(t, n, kill, "it ended by itself")
			break
		}
		require.NoError(t, err)
		var said tale
		require.NoError(t, json.Unmarshal(line, &said))
		if err := l.read(said); err != nil {
			_ = cmd.Process.Kill()
			_, _ = io.Copy(io.Discard, lines)
			_ = cmd.Wait()
			return err
		}
	}
	require.Error(t, cmd.Wait())
	l.killed()
	return l.reopened(t, folder, lifeNow, l.check)
}

// reopened opens the store as the next process would.
func (l *ledger) reopened(t *testing.T, folder string, now time.Time, look func(context.Context, *kms.Manager) error) error {
	store, err := boltstore.Open(filepath.Join(folder, "keys"), &boltstore.Options{Create: true})
	if err != nil {
		return err
	}
	var failed error
	m, err := openLife(t.Context(), store, now, func(id string) { failed = errors.Join(failed, l.destroyed(id)) })
	if err != nil {
		return errors.Join(err, store.Close())
	}
	err = look(t.Context(), m)
	return errors.Join(err, failed, store.Close())
}

// lastDay brings every key back that can be, opens what it sealed, and has the rest purged.
func (l *ledger) lastDay(t *testing.T, folder string) error {
	owners := map[string]anOwner{}
	require.NoError(t, readJSON(filepath.Join(folder, "owners"), &owners))
	err := l.reopened(t, folder, lifeNow, func(ctx context.Context, m *kms.Manager) (err error) {
		for id, a := range l.keys {
			f := a.may[0]
			step := func(op string, call func() error) {
				if err != nil {
					return
				}
				err = call()
				f, _ = f.after(tale{Op: op})
			}
			if f.gone || f.days == 7 {
				continue
			}
			if f.days > 0 {
				step("cancel", func() error { return kit.Err(m.CancelKeyDeletion(ctx, id)) })
			}
			if own := owners[id]; !f.material {
				a.dropped = true
				step("import", func() error { return kit.Err(m.ImportKeyMaterial(ctx, id, own.Wrapped, own.Token, time.Time{})) })
			}
			step("enable", func() error { return kit.Err(m.EnableKey(ctx, id)) })
			a.may = []fact{f}
		}
		if err != nil {
			return err
		}
		return l.check(ctx, m)
	})
	for range 2 {
		if err == nil {
			err = l.reopened(t, folder, lifeLater, func(ctx context.Context, m *kms.Manager) error {
				report, err := m.Maintain(ctx)
				return errors.Join(err, l.areGone(report.Purged))
			})
		}
	}
	if err != nil {
		return err
	}
	return l.reopened(t, folder, lifeNow, func(ctx context.Context, m *kms.Manager) error {
		tombs := map[string]bool{}
		for tomb, err := range m.Tombstones(ctx) {
			if err != nil {
				return err
			}
			tombs[tomb.KeyID] = true
		}
		for id, a := range l.keys {
			if a.may = byTime(a.may); a.mayBe(isGone) != tombs[id] {
				return fmt.Errorf("%s: may be %+v, a tombstone: %v", id, a.may, tombs[id])
			}
		}
		return l.check(ctx, m)
	})
}
