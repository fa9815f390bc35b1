//go:build cgo

package hsm_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/miekg/pkcs11"
	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/hsm"
	"github.com/keyhold/kms/internal/campaign"
	"github.com/keyhold/kms/provider"
)

// answers is what each return value of PKCS#11 means. All that are not here mean that the token
// is unavailable.
var answers = map[uint]error{
	pkcs11.CKR_ENCRYPTED_DATA_INVALID:     provider.ErrCiphertext,
	pkcs11.CKR_ENCRYPTED_DATA_LEN_RANGE:   provider.ErrCiphertext,
	pkcs11.CKR_DATA_INVALID:               provider.ErrCiphertext,
	pkcs11.CKR_SIGNATURE_INVALID:          provider.ErrCiphertext,
	0x42:                                  provider.ErrCiphertext, // CKR_AEAD_DECRYPT_FAILED of PKCS#11 3.0
	pkcs11.CKR_PIN_INCORRECT:              hsm.ErrCredentials,
	pkcs11.CKR_PIN_LOCKED:                 hsm.ErrCredentials,
	pkcs11.CKR_PIN_EXPIRED:                hsm.ErrCredentials,
	pkcs11.CKR_PIN_INVALID:                hsm.ErrCredentials,
	pkcs11.CKR_PIN_LEN_RANGE:              hsm.ErrCredentials,
	pkcs11.CKR_MECHANISM_INVALID:          provider.ErrUnsupported,
	pkcs11.CKR_MECHANISM_PARAM_INVALID:    provider.ErrUnsupported,
	pkcs11.CKR_FUNCTION_NOT_SUPPORTED:     provider.ErrUnsupported,
	pkcs11.CKR_KEY_SIZE_RANGE:             provider.ErrUnsupported,
	pkcs11.CKR_DOMAIN_PARAMS_INVALID:      provider.ErrUnsupported,
	pkcs11.CKR_KEY_TYPE_INCONSISTENT:      provider.ErrUnsupported,
	pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED: hsm.ErrKeyPolicy,
	pkcs11.CKR_TEMPLATE_INCONSISTENT:      hsm.ErrKeyPolicy,
	pkcs11.CKR_ATTRIBUTE_VALUE_INVALID:    hsm.ErrKeyPolicy,
	pkcs11.CKR_ATTRIBUTE_READ_ONLY:        hsm.ErrKeyPolicy,
}

// unavailables are the others that PKCS#11 2.40 and 3.0 have, and some that nobody has.
var unavailables = []uint{0x1, 0x2, 0x3, 0x5, 0x6, 0x7, 0x8, 0x9, 0xA, 0x11, 0x12, 0x1B, 0x21, 0x30, 0x31, 0x32, 0x50, 0x51, 0x60, 0x64, 0x65, 0x66,
	0x67, 0x69, 0x6A, 0x6B, 0x82, 0x90, 0x91, 0xB0, 0xB1, 0xB3, 0xB4, 0xB5, 0xB6, 0xB7, 0xB8, 0xC1, 0xD0, 0xE0, 0xE1, 0xE2, 0xF0, 0xF1, 0xF2,
	0x100, 0x101, 0x102, 0x103, 0x104, 0x105, 0x110, 0x112, 0x113, 0x114, 0x115, 0x120, 0x121, 0x140, 0x141, 0x150, 0x160, 0x170, 0x180, 0x190, 0x191,
	0x1A0, 0x1A1, 0x1B0, 0x1B1, 0x1B9, 0x200, 0x201, 0x202, 0x203, 0x204, 0x333, 0x80000000, 0xDEADBEEF}

// everyAnswer is all of them.
func everyAnswer() []uint {
	all := append([]uint(nil), unavailables...)
	for code := range answers {
		all = append(all, code)
	}
	return all
}

// An operation is something that a Token does, with the functions of PKCS#11 that it needs.
type operation struct {
	name      string
	slow      bool // makes keys
	functions []string
	run       func(context.Context) error
}

// operations are all that a Token does. What an operation returns beside its error is checked.
func operations(t *testing.T, token *hsm.Token) []operation {
	t.Helper()
	open := func(spec provider.Spec, use provider.Use) (id string, material []byte, k provider.Key) {
		id = "operation-" + string(spec) + string(use)
		material, err := token.Generate(t.Context(), id, spec, use)
		require.NoError(t, err)
		k, err = token.Open(t.Context(), id, spec, material)
		require.NoError(t, err)
		return id, material, k
	}
	_, _, aes := open(provider.AES256, provider.UseEncrypt)
	_, _, ec := open(provider.ECP256, provider.UseSign)
	_, _, rsaSigner := open(provider.RSA2048, provider.UseSign)
	_, _, decrypter := open(provider.RSA2048, provider.UseDecrypt)
	_, _, mac := open(provider.HMAC256, provider.UseMac)

	plaintext, ad, digest := []byte("plaintext"), []byte("associated"), make([]byte, 32)
	sealed, err := aes.Encrypt(t.Context(), nil, plaintext, ad)
	require.NoError(t, err)
	der, err := decrypter.(provider.AsymmetricDecrypter).PublicKey(t.Context())
	require.NoError(t, err)
	public, err := x509.ParsePKIXPublicKey(der)
	require.NoError(t, err)
	wrapped, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, public.(*rsa.PublicKey), plaintext, nil)
	require.NoError(t, err)

	same := func(got []byte, err error) error {
		if err == nil && string(got) != string(plaintext) {
			t.Errorf("something else than the plaintext was decrypted")
		}
		return err
	}
	drop := func(_ any, err error) error { return err }
	return []operation{
		{"Encrypt", false, []string{"C_EncryptInit", "C_Encrypt"}, func(ctx context.Context) error {
			made, err := aes.Encrypt(ctx, nil, plaintext, ad)
			if err == nil {
				again, failed := aes.Decrypt(ctx, nil, made, ad)
				if failed == nil {
					_ = same(again, nil)
				}
			}
			return err
		}},
		{"Decrypt", false, []string{"C_DecryptInit", "C_Decrypt"}, func(ctx context.Context) error { return same(aes.Decrypt(ctx, nil, sealed, ad)) }},
		{"Sign EC", false, []string{"C_SignInit", "C_Sign"}, func(ctx context.Context) error {
			return drop(ec.(provider.Signer).Sign(ctx, provider.SignECDSASHA256, digest))
		}},
		{"Sign RSA", false, []string{"C_SignInit", "C_Sign"}, func(ctx context.Context) error {
			return drop(rsaSigner.(provider.Signer).Sign(ctx, provider.SignRSAPSSSHA256, digest))
		}},
		{"DecryptOAEP", false, []string{"C_DecryptInit", "C_Decrypt"}, func(ctx context.Context) error {
			return same(decrypter.(provider.AsymmetricDecrypter).DecryptOAEP(ctx, wrapped))
		}},
		{"GenerateMac", false, []string{"C_SignInit", "C_Sign"}, func(ctx context.Context) error {
			return drop(mac.(provider.MAC).GenerateMac(ctx, provider.MacHMACSHA256, digest))
		}},
		{"Generate", true, []string{"C_GenerateKey", "C_GetAttributeValue", "C_GetMechanismInfo", "C_EncryptInit", "C_Encrypt", "C_DecryptInit"}, func(ctx context.Context) error {
			return drop(token.Generate(ctx, "new", provider.AES256, provider.UseEncrypt))
		}},
		{"Generate a pair", true, []string{"C_GenerateKeyPair", "C_SignInit"}, func(ctx context.Context) error {
			return drop(token.Generate(ctx, "new", provider.ECP256, provider.UseSign))
		}},
		{"Import", true, []string{"C_CreateObject"}, func(ctx context.Context) error {
			return drop(token.Import(ctx, "new", provider.AES256, provider.UseEncrypt, []byte("a key of 32 bytes, of many kinds")))
		}},
		{"Destroy", true, []string{"C_DestroyObject"}, func(ctx context.Context) error {
			m, err := token.Generate(ctx, "to go", provider.AES256, provider.UseEncrypt)
			if err != nil {
				return err
			}
			return token.Destroy(ctx, "to go", m)
		}},
		{"Orphans", true, []string{"C_GetAttributeValue"}, func(ctx context.Context) error {
			return drop(token.Orphans(ctx, func(string) bool { return true }))
		}},
	}
}

// TestEveryAnswer: whatever a module returns from any function, for good, each operation fails
// with the error that the answer means, and all is well when the module is.
func TestEveryAnswer(t *testing.T) {
	tk, shim := shimmed(t)
	token := tk.open(t)
	for _, op := range operations(t, token) {
		for _, function := range op.functions {
			t.Run(op.name+" "+function, func(t *testing.T) {
				t.Cleanup(func() { shim.does(t) })
				codes := everyAnswer()
				if op.slow && !campaign.Running() {
					codes = []uint{0x5, 0x30, 0x40, 0x70, 0x82, 0xA0, 0xB3, 0xD1, 0x333} // of each kind
				}
				for _, code := range codes {
					want, isKnown := answers[code]
					if !isKnown || (want == provider.ErrCiphertext && function != "C_Decrypt") ||
						(code == pkcs11.CKR_ATTRIBUTE_VALUE_INVALID && function == "C_GetAttributeValue") {
						want = provider.ErrUnavailable
					}
					if lookedFor := tolerated[function]; lookedFor[code] {
						continue
					}
					shim.does(t, fmt.Sprintf("%s rv=0x%X", function, code))
					err := op.run(context.Background())
					require.ErrorIs(t, err, want, "%s returned 0x%X", function, code)
					for _, other := range []error{provider.ErrCiphertext, provider.ErrUnavailable, provider.ErrUnsupported, provider.ErrNoKey, hsm.ErrCredentials, hsm.ErrKeyPolicy} {
						if other != want {
							require.NotErrorIs(t, err, other, "%s returned 0x%X", function, code)
						}
					}
					if said, ok := errors.AsType[*hsm.Error](err); ok {
						require.Equal(t, code, said.Code)
					} else if want != provider.ErrCiphertext {
						t.Fatalf("%s returned 0x%X: the error %q does not say so", function, code, err)
					}
				}
				shim.does(t)
				require.Eventually(t, func() bool { return op.run(t.Context()) == nil }, 5*time.Second, 5*time.Millisecond)
				for range 10 {
					require.NoError(t, op.run(t.Context()))
				}
			})
		}
	}
}

// TestEveryAnswerOfConnecting: a connection that cannot be made is as the answer says, and made
// as soon as it can be. Those about the PIN are in TestPIN.
func TestEveryAnswerOfConnecting(t *testing.T) {
	tk, shim := shimmed(t)
	token := tk.open(t)
	encrypt := operations(t, token)[0].run
	for _, function := range []string{"C_Initialize", "C_GetSlotList", "C_GetTokenInfo", "C_OpenSession", "C_Login",
		"C_GetSessionInfo", "C_FindObjectsInit", "C_FindObjects", "C_FindObjectsFinal"} {
		t.Run(function, func(t *testing.T) {
			t.Cleanup(func() { shim.does(t) })
			for _, code := range []uint{0x5, 0x30, 0xB3, 0x333} {
				shim.does(t, "C_EncryptInit rv=0x30 times=1", fmt.Sprintf("%s rv=0x%X", function, code))
				require.ErrorIs(t, encrypt(context.Background()), provider.ErrUnavailable, "%s returned 0x%X", function, code)
				shim.does(t)
				require.Eventually(t, func() bool { return encrypt(t.Context()) == nil }, 5*time.Second, time.Millisecond)
			}
		})
	}
}

// tolerated are answers that a function may give.
var tolerated = map[string]map[uint]bool{
	// What has no such attribute has not that use, and what is sensitive is as it should be.
	"C_GetAttributeValue": {pkcs11.CKR_ATTRIBUTE_TYPE_INVALID: true, pkcs11.CKR_ATTRIBUTE_SENSITIVE: true},
}
