// Package tinkkms lets Tink run on keys of a Manager: encrypted keysets, Tink's envelope
// encryption, and whatever else takes a tink.AEAD or a registry.KMSClient.
//
//	master := tinkkms.AEAD(m, "alias/keysets")
//	err := handle.WriteWithContext(ctx, writer, master, []byte("tenant 7"))
//
// # Errors
//
// Errors are those of package kms, to be matched with errors.Is. Tink's envelope encryption
// hands them on. Tink's keyset package does not: of an error of its master key it keeps the
// text alone.
//
// # Size
//
// A key takes up to 6 KiB at once (kms.MaxPlaintext), which is room for a keyset of forty AES
// keys; more is kms.ErrInvalid. Larger data is encrypted with a key that is itself encrypted:
// in a keyset, by Manager.GenerateDataKey, or by Tink's envelope encryption.
//
// # Tink's envelope encryption
//
// aead.NewKMSEnvelopeAEADWithContext over an AEAD of this package works. Know its limits. It
// encrypts each data key without the associated data, so that the data key is bound to
// nothing and Authorize sees no encryption context; the associated data protects the payload
// alone. Its payload does not commit to its key. It calls the service once for every message.
// Manager.GenerateDataKey with an encryption context has none of the first two.
package tinkkms

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/keyhold/kms"
)

// ContextKey is the key of the one pair of encryption context that stands for associated
// data. The value is the data in lower-case hex. No associated data is no encryption context.
// So does Tink's extension for AWS KMS, and policies written for the one fit the other.
const ContextKey = "associatedData"

// MaxAssociatedData is the longest associated data, in bytes: what an encryption context has
// room for. More is kms.ErrInvalid.
const MaxAssociatedData = (kms.MaxContextBytes - len(ContextKey)) / 2

// errNoManager is the answer of what was made without a Manager.
var errNoManager = fmt.Errorf("tinkkms: there is no Manager, call AEAD or NewClient with one that kms.Open returned: %w", kms.ErrInvalid)

// KeyAEAD is one key as an AEAD of Tink. Many goroutines may use it at once. It is made by
// AEAD or by Client.GetAEAD; without a Manager every call is kms.ErrInvalid.
type KeyAEAD struct {
	m   *kms.Manager
	ref string
}

var (
	_ tink.AEAD            = (*KeyAEAD)(nil)
	_ tink.AEADWithContext = (*KeyAEAD)(nil)
)

// AEAD returns the key that ref names, a key ID or an alias, as an AEAD of Tink. Nothing is
// asked of the Manager before the first use, where a ref that names nothing is told.
//
// An alias is resolved at every use. After it was given to another key, the AEAD opens what
// that key encrypted, and no longer what the first did; to move data, use ReEncrypt.
func AEAD(m *kms.Manager, ref string) *KeyAEAD { return &KeyAEAD{m: m, ref: ref} }

// Encrypt is EncryptWithContext for callers that have no context.
func (a *KeyAEAD) Encrypt(plaintext, associatedData []byte) ([]byte, error) {
	return a.EncryptWithContext(context.Background(), plaintext, associatedData)
}

// Decrypt is DecryptWithContext for callers that have no context.
func (a *KeyAEAD) Decrypt(ciphertext, associatedData []byte) ([]byte, error) {
	return a.DecryptWithContext(context.Background(), ciphertext, associatedData)
}

// EncryptWithContext encrypts up to 6 KiB under the key. The ciphertext is one of
// Manager.Encrypt, with the encryption context that ContextKey tells of.
func (a *KeyAEAD) EncryptWithContext(ctx context.Context, plaintext, associatedData []byte) ([]byte, error) {
	if a == nil || a.m == nil {
		return nil, errNoManager
	}
	return a.m.Encrypt(ctx, a.ref, plaintext, encryptionContext(associatedData))
}

// DecryptWithContext is Manager.DecryptWithKey: it opens what the key encrypted, under any of its
// versions, also in another system. What another key encrypted is kms.ErrCiphertext, even if that
// key would open it: a program that holds an AEAD of one key relies on that key's policy. A ref
// that names nothing is kms.ErrNotFound, and a key that is not Enabled refuses.
func (a *KeyAEAD) DecryptWithContext(ctx context.Context, ciphertext, associatedData []byte) ([]byte, error) {
	if a == nil || a.m == nil {
		return nil, errNoManager
	}
	plaintext, _, err := a.m.DecryptWithKey(ctx, a.ref, ciphertext, encryptionContext(associatedData))
	return plaintext, err
}

// encryptionContext is injective: hex is, and what is empty has no pair.
func encryptionContext(associatedData []byte) kms.EncryptionContext {
	if len(associatedData) == 0 {
		return nil
	}
	return kms.EncryptionContext{ContextKey: hex.EncodeToString(associatedData)}
}
