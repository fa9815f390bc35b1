package tinkkms_test

import (
	"bytes"
	"crypto/fips140"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/tinkkms"
)

// newKeyset is a Tink keyset of some AES-256-GCM keys.
func newKeyset(t *testing.T, keys int) *keyset.Handle {
	m := keyset.NewManager()
	for range keys {
		id, err := m.Add(aead.AES256GCMKeyTemplate())
		require.NoError(t, err)
		require.NoError(t, m.SetPrimary(id))
	}
	h, err := m.Handle()
	require.NoError(t, err)
	return h
}

// TestKeyset: keysets written under our key are read back by either interface, in binary and
// JSON, and what they encrypted opens. Tink's own AES-GCM is refused in FIPS mode, and so
// enforcement is off while it runs; our part runs with it.
func TestKeyset(t *testing.T) {
	t.Parallel()
	k := kmstest.New(t)
	master, ad := tinkkms.AEAD(k.Manager, k.MustCreateKey(t).ID), []byte("tenant 7")
	h := newKeyset(t, 3)
	var c []byte
	use := func(h *keyset.Handle, do func(tink.AEAD) error) {
		fips140.WithoutEnforcement(func() {
			a, err := aead.New(h)
			require.NoError(t, err)
			require.NoError(t, do(a))
		})
	}
	use(h, func(a tink.AEAD) (err error) { c, err = a.Encrypt([]byte("x"), nil); return err })

	var binary, json bytes.Buffer
	require.NoError(t, h.WriteWithAssociatedData(keyset.NewBinaryWriter(&binary), master, ad))
	require.NoError(t, h.WriteWithContext(t.Context(), keyset.NewJSONWriter(&json), master, ad))
	one, err := keyset.ReadWithContext(t.Context(), keyset.NewBinaryReader(bytes.NewReader(binary.Bytes())), master, ad)
	require.NoError(t, err)
	two, err := keyset.ReadWithAssociatedData(keyset.NewJSONReader(bytes.NewReader(json.Bytes())), master, ad)
	require.NoError(t, err)
	for _, h := range []*keyset.Handle{one, two} {
		require.Equal(t, 3, h.Len())
		use(h, func(a tink.AEAD) error {
			plain, err := a.Decrypt(c, nil)
			require.Equal(t, "x", string(plain))
			return err
		})
	}

	read := func(master tink.AEAD, ad string) error {
		return only(keyset.ReadWithAssociatedData(keyset.NewBinaryReader(bytes.NewReader(binary.Bytes())), master, []byte(ad)))
	}
	require.NoError(t, read(master, "tenant 7"))
	require.Error(t, read(master, "tenant 8"))
	require.Error(t, read(master, ""))
	require.Error(t, read(tinkkms.AEAD(k.Manager, k.MustCreateKey(t).ID), "tenant 7"), "another key")
}

// TestKeysetSize: forty AES keys fit; what does not is refused.
func TestKeysetSize(t *testing.T) {
	t.Parallel()
	k := kmstest.New(t)
	master := tinkkms.AEAD(k.Manager, k.MustCreateKey(t).ID)
	write := func(keys int) error {
		return newKeyset(t, keys).WriteWithAssociatedData(keyset.NewBinaryWriter(new(bytes.Buffer)), master, nil)
	}
	require.NoError(t, write(40))
	require.ErrorContains(t, write(100), kms.ErrInvalid.Error()[len("kms: "):])
}

// TestKeysetErrors: Tink's keyset package keeps the text of an error and drops the error.
// Should this fail one day, the package comment can say better.
func TestKeysetErrors(t *testing.T) {
	t.Parallel()
	k := kmstest.New(t)
	id := k.MustCreateKey(t).ID
	require.NoError(t, only(k.DisableKey(t.Context(), id)))
	err := newKeyset(t, 1).WriteWithAssociatedData(keyset.NewBinaryWriter(new(bytes.Buffer)), tinkkms.AEAD(k.Manager, id), nil)
	require.ErrorContains(t, err, "the key is disabled")
	require.NotErrorIs(t, err, kms.ErrDisabled)
}

// TestEnvelope: Tink's envelope AEADs, of every kind of data key that they take, run on our
// keys and hand our errors on. As Tink has it, the data key is bound to no context.
func TestEnvelope(t *testing.T) {
	t.Parallel()
	if fips140.Enforced() {
		t.Skip("Tink's envelope encryption uses Tink's own AEADs, which GODEBUG=fips140=only refuses")
	}
	for name, template := range map[string]*tinkpb.KeyTemplate{
		"AES128GCM": aead.AES128GCMKeyTemplate(), "AES256GCM": aead.AES256GCMKeyTemplate(), "AES256CTRHMAC": aead.AES256CTRHMACSHA256KeyTemplate(),
		"AES256GCMSIV": aead.AES256GCMSIVKeyTemplate(), "ChaCha20Poly1305": aead.ChaCha20Poly1305KeyTemplate(), "XChaCha20Poly1305": aead.XChaCha20Poly1305KeyTemplate(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := kmstest.New(t)
			id := k.MustCreateKey(t).ID
			master, err := tinkkms.NewClient(k.Manager).GetAEAD("keyhold://" + id)
			require.NoError(t, err)
			plain := aead.NewKMSEnvelopeAEAD2(template, master)
			withContext, err := aead.NewKMSEnvelopeAEADWithContext(template, tinkkms.AEAD(k.Manager, id))
			require.NoError(t, err)

			large, ad := bytes.Repeat([]byte("large"), 20_000), []byte("ad")
			c, err := plain.Encrypt(large, ad)
			require.NoError(t, err)
			opened, err := withContext.DecryptWithContext(t.Context(), c, ad)
			require.NoError(t, err)
			require.True(t, bytes.Equal(large, opened))
			require.Error(t, only(plain.Decrypt(c, []byte("other"))))
			_, err = kms.Inspect(c[4 : len(c)-len(large)])
			require.NoError(t, err, "behind four bytes of length stands our ciphertext")

			require.NoError(t, only(k.DisableKey(t.Context(), id)))
			require.ErrorIs(t, only(plain.Encrypt(nil, nil)), kms.ErrDisabled)
			require.ErrorIs(t, only(plain.Decrypt(c, ad)), kms.ErrDisabled)
			require.ErrorIs(t, only(withContext.EncryptWithContext(t.Context(), nil, nil)), kms.ErrDisabled)
			require.ErrorIs(t, only(withContext.DecryptWithContext(t.Context(), c, ad)), kms.ErrDisabled)
		})
	}
}
