package kms

import (
	"bufio"
	"context"
	"crypto/subtle"
	"encoding/binary"
	"io"
	"slices"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/xaes"
)

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
	b.in, err = deriveInstance(b.rec.ID, b.rec.Store, 0, b.instanceKey())
	return b, err
}

// A backupVisitor is told of what is in a backup. Nil: it is not.
type backupVisitor struct {
	count func(*allowanceRecord) error
	key   func(*record) error
	alias func(Alias) error
}

// each tells of all that is in a backup, in its order, and returns what there was.
func (b *backupReader) each(ctx context.Context, told backupVisitor) (BackupInfo, error) {
	defer b.wipe()
	info := BackupInfo{Instance: b.rec.ID, Name: b.rec.Name, At: b.header.At}
	var ids []keyID // of the keys so far, ascending
	var lastCount keyID
	sum, lastAlias := newDigest(), ""
	for last := byte(backupInstance); ; {
		if ctx.Err() != nil {
			return info, unavailable(b.op, "", "", context.Cause(ctx))
		}
		kind, body, err := b.next()
		if err != nil {
			return info, err
		}
		if backupOrder[kind] < backupOrder[last] || kind == backupInstance {
			return info, b.bad("an item that does not belong there")
		}
		last = kind
		switch kind {
		case backupCount:
			count, err := b.count(body)
			switch {
			case err != nil:
				return info, err
			case lastCount.compare(count.Key) >= 0:
				return info, b.bad("its counts are not in order")
			}
			lastCount = count.Key
			if err := tell(told.count, count); err != nil {
				return info, err
			}
		case backupKey:
			r, err := b.record(body)
			switch {
			case err != nil:
				return info, err
			case len(ids) > 0 && ids[len(ids)-1].compare(r.ID) >= 0:
				return info, b.bad("its keys are not in order")
			}
			ids = append(ids, r.ID)
			sum.add(r.id(), body[keyIDSize:])
			info.count(r)
			if err := tell(told.key, r); err != nil {
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
			if err := tell(told.alias, a); err != nil {
				return info, err
			}
		case backupEnd:
			return b.close(info, sum, body)
		}
	}
}

func tell[T any](who func(T) error, what T) error {
	if who == nil {
		return nil
	}
	return who(what)
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
