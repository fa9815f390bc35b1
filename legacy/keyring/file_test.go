package keyring_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/legacy"
	"github.com/keyhold/kms/legacy/keyring"
	"github.com/keyhold/kms/software"
)

var rootKey = []byte("0123456789abcdef0123456789ABCDEF")

func newRoot(t testing.TB) keyring.Root {
	r, err := software.NewRoot(rootKey)
	require.NoError(t, err)
	return r
}

func newFile(t testing.TB, keys ...legacy.Key) string {
	path := filepath.Join(t.TempDir(), "keyring")
	require.NoError(t, keyring.Create(path, newRoot(t), keys...))
	return path
}

func TestFileRoundTrip(t *testing.T) {
	t.Parallel()
	keys := vectorKeys(t)
	path := newFile(t, keys...)
	info, err := os.Stat(path)
	require.NoError(t, err)
	if runtime.GOOS != "windows" {
		require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
	}
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Regexp(t, `\A\{"format":"keyhold-keyring-1","key":"[A-Za-z0-9+/]+=*","keys":"[A-Za-z0-9+/]+=*"\}\n\z`, string(content))
	for _, k := range keys {
		require.NotContains(t, string(content), k.ID)
	}

	s, err := keyring.Open(path, newRoot(t))
	require.NoError(t, err)
	n := 0
	for got, err := range s.Keys(t.Context()) {
		require.NoError(t, err)
		for _, k := range keys {
			if k.ID == got.ID {
				n++
				require.Len(t, got.Versions, len(k.Versions))
				for i, v := range k.Versions {
					require.Equal(t, v.Locator, got.Versions[i].Locator)
					require.Equal(t, v.CreatedAt, got.Versions[i].CreatedAt)
					require.Equal(t, v.Material(), got.Versions[i].Material())
				}
				k.Versions, got.Versions = nil, nil
				require.Equal(t, k, got)
			}
		}
	}
	require.Equal(t, len(keys), n)

	require.ErrorIs(t, keyring.Create(path, newRoot(t)), fs.ErrExist)
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, content, after, "it was left alone")

	other := newFile(t, keys...)
	again, err := os.ReadFile(other)
	require.NoError(t, err)
	require.NotEqual(t, content, again, "every file has its own key")
}

func TestEmptyFile(t *testing.T) {
	t.Parallel()
	s, err := keyring.Open(newFile(t), newRoot(t))
	require.NoError(t, err)
	for range s.Keys(t.Context()) {
		t.Fatal("a key out of nothing")
	}
}

func TestFileIsRefused(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := newFile(t, vectorKeys(t)...)
	refused := func(path string) {
		t.Helper()
		s, err := keyring.Open(path, newRoot(t))
		require.ErrorIs(t, err, keyring.ErrFile)
		require.Nil(t, s)
	}
	refused(folder)
	_, err := keyring.Open(filepath.Join(folder, "none"), newRoot(t))
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NotErrorIs(t, err, keyring.ErrFile)

	other, err := software.NewRoot([]byte("another root, also of 32 bytes.."))
	require.NoError(t, err)
	_, err = keyring.Open(path, other)
	require.ErrorIs(t, err, keyring.ErrFile)
	require.ErrorIs(t, err, software.ErrRootCiphertext, "what the root said is kept")

	long := filepath.Join(folder, "long")
	require.NoError(t, os.WriteFile(long, make([]byte, keyring.MaxFile+1), 0o600))
	refused(long)
	if runtime.GOOS != "windows" {
		require.NoError(t, os.Symlink(path, filepath.Join(folder, "link")))
		refused(filepath.Join(folder, "link"))
		require.NoError(t, os.Chmod(path, 0o640))
		refused(path)
	}
}

// failing is a root that is out of reach.
type failing struct{ err error }

func (f failing) Encrypt(_, _ []byte) ([]byte, error) { return nil, f.err }
func (f failing) Decrypt(_, _ []byte) ([]byte, error) { return nil, f.err }

func TestRootOutOfReach(t *testing.T) {
	t.Parallel()
	away := errors.New("out of reach")
	_, err := keyring.Open(newFile(t), failing{away})
	require.ErrorIs(t, err, away)
	path := filepath.Join(t.TempDir(), "keyring")
	require.ErrorIs(t, keyring.Create(path, failing{away}), away)
	require.NoFileExists(t, path)
	require.ErrorIs(t, keyring.Create(path, newRoot(t), legacy.Key{}), keyring.ErrKeys)
	require.NoFileExists(t, path)
	odd := legacy.Key{ID: keyA, CreatedAt: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC),
		Versions: []legacy.Version{keyring.NewVersion(verA, time.Time{}, make([]byte, 16))}}
	require.ErrorIs(t, keyring.Create(path, newRoot(t), odd), keyring.ErrKeys)
	require.NoFileExists(t, path)
}

// TestFileSize: what would be too long to be read is not written, and as many keys as are promised
// fit.
func TestFileSize(t *testing.T) {
	t.Parallel()
	keys := func(n int, description string) (all []legacy.Key) {
		for i := range n {
			version := keyring.NewVersion(fmt.Sprintf("00000000-0000-4000-8000-%012x", i), day1, []byte(fmt.Sprintf("%032d", i+1)))
			all = append(all, legacy.Key{ID: version.Locator, Description: description, CreatedAt: day1, Versions: []legacy.Version{version}})
		}
		return all
	}
	path := filepath.Join(t.TempDir(), "keyring")
	err := keyring.Create(path, newRoot(t), keys(1600, strings.Repeat("d", legacy.MaxDescription))...)
	require.ErrorIs(t, err, keyring.ErrFile)
	require.NoFileExists(t, path)
	require.NoError(t, keyring.Create(path, newRoot(t), keys(4000, "a short text")...))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Less(t, info.Size()*10, int64(keyring.MaxFile), "forty thousand fit")
}

// TestOuterContent: what is not exactly as Create writes it is refused.
func TestOuterContent(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(newFile(t, vectorKeys(t)...))
	require.NoError(t, err)
	good := string(b)
	path := filepath.Join(t.TempDir(), "keyring")
	for name, bad := range map[string]string{
		"empty":             "",
		"no line end":       strings.TrimSpace(good),
		"two line ends":     good + "\n",
		"twice":             good + good,
		"spaces":            strings.Replace(good, `","key"`, `", "key"`, 1),
		"another version":   strings.Replace(good, "keyring-1", "keyring-2", 1),
		"upper-case name":   strings.Replace(good, `"key"`, `"Key"`, 1),
		"a field more":      strings.Replace(good, "}", `,"more":1}`, 1),
		"a field twice":     strings.Replace(good, `{"format"`, `{"format":"keyhold-keyring-1","format"`, 1),
		"no format":         strings.Replace(good, `"format":"keyhold-keyring-1",`, "", 1),
		"a null":            "null\n",
		"a list":            "[]\n",
		"a line in a value": strings.Replace(good, `"keys":"`, `"keys":"\n`, 1),
		"the keys cut":      good[:len(good)-12] + good[len(good)-8:],
	} {
		require.NotEqual(t, good, bad, name)
		require.NoError(t, os.WriteFile(path, []byte(bad), 0o600))
		s, err := keyring.Open(path, newRoot(t))
		require.ErrorIs(t, err, keyring.ErrFile, name)
		require.Nil(t, s)
	}
}

// TestEveryByteOfAFileCounts: no byte of a file can be changed.
func TestEveryByteOfAFileCounts(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(newFile(t, vectorKeys(t)[0]))
	require.NoError(t, err)
	root := newRoot(t)
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 1
		_, err := keyring.Unseal(root, bad)
		require.ErrorIs(t, err, keyring.ErrFile, "byte %d", i)
	}
}

// sealList makes a file of any list, by hand.
func sealList(t testing.TB, list string) []byte {
	return sealListUnder(t, bytes.Repeat([]byte{7, 9}, 16), list)
}

func sealListUnder(t testing.TB, key []byte, list string) []byte {
	sealed, err := newRoot(t).Encrypt(key, []byte("keyhold-keyring-1 key"))
	require.NoError(t, err)
	block, err := aes.NewCipher(key)
	require.NoError(t, err)
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	require.NoError(t, err)
	b, err := json.Marshal(struct {
		Format string `json:"format"`
		Key    []byte `json:"key"`
		Keys   []byte `json:"keys"`
	}{"keyhold-keyring-1", sealed, gcm.Seal(nil, nil, []byte(list), []byte("keyhold-keyring-1 keys"))})
	require.NoError(t, err)
	return append(b, '\n')
}

const (
	goodVersion = `{"id":"` + verA + `","created":"2020-01-02T03:04:05Z","material":"MDEyMzQ1Njc4OWFiY2RlZg=="}`
	goodKey     = `{"id":"` + keyA + `","description":"d","created":"2020-01-02T03:04:05Z","imported":false,"rotates":true,"versions":[` + goodVersion + `]}`
)

// TestList: the documented form is read, and nothing else.
func TestList(t *testing.T) {
	t.Parallel()
	s, err := keyring.Unseal(newRoot(t), sealList(t, "["+goodKey+"]"))
	require.NoError(t, err)
	n := 0
	for k, err := range s.Keys(t.Context()) {
		require.NoError(t, err)
		require.Equal(t, keyA, k.ID)
		require.True(t, k.Rotates)
		require.Equal(t, verA, k.Versions[0].Locator)
		n++
	}
	require.Equal(t, 1, n)
	otherKey := strings.NewReplacer(keyA, keyB, verA, verB).Replace(goodKey)
	_, err = keyring.Unseal(newRoot(t), sealList(t, "["+goodKey+","+otherKey+"]"))
	require.NoError(t, err)

	for _, size := range []int{16, 24} {
		_, err = keyring.Unseal(newRoot(t), sealListUnder(t, make([]byte, size), "[]"))
		require.ErrorIs(t, err, keyring.ErrFile, "a key that Create does not make")
	}

	change := func(old, new string) string { return "[" + strings.Replace(goodKey, old, new, 1) + "]" }
	for name, list := range map[string]string{
		"empty":             "",
		"null":              "null",
		"an object":         goodKey,
		"a space":           "[" + goodKey + " ]",
		"trailing data":     "[" + goodKey + "]]",
		"a key twice":       "[" + goodKey + "," + goodKey + "]",
		"not sorted":        "[" + otherKey + "," + goodKey + "]",
		"a version twice":   change(goodVersion, goodVersion+","+goodVersion),
		"no versions":       change("["+goodVersion+"]", "[]"),
		"null versions":     change("["+goodVersion+"]", "null"),
		"an unknown field":  change(`"imported"`, `"more":1,"imported"`),
		"a field missing":   change(`"imported":false,`, ""),
		"a field twice":     change(`"imported":false`, `"imported":false,"imported":false`),
		"another case":      change(`"imported"`, `"Imported"`),
		"another order":     change(`"imported":false,"rotates":true`, `"rotates":true,"imported":false`),
		"a key ID, no UUID": change(keyA, "key"),
		"a version ID, too": change(verA, "v1"),
		"another zone":      change("05Z", "05+01:00"),
		"no date":           change("2020-01-02T03:04:05Z", "2020"),
		"a short key":       change("MDEyMzQ1Njc4OWFiY2RlZg==", "MDEyMzQ1Njc4OWFiY2Rl"),
		"no key":            change("MDEyMzQ1Njc4OWFiY2RlZg==", ""),
		"loose base64":      change("MDEyMzQ1Njc4OWFiY2RlZg==", "MDEyMzQ1Njc4OWFiY2RlZh=="),
		"escaped for fun":   change(`"d"`, `"\u0064"`),
	} {
		s, err := keyring.Unseal(newRoot(t), sealList(t, list))
		require.ErrorIs(t, err, keyring.ErrFile, name)
		require.Nil(t, s)
		require.NotContains(t, err.Error(), "MDEy", name)
	}
}

// FuzzKeyringFile: what is accepted is what Create would write.
func FuzzKeyringFile(f *testing.F) {
	for _, list := range []string{"[]", "[" + goodKey + "]", "null", "[{}]", "[" + strings.Replace(goodKey, "false", "true", 1) + "]"} {
		f.Add([]byte(list))
	}
	f.Fuzz(func(t *testing.T, list []byte) {
		s, err := keyring.Decode(list)
		if err != nil {
			require.ErrorIs(t, err, keyring.ErrFile)
			return
		}
		again, err := s.Encode()
		require.NoError(t, err)
		require.Equal(t, string(list), string(again))
	})
}

// FuzzKeyringOuter: the same for what is around the list. No input panics or is accepted.
func FuzzKeyringOuter(f *testing.F) {
	f.Add([]byte(`{"format":"keyhold-keyring-1","key":"","keys":""}` + "\n"))
	f.Add(sealList(f, "[]")[:60])
	root := newRoot(f)
	f.Fuzz(func(t *testing.T, content []byte) {
		_, err := keyring.Unseal(root, content)
		require.ErrorIs(t, err, keyring.ErrFile)
	})
}
