package kms_test

import (
	"bytes"
	"context"
	"crypto/fips140"
	"crypto/rand"
	"slices"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/campaign"
	"github.com/keyhold/kms/internal/collision"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/internal/wire"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/provider"
	"github.com/keyhold/kms/software"
	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/aead/subtle"
)

// TestCollisionsOnEveryPath makes ciphertexts that are valid under a key that was imported and
// under one of an attacker, who committed to his own; Tink opens each under both. Every call that
// opens refuses them: with the key in memory or not, with the key of the message kept or not, in
// software and in the token. What is committed to the imported key every call opens.
func TestCollisionsOnEveryPath(t *testing.T) {
	for _, place := range []string{"software", kit.AtHardware} {
		t.Run(place, func(t *testing.T) {
			n := campaign.Size(20, 1000)
			p := &listener{Provider: software.New()}
			if place == kit.AtHardware {
				_, token := kit.OpenToken(t)
				p.Provider = token
			}
			k := kmstest.New(t, func(c *kms.Config) {
				if c.Software = p; place == kit.AtHardware {
					c.Software, c.HSM = nil, p
				}
			})
			id, _, _ := kit.ImportedKey(t, k, kit.Material())
			material, theirs := p.imported, randomBytes(32)
			to := k.MustCreateKey(t).ID
			accepted := 0
			for i := range n {
				ec := kms.EncryptionContext{"n": string(rune('a' + i%2))}
				sound, err := k.Encrypt(t.Context(), id, []byte("sound"), ec)
				require.NoError(t, err)
				keys, before := [2][]byte{material, theirs}, sound[:23]
				if place != kit.AtHardware { // the salt of a message that was opened: its key is kept
					before = sound[:23+12]
					for range 2 {
						require.NoError(t, kit.Err(k.Decrypt(t.Context(), sound, ec)))
					}
					keys[0], keys[1] = collision.MessageKey(t, material, sound[23:35]), collision.MessageKey(t, theirs, sound[23:35])
				}
				ad := append(bytes.Clone(sound[:23]), wire.Bind(nil, ec).Data...)
				iv, plain := randomBytes(12), append(make([]byte, 32), randomBytes(48)...)
				for mine, key := range map[bool][]byte{true: keys[0], false: keys[1]} {
					body := bytes.Clone(plain)
					for j, b := range collision.KeyStream(t, key, iv, len(plain)) {
						body[j] ^= b
					}
					body = collision.Make(t, keys, iv, ad, body, 4)
					for _, key := range keys {
						fips140.WithoutEnforcement(func() {
							aead, err := subtle.NewAESGCM(key)
							require.NoError(t, err)
							_, err = aead.Decrypt(slices.Concat(iv, body), ad)
							require.NoError(t, err, "the collision is one for Tink")
						})
					}
					c := slices.Concat(before, iv, body)
					for name, open := range map[string]func() ([]byte, error){
						"in memory":     func() ([]byte, error) { return k.Decrypt(t.Context(), c, ec) },
						"another":       func() ([]byte, error) { return k.Another(t).Decrypt(t.Context(), c, ec) },
						"AppendDecrypt": func() ([]byte, error) { return k.AppendDecrypt(t.Context(), nil, c, ec) },
						"DecryptWithKey": func() ([]byte, error) {
							info, err := kms.Inspect(c)
							require.NoError(t, err)
							opened, _, err := k.DecryptWithKey(t.Context(), info.KeyID, c, ec)
							return opened, err
						},
						"ReEncrypt": func() ([]byte, error) {
							again, err := k.ReEncrypt(t.Context(), c, ec, to, nil)
							if err != nil {
								return nil, err
							}
							return k.Decrypt(t.Context(), again, nil)
						},
					} {
						opened, err := open()
						if !mine {
							require.Equal(t, []string{"ErrCiphertext"}, kit.Conditions(err), name)
							require.Nil(t, opened, name)
							continue
						}
						require.NoError(t, err, name)
						require.Equal(t, plain[32:64], opened[:32], name)
						accepted++
					}
				}
			}
			require.Equal(t, 5*n, accepted)
			t.Logf("%d collisions by 5 ways, all refused; %d committed to the key, all opened", n, n)
		})
	}
}

// A listener keeps the last key that was imported: it is derived from what its owner has.
type listener struct {
	provider.Provider
	imported []byte
}

func (l *listener) Import(ctx context.Context, id string, spec provider.Spec, use provider.Use, key []byte) ([]byte, error) {
	l.imported = bytes.Clone(key)
	return l.Provider.(provider.Importer).Import(ctx, id, spec, use, key)
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}
