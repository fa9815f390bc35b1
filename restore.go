package kms

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/frames"
	"github.com/keyhold/kms/internal/keyid"
	"github.com/keyhold/kms/internal/sealing"
	"github.com/keyhold/kms/internal/xaes"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/provider"
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
// The material of keys in hardware is not in the backup. Keys that are not in the hardware which is
// connected, because they were destroyed or are in another token, are restored all the same and
// reported as Missing. Hardware that does not answer is ErrUnavailable. Two key stores that have one such key share it:
// deleted by one of them, it is gone for both.
func (m *Manager) Restore(ctx context.Context, source io.ReadSeeker, recipient Root, opts *RestoreOptions) (report RestoreReport, err error) {
	c := m.begin(OpRestore)
	defer c.end(ctx, &err)
	rs := &restoring{m: m, c: c, source: source}
	if err := rs.options(opts, recipient); err != nil {
		return RestoreReport{}, err
	}
	if err := c.enter(ctx); err != nil {
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
	buried map[keyid.ID]bool // by RestoreOptions.Tombstones
	backup *backupReader
	keys   *sealing.Keys // what is restored into

	mu     sync.Mutex // held by those who bring back keys, for what follows
	done   int        // keys
	report RestoreReport
}

func (rs *restoring) options(opts *RestoreOptions, recipient Root) error {
	if absent(rs.source) || absent(recipient) {
		return invalid(rs.c.op, "the source or the recipient is nil")
	}
	if opts != nil {
		rs.opts = *opts
	}
	if until := rs.opts.ExpiresAt; !until.IsZero() && !until.After(rs.c.now()) {
		return invalid(rs.c.op, "RestoreOptions.ExpiresAt is not in the future")
	}
	rs.buried = make(map[keyid.ID]bool, len(rs.opts.Tombstones))
	for _, t := range rs.opts.Tombstones {
		id, ok := keyid.Parse(t.KeyID)
		if !ok {
			return invalid(rs.c.op, "a KeyID in RestoreOptions.Tombstones is not the ID of a key")
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
	r := bufio.NewReaderSize(rs.source, frames.Size)
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
	rs.c.reread() // time passed: a deletion date may have come
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
	if rs.opts.Tombstones == nil && !bytes.Equal(rs.header.Store, rs.m.home.Load().keys.StoreID()) {
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
	m.keys.DropAll()
	m.aliases.DropAll()
	m.instances.DropAll()
}

// RestoreOptions may be nil. The zero value of each field is its default.
type RestoreOptions struct {
	// ExpiresAt is when an instance that is made anew expires, if the date in the backup is
	// past; in the future. Zero is never.
	ExpiresAt time.Time

	// Tombstones are keys that must not come back, besides those that this key store and the
	// backup know of: what Manager.Tombstones of the key store said that the backup is from, as
	// late as can be had. Nil: there is no such list. An empty list is one that holds none.
	Tombstones []Tombstone

	// Progress is called now and then with how many keys were done, and at the end.
	Progress func(keys int)
}

// RestoreReport tells what a Restore found and did.
type RestoreReport struct {
	Backup   BackupInfo
	Instance Instance // as it is now, with the expiry that it got
	Made     bool     // the instance was made anew; false: it was here, and kept its own facts

	Restored   int           // keys that were not here, and are now
	Merged     []string      // IDs of keys that were here, and were made as strict as in the backup
	Unchanged  int           // keys that were here, and at least as strict
	Tombstones int           // tombstones that were not here, and are now
	Aliases    int           // aliases that were not here, and are now
	Skipped    []SkippedItem // what was not brought back
	Missing    []string      // IDs of keys whose material is in hardware, and not in the one that is here

	// UnknownSince is set where the backup is from another key store and no Tombstones were
	// given: it is the time of the backup. A key that was deleted after it is back.
	UnknownSince time.Time
}

// SkippedItem is a key or an alias that a Restore did not bring back.
type SkippedItem struct {
	KeyID string
	Alias string // "": it is the key itself
	Why   SkipReason
}

// SkipReason says why.
type SkipReason string

// The reasons.
const (
	SkippedDeleted  SkipReason = "Deleted"       // the key is deleted: its date has passed, or there is a tombstone
	SkippedOther    SkipReason = "OtherKey"      // a key of that ID is here, and it is not this one: other material, another kind
	SkippedInstance SkipReason = "OtherInstance" // a key of that ID is here, in another instance
	SkippedTampered SkipReason = "Tampered"      // what is here in its place was changed behind the service's back
	SkippedTaken    SkipReason = "AliasTaken"    // the alias names another key here
)

// target finds the instance that is restored into: one that is here, or else it is made anew
// with the key that it had, so that what still stands of it in the store can be read again.
func (rs *restoring) target(ctx context.Context) error {
	m, c, was := rs.m, rs.c, &rs.backup.rec
	if was.ID == DefaultInstance {
		rs.keys = m.home.Load().keys
		return nil
	}
	return c.retry(ctx, "", func() error {
		rec, version, err := m.getInstance(ctx, c, was.ID)
		switch {
		case refusedAs(err, ErrNotFound):
			rec = &instanceRecord{}
		case err != nil:
			return err
		case rec.state(c.now()) != InstanceReleased:
			if rec.Protection != was.Protection {
				return &refusal{op: c.op, inst: was.ID, cond: ErrUnsupported, text: "the instance that is here has keys of another protection level",
					hint: "The backup is of another instance with this ID. Restore it into a key store that has no instance of the ID."}
			}
			rs.keys, err = m.openInstance(c, rec)
			return err
		}
		if !rec.ReleasedAt.IsZero() && len(rec.Sealed) > 0 {
			return unavailableInstance(c.op, was.ID, "its keys in hardware are being destroyed", "Let Maintain finish the release first.", nil)
		}
		return rs.make(ctx, rec, was, version)
	})
}

// make puts the instance of the backup in the place of one that was released, or of none.
func (rs *restoring) make(ctx context.Context, old, was *instanceRecord, version keystore.Version) error {
	m, c := rs.m, rs.c
	if _, err := m.level(c.op, was.Protection); err != nil {
		return err
	}
	rec := instanceRecord{
		ID: was.ID, Store: m.home.Load().keys.StoreID(), Seq: old.Seq, Name: was.Name, Protection: was.Protection, CreatedAt: was.CreatedAt,
		Protected: was.Protected, ProtectedWhy: was.ProtectedWhy, ExpiresAt: rs.opts.ExpiresAt.Round(0).UTC(),
	}
	if was.ExpiresAt.IsZero() || was.ExpiresAt.After(c.now()) {
		rec.ExpiresAt = was.ExpiresAt
	}
	if old.Seq > 0 {
		rec.Generation = old.Generation + 1
		rec.Restored = rec.Generation
	}
	root, err := m.current(ctx, c)
	if err != nil {
		return err
	}
	keys, err := rec.setKey(c.op, root, rs.backup.instanceKey())
	if err != nil {
		return err
	}
	if err := m.writeInstance(ctx, c, &rec, version); err != nil {
		return err
	}
	m.keepOpened(keys)
	rs.keys, rs.report.Made = keys, true
	return nil
}

// askHardware asks the hardware for the material of a key. That it does not have it is told; that
// it does not answer is an error.
func (rs *restoring) askHardware(ctx context.Context, r *record) error {
	if r.Protection != ProtectionHSM || r.facts().state(rs.c.now()) == Deleted {
		return nil
	}
	p := rs.m.providers[r.Protection]
	for i := range r.Versions {
		err := provider.ErrNoKey
		if p != nil {
			material, unsealed := r.keys.Open(sealing.Material(r.ID, r.Versions[i].Version), r.Versions[i].Sealed)
			if unsealed != nil {
				return errors.AssertionFailedf("kms: material that was sound")
			}
			_, err = p.Open(ctx, versionID(r, r.Versions[i].Version), r.Spec, material)
			clear(material)
		}
		switch {
		case errors.Is(err, provider.ErrNoKey), errors.Is(err, provider.ErrElsewhere):
			rs.report.Missing = append(rs.report.Missing, r.id())
			return nil
		case err != nil:
			return fromProvider(rs.c.op, r.id(), err)
		}
	}
	return nil
}
