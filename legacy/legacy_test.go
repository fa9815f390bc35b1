package legacy_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/legacy"
)

const someID = "0f0e0d0c-0b0a-4908-8706-050403020100"

func version(locator string) legacy.Version {
	return legacy.NewVersion(locator, time.Time{}, []byte("material"))
}

func TestKeyCheck(t *testing.T) {
	t.Parallel()
	good := legacy.Key{ID: someID, Versions: []legacy.Version{version("a"), version(strings.Repeat("-._zZ9aA", 8))}}
	require.NoError(t, good.Check())
	full := good
	full.Description = strings.Repeat("d", legacy.MaxDescription)
	full.CreatedAt, full.Imported, full.Rotates = time.Now(), true, true
	full.Versions = []legacy.Version{legacy.NewVersion("a", time.Now(), make([]byte, legacy.MaxMaterial))}
	require.NoError(t, full.Check())

	for name, change := range map[string]func(*legacy.Key){
		"no ID":                  func(k *legacy.Key) { k.ID = "" },
		"upper case":             func(k *legacy.Key) { k.ID = strings.ToUpper(k.ID) },
		"short ID":               func(k *legacy.Key) { k.ID = k.ID[1:] },
		"long ID":                func(k *legacy.Key) { k.ID += "0" },
		"no dashes":              func(k *legacy.Key) { k.ID = strings.ReplaceAll(k.ID, "-", "0") },
		"a dash too many":        func(k *legacy.Key) { k.ID = "-" + k.ID[1:] },
		"not hex":                func(k *legacy.Key) { k.ID = "g" + k.ID[1:] },
		"long description":       func(k *legacy.Key) { k.Description = strings.Repeat("d", legacy.MaxDescription+1) },
		"no UTF-8":               func(k *legacy.Key) { k.Description = "\xff" },
		"no versions":            func(k *legacy.Key) { k.Versions = nil },
		"a zero version":         func(k *legacy.Key) { k.Versions = []legacy.Version{version("a"), {}} },
		"no locator":             func(k *legacy.Key) { k.Versions = []legacy.Version{version("")} },
		"long locator":           func(k *legacy.Key) { k.Versions = []legacy.Version{version(strings.Repeat("a", 65))} },
		"a slash in the locator": func(k *legacy.Key) { k.Versions = []legacy.Version{version("a/b")} },
		"a zero in the locator":  func(k *legacy.Key) { k.Versions = []legacy.Version{version("a\x00")} },
		"no ASCII in it":         func(k *legacy.Key) { k.Versions = []legacy.Version{version("ä")} },
		"no material":            func(k *legacy.Key) { k.Versions = []legacy.Version{legacy.NewVersion("a", time.Time{}, nil)} },
		"long material": func(k *legacy.Key) {
			k.Versions = []legacy.Version{legacy.NewVersion("a", time.Time{}, make([]byte, legacy.MaxMaterial+1))}
		},
	} {
		bad := good
		change(&bad)
		require.ErrorIs(t, bad.Check(), legacy.ErrKey, name)
	}
}

func TestValidScheme(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"a", "kms-1.0", "-.", strings.Repeat("z", legacy.MaxScheme)} {
		require.True(t, legacy.ValidScheme(s), s)
	}
	for _, s := range []string{"", "A", "a_b", "a/b", "a\x00", "ä", strings.Repeat("z", legacy.MaxScheme+1)} {
		require.False(t, legacy.ValidScheme(s), s)
	}
}

// TestMaterialIsCopied: in and out; and no printer shows it.
func TestMaterialIsCopied(t *testing.T) {
	t.Parallel()
	require.Nil(t, legacy.Version{}.Material())
	given := []byte("canary canary")
	v := legacy.NewVersion("a", time.Time{}, given)
	clear(given)
	clear(v.Material())
	require.Equal(t, "canary canary", string(v.Material()))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		out := fmt.Sprintf(verb, legacy.Key{Versions: []legacy.Version{v}})
		for _, form := range []string{"canary", fmt.Sprintf("%x", "canary"), strings.Trim(fmt.Sprint([]byte("canary")), "[]")} {
			require.NotContains(t, out, form)
		}
	}
}

// TestList: sorted, of its own, and as the contract says of Source.Keys.
func TestList(t *testing.T) {
	t.Parallel()
	key := func(last string) legacy.Key {
		return legacy.Key{ID: someID[:35] + last, Versions: []legacy.Version{version("a")}}
	}
	given := []legacy.Key{key("2"), key("0"), key("1")}
	l, err := legacy.NewList(given...)
	require.NoError(t, err)
	require.Equal(t, key("2").ID, given[0].ID, "what was given stays as it is")
	given[0].Versions[0] = legacy.Version{}
	for range 2 {
		var ids string
		for k, err := range l.Keys(t.Context()) {
			require.NoError(t, err)
			require.NoError(t, k.Check())
			k.Versions[0] = legacy.Version{}
			ids += k.ID[35:]
		}
		require.Equal(t, "012", ids)
	}
	for k, err := range l.Keys(t.Context()) {
		require.NoError(t, err)
		require.Equal(t, key("0").ID, k.ID)
		break
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	for k, err := range l.Keys(ctx) {
		if n++; n == 1 {
			require.NoError(t, err)
			cancel()
			continue
		}
		require.ErrorIs(t, err, context.Canceled)
		require.Empty(t, k.ID)
	}
	require.Equal(t, 2, n)

	for name, keys := range map[string][]legacy.Key{"an ID twice": {key("0"), key("1"), key("0")}, "no key": {key("0"), {}}} {
		l, err := legacy.NewList(keys...)
		require.ErrorIs(t, err, legacy.ErrKey, name)
		for range l.Keys(t.Context()) {
			t.Fatal("something came of it")
		}
	}
	for range (legacy.List{}).Keys(t.Context()) {
		t.Fatal("a key out of nothing")
	}
}

// TestNameID: the values are frozen, for keys are found by them; and no two names share one.
func TestNameID(t *testing.T) {
	t.Parallel()
	uuid8 := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[string]bool{}
	for _, scheme := range []string{"a", "ab", "vault-transit"} {
		for _, name := range []string{"", "a", "b", "ba", "\x00", "a\x00b", "ä", strings.Repeat("n", 1000)} {
			id := legacy.NameID(scheme, name)
			require.Regexp(t, uuid8, id)
			require.False(t, seen[id])
			seen[id] = true
			require.NoError(t, legacy.Key{ID: id, Versions: []legacy.Version{version("a")}}.Check())
		}
	}
	require.Equal(t, legacy.NameID("a", "b"), legacy.NameID("a", "b"))
	require.Equal(t, "2ef215bc-e650-80dc-8363-fc20a4c35caf", legacy.NameID("vault-transit", "orders"))
}

// FuzzLocator: what is valid is what the grammar says.
func FuzzLocator(f *testing.F) {
	for _, s := range []string{"", "a", "v1", "raw", "a/b", "\xff", strings.Repeat("a", 65)} {
		f.Add(s)
	}
	grammar := regexp.MustCompile(`\A[a-zA-Z0-9._-]{1,64}\z`)
	f.Fuzz(func(t *testing.T, s string) {
		require.Equal(t, grammar.MatchString(s), legacy.ValidLocator(s))
		err := legacy.Key{ID: someID, Versions: []legacy.Version{version(s)}}.Check()
		require.Equal(t, legacy.ValidLocator(s), err == nil)
	})
}
