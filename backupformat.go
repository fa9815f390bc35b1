package kms

import (
	"encoding/binary"
	"encoding/json"
	"io"
	"strings"
)

// In the frames of a backup stand items, each a byte that says what it is, the length (4) of
// its body, and the body:
//
//	1  instance key (32) | instance record, JSON       once, the first
//	5  the count of a hardware key, JSON               one for each that encrypted, ascending
//	2  key ID (36) | record, as the key store has it   one for each key, ascending
//	3  key ID (36) | name                              one for each alias of these keys, ascending
//	4  the closing, JSON                               once, the last
const (
	backupInstance = 1 + iota
	backupKey
	backupAlias
	backupEnd
	backupCount
)

// backupOrder is the order of items, by what they are; 0: no item.
var backupOrder = [256]int{backupInstance: 1, backupCount: 2, backupKey: 3, backupAlias: 4, backupEnd: 5}

// maxBackupItem bounds the body of an item, in bytes.
const maxBackupItem = maxRecord + 4096

const keyIDSize = 36 // of the text of a key ID

// A backupClosing says of what there was before it that it was all.
type backupClosing struct {
	Keys       int    `json:"keys"`
	Tombstones int    `json:"tombstones"`
	Aliases    int    `json:"aliases"`
	Tampered   int    `json:"tampered"`
	Digest     []byte `json:"digest"` // of the keys, as digest makes it
}

func writeBackupItem(w io.Writer, kind byte, head, rest []byte) error {
	var start [5]byte
	start[0] = kind
	binary.BigEndian.PutUint32(start[1:], uint32(len(head)+len(rest)))
	for _, part := range [][]byte{start[:], head, rest} {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// strictly fills v from JSON that says what json.Marshal writes, and no more.
func strictly(body []byte, v any) error {
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.DisallowUnknownFields()
	if d.Decode(v) != nil || d.InputOffset() != int64(len(body)) {
		return errRecord
	}
	return nil
}
