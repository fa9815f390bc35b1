package kms

import (
	"bufio"
	"context"
	"crypto/subtle"
	"encoding/binary"
	"io"
	"slices"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/frames"
	"github.com/keyhold/kms/internal/keyid"
	"github.com/keyhold/kms/internal/sealing"
	"github.com/keyhold/kms/internal/xaes"
)

// The frames of a backup hold items, each a byte that says what it is, the length (4) of its body, and
// the body:
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
const maxBackupItem = sealing.MaxBody + 4096

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
	frames *frames.Reader
	body   []byte

	rec         instanceRecord
	keys        *sealing.Keys // as it was, in the key store that it was in
	instanceKey func() []byte // that keys are derived from; the caller wipes it; nil after wipe
	wipe        func()
}

// openBackup begins to read a backup, behind its header.
func openBackup(op Op, h *backupHeader, key *xaes.Key, r *bufio.Reader) (*backupReader, error) {
	b := &backupReader{op: op, header: h, frames: frames.NewReader(r, key, h.hash())}
	kind, body, err := b.next()
	if err != nil {
		return nil, err
	}
	if kind != backupInstance || len(body) < sealing.KeySize {
		return nil, b.bad("it does not begin with an instance")
	}
	if sealing.Strictly(body[sealing.KeySize:], &b.rec) != nil || !b.rec.sound(h) {
		return nil, b.bad("the record of the instance")
	}
	key32 := slices.Clone(body[:sealing.KeySize])
	clear(body)
	b.instanceKey = func() []byte { return slices.Clone(key32) }
	b.wipe = func() { clear(key32); key32 = nil; b.frames.Wipe() }
	b.keys, err = sealing.Derive(b.rec.ID, b.rec.Store, 0, b.instanceKey())
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
	var ids []keyid.ID // of the keys so far, ascending
	var counts []counted
	services := map[keyid.ID]string{} // whose keys they are
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
		if last = kind; backupOrder[kind] > backupOrder[backupKey] && len(counts) > 0 {
			return info, b.bad("the count of no key")
		}
		switch kind {
		case backupCount:
			count, err := b.count(body)
			switch {
			case err != nil:
				return info, err
			case len(counts) > 0 && counts[len(counts)-1].key.Compare(count.Key) >= 0:
				return info, b.bad("its counts are not in order")
			}
			counts = append(counts, count.counted())
			if err := tell(told.count, count); err != nil {
				return info, err
			}
		case backupKey:
			r, err := b.record(body)
			switch {
			case err != nil:
				return info, err
			case len(ids) > 0 && ids[len(ids)-1].Compare(r.ID) >= 0:
				return info, b.bad("its keys are not in order")
			case len(counts) > 0 && counts[0].key == r.ID:
				if !r.encrypted(counts[0].last) {
					return info, b.bad("the count of a key that has none")
				}
				counts = counts[1:]
			}
			if ids = append(ids, r.ID); r.Owner == OwnerService {
				services[r.ID] = r.Service
			}
			sum.addKey(r.id(), body[keyIDSize:])
			info.count(r)
			if err := tell(told.key, r); err != nil {
				return info, err
			}
		case backupAlias:
			a, err := b.alias(body, ids, services)
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
	if sealing.Strictly(body, &end) != nil || end.Keys != info.Keys || end.Tombstones != info.Tombstones ||
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
	id, ok := keyid.Parse(text)
	if !ok {
		return nil, b.bad("the ID of a key")
	}
	r, err := decodeRecord(b.keys, id, text, body[keyIDSize:])
	if err != nil || !r.sound(&b.rec) {
		return nil, badBackup(b.op, b.rec.ID, "the record of the key "+text, nil)
	}
	return r, nil
}

// alias reads an alias of one of the keys, of which some are services'.
func (b *backupReader) alias(body []byte, ids []keyid.ID, services map[keyid.ID]string) (Alias, error) {
	if len(body) < keyIDSize {
		return Alias{}, b.bad("an alias")
	}
	a := Alias{KeyID: string(body[:keyIDSize]), Name: string(body[keyIDSize:])}
	id, ok := keyid.Parse(a.KeyID)
	if _, known := slices.BinarySearchFunc(ids, id, keyid.ID.Compare); !ok || !known || checkName(b.op, a.Name, b.rec.ID, services[id]) != nil {
		return Alias{}, b.bad("an alias")
	}
	return a, nil
}

func (b *backupReader) bad(text string) error { return badBackup(b.op, b.header.Instance, text, nil) }

func (b *backupReader) unread(err error) error {
	if errors.Is(err, frames.Err) {
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

// VerifyBackup reads a backup to its end, opens everything that is sealed in it, checks that the
// API could have made all of it, and reports what it holds: the drill of a restore, without a Manager. Whatever is wrong with it is
// ErrBackup: it was changed, cut short, put together from several, or is for another
// recipient. It brings nothing back. What it keeps in memory is 16 bytes for each key.
func VerifyBackup(ctx context.Context, r io.Reader, recipient Root) (BackupInfo, error) {
	const op = opVerifyBackup
	if absent(r) || absent(recipient) {
		return BackupInfo{}, invalid(op, "the reader or the recipient is nil")
	}
	if err := checkContext(ctx, op); err != nil {
		return BackupInfo{}, err
	}
	buffered := bufio.NewReaderSize(frames.StrictReader(r), frames.Size)
	h, err := readBackupHeader(op, buffered)
	if err != nil {
		return BackupInfo{}, err
	}
	key, err := h.open(op, recipient)
	if err != nil {
		return BackupInfo{}, err
	}
	b, err := openBackup(op, h, key, buffered)
	if err != nil {
		return BackupInfo{}, err
	}
	info, err := b.each(ctx, backupVisitor{})
	if err != nil {
		return BackupInfo{}, ended(ctx, err)
	}
	return info, nil
}
