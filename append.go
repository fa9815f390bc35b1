package kms

import (
	"context"
	"unsafe"

	"github.com/keyhold/kms/internal/wire"
)

// Room is how many bytes AppendEncrypt and AppendDataKey add to what they encrypt, at most.
// AppendDecrypt takes as much as the ciphertext is long while it works.
const Room = wire.HeaderSize + wire.Overhead

// AppendEncrypt is Encrypt into a buffer of the caller: it appends the ciphertext to dst and
// returns the extended slice. Where dst has room for Room bytes more than the plaintext, and
// the key is of ProtectionSoftware, it allocates nothing. What dst holds stays as it is; the
// space behind it is overwritten, and may not overlap the plaintext (ErrInvalid). After an
// error that space holds nothing of the plaintext.
//
// By what the key is, it is refused with ErrBrownout, ErrDisabled, ErrInstanceExpired,
// ErrNotFound, ErrPendingDeletion, ErrPendingImport, ErrReadOnly and ErrUsage.
func (m *Manager) AppendEncrypt(ctx context.Context, dst []byte, ref string, plaintext []byte, ec EncryptionContext) (_ []byte, err error) {
	c := m.begin(OpEncrypt)
	defer c.end(ctx, &err)
	if overlap(dst, plaintext) {
		return nil, overlaps(c.op)
	}
	return m.encrypt(ctx, c, dst, ref, plaintext, ec)
}

// AppendDecrypt is Decrypt into a buffer of the caller: it appends the plaintext to dst and
// returns the extended slice. Where dst has room for as many bytes as the ciphertext has, and
// the key is of ProtectionSoftware, it allocates nothing. What dst holds stays as it is; the
// space behind it is overwritten, and may not overlap the ciphertext (ErrInvalid). After an
// error that space holds nothing of the plaintext.
//
// By what the key is, it is refused with ErrBrownout, ErrDisabled, ErrInstanceExpired,
// ErrNotFound, ErrPendingDeletion, ErrPendingImport, ErrRetired and ErrUsage.
func (m *Manager) AppendDecrypt(ctx context.Context, dst, ciphertext []byte, ec EncryptionContext) (_ []byte, err error) {
	c := m.begin(OpDecrypt)
	defer c.end(ctx, &err)
	if overlap(dst, ciphertext) {
		return nil, overlaps(c.op)
	}
	return m.decrypt(ctx, c, dst, ciphertext, ec)
}

// AppendDataKey is GenerateDataKey into buffers of the caller: it fills key, 1 to 1024 bytes,
// with a new data key, appends what is to be kept of it to dst and returns the extended
// slice, which Decrypt turns into the key again. Where dst has room for Room bytes more than
// the key, and the master key is of ProtectionSoftware, it allocates nothing. What dst holds
// stays as it is; it and the space behind it may not overlap the key (ErrInvalid). After an error
// the key is zeros, except where it was refused for its size or place. Wipe it after use.
//
// By what the key is, it is refused with ErrBrownout, ErrDisabled, ErrInstanceExpired,
// ErrNotFound, ErrPendingDeletion, ErrPendingImport, ErrReadOnly and ErrUsage.
func (m *Manager) AppendDataKey(ctx context.Context, dst []byte, ref string, key []byte, ec EncryptionContext) (_ []byte, err error) {
	c := m.begin(OpGenerateDataKey)
	defer c.end(ctx, &err)
	if err := checkDataKey(c.op, len(key)); err != nil {
		return nil, err
	}
	if overlap(dst[:0], key) {
		return nil, overlaps(c.op)
	}
	clear(key)
	return m.makeDataKey(ctx, c, dst, ref, key, ec)
}

// overlap tells whether what dst has behind its length shares memory with b.
func overlap(dst, b []byte) bool {
	spare := dst[len(dst):cap(dst)]
	if len(spare) == 0 || len(b) == 0 {
		return false
	}
	// Pointers into different objects have no order in Go, but their addresses do. Nothing is
	// read through them.
	s, t := uintptr(unsafe.Pointer(unsafe.SliceData(spare))), uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	return s < t+uintptr(len(b)) && t < s+uintptr(len(spare))
}

func overlaps(op Op) error {
	return invalid(op, "the space behind dst overlaps the input")
}
