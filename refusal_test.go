package kms_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/provider"
	"github.com/stretchr/testify/require"
)

type refusalCase struct {
	name string
	cond error
	code string
	make func(*testing.T, *kmstest.KMS) error
	as   func(error) bool // errors.As finds the type; nil: there is none
}

// refusals are one way, or more, to each condition, with its code and, where there is one,
// its type.
var refusals = []refusalCase{
	{"unknown key", kms.ErrNotFound, "Forbidden.KeyNotFound", func(t *testing.T, k *kmstest.KMS) error {
		return kit.Err(k.DescribeKey(t.Context(), "01890000-0000-7000-8000-000000000000"))
	}, nil},
	{"unknown alias", kms.ErrNotFound, "Forbidden.AliasNotFound", func(t *testing.T, k *kmstest.KMS) error {
		return kit.Err(k.DescribeKey(t.Context(), "alias/nobody"))
	}, nil},
	{"deleted key", kms.ErrNotFound, "Forbidden.KeyNotFound", func(t *testing.T, k *kmstest.KMS) error {
		id := kit.PendingKey(t, k)
		k.Clock.AdvanceDays(7)
		return kit.Err(k.CancelKeyDeletion(t.Context(), id))
	}, nil},
	{"use of a disabled key", kms.ErrDisabled, "Rejected.Disabled", func(t *testing.T, k *kmstest.KMS) error {
		return kit.Err(k.Encrypt(t.Context(), kit.DisabledKey(t, k), nil, nil))
	}, is[*kms.StateError]},
	{"use of a key without material", kms.ErrPendingImport, "Rejected.PendingImport", func(t *testing.T, k *kmstest.KMS) error {
		id := k.MustCreateKey(t).ID
		require.NoError(t, kms.StripMaterial(t.Context(), k.Manager, id))
		return kit.Err(k.Encrypt(t.Context(), id, nil, nil))
	}, is[*kms.StateError]},
	{"use of a key pending deletion", kms.ErrPendingDeletion, "Rejected.PendingDeletion", func(t *testing.T, k *kmstest.KMS) error {
		return kit.Err(k.Encrypt(t.Context(), kit.PendingKey(t, k), nil, nil))
	}, is[*kms.PendingDeletionError]},
	{"enabling a key pending deletion", kms.ErrState, "Rejected.StateModifiedFailed", func(t *testing.T, k *kmstest.KMS) error {
		return kit.Err(k.EnableKey(t.Context(), kit.PendingKey(t, k)))
	}, is[*kms.StateError]},
	{"cancelling nothing", kms.ErrState, "Rejected.StateModifiedFailed", func(t *testing.T, k *kmstest.KMS) error {
		return kit.Err(k.CancelKeyDeletion(t.Context(), kit.DisabledKey(t, k)))
	}, is[*kms.StateError]},
	{"scheduling a protected key", kms.ErrProtected, "Rejected.DeletionProtected", func(t *testing.T, k *kmstest.KMS) error {
		id := kit.DisabledKey(t, k)
		require.NoError(t, kit.Err(k.SetDeletionProtection(t.Context(), id, true, "the audit needs it")))
		return kit.Err(k.ScheduleKeyDeletion(t.Context(), id, 7))
	}, is[*kms.ProtectedError]},
	{"scheduling a key in use", kms.ErrInUse, "Rejected.InUse", func(t *testing.T, k *kmstest.KMS) error {
		id := kit.DisabledKey(t, k)
		require.NoError(t, kit.Err(k.AddDependent(t.Context(), id, kms.Dependent{Name: "table invoices"})))
		return kit.Err(k.ScheduleKeyDeletion(t.Context(), id, 7))
	}, is[*kms.InUseError]},
	{"all blockers at once", kms.ErrProtected, "Rejected.DeletionProtected", func(t *testing.T, k *kmstest.KMS) error {
		id := k.MustCreateKey(t).ID
		require.NoError(t, kit.Err(k.SetDeletionProtection(t.Context(), id, true, "the audit needs it")))
		require.NoError(t, kit.Err(k.AddDependent(t.Context(), id, kms.Dependent{Name: "table invoices"})))
		err := kit.Err(k.ScheduleKeyDeletion(t.Context(), id, 7))
		require.ErrorIs(t, err, kms.ErrInUse)
		require.ErrorIs(t, err, kms.ErrState)
		require.True(t, is[*kms.ProtectedError](err) && is[*kms.InUseError](err) && is[*kms.StateError](err))
		return err
	}, is[*kms.BlockedError]},
	{"one version too many", kms.ErrLimit, "Rejected.LimitExceeded", func(t *testing.T, k *kmstest.KMS) error {
		m := k.Another(t, func(c *kms.Config) { c.MaxKeyVersions = 1 })
		return kit.Err(m.RotateKey(t.Context(), k.MustCreateKey(t).ID))
	}, nil},
	{"other material", kms.ErrMaterial, "InvalidKeyMaterial", func(t *testing.T, k *kmstest.KMS) error {
		id, _, token := kit.ImportedKey(t, k, kit.Material())
		return kit.Err(k.ImportKeyMaterial(t.Context(), id, []byte("noise"), token, time.Time{}))
	}, nil},
	{"another key's import token", kms.ErrImportToken, "InvalidImportToken", func(t *testing.T, k *kmstest.KMS) error {
		_, wrapped, token := kit.ImportedKey(t, k, kit.Material())
		return kit.Err(k.ImportKeyMaterial(t.Context(), kit.ExternalKey(t, k), wrapped, token, time.Time{}))
	}, nil},
	{"a window of 6 days", kms.ErrWindow, "InvalidParameter", func(t *testing.T, k *kmstest.KMS) error {
		return kit.Err(k.ScheduleKeyDeletion(t.Context(), kit.DisabledKey(t, k), 6))
	}, nil},
	{"a ciphertext cut short", kms.ErrCiphertext, "InvalidCiphertext", func(t *testing.T, k *kmstest.KMS) error {
		c, err := k.Encrypt(t.Context(), k.MustCreateKey(t).ID, []byte("x"), nil)
		require.NoError(t, err)
		return kit.Err(k.Decrypt(t.Context(), c[:len(c)-1], nil))
	}, nil},
	{"another encryption context", kms.ErrCiphertext, "InvalidCiphertext", func(t *testing.T, k *kmstest.KMS) error {
		c, err := k.Encrypt(t.Context(), k.MustCreateKey(t).ID, []byte("x"), nil)
		require.NoError(t, err)
		return kit.Err(k.Decrypt(t.Context(), c, kms.EncryptionContext{"a": "b"}))
	}, nil},
	{"no signature", kms.ErrSignature, "InvalidSignature", func(t *testing.T, k *kmstest.KMS) error {
		return k.Verify(t.Context(), kit.Key(t, k, kms.SpecEd25519, ""), kms.SignEd25519, []byte("x"), nil)
	}, nil},
	{"no MAC", kms.ErrSignature, "InvalidSignature", func(t *testing.T, k *kmstest.KMS) error {
		return k.VerifyMac(t.Context(), kit.Key(t, k, kms.SpecHMAC256, ""), kms.MacHMACSHA256, []byte("x"), make([]byte, 32))
	}, nil},
	{"encrypting with a key that signs", kms.ErrUsage, "UnsupportedOperation", func(t *testing.T, k *kmstest.KMS) error {
		return kit.Err(k.Encrypt(t.Context(), kit.Key(t, k, kms.SpecEd25519, ""), nil, nil))
	}, nil},
	{"rotating a key of imported material", kms.ErrOrigin, "UnsupportedOperation", func(t *testing.T, k *kmstest.KMS) error {
		return kit.Err(k.RotateKey(t.Context(), kit.ExternalKey(t, k)))
	}, nil},
	{"inspecting noise", kms.ErrCiphertext, "InvalidCiphertext", func(t *testing.T, k *kmstest.KMS) error {
		return kit.Err(kms.Inspect([]byte("noise")))
	}, nil},
	{"too long a plaintext", kms.ErrInvalid, "InvalidParameter", func(t *testing.T, k *kmstest.KMS) error {
		return kit.Err(k.Encrypt(t.Context(), k.MustCreateKey(t).ID, make([]byte, 6145), nil))
	}, nil},
	{"a name that is none", kms.ErrInvalid, "InvalidParameter", func(t *testing.T, k *kmstest.KMS) error {
		return kit.Err(k.DescribeKey(t.Context(), "invoices"))
	}, nil},
	{"an alias taken", kms.ErrExists, "AliasAlreadyExists", func(t *testing.T, k *kmstest.KMS) error {
		id := k.MustCreateKey(t).ID
		require.NoError(t, k.CreateAlias(t.Context(), "alias/a", id))
		return k.CreateAlias(t.Context(), "alias/a", id)
	}, nil},
	{"a level that is not offered", kms.ErrUnsupported, "UnsupportedOperation", func(t *testing.T, k *kmstest.KMS) error {
		return kit.Err(k.CreateKey(t.Context(), &kms.CreateKeyOptions{Protection: kms.ProtectionHSM}))
	}, nil},
	{"changing the key of a service", kms.ErrReadOnly, "Rejected.UnsupportedOperation", func(t *testing.T, k *kmstest.KMS) error {
		key, err := k.Service("ecs").Key(t.Context())
		require.NoError(t, err)
		return kit.Err(k.DisableKey(t.Context(), key.ID))
	}, is[*kms.ReadOnlyError]},
	{"a version that is suspended", kms.ErrRetired, "Rejected.Retired", func(t *testing.T, k *kmstest.KMS) error {
		id, c := kit.UsedKey(t, k)
		require.NoError(t, kit.Err(k.RotateKey(t.Context(), id)))
		require.NoError(t, kit.Err(k.RetireKeyVersions(t.Context(), id, kms.RetireOptions{Before: 2, Days: 7, Force: true, Reason: "leaked"})))
		return kit.Err(k.Decrypt(t.Context(), c, nil))
	}, is[*kms.RetiredError]},
	{"cancelling no retirement", kms.ErrState, "Rejected.StateModifiedFailed", func(t *testing.T, k *kmstest.KMS) error {
		return kit.Err(k.CancelRetirement(t.Context(), k.MustCreateKey(t).ID))
	}, is[*kms.StateError]},
	{"retiring a version in use", kms.ErrInUse, "Rejected.InUse", func(t *testing.T, k *kmstest.KMS) error {
		id, _ := kit.UsedKey(t, k)
		require.NoError(t, kit.Err(k.RotateKey(t.Context(), id)))
		return kit.Err(k.RetireKeyVersions(t.Context(), id, kms.RetireOptions{Before: 2, Days: 7}))
	}, is[*kms.InUseError]},
	{"a brown-out", kms.ErrBrownout, "Rejected.Brownout", func(t *testing.T, k *kmstest.KMS) error {
		id := k.MustCreateKey(t).ID
		require.NoError(t, kit.Err(k.SetBrownout(t.Context(), id, 1, k.Clock.Now().Add(1))))
		return kit.Err(k.Encrypt(t.Context(), id, nil, nil))
	}, is[*kms.BrownoutError]},
	{"a key whose instance has expired", kms.ErrInstanceExpired, "Rejected.Unavailable", func(t *testing.T, k *kmstest.KMS) error {
		id := kit.Tenant(t, k, "tenant-7", 1)
		k.Clock.AdvanceDays(1)
		return kit.Err(k.Encrypt(t.Context(), id, nil, nil))
	}, is[*kms.InstanceExpiredError]},
	{"no such instance", kms.ErrNotFound, "Forbidden.DKMSInstanceNotFound", func(t *testing.T, k *kmstest.KMS) error {
		return kit.Err(k.DescribeInstance(t.Context(), "nobody"))
	}, nil},
	{"a release without a backup", kms.ErrNoBackup, "Forbidden.NoBackup", func(t *testing.T, k *kmstest.KMS) error {
		kit.Tenant(t, k, "tenant-7", 0)
		return kit.Err(k.ReleaseInstance(t.Context(), "tenant-7", nil))
	}, nil},
	{"an instance under protection", kms.ErrProtected, "Rejected.DeletionProtected", func(t *testing.T, k *kmstest.KMS) error {
		kit.Tenant(t, k, "tenant-7", 0)
		require.NoError(t, kit.Err(k.SetInstanceDeletionProtection(t.Context(), "tenant-7", kms.InstanceProtection{On: true, Reason: "why"})))
		return kit.Err(k.ReleaseInstance(t.Context(), "tenant-7", nil))
	}, is[*kms.ProtectedError]},
	{"not authorized", kms.ErrDenied, "Forbidden.NoPermission", func(t *testing.T, k *kmstest.KMS) error {
		why := errors.New("not you")
		m := k.Another(t, func(c *kms.Config) { c.Authorize = func(context.Context, kms.Request) error { return why } })
		err := kit.Err(m.CreateKey(t.Context(), nil))
		require.ErrorIs(t, err, why)
		return err
	}, nil},
	{"a store out of reach", kms.ErrUnavailable, "Rejected.Unavailable", func(t *testing.T, k *kmstest.KMS) error {
		down := errors.New("connection refused")
		k.Store.OnGet(func(string) error { return down })
		err := kit.Err(k.DescribeKey(t.Context(), "01890000-0000-7000-8000-000000000000"))
		require.ErrorIs(t, err, down)
		return err
	}, is[*kms.UnavailableError]},
	{"a write of which nobody knows", kms.ErrUnavailable, "Rejected.Unavailable", func(t *testing.T, k *kmstest.KMS) error {
		id := k.MustCreateKey(t).ID
		k.Store.OnPut(func(string) (bool, error) { return true, errors.New("connection reset") })
		err := kit.Err(k.DisableKey(t.Context(), id))
		var u *kms.UnavailableError
		require.True(t, errors.As(err, &u) && u.Unknown && u.KeyID == id)
		return err
	}, is[*kms.UnavailableError]},
	{"a context that has ended", kms.ErrCanceled, "Canceled", func(t *testing.T, k *kmstest.KMS) error {
		why := errors.New("the client hung up")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(why)
		err := kit.Err(k.Encrypt(ctx, k.MustCreateKey(t).ID, nil, nil))
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, why)
		require.NotErrorIs(t, err, kms.ErrUnavailable)
		return err
	}, is[*kms.UnavailableError]},
	{"a key that the provider does not have", kms.ErrMaterialGone, "InternalFailure.MaterialGone", func(t *testing.T, k *kmstest.KMS) error {
		id := k.MustCreateKey(t).ID
		m := k.Another(t, func(c *kms.Config) { c.Software = amnesiac{c.Software} })
		return kit.Err(m.Encrypt(t.Context(), id, nil, nil))
	}, nil},
	{"a backup cut short", kms.ErrBackup, "InvalidBackup", func(t *testing.T, k *kmstest.KMS) error {
		b := kit.Backup(t, k.Manager, kms.DefaultInstance, k.Root)
		return kit.Err(k.Restore(t.Context(), bytes.NewReader(b[:len(b)-1]), k.Root, nil))
	}, nil},
	{"a backup for another", kms.ErrBackup, "InvalidBackup", func(t *testing.T, k *kmstest.KMS) error {
		b := kit.Backup(t, k.Manager, kms.DefaultInstance, k.Root)
		return kit.Err(kms.VerifyBackup(t.Context(), bytes.NewReader(b), kit.Root(t, 2)))
	}, nil},
	{"a record that was edited", kms.ErrTampered, "InternalFailure.Tampered", func(t *testing.T, k *kmstest.KMS) error {
		id := k.MustCreateKey(t).ID
		kit.EditItem(t, k, "key/"+id, func(value []byte) []byte { value[len(value)-1] ^= 1; return value })
		return kit.Err(k.DescribeKey(t.Context(), id))
	}, nil},
	{"another root", kms.ErrRoot, "InternalFailure.Root", func(t *testing.T, k *kmstest.KMS) error {
		return kit.Err(kms.Open(t.Context(), k.ConfigWith(func(c *kms.Config) { c.Root = kit.Root(t, 2) })))
	}, nil},
}

// An amnesiac provider has none of its keys any more.
type amnesiac struct{ provider.Provider }

func (amnesiac) Open(context.Context, string, provider.Spec, []byte) (provider.Key, error) {
	return nil, provider.ErrNoKey
}

func is[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

// TestCreateKeyOptions: what no key can be is refused before anything is written.
func TestCreateKeyOptions(t *testing.T) {
	k := kmstest.New(t)
	kit.Tenant(t, k, "acme", 0)
	before := kit.StoredItems(t, k)
	for name, row := range map[string]struct {
		opts kms.CreateKeyOptions
		want string
	}{
		"a spec that there is not":      {kms.CreateKeyOptions{Spec: "AES_512"}, "ErrUnsupported"},
		"a usage that there is not":     {kms.CreateKeyOptions{Usage: "LOOK_AT"}, "ErrUnsupported"},
		"an origin that there is not":   {kms.CreateKeyOptions{Origin: "Mars"}, "ErrUnsupported"},
		"hardware that there is not":    {kms.CreateKeyOptions{Protection: kms.ProtectionHSM}, "ErrUnsupported"},
		"hardware in software's place":  {kms.CreateKeyOptions{Instance: "acme", Protection: kms.ProtectionHSM}, "ErrUnsupported"},
		"an instance that there is not": {kms.CreateKeyOptions{Instance: "nobody"}, "ErrNotFound"},
		"an instance that cannot be":    {kms.CreateKeyOptions{Instance: "No Body"}, "ErrInvalid"},
	} {
		require.Equal(t, []string{row.want}, kit.Conditions(kit.Err(k.CreateKey(t.Context(), &row.opts))), name)
	}
	require.Equal(t, before, kit.StoredItems(t, k))
}

// TestWrapTooMuch: material that does not fit into the wrapping is refused, and not a byte of it told.
func TestWrapTooMuch(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	require.NoError(t, err)
	p := kms.ImportParameters{Algorithm: kms.WrapOAEP, PublicKey: der}
	const most = 2048/8 - 2*32 - 2 // RFC 8017, section 7.1.1
	for size, want := range map[int][]string{32: nil, most: nil, most + 1: {"ErrInvalid"}} {
		wrapped, err := kms.WrapForImport(p, append(bytes.Repeat([]byte("s"), size-1), 't'))
		require.Equal(t, want, kit.Conditions(err), size)
		require.Equal(t, err != nil, wrapped == nil)
		if err != nil {
			require.NotContains(t, err.Error(), "ss")
		}
	}
}

// TestMLDSAPublicKeysCompare: a key equals itself and no other, of its kind or of another.
func TestMLDSAPublicKeysCompare(t *testing.T) {
	one, same, other := kms.MLDSAPublicKey("one"), kms.MLDSAPublicKey("one"), kms.MLDSAPublicKey("other")
	require.True(t, one.Equal(same))
	require.False(t, one.Equal(other))
	require.False(t, one.Equal([]byte("one")))
	require.False(t, one.Equal(nil))
}
