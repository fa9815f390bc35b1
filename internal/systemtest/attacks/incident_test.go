package attacks_test

import (
	"bytes"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// What went wrong elsewhere, and is not shown by a test of another name. docs/incidents.md is the
// table.

// TestImportTokenSpelledOtherwise: a token is bytes, and there is no other way to write them.
func TestImportTokenSpelledOtherwise(t *testing.T) {
	k := kmstest.New(t)
	id := kit.ExternalKey(t, k)
	wrapped, token := kit.WrapMaterial(t, k, id, kit.Material())
	before := kit.StoredItems(t, k)
	std := base64.StdEncoding.EncodeToString(token)
	for name, other := range map[string]string{
		"base64": std, "raw base64": base64.RawStdEncoding.EncodeToString(token), "URL": base64.URLEncoding.EncodeToString(token),
		"raw URL": base64.RawURLEncoding.EncodeToString(token), "lines": std[:64] + "\r\n" + std[64:], "padded more": std + "==",
		"base32": base32.StdEncoding.EncodeToString(token), "hex": hex.EncodeToString(token), "HEX": strings.ToUpper(hex.EncodeToString(token)),
		"JSON": `"` + std + `"`, "space after": string(token) + " ", "space before": " " + string(token), "a line": string(token) + "\n",
		"a zero": string(token) + "\x00", "twice": string(token) + string(token), "UTF-8": string([]rune(string(token))),
	} {
		err := kit.Err(k.ImportKeyMaterial(t.Context(), id, wrapped, []byte(other), time.Time{}))
		require.Equal(t, []string{"ErrImportToken"}, kit.Conditions(err), name)
	}
	require.Equal(t, before, kit.StoredItems(t, k))
	require.NoError(t, kit.Err(k.ImportKeyMaterial(t.Context(), id, wrapped, token, time.Time{})))
}

// TestSuiteIsNotChosen: a ciphertext whose format, suite or flags are any other value is refused,
// with the one error and the plaintext nowhere.
func TestSuiteIsNotChosen(t *testing.T) {
	k := kmstest.New(t)
	sound, err := k.Encrypt(t.Context(), k.MustCreateKey(t).ID, []byte("x"), nil)
	require.NoError(t, err)
	for at := range 3 {
		for b := range 256 {
			changed := bytes.Clone(sound)
			changed[at] = byte(b)
			plain, err := k.Decrypt(t.Context(), changed, nil)
			if changed[at] == sound[at] {
				require.NoError(t, err)
				continue
			}
			require.Equal(t, []string{"ErrCiphertext"}, kit.Conditions(err), "byte %d is %d", at, b)
			require.Nil(t, plain)
		}
	}
}

// TestArgumentsAreLeftAlone: no call changes what it is given, not where it does something and not
// where it refuses, nor what lies behind it in memory.
func TestArgumentsAreLeftAlone(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	made := func(spec kms.Spec, usage kms.Usage) string {
		key, err := k.CreateKey(ctx, &kms.CreateKeyOptions{Spec: spec, Usage: usage})
		require.NoError(t, err)
		return key.ID
	}
	id, signs, macs := k.MustCreateKey(t).ID, made(kms.SpecECP256, ""), made(kms.SpecHMAC256, "")
	decrypts, external := made(kms.SpecRSA2048, kms.UsageEncryptDecrypt), kit.ExternalKey(t, k)
	given := map[string][]byte{}
	give := func(name string, b []byte, err error) []byte {
		require.NoError(t, err)
		given[name] = append(bytes.Clone(b), bytes.Repeat([]byte{0xa5}, 64)...)
		return given[name][:len(b)]
	}
	give2 := func(name string) func([]byte, error) []byte {
		return func(b []byte, err error) []byte { return give(name, b, err) }
	}
	ec, tags := kms.EncryptionContext{"b": "2", "a": "1"}, map[string]string{"team": "billing"}
	plain, digest := give("plaintext", []byte("sixteen bytes ok"), nil), give("digest", bytes.Repeat([]byte{7}, 32), nil)
	c := give2("ciphertext")(k.Encrypt(ctx, id, plain, ec))
	signature := give2("signature")(k.SignDigest(ctx, signs, kms.SignECDSASHA256, digest))
	mac := give2("MAC")(k.GenerateMac(ctx, macs, kms.MacHMACSHA256, plain))
	asymmetric := give2("asymmetric")(k.AsymmetricEncrypt(ctx, decrypts, plain))
	p, err := k.GetParametersForImport(ctx, external, nil)
	p.Token = give("token", p.Token, err)
	p.PublicKey = give("public key", p.PublicKey, nil)
	material := give("material", kit.Material(), nil)
	wrapped := give2("wrapped")(kms.WrapForImport(p, material))
	options := &kms.CreateKeyOptions{Description: "d", Tags: tags}
	said := func() string {
		b, err := json.Marshal([]any{given, ec, tags, options})
		require.NoError(t, err)
		return string(b)
	}
	before := said()
	for name, call := range map[string]func() error{
		"CreateKey":         func() error { return kit.Err(k.CreateKey(ctx, options)) },
		"SetTags":           func() error { return kit.Err(k.SetTags(ctx, id, tags)) },
		"Encrypt":           func() error { return kit.Err(k.Encrypt(ctx, id, plain, ec)) },
		"AppendEncrypt":     func() error { return kit.Err(k.AppendEncrypt(ctx, nil, id, plain, ec)) },
		"Decrypt":           func() error { return kit.Err(k.Decrypt(ctx, c, ec)) },
		"AppendDecrypt":     func() error { return kit.Err(k.AppendDecrypt(ctx, nil, c, ec)) },
		"DecryptWithKey":    func() error { _, _, err := k.DecryptWithKey(ctx, id, c, ec); return err },
		"ReEncrypt":         func() error { return kit.Err(k.ReEncrypt(ctx, c, ec, id, ec)) },
		"ReEncryptWithKey":  func() error { _, _, err := k.ReEncryptWithKey(ctx, id, c, ec, id, ec); return err },
		"NeedsRewrap":       func() error { return kit.Err(k.NeedsRewrap(ctx, c)) },
		"GenerateDataKey":   func() error { return kit.Err(k.GenerateDataKey(ctx, id, ec)) },
		"Inspect":           func() error { return kit.Err(kms.Inspect(c)) },
		"Sign":              func() error { return kit.Err(k.Sign(ctx, signs, kms.SignECDSASHA256, plain)) },
		"SignDigest":        func() error { return kit.Err(k.SignDigest(ctx, signs, kms.SignECDSASHA256, digest)) },
		"VerifyDigest":      func() error { return k.VerifyDigest(ctx, signs, kms.SignECDSASHA256, digest, signature) },
		"VerifyMac":         func() error { return k.VerifyMac(ctx, macs, kms.MacHMACSHA256, plain, mac) },
		"AsymmetricEncrypt": func() error { return kit.Err(k.AsymmetricEncrypt(ctx, decrypts, plain)) },
		"AsymmetricDecrypt": func() error { return kit.Err(k.AsymmetricDecrypt(ctx, decrypts, asymmetric)) },
		"WrapForImport":     func() error { return kit.Err(kms.WrapForImport(p, material)) },
		"ImportKeyMaterial": func() error { return kit.Err(k.ImportKeyMaterial(ctx, external, wrapped, p.Token, time.Time{})) },
		"Restore": func() error {
			b := give("backup", kit.Backup(t, k.Manager, kms.DefaultInstance, k.Root), nil)
			defer delete(given, "backup")
			kept := bytes.Clone(given["backup"])
			err := kit.Err(k.Restore(ctx, bytes.NewReader(b), k.Root, nil))
			require.Equal(t, kept, given["backup"])
			return err
		},
	} {
		require.NoError(t, call(), name)
		require.Equal(t, before, said(), name)
	}
	for name, call := range map[string]func() error{
		"Decrypt":           func() error { return kit.Err(k.Decrypt(ctx, asymmetric, ec)) },
		"another context":   func() error { return kit.Err(k.Decrypt(ctx, c, nil)) },
		"AppendDecrypt":     func() error { return kit.Err(k.AppendDecrypt(ctx, nil, c, nil)) },
		"ReEncrypt":         func() error { return kit.Err(k.ReEncrypt(ctx, c, nil, id, ec)) },
		"VerifyDigest":      func() error { return k.VerifyDigest(ctx, signs, kms.SignECDSASHA256, digest, mac) },
		"VerifyMac":         func() error { return k.VerifyMac(ctx, macs, kms.MacHMACSHA256, digest, mac) },
		"AsymmetricDecrypt": func() error { return kit.Err(k.AsymmetricDecrypt(ctx, decrypts, c)) },
		"ImportKeyMaterial": func() error { return kit.Err(k.ImportKeyMaterial(ctx, external, asymmetric, p.Token, time.Time{})) },
		"another token":     func() error { return kit.Err(k.ImportKeyMaterial(ctx, external, wrapped, c, time.Time{})) },
		"Restore":           func() error { return kit.Err(k.Restore(ctx, bytes.NewReader(c), k.Root, nil)) },
	} {
		require.Error(t, call(), name)
		require.Equal(t, before, said(), name)
	}
}
