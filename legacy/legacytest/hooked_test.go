package legacytest_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"iter"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/legacy"
	"github.com/keyhold/kms/legacy/keyring"
	"github.com/keyhold/kms/legacy/legacytest"
)

// hooks replace methods of a sound Source, which they get as the argument sound. A nil hook is
// the sound method itself. Those of bare are of the Source without keys alone.
type hooks struct {
	scheme  func() string
	locate  func(sound *keyring.Source, c []byte) []string
	keys    func(sound *keyring.Source, ctx context.Context) iter.Seq2[legacy.Key, error]
	open    func(sound *keyring.Source, locator string, material []byte) (legacy.Opener, error)
	decrypt func(sound legacy.Opener, locator string, c []byte, ec map[string]string) ([]byte, error)
	wrap    func(sound legacy.Opener, material []byte) legacy.Opener

	bareKeys func() iter.Seq2[legacy.Key, error]
	bareOpen func() (legacy.Opener, error)
}

type hooked struct {
	*keyring.Source
	hooks
}

func (h *hooked) Scheme() string {
	if h.scheme == nil {
		return h.Source.Scheme()
	}
	return h.scheme()
}

func (h *hooked) Locate(c []byte) []string {
	if h.locate == nil {
		return h.Source.Locate(c)
	}
	return h.locate(h.Source, c)
}

func (h *hooked) Keys(ctx context.Context) iter.Seq2[legacy.Key, error] {
	if h.keys == nil {
		return h.Source.Keys(ctx)
	}
	return h.keys(h.Source, ctx)
}

func (h *hooked) Open(locator string, material []byte) (legacy.Opener, error) {
	open := h.open
	if open == nil {
		open = (*keyring.Source).Open
	}
	o, err := open(h.Source, locator, material)
	switch {
	case err != nil:
		return nil, err
	case h.decrypt != nil:
		return openerFunc(func(c []byte, ec map[string]string) ([]byte, error) { return h.decrypt(o, locator, c, ec) }), nil
	case h.wrap != nil:
		return h.wrap(o, material), nil
	}
	return o, nil
}

type openerFunc func(c []byte, ec map[string]string) ([]byte, error)

func (f openerFunc) Decrypt(c []byte, ec map[string]string) ([]byte, error) { return f(c, ec) }

const (
	firstID  = "00000000-0000-4000-8000-000000000001"
	secondID = "00000000-0000-4000-8000-000000000002"
)

var versionIDs = []string{
	"10000000-0000-4000-8000-000000000001", "10000000-0000-4000-8000-000000000002", "10000000-0000-4000-8000-000000000003",
}

// keyOf is the AES key of a version: bytes of which no eight are readable.
func keyOf(version string) []byte {
	sum := sha256.Sum256([]byte(version))
	return sum[:]
}

// subject is two keys of three versions, and a Source with those hooks.
func subject(t testing.TB, h hooks) legacytest.Subject {
	version := func(i int) legacy.Version {
		return keyring.NewVersion(versionIDs[i], time.Time{}, keyOf(versionIDs[i]))
	}
	s, err := keyring.New(
		legacy.Key{ID: firstID, Versions: []legacy.Version{version(0), version(1)}},
		legacy.Key{ID: secondID, Description: "d", Versions: []legacy.Version{version(2)}},
	)
	require.NoError(t, err)
	bare, err := keyring.New()
	require.NoError(t, err)
	ec := map[string]string{"tenant": "canary-context"}
	sum := sha256.Sum256([]byte("tenant=canary-context"))
	var known []legacytest.Known
	for i, of := range []struct {
		key, version string
		ec           map[string]string
		ad           []byte
	}{{firstID, versionIDs[0], nil, nil}, {secondID, versionIDs[2], nil, nil}, {firstID, versionIDs[1], ec, sum[:]}, {firstID, versionIDs[0], ec, sum[:]}} {
		plaintext := bytes.Repeat([]byte{0xc0 + byte(i)}, 20)
		known = append(known, legacytest.Known{KeyID: of.key, EncryptionContext: of.ec, Plaintext: plaintext, Ciphertext: seal(t, of.version, plaintext, of.ad)})
	}
	// The bare Source shares the hooks that are not about keys.
	bareHooks := h
	bareHooks.keys, bareHooks.open = nil, nil
	if h.bareKeys != nil {
		bareHooks.keys = func(*keyring.Source, context.Context) iter.Seq2[legacy.Key, error] { return h.bareKeys() }
	}
	if h.bareOpen != nil {
		bareHooks.open = func(*keyring.Source, string, []byte) (legacy.Opener, error) { return h.bareOpen() }
	}
	return legacytest.Subject{Source: &hooked{s, h}, Bare: &hooked{bare, bareHooks}, Known: known,
		Foreign: [][]byte{[]byte(versionIDs[0]), make([]byte, 200)}}
}

func seal(t testing.TB, version string, plaintext, ad []byte) []byte {
	block, err := aes.NewCipher(keyOf(version))
	require.NoError(t, err)
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	require.NoError(t, err)
	return gcm.Seal([]byte(version), nil, plaintext, ad)
}
