// Package hsm is the provider of hardware keys: keys that are made in a token behind a PKCS#11
// module, never leave it, and do all their work there. It is for programs that set up the key
// management service; they use keys through package kms.
//
//	token, err := hsm.Open(ctx, hsm.Config{Module: "/usr/lib/softhsm/libsofthsm2.so", TokenLabel: "kms", PIN: pin})
//	m, err := kms.Open(ctx, kms.Config{Store: store, Root: root, HSM: token})
//
// The material of a hardware key is a reference: it names the object in the token and holds its
// public half. A Token can also be the root of a key store, see Token.Root.
//
// # What a token must have
//
// AES_256 needs AES-GCM. What the token has not is refused with provider.ErrUnsupported when a
// key is to be made. A key can be used, and not read, wrapped, copied, or used for anything else;
// that is asked for when it is made and read back, and a key that is not so is destroyed again.
// The first Open makes one small key in the token, the witness ("keyhold-witness"): only while that
// is seen is a key that is not seen believed to be gone. Do not destroy it.
//
// Where the token has no OAEP with SHA-256, as SoftHSM 2.6, RSA keys decrypt with the bare RSA
// operation and the padding is checked here, in constant time. The padded plaintext is in host
// memory then, as the plaintext is in any case.
//
// # What happens to errors
//
// Modules fail in many ways. Whatever cannot be told apart is provider.ErrUnavailable, and makes
// the next call connect anew; what can be repeated was repeated once by then. An Error says what
// the module answered. ErrCredentials is never repeated by itself: tokens lock a PIN that is wrong
// too often.
//
// A call that has to wait returns when its context ends. Nothing can interrupt a module that
// hangs: it keeps the ticket of that call, and the others go on with the rest. Making and
// destroying a key takes all tickets, since tokens lose objects that are made side by side.
//
// # Limits
//
// Imported material is in the host's memory while it is imported. Destroying a key removes the
// object from the token; copies that were made of the whole token are beyond its reach. A login is
// of the whole process: while one Token is logged in, another is opened without a look at its PIN.
// Two Tokens on one module share what the module shares: it is loaded anew only when both
// have let go of it. A module that crashes takes the process with it. A ciphertext that is refused
// leaks a few kilobytes of C memory in github.com/miekg/pkcs11 1.1.2: who takes ciphertexts from
// strangers should limit their rate.
//
// Without cgo the package is there, and every call is provider.ErrUnsupported.
package hsm
