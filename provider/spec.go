package provider

import (
	"crypto"
	"slices"
)

// Spec names what kind of key it is, in the terms of the field.
type Spec string

// The specs. A provider need not offer all of them.
const (
	AES256  Spec = "AES_256"   // a symmetric key of 256 bits that encrypts and decrypts
	AES192  Spec = "AES_192"   // the same with 192 bits
	AES128  Spec = "AES_128"   // the same with 128 bits
	RSA2048 Spec = "RSA_2048"  // an RSA key that signs, or decrypts
	RSA3072 Spec = "RSA_3072"  // the same with 3072 bits
	RSA4096 Spec = "RSA_4096"  // the same with 4096 bits
	ECP256  Spec = "EC_P256"   // a key on NIST P-256 that signs
	ECP384  Spec = "EC_P384"   // a key on NIST P-384 that signs
	Ed25519 Spec = "ED25519"   // a key on Curve25519 that signs (RFC 8032)
	MLDSA65 Spec = "ML_DSA_65" // a key that signs and withstands quantum computers (FIPS 204)
	HMAC256 Spec = "HMAC_256"  // a key of 32 bytes that makes MACs
	HMAC384 Spec = "HMAC_384"  // a key of 48 bytes that makes MACs
	HMAC512 Spec = "HMAC_512"  // a key of 64 bytes that makes MACs
)

// Use says what one key is for.
type Use string

// The uses. Of the specs, RSA alone has two.
const (
	UseEncrypt Use = "ENCRYPT" // to encrypt and decrypt: AES
	UseSign    Use = "SIGN"    // to sign: RSA, EC, ED25519, ML_DSA
	UseDecrypt Use = "DECRYPT" // to decrypt what was encrypted under its public key: RSA
	UseMac     Use = "MAC"     // to make MACs: HMAC
)

var specUses = map[Spec][]Use{
	AES256: {UseEncrypt}, AES192: {UseEncrypt}, AES128: {UseEncrypt},
	RSA2048: {UseSign, UseDecrypt}, RSA3072: {UseSign, UseDecrypt}, RSA4096: {UseSign, UseDecrypt},
	ECP256: {UseSign}, ECP384: {UseSign}, Ed25519: {UseSign}, MLDSA65: {UseSign},
	HMAC256: {UseMac}, HMAC384: {UseMac}, HMAC512: {UseMac},
}

// Uses are the uses that keys of the spec can have; none for what is no spec.
func (s Spec) Uses() []Use { return slices.Clone(specUses[s]) }

// SigningAlgorithm says how a signature is made.
type SigningAlgorithm string

// The signing algorithms. A PSS signature has MGF1 with the same hash and a salt as long as
// the hash. An ECDSA signature is DER. The last two sign the message itself.
const (
	SignRSAPSSSHA256   SigningAlgorithm = "RSA_PSS_SHA_256"
	SignRSAPSSSHA384   SigningAlgorithm = "RSA_PSS_SHA_384"
	SignRSAPSSSHA512   SigningAlgorithm = "RSA_PSS_SHA_512"
	SignRSAPKCS1SHA256 SigningAlgorithm = "RSA_PKCS1_SHA_256"
	SignRSAPKCS1SHA384 SigningAlgorithm = "RSA_PKCS1_SHA_384"
	SignRSAPKCS1SHA512 SigningAlgorithm = "RSA_PKCS1_SHA_512"
	SignECDSASHA256    SigningAlgorithm = "ECDSA_SHA_256"
	SignECDSASHA384    SigningAlgorithm = "ECDSA_SHA_384"
	SignEd25519        SigningAlgorithm = "ED25519"
	SignMLDSA65        SigningAlgorithm = "ML_DSA_65"
)

var signingHashes = map[SigningAlgorithm]crypto.Hash{
	SignRSAPSSSHA256: crypto.SHA256, SignRSAPSSSHA384: crypto.SHA384, SignRSAPSSSHA512: crypto.SHA512,
	SignRSAPKCS1SHA256: crypto.SHA256, SignRSAPKCS1SHA384: crypto.SHA384, SignRSAPKCS1SHA512: crypto.SHA512,
	SignECDSASHA256: crypto.SHA256, SignECDSASHA384: crypto.SHA384,
	SignEd25519: 0, SignMLDSA65: 0,
}

// Hash is the hash whose digest of the message is signed; 0 where the message itself is. It
// reports false for what is no algorithm.
func (a SigningAlgorithm) Hash() (h crypto.Hash, known bool) {
	h, known = signingHashes[a]
	return h, known
}

// MacAlgorithm says how a MAC is made.
type MacAlgorithm string

// The MAC algorithms. A MAC is as long as the hash.
const (
	MacHMACSHA256 MacAlgorithm = "HMAC_SHA_256"
	MacHMACSHA384 MacAlgorithm = "HMAC_SHA_384"
	MacHMACSHA512 MacAlgorithm = "HMAC_SHA_512"
)
