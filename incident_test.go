package kms_test

import (
	"bytes"
	"context"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/provider"
	"github.com/stretchr/testify/require"
)

// What went wrong elsewhere, and is not shown by a test of another name. docs/incidents.md is the
// table.

// noRSA makes no RSA keys, which takes seconds; TestCreationCutShort and others make them.
type noRSA struct{ provider.Provider }

func (p noRSA) Generate(ctx context.Context, id string, spec provider.Spec, use provider.Use) ([]byte, error) {
	if strings.HasPrefix(string(spec), "RSA_") {
		return nil, provider.ErrUnavailable
	}
	return p.Provider.Generate(ctx, id, spec, use)
}

func (p noRSA) Import(ctx context.Context, id string, spec provider.Spec, use provider.Use, key []byte) ([]byte, error) {
	return p.Provider.(provider.Importer).Import(ctx, id, spec, use, key)
}

// TestEveryOptionOfCreateKey: the full cross product of the options makes the key that was asked
// for, or refuses with one condition and leaves nothing behind. None panics.
func TestEveryOptionOfCreateKey(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	k = kmstest.New(t, func(c *kms.Config) { c.Software = noRSA{k.ConfigWith().Software} })
	kit.Tenant(t, k, "tenant", 100)
	specs := append(kms.Specs(), "", "RSA_1024", "aes_256")
	usages := []kms.Usage{"", kms.UsageEncryptDecrypt, kms.UsageSignVerify, kms.UsageGenerateVerifyMac, "ENCRYPT"}
	refused, made := map[string]int{}, 0
	for _, spec := range specs {
		for _, usage := range usages {
			for _, origin := range []kms.Origin{"", kms.OriginKMS, kms.OriginExternal, "PAPER"} {
				for _, protection := range []kms.Protection{"", kms.ProtectionSoftware, kms.ProtectionHSM, "PAPER"} {
					for _, instance := range []string{"", kms.DefaultInstance, "tenant", "nobody"} {
						o := kms.CreateKeyOptions{Spec: spec, Usage: usage, Origin: origin, Protection: protection, Instance: instance}
						key, err := k.CreateKey(ctx, &o)
						if err != nil {
							conditions := kit.Conditions(err)
							require.Len(t, conditions, 1, "%+v: %v", o, err)
							refused[conditions[0]]++
							continue
						}
						made++
						for want, got := range map[string]string{string(spec): string(key.Spec), string(usage): string(key.Usage), string(origin): string(key.Origin), string(protection): string(key.Protection), instance: key.Instance} {
							require.True(t, want == "" || want == got, "%+v made %+v", o, key)
						}
						again, err := k.DescribeKey(ctx, key.ID)
						require.NoError(t, err)
						require.Equal(t, key, again)
					}
				}
			}
		}
	}
	t.Log(made, "made, refused:", refused)
	require.Greater(t, made, 100)
	require.Equal(t, made+1, len(kit.Keys(t, k, nil)), "and that of the tenant")
	require.ElementsMatch(t, []string{"ErrUnsupported", "ErrNotFound", "ErrUnavailable"}, slices.Collect(maps.Keys(refused)))
}

// TestMadeUpNamesFillNothing: 100 000 IDs that no key has and as many encryption contexts leave
// nothing in memory.
func TestMadeUpNamesFillNothing(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t, func(c *kms.Config) { c.CacheKeys = 8 })
	id := k.MustCreateKey(t).ID
	sound, err := k.Encrypt(ctx, id, []byte("x"), nil)
	require.NoError(t, err)
	round := func(n int) {
		for i := range n {
			// The ID is in the 16 bytes after the first three.
			made := append(bytes.Clone(sound[:3]), fmt.Appendf(nil, "made up %08d", i)...)
			require.ErrorIs(t, kit.Err(k.Decrypt(ctx, append(made, sound[19:]...), nil)), kms.ErrNotFound)
			ec := kms.EncryptionContext{"request": fmt.Sprint(i)}
			require.ErrorIs(t, kit.Err(k.Decrypt(ctx, sound, ec)), kms.ErrCiphertext)
			require.NoError(t, kit.Err(k.GenerateDataKeyWithoutPlaintext(ctx, id, 32, ec)))
		}
	}
	round(1000)
	before := liveHeap()
	round(100_000)
	grown := int64(liveHeap()) - int64(before)
	t.Log("live heap grew by", grown, "bytes")
	require.Less(t, grown, int64(1<<20), "ten bytes for each that was made up")
	require.LessOrEqual(t, kms.Cached(k.Manager), 8)
	require.NoError(t, kit.Err(k.Decrypt(ctx, sound, nil)))
}

func liveHeap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

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
		"ReEncrypt":         func() error { return kit.Err(k.ReEncrypt(ctx, c, ec, id, ec)) },
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
