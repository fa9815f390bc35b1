package kms

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"io"
	"slices"
	"sync"

	"github.com/keyhold/kms/internal/xaes"
)

// Restore brings an instance back from a backup, into this key store or a new one: the keys
// under their IDs, so that old ciphertexts open, the aliases, and where it is absent or was
// released the instance itself, under its ID and with its instance key. Its expiry is that of the
// backup, or where that is past RestoreOptions.ExpiresAt. An instance that is here keeps what it is.
//
// All of the backup is verified before anything is written. What is wrong with it is ErrBackup,
// as in VerifyBackup. From then on every step is one write: a Restore that failed or was
// killed midway is repeated, with the same backup; the report says what was done nonetheless.
// Source is read twice, from where it stands.
//
// A key that is here is merged to the stricter side: the earlier deletion date, disabled,
// protected, with the dependents of both. A deletion that was cancelled here after the backup
// is scheduled again; if its date is past, the key is Disabled instead, and not lost. Material
// that is here is kept, and where the backup has none the key is Disabled. Material that was
// deleted here stays deleted, and the key waits for its import.
//
// A key with a tombstone never comes back: not with one of this key store, of the backup, or of
// RestoreOptions.Tombstones. One in the backup ends the key here, too. A deletion date that
// passed meanwhile has passed.
//
// The material of keys in hardware is not in the backup. Keys that the hardware does not know
// are restored all the same, and told as Missing. Two key stores that have one such key share it:
// deleted by one of them, it is gone for both.
func (m *Manager) Restore(ctx context.Context, source io.ReadSeeker, recipient Root, opts *RestoreOptions) (report RestoreReport, err error) {
	c := m.begin(OpRestore)
	defer c.end(ctx, &err)
	rs := &restoring{m: m, c: c, source: source}
	if err := rs.options(opts, recipient); err != nil {
		return RestoreReport{}, err
	}
	if rs.start, err = source.Seek(0, io.SeekCurrent); err != nil {
		return RestoreReport{}, unavailable(c.op, "", "reading the backup", err)
	}
	if rs.header, err = readBackupHeader(c.op, source); err != nil {
		return RestoreReport{}, err
	}
	if err := c.authorizeInstance(ctx, rs.header.Instance); err != nil {
		return RestoreReport{}, err
	}
	if rs.key, err = rs.header.open(c.op, recipient); err != nil {
		return RestoreReport{}, err
	}
	if err := rs.verify(ctx); err != nil {
		return RestoreReport{}, err
	}
	defer m.forgetAll()
	if err := rs.write(ctx); err != nil {
		return rs.report, err
	}
	return rs.report, nil
}

// restoring is one Restore.
type restoring struct {
	m      *Manager
	c      *call
	source io.ReadSeeker
	start  int64 // where the backup begins
	header *backupHeader
	key    *xaes.Key // the backup key
	opts   RestoreOptions
	buried map[keyID]bool // by RestoreOptions.Tombstones
	backup *backupReader
	in     *instance // what is restored into

	mu     sync.Mutex // held by those who bring back keys, for what follows
	done   int        // keys
	report RestoreReport
}

func (rs *restoring) options(opts *RestoreOptions, recipient Root) error {
	if rs.source == nil || absent(recipient) {
		return invalid(rs.c.op, "there is nothing to read, or no recipient")
	}
	if opts != nil {
		rs.opts = *opts
	}
	if until := rs.opts.ExpiresAt; !until.IsZero() && !until.After(rs.c.now()) {
		return invalid(rs.c.op, "the instance's expiry is not in the future")
	}
	rs.buried = make(map[keyID]bool, len(rs.opts.Tombstones))
	for _, t := range rs.opts.Tombstones {
		id, ok := parseKeyID(t.KeyID)
		if !ok {
			return invalid(rs.c.op, "a tombstone of no key ID")
		}
		rs.buried[id] = true
	}
	return nil
}

// open begins to read the backup, as often as wanted. It is the one that was begun with.
func (rs *restoring) open() error {
	if _, err := rs.source.Seek(rs.start, io.SeekStart); err != nil {
		return unavailable(rs.c.op, "", "reading the backup", err)
	}
	r := bufio.NewReaderSize(rs.source, frameSize)
	h, err := readBackupHeader(rs.c.op, r)
	if err != nil {
		return err
	}
	if !bytes.Equal(h.encode(), rs.header.encode()) {
		return badBackup(rs.c.op, rs.header.Instance, "it was exchanged meanwhile", nil)
	}
	rs.backup, err = openBackup(rs.c.op, rs.header, rs.key, r)
	return err
}

// verify reads all of the backup, and asks the hardware for the keys that are there. Nothing
// is written.
func (rs *restoring) verify(ctx context.Context) error {
	err := rs.open()
	if err != nil {
		return err
	}
	rs.report.Backup, err = rs.backup.each(ctx, backupVisitor{key: func(r *record) error { return rs.askHardware(ctx, r) }})
	return err
}

// write brings back what was verified.
func (rs *restoring) write(ctx context.Context) error {
	if err := rs.open(); err != nil {
		return err
	}
	rs.c.again() // time passed: a deletion date may have come
	if err := rs.target(ctx); err != nil {
		return err
	}
	rs.m.forgetAll()
	counts, keys, aliases := newCrew(), newCrew(), newCrew()
	_, err := rs.backup.each(ctx, backupVisitor{
		count: func(r *allowanceRecord) error { return counts.do(func() error { return rs.restoreCount(ctx, r) }) },
		key: func(r *record) error {
			if err := counts.wait(); err != nil { // a key is not used before its count is there
				return err
			}
			return keys.do(func() error { return rs.restoreKey(ctx, r) })
		},
		alias: func(a Alias) error {
			if err := keys.wait(); err != nil { // an alias is for a key that is there
				return err
			}
			return aliases.do(func() error { return rs.restoreAlias(ctx, a) })
		},
	})
	for _, crew := range []*crew{counts, keys, aliases} {
		if failed := crew.wait(); err == nil {
			err = failed
		}
	}
	slices.Sort(rs.report.Merged)
	slices.SortFunc(rs.report.Skipped, func(a, b SkippedItem) int {
		return cmp.Or(cmp.Compare(a.KeyID, b.KeyID), cmp.Compare(a.Alias, b.Alias))
	})
	if err != nil {
		return err
	}
	if rs.opts.Progress != nil {
		rs.opts.Progress(rs.report.Backup.Keys)
	}
	if rs.opts.Tombstones == nil && !bytes.Equal(rs.header.Store, rs.m.home.Load().in.storeID) {
		rs.report.UnknownSince = rs.header.At
	}
	return rs.describe(ctx)
}

// note writes into the report what became of a key or an alias.
func (rs *restoring) note(what func(*RestoreReport)) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	what(&rs.report)
}

// progress counts a key that was done, and tells of it now and then.
func (rs *restoring) progress() {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.done++; rs.done%1000 == 0 && rs.opts.Progress != nil {
		rs.opts.Progress(rs.done)
	}
}

// describe tells the instance as it is now.
func (rs *restoring) describe(ctx context.Context) error {
	rec, _, err := rs.m.getInstance(ctx, rs.c, rs.header.Instance)
	if err != nil {
		return err
	}
	rs.report.Instance = rec.describe(rs.m.now())
	return nil
}

// forgetAll drops all that is kept in memory.
func (m *Manager) forgetAll() {
	m.keys.dropAll()
	m.aliases.dropAll()
	m.instances.dropAll()
}
