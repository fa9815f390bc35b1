package software_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/mac"
	"github.com/tink-crypto/tink-go/v2/signature"

	"github.com/keyhold/kms/internal/leaktest"
	"github.com/keyhold/kms/provider"
	"github.com/keyhold/kms/software"
)

// quickSpecs are the specs whose keys are made in no time.
var quickSpecs = []provider.Spec{provider.AES256, provider.ECP256, provider.ECP384, provider.Ed25519, provider.MLDSA65,
	provider.HMAC256, provider.HMAC384, provider.HMAC512, provider.RSA2048}

func generate(t testing.TB, spec provider.Spec) []byte {
	t.Helper()
	m, err := software.New().Generate(t.Context(), "id", spec, spec.Uses()[0])
	require.NoError(t, err)
	return m
}

// TestMaterialIsOfOneSpec: the material of one spec is that of no other.
func TestMaterialIsOfOneSpec(t *testing.T) {
	t.Parallel()
	for _, spec := range quickSpecs {
		m := generate(t, spec)
		for _, other := range append(quickSpecs, provider.RSA3072, provider.RSA4096) {
			k, err := software.New().Open(t.Context(), "id", other, m)
			if other == spec {
				require.NoError(t, err)
				continue
			}
			require.ErrorIs(t, err, provider.ErrNoKey, "%s as %s", spec, other)
			require.Nil(t, k)
		}
	}
}

// TestTinkAgrees: the keyset in the material, read by Tink itself, is the key: Tink verifies
// what we make, and we what Tink makes.
func TestTinkAgrees(t *testing.T) {
	t.Parallel()
	message := []byte("message")
	digest := sha256.Sum256(message)
	for spec, alg := range map[provider.Spec]provider.SigningAlgorithm{
		provider.ECP256: provider.SignECDSASHA256, provider.Ed25519: provider.SignEd25519,
		provider.MLDSA65: provider.SignMLDSA65, provider.RSA2048: provider.SignRSAPSSSHA256,
	} {
		m := generate(t, spec)
		h := handle(t, m)
		signs, err := signature.NewSigner(h)
		require.NoError(t, err)
		public, err := h.Public()
		require.NoError(t, err)
		verifies, err := signature.NewVerifier(public)
		require.NoError(t, err)

		k, err := software.New().Open(t.Context(), "id", spec, m)
		require.NoError(t, err)
		input := message
		if hash, _ := alg.Hash(); hash != 0 {
			input = digest[:]
		}
		made, err := k.(provider.Signer).Sign(t.Context(), alg, input)
		require.NoError(t, err)
		require.NoError(t, verifies.Verify(made, message), spec)
		theirs, err := signs.Sign(message)
		require.NoError(t, err)
		require.NoError(t, k.(provider.Signer).Verify(t.Context(), alg, input, theirs), spec)
	}
	m := generate(t, provider.HMAC256)
	primitive, err := mac.New(handle(t, m))
	require.NoError(t, err)
	k, err := software.New().Open(t.Context(), "id", provider.HMAC256, m)
	require.NoError(t, err)
	made, err := k.(provider.MAC).GenerateMac(t.Context(), provider.MacHMACSHA256, message)
	require.NoError(t, err)
	require.NoError(t, primitive.VerifyMAC(made, message))
}

func handle(t testing.TB, material []byte) *keyset.Handle {
	t.Helper()
	h, err := insecurecleartextkeyset.Read(keyset.NewBinaryReader(bytes.NewReader(software.KeysetOfMaterial(t, material))))
	require.NoError(t, err)
	return h
}

// TestOpenedKeysPrintNothing prints opened keys of every kind, before and after their use, and
// looks for their private parts.
func TestOpenedKeysPrintNothing(t *testing.T) {
	t.Parallel()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	scalar, err := ec.Bytes()
	require.NoError(t, err)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	own, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	raw := randomBytes(t, 32)
	der := func(private any) []byte {
		b, err := x509.MarshalPKCS8PrivateKey(private)
		require.NoError(t, err)
		return b
	}
	for _, c := range []struct {
		spec    provider.Spec
		key     []byte
		secrets [][]byte
	}{
		{provider.ECP256, der(ec), [][]byte{scalar}},
		{provider.Ed25519, der(ed), [][]byte{ed.Seed()}},
		{provider.HMAC256, raw, [][]byte{raw}},
		{provider.RSA2048, der(own), [][]byte{own.D.Bytes(), own.Primes[0].Bytes(), []byte(own.D.String()), []byte(own.Primes[1].String())}},
	} {
		p := software.New()
		m, err := p.Import(t.Context(), "id", c.spec, c.spec.Uses()[0], c.key)
		require.NoError(t, err)
		k, err := p.Open(t.Context(), "id", c.spec, m)
		require.NoError(t, err)
		use(t.Context(), k)
		require.Empty(t, leaktest.Found(k, c.secrets...), "%s shows a secret", c.spec)
		require.Empty(t, leaktest.Found(map[string]any{"key": k}, c.secrets...), "%s in a map shows a secret", c.spec)
	}
}

func use(ctx context.Context, k provider.Key) {
	digest := make([]byte, 32)
	switch k := k.(type) {
	case provider.Signer:
		for _, alg := range []provider.SigningAlgorithm{provider.SignECDSASHA256, provider.SignEd25519, provider.SignRSAPSSSHA256} {
			_, _ = k.Sign(ctx, alg, digest)
		}
	case provider.MAC:
		_, _ = k.GenerateMac(ctx, provider.MacHMACSHA256, digest)
	}
}

// TestImportRefuses: what is no key of the spec, with nothing of it in the error.
func TestImportRefuses(t *testing.T) {
	t.Parallel()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(ed)
	require.NoError(t, err)
	for _, spec := range append(quickSpecs, "EC_P521") {
		for _, bad := range [][]byte{nil, {1}, randomBytes(t, 31), randomBytes(t, 100), der[:len(der)-1], der} {
			if len(bad) == len(der) && (spec == provider.Ed25519 || spec == provider.HMAC384) { // 48 bytes
				continue
			}
			m, err := software.New().Import(t.Context(), "id", spec, provider.UseSign, bad)
			require.ErrorIs(t, err, provider.ErrUnsupported, "%s of %d bytes", spec, len(bad))
			require.Nil(t, m)
		}
	}
	_, err = software.New().Import(t.Context(), "id", provider.MLDSA65, provider.UseSign, randomBytes(t, 32))
	require.ErrorIs(t, err, provider.ErrUnsupported)
}
