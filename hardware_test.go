package kms_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/hsm"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// objects is how many keys are in a token, beside what the provider keeps for itself.
func objects(t *testing.T, token *hsm.Token) int {
	t.Helper()
	all, err := token.Orphans(t.Context(), func(string) bool { return false })
	require.NoError(t, err)
	return len(all)
}

// TestHardwareBothLevels: one Manager has keys of both, each where it should be.
func TestHardwareBothLevels(t *testing.T) {
	_, token := kit.OpenToken(t)
	k := kmstest.New(t, func(c *kms.Config) { c.HSM = token })
	for _, level := range []kms.Protection{kms.ProtectionSoftware, kms.ProtectionHSM} {
		before := objects(t, token)
		key, err := k.CreateKey(t.Context(), &kms.CreateKeyOptions{Protection: level})
		require.NoError(t, err)
		require.Equal(t, level, key.Protection)
		require.Equal(t, level == kms.ProtectionHSM, objects(t, token) > before)
		c, err := k.Encrypt(t.Context(), key.ID, []byte("x"), nil)
		require.NoError(t, err)
		info, err := kms.Inspect(c)
		require.NoError(t, err)
		require.Equal(t, level, info.Protection)
		plaintext, err := k.Another(t).Decrypt(t.Context(), c, nil)
		require.NoError(t, err)
		require.Equal(t, "x", string(plaintext))
	}
}

// TestHardwareRotation: every version is an object, and each opens what it encrypted.
func TestHardwareRotation(t *testing.T) {
	_, token := kit.OpenToken(t)
	k := kmstest.New(t, kit.InToken(token))
	id := k.MustCreateKey(t).ID
	var sealed [][]byte
	for n := range 4 {
		require.Equal(t, n+1, objects(t, token))
		c, err := k.Encrypt(t.Context(), id, []byte{byte(n)}, nil)
		require.NoError(t, err)
		sealed = append(sealed, c)
		require.NoError(t, kit.Err(k.RotateKey(t.Context(), id)))
	}
	for n, c := range sealed {
		plaintext, err := k.Decrypt(t.Context(), c, nil)
		require.NoError(t, err)
		require.Equal(t, []byte{byte(n)}, plaintext)
	}
}

// TestHardwareDeletion: the purge destroys the objects. While the token is away it waits, and does
// not say that it is done; the key is Deleted meanwhile.
func TestHardwareDeletion(t *testing.T) {
	ctx := t.Context()
	tk, token := kit.OpenToken(t)
	k := kmstest.New(t, kit.InToken(token))
	for _, spec := range []kms.Spec{kms.SpecAES256, kms.SpecECP256, kms.SpecHMAC256} {
		id := kit.Key(t, k, spec, "")
		require.NoError(t, kit.Err(k.DisableKey(ctx, id)))
		require.NoError(t, kit.Err(k.ScheduleKeyDeletion(ctx, id, 7)))
		k.Clock.AdvanceDays(7)
		require.ErrorIs(t, kit.Err(k.DescribeKey(ctx, id)), kms.ErrNotFound)
		require.Equal(t, 1, objects(t, token))

		back := kit.TakeToken(t, tk, token)
		for range 3 {
			report, err := k.Maintain(ctx)
			require.ErrorIs(t, err, kms.ErrUnavailable)
			require.Equal(t, []string{id}, report.Waiting)
			require.Empty(t, report.Purged)
		}
		back()
		require.Equal(t, 1, objects(t, token))
		require.Equal(t, []string{id}, kit.Maintain(t, k).Purged)
		require.Zero(t, objects(t, token))
		require.Empty(t, kit.Maintain(t, k).Purged)
	}
}

// TestHardwareGone: a key whose object somebody destroyed behind the service's back is ErrMaterialGone,
// and one whose token is away is ErrUnavailable.
func TestHardwareGone(t *testing.T) {
	ctx := t.Context()
	tk, token := kit.OpenToken(t)
	k := kmstest.New(t, kit.InToken(token))
	id := k.MustCreateKey(t).ID
	c, err := k.Encrypt(ctx, id, []byte("x"), nil)
	require.NoError(t, err)
	back := kit.TakeToken(t, tk, token)
	require.ErrorIs(t, kit.Err(k.Another(t).Decrypt(ctx, c, nil)), kms.ErrUnavailable)
	require.ErrorIs(t, kit.Err(k.CreateKey(ctx, nil)), kms.ErrUnavailable)
	back()
	require.NoError(t, kit.Err(k.Decrypt(ctx, c, nil)))
	material, err := kms.Material(ctx, k.Manager, id)
	require.NoError(t, err)
	require.NoError(t, token.Destroy(ctx, id+"/1", material))
	require.ErrorIs(t, kit.Err(k.Decrypt(ctx, c, nil)), kms.ErrMaterialGone)
	require.ErrorIs(t, kit.Err(k.Another(t).Decrypt(ctx, c, nil)), kms.ErrMaterialGone)
}

// TestHardwareElsewhere: a key whose object is in another token is ErrUnavailable, and one whose object
// was destroyed is ErrMaterialGone, for every use of it. Explain says the same, and nothing is
// called tampering.
func TestHardwareElsewhere(t *testing.T) {
	ctx := t.Context()
	_, token := kit.OpenToken(t)
	k := kmstest.New(t, kit.InToken(token))
	aes, pair, mac := k.MustCreateKey(t).ID, kit.Key(t, k, kms.SpecECP256, ""), kit.Key(t, k, kms.SpecHMAC256, "")
	c, err := k.Encrypt(ctx, aes, []byte("x"), nil)
	require.NoError(t, err)
	check := func(m *kms.Manager, want, says string) {
		for op, use := range map[kms.Op]func() (string, error){
			kms.OpEncrypt:         func() (string, error) { return aes, kit.Err(m.Encrypt(ctx, aes, nil, nil)) },
			kms.OpDecrypt:         func() (string, error) { return aes, kit.Err(m.Decrypt(ctx, c, nil)) },
			kms.OpGenerateDataKey: func() (string, error) { return aes, kit.Err(m.GenerateDataKey(ctx, aes, nil)) },
			kms.OpSign:            func() (string, error) { return pair, kit.Err(m.Sign(ctx, pair, kms.SignECDSASHA256, nil)) },
			kms.OpVerify:          func() (string, error) { return pair, m.Verify(ctx, pair, kms.SignECDSASHA256, nil, nil) },
			kms.OpGetPublicKey:    func() (string, error) { return pair, kit.Err(m.GetPublicKey(ctx, pair)) },
			kms.OpGenerateMac:     func() (string, error) { return mac, kit.Err(m.GenerateMac(ctx, mac, kms.MacHMACSHA256, nil)) },
		} {
			id, err := use()
			require.Equal(t, []string{want}, kit.Conditions(err), "%v: %v", op, err)
			require.ErrorContains(t, err, says)
			require.Equal(t, kms.Hint(kit.Sentinels()[want]), kms.Hint(err))
			x, failed := m.Explain(ctx, op, id)
			require.NoError(t, failed)
			require.False(t, x.Allowed)
			require.Equal(t, []string{want}, kit.Conditions(x.Reasons[0]), op)
		}
	}
	for _, id := range []string{aes, pair, mac} {
		material, err := kms.Material(ctx, k.Manager, id)
		require.NoError(t, err)
		require.NoError(t, token.Destroy(ctx, id+"/1", material))
	}
	check(k.Another(t), "ErrMaterialGone", "no such object any more")
	require.NoError(t, token.Close())
	_, other := kit.OpenToken(t)
	check(k.Another(t, kit.InToken(other)), "ErrUnavailable", "another token")
}

// TestHardwareOwnerAfterDeletion: as TestOwnerAfterDeletion, of a key that was imported into a
// token. Material that was deleted and is imported again opens what it did; after the key's
// deletion the owner opens nothing.
func TestHardwareOwnerAfterDeletion(t *testing.T) {
	ctx := t.Context()
	_, token := kit.OpenToken(t)
	k := kmstest.New(t, kit.InToken(token))
	id, wrapped, importToken := kit.ImportedKey(t, k, kit.Material())
	c, err := k.Encrypt(ctx, id, []byte("secret"), nil)
	require.NoError(t, err)
	living, err := kms.ShredSecret(ctx, k.Manager, id)
	require.NoError(t, err)
	require.True(t, openHardwareAsOwner(t, c, kit.Material(), living), "the attack does not work where it should")
	require.False(t, openHardwareAsOwner(t, c, kit.Material(), make([]byte, 32)))

	require.NoError(t, kit.Err(k.DeleteKeyMaterial(ctx, id, nil)))
	require.Zero(t, objects(t, token))
	require.ErrorIs(t, kit.Err(k.Decrypt(ctx, c, nil)), kms.ErrPendingImport)
	require.NoError(t, kit.Err(k.ImportKeyMaterial(ctx, id, wrapped, importToken, time.Time{})))
	require.NoError(t, kit.Err(k.Decrypt(ctx, c, nil)))

	require.NoError(t, kit.Err(k.DisableKey(ctx, id)))
	require.NoError(t, kit.Err(k.ScheduleKeyDeletion(ctx, id, 7)))
	k.Clock.AdvanceDays(7)
	require.Equal(t, []string{id}, kit.Maintain(t, k).Purged)
	require.Zero(t, objects(t, token))
	require.ErrorIs(t, kit.Err(k.ImportKeyMaterial(ctx, id, wrapped, importToken, time.Time{})), kms.ErrNotFound)
	again, _, _ := kit.ImportedKey(t, k, kit.Material())
	theirs, err := k.Encrypt(ctx, again, nil, nil)
	require.NoError(t, err)
	require.ErrorIs(t, kit.Err(k.Decrypt(ctx, append(bytes.Clone(theirs[:23]), c[23:]...), nil)), kms.ErrCiphertext)
	for item, err := range k.Store.List(ctx, "", "") {
		require.NoError(t, err)
		for at := 0; at+32 <= len(item.Value); at++ {
			require.False(t, openHardwareAsOwner(t, c, kit.Material(), item.Value[at:at+32]))
		}
	}
}

// openHardwareAsOwner tells whether a ciphertext of a hardware key opens to the formats that are
// documented, with the material and a shred secret alone.
func openHardwareAsOwner(t *testing.T, c, material, shred []byte) (ok bool) {
	t.Helper()
	info, err := kms.Inspect(c)
	require.NoError(t, err)
	id, err := hex.DecodeString(string(bytes.ReplaceAll([]byte(info.KeyID), []byte("-"), nil)))
	require.NoError(t, err)
	var framed []byte
	for _, part := range [][]byte{[]byte("keyhold imported key v1"), id, {0, 0, 0, 1}} {
		framed = append(append(framed, 0, 0, 0, byte(len(part))), part...)
	}
	key, err := hkdf.Key(sha256.New, material, shred, string(framed), 32)
	require.NoError(t, err)
	block, err := aes.NewCipher(key)
	require.NoError(t, err)
	header, payload := c[:23], c[23:]
	fips140.WithoutEnforcement(func() {
		gcm, failed := cipher.NewGCM(block)
		require.NoError(t, failed)
		_, failed = gcm.Open(nil, payload[:12], payload[12:], header)
		ok = failed == nil
	})
	return ok
}

// TestHardwareRelease: releasing an instance destroys the objects of its keys, and of no others.
// While the token is away the instance is released nonetheless, and Maintain finishes.
func TestHardwareRelease(t *testing.T) {
	ctx := t.Context()
	tk, token := kit.OpenToken(t)
	k := kmstest.New(t, kit.InToken(token))
	other := kit.Tenant(t, k, "tenant-8", 0)
	for _, gone := range []bool{false, true} {
		id := map[bool]string{false: "tenant-6", true: "tenant-7"}[gone]
		key := kit.Tenant(t, k, id, 0)
		require.NoError(t, kit.Err(k.CreateKey(ctx, &kms.CreateKeyOptions{Instance: id, Spec: kms.SpecECP256})))
		c, err := k.Encrypt(ctx, key, []byte("x"), nil)
		require.NoError(t, err)
		require.Equal(t, 3, objects(t, token))
		back := func() {}
		if gone {
			back = kit.TakeToken(t, tk, token)
		}
		err = kit.Err(k.ReleaseInstance(ctx, id, kit.Force()))
		if gone {
			require.ErrorIs(t, err, kms.ErrUnavailable)
		} else {
			require.NoError(t, err)
		}
		require.ErrorIs(t, kit.Err(k.Decrypt(ctx, c, nil)), kms.ErrNotFound, "at once, wherever the token is")
		require.Equal(t, kms.InstanceReleased, instanceState(t, k.Manager, id))
		if gone {
			report, err := k.Maintain(ctx)
			require.ErrorIs(t, err, kms.ErrUnavailable)
			require.Equal(t, []string{id}, report.Instances.Waiting)
			require.True(t, kms.IsSealed(kit.StoredValue(t, k, "instance/"+id)))
		}
		back()
		if gone {
			require.Equal(t, []string{id}, kit.Maintain(t, k).Instances.Released)
		}
		require.False(t, kms.IsSealed(kit.StoredValue(t, k, "instance/"+id)))
		require.Equal(t, 1, objects(t, token))
		require.NoError(t, kit.Err(k.Encrypt(ctx, other, nil, nil)))
	}
}

// TestHardwareRoot: a key in the token is the root of a key store, also after another.
func TestHardwareRoot(t *testing.T) {
	ctx := t.Context()
	_, token := kit.OpenToken(t)
	root, err := token.CreateRoot(ctx, "store")
	require.NoError(t, err)
	k := kmstest.New(t)
	id := k.MustCreateKey(t).ID
	c, err := k.Encrypt(ctx, id, []byte("x"), nil)
	require.NoError(t, err)
	require.NoError(t, k.RotateRoot(ctx, root))
	again, err := token.Root(context.WithoutCancel(ctx), "store")
	require.NoError(t, err)
	plaintext, err := k.Another(t, func(c *kms.Config) { c.Root = again }).Decrypt(ctx, c, nil)
	require.NoError(t, err)
	require.Equal(t, "x", string(plaintext))
	other, err := token.CreateRoot(ctx, "another")
	require.NoError(t, err)
	require.ErrorIs(t, kit.Err(kms.Open(ctx, k.ConfigWith(func(c *kms.Config) { c.Root = other }))), kms.ErrRoot)
}

// TestHardwareSpecs: what there is in hardware, and what there is there alone.
func TestHardwareSpecs(t *testing.T) {
	ctx := t.Context()
	_, token := kit.OpenToken(t)
	k := kmstest.New(t, func(c *kms.Config) { c.HSM = token })
	nowhere := map[kms.Spec]bool{kms.SpecEd25519: true, kms.SpecMLDSA65: true}
	for _, spec := range kms.Specs() {
		for _, usage := range kms.Uses(spec) {
			_, err := k.CreateKey(ctx, &kms.CreateKeyOptions{Spec: spec, Usage: usage, Protection: kms.ProtectionHSM})
			if nowhere[spec] {
				require.Equal(t, []string{"ErrUnsupported"}, kit.Conditions(err), spec)
				continue
			}
			require.NoError(t, err, spec)
		}
	}
	for spec, size := range map[kms.Spec]int{kms.SpecAES192: 24, kms.SpecAES128: 16} {
		for _, origin := range []kms.Origin{kms.OriginKMS, kms.OriginExternal} {
			require.Equal(t, []string{"ErrUnsupported"}, kit.Conditions(kit.Err(k.CreateKey(ctx, &kms.CreateKeyOptions{Spec: spec, Origin: origin}))), "in software")
		}
		made, err := k.CreateKey(ctx, &kms.CreateKeyOptions{Spec: spec, Protection: kms.ProtectionHSM})
		require.NoError(t, err)
		own, err := k.CreateKey(ctx, &kms.CreateKeyOptions{Spec: spec, Protection: kms.ProtectionHSM, Origin: kms.OriginExternal})
		require.NoError(t, err)
		wrapped, importToken := kit.WrapMaterial(t, k, own.ID, kit.Material()[:size])
		require.NoError(t, kit.Err(k.ImportKeyMaterial(ctx, own.ID, wrapped, importToken, time.Time{})))
		for _, id := range []string{made.ID, own.ID} {
			d, err := k.GenerateDataKey(ctx, id, nil)
			require.NoError(t, err)
			plain, err := k.Another(t).Decrypt(ctx, d.Ciphertext, nil)
			require.NoError(t, err)
			require.Equal(t, d.Plaintext(), plain)
		}
	}
}

// TestHardwareOrphans: where a process is killed between making a key in the token and writing it
// down, the token has a key that nobody keeps. It is listed, and left alone.
func TestHardwareOrphans(t *testing.T) {
	ctx := t.Context()
	_, token := kit.OpenToken(t)
	k := kmstest.New(t, kit.InToken(token))
	id := k.MustCreateKey(t).ID
	killed := errors.New("killed")
	k.Store.OnPut(func(string) (bool, error) { return false, killed })
	require.ErrorIs(t, kit.Err(k.CreateKey(ctx, nil)), killed)
	k.Store.OnPut(nil)
	kept := func(name string) bool {
		ref, version, _ := strings.Cut(name, "/")
		versions, err := k.KeyVersions(ctx, ref)
		return err == nil && slices.ContainsFunc(versions, func(v kms.KeyVersion) bool { return strconv.Itoa(v.Version) == version })
	}
	for range 2 {
		orphans, err := token.Orphans(ctx, kept)
		require.NoError(t, err)
		require.Len(t, orphans, 1)
		require.NotEqual(t, id+"/1", orphans[0].ID)
		kit.Maintain(t, k)
	}
	require.NoError(t, kit.Err(k.Encrypt(ctx, id, nil, nil)))
}

// TestHardwareRestore: a backup of an instance in hardware has the references. Restored, it finds
// the keys in the token, and tells which are not there; none is in another token.
func TestHardwareRestore(t *testing.T) {
	ctx := t.Context()
	_, token := kit.OpenToken(t)
	k, recipient := kmstest.New(t, kit.InToken(token)), kit.Root(t, 7)
	there, lost := kit.Tenant(t, k, "acme", 0), kit.KeyIn(t, k, "acme")
	c, err := k.Encrypt(ctx, there, []byte("x"), nil)
	require.NoError(t, err)
	backup := kit.Backup(t, k.Manager, "acme", recipient)
	material, err := kms.Material(ctx, k.Manager, lost)
	require.NoError(t, err)
	require.NoError(t, token.Destroy(ctx, lost+"/1", material))

	to := kit.NewService(t, k, kit.InToken(token))
	require.Equal(t, []string{lost}, kit.Restore(t, to.Manager, backup, recipient, nil).Missing)
	plaintext, err := to.Decrypt(ctx, c, nil)
	require.NoError(t, err)
	require.Equal(t, "x", string(plaintext))

	require.NoError(t, token.Close())
	_, other := kit.OpenToken(t)
	elsewhere := kit.NewService(t, k, kit.InToken(other))
	require.Equal(t, []string{there, lost}, kit.Restore(t, elsewhere.Manager, backup, recipient, nil).Missing)
	require.Equal(t, []string{"ErrUnavailable"}, kit.Conditions(kit.Err(elsewhere.Decrypt(ctx, c, nil))))
}
