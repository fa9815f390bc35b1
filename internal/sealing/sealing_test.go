package sealing_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/keyhold/kms/internal/keyid"
	"github.com/keyhold/kms/internal/sealing"
	"github.com/stretchr/testify/require"
)

func derive(t *testing.T, id, store string, generation uint64, key byte) *sealing.Keys {
	t.Helper()
	secret := bytes.Repeat([]byte{key}, sealing.KeySize)
	k, err := sealing.Derive(id, []byte(store), generation, secret)
	require.NoError(t, err)
	require.Equal(t, make([]byte, sealing.KeySize), secret, "the instance key is wiped")
	return k
}

var id = keyid.ID{1, 2, 3}

// TestNoKeysOfNothing: an instance key that was wiped, or cut, gives no keys.
func TestNoKeysOfNothing(t *testing.T) {
	for _, key := range [][]byte{nil, {}, make([]byte, sealing.KeySize-1), make([]byte, sealing.KeySize+1)} {
		k, err := sealing.Derive("acme", nil, 1, key)
		require.Error(t, err)
		require.Nil(t, k)
	}
}

// places are some of every kind: no two are one place.
func places() map[string]sealing.Place {
	return map[string]sealing.Place{
		"material":             sealing.Material(id, 1),
		"of another version":   sealing.Material(id, 2),
		"of another key":       sealing.Material(keyid.ID{1}, 1),
		"shred secret":         sealing.ShredSecret(id),
		"legacy":               sealing.Legacy(id, 0, "tink", "1"),
		"of another index":     sealing.Legacy(id, 1, "tink", "1"),
		"of another scheme":    sealing.Legacy(id, 0, "vault", "1"),
		"with another locator": sealing.Legacy(id, 0, "tin", "k1"),
		"import token":         sealing.ImportToken(id),
	}
}

// TestPlaces: a secret opens in its place, under its keys, and nowhere else.
func TestPlaces(t *testing.T) {
	k := derive(t, "acme", "store", 0, 1)
	others := map[string]*sealing.Keys{
		"another instance key": derive(t, "acme", "store", 0, 2),
		"another instance":     derive(t, "emca", "store", 0, 1),
		"another key store":    derive(t, "acme", "other", 0, 1),
	}
	for name, p := range places() {
		sealed, err := k.Seal(p, []byte("secret"))
		require.NoError(t, err)
		opened, err := k.Open(p, sealed)
		require.NoError(t, err)
		require.Equal(t, "secret", string(opened))
		for wrong, q := range places() {
			if wrong != name {
				_, err := k.Open(q, sealed)
				require.Error(t, err, "%s in the place of %s", name, wrong)
			}
		}
		for whose, other := range others {
			_, err := other.Open(p, sealed)
			require.Error(t, err, "%s: %s", name, whose)
		}
	}
}

type content struct {
	Name string `json:"name"`
}

// TestItems: an item is read by the keys that wrote it, under its name, and with no byte changed.
func TestItems(t *testing.T) {
	k := derive(t, "acme", "store", 3, 1)
	value, err := k.Encode("key/1", content{"a"})
	require.NoError(t, err)
	named, ok := sealing.Named(value)
	require.True(t, ok)
	require.Equal(t, "acme", named)
	body, ok := sealing.Peek("acme", value)
	require.True(t, ok)
	require.JSONEq(t, `{"name":"a"}`, string(body))

	var c content
	require.NoError(t, k.Decode("key/1", value, &c))
	require.Equal(t, content{"a"}, c)
	refused := func(k *sealing.Keys, name string, value []byte, what string) {
		t.Helper()
		require.ErrorIs(t, k.Decode(name, value, new(content)), sealing.ErrItem, what)
	}
	for i := range value {
		changed := bytes.Clone(value)
		changed[i] ^= 1
		refused(k, "key/1", changed, "changed")
		refused(k, "key/1", value[:i], "cut")
	}
	refused(k, "key/1", append(bytes.Clone(value), '\n'), "longer")
	refused(k, "key/2", value, "another name")
	refused(derive(t, "acme", "store", 3, 2), "key/1", value, "another key")
	refused(derive(t, "acme", "other", 3, 1), "key/1", value, "another store")
	refused(derive(t, "emca", "store", 3, 1), "key/1", value, "another instance")
	refused(k, "key/1", k.Authenticate("key/1", []byte(`{"name":"a","more":1}`)), "an unknown field")
	refused(k, "key/1", k.Authenticate("key/1", []byte(`{"name":"a"} `)), "something after it")
	refused(k, "key/1", k.Authenticate("key/1", []byte(`"`+strings.Repeat("a", sealing.MaxBody)+`"`)), "too long")
}

// TestFormer: the former keys open what they wrote, as long as they are there.
func TestFormer(t *testing.T) {
	was, is := derive(t, "acme", "store", 1, 1), derive(t, "acme", "store", 2, 2)
	value, err := was.Encode("key/1", content{"a"})
	require.NoError(t, err)
	both := is.WithFormer(was)
	require.Same(t, was, both.Former())
	require.Nil(t, is.Former())
	require.NoError(t, both.Decode("key/1", value, new(content)))
	_, present := both.Wrote("key/1", value)
	require.False(t, present, "by the former keys, not by these")
	require.ErrorIs(t, is.Decode("key/1", value, new(content)), sealing.ErrItem)
	require.ErrorIs(t, both.WithFormer(nil).Decode("key/1", value, new(content)), sealing.ErrItem)
	require.Equal(t, []any{"acme", []byte("store"), uint64(2)}, []any{both.ID(), both.StoreID(), both.Generation()})
}

// TestEncode: what cannot be written is refused.
func TestEncode(t *testing.T) {
	k := derive(t, "acme", "store", 0, 1)
	_, err := k.Encode("key/1", time.Unix(1e12, 0))
	require.ErrorIs(t, err, sealing.ErrItem, "a year that has five digits")
	_, err = k.Encode("key/1", strings.Repeat("a", sealing.MaxBody))
	require.ErrorIs(t, err, sealing.ErrTooLarge)
}

// TestNamed: what is too short to name an instance names none.
func TestNamed(t *testing.T) {
	for _, value := range [][]byte{nil, {1}, {2, 0}, {1, 1}, {1, 4, 'a', 'c', 'm'}} {
		_, ok := sealing.Named(value)
		require.False(t, ok, "%v", value)
		_, ok = sealing.Peek("acme", value)
		require.False(t, ok, "%v", value)
		require.Zero(t, sealing.MAC(value))
	}
}

// TestCheck: the check value is that of the instance key alone, and is none of the keys.
func TestCheck(t *testing.T) {
	check := derive(t, "acme", "store", 0, 1).Check()
	require.Len(t, check, 32)
	require.Equal(t, check, derive(t, "acme", "store", 7, 1).Check())
	require.Equal(t, check, derive(t, "other", "another store", 0, 1).Check())
	require.NotEqual(t, check, derive(t, "acme", "store", 0, 2).Check())
}
