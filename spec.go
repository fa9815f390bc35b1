package kms

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/keyhold/kms/internal/wrapping"
	"github.com/keyhold/kms/provider"
)

// Spec says what kind of key it is.
type Spec = provider.Spec

// The specs.
const (
	SpecAES256  = provider.AES256  // a symmetric key of 256 bits that encrypts and makes data keys
	SpecAES192  = provider.AES192  // the same with 192 bits, in hardware alone
	SpecAES128  = provider.AES128  // the same with 128 bits, in hardware alone
	SpecRSA2048 = provider.RSA2048 // an RSA key that signs, or decrypts
	SpecRSA3072 = provider.RSA3072 // the same with 3072 bits
	SpecRSA4096 = provider.RSA4096 // the same with 4096 bits
	SpecECP256  = provider.ECP256  // a key on NIST P-256 that signs
	SpecECP384  = provider.ECP384  // a key on NIST P-384 that signs
	SpecEd25519 = provider.Ed25519 // a key on Curve25519 that signs
	SpecMLDSA65 = provider.MLDSA65 // a key that signs and withstands quantum computers
	SpecHMAC256 = provider.HMAC256 // a key that makes MACs with SHA-256
	SpecHMAC384 = provider.HMAC384 // a key that makes MACs with SHA-384
	SpecHMAC512 = provider.HMAC512 // a key that makes MACs with SHA-512
)

// Usage says what a key is for. A key has one, for ever.
type Usage string

// The usages.
const (
	UsageEncryptDecrypt    Usage = "ENCRYPT/DECRYPT"     // encrypting; for AES data keys as well
	UsageSignVerify        Usage = "SIGN/VERIFY"         // signing
	UsageGenerateVerifyMac Usage = "GENERATE/VERIFY_MAC" // making MACs
)

// SigningAlgorithm says how a signature is made.
type SigningAlgorithm = provider.SigningAlgorithm

// The signing algorithms. A PSS signature has MGF1 with the same hash and a salt as long as
// the hash. An ECDSA signature is DER.
const (
	SignRSAPSSSHA256   = provider.SignRSAPSSSHA256
	SignRSAPSSSHA384   = provider.SignRSAPSSSHA384
	SignRSAPSSSHA512   = provider.SignRSAPSSSHA512
	SignRSAPKCS1SHA256 = provider.SignRSAPKCS1SHA256
	SignRSAPKCS1SHA384 = provider.SignRSAPKCS1SHA384
	SignRSAPKCS1SHA512 = provider.SignRSAPKCS1SHA512
	SignECDSASHA256    = provider.SignECDSASHA256
	SignECDSASHA384    = provider.SignECDSASHA384
	SignEd25519        = provider.SignEd25519
	SignMLDSA65        = provider.SignMLDSA65
)

// MacAlgorithm says how a MAC is made.
type MacAlgorithm = provider.MacAlgorithm

// The MAC algorithms. A MAC is as long as the hash.
const (
	MacHMACSHA256 = provider.MacHMACSHA256
	MacHMACSHA384 = provider.MacHMACSHA384
	MacHMACSHA512 = provider.MacHMACSHA512
)

// A purpose is what a key is for, as operations see it: its usage, with the two ways to
// encrypt told apart. In a row of the lifecycle table it may be several.
type purpose uint8

const (
	forSealing purpose = 1 << iota // symmetric encryption: the only keys that are rotated
	forSigning
	forMacs
	forOpening // what was encrypted under a public key

	forPublicKey = forSigning | forOpening
)

// use is a purpose in the provider's words.
func (p purpose) use() provider.Use {
	return map[purpose]provider.Use{
		forSealing: provider.UseEncrypt, forSigning: provider.UseSign, forOpening: provider.UseDecrypt, forMacs: provider.UseMac,
	}[p]
}

// A specRow is what the keys of a spec can be, and do.
type specRow struct {
	uses     []specUse     // the first is the default
	material wrapping.Form // what is imported
	inHSM    bool          // there are hardware keys of the spec, and no software keys
}

type specUse struct {
	usage   Usage
	purpose purpose
}

// The rows that several specs share.
var (
	seals   = specUse{UsageEncryptDecrypt, forSealing}
	signs   = specUse{UsageSignVerify, forSigning}
	opens   = specUse{UsageEncryptDecrypt, forOpening}
	makes   = specUse{UsageGenerateVerifyMac, forMacs}
	rsaSpec = []specUse{signs, opens}
)

// specs is all that is decided by a spec.
var specs = map[Spec]specRow{
	SpecAES256:  {uses: []specUse{seals}, material: wrapping.Form{Bytes: 32}},
	SpecAES192:  {uses: []specUse{seals}, material: wrapping.Form{Bytes: 24}, inHSM: true},
	SpecAES128:  {uses: []specUse{seals}, material: wrapping.Form{Bytes: 16}, inHSM: true},
	SpecRSA2048: {uses: rsaSpec, material: wrapping.Form{RSABits: 2048}},
	SpecRSA3072: {uses: rsaSpec, material: wrapping.Form{RSABits: 3072}},
	SpecRSA4096: {uses: rsaSpec, material: wrapping.Form{RSABits: 4096}},
	SpecECP256:  {uses: []specUse{signs}, material: wrapping.Form{Curve: "P-256"}},
	SpecECP384:  {uses: []specUse{signs}, material: wrapping.Form{Curve: "P-384"}},
	SpecEd25519: {uses: []specUse{signs}, material: wrapping.Form{Curve: "Ed25519"}},
	SpecMLDSA65: {uses: []specUse{signs}, material: wrapping.Form{}},
	SpecHMAC256: {uses: []specUse{makes}, material: wrapping.Form{Bytes: 32}},
	SpecHMAC384: {uses: []specUse{makes}, material: wrapping.Form{Bytes: 48}},
	SpecHMAC512: {uses: []specUse{makes}, material: wrapping.Form{Bytes: 64}},
}

// algorithms are the specs that an algorithm is of.
var (
	rsaSpecs = []Spec{SpecRSA2048, SpecRSA3072, SpecRSA4096}

	signingSpecs = map[SigningAlgorithm][]Spec{
		SignRSAPSSSHA256: rsaSpecs, SignRSAPSSSHA384: rsaSpecs, SignRSAPSSSHA512: rsaSpecs,
		SignRSAPKCS1SHA256: rsaSpecs, SignRSAPKCS1SHA384: rsaSpecs, SignRSAPKCS1SHA512: rsaSpecs,
		SignECDSASHA256: {SpecECP256}, SignECDSASHA384: {SpecECP384},
		SignEd25519: {SpecEd25519}, SignMLDSA65: {SpecMLDSA65},
	}
	macSpecs = map[MacAlgorithm]Spec{
		MacHMACSHA256: SpecHMAC256, MacHMACSHA384: SpecHMAC384, MacHMACSHA512: SpecHMAC512,
	}
)

// imports reports whether keys of the spec take material of their owner.
func (row specRow) imports() bool { return row.material != (wrapping.Form{}) }

// livesIn reports whether there are keys of the spec at a protection level.
func (row specRow) livesIn(level Protection) bool { return !row.inHSM || level == ProtectionHSM }

// use finds what a key of that spec and usage is for. The zero usage is the spec's default.
func (row specRow) use(u Usage) (specUse, bool) {
	i := slices.IndexFunc(row.uses, func(s specUse) bool { return u == s.usage || u == "" })
	if i < 0 {
		return specUse{}, false
	}
	return row.uses[i], true
}

// purpose is what the key of a record is for; 0 where this version knows no such key.
func (r *record) purpose() purpose {
	use, _ := specs[r.Spec].use(r.Usage)
	return use.purpose
}

// choose settles spec and usage of a new key.
func (o CreateKeyOptions) choose(op Op) (Spec, specUse, error) {
	spec := cmp.Or(o.Spec, SpecAES256)
	row, ok := specs[spec]
	if !ok {
		return "", specUse{}, unsupported(op, "", "the spec is none that there is", "Choose one of "+listed(slices.Collect(maps.Keys(specs)))+".")
	}
	use, ok := row.use(o.Usage)
	if !ok {
		var usages []Usage
		for _, use := range row.uses {
			usages = append(usages, use.usage)
		}
		return "", specUse{}, unsupported(op, "", "keys of the spec "+string(spec)+" have no such usage", "Choose a usage of the spec: "+listed(usages)+".")
	}
	if o.Origin == OriginExternal && !row.imports() {
		return "", specUse{}, unsupported(op, "", "keys of the spec "+string(spec)+" are not imported", "Create the key with OriginKMS, or choose another spec.")
	}
	return spec, use, nil
}

// algorithmsOf and macsOf are the algorithms of a spec, and listed is what there is to choose from.
func algorithmsOf(spec Spec) (of []SigningAlgorithm) {
	for alg, all := range signingSpecs {
		if slices.Contains(all, spec) {
			of = append(of, alg)
		}
	}
	return of
}

func macsOf(spec Spec) (of []MacAlgorithm) {
	for alg, one := range macSpecs {
		if one == spec {
			of = append(of, alg)
		}
	}
	return of
}

func listed[T ~string](all []T) string {
	var texts []string
	for _, one := range all {
		texts = append(texts, string(one))
	}
	slices.Sort(texts)
	return strings.Join(texts, ", ")
}
