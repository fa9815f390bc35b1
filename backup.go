package kms

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"hash"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/frames"
	"github.com/keyhold/kms/internal/keyid"
	"github.com/keyhold/kms/internal/sealing"
	"github.com/keyhold/kms/keystore"
)

// BackupOptions may be nil.
type BackupOptions struct {
	// Progress is called now and then with how many keys were done, and at the end.
	Progress func(keys int)
}

// BackupInfo tells what a backup holds.
type BackupInfo struct {
	Instance   string    // the ID of the instance
	Name       string    // and its name
	At         time.Time // when it was begun: what was changed since may not be in it
	Keys       int       // of the instance, those that were deleted too
	Tombstones int       // of these, the keys of which nothing is left but that they were
	Aliases    int       // of the keys
	Tampered   int       // records that are not in it, because somebody had changed them
}

// BackupInstance writes all of an instance to w: its keys, tombstones and aliases, and the
// instance key. It is sealed for a recipient, a root that should be another than the Manager's
// own and is kept elsewhere: whoever has the backup and the recipient has the keys. What is known
// of their use is not in it.
//
// It is streamed: what it keeps in memory is 16 bytes for each key. W has to take all that it is
// given: a short write is io.ErrShortWrite, wrapped in ErrUnavailable. Every key is in it as it was at
// some moment since At. It works while the instance is Expired, and as long as its key was
// not destroyed, so in Config.OnRelease, too; else it is ErrNotFound. Keys in hardware stay
// there: the backup leads to them, and does not hold them.
//
// When it has returned nil, w was given a whole backup, and ReleaseInstance takes it for one
// until the instance, a key or an alias is changed. To be sure of what arrived, read it again with VerifyBackup.
func (m *Manager) BackupInstance(ctx context.Context, id string, w io.Writer, recipient Root, opts *BackupOptions) (_ BackupInfo, err error) {
	c := m.begin(OpBackupInstance)
	defer c.end(ctx, &err)
	if absent(w) || absent(recipient) {
		return BackupInfo{}, invalid(c.op, "the writer or the recipient is nil")
	}
	rec, err := m.namedInstance(ctx, c, id)
	if err != nil {
		return BackupInfo{}, err
	}
	if rec.destroyed() {
		return BackupInfo{}, instanceGone(c.op, id)
	}
	key, former, err := rec.unseal(c.op, m.roots())
	if err != nil {
		return BackupInfo{}, err
	}
	defer clear(key)
	clear(former)
	keys, err := rec.open(c.op, m.roots())
	if err != nil {
		return BackupInfo{}, err
	}
	w = frames.StrictWriter(w)
	header, sealer, err := newBackupHeader(c.op, keys, c.now(), recipient)
	if err != nil {
		return BackupInfo{}, err
	}
	if _, err := w.Write(header.encode()); err != nil {
		return BackupInfo{}, unwritten(c, err)
	}
	b := &backupWriter{m: m, c: c, keys: keys, frames: frames.NewWriter(w, sealer, header.hash()), sum: newDigest(), progress: progress(opts)}
	defer b.frames.Wipe()
	b.info = BackupInfo{Instance: rec.ID, Name: rec.Name, At: header.At}
	if err := b.write(ctx, rec, key); err != nil {
		return BackupInfo{}, err
	}
	return b.info, m.markBackup(ctx, c, id, backupMark{At: header.At, Digest: b.sum.Sum(nil)})
}

// backupDigest is the digest that a backup of an instance would have now.
func (m *Manager) backupDigest(ctx context.Context, c *call, rec *instanceRecord) ([]byte, error) {
	keys, err := m.openInstance(ctx, c, rec)
	if err != nil {
		return nil, err
	}
	b := &backupWriter{m: m, c: c, keys: keys, sum: newDigest(), progress: progress(nil)}
	if err := b.writeHeld(ctx, rec); err != nil {
		return nil, err
	}
	return b.sum.Sum(nil), nil
}

func progress(opts *BackupOptions) func(int) {
	if opts == nil || opts.Progress == nil {
		return func(int) {}
	}
	return opts.Progress
}

// A backupWriter writes one backup, or without frames makes its digest alone.
type backupWriter struct {
	m        *Manager
	c        *call
	keys     *sealing.Keys
	frames   *frames.Writer
	sum      digest
	keySum   []byte // sum, after the keys
	info     BackupInfo
	progress func(int)
}

func (b *backupWriter) write(ctx context.Context, rec *instanceRecord, key []byte) error {
	facts, err := json.Marshal(rec.lasting())
	if err != nil {
		return badDate(b.c.op)
	}
	if err := b.item(backupInstance, key, facts); err != nil {
		return err
	}
	if err := b.writeCounts(ctx); err != nil {
		return err
	}
	if err := b.writeHeld(ctx, rec); err != nil {
		return err
	}
	end, err := json.Marshal(backupClosing{Keys: b.info.Keys, Tombstones: b.info.Tombstones, Aliases: b.info.Aliases,
		Tampered: b.info.Tampered, Digest: b.keySum})
	if err != nil {
		return errors.NewAssertionErrorWithWrappedErrf(err, "kms: the closing of a backup")
	}
	if err := b.item(backupEnd, end, nil); err != nil {
		return err
	}
	if err := b.frames.Close(); err != nil {
		return unwritten(b.c, err)
	}
	b.progress(b.info.Keys)
	return nil
}

// writeHeld writes the keys and the aliases, and has the digest be over them and the facts of the
// instance.
func (b *backupWriter) writeHeld(ctx context.Context, rec *instanceRecord) error {
	keys, err := b.writeKeys(ctx)
	if err != nil {
		return err
	}
	b.keySum = b.sum.Sum(nil)
	if err := b.writeAliases(ctx, keys); err != nil {
		return err
	}
	facts, err := json.Marshal(rec.lasting())
	if err != nil {
		return badDate(b.c.op)
	}
	b.sum.add(facts)
	return nil
}

func (b *backupWriter) writeAliases(ctx context.Context, keys []keyid.ID) error {
	for item, err := range b.m.store.List(ctx, aliasSegment, "") {
		if err != nil {
			return b.c.storeFailed("", err)
		}
		a, err := b.m.readAlias(ctx, b.c, item)
		if err != nil {
			b.info.Tampered++
			continue
		}
		if _, ours := slices.BinarySearchFunc(keys, a.id, keyid.ID.Compare); !ours {
			continue
		}
		if err := b.item(backupAlias, []byte(a.text), []byte(item.Name)); err != nil {
			return err
		}
		b.sum.add([]byte(a.text), []byte(item.Name))
		b.info.Aliases++
	}
	return nil
}

func (b *backupWriter) item(kind byte, head, rest []byte) error {
	if b.frames == nil {
		return nil
	}
	if err := writeBackupItem(b.frames, kind, head, rest); err != nil {
		return unwritten(b.c, err)
	}
	return nil
}

func unwritten(c *call, err error) error { return unavailable(c.op, "", "writing the backup", err) }

// markBackup notes in the record of an instance that it was backed up. Where the instance was
// released meanwhile there is nothing left to be noted.
func (m *Manager) markBackup(ctx context.Context, c *call, id string, mark backupMark) error {
	return c.retry(ctx, "", func() error {
		rec, version, err := m.getInstance(ctx, c, id)
		if err != nil {
			return err
		}
		if rec.destroyed() || mark.At.Before(rec.backedUpAt()) {
			return nil
		}
		rec.Backup = &mark
		return m.writeInstance(ctx, c, rec, version)
	})
}

// writeKeys writes the keys, and returns the IDs of those that can have an alias, ascending: all but
// tombstones, so that what a backup holds does not change with the time alone.
func (b *backupWriter) writeKeys(ctx context.Context) (alive []keyid.ID, err error) {
	for s, err := range b.m.recordsOf(ctx, b.c, b.keys) {
		switch {
		case s == nil:
			return nil, err
		case err != nil:
			b.info.Tampered++
			continue
		}
		value, err := b.value(s)
		if err != nil {
			return nil, err
		}
		if err := b.item(backupKey, []byte(s.text), value); err != nil {
			return nil, err
		}
		b.sum.addKey(s.text, value)
		b.info.count(s.record)
		if s.record.DestroyedAt.IsZero() {
			alive = append(alive, s.record.ID)
		}
		if b.info.Keys%1000 == 0 {
			b.progress(b.info.Keys)
		}
	}
	return alive, nil
}

// A digest is over what a backup holds, in its order, but for the counts of hardware keys: two are
// equal if and only if all of it is as it was. The closing of a backup has it as it is after the keys.
type digest struct{ hash.Hash }

func newDigest() digest { return digest{sha256.New()} }

func (d digest) add(parts ...[]byte) { d.Write(sealing.Join(parts...)) }

// addKey adds the record of a key. Its MAC stands for all of it.
func (d digest) addKey(text string, value []byte) {
	mac := sealing.MAC(value)
	d.add([]byte(text), mac[:])
}

// value is the record of a key as it stands, or while the instance is shredded as it would
// under the instance key that is in this backup.
func (b *backupWriter) value(s *scanned) ([]byte, error) {
	name := keyItem(s.text)
	if _, ok := b.keys.Wrote(name, s.value); ok {
		return s.value, nil
	}
	r, err := s.record.moveTo(b.keys)
	if err != nil {
		return nil, err
	}
	return b.keys.Encode(name, r)
}

// A hardware key encrypts so often and no more (MaxHSMUses), wherever it is restored to: a
// backup brings along how often it did. Two key stores that go on from there exceed that by
// what one may do, at most.

// writeCounts writes the counts of the keys of the instance.
func (b *backupWriter) writeCounts(ctx context.Context) error {
	for item, err := range b.m.store.List(ctx, allowanceSegment, "") {
		if err != nil {
			return b.c.storeFailed("", err)
		}
		text := strings.TrimPrefix(item.Name, allowanceSegment)
		key, err := b.m.store.Get(ctx, keyItem(text))
		switch {
		case errors.Is(err, keystore.ErrNotFound):
			continue
		case err != nil:
			return b.c.storeFailed("", err)
		}
		if named, ok := instanceNamed(key.Value); !ok || named != b.keys.ID() {
			continue
		}
		count := new(allowanceRecord)
		switch err := b.m.readHome(ctx, b.c, item.Name, item.Value, count, sealing.ErrItem); {
		case errors.Is(err, sealing.ErrItem), err == nil && count.Key.String() != text:
			b.info.Tampered++
			continue
		case err != nil:
			return err
		}
		body, err := json.Marshal(count)
		if err != nil {
			return errors.NewAssertionErrorWithWrappedErrf(err, "kms: the count of a key")
		}
		if err := b.item(backupCount, body, nil); err != nil {
			return err
		}
	}
	return nil
}

// count reads the count of a key.
func (b *backupReader) count(body []byte) (*allowanceRecord, error) {
	count := new(allowanceRecord)
	if sealing.Strictly(body, count) != nil || !count.sound() {
		return nil, b.bad("the count of a key")
	}
	return count, nil
}
