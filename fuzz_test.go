package kms_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/keyhold/kms"
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
		again, ok := kms.Reassemble(c)
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
		valid[made{string(v.Ciphertext), string(kms.CanonicalContext(v.Context))}] = v
		contexts = append(contexts, v.Context)
		f.Add(v.Ciphertext, byte(i+1))
		f.Add(v.Ciphertext[:len(v.Ciphertext)-1], byte(i+1))
	}
	f.Fuzz(func(t *testing.T, c []byte, which byte) {
		ec := contexts[int(which)%len(contexts)]
		before := bytes.Clone(c)
		plain, err := m.Decrypt(t.Context(), c, ec)
		require.Equal(t, before, c, "the input was changed")
		v, ok := valid[made{string(c), string(kms.CanonicalContext(ec))}]
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
		x, y := kms.CanonicalContext(first), kms.CanonicalContext(second)
		require.Equal(t, maps.Equal(first, second), bytes.Equal(x, y))
		require.Equal(t, bytes.Equal(x, y), bytes.Equal(kms.HashContext(first), kms.HashContext(second)))
		for _, ec := range []kms.EncryptionContext{first, second} {
			canonical := kms.CanonicalContext(ec)
			require.Equal(t, encodeContextByHand(ec), canonical)
			parsed, ok := parseContextSlowly(canonical)
			require.True(t, ok && maps.Equal(ec, parsed))
			require.Equal(t, len(ec) == 0, len(kms.HashContext(ec)) == 0)
		}
		if parsed, ok := parseContextSlowly(a); ok {
			require.True(t, bytes.Equal(a, kms.CanonicalContext(parsed)))
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
