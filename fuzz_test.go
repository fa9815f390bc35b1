package kms_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/internal/wire"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// Every target does its call twice, the second time with this in its input: what comes
// back must not repeat it.
const fuzzCanary = "canaryK7QW2ZL0"

// noEcho fails if an error repeats the canary, in whatever form.
func noEcho(t *testing.T, err error) {
	if err == nil {
		return
	}
	text := fmt.Sprintf("%v|%+v|%#v|%s|%s", err, err, err, kms.Code(err), kms.Hint(err))
	for _, form := range []string{fuzzCanary, hex.EncodeToString([]byte(fuzzCanary)), base64.StdEncoding.EncodeToString([]byte(fuzzCanary))} {
		if strings.Contains(text, form[:len(form)-4]) {
			t.Fatalf("the error repeats its input: %v", err)
		}
	}
}

// oneOf fails if an error matches none of the conditions.
func oneOf(t *testing.T, err error, conditions ...error) {
	for _, c := range conditions {
		if errors.Is(err, c) {
			require.NotEmpty(t, kms.Code(err))
			return
		}
	}
	t.Fatalf("not one of %v: %v", conditions, err)
}

// FuzzInspect: what parses is written again to the same bytes, and says of itself what a
// slow reading of the documented header says; all else is ErrCiphertext.
func FuzzInspect(f *testing.F) {
	for _, v := range loadFrozen(f).Ciphertexts {
		f.Add(v.Ciphertext)
	}
	f.Fuzz(func(t *testing.T, c []byte) {
		info, err := kms.Inspect(c)
		h, payload, ok := wire.Parse(c)
		again := append(h.Append(nil), payload...)
		require.Equal(t, err == nil, ok)
		if err != nil {
			require.ErrorIs(t, err, kms.ErrCiphertext)
			require.Equal(t, kms.CiphertextInfo{}, info)
		} else {
			require.True(t, bytes.Equal(c, again))
			level := map[string]kms.Protection{"\x01\x01\x00": kms.ProtectionSoftware, "\x01\x02\x00": kms.ProtectionHSM}
			version := int(binary.BigEndian.Uint32(c[19:23]))
			require.Equal(t, kms.CiphertextInfo{KeyID: uuidText(c[3:19]), KeyVersion: version, Protection: level[string(c[:3])]}, info)
			require.NotEmpty(t, info.Protection)
			require.Positive(t, info.KeyVersion)
		}
		_, err = kms.Inspect(append([]byte(fuzzCanary), c...))
		require.ErrorIs(t, err, kms.ErrCiphertext)
		noEcho(t, err)
	})
}

// FuzzDecrypt: of all ciphertexts only those open that were made, under the context that
// they were made with. The target has the frozen store and one of its contexts.
func FuzzDecrypt(f *testing.F) {
	vectors := loadFrozen(f)
	m, _ := vectors.open(f)
	type made struct{ ciphertext, context string }
	valid := map[made]frozenText{}
	contexts := []kms.EncryptionContext{nil}
	for i, v := range vectors.Ciphertexts {
		valid[made{string(v.Ciphertext), string(wire.AppendContext(nil, v.Context))}] = v
		contexts = append(contexts, v.Context)
		f.Add(v.Ciphertext, byte(i+1))
		f.Add(v.Ciphertext[:len(v.Ciphertext)-1], byte(i+1))
	}
	f.Fuzz(func(t *testing.T, c []byte, which byte) {
		ec := contexts[int(which)%len(contexts)]
		before := bytes.Clone(c)
		plain, err := m.Decrypt(t.Context(), c, ec)
		require.Equal(t, before, c, "the input was changed")
		v, ok := valid[made{string(c), string(wire.AppendContext(nil, ec))}]
		switch {
		case ok:
			require.Equal(t, v.Code, kms.Code(err))
			require.True(t, v.Code != "" || bytes.Equal(v.Plaintext, plain))
		case err == nil:
			t.Fatalf("opened what nobody made: %x", c)
		default:
			require.Nil(t, plain)
			oneOf(t, err, kms.ErrCiphertext, kms.ErrNotFound, kms.ErrDisabled, kms.ErrPendingDeletion)
		}
		_, err = m.Decrypt(t.Context(), append(bytes.Clone(c), fuzzCanary...), ec)
		oneOf(t, err, kms.ErrCiphertext, kms.ErrNotFound, kms.ErrDisabled, kms.ErrPendingDeletion)
		noEcho(t, err)
	})
}

// FuzzEncryptionContext: two contexts are equal if, and only if, their encodings are; a slow
// parser gives a context back; and of all bytes it accepts only encodings.
func FuzzEncryptionContext(f *testing.F) {
	f.Add([]byte("\x01a\x011"), []byte("\x021b\x00"))
	f.Add([]byte("\x01b\x012\x01a\x011"), []byte("\x01a\x011\x01b\x012"))
	f.Add([]byte{0, 0}, []byte("\x00\x00\x00\x01\x00\x00\x00\x01a\x00\x00\x00\x011"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		first, second := contextOf(a), contextOf(b)
		x, y := wire.AppendContext(nil, first), wire.AppendContext(nil, second)
		require.Equal(t, maps.Equal(first, second), bytes.Equal(x, y))
		require.Equal(t, bytes.Equal(x, y), bytes.Equal(wire.Bind(nil, first).Data, wire.Bind(nil, second).Data))
		for _, ec := range []kms.EncryptionContext{first, second} {
			canonical := wire.AppendContext(nil, ec)
			require.Equal(t, encodeContextByHand(ec), canonical)
			parsed, ok := parseContextSlowly(canonical)
			require.True(t, ok && maps.Equal(ec, parsed))
			require.Equal(t, len(ec) == 0, len(wire.Bind(nil, ec).Data) == 0)
		}
		if parsed, ok := parseContextSlowly(a); ok {
			require.True(t, bytes.Equal(a, wire.AppendContext(nil, parsed)))
		}
	})
}

// contextOf reads a context from fuzz input: strings behind a byte for their length, key,
// value, key, value.
func contextOf(b []byte) kms.EncryptionContext {
	ec := kms.EncryptionContext{}
	take := func() (s string) {
		if len(b) > 0 {
			n := min(int(b[0]), len(b)-1)
			s, b = string(b[1:1+n]), b[1+n:]
		}
		return s
	}
	for len(b) > 0 {
		ec[take()] = take()
	}
	return ec
}

// The grammars of names, as the documentation says them.
var (
	aliasGrammar = regexp.MustCompile(`\Aalias/[a-zA-Z0-9/_-]{1,249}\z`)
	tagKey       = regexp.MustCompile(`\A[a-zA-Z0-9 /\\_.+=:@-]{1,128}\z`)
	tagValue     = regexp.MustCompile(`\A[a-zA-Z0-9 /\\_.+=:@-]{0,128}\z`)
	keyIDGrammar = regexp.MustCompile(`\A[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\z`)
)

// FuzzAlias: CreateAlias accepts what the grammar does, and nothing else; then the alias
// names the key until it is deleted.
func FuzzAlias(f *testing.F) {
	vectors := loadFrozen(f)
	for _, alias := range []string{
		"alias/a", "alias/", "alias", "", "alias/acs/x", "alias/acs", "alias/acS", "alias/a.b", "alias/A/_-9", "Alias/a", "alias/ä",
		"alias/" + strings.Repeat("x", 249), "alias/" + strings.Repeat("x", 250), "alias/invoices/2026", "alias/free-again", "alias/default", "alias/a\n",
	} {
		f.Add(alias)
	}
	id := enabledKey(f, vectors)
	f.Fuzz(func(t *testing.T, alias string) {
		m, _ := vectors.open(t)
		before, errBefore := m.DescribeKey(t.Context(), alias)
		err := m.CreateAlias(t.Context(), alias, id)
		switch good := aliasGrammar.MatchString(alias) && !strings.HasPrefix(alias, "alias/acs"); {
		case good && errBefore == nil:
			require.ErrorIs(t, err, kms.ErrExists)
			require.NotEmpty(t, before.ID)
		case good:
			require.NoError(t, err)
			key, err := m.DescribeKey(t.Context(), alias)
			require.NoError(t, err)
			require.Equal(t, id, key.ID)
			require.NoError(t, m.DeleteAlias(t.Context(), alias))
			require.ErrorIs(t, kit.Err(m.DescribeKey(t.Context(), alias)), kms.ErrNotFound)
		default:
			require.ErrorIs(t, err, kms.ErrInvalid)
			require.ErrorIs(t, m.UpdateAlias(t.Context(), alias, id), kms.ErrInvalid)
			require.ErrorIs(t, m.DeleteAlias(t.Context(), alias), kms.ErrInvalid)
		}
		noEcho(t, m.CreateAlias(t.Context(), alias+fuzzCanary, id))
		noEcho(t, m.CreateAlias(t.Context(), alias+fuzzCanary, id)) // taken, or still bad
		noEcho(t, m.UpdateAlias(t.Context(), "alias/nobody/"+fuzzCanary, id))
	})
}

// FuzzTags: SetTags accepts what the grammar does, and nothing else; what it accepts is what
// DescribeKey says.
func FuzzTags(f *testing.F) {
	vectors := loadFrozen(f)
	f.Add("team", "billing", "cost centre", "", byte(0))
	f.Add("", "x", "a", "b", byte(18))
	f.Add("acs:x", "", "aliyun", "", byte(19))
	f.Add("ACS:", "", "Aliyun", "", byte(1))
	f.Add(`a-zA-Z0-9 /\_-.+=:@`, `a-zA-Z0-9 /\_-.+=:@`, strings.Repeat("k", 128), strings.Repeat("v", 128), byte(18))
	f.Add(strings.Repeat("k", 129), "", "k", strings.Repeat("v", 129), byte(2))
	f.Add("ä", "", "k", "\xff", byte(2))
	f.Add("key 00", "x", "key 01", "y", byte(20))
	id := enabledKey(f, vectors)
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string, more byte) {
		m, _ := vectors.open(t)
		tags := map[string]string{}
		for i := range int(more) % 24 {
			tags["key "+strconv.Itoa(i)] = "value"
		}
		tags[k1], tags[k2] = v1, v2
		good := len(tags) <= kms.MaxTags
		for key, value := range tags {
			good = good && tagKey.MatchString(key) && tagValue.MatchString(value) &&
				!strings.HasPrefix(key, "acs:") && !strings.HasPrefix(key, "aliyun")
		}
		_, err := m.SetTags(t.Context(), id, tags)
		_, errNew := m.CreateKey(t.Context(), &kms.CreateKeyOptions{Tags: tags})
		if !good {
			require.ErrorIs(t, err, kms.ErrInvalid)
			require.ErrorIs(t, errNew, kms.ErrInvalid)
		} else {
			require.NoError(t, err)
			require.NoError(t, errNew)
			key, err := m.DescribeKey(t.Context(), id)
			require.NoError(t, err)
			require.Equal(t, tags, key.Tags)
		}
		for _, bad := range []map[string]string{{k1 + fuzzCanary: "\xff"}, {"k": v1 + fuzzCanary + "\xff"}, {"acs:" + fuzzCanary: v1}} {
			err := kit.Err(m.SetTags(t.Context(), id, bad))
			require.ErrorIs(t, err, kms.ErrInvalid)
			noEcho(t, err)
		}
	})
}

// FuzzKeyRef: any string that names no key is ErrInvalid, or ErrNotFound where it could name
// one; only an ID that could be one is repeated in the error.
func FuzzKeyRef(f *testing.F) {
	vectors := loadFrozen(f)
	m, _ := vectors.open(f)
	for id := range vectors.Keys {
		f.Add(id)
		f.Add(strings.ToUpper(id))
		f.Add(strings.ReplaceAll(id, "-", ""))
	}
	for _, ref := range []string{"", "alias/x", "alias/", "alias/acs/kms", "01890000-0000-7000-8000-000000000000", "key/x", "alias/../key/x", "{01890000-0000-7000-8000-000000000000}"} {
		f.Add(ref)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		_, err := m.DescribeKey(t.Context(), ref)
		switch {
		case keyIDGrammar.MatchString(ref):
			if state := vectors.Keys[ref]; state != "" && state != kms.Deleted.String() {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, kms.ErrNotFound)
			require.Contains(t, err.Error(), ref)
		case aliasGrammar.MatchString(ref) && vectors.Store[ref] != nil:
			require.True(t, err == nil || errors.Is(err, kms.ErrNotFound))
		case aliasGrammar.MatchString(ref):
			require.ErrorIs(t, err, kms.ErrNotFound)
			require.Equal(t, "Forbidden.AliasNotFound", kms.Code(err))
		default:
			require.ErrorIs(t, err, kms.ErrInvalid)
		}
		_, err = m.DescribeKey(t.Context(), ref+fuzzCanary)
		oneOf(t, err, kms.ErrInvalid, kms.ErrNotFound)
		noEcho(t, err)
		noEcho(t, kit.Err(m.Encrypt(t.Context(), "alias/"+fuzzCanary, nil, nil)))
	})
}

// enabledKey is the ID of an Enabled key of the frozen store.
func enabledKey(t testing.TB, f *frozen) string {
	for _, v := range f.Ciphertexts {
		if info, err := kms.Inspect(v.Ciphertext); err == nil && f.Keys[info.KeyID] == kms.Enabled.String() {
			return info.KeyID
		}
	}
	t.Fatal("no key of the frozen store is enabled")
	return ""
}

// fuzzedImport is a key that waits for its material, with what would import it.
func fuzzedImport(f *testing.F, algorithm kms.WrappingAlgorithm) (k *kmstest.KMS, id string, wrapped, token []byte) {
	k = kmstest.New(f)
	key, err := k.CreateKey(f.Context(), &kms.CreateKeyOptions{Origin: kms.OriginExternal})
	require.NoError(f, err)
	p, err := k.GetParametersForImport(f.Context(), key.ID, &kms.ImportOptions{Algorithm: algorithm})
	require.NoError(f, err)
	wrapped, err = kms.WrapForImport(p, kit.Material())
	require.NoError(f, err)
	return k, key.ID, wrapped, p.Token
}

// FuzzImportBlob: no wrapped material but the owner's is taken, all else is one error, and the
// key is as it was.
func FuzzImportBlob(f *testing.F) {
	k, id, wrapped, token := fuzzedImport(f, kms.WrapAESKeyWrap)
	for _, seed := range [][]byte{nil, wrapped, wrapped[:256], wrapped[256:], wrapped[:len(wrapped)-1], append(bytes.Clone(wrapped), 0), make([]byte, 9000)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, blob []byte) {
		if bytes.Equal(blob, wrapped) {
			return
		}
		err := kit.Err(k.ImportKeyMaterial(t.Context(), id, blob, token, time.Time{}))
		require.Equal(t, []string{"ErrMaterial"}, kit.Conditions(err))
		require.False(t, len(blob) >= 8 && strings.Contains(err.Error(), string(blob)))
		key, err := k.DescribeKey(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, kms.PendingImport, key.State)
	})
}

// FuzzImportToken: no token but the one that was given out is taken.
func FuzzImportToken(f *testing.F) {
	k, id, wrapped, token := fuzzedImport(f, kms.WrapOAEP)
	for _, seed := range [][]byte{nil, {1}, token, token[1:], token[:len(token)-1], append(bytes.Clone(token), 0), make([]byte, 9000)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, forged []byte) {
		if bytes.Equal(forged, token) {
			return
		}
		err := kit.Err(k.ImportKeyMaterial(t.Context(), id, wrapped, forged, time.Time{}))
		require.Equal(t, []string{"ErrImportToken"}, kit.Conditions(err))
		require.False(t, len(forged) >= 8 && strings.Contains(err.Error(), string(forged)))
	})
}

// FuzzRewrap: wherever a Rewrap is told to go on, and whatever is kept there, it deals with
// each item behind that place once, in order, and stops at the first that is no ciphertext.
func FuzzRewrap(f *testing.F) {
	k := kmstest.New(f)
	id := k.MustCreateKey(f).ID
	old, err := k.Encrypt(f.Context(), id, []byte("x"), nil)
	require.NoError(f, err)
	require.NoError(f, kit.Err(k.RotateKey(f.Context(), id)))
	f.Add("", "a", old)
	f.Add("a", "b", old[:30])
	f.Add("\xff", "", []byte(nil))
	f.Fuzz(func(t *testing.T, after, name string, kept []byte) {
		s := kit.Shelf{"a": {ID: "a", Ciphertext: old}, name: {ID: name, Ciphertext: kept}, "z": {ID: "z", Ciphertext: old}}
		var seen []string
		items := func(after string) iter.Seq2[kms.Wrapped, error] {
			return func(yield func(kms.Wrapped, error) bool) {
				for w, err := range s.Items(after) {
					seen = append(seen, w.ID)
					if !yield(w, err) {
						return
					}
				}
			}
		}
		report, err := k.Rewrap(t.Context(), id, items, s.Put, &kms.RewrapOptions{After: after})
		require.True(t, slices.IsSorted(seen))
		require.Equal(t, err == nil, report.Complete)
		done := report.Rewrapped + report.Current + report.Others
		if err != nil {
			require.True(t, errors.Is(err, kms.ErrCiphertext) || errors.Is(err, kms.ErrNotFound), err)
			require.Len(t, seen, done+1)
			return
		}
		require.Len(t, seen, done)
		again, err := k.Rewrap(t.Context(), id, s.Items, s.Put, &kms.RewrapOptions{After: after})
		require.NoError(t, err)
		require.Zero(t, again.Rewrapped)
	})
}
