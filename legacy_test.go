package kms_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"iter"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/legacy"
	"github.com/keyhold/kms/legacy/keyring"
	"github.com/keyhold/kms/legacy/tinkset"
	"github.com/keyhold/kms/legacy/transit"
	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

// An oldSystem is a key of another system, with what it encrypted there, the oldest version
// first, each of the plaintext "old" under the context ec.
type oldSystem struct {
	source, empty legacy.Source // the same scheme with the key and without
	id            string
	ciphertexts   [][]byte
	ec            kms.EncryptionContext
}

// oldSystems make each kind of them. Under GODEBUG=fips140=only Tink's own AEADs refuse, and
// with them the source of keysets, as its tests show.
func oldSystems() map[string]func(t *testing.T, name string, versions int) oldSystem {
	kinds := map[string]func(t *testing.T, name string, versions int) oldSystem{
		keyring.Scheme: oldKeyring, transit.Scheme: oldTransit, tinkset.Scheme: oldKeyset,
	}
	if fips140.Enforced() {
		delete(kinds, tinkset.Scheme)
	}
	return kinds
}

func gcm(t *testing.T, key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	require.NoError(t, err)
	a, err := cipher.NewGCMWithRandomNonce(block)
	require.NoError(t, err)
	return a
}

func derivedKey(parts ...string) []byte {
	sum := sha256.Sum256([]byte(strings.Join(parts, "/")))
	return sum[:]
}

func oldKeyring(t *testing.T, name string, versions int) oldSystem {
	s := oldSystem{id: legacy.NameID("test", name), ec: kms.EncryptionContext{"tenant": "7"}}
	key := legacy.Key{ID: s.id, Description: name}
	for i := range versions {
		version := legacy.NameID("test", name+string(rune('a'+i)))
		key.Versions = append(key.Versions, keyring.NewVersion(version, key.CreatedAt, derivedKey(name, version)))
		associated := sha256.Sum256([]byte("tenant=7"))
		s.ciphertexts = append(s.ciphertexts, gcm(t, derivedKey(name, version)).Seal([]byte(version), nil, []byte("old"), associated[:]))
	}
	var err error
	s.source, err = keyring.New(key)
	require.NoError(t, err)
	s.empty, err = keyring.New()
	require.NoError(t, err)
	return s
}

func transitExport(name string, versions int) transit.Export {
	var keys []string
	for i := range versions {
		keys = append(keys, `"`+string(rune('1'+i))+`":"`+base64.StdEncoding.EncodeToString(derivedKey(name, string(rune('1'+i))))+`"`)
	}
	return transit.Export{Key: []byte(`{"name":"` + name + `","type":"aes256-gcm96","keys":{` + strings.Join(keys, ",") + `}}`)}
}

func transitCiphertext(t *testing.T, name, version string) []byte {
	sealed := gcm(t, derivedKey(name, version)).Seal(nil, nil, []byte("old"), nil)
	return []byte("vault:v" + version + ":" + base64.StdEncoding.EncodeToString(sealed))
}

func oldTransit(t *testing.T, name string, versions int) oldSystem {
	s := oldSystem{id: legacy.NameID(transit.Scheme, name)}
	for i := range versions {
		s.ciphertexts = append(s.ciphertexts, transitCiphertext(t, name, string(rune('1'+i))))
	}
	var err error
	s.source, err = transit.New(transitExport(name, versions))
	require.NoError(t, err)
	s.empty, err = transit.New()
	require.NoError(t, err)
	for key := range s.source.Keys(t.Context()) {
		s.id = key.ID
	}
	return s
}

func oldKeyset(t *testing.T, name string, versions int) oldSystem {
	s := oldSystem{id: legacy.NameID(tinkset.Scheme, name), ec: kms.EncryptionContext{tinkset.ContextKey: hex.EncodeToString([]byte("7"))}}
	manager := keyset.NewManager()
	for i := range versions {
		template := aead.AES256GCMKeyTemplate()
		if i%2 == 1 {
			template = aead.AES256GCMNoPrefixKeyTemplate()
		}
		id, err := manager.Add(template)
		require.NoError(t, err)
		require.NoError(t, manager.SetPrimary(id))
		h, err := manager.Handle()
		require.NoError(t, err)
		a, err := aead.New(h)
		require.NoError(t, err)
		ciphertext, err := a.Encrypt([]byte("old"), []byte("7"))
		require.NoError(t, err)
		s.ciphertexts = append(s.ciphertexts, ciphertext)
		s.source, err = tinkset.New(tinkset.Keyset{Name: name, Handle: h})
		require.NoError(t, err)
	}
	var err error
	s.empty, err = tinkset.New()
	require.NoError(t, err)
	return s
}

func withSources(s ...legacy.Source) func(*kms.Config) {
	return func(c *kms.Config) { c.Legacy = s }
}

// opensAll: every old ciphertext opens under its own context and no other, and not when a bit
// of it is changed.
func (s *oldSystem) opensAll(t *testing.T, m *kms.Manager) {
	t.Helper()
	for _, c := range s.ciphertexts {
		plain, err := m.Decrypt(t.Context(), c, s.ec)
		require.NoError(t, err)
		require.Equal(t, "old", string(plain))
		require.ErrorIs(t, only(m.Decrypt(t.Context(), c, kms.EncryptionContext{"another": "context"})), kms.ErrCiphertext)
		bad := slices.Clone(c)
		bad[len(bad)-6] ^= 1
		require.ErrorIs(t, only(m.Decrypt(t.Context(), bad, s.ec)), kms.ErrCiphertext)
	}
}

func (s *oldSystem) refusedAll(t *testing.T, m *kms.Manager, cond error) {
	t.Helper()
	for _, c := range s.ciphertexts {
		require.ErrorIs(t, only(m.Decrypt(t.Context(), c, s.ec)), cond)
	}
}

// TestLegacyKeys: keys of another system are listed and described, open what they made there,
// and are not changed or encrypted with.
func TestLegacyKeys(t *testing.T) {
	for scheme, make := range oldSystems() {
		t.Run(scheme, func(t *testing.T) {
			ctx := t.Context()
			old := make(t, "invoices", 3)
			k := kmstest.New(t, withSources(old.source))
			mine := k.MustCreateKey(t)
			old.opensAll(t, k.Manager)
			key, err := k.DescribeKey(ctx, old.id)
			require.NoError(t, err)
			require.Equal(t, kms.OwnerLegacy, key.Owner)
			require.Equal(t, kms.Enabled, key.State)
			require.Equal(t, 3, key.OldVersions)
			require.Zero(t, key.PrimaryVersion)
			var ids, owned []string
			for key, err := range k.Keys(ctx, nil) {
				require.NoError(t, err)
				ids = append(ids, key.ID)
			}
			want := []string{mine.ID, old.id}
			slices.Sort(want)
			require.Equal(t, want, ids)
			for key, err := range k.Keys(ctx, &kms.ListOptions{Owners: []kms.Owner{kms.OwnerLegacy}, After: ids[0]}) {
				require.NoError(t, err)
				owned = append(owned, key.ID)
			}
			require.Equal(t, ids[1] == old.id, len(owned) == 1)

			s := newSubject(t, kms.OriginKMS, kms.Enabled)
			s.id, s.ciphertext = old.id, old.ciphertexts[0]
			refused := 0
			calls := everyCall(ctx, s, k.Manager)
			of := reflect.TypeFor[*kms.Manager]()
			for i := range of.NumMethod() {
				name := of.Method(i).Name
				if changesNoKey[name] || name == "MigrateLegacyKey" || name == "UpdateAlias" || name == "DeleteAlias" {
					continue
				}
				refused++
				err := calls[name]()
				require.Equal(t, []string{"ErrReadOnly"}, conditionsOf(err), name)
				require.Contains(t, kms.Hint(err), "MigrateLegacyKey")
			}
			require.Greater(t, refused, 12)
			require.ErrorIs(t, only(k.Encrypt(ctx, old.id, nil, nil)), kms.ErrReadOnly)
			require.ErrorIs(t, only(k.GenerateDataKey(ctx, old.id, nil)), kms.ErrReadOnly)
			moved, err := k.ReEncrypt(ctx, old.ciphertexts[0], old.ec, mine.ID, nil)
			require.NoError(t, err)
			plain, err := k.Decrypt(ctx, moved, nil)
			require.NoError(t, err)
			require.Equal(t, "old", string(plain))
			x, err := k.Explain(ctx, kms.OpEncrypt, old.id)
			require.NoError(t, err)
			agree(t, x, only(k.Encrypt(ctx, old.id, nil, nil)))
			require.EqualValues(t, 4, keyUsage(t, k.Manager, old.id).Uses())
			require.Zero(t, keyUsage(t, k.Manager, old.id).Versions[0].Version, "the versions of another system are 0")
		})
	}
}

// TestMigrateLegacyKey: the key keeps its ID and opens all that it made, also when the source
// has forgotten it, in another process, and after a restart; it encrypts as any key does, has
// a life, and what its life refuses the source does not give back.
func TestMigrateLegacyKey(t *testing.T) {
	for scheme, make := range oldSystems() {
		t.Run(scheme, func(t *testing.T) {
			ctx := t.Context()
			old := make(t, "invoices", 3)
			k := kmstest.New(t, withSources(old.source))
			other := k.Another(t)
			old.opensAll(t, other)
			require.NoError(t, only(k.CreateInstance(ctx, &kms.InstanceOptions{ID: "tenant-7", ExpiresAt: k.Clock.Now().AddDate(0, 0, 60)})))
			x, err := k.Explain(ctx, kms.OpMigrateLegacyKey, old.id)
			require.NoError(t, err)
			require.True(t, x.Allowed)
			key, err := k.MigrateLegacyKey(ctx, old.id, "tenant-7")
			require.NoError(t, err)
			require.Equal(t, old.id, key.ID)
			require.Equal(t, kms.OwnerCustomer, key.Owner)
			require.Equal(t, "tenant-7", key.Instance)
			require.Equal(t, 3, key.OldVersions)
			require.Equal(t, 1, key.PrimaryVersion)
			forgot := k.Another(t, withSources(old.empty))
			for _, m := range []*kms.Manager{k.Manager, other, forgot} {
				old.opensAll(t, m)
			}
			c, err := forgot.Encrypt(ctx, old.id, []byte("new"), nil)
			require.NoError(t, err)
			info, err := kms.Inspect(c)
			require.NoError(t, err)
			require.Equal(t, kms.CiphertextInfo{KeyID: old.id, KeyVersion: 1, Protection: kms.ProtectionSoftware}, info)
			n := 0
			for key, err := range other.Keys(ctx, nil) {
				require.NoError(t, err)
				require.Equal(t, kms.OwnerCustomer, key.Owner)
				n++
			}
			require.Equal(t, 1, n)
			err = only(k.MigrateLegacyKey(ctx, old.id, ""))
			require.ErrorIs(t, err, kms.ErrUnsupported, "again")
			require.ErrorIs(t, k.Another(t, withSources()).Close(ctx), nil)
			old.refusedAll(t, k.Another(t, withSources()), kms.ErrCiphertext) // nobody knows the scheme

			next := newRoot(t, 9)
			require.NoError(t, k.RotateRoot(ctx, next))
			old.opensAll(t, k.Another(t, withSources(old.empty), func(c *kms.Config) { c.Root = next }))
			require.NoError(t, only(k.DisableKey(ctx, old.id)))
			old.refusedAll(t, other, kms.ErrDisabled)
			require.NoError(t, only(k.ScheduleKeyDeletion(ctx, old.id, 7)))
			old.refusedAll(t, forgot, kms.ErrPendingDeletion)
			k.Clock.AdvanceDays(7)
			old.refusedAll(t, other, kms.ErrNotFound)
			require.Equal(t, []string{old.id}, maintain(t, k).Purged)
			require.NotContains(t, string(value(t, k, "key/"+old.id)), "sealed", "material is left")
			for _, m := range []*kms.Manager{k.Manager, other, forgot} {
				old.refusedAll(t, m, kms.ErrNotFound)
				require.ErrorIs(t, only(m.DescribeKey(ctx, old.id)), kms.ErrNotFound)
			}
			require.ErrorIs(t, only(k.MigrateLegacyKey(ctx, old.id, "")), kms.ErrNotFound, "a deleted key does not come back")
		})
	}
}

// TestMigrateRefused: what the other system's owner or rotation could still change, and what
// is no key of another system.
func TestMigrateRefused(t *testing.T) {
	ctx := t.Context()
	version := func(name string) []legacy.Version {
		return []legacy.Version{keyring.NewVersion(legacy.NameID("test", name), kmstest.New(t).Clock.Now(), derivedKey(name))}
	}
	ids := []string{legacy.NameID("test", "imported"), legacy.NameID("test", "rotates"), legacy.NameID("test", "plain")}
	source, err := keyring.New(
		legacy.Key{ID: ids[0], Imported: true, Versions: version("a")},
		legacy.Key{ID: ids[1], Rotates: true, Versions: version("b")}, legacy.Key{ID: ids[2], Versions: version("c")})
	require.NoError(t, err)
	k := kmstest.New(t, withSources(source))
	tenant(t, k, "tenant-7", 1)
	mine := k.MustCreateKey(t).ID
	stored := everything(t, k)
	for _, id := range []string{ids[0], ids[1], mine} {
		err := only(k.MigrateLegacyKey(ctx, id, ""))
		require.ErrorIs(t, err, kms.ErrUnsupported)
		x, failed := k.Explain(ctx, kms.OpMigrateLegacyKey, id)
		require.NoError(t, failed)
		agree(t, x, err)
	}
	require.ErrorIs(t, only(k.MigrateLegacyKey(ctx, "alias/a", "")), kms.ErrInvalid)
	require.ErrorIs(t, only(k.MigrateLegacyKey(ctx, ids[2], "NO INSTANCE")), kms.ErrInvalid)
	require.ErrorIs(t, only(k.MigrateLegacyKey(ctx, ids[2], "nobody")), kms.ErrNotFound)
	require.ErrorIs(t, only(k.MigrateLegacyKey(ctx, legacy.NameID("test", "nobody"), "")), kms.ErrNotFound)
	k.Clock.AdvanceDays(1)
	require.ErrorIs(t, only(k.MigrateLegacyKey(ctx, ids[2], "tenant-7")), kms.ErrUnavailable)
	require.Equal(t, stored, everything(t, k), "a refused migration wrote")
}

// TestMigrateTooMuch: a key that no record can hold is refused before anything is written.
func TestMigrateTooMuch(t *testing.T) {
	ctx := t.Context()
	old := oldKeyring(t, "invoices", 1)
	k := kmstest.New(t)
	for _, versions := range []int{1000, 4000} {
		key := legacy.Key{ID: legacy.NameID("test", strconv.Itoa(versions))}
		for i := range versions {
			key.Versions = append(key.Versions, legacy.NewVersion(strconv.Itoa(i), k.Clock.Now(), []byte("m")))
		}
		m := k.Another(t, withSources(badSource{old.empty, "many", []legacy.Key{key}, nil}))
		stored := everything(t, k)
		err := only(m.MigrateLegacyKey(ctx, key.ID, ""))
		if versions == 1000 {
			require.NoError(t, err)
			require.NoError(t, only(m.SetDescription(ctx, key.ID, "still changes")))
			continue
		}
		require.Equal(t, []string{"ErrUnsupported"}, conditionsOf(err))
		require.Equal(t, stored, everything(t, k))
	}
}

// TestMigrateKilled kills a migration at each of its writes, in each way, and repeats it: it
// ends with one key that opens everything, and at no time does a ciphertext not open.
func TestMigrateKilled(t *testing.T) {
	killed := errors.New("killed")
	for scheme, make := range oldSystems() {
		for put := 1; put <= 3; put++ {
			for _, applied := range []bool{false, true} {
				old := make(t, "invoices", 2)
				k := kmstest.New(t, withSources(old.source))
				puts := 0
				k.Store.OnPut(func(string) (bool, error) {
					if puts++; puts == put {
						return applied, killed
					}
					return true, nil
				})
				require.ErrorIs(t, only(k.MigrateLegacyKey(t.Context(), old.id, "")), killed, scheme)
				k.Store.OnPut(nil)
				m := k.Another(t)
				old.opensAll(t, m)
				if err := only(m.MigrateLegacyKey(t.Context(), old.id, "")); err != nil {
					require.ErrorIs(t, err, kms.ErrUnsupported)
					require.True(t, put == 3 && applied, "it was done already")
				}
				old.opensAll(t, k.Another(t, withSources(old.empty)))
			}
		}
	}
}

// TestKeysOfOneLocator: ciphertexts that do not name their key open under the one that made
// them; a key that is refused does not keep the others; and Rewrap moves no other key's data.
func TestKeysOfOneLocator(t *testing.T) {
	ctx := t.Context()
	source, err := transit.New(transitExport("first", 1), transitExport("second", 1), transitExport("third", 1))
	require.NoError(t, err)
	k := kmstest.New(t, withSources(source))
	ids := map[string]string{}
	for key, err := range k.Keys(ctx, nil) {
		require.NoError(t, err)
		ids[key.Description] = key.ID
	}
	require.Len(t, ids, 3)
	ciphertexts := shelf{}
	for _, name := range []string{"first", "second", "third"} {
		ciphertexts[name] = kms.Wrapped{ID: name, Ciphertext: transitCiphertext(t, name, "1")}
	}
	opens := func(want ...string) {
		t.Helper()
		var opened []string
		for w := range ciphertexts.items("") {
			if only(k.Decrypt(ctx, w.Ciphertext, nil)) == nil {
				opened = append(opened, w.ID)
			}
		}
		require.Equal(t, want, opened)
	}
	opens("first", "second", "third")
	for _, name := range []string{"first", "second"} {
		require.NoError(t, only(k.MigrateLegacyKey(ctx, ids[name], "")))
	}
	opens("first", "second", "third")
	require.NoError(t, only(k.DisableKey(ctx, ids["first"])))
	opens("second", "third")
	require.ErrorIs(t, only(k.Decrypt(ctx, ciphertexts["first"].Ciphertext, nil)), kms.ErrDisabled)
	require.NoError(t, only(k.EnableKey(ctx, ids["first"])))

	needs, err := k.NeedsRewrap(ctx, ciphertexts["second"].Ciphertext)
	require.NoError(t, err)
	require.True(t, needs)
	var moved []string
	report, err := k.Rewrap(ctx, ids["second"], ciphertexts.items, func(_ context.Context, w kms.Wrapped, c []byte) error {
		moved = append(moved, w.ID)
		plain, err := k.Decrypt(ctx, c, nil)
		require.Equal(t, "old", string(plain))
		return err
	}, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"second"}, moved)
	require.Equal(t, 2, report.Others)
	require.True(t, report.Complete)
}

// TestBadSources: Open refuses sources that are none.
func TestBadSources(t *testing.T) {
	old := oldKeyring(t, "invoices", 1)
	k := kmstest.New(t)
	gone := errors.New("the file is gone")
	for name, c := range map[string]struct {
		sources []legacy.Source
		cond    error
	}{
		"nil": {[]legacy.Source{nil}, kms.ErrInvalid}, "one scheme twice": {[]legacy.Source{old.source, old.empty}, kms.ErrInvalid},
		"no scheme": {[]legacy.Source{badSource{Source: old.empty}}, kms.ErrInvalid},
		"no key":    {[]legacy.Source{badSource{old.empty, "s", []legacy.Key{{}}, nil}}, kms.ErrInvalid},
		"an ID twice": {[]legacy.Source{badSource{old.empty, "s", []legacy.Key{
			{ID: old.id, Versions: []legacy.Version{legacy.NewVersion("a", k.Clock.Now(), []byte("m"))}},
			{ID: old.id, Versions: []legacy.Version{legacy.NewVersion("b", k.Clock.Now(), []byte("m"))}},
		}, nil}}, kms.ErrInvalid},
		"out of reach": {[]legacy.Source{badSource{old.empty, "s", nil, gone}}, kms.ErrUnavailable},
	} {
		err := only(kms.Open(t.Context(), k.ConfigWith(withSources(c.sources...))))
		require.Equal(t, []error{c.cond}, []error{conditions[strings.Join(conditionsOf(err), "+")]}, name)
	}
}

type badSource struct {
	legacy.Source
	scheme string
	keys   []legacy.Key
	err    error
}

func (s badSource) Scheme() string { return s.scheme }

func (s badSource) Keys(context.Context) iter.Seq2[legacy.Key, error] {
	return func(yield func(legacy.Key, error) bool) {
		for _, key := range s.keys {
			if !yield(key, nil) {
				return
			}
		}
		if s.err != nil {
			yield(legacy.Key{}, s.err)
		}
	}
}
