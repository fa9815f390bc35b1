package kms_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// serviceSubject is the key of a service as kit.EveryCall wants it.
func serviceSubject(t *testing.T) *kit.Subject {
	s := kit.NewSubject(t, kms.OriginKMS, kms.Enabled)
	key, err := s.Service("ecs").Key(t.Context())
	require.NoError(t, err)
	require.Equal(t, kms.OwnerService, key.Owner)
	require.Equal(t, "ecs", key.Service)
	s.ID, s.Alias = key.ID, "alias/acs/ecs"
	s.Ciphertext, err = s.Encrypt(t.Context(), s.Alias, []byte("x"), nil)
	require.NoError(t, err)
	return s
}

// changesNoKey are the methods of a Manager that change no key that a caller names. What is
// not here must refuse a read-only key: a new method is refused here until it is decided.
var changesNoKey = map[string]bool{
	// they read
	"DescribeKey": true, "Keys": true, "Aliases": true, "KeyVersions": true, "NeedsRewrap": true, "GetPublicKey": true,
	"KeyUsage": true, "PlanDeletion": true, "Explain": true, "DeletionReceipt": true, "PlanRelease": true, "ReleaseReceipt": true, "DescribeInstance": true, "Instances": true, "Tombstones": true,
	// they use
	"GenerateDataKey": true, "GenerateDataKeyN": true, "GenerateDataKeyWithoutPlaintext": true, "Encrypt": true, "Decrypt": true,
	"AppendDataKey": true, "AppendEncrypt": true, "AppendDecrypt": true, "DecryptWithKey": true,
	"ReEncrypt": true, "ReEncryptWithKey": true, "Rewrap": true, "Sign": true, "SignDigest": true, "Verify": true, "VerifyDigest": true, "GenerateMac": true,
	"VerifyMac": true, "AsymmetricEncrypt": true, "AsymmetricDecrypt": true, "Signer": true, "Decrypter": true,
	// they are about other things than one key
	"CreateKey": true, "CreateInstance": true, "RenewInstance": true, "ReleaseInstance": true, "SetInstanceDeletionProtection": true,
	"BackupInstance": true, "Restore": true, "RotateRoot": true, "Shred": true, "Maintain": true, "Run": true, "Close": true, "Service": true,
}

// TestServiceKeysAreReadOnly enumerates the methods of a Manager: each that changes a key
// refuses the key of a service, and nothing is written.
func TestServiceKeysAreReadOnly(t *testing.T) {
	s := serviceSubject(t)
	before := kit.StoredItems(t, s.KMS)
	calls := kit.EveryCall(t.Context(), s, s.Manager)
	refused := 0
	of := reflect.TypeFor[*kms.Manager]()
	for i := range of.NumMethod() {
		name := of.Method(i).Name
		if changesNoKey[name] || name == "MigrateLegacyKey" { // which is about legacy keys alone
			continue
		}
		refused++
		err := calls[name]()
		if name == "DeleteAlias" {
			require.ErrorIs(t, err, kms.ErrInvalid, "the name is reserved")
			continue
		}
		require.Equal(t, []string{"ErrReadOnly"}, kit.Conditions(err), name)
		require.Equal(t, "Rejected.UnsupportedOperation", kms.Code(err))
		var ro *kms.ReadOnlyError
		require.ErrorAs(t, err, &ro)
		require.Equal(t, kms.ReadOnlyError{KeyID: s.ID, Owner: kms.OwnerService, Service: "ecs"}, kms.ReadOnlyError{KeyID: ro.KeyID, Owner: ro.Owner, Service: ro.Service})
	}
	require.Greater(t, refused, 14)
	require.Equal(t, before, kit.StoredItems(t, s.KMS))
	plain, err := s.Decrypt(t.Context(), s.Ciphertext, nil)
	require.NoError(t, err)
	require.Equal(t, "x", string(plain))
}

// TestServiceKeys: the view of a service makes its one key and manages it; another view, and
// the Manager, do not.
func TestServiceKeys(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	ecs, oss := k.Service("ecs"), k.Another(t).Service("oss")
	key, err := ecs.Key(ctx)
	require.NoError(t, err)
	again, err := k.Another(t).Service("ecs").Key(ctx)
	require.NoError(t, err)
	require.Equal(t, key, again)
	other, err := oss.Key(ctx)
	require.NoError(t, err)
	require.NotEqual(t, key.ID, other.ID)
	require.Equal(t, "alias/acs/ecs", ecs.Alias())

	c, err := k.Encrypt(ctx, ecs.Alias(), []byte("x"), nil)
	require.NoError(t, err)
	require.NoError(t, kit.Err(ecs.RotateKey(ctx)))
	require.NoError(t, kit.Err(ecs.UpdateRotationPolicy(ctx, 30)))
	require.ErrorIs(t, kit.Err(ecs.RetireKeyVersions(ctx, kms.RetireOptions{Before: 2, Days: 7})), kms.ErrInUse)
	require.NoError(t, kit.Err(ecs.RetireKeyVersions(ctx, kms.RetireOptions{Before: 2, Days: 7, Force: true, Reason: "r"})))
	require.ErrorIs(t, kit.Err(k.Decrypt(ctx, c, nil)), kms.ErrRetired)
	require.ErrorIs(t, kit.Err(k.CancelRetirement(ctx, key.ID)), kms.ErrReadOnly)
	require.NoError(t, kit.Err(ecs.CancelRetirement(ctx)))
	disabled, err := ecs.DisableKey(ctx)
	require.NoError(t, err)
	require.Equal(t, kms.Disabled, disabled.State)
	require.ErrorIs(t, kit.Err(k.Decrypt(ctx, c, nil)), kms.ErrDisabled)
	require.ErrorIs(t, kit.Err(k.EnableKey(ctx, key.ID)), kms.ErrReadOnly)
	require.NoError(t, kit.Err(ecs.EnableKey(ctx)))
	require.NoError(t, kit.Err(ecs.DisableKey(ctx)))
	require.ErrorIs(t, kit.Err(ecs.ScheduleKeyDeletion(ctx, 6)), kms.ErrWindow)
	require.NoError(t, kit.Err(ecs.ScheduleKeyDeletion(ctx, 7)))
	require.ErrorIs(t, kit.Err(k.CancelKeyDeletion(ctx, key.ID)), kms.ErrReadOnly)
	require.NoError(t, kit.Err(ecs.CancelKeyDeletion(ctx)))
	require.NoError(t, kit.Err(ecs.ScheduleKeyDeletion(ctx, 7)))
	k.Clock.AdvanceDays(7)
	fresh, err := ecs.Key(ctx)
	require.NoError(t, err)
	require.NotEqual(t, key.ID, fresh.ID, "the old one was deleted")
	require.ErrorIs(t, kit.Err(k.Decrypt(ctx, c, nil)), kms.ErrNotFound)

	for _, code := range []string{"", "a/b", "ecs ", strings.Repeat("x", 65), "ü"} {
		require.ErrorIs(t, kit.Err(k.Service(code).Key(ctx)), kms.ErrInvalid)
		require.ErrorIs(t, kit.Err(k.Service(code).DisableKey(ctx)), kms.ErrInvalid)
		require.ErrorIs(t, kit.Err(k.Service(code).RetireKeyVersions(ctx, kms.RetireOptions{Before: 2, Days: 7})), kms.ErrInvalid)
	}
	listed := map[string]kms.Owner{}
	for key, err := range k.Keys(ctx, &kms.ListOptions{Owners: []kms.Owner{kms.OwnerService}}) {
		require.NoError(t, err)
		listed[key.ID] = key.Owner
	}
	require.Equal(t, map[string]kms.Owner{fresh.ID: kms.OwnerService, other.ID: kms.OwnerService}, listed)
}

// TestServiceKeysAreAuthorized: Authorize sees which service asks, before anything is done.
func TestServiceKeysAreAuthorized(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	require.NoError(t, kit.Err(k.Service("ecs").Key(ctx)))
	no := errors.New("no")
	var asked []kms.Request
	var told []kms.Event
	m := k.Another(t, func(c *kms.Config) {
		c.Authorize = func(_ context.Context, r kms.Request) error { asked = append(asked, r); return no }
		c.Observe = func(_ context.Context, e kms.Event) { told = append(told, e) }
	})
	s := m.Service("ecs")
	of := reflect.TypeOf(s)
	calls := map[string]func() error{
		"Alias":      nil,
		"Key":        func() error { return kit.Err(s.Key(ctx)) },
		"EnableKey":  func() error { return kit.Err(s.EnableKey(ctx)) },
		"DisableKey": func() error { return kit.Err(s.DisableKey(ctx)) },
		"RotateKey":  func() error { return kit.Err(s.RotateKey(ctx)) },
		"UpdateRotationPolicy": func() error {
			return kit.Err(s.UpdateRotationPolicy(ctx, 30))
		},
		"RetireKeyVersions": func() error {
			return kit.Err(s.RetireKeyVersions(ctx, kms.RetireOptions{Before: 2, Days: 7}))
		},
		"CancelRetirement":    func() error { return kit.Err(s.CancelRetirement(ctx)) },
		"ScheduleKeyDeletion": func() error { return kit.Err(s.ScheduleKeyDeletion(ctx, 7)) },
		"CancelKeyDeletion":   func() error { return kit.Err(s.CancelKeyDeletion(ctx)) },
	}
	require.Equal(t, of.NumMethod(), len(calls))
	for name, call := range calls {
		if call == nil {
			continue
		}
		asked, told = nil, nil
		require.ErrorIs(t, call(), kms.ErrDenied, name)
		require.Len(t, asked, 1, name)
		require.Equal(t, "ecs", asked[0].Service, name)
		require.Equal(t, "alias/acs/ecs", asked[0].Alias, name)
		require.Len(t, told, 1, name)
		require.Equal(t, "ecs", told[0].Service, name)
	}
	require.ErrorIs(t, kit.Err(m.Service("new").Key(ctx)), kms.ErrDenied)
	require.ErrorIs(t, kit.Err(k.DescribeKey(ctx, "alias/acs/new")), kms.ErrNotFound, "a key was made that nobody was allowed to")
}

// TestServiceKeyKilled kills the making of a service's key at each of its writes: it ends with
// one key.
func TestServiceKeyKilled(t *testing.T) {
	killed := errors.New("killed")
	for put := 1; put <= 2; put++ {
		for _, applied := range []bool{false, true} {
			k := kmstest.New(t)
			puts := 0
			k.Store.OnPut(func(string) (bool, error) {
				if puts++; puts == put {
					return applied, killed
				}
				return true, nil
			})
			require.ErrorIs(t, kit.Err(k.Service("ecs").Key(t.Context())), killed)
			k.Store.OnPut(nil)
			require.NoError(t, kit.Err(k.Another(t).Service("ecs").Key(t.Context())))
			n := 0
			for _, err := range k.Keys(t.Context(), nil) {
				require.NoError(t, err)
				n++
			}
			require.Equal(t, 1, n)
		}
	}
}
