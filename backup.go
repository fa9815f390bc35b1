package kms

import (
	"bufio"
	"context"
	"encoding/json"
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
// It is streamed: what it keeps in memory is 16 bytes for each key. Every key is in it as it was at
// some moment since At. It works while the instance is Expired, and as long as its key was
// not destroyed, so in Config.OnRelease, too; else it is ErrNotFound. Keys in hardware stay
// there: the backup leads to them, and does not hold them.
//
// When it has returned nil, w was given a whole backup, and ReleaseInstance takes it for one
// until a key is changed. To be sure of what arrived, read it again with VerifyBackup.
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
	if len(rec.Sealed) == 0 {
		return BackupInfo{}, instanceGone(c.op, id)
	}
	key, err := rec.key(c.op, *m.root.Load())
	if err != nil {
		return BackupInfo{}, err
	}
	defer clear(key)
	keys, err := rec.open(c.op, *m.root.Load())
	if err != nil {
		return BackupInfo{}, err
	}
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

func progress(opts *BackupOptions) func(int) {
	if opts == nil || opts.Progress == nil {
		return func(int) {}
	}
	return opts.Progress
}

// A backupWriter writes one backup.
type backupWriter struct {
	m        *Manager
	c        *call
	keys     *sealing.Keys
	frames   *frames.Writer
	sum      digest
	info     BackupInfo
	progress func(int)
}

func (b *backupWriter) write(ctx context.Context, rec *instanceRecord, key []byte) error {
	lasting := *rec
	lasting.Sealed, lasting.Backup, lasting.Told, lasting.OverSeenAt = nil, nil, "", time.Time{}
	lasting.Generation, lasting.Former, lasting.KeyedAt, lasting.Restored, lasting.RootedFrom, lasting.RootedAt = 0, nil, time.Time{}, 0, 0, time.Time{}
	facts, err := json.Marshal(lasting)
	if err != nil {
		return badDate(b.c.op)
	}
	if err := b.item(backupInstance, key, facts); err != nil {
		return err
	}
	if err := b.writeCounts(ctx); err != nil {
		return err
	}
	keys, err := b.writeKeys(ctx)
	if err != nil {
		return err
	}
	if err := b.writeAliases(ctx, keys); err != nil {
		return err
	}
	end, err := json.Marshal(backupClosing{Keys: b.info.Keys, Tombstones: b.info.Tombstones, Aliases: b.info.Aliases,
		Tampered: b.info.Tampered, Digest: b.sum.Sum(nil)})
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
		b.info.Aliases++
	}
	return nil
}

func (b *backupWriter) item(kind byte, head, rest []byte) error {
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
		if len(rec.Sealed) == 0 || mark.At.Before(rec.backedUpAt()) {
			return nil
		}
		rec.Backup = &mark
		return m.writeInstance(ctx, c, rec, version)
	})
}

// VerifyBackup reads a backup to its end, opens everything that is sealed in it, and tells what
// it holds: the drill of a restore, without a Manager. Whatever is wrong with it is
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
	buffered := bufio.NewReaderSize(r, frames.Size)
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

// writeKeys writes the keys, and returns the IDs of those that can have an alias, ascending.
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
		b.sum.add(s.text, value)
		b.info.count(s.record)
		if s.record.facts().state(b.c.now()) != Deleted {
			alive = append(alive, s.record.ID)
		}
		if b.info.Keys%1000 == 0 {
			b.progress(b.info.Keys)
		}
	}
	return alive, nil
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
	if sealing.Strictly(body, count) != nil || count.Key == (keyid.ID{}) || count.Versions == nil {
		return nil, b.bad("the count of a key")
	}
	return count, nil
}

// restoreCount sees that no version of a key is counted lower than in the backup. It comes
// before the key does.
func (rs *restoring) restoreCount(ctx context.Context, was *allowanceRecord) error {
	m, c := rs.m, rs.c
	return c.retry(ctx, "", func() error {
		rec, version, err := m.loadAllowance(ctx, c, was.Key)
		if refusedAs(err, ErrTampered) {
			return nil // the key encrypts nothing here
		}
		if err != nil {
			return err
		}
		higher := false
		for v, n := range was.Versions {
			if n > rec.Versions[v] {
				rec.Versions[v], higher = n, true
			}
		}
		if !higher {
			return nil
		}
		return written(c.op, was.Key.String(), m.putAllowance(ctx, c, rec, version))
	})
}
