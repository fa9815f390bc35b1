// Package killed_test kills processes that use the service.
package killed_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/boltstore"
	"github.com/keyhold/kms/software"
	"github.com/stretchr/testify/require"
)

// Tests that need a process to kill run this binary again, with what it shall do in childDo,
// the folder in childFolder, and in childKill the write at which it kills itself.
const (
	childDo     = "KEYHOLD_CHILD_DO"
	childFolder = "KEYHOLD_CHILD_FOLDER"
	childKill   = "KEYHOLD_CHILD_KILL" // "3 before", "3 after"; "0 before": never
)

func TestMain(m *testing.M) {
	do := os.Getenv(childDo)
	if do == "" {
		os.Exit(kit.Main(m))
	}
	if err := child(do, os.Getenv(childFolder), os.Getenv(childKill)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// A killer is a Store that kills the process at one of its writes.
type killer struct {
	keystore.Store
	at    int32
	after bool // the write, and not before it
	puts  atomic.Int32
}

func (s *killer) Unwrap() keystore.Store { return s.Store }

func (s *killer) Put(ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
	now := s.puts.Add(1) == s.at
	if now && !s.after {
		die()
	}
	version, err := s.Store.Put(ctx, name, old, value)
	if now {
		die()
	}
	return version, err
}

// die is kill -9 from inside.
func die() {
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	panic(err) // it comes so soon, or never
}

// onDisk opens the Manager of a folder. Before an instance is released it is backed up.
func onDisk(ctx context.Context, folder string, wrap func(keystore.Store) keystore.Store) (*kms.Manager, io.Closer, error) {
	store, err := boltstore.Open(filepath.Join(folder, "keys"), &boltstore.Options{Create: true})
	if err != nil {
		return nil, nil, err
	}
	root, err := software.NewRoot(kit.Pattern(32))
	if err != nil {
		return nil, nil, err
	}
	m, err := kms.Open(ctx, kms.Config{
		Store: wrap(store), Root: root, Software: software.New(), PurgeDelay: -1,
		OnRelease: func(ctx context.Context, m *kms.Manager, in kms.Instance) error {
			fresh, err := os.Create(filepath.Join(folder, "fresh"))
			if err != nil {
				return err
			}
			_, err = m.BackupInstance(ctx, in.ID, fresh, root, nil)
			if err = errors.Join(err, fresh.Sync(), fresh.Close()); err != nil {
				return err
			}
			return os.Rename(fresh.Name(), filepath.Join(folder, "backup"))
		},
	})
	return m, store, err
}

func child(do, folder, kill string) error {
	ctx := context.Background()
	if do == "live" || do == "lie" {
		return live(ctx, folder, do == "lie")
	}
	at, when, _ := strings.Cut(kill, " ")
	n, err := strconv.ParseInt(at, 10, 32)
	if err != nil {
		return err
	}
	m, store, err := onDisk(ctx, folder, func(s keystore.Store) keystore.Store {
		return &killer{Store: s, at: int32(n), after: when == "after"}
	})
	if err != nil {
		return err
	}
	defer store.Close()
	switch do {
	case "release":
		_, err = m.ReleaseInstance(ctx, "acme", nil)
	case "restore":
		err = bringBack(ctx, m, folder)
	default:
		return errors.New("unknown: " + do)
	}
	if err == nil {
		fmt.Println("done")
	}
	return err
}

func bringBack(ctx context.Context, m *kms.Manager, folder string) error {
	f, err := os.Open(filepath.Join(folder, "backup"))
	if err != nil {
		return err
	}
	defer f.Close()
	root, err := software.NewRoot(kit.Pattern(32))
	if err != nil {
		return err
	}
	_, err = m.Restore(ctx, f, root, nil)
	return err
}

// run runs a child to its end, and tells whether it was done or died.
func run(t *testing.T, do, folder, kill string) (done bool) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childDo+"="+do, childFolder+"="+folder, childKill+"="+kill)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if done = string(out) == "done\n"; done {
		require.NoError(t, err)
		return true
	}
	require.Empty(t, out)
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, -1, exit.ExitCode(), "it was killed")
	return false
}

// TestReleaseAndRestoreKilled: a process that releases an instance is killed with kill -9
// before and after each of its writes, and so is one that restores it. At every moment either
// the keys are there or a whole backup is; what was told to be done is done; and whoever
// repeats it ends where one ends who was never killed.
func TestReleaseAndRestoreKilled(t *testing.T) {
	ctx := t.Context()
	same := func(s keystore.Store) keystore.Store { return s }
	kills := 0
	for _, where := range []string{"same store", "new store"} {
		for _, when := range []string{"before", "after"} {
			texts := map[string][]byte{}
			folder := t.TempDir()
			m, store, err := onDisk(ctx, folder, same)
			require.NoError(t, err)
			require.NoError(t, kit.Err(m.CreateInstance(ctx, &kms.InstanceOptions{ID: "acme"})))
			for range 4 {
				key, err := m.CreateKey(ctx, &kms.CreateKeyOptions{Instance: "acme"})
				require.NoError(t, err)
				texts[key.ID], err = m.Encrypt(ctx, key.ID, []byte(key.ID), nil)
				require.NoError(t, err)
				require.NoError(t, m.CreateAlias(ctx, "alias/"+key.ID, key.ID))
			}
			require.NoError(t, store.Close())

			// look opens the store as the next process would, and tells whether the keys are there.
			look := func() (there bool) {
				m, store, err := onDisk(ctx, folder, same)
				require.NoError(t, err)
				defer store.Close()
				opened := 0
				for id, c := range texts {
					switch plain, err := m.Decrypt(ctx, c, nil); {
					case err == nil:
						require.Equal(t, id, string(plain))
						opened++
					default:
						require.ErrorIs(t, err, kms.ErrNotFound)
					}
				}
				if opened < len(texts) {
					root, err := software.NewRoot(kit.Pattern(32))
					require.NoError(t, err)
					f, err := os.Open(filepath.Join(folder, "backup"))
					require.NoError(t, err)
					defer f.Close()
					info, err := kms.VerifyBackup(ctx, f, root)
					require.NoError(t, err)
					require.Equal(t, len(texts), info.Keys)
					require.Equal(t, len(texts), info.Aliases)
				}
				return opened == len(texts)
			}
			require.True(t, look())
			for at := 1; !run(t, "release", folder, fmt.Sprint(at, " ", when)); at++ {
				kills++
				if look(); when == "after" && at == 2 { // the write that releases was made
					break
				}
			}
			require.False(t, look())

			if where == "new store" {
				require.NoError(t, os.Rename(filepath.Join(folder, "keys"), filepath.Join(folder, "old")))
				m, store, err := onDisk(ctx, folder, same)
				require.NoError(t, err)
				require.NotNil(t, m)
				require.NoError(t, store.Close())
			}
			for at := 1; !run(t, "restore", folder, fmt.Sprint(at, " ", when)); at++ {
				kills++
				look()
				require.Less(t, at, 50)
			}
			require.True(t, look())
		}
	}
	require.GreaterOrEqual(t, kills, 8)
	t.Logf("%d processes were killed, and nothing was lost", kills)
}
