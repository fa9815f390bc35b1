package kms

import (
	"bufio"
	"context"
	"crypto/subtle"
	"encoding/binary"
	"encoding/json"
	"io"
	"slices"
	"strings"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/xaes"
)

// In the frames of a backup stand items, each a byte that says what it is, the length (4) of
// its body, and the body:
//
//	1  instance key (32) | instance record, JSON       once, the first
//	2  key ID (36) | record, as the key store has it   one for each key, ascending
//	3  key ID (36) | name                              one for each alias of these keys, ascending
//	4  the closing, JSON                               once, the last
const (
	backupInstance = 1 + iota
	backupKey
	backupAlias
	backupEnd
)

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

// A backupReader reads a backup once, from the instance to the closing, and checks all of it:
// what it yields is authentic, but that it is complete is known at the end alone.
type backupReader struct {
	op     Op
	header *backupHeader
	frames *frameReader
	body   []byte

	rec         instanceRecord
	in          *instance     // as it was, in the key store that it was in
	instanceKey func() []byte // of in; the caller wipes it
	wipe        func()
}

// openBackup begins to read a backup, behind its header.
func openBackup(op Op, h *backupHeader, key *xaes.Key, r *bufio.Reader) (*backupReader, error) {
	b := &backupReader{op: op, header: h, frames: newFrameReader(r, key, h)}
	kind, body, err := b.next()
	if err != nil {
		return nil, err
	}
	if kind != backupInstance || len(body) < 32 {
		return nil, b.bad("it does not begin with an instance")
	}
	if strictly(body[32:], &b.rec) != nil || !b.rec.sound(h) {
		return nil, b.bad("the record of the instance")
	}
	key32 := slices.Clone(body[:32])
	clear(body)
	b.instanceKey = func() []byte { return slices.Clone(key32) }
	b.wipe = func() { clear(key32); b.frames.wipe() }
	b.in, err = deriveInstance(b.rec.ID, b.rec.Store, b.instanceKey())
	return b, err
}

// each yields the keys and then the aliases, and tells what there was.
func (b *backupReader) each(ctx context.Context, key func(*record) error, alias func(Alias) error) (BackupInfo, error) {
	defer b.wipe()
	info := BackupInfo{Instance: b.rec.ID, Name: b.rec.Name, At: b.header.At}
	var ids []keyID // of the keys so far, ascending
	sum, lastAlias := newDigest(), ""
	for last := byte(backupInstance); ; {
		if ctx.Err() != nil {
			return info, unavailable(b.op, "", "", context.Cause(ctx))
		}
		kind, body, err := b.next()
		if err != nil {
			return info, err
		}
		if kind < last || kind == backupInstance {
			return info, b.bad("its items are not in order")
		}
		last = kind
		switch kind {
		case backupKey:
			r, err := b.record(body)
			switch {
			case err != nil:
				return info, err
			case len(ids) > 0 && ids[len(ids)-1].compare(r.ID) >= 0:
				return info, b.bad("its keys are not in order")
			}
			ids = append(ids, r.ID)
			sum.add(r.text, body[keyIDSize:])
			info.count(r)
			if err := key(r); err != nil {
				return info, err
			}
		case backupAlias:
			a, err := b.alias(body, ids)
			switch {
			case err != nil:
				return info, err
			case a.Name <= lastAlias:
				return info, b.bad("its aliases are not in order")
			}
			lastAlias = a.Name
			info.Aliases++
			if err := alias(a); err != nil {
				return info, err
			}
		case backupEnd:
			return b.close(info, sum, body)
		default:
			return info, b.bad("an item of an unknown kind")
		}
	}
}

// close compares the closing with what there was.
func (b *backupReader) close(info BackupInfo, sum digest, body []byte) (BackupInfo, error) {
	var end backupClosing
	if strictly(body, &end) != nil || end.Keys != info.Keys || end.Tombstones != info.Tombstones ||
		end.Aliases != info.Aliases || end.Tampered < 0 || subtle.ConstantTimeCompare(end.Digest, sum.Sum(nil)) != 1 {
		return info, b.bad("its closing is not that of its items")
	}
	info.Tampered = end.Tampered
	if _, err := b.frames.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		return info, b.bad("something follows its closing")
	}
	return info, nil
}

// next reads an item. The body is good until the next call.
func (b *backupReader) next() (kind byte, body []byte, err error) {
	var start [5]byte
	if _, err := io.ReadFull(b.frames, start[:]); err != nil {
		return 0, nil, b.unread(err)
	}
	n := int(binary.BigEndian.Uint32(start[1:]))
	if n > maxBackupItem {
		return 0, nil, b.bad("an item is too long")
	}
	b.body = slices.Grow(b.body[:0], n)[:n]
	if _, err := io.ReadFull(b.frames, b.body); err != nil {
		return 0, nil, b.unread(err)
	}
	return start[0], b.body, nil
}

// record reads a key, and opens all that is sealed in it.
func (b *backupReader) record(body []byte) (*record, error) {
	if len(body) < keyIDSize {
		return nil, b.bad("a key")
	}
	text := string(body[:keyIDSize])
	id, ok := parseKeyID(text)
	if !ok {
		return nil, b.bad("the ID of a key")
	}
	r, err := b.in.decodeRecord(id, text, body[keyIDSize:])
	if err != nil || !r.sound() {
		return nil, badBackup(b.op, b.rec.ID, "the record of the key "+text, nil)
	}
	return r, nil
}

// alias reads an alias of one of the keys.
func (b *backupReader) alias(body []byte, ids []keyID) (Alias, error) {
	if len(body) < keyIDSize {
		return Alias{}, b.bad("an alias")
	}
	a := Alias{KeyID: string(body[:keyIDSize]), Name: string(body[keyIDSize:])}
	id, ok := parseKeyID(a.KeyID)
	if _, known := slices.BinarySearchFunc(ids, id, keyID.compare); !ok || !known || !validAlias(a.Name) {
		return Alias{}, b.bad("an alias")
	}
	return a, nil
}

func (b *backupReader) bad(text string) error { return badBackup(b.op, b.header.Instance, text, nil) }

func (b *backupReader) unread(err error) error {
	if errors.Is(err, errFrame) {
		return b.bad("a frame was changed, or is not the one that belongs there")
	}
	return backupUnread(b.op, b.header.Instance, err)
}

// count counts the record of a key.
func (info *BackupInfo) count(r *record) {
	info.Keys++
	if !r.DestroyedAt.IsZero() {
		info.Tombstones++
	}
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
