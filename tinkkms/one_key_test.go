package tinkkms_test

import (
	"crypto/fips140"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/internal/tinkkeys"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/legacy"
	"github.com/keyhold/kms/legacy/keyring"
	"github.com/keyhold/kms/legacy/tinkset"
	"github.com/keyhold/kms/legacy/transit"
	"github.com/keyhold/kms/tinkkms"
)

// A sealed is a ciphertext, with whether the key that the AEADs are of made it.
type sealed struct {
	what       string
	ciphertext []byte
	data       []byte
	own        bool
}

// others makes sources of other systems and what their keys made, some of it so that it begins like
// the ciphertext of a key that is there, or of one that is not.
func others(t *testing.T, own []byte) (sources []legacy.Source, made []sealed) {
	version := legacy.NameID("test", "version")
	ring, err := keyring.New(legacy.Key{ID: legacy.NameID("test", "key"), Versions: []legacy.Version{
		keyring.NewVersion(version, kmstest.New(t).Clock.Now(), kit.OldMaterial("keyring"))}})
	require.NoError(t, err)
	made = append(made, sealed{what: "of a keyring", ciphertext: kit.GCM(t, kit.OldMaterial("keyring")).Seal([]byte(version), nil, []byte("x"), nil)})

	vault, err := transit.New(transit.Export{Key: fmt.Appendf(nil, `{"name":"t","type":"aes256-gcm96","keys":{"1":%q}}`,
		base64.StdEncoding.EncodeToString(kit.OldMaterial("transit")))})
	require.NoError(t, err)
	c := kit.GCM(t, kit.OldMaterial("transit")).Seal(nil, nil, []byte("x"), nil)
	made = append(made, sealed{what: "of transit", ciphertext: []byte("vault:v1:" + base64.StdEncoding.EncodeToString(c))})
	if fips140.Enforced() { // Tink's own AEADs refuse
		return []legacy.Source{ring, vault}, made
	}

	handle := tinkkeys.Handle(t, tinkkeys.AESGCM(t, kit.OldMaterial("tink"), 0))
	tinks, err := tinkset.New(tinkset.Keyset{Name: "tink", Handle: handle})
	require.NoError(t, err)
	nobody := append([]byte(nil), own[:23]...)
	nobody[18] ^= 1
	for _, data := range [][]byte{nil, []byte("ad")} {
		c, err := tinkkeys.AEAD(t, tinkkeys.AESGCM(t, kit.OldMaterial("tink"), 0)).Encrypt([]byte("x"), data)
		require.NoError(t, err)
		made = append(made, sealed{what: "of a keyset", ciphertext: c, data: data})
		for what, start := range map[string][]byte{"of a keyset, looks like the key's": own[:23], "of a keyset, looks like nobody's": nobody} {
			c, _ := tinkkeys.Beginning(t, kit.OldMaterial("tink"), 0, start, data)
			made = append(made, sealed{what: what, ciphertext: c, data: data})
		}
	}
	return []legacy.Source{ring, vault, tinks}, made
}

func contextOf(data []byte) kms.EncryptionContext {
	if len(data) == 0 {
		return nil
	}
	return kms.EncryptionContext{tinkkms.ContextKey: hex.EncodeToString(data)}
}

// TestOneKey: an AEAD opens what its key encrypted, while that may decrypt, and nothing else: not
// what other keys made, here or in another system, and whatever it is made to look like.
func TestOneKey(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for state, want := range map[kms.State]error{
		kms.Enabled: nil, kms.Disabled: kms.ErrDisabled, kms.PendingDeletion: kms.ErrPendingDeletion,
		kms.PendingImport: kms.ErrPendingImport, kms.Deleted: kms.ErrNotFound,
	} {
		k := kmstest.New(t)
		id, other := k.MustCreateKey(t).ID, k.MustCreateKey(t).ID
		if state == kms.PendingImport {
			id, _, _ = kit.ImportedKeyIn(t, k, kms.DefaultInstance, kit.Material())
		}
		require.NoError(t, k.CreateAlias(ctx, "alias/a", id))
		var all []sealed
		for _, data := range [][]byte{nil, []byte("ad")} {
			c, err := tinkkms.AEAD(k.Manager, id).Encrypt([]byte("x"), data)
			require.NoError(t, err)
			all = append(all, sealed{"its own", c, data, true})
			for n := range 31 {
				all = append(all, sealed{fmt.Sprintf("cut to %d", n), c[:n], data, false})
			}
			c, err = tinkkms.AEAD(k.Manager, other).Encrypt([]byte("x"), data)
			require.NoError(t, err)
			all = append(all, sealed{"of another key", c, data, false})
			r := rand.New(rand.NewPCG(1, uint64(len(data))))
			for range 20 {
				random := make([]byte, r.IntN(100))
				for i := range random {
					random[i] = byte(r.Uint32())
				}
				all = append(all, sealed{"random", random, data, false})
			}
		}
		sources, made := others(t, all[0].ciphertext)
		m := k.Another(t, kit.WithSources(sources...))
		for _, c := range made { // the Manager opens them, but what names a key that is there
			err := only(m.Decrypt(ctx, c.ciphertext, contextOf(c.data)))
			require.Equal(t, c.what != "of a keyset, looks like the key's", err == nil, c.what)
		}
		switch state {
		case kms.PendingImport:
			require.NoError(t, only(k.DeleteKeyMaterial(ctx, id, nil)))
		case kms.Disabled, kms.PendingDeletion, kms.Deleted:
			require.NoError(t, only(k.DisableKey(ctx, id)))
			if state != kms.Disabled {
				require.NoError(t, only(k.ScheduleKeyDeletion(ctx, id, 7)))
			}
			if state == kms.Deleted {
				k.Clock.AdvanceDays(7)
			}
		}
		for ref, refused := range map[string]error{id: want, "alias/a": want, "alias/nobody": kms.ErrNotFound} {
			a := tinkkms.AEAD(m, ref)
			for _, c := range append(made, all...) {
				plain, err := a.Decrypt(c.ciphertext, c.data)
				at := fmt.Sprintf("%s, by %s, %s", c.what, ref, state)
				switch {
				case refused != nil:
					require.ErrorIs(t, err, refused, at)
				case !c.own:
					require.ErrorIs(t, err, kms.ErrCiphertext, at)
				default:
					require.NoError(t, err, at)
					require.Equal(t, "x", string(plain), at)
					continue
				}
				require.Nil(t, plain, at)
				require.Len(t, kit.Conditions(err), 1, at)
			}
		}
	}
}
