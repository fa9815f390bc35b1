package provider

import "context"

// What an opened Key of another spec than AES can do. Of such a Key, Encrypt and Decrypt
// are ErrUnsupported; so is here every algorithm that is not of its spec. No method may
// modify its inputs, nor keep them.

// DataKeyGenerator is the ability of keys that encrypt to make a random key and encrypt it in
// one step: with randomness of their own, or with one read of it for key and nonce.
type DataKeyGenerator interface {
	// GenerateDataKey fills key, up to 1 KiB, with random bytes, and appends to dst what
	// Encrypt could have appended for them.
	GenerateDataKey(ctx context.Context, dst, key, associatedData []byte) ([]byte, error)
}

// Signer is the ability of keys that sign: RSA, EC, ED25519, ML_DSA.
//
// The input is the digest of the message, by the hash of the algorithm, or where that has
// none the message itself, up to 64 KiB. A digest of another length is ErrUnsupported.
type Signer interface {
	// PublicKey returns the SubjectPublicKeyInfo of the key, in DER.
	PublicKey(ctx context.Context) ([]byte, error)

	// Sign returns the signature of the input.
	Sign(ctx context.Context, alg SigningAlgorithm, input []byte) ([]byte, error)

	// Verify returns nil for what is a signature of the input by this key, and ErrSignature
	// for all else.
	Verify(ctx context.Context, alg SigningAlgorithm, input, signature []byte) error
}

// AsymmetricDecrypter is the ability of keys that decrypt what was encrypted under their
// public key: RSA.
type AsymmetricDecrypter interface {
	// PublicKey returns the SubjectPublicKeyInfo of the key, in DER.
	PublicKey(ctx context.Context) ([]byte, error)

	// DecryptOAEP opens a ciphertext of RSAES-OAEP with SHA-256, MGF1 with SHA-256 and no
	// label (RFC 8017). All that can be wrong with it is ErrCiphertext.
	DecryptOAEP(ctx context.Context, ciphertext []byte) ([]byte, error)
}

// MAC is the ability of keys that make MACs: HMAC. A message has up to 64 KiB.
type MAC interface {
	// GenerateMac returns the MAC of the message, as long as the hash.
	GenerateMac(ctx context.Context, alg MacAlgorithm, message []byte) ([]byte, error)

	// VerifyMac returns nil for the MAC of the message by this key, and ErrSignature for all
	// else.
	VerifyMac(ctx context.Context, alg MacAlgorithm, message, mac []byte) error
}
