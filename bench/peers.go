package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"

	wrap "github.com/hashicorp/go-kms-wrapping/v2"
	wrapaead "github.com/hashicorp/go-kms-wrapping/v2/aead"
	"github.com/hashicorp/vault/sdk/helper/keysutil"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"github.com/tink-crypto/tink-go/v2/tink"
	"gocloud.dev/secrets/localsecrets"
)

// sealing is a contestant that makes data keys as its users do: it encrypts random bytes.
func sealing[T any](name, what string, seal func(plaintext []byte) T, open func(sealed T)) *contestant {
	return &contestant{
		name: name, what: what,
		dataKey: func(int) { seal(randomBytes(32)) },
		encrypt: func(_ int, plaintext []byte) { seal(plaintext) },
		opener: func(_ int, plaintext []byte) func() {
			sealed := seal(plaintext)
			return func() { open(sealed) }
		},
	}
}

// tinks are the AEADs of Tink: those that this module's keys could be, and its envelope, with a
// data key for each message, under a key of this process.
func tinks() []*contestant {
	of := func(name, what string, a tink.AEAD) *contestant {
		return sealing(name, what,
			func(plaintext []byte) []byte { return must(a.Encrypt(plaintext, nil)) },
			func(sealed []byte) { keep(must(a.Decrypt(sealed, nil))) })
	}
	key := func(t *tinkpb.KeyTemplate) tink.AEAD { return must(aead.New(must(keyset.NewHandle(t)))) }
	return []*contestant{
		of("tink AES-GCM", "tink-go, AES256_GCM", key(aead.AES256GCMKeyTemplate())),
		of("tink XAES-GCM", "tink-go, XAES_256_GCM", key(aead.XAES256GCM192BitNonceKeyTemplate())),
		of("tink envelope", "tink-go, KMSEnvelopeAEAD over a local AES256_GCM",
			aead.NewKMSEnvelopeAEAD2(aead.AES256GCMKeyTemplate(), key(aead.AES256GCMKeyTemplate()))),
	}
}

// gocloud is the keeper of gocloud.dev that needs no service: NaCl's secretbox.
func gocloud(ctx context.Context) *contestant {
	k := localsecrets.NewKeeper(must(localsecrets.NewRandomKey()))
	return sealing("gocloud", "gocloud.dev/secrets/localsecrets",
		func(plaintext []byte) []byte { return must(k.Encrypt(ctx, plaintext)) },
		func(sealed []byte) { keep(must(k.Decrypt(ctx, sealed))) })
}

// wrapping is the wrapper of go-kms-wrapping that needs no service.
func wrapping(ctx context.Context) *contestant {
	w := wrapaead.NewWrapper()
	check(w.SetAesGcmKeyBytes(randomBytes(32)))
	return sealing("go-kms-wrapping", "hashicorp/go-kms-wrapping/v2/aead",
		func(plaintext []byte) *wrap.BlobInfo { return must(w.Encrypt(ctx, plaintext)) },
		func(sealed *wrap.BlobInfo) { keep(must(w.Decrypt(ctx, sealed))) })
}

// transit is what the transit engine of Vault does with a key, called in process: the key is
// found in its cache and locked, and its policy encrypts. Not in it are the engine's request,
// its paths, tokens and audit: the package of the engine builds in its own repository alone.
func transit(ctx context.Context) *contestant {
	locks := must(keysutil.NewLockManager(true, 0))
	req := keysutil.PolicyRequest{Storage: new(logical.InmemStorage), Name: "key", KeyType: keysutil.KeyType_AES256_GCM96, Upsert: true}
	with := func(do func(p *keysutil.Policy) string) string {
		p, _, err := locks.GetPolicy(ctx, req, rand.Reader)
		check(err)
		p.Lock(false)
		defer p.Unlock()
		return do(p)
	}
	return sealing("transit", "hashicorp/vault/sdk/helper/keysutil, the core of Vault's transit engine",
		func(plaintext []byte) string {
			return with(func(p *keysutil.Policy) string {
				return must(p.Encrypt(0, nil, nil, base64.StdEncoding.EncodeToString(plaintext)))
			})
		},
		func(sealed string) {
			keep(must(base64.StdEncoding.DecodeString(with(func(p *keysutil.Policy) string {
				return must(p.Decrypt(nil, nil, sealed))
			}))))
		})
}
