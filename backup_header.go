package kms

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"io"
	"time"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/sealing"
	"github.com/keyhold/kms/internal/xaes"
)

// backupMagic begins a backup; its last byte is the version of the format.
const backupMagic = "KEYHOLD\x01"

// A backupHeader begins a backup, in the clear:
//
//	"KEYHOLD" | 0x01 | length (4) | facts | length (4) | backup key | frames
//
// Lengths are big-endian. The facts are JSON. The backup key is 32 random bytes, sealed by
// the recipient's root for just these facts; it seals the frames.
type backupHeader struct {
	Store    []byte    `json:"store"`    // the key store's ID
	Instance string    `json:"instance"` // the instance's ID
	At       time.Time `json:"at"`       // when the backup was begun
	facts    []byte    // these, as they stand in the backup
	sealed   []byte    // the backup key
}

// Bounds of a header's parts, in bytes.
const (
	maxFacts     = 1 << 10
	maxBackupKey = 16 << 10
)

// newBackupHeader makes a header and its backup key, sealed by the recipient.
func newBackupHeader(op Op, keys *sealing.Keys, at time.Time, recipient Root) (*backupHeader, *xaes.Key, error) {
	h := &backupHeader{Store: keys.StoreID(), Instance: keys.ID(), At: at}
	key := randomBytes(xaes.KeySize)
	defer clear(key)
	var err error
	if h.facts, err = json.Marshal(h); err != nil {
		return nil, nil, badDate(op)
	}
	opened, err := xaes.New(key)
	if err == nil {
		h.sealed, err = sealUnder(recipient, key, backupKeyContext(h.facts))
	}
	if err == nil && len(h.sealed) > maxBackupKey {
		err = errors.New("kms: the recipient's seal is too long")
	}
	if err != nil {
		return nil, nil, &refusal{op: op, inst: keys.ID(), cond: ErrRoot, text: "sealing the backup key", cause: err,
			hint: "Give a recipient that can be reached, and that opens what it seals."}
	}
	return h, opened, nil
}

// backupKeyContext is the associated data under which a recipient seals a backup key.
func backupKeyContext(facts []byte) []byte {
	return sealing.Join([]byte("keyhold backup key v1"), facts)
}

// encode is the header as it stands in a backup.
func (h *backupHeader) encode() []byte {
	return append([]byte(backupMagic), sealing.Join(h.facts, h.sealed)...)
}

// hash stands for the header in the associated data of every frame.
func (h *backupHeader) hash() [sha256.Size]byte { return sha256.Sum256(h.encode()) }

// readBackupHeader reads a header. Nothing of it is authentic before the recipient has
// opened it.
func readBackupHeader(op Op, r io.Reader) (*backupHeader, error) {
	magic := make([]byte, len(backupMagic))
	if _, err := io.ReadFull(r, magic); err != nil {
		return nil, backupUnread(op, "", err)
	}
	switch {
	case !bytes.Equal(magic[:7], []byte(backupMagic[:7])):
		return nil, badBackup(op, "", "it does not begin as one", nil)
	case string(magic) != backupMagic:
		return nil, badBackup(op, "", "it is of another version of the format", nil)
	}
	h := new(backupHeader)
	var err error
	if h.facts, err = readPart(op, r, maxFacts); err != nil {
		return nil, err
	}
	if h.sealed, err = readPart(op, r, maxBackupKey); err != nil {
		return nil, err
	}
	if json.Unmarshal(h.facts, h) != nil || len(h.Store) != 16 || !validInstanceID(h.Instance) {
		return nil, badBackup(op, "", "its header", nil)
	}
	if again, err := json.Marshal(h); err != nil || !bytes.Equal(again, h.facts) {
		return nil, badBackup(op, "", "its header", nil)
	}
	return h, nil
}

// readPart reads what stands behind its length, up to most bytes.
func readPart(op Op, r io.Reader, most uint32) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, backupUnread(op, "", err)
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > most {
		return nil, badBackup(op, "", "its header", nil)
	}
	part := make([]byte, n)
	if _, err := io.ReadFull(r, part); err != nil {
		return nil, backupUnread(op, "", err)
	}
	return part, nil
}

// open opens the backup key with the recipient's root.
func (h *backupHeader) open(op Op, recipient Root) (*xaes.Key, error) {
	key, err := recipient.Decrypt(h.sealed, backupKeyContext(h.facts))
	defer clear(key)
	var opened *xaes.Key
	if err == nil {
		opened, err = xaes.New(key)
	}
	if err != nil {
		return nil, badBackup(op, h.Instance, "it is for another recipient, or its header was changed", err)
	}
	return opened, nil
}

// badBackup is what everything answers that is wrong with a backup.
func badBackup(op Op, instance, text string, cause error) error {
	return refuseInstance(op, instance, ErrBackup, text, cause)
}

// backupUnread is what a reader's error says to callers. The end of what there is to read is
// no error of the reader but damage.
func backupUnread(op Op, instance string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return badBackup(op, instance, "it is cut short", nil)
	}
	return unavailable(op, "", "reading the backup", err)
}

// newOtherInstanceKey is what a backup answers that would put another instance key in the place of
// the one that all stands under which is still here of a released instance.
func newOtherInstanceKey(op Op, rec *instanceRecord) error {
	made, which := "", "a backup that was made of the instance in this key store"
	if !rec.KeyedAt.IsZero() {
		made, which = ", made by Shred at "+instant(rec.KeyedAt), "a backup that was made after "+instant(rec.KeyedAt)
	}
	return &refusal{op: op, inst: rec.ID, cond: ErrBackup, text: "this key store holds the instance under another instance key" + made,
		hint: "Give " + which + ". This one can be restored into another key store."}
}
