package kms_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

func instanceState(t *testing.T, m *kms.Manager, id string) kms.InstanceState {
	t.Helper()
	in, err := m.DescribeInstance(t.Context(), id)
	require.NoError(t, err)
	return in.State
}

// TestInstanceEdges: an instance is Expired at the very instant of its expiry and Released at
// that of the fifteenth day, for this Manager, for one that knows nothing yet, and for one
// that used the key before; and up to the last nanosecond it can be renewed.
func TestInstanceEdges(t *testing.T) {
	kit.EachStore(t, func(t *testing.T) {
		const grace = 15 * 24 * time.Hour
		for _, edge := range []struct {
			after time.Duration // the expiry
			state kms.InstanceState
			use   error
		}{
			{-1, kms.InstanceActive, nil}, {0, kms.InstanceExpired, kms.ErrInstanceExpired}, {1, kms.InstanceExpired, kms.ErrInstanceExpired},
			{grace - 1, kms.InstanceExpired, kms.ErrInstanceExpired}, {grace, kms.InstanceReleased, kms.ErrNotFound}, {grace + 1, kms.InstanceReleased, kms.ErrNotFound},
		} {
			t.Run(edge.after.String(), func(t *testing.T) {
				ctx := t.Context()
				k := kit.New(t)
				expires := k.Clock.Now().AddDate(0, 0, 30)
				id := kit.Tenant(t, k, "tenant-7", 30)
				c, err := k.Encrypt(ctx, id, []byte("x"), nil)
				require.NoError(t, err)
				used := k.Another(t)
				require.NoError(t, kit.Err(used.Decrypt(ctx, c, nil)))
				k.Clock.Set(expires.Add(edge.after))
				for _, m := range []*kms.Manager{k.Manager, used, k.Another(t)} {
					require.Equal(t, edge.state, instanceState(t, m, "tenant-7"))
					for _, err := range []error{kit.Err(m.Decrypt(ctx, c, nil)), kit.Err(m.Encrypt(ctx, id, nil, nil)), kit.Err(m.GenerateDataKey(ctx, id, nil)), kit.Err(m.RotateKey(ctx, id))} {
						require.ErrorIs(t, err, edge.use)
					}
					require.Equal(t, edge.use, kit.Sentinels()[strings.Join(kit.Conditions(kit.Err(m.CreateKey(ctx, &kms.CreateKeyOptions{Instance: "tenant-7"}))), "+")])
				}
				until := expires.AddDate(1, 0, 0)
				renewed, err := k.RenewInstance(ctx, "tenant-7", until)
				if edge.state == kms.InstanceReleased {
					require.ErrorIs(t, err, kms.ErrNotFound)
					require.Equal(t, "Forbidden.DKMSInstanceNotFound", kms.Code(err))
					require.Contains(t, kms.Hint(err), "Restore")
					require.ErrorIs(t, kit.Err(used.DescribeKey(ctx, id)), kms.ErrNotFound)
					return
				}
				require.NoError(t, err)
				require.Equal(t, kms.InstanceActive, renewed.State)
				require.Equal(t, until, renewed.ExpiresAt)
				for _, m := range []*kms.Manager{k.Manager, used, k.Another(t)} {
					plain, err := m.Decrypt(ctx, c, nil)
					require.NoError(t, err)
					require.Equal(t, "x", string(plain))
				}
			})
		}
	})
}

// TestDeletionAcrossExpiry: the date of a deletion counts on while the instance is Expired. A
// key whose date came then is Deleted after the renewal, one whose date is still ahead is
// PendingDeletion; and while it is Expired a deletion can be cancelled, and not be scheduled.
func TestDeletionAcrossExpiry(t *testing.T) {
	kit.EachStore(t, func(t *testing.T) {
		for _, c := range []struct {
			name    string
			days    int // from the expiry to the deletion date
			renewed kms.State
		}{{"before", -1, kms.Deleted}, {"at the expiry", 0, kms.Deleted}, {"inside", 5, kms.Deleted}, {"after", 12, kms.PendingDeletion}} {
			for _, cancel := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/cancel %v", c.name, cancel), func(t *testing.T) {
					ctx := t.Context()
					k := kit.New(t)
					id := kit.Tenant(t, k, "tenant-7", 30)
					require.NoError(t, kit.Err(k.DisableKey(ctx, id)))
					deletion, err := k.ScheduleKeyDeletion(ctx, id, 30+c.days)
					require.NoError(t, err)
					k.Clock.AdvanceDays(30)
					key, err := k.DescribeKey(ctx, id)
					if c.days <= 0 {
						require.ErrorIs(t, err, kms.ErrNotFound)
					} else {
						require.NoError(t, err)
						require.Equal(t, kms.Unavailable, key.State)
						require.Equal(t, kms.PendingDeletion, key.Underlying)
						require.Equal(t, deletion.DeletionDate, key.DeletionDate)
					}
					if cancel {
						_, err := k.CancelKeyDeletion(ctx, id)
						if c.days <= 0 {
							require.ErrorIs(t, err, kms.ErrNotFound)
						} else {
							require.NoError(t, err)
							require.ErrorIs(t, kit.Err(k.ScheduleKeyDeletion(ctx, id, 7)), kms.ErrInstanceExpired)
						}
					}
					k.Clock.AdvanceDays(10)
					kit.Maintain(t, k)
					require.NoError(t, kit.Err(k.RenewInstance(ctx, "tenant-7", k.Clock.Now().AddDate(1, 0, 0))))
					switch key, err := k.DescribeKey(ctx, id); {
					case cancel && c.days > 0:
						require.NoError(t, err)
						require.Equal(t, kms.Disabled, key.State)
					case c.renewed == kms.Deleted:
						require.ErrorIs(t, err, kms.ErrNotFound)
					default:
						require.NoError(t, err)
						require.Equal(t, c.renewed, key.State)
					}
				})
			}
		}
	})
}

// TestClocksRunWhileExpired: so do the expiry of imported material and the grace; a rotation
// that is due waits until the key is Enabled again.
func TestClocksRunWhileExpired(t *testing.T) {
	kit.OnStores(t, func(t *testing.T, k *kmstest.KMS) {
		ctx := t.Context()
		rotates := kit.Tenant(t, k, "tenant-7", 10)
		require.NoError(t, kit.Err(k.UpdateRotationPolicy(ctx, rotates, 12)))
		id := kit.ExternalKeyIn(t, k, "tenant-7")
		wrapped, token := kit.WrapMaterial(t, k, id, kit.Material())
		require.NoError(t, kit.Err(k.ImportKeyMaterial(ctx, id, wrapped, token, k.Clock.Now().AddDate(0, 0, 12))))

		k.Clock.AdvanceDays(13)
		report := kit.Maintain(t, k)
		require.Equal(t, []string{id}, report.Expired)
		require.Empty(t, report.Rotated)
		key, err := k.DescribeKey(ctx, rotates)
		require.NoError(t, err)
		require.Equal(t, kms.RotationSuspended, key.Rotation.Status)
		key, err = k.DescribeKey(ctx, id)
		require.NoError(t, err)
		require.Equal(t, kms.PendingImport, key.Underlying)
		require.NoError(t, kit.Err(k.RenewInstance(ctx, "tenant-7", time.Time{})))
		require.Equal(t, []string{rotates}, kit.Maintain(t, k).Rotated)
	})
}

// TestCreateInstance: what was asked for, and what is out of bounds.
func TestCreateInstance(t *testing.T) {
	kit.OnStores(t, func(t *testing.T, k *kmstest.KMS) {
		ctx := t.Context()
		until := k.Clock.Now().Add(time.Hour)
		made, err := k.CreateInstance(ctx, &kms.InstanceOptions{ID: "tenant-7", Name: "Tenant 7", ExpiresAt: until})
		require.NoError(t, err)
		require.Equal(t, kms.Instance{
			ID: "tenant-7", Name: "Tenant 7", State: kms.InstanceActive, Protection: kms.ProtectionSoftware,
			CreatedAt: k.Clock.Now(), ExpiresAt: until, ReleasesAt: until.AddDate(0, 0, 15),
		}, made)
		again, err := k.Another(t).DescribeInstance(ctx, "tenant-7")
		require.NoError(t, err)
		require.Equal(t, made, again)
		unnamed, err := k.CreateInstance(ctx, nil)
		require.NoError(t, err)
		require.Zero(t, unnamed.ExpiresAt)

		for name, o := range map[string]kms.InstanceOptions{
			"ID": {ID: "Tenant"}, "long ID": {ID: strings.Repeat("a", 65)}, "path": {ID: "a/b"}, "long name": {Name: strings.Repeat("n", 129)},
			"no UTF-8": {Name: "\xff"}, "past": {ExpiresAt: k.Clock.Now()},
		} {
			require.ErrorIs(t, kit.Err(k.CreateInstance(ctx, &o)), kms.ErrInvalid, name)
		}
		require.ErrorIs(t, kit.Err(k.CreateInstance(ctx, &kms.InstanceOptions{Protection: kms.ProtectionHSM})), kms.ErrUnsupported)
		require.ErrorIs(t, kit.Err(k.CreateInstance(ctx, &kms.InstanceOptions{ID: "tenant-7"})), kms.ErrExists)
		require.ErrorIs(t, kit.Err(k.CreateInstance(ctx, &kms.InstanceOptions{ID: kms.DefaultInstance})), kms.ErrExists)
		require.ErrorIs(t, kit.Err(k.CreateKey(ctx, &kms.CreateKeyOptions{Instance: "nobody"})), kms.ErrNotFound)
		require.ErrorIs(t, kit.Err(k.DescribeInstance(ctx, "nobody")), kms.ErrNotFound)
		require.ErrorIs(t, kit.Err(k.DescribeInstance(ctx, "../key")), kms.ErrInvalid)

		var ids []string
		for in, err := range k.Instances(ctx) {
			require.NoError(t, err)
			ids = append(ids, in.ID)
		}
		require.Equal(t, []string{unnamed.ID, kms.DefaultInstance, "tenant-7"}, ids)
	})
}

// TestRenewInstance: a new expiry is later than the old one and in the future, or none.
func TestRenewInstance(t *testing.T) {
	kit.OnStores(t, func(t *testing.T, k *kmstest.KMS) {
		ctx := t.Context()
		kit.Tenant(t, k, "tenant-7", 30)
		day := func(n int) time.Time { return k.Clock.Now().AddDate(0, 0, n) }
		require.ErrorIs(t, kit.Err(k.RenewInstance(ctx, "tenant-7", day(29))), kms.ErrInvalid, "earlier")
		require.ErrorIs(t, kit.Err(k.RenewInstance(ctx, "tenant-7", day(30))), kms.ErrInvalid, "the same")
		require.NoError(t, kit.Err(k.RenewInstance(ctx, "tenant-7", day(60))))
		k.Clock.AdvanceDays(61)
		require.ErrorIs(t, kit.Err(k.RenewInstance(ctx, "tenant-7", day(-1))), kms.ErrInvalid, "in the past")
		require.ErrorIs(t, kit.Err(k.RenewInstance(ctx, "tenant-7", day(0))), kms.ErrInvalid, "now")
		renewed, err := k.RenewInstance(ctx, "tenant-7", time.Time{})
		require.NoError(t, err)
		require.Zero(t, renewed.ExpiresAt)
		require.ErrorIs(t, kit.Err(k.RenewInstance(ctx, "tenant-7", day(400))), kms.ErrInvalid, "it never expires")
		require.ErrorIs(t, kit.Err(k.RenewInstance(ctx, kms.DefaultInstance, day(400))), kms.ErrInvalid, "nor does the default instance")
		require.ErrorIs(t, kit.Err(k.RenewInstance(ctx, "nobody", day(400))), kms.ErrNotFound)
	})
}

// TestNotices: told once for each expiry, by one of two nodes, at the very instant; of several
// that are due only the latest; and anew after a renewal.
func TestNotices(t *testing.T) {
	kit.EachStore(t, func(t *testing.T) {
		ctx := t.Context()
		var told []kms.Notice
		observe := func(c *kms.Config) {
			c.Observe = func(_ context.Context, e kms.Event) {
				if e.Notice != "" {
					require.Equal(t, "tenant-7", e.Instance)
					require.NoError(t, e.Err)
					told = append(told, e.Notice)
				}
			}
		}
		k := kit.New(t, observe)
		nodes := []*kms.Manager{k.Manager, k.Another(t, observe)}
		kit.Tenant(t, k, "tenant-7", 40)
		kit.Tenant(t, k, "for-ever", 0)
		expires := k.Clock.Now().AddDate(0, 0, 40)
		look := func(at time.Time) (heard []kms.Notice) {
			told = nil
			k.Clock.Set(at)
			for range 2 {
				for _, m := range nodes {
					require.NoError(t, kit.Err(m.Maintain(ctx)))
				}
			}
			return told
		}
		for _, step := range []struct {
			days   int // to the expiry
			notice kms.Notice
		}{
			{30, kms.NoticeExpiresIn30Days}, {7, kms.NoticeExpiresIn7Days}, {3, kms.NoticeExpiresIn3Days}, {1, kms.NoticeExpiresIn1Day},
			{0, kms.NoticeExpired}, {-14, kms.NoticeReleasesIn1Day},
		} {
			at := expires.AddDate(0, 0, -step.days)
			require.Empty(t, look(at.Add(-1)), step.notice)
			require.Equal(t, []kms.Notice{step.notice}, look(at))
			require.Empty(t, look(at.Add(time.Hour)))
		}
		until := k.Clock.Now().AddDate(0, 0, 8)
		require.NoError(t, kit.Err(k.RenewInstance(ctx, "tenant-7", until)))
		require.Equal(t, []kms.Notice{kms.NoticeExpiresIn3Days}, look(until.AddDate(0, 0, -2)), "of two the latest")
		require.Empty(t, look(until.AddDate(0, 0, 15)), "released")
	})
}

// TestRotateRootOfManyInstances: the new root opens all of them, a Manager that is open goes on,
// and what was released stays so.
func TestRotateRootOfManyInstances(t *testing.T) {
	kit.OnStores(t, func(t *testing.T, k *kmstest.KMS) {
		ctx := t.Context()
		first, second := kit.Tenant(t, k, "tenant-1", 0), kit.Tenant(t, k, "tenant-2", 30)
		gone, home := kit.Tenant(t, k, "tenant-3", 0), k.MustCreateKey(t).ID
		require.NoError(t, kit.Err(k.ReleaseInstance(ctx, "tenant-3", kit.Force())))
		c, err := k.Encrypt(ctx, first, []byte("x"), nil)
		require.NoError(t, err)
		next := kit.Root(t, 9)
		other := k.Another(t)
		require.NoError(t, kit.Err(other.Decrypt(ctx, c, nil)))
		require.NoError(t, k.RotateRoot(ctx, next))
		require.NoError(t, k.RotateRoot(ctx, next), "again")
		require.NoError(t, kit.Err(other.Decrypt(ctx, c, nil)), "it had met the instance")
		require.ErrorIs(t, kit.Err(other.Encrypt(ctx, second, nil, nil)), kms.ErrRoot, "it had not")
		listed := map[string]error{}
		for key, err := range other.Keys(ctx, nil) {
			listed[key.ID] = err
		}
		require.Len(t, listed, 3)
		require.ErrorIs(t, listed[second], kms.ErrRoot)
		require.NoError(t, listed[first])
		require.NoError(t, listed[home], "it comes behind")
		report, err := other.Maintain(ctx)
		require.ErrorIs(t, err, kms.ErrRoot)
		require.Equal(t, 3, report.Keys)
		require.Empty(t, report.Tampered)
		after := k.Another(t, func(c *kms.Config) { c.Root = next })
		for _, m := range []*kms.Manager{k.Manager, after} {
			require.NoError(t, kit.Err(m.Decrypt(ctx, c, nil)))
			require.NoError(t, kit.Err(m.Encrypt(ctx, second, nil, nil)))
			require.ErrorIs(t, kit.Err(m.DescribeKey(ctx, gone)), kms.ErrNotFound)
		}
		require.ErrorIs(t, kit.Err(kms.Open(ctx, k.ConfigWith())), kms.ErrRoot)
	})
}

// TestCreateInstanceWhileRootRotates: no instance is left under the old root. One that is made
// while the root is rotated is found; from then on who has the old root makes none.
func TestCreateInstanceWhileRootRotates(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	first := kit.Tenant(t, k, "tenant-1", 0)
	other, next := k.Another(t), kit.Root(t, 9)
	made := false
	k.Store.OnPut(func(name string) (bool, error) {
		if name == "instance/default" && !made { // the list has been read
			made = true
			require.NoError(t, kit.Err(other.CreateInstance(ctx, &kms.InstanceOptions{ID: "early"})))
		}
		return true, nil
	})
	require.NoError(t, k.RotateRoot(ctx, next))
	require.True(t, made)
	stored := kit.StoredItems(t, k)
	require.ErrorIs(t, kit.Err(other.CreateInstance(ctx, &kms.InstanceOptions{ID: "late"})), kms.ErrRoot)
	require.Equal(t, stored, kit.StoredItems(t, k))
	after := k.Another(t, func(c *kms.Config) { c.Root = next })
	for _, m := range []*kms.Manager{k.Manager, after} {
		require.NoError(t, kit.Err(m.Encrypt(ctx, first, nil, nil)))
		require.NoError(t, kit.Err(m.CreateKey(ctx, &kms.CreateKeyOptions{Instance: "early"})))
	}
	require.NoError(t, kit.Err(k.CreateInstance(ctx, &kms.InstanceOptions{ID: "later"})))
	require.NoError(t, kit.Err(after.CreateKey(ctx, &kms.CreateKeyOptions{Instance: "later"})))
}

// TestTamperedInstanceStopsItsKeys: an instance whose record was edited stops its own keys and
// no other.
func TestTamperedInstanceStopsItsKeys(t *testing.T) {
	kit.OnStores(t, func(t *testing.T, k *kmstest.KMS) {
		ctx := t.Context()
		id, other, home := kit.Tenant(t, k, "tenant-1", 30), kit.Tenant(t, k, "tenant-2", 0), k.MustCreateKey(t).ID
		good := kit.StoredValue(t, k, "instance/tenant-1")
		for name, bad := range map[string][]byte{
			"the other's": kit.StoredValue(t, k, "instance/tenant-2"), "the default's": kit.StoredValue(t, k, "instance/default"), "empty": nil,
			"another date": []byte(strings.Replace(string(good), `"expiresAt":"2026`, `"expiresAt":"2036`, 1)),
		} {
			require.NotEqual(t, good, bad)
			kit.EditItem(t, k, "instance/tenant-1", func([]byte) []byte { return bad })
			for _, m := range []*kms.Manager{k.Manager, k.Another(t)} {
				require.ErrorIs(t, kit.Err(m.Encrypt(ctx, id, nil, nil)), kms.ErrTampered, name)
				require.ErrorIs(t, kit.Err(m.DescribeInstance(ctx, "tenant-1")), kms.ErrTampered, name)
				require.NoError(t, kit.Err(m.Encrypt(ctx, other, nil, nil)))
				require.NoError(t, kit.Err(m.Encrypt(ctx, home, nil, nil)))
				k.Clock.AdvanceDays(1) // when it looks at all keys again
				report, err := m.Maintain(ctx)
				require.ErrorIs(t, err, kms.ErrTampered)
				require.Equal(t, []string{id}, report.Tampered)
			}
		}
		kit.EditItem(t, k, "instance/tenant-1", func([]byte) []byte { return good })
		require.NoError(t, kit.Err(k.Encrypt(ctx, id, nil, nil)))
	})
}

// TestInstanceOutOfReach: what cannot be looked up is refused, not guessed.
func TestInstanceOutOfReach(t *testing.T) {
	kit.OnStores(t, func(t *testing.T, k *kmstest.KMS) {
		ctx := t.Context()
		id := kit.Tenant(t, k, "tenant-1", 30)
		down := errors.New("connection refused")
		m := k.Another(t)
		k.Store.OnGet(func(name string) error {
			if strings.HasPrefix(name, "instance/") {
				return down
			}
			return nil
		})
		for _, err := range []error{kit.Err(m.Encrypt(ctx, id, nil, nil)), kit.Err(m.DescribeKey(ctx, id)), kit.Err(m.DisableKey(ctx, id)), kit.Err(m.CreateKey(ctx, &kms.CreateKeyOptions{Instance: "tenant-1"}))} {
			require.ErrorIs(t, err, kms.ErrUnavailable)
			require.ErrorIs(t, err, down)
		}
	})
}
