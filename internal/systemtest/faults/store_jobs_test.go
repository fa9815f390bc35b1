package faults_test

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/keystoretest"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

var errands = map[string]func(t *testing.T) errand{
	"maintain by the due index": func(t *testing.T) errand {
		k := pendingIn(t, "acme")
		k.Clock.Advance(7*24*time.Hour - time.Minute)
		require.Empty(t, kit.Maintain(t, k).Purged) // a full pass, which counts for a day
		k.Clock.Advance(time.Minute)
		return errand{KMS: k, call: doMaintain}
	},
	"maintain without a due index": func(t *testing.T) errand { // as there was none before
		k := dueIn(t, "acme")
		without := new(keystore.Memory)
		for _, item := range kit.StoredItems(t, k) {
			if !strings.HasPrefix(item.Name, "due/") {
				require.NoError(t, kit.Err(without.Put(t.Context(), item.Name, "", item.Value)))
			}
		}
		k.Store = keystoretest.NewFlaky(without)
		return errand{KMS: k, call: doMaintain}
	},
	"tell that an instance expires": func(t *testing.T) errand {
		k := kmstest.New(t)
		kit.Tenant(t, k, "acme", 3)
		k.Clock.AdvanceDays(1)
		return errand{KMS: k, call: doMaintain}
	},
	"release an instance that is over": func(t *testing.T) errand {
		recipient := kit.Root(t, 7)
		k := kmstest.New(t, func(c *kms.Config) {
			c.OnRelease = func(ctx context.Context, m *kms.Manager, in kms.Instance) error {
				return kit.Err(m.BackupInstance(ctx, in.ID, io.Discard, recipient, nil))
			}
		})
		kit.Tenant(t, k, "acme", 3)
		k.Clock.AdvanceDays(3 + kms.GraceDays)
		return errand{KMS: k, call: doMaintain}
	},
	"back up counts": func(t *testing.T) errand {
		k, _ := kit.CountedIn(t, "acme")
		return errand{KMS: k, call: func(ctx context.Context, m *kms.Manager) error {
			return kit.Err(m.BackupInstance(ctx, "acme", io.Discard, k.Root, nil))
		}}
	},
	"release with a backup": func(t *testing.T) errand {
		k, _ := kit.CountedIn(t, "acme")
		kit.Backup(t, k.Manager, "acme", k.Root)
		return errand{KMS: k, done: kms.ErrNotFound, rest: doMaintain, call: func(ctx context.Context, m *kms.Manager) error {
			return kit.Err(m.ReleaseInstance(ctx, "acme", nil))
		}}
	},
	"restore what is not here": func(t *testing.T) errand {
		k, _ := kit.CountedIn(t, "acme")
		return restoring(kit.NewService(t, k, kit.InHardware), kit.Backup(t, k.Manager, "acme", k.Root), k.Root)
	},
	"restore what was counted lower": func(t *testing.T) errand {
		k, id := kit.CountedIn(t, "acme")
		lower := kit.CopyStore(t, k.Store)
		require.NoError(t, kit.Err(k.Another(t).Encrypt(t.Context(), id, nil, nil)))
		require.NoError(t, kit.Err(k.DisableKey(t.Context(), id)))
		backup := kit.Backup(t, k.Manager, "acme", k.Root)
		k.Store = keystoretest.NewFlaky(lower)
		return restoring(k, backup, k.Root)
	},
	"restore a key of another system": func(t *testing.T) errand {
		old := kit.OldKeyring(t, "invoices", 2)
		k := kmstest.New(t, kit.WithSources(old.Source))
		require.NoError(t, kit.Err(k.MigrateLegacyKey(t.Context(), old.ID, "")))
		return restoring(kit.NewService(t, k), kit.Backup(t, k.Manager, kms.DefaultInstance, k.Root), k.Root)
	},
	"take over a key of another system": func(t *testing.T) errand {
		k, old := kit.OldIn(t, "acme", false)
		return errand{KMS: k, done: kms.ErrUnsupported, call: func(ctx context.Context, m *kms.Manager) error {
			return kit.Err(m.MigrateLegacyKey(ctx, old.ID, "acme"))
		}}
	},
	"open what another system made": func(t *testing.T) errand {
		k, old := kit.OldIn(t, "acme", true)
		return errand{KMS: k, call: func(ctx context.Context, m *kms.Manager) error {
			return kit.Err(m.Decrypt(ctx, old.Ciphertexts[0], old.EC))
		}}
	},
	"open with one key what another system made": func(t *testing.T) errand {
		k, old := kit.OldIn(t, "acme", true)
		return errand{KMS: k, call: func(ctx context.Context, m *kms.Manager) error {
			_, _, err := m.DecryptWithKey(ctx, old.ID, old.Ciphertexts[0], old.EC)
			return err
		}}
	},
	"ask about what another system made": func(t *testing.T) errand {
		k, old := kit.OldIn(t, "acme", true)
		return errand{KMS: k, call: func(ctx context.Context, m *kms.Manager) error {
			return kit.Err(m.NeedsRewrap(ctx, old.Ciphertexts[0]))
		}}
	},
	"list keys of another system": func(t *testing.T) errand {
		k, _ := kit.OldIn(t, "acme", false)
		return errand{KMS: k, call: func(ctx context.Context, m *kms.Manager) error {
			for _, err := range m.Keys(ctx, nil) {
				if err != nil {
					return err
				}
			}
			return nil
		}}
	},
	"encrypt under a default key that is deleted": func(t *testing.T) errand {
		k := kmstest.New(t)
		id := k.MustCreateKey(t).ID
		require.NoError(t, k.CreateAlias(t.Context(), kms.DefaultKey, id))
		require.NoError(t, kit.Err(k.DisableKey(t.Context(), id)))
		require.NoError(t, kit.Err(k.ScheduleKeyDeletion(t.Context(), id, 7)))
		k.Clock.AdvanceDays(7)
		return errand{KMS: k, call: func(ctx context.Context, m *kms.Manager) error {
			return kit.Err(m.Encrypt(ctx, kms.DefaultKey, nil, nil))
		}}
	},
	"encrypt with a key that is counted": func(t *testing.T) errand {
		k, _ := kit.CountedIn(t, "acme")
		return errand{KMS: k, call: func(ctx context.Context, m *kms.Manager) error {
			return kit.Err(m.Encrypt(ctx, "alias/acme", nil, nil))
		}}
	},
	"describe": func(t *testing.T) errand {
		k, id := kit.CountedIn(t, "acme")
		return errand{KMS: k, call: func(ctx context.Context, m *kms.Manager) error { return kit.Err(m.DescribeKey(ctx, id)) }}
	},
	"explain": func(t *testing.T) errand {
		k, id := kit.CountedIn(t, "acme")
		return errand{KMS: k, call: func(ctx context.Context, m *kms.Manager) error {
			return kit.Err(m.Explain(ctx, kms.OpEncrypt, id))
		}}
	},
	"explain an instance": func(t *testing.T) errand {
		k, _ := kit.CountedIn(t, "acme")
		return errand{KMS: k, call: func(ctx context.Context, m *kms.Manager) error {
			return kit.Err(m.Explain(ctx, kms.OpBackupInstance, "acme"))
		}}
	},
	"receipt": func(t *testing.T) errand {
		k := dueIn(t, "acme")
		kit.Maintain(t, k)
		var id string
		for _, tomb := range kit.Tombstones(t, k.Manager) {
			id = tomb.KeyID
		}
		return errand{KMS: k, call: func(ctx context.Context, m *kms.Manager) error { return kit.Err(m.DeletionReceipt(ctx, id)) }}
	},
}

func doMaintain(ctx context.Context, m *kms.Manager) error { return kit.Err(m.Maintain(ctx)) }

func restoring(to *kmstest.KMS, backup []byte, recipient kms.Root) errand {
	return errand{KMS: to, call: func(ctx context.Context, m *kms.Manager) error {
		return kit.Err(m.Restore(ctx, bytes.NewReader(backup), recipient, nil))
	}}
}

// dueIn has a key in an instance whose deletion date has come.
func dueIn(t *testing.T, instance string) *kmstest.KMS {
	k := pendingIn(t, instance)
	k.Clock.AdvanceDays(7)
	return k
}

// pendingIn has a key in an instance whose deletion is scheduled in seven days.
func pendingIn(t *testing.T, instance string) *kmstest.KMS {
	k := kmstest.New(t)
	id := kit.Tenant(t, k, instance, 0)
	require.NoError(t, kit.Err(k.DisableKey(t.Context(), id)))
	require.NoError(t, kit.Err(k.ScheduleKeyDeletion(t.Context(), id, 7)))
	return k
}
