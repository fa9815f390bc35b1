package kms_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/internal/wire"
	"github.com/keyhold/kms/keystore"
	"github.com/stretchr/testify/require"
)

var freeze = flag.Bool("freeze", false, "make the frozen vectors, where there are none")

// TestFreeze makes testdata/vectors. It makes no file that exists: what is frozen stays.
func TestFreeze(t *testing.T) {
	folder := t.TempDir() // that it could be done
	if *freeze {
		folder = filepath.Join("testdata", "vectors")
	}
	for name, make := range map[string]func(*testing.T) any{
		"ciphertext.json": func(t *testing.T) any { return freezeCiphertexts(t) },
		"context.json":    func(*testing.T) any { return freezeContexts() },
		"inspect.json":    func(*testing.T) any { return freezeHeaders() },
	} {
		path := filepath.Join(folder, name)
		_, err := os.Stat(path)
		require.True(t, errors.Is(err, fs.ErrNotExist), "%s is frozen", path)
		b, err := json.MarshalIndent(make(t), "", "  ")
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, append(b, '\n'), 0o644))
	}
}

func freezeCiphertexts(t *testing.T) *frozen {
	ctx := t.Context()
	f := &frozen{Root: kit.Pattern(32), Now: time.Date(2026, 1, 31, 12, 0, 0, 123456789, time.UTC), Store: map[string][]byte{}, Keys: map[string]string{}}
	s := new(keystore.Memory)
	c := f.config(t, s)
	clock := f.Now.AddDate(0, 0, -8)
	c.Now, c.PurgeDelay = func() time.Time { return clock }, -1
	m, err := kms.Open(ctx, c)
	require.NoError(t, err)
	newKey := func() string {
		key, err := m.CreateKey(ctx, nil)
		require.NoError(t, err)
		return key.ID
	}
	add := func(name string, plain []byte, ec kms.EncryptionContext, make func() ([]byte, error)) {
		ciphertext, err := make()
		require.NoError(t, err)
		if plain == nil {
			plain, err = m.Decrypt(ctx, ciphertext, ec)
			require.NoError(t, err)
		}
		f.Ciphertexts = append(f.Ciphertexts, frozenText{Name: name, Ciphertext: ciphertext, Context: ec, Plaintext: plain})
	}
	encrypt := func(name, ref string, n int, ec kms.EncryptionContext) {
		plain := kit.Pattern(n)
		add(name, plain, ec, func() ([]byte, error) { return m.Encrypt(ctx, ref, plain, ec) })
	}

	plain, full, turned := newKey(), newKey(), newKey()
	tags := map[string]string{"team": "billing", "cost-centre": "4711"}
	require.NoError(t, kit.Err(m.SetTags(ctx, full, tags)))
	require.NoError(t, kit.Err(m.SetDescription(ctx, full, "Invoices <ümlaut> & 世界")))
	require.NoError(t, kit.Err(m.SetDeletionProtection(ctx, full, true, "the audit of 2026")))
	require.NoError(t, kit.Err(m.AddDependent(ctx, full, kms.Dependent{Name: "table invoices", Note: "ask Ann"})))
	require.NoError(t, m.CreateAlias(ctx, "alias/invoices/2026", full))
	for _, n := range []int{0, 1, 15, 16, 17, 32, 255, 4096, kms.MaxPlaintext} {
		encrypt(fmt.Sprintf("%d bytes", n), plain, n, nil)
	}
	one := kms.EncryptionContext{"tenant": "7"}
	encrypt("a context of one pair", full, 20, one)
	encrypt("a context of two pairs", full, 20, kms.EncryptionContext{"tenant": "7", "table": "invoices"})
	encrypt("a context with an empty value", full, 20, kms.EncryptionContext{"tenant": ""})
	encrypt("a context beyond ASCII", full, 20, kms.EncryptionContext{"Mandant": "Österreich", "名": "値\x00\n\""})
	many := kms.EncryptionContext{}
	for i := range kms.MaxContextPairs {
		many[fmt.Sprintf("key %02d", i)] = strings.Repeat("v", 120)
	}
	encrypt("the longest context", full, 20, many)
	encrypt("under an alias", "alias/invoices/2026", 20, one)
	encrypt("under the default key", kms.DefaultKey, 20, one)
	for _, n := range []int{1, 16, 32, 1024} {
		add(fmt.Sprintf("a data key of %d bytes", n), nil, one, func() ([]byte, error) {
			k, err := m.GenerateDataKeyWithoutPlaintext(ctx, full, n, one)
			return k.Ciphertext, err
		})
	}
	encrypt("version 1 of a key with three", turned, 33, one)
	require.NoError(t, kms.AddVersion(ctx, m, turned))
	encrypt("version 2 of a key with three", turned, 33, one)
	require.NoError(t, kms.AddVersion(ctx, m, turned))
	encrypt("version 3 of a key with three", turned, 33, one)
	add("re-encrypted", kit.Pattern(20), nil, func() ([]byte, error) {
		return m.ReEncrypt(ctx, f.Ciphertexts[9].Ciphertext, one, turned, nil)
	})

	disabled, pending, deleted := newKey(), newKey(), newKey()
	for _, ref := range []string{disabled, pending, deleted} {
		encrypt("of the key "+ref, ref, 20, one)
		require.NoError(t, kit.Err(m.DisableKey(ctx, ref)))
	}
	require.NoError(t, m.CreateAlias(ctx, "alias/free-again", deleted))
	require.NoError(t, kit.Err(m.ScheduleKeyDeletion(ctx, deleted, 7)))
	clock = f.Now
	require.NoError(t, kit.Err(m.Maintain(ctx)))
	require.NoError(t, kit.Err(m.ScheduleKeyDeletion(ctx, pending, 366)))
	for i, what := range []string{"a disabled key", "a key pending deletion", "a key that was deleted"} {
		v := &f.Ciphertexts[len(f.Ciphertexts)-3+i]
		_, err := m.Decrypt(ctx, v.Ciphertext, one)
		v.Name, v.Code = what, kms.Code(err)
	}

	for item, err := range s.List(ctx, "", "") {
		require.NoError(t, err)
		f.Store[item.Name] = item.Value
		if id, ok := strings.CutPrefix(item.Name, "key/"); ok {
			key, err := m.DescribeKey(ctx, id)
			f.Keys[id] = key.State.String()
			if err != nil {
				f.Keys[id] = kms.Deleted.String()
			}
		}
	}
	return f
}

func freezeContexts() (vectors []frozenContext) {
	add := func(name string, pairs ...string) {
		ec, v := kms.EncryptionContext{}, frozenContext{Name: name, Pairs: [][2]string{}}
		for i := 0; i < len(pairs); i += 2 {
			ec[pairs[i]] = pairs[i+1]
			v.Pairs = append(v.Pairs, [2]string{hex.EncodeToString([]byte(pairs[i])), hex.EncodeToString([]byte(pairs[i+1]))})
		}
		v.Canonical, v.Hash = hex.EncodeToString(wire.AppendContext(nil, ec)), hex.EncodeToString(wire.Bind(nil, ec).Data)
		vectors = append(vectors, v)
	}
	add("none")
	add("one pair", "tenant", "7")
	add("an empty value", "tenant", "")
	add("key and value exchanged", "7", "tenant")
	add("all in the key", "tenant7", "")
	add("the border moved left", "tenan", "t7")
	add("the border moved right", "tenant7x", "")
	add("two pairs", "a", "1", "b", "2")
	add("two pairs, values exchanged", "a", "2", "b", "1")
	add("two pairs in one", "a", "1b2")
	add("two pairs, given the other way round", "d", "2", "c", "1")
	add("keys that sort by bytes, not by letters", "a", "1", "B", "2", "ä", "3", "Z", "4")
	add("a key that begins another", "key", "1", "key1", "")
	add("a key that begins another, exchanged", "key", "", "key1", "1")
	add("a zero byte", "a\x00b", "\x00")
	add("zero bytes that look like lengths", "a", "\x00\x00\x00\x01b\x00\x00\x00\x01c")
	add("no UTF-8", "\xff\xfe", "\x80")
	add("composed", "caf\u00e9", "x")
	add("decomposed", "cafe\u0301", "x")
	add("quotes and braces", `{"a":"b"}`, `"}`)
	add("a long value", "k", strings.Repeat("v", 8191))
	add("nine pairs", "1", "a", "2", "b", "3", "c", "4", "d", "5", "e", "6", "f", "7", "g", "8", "h", "9", "i")
	return vectors
}

func freezeHeaders() (vectors []frozenHeader) {
	add := func(name string, c []byte) {
		v := frozenHeader{Name: name, Ciphertext: hex.EncodeToString(c)}
		if info, err := kms.Inspect(c); err == nil {
			v.KeyID, v.KeyVersion, v.Protection = info.KeyID, info.KeyVersion, info.Protection
		}
		vectors = append(vectors, v)
	}
	good := append([]byte("\x01\x01\x00\x01\x89\xab\xcd\xef\x01\x73\x45\x87\x65\x43\x21\x0f\xed\xcb\xa9\x00\x00\x00\x01"), kit.Pattern(84)...)
	change := func(at int, b byte) []byte {
		c := bytes.Clone(good)
		c[at] = b
		return c
	}
	add("software", good)
	add("hardware", change(1, 2))
	add("a high version", change(19, 0xff))
	add("an ID of another layout", change(9, 0xff))
	add("the header alone", good[:23])
	add("as long as may be", append(bytes.Clone(good), make([]byte, kms.MaxCiphertext-len(good))...))
	add("version 0", change(22, 0))
	add("format 0", change(0, 0))
	add("format 2", change(0, 2))
	add("suite 0", change(1, 0))
	add("suite 3", change(1, 3))
	add("a flag", change(2, 1))
	add("the other flag", change(2, 0x80))
	add("cut in the header", good[:22])
	add("empty", nil)
	add("too long", append(bytes.Clone(good), make([]byte, kms.MaxCiphertext-len(good)+1)...))
	return vectors
}
