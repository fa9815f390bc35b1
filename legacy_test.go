package kms_test

import (
	"context"
	"crypto/fips140"
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
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/legacy"
	"github.com/keyhold/kms/legacy/keyring"
	"github.com/keyhold/kms/legacy/tinkset"
	"github.com/keyhold/kms/legacy/transit"
	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

// oldSystems make each kind of them. Under GODEBUG=fips140=only Tink's own AEADs refuse, and
// with them the source of keysets, as its tests show.
func oldSystems() map[string]func(t testing.TB, name string, versions int) kit.OldKey {
	kinds := map[string]func(t testing.TB, name string, versions int) kit.OldKey{
		keyring.Scheme: kit.OldKeyring, transit.Scheme: oldTransit, tinkset.Scheme: oldKeyset,
	}
	if fips140.Enforced() {
		delete(kinds, tinkset.Scheme)
	}
	return kinds
}

func transitExport(name string, versions int) transit.Export {
	var keys []string
	for i := range versions {
		keys = append(keys, `"`+string(rune('1'+i))+`":"`+base64.StdEncoding.EncodeToString(kit.OldMaterial(name, string(rune('1'+i))))+`"`)
	}
	return transit.Export{Key: []byte(`{"name":"` + name + `","type":"aes256-gcm96","keys":{` + strings.Join(keys, ",") + `}}`)}
}

func transitCiphertext(t testing.TB, name, version string) []byte {
	sealed := kit.GCM(t, kit.OldMaterial(name, version)).Seal(nil, nil, []byte("old"), nil)
	return []byte("vault:v" + version + ":" + base64.StdEncoding.EncodeToString(sealed))
}

func oldTransit(t testing.TB, name string, versions int) kit.OldKey {
	s := kit.OldKey{ID: legacy.NameID(transit.Scheme, name)}
	for i := range versions {
		s.Ciphertexts = append(s.Ciphertexts, transitCiphertext(t, name, string(rune('1'+i))))
	}
	var err error
	s.Source, err = transit.New(transitExport(name, versions))
	require.NoError(t, err)
	s.Empty, err = transit.New()
	require.NoError(t, err)
	for key := range s.Source.Keys(t.Context()) {
		s.ID = key.ID
	}
	return s
}

func oldKeyset(t testing.TB, name string, versions int) kit.OldKey {
	s := kit.OldKey{ID: legacy.NameID(tinkset.Scheme, name), EC: kms.EncryptionContext{tinkset.ContextKey: hex.EncodeToString([]byte("7"))}}
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
		s.Ciphertexts = append(s.Ciphertexts, ciphertext)
		s.Source, err = tinkset.New(tinkset.Keyset{Name: name, Handle: h})
		require.NoError(t, err)
	}
	var err error
	s.Empty, err = tinkset.New()
	require.NoError(t, err)
	return s
}

// opensAll: every old ciphertext opens under its own context and no other, and not when a bit
// of it is changed.
func opensAll(t *testing.T, s kit.OldKey, m *kms.Manager) {
	t.Helper()
	for _, c := range s.Ciphertexts {
		plain, err := m.Decrypt(t.Context(), c, s.EC)
		require.NoError(t, err)
		require.Equal(t, "old", string(plain))
		require.ErrorIs(t, kit.Err(m.Decrypt(t.Context(), c, kms.EncryptionContext{"another": "context"})), kms.ErrCiphertext)
		bad := slices.Clone(c)
		bad[len(bad)-6] ^= 1
		require.ErrorIs(t, kit.Err(m.Decrypt(t.Context(), bad, s.EC)), kms.ErrCiphertext)
	}
}

func refusedAll(t *testing.T, s kit.OldKey, m *kms.Manager, cond error) {
	t.Helper()
	for _, c := range s.Ciphertexts {
		require.ErrorIs(t, kit.Err(m.Decrypt(t.Context(), c, s.EC)), cond)
	}
}

// TestLegacyKeys: keys of another system are listed and described, open what they made there,
// and are not changed or encrypted with.
func TestLegacyKeys(t *testing.T) {
	for scheme, make := range oldSystems() {
		t.Run(scheme, func(t *testing.T) {
			ctx := t.Context()
			old := make(t, "invoices", 3)
			k := kmstest.New(t, kit.WithSources(old.Source))
			mine := k.MustCreateKey(t)
			opensAll(t, old, k.Manager)
			key, err := k.DescribeKey(ctx, old.ID)
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
			want := []string{mine.ID, old.ID}
			slices.Sort(want)
			require.Equal(t, want, ids)
			for key, err := range k.Keys(ctx, &kms.ListOptions{Owners: []kms.Owner{kms.OwnerLegacy}, After: ids[0]}) {
				require.NoError(t, err)
				owned = append(owned, key.ID)
			}
			require.Equal(t, ids[1] == old.ID, len(owned) == 1)

			s := kit.NewSubject(t, kms.OriginKMS, kms.Enabled)
			s.ID, s.Ciphertext = old.ID, old.Ciphertexts[0]
			refused := 0
			calls := kit.EveryCall(ctx, s, k.Manager)
			of := reflect.TypeFor[*kms.Manager]()
			for i := range of.NumMethod() {
				name := of.Method(i).Name
				if changesNoKey[name] || name == "MigrateLegacyKey" || name == "UpdateAlias" || name == "DeleteAlias" {
					continue
				}
				refused++
				err := calls[name]()
				require.Equal(t, []string{"ErrReadOnly"}, kit.Conditions(err), name)
				require.Contains(t, kms.Hint(err), "MigrateLegacyKey")
			}
			require.Greater(t, refused, 12)
			require.ErrorIs(t, kit.Err(k.Encrypt(ctx, old.ID, nil, nil)), kms.ErrReadOnly)
			require.ErrorIs(t, kit.Err(k.GenerateDataKey(ctx, old.ID, nil)), kms.ErrReadOnly)
			moved, err := k.ReEncrypt(ctx, old.Ciphertexts[0], old.EC, mine.ID, nil)
			require.NoError(t, err)
			plain, err := k.Decrypt(ctx, moved, nil)
			require.NoError(t, err)
			require.Equal(t, "old", string(plain))
			x, err := k.Explain(ctx, kms.OpEncrypt, old.ID)
			require.NoError(t, err)
			agree(t, x, kit.Err(k.Encrypt(ctx, old.ID, nil, nil)))
			require.EqualValues(t, 4, keyUsage(t, k.Manager, old.ID).Uses())
			require.Zero(t, keyUsage(t, k.Manager, old.ID).Versions[0].Version, "the versions of another system are 0")
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
			k := kmstest.New(t, kit.WithSources(old.Source))
			other := k.Another(t)
			opensAll(t, old, other)
			require.NoError(t, kit.Err(k.CreateInstance(ctx, &kms.InstanceOptions{ID: "tenant-7", ExpiresAt: k.Clock.Now().AddDate(0, 0, 60)})))
			x, err := k.Explain(ctx, kms.OpMigrateLegacyKey, old.ID)
			require.NoError(t, err)
			require.True(t, x.Allowed)
			key, err := k.MigrateLegacyKey(ctx, old.ID, "tenant-7")
			require.NoError(t, err)
			require.Equal(t, old.ID, key.ID)
			require.Equal(t, kms.OwnerCustomer, key.Owner)
			require.Equal(t, "tenant-7", key.Instance)
			require.Equal(t, 3, key.OldVersions)
			require.Equal(t, 1, key.PrimaryVersion)
			forgot := k.Another(t, kit.WithSources(old.Empty))
			for _, m := range []*kms.Manager{k.Manager, other, forgot} {
				opensAll(t, old, m)
			}
			c, err := forgot.Encrypt(ctx, old.ID, []byte("new"), nil)
			require.NoError(t, err)
			info, err := kms.Inspect(c)
			require.NoError(t, err)
			require.Equal(t, kms.CiphertextInfo{KeyID: old.ID, KeyVersion: 1, Protection: kms.ProtectionSoftware}, info)
			n := 0
			for key, err := range other.Keys(ctx, nil) {
				require.NoError(t, err)
				require.Equal(t, kms.OwnerCustomer, key.Owner)
				n++
			}
			require.Equal(t, 1, n)
			err = kit.Err(k.MigrateLegacyKey(ctx, old.ID, ""))
			require.ErrorIs(t, err, kms.ErrUnsupported, "again")
			require.ErrorIs(t, k.Another(t, kit.WithSources()).Close(ctx), nil)
			refusedAll(t, old, k.Another(t, kit.WithSources()), kms.ErrCiphertext) // nobody knows the scheme

			next := kit.Root(t, 9)
			require.NoError(t, k.RotateRoot(ctx, next))
			opensAll(t, old, k.Another(t, kit.WithSources(old.Empty), func(c *kms.Config) { c.Root = next }))
			require.NoError(t, kit.Err(k.DisableKey(ctx, old.ID)))
			refusedAll(t, old, other, kms.ErrDisabled)
			require.NoError(t, kit.Err(k.ScheduleKeyDeletion(ctx, old.ID, 7)))
			refusedAll(t, old, forgot, kms.ErrPendingDeletion)
			k.Clock.AdvanceDays(7)
			refusedAll(t, old, other, kms.ErrNotFound)
			require.Equal(t, []string{old.ID}, kit.Maintain(t, k).Purged)
			require.NotContains(t, string(kit.StoredValue(t, k, "key/"+old.ID)), "sealed", "material is left")
			for _, m := range []*kms.Manager{k.Manager, other, forgot} {
				refusedAll(t, old, m, kms.ErrNotFound)
				require.ErrorIs(t, kit.Err(m.DescribeKey(ctx, old.ID)), kms.ErrNotFound)
			}
			require.ErrorIs(t, kit.Err(k.MigrateLegacyKey(ctx, old.ID, "")), kms.ErrNotFound, "a deleted key does not come back")
		})
	}
}

// TestMigrateRefused: what the other system's owner or rotation could still change, and what
// is no key of another system.
func TestMigrateRefused(t *testing.T) {
	ctx := t.Context()
	version := func(name string) []legacy.Version {
		return []legacy.Version{keyring.NewVersion(legacy.NameID("test", name), kmstest.New(t).Clock.Now(), kit.OldMaterial(name))}
	}
	ids := []string{legacy.NameID("test", "imported"), legacy.NameID("test", "rotates"), legacy.NameID("test", "plain")}
	source, err := keyring.New(
		legacy.Key{ID: ids[0], Imported: true, Versions: version("a")},
		legacy.Key{ID: ids[1], Rotates: true, Versions: version("b")}, legacy.Key{ID: ids[2], Versions: version("c")})
	require.NoError(t, err)
	k := kmstest.New(t, kit.WithSources(source))
	kit.Tenant(t, k, "tenant-7", 1)
	mine := k.MustCreateKey(t).ID
	stored := kit.StoredItems(t, k)
	for _, id := range []string{ids[0], ids[1], mine} {
		err := kit.Err(k.MigrateLegacyKey(ctx, id, ""))
		require.ErrorIs(t, err, kms.ErrUnsupported)
		x, failed := k.Explain(ctx, kms.OpMigrateLegacyKey, id)
		require.NoError(t, failed)
		agree(t, x, err)
	}
	require.ErrorIs(t, kit.Err(k.MigrateLegacyKey(ctx, "alias/a", "")), kms.ErrInvalid)
	require.ErrorIs(t, kit.Err(k.MigrateLegacyKey(ctx, ids[2], "NO INSTANCE")), kms.ErrInvalid)
	require.ErrorIs(t, kit.Err(k.MigrateLegacyKey(ctx, ids[2], "nobody")), kms.ErrNotFound)
	require.ErrorIs(t, kit.Err(k.MigrateLegacyKey(ctx, legacy.NameID("test", "nobody"), "")), kms.ErrNotFound)
	k.Clock.AdvanceDays(1)
	require.ErrorIs(t, kit.Err(k.MigrateLegacyKey(ctx, ids[2], "tenant-7")), kms.ErrInstanceExpired)
	require.Equal(t, stored, kit.StoredItems(t, k), "a refused migration wrote")
}

// TestMigrateTooMuch: a key that no record can hold is refused before anything is written.
func TestMigrateTooMuch(t *testing.T) {
	ctx := t.Context()
	old := kit.OldKeyring(t, "invoices", 1)
	k := kmstest.New(t)
	for _, versions := range []int{1000, 4000} {
		key := legacy.Key{ID: legacy.NameID("test", strconv.Itoa(versions))}
		for i := range versions {
			key.Versions = append(key.Versions, legacy.NewVersion(strconv.Itoa(i), k.Clock.Now(), []byte("m")))
		}
		m := k.Another(t, kit.WithSources(badSource{old.Empty, "many", []legacy.Key{key}, nil}))
		stored := kit.StoredItems(t, k)
		err := kit.Err(m.MigrateLegacyKey(ctx, key.ID, ""))
		if versions == 1000 {
			require.NoError(t, err)
			require.NoError(t, kit.Err(m.SetDescription(ctx, key.ID, "still changes")))
			continue
		}
		require.Equal(t, []string{"ErrUnsupported"}, kit.Conditions(err))
		require.Equal(t, stored, kit.StoredItems(t, k))
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
				k := kmstest.New(t, kit.WithSources(old.Source))
				puts := 0
				k.Store.OnPut(func(string) (bool, error) {
					if puts++; puts == put {
						return applied, killed
					}
					return true, nil
				})
				require.ErrorIs(t, kit.Err(k.MigrateLegacyKey(t.Context(), old.ID, "")), killed, scheme)
				k.Store.OnPut(nil)
				m := k.Another(t)
				opensAll(t, old, m)
				if err := kit.Err(m.MigrateLegacyKey(t.Context(), old.ID, "")); err != nil {
					require.ErrorIs(t, err, kms.ErrUnsupported)
					require.True(t, put == 3 && applied, "it was done already")
				}
				opensAll(t, old, k.Another(t, kit.WithSources(old.Empty)))
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
	k := kmstest.New(t, kit.WithSources(source))
	ids := map[string]string{}
	for key, err := range k.Keys(ctx, nil) {
		require.NoError(t, err)
		ids[key.Description] = key.ID
	}
	require.Len(t, ids, 3)
	ciphertexts := kit.Shelf{}
	for _, name := range []string{"first", "second", "third"} {
		ciphertexts[name] = kms.Wrapped{ID: name, Ciphertext: transitCiphertext(t, name, "1")}
	}
	opens := func(want ...string) {
		t.Helper()
		var opened []string
		for w := range ciphertexts.Items("") {
			if kit.Err(k.Decrypt(ctx, w.Ciphertext, nil)) == nil {
				opened = append(opened, w.ID)
			}
		}
		require.Equal(t, want, opened)
	}
	opens("first", "second", "third")
	for _, name := range []string{"first", "second"} {
		require.NoError(t, kit.Err(k.MigrateLegacyKey(ctx, ids[name], "")))
	}
	opens("first", "second", "third")
	require.NoError(t, kit.Err(k.DisableKey(ctx, ids["first"])))
	opens("second", "third")
	require.ErrorIs(t, kit.Err(k.Decrypt(ctx, ciphertexts["first"].Ciphertext, nil)), kms.ErrDisabled)
	require.NoError(t, kit.Err(k.EnableKey(ctx, ids["first"])))

	needs, err := k.NeedsRewrap(ctx, ciphertexts["second"].Ciphertext)
	require.NoError(t, err)
	require.True(t, needs)
	var moved []string
	report, err := k.Rewrap(ctx, ids["second"], ciphertexts.Items, func(_ context.Context, w kms.Wrapped, c []byte) error {
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
	old := kit.OldKeyring(t, "invoices", 1)
	k := kmstest.New(t)
	gone := errors.New("the file is gone")
	for name, c := range map[string]struct {
		sources []legacy.Source
		cond    error
	}{
		"nil": {[]legacy.Source{nil}, kms.ErrInvalid}, "one scheme twice": {[]legacy.Source{old.Source, old.Empty}, kms.ErrInvalid},
		"no scheme": {[]legacy.Source{badSource{Source: old.Empty}}, kms.ErrInvalid},
		"no key":    {[]legacy.Source{badSource{old.Empty, "s", []legacy.Key{{}}, nil}}, kms.ErrInvalid},
		"an ID twice": {[]legacy.Source{badSource{old.Empty, "s", []legacy.Key{
			{ID: old.ID, Versions: []legacy.Version{legacy.NewVersion("a", k.Clock.Now(), []byte("m"))}},
			{ID: old.ID, Versions: []legacy.Version{legacy.NewVersion("b", k.Clock.Now(), []byte("m"))}},
		}, nil}}, kms.ErrInvalid},
		"out of reach": {[]legacy.Source{badSource{old.Empty, "s", nil, gone}}, kms.ErrUnavailable},
	} {
		err := kit.Err(kms.Open(t.Context(), k.ConfigWith(kit.WithSources(c.sources...))))
		require.Equal(t, []error{c.cond}, []error{kit.Sentinels()[strings.Join(kit.Conditions(err), "+")]}, name)
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
