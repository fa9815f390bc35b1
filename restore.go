package kms

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/subtle"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/keyhold/kms/internal/frames"
	"github.com/keyhold/kms/internal/keyid"
	"github.com/keyhold/kms/internal/sealing"
	"github.com/keyhold/kms/internal/xaes"
	"github.com/keyhold/kms/keystore"
)

// Restore brings an instance back from a backup, into this key store or a new one: the keys
// under their IDs, so that old ciphertexts open, the aliases, and where it is absent or was
// released the instance itself, under its ID and with its instance key. Its expiry is that of the
// backup. If that is past, RestoreOptions has to say what it is now (ErrInvalid). An instance that is
// here keeps what it is.
//
// All of the backup is verified before anything is written. What is wrong with it is ErrBackup, as in
// VerifyBackup, and so is material that is no key of its spec. A backup brings only what calls of the
// API could have made; Authorize is asked for each alias that is made, as for CreateAlias. An
// instance that was released in this key store comes back only with the instance key that it had
// last: a backup from before a Shred is ErrBackup. From then on every step is one write: a Restore that
// failed or was killed is repeated with the same backup; the report says what was done nonetheless.
// Source is read twice, from where it stands.
//
// A key that is here is merged to the stricter side: the earlier deletion date, disabled,
// protected, with the dependents of both. A deletion that was cancelled here after the backup
// is scheduled again; if its date is past, the key is Disabled instead, and not lost. Versions that
// are not here are added; the primary stays what it is if the key was changed here after the backup.
// Material that is here is kept, and where the backup has none the key is Disabled. Material that was
// deleted here stays deleted. Versions that were retired here or there are retired afterwards.
//
// A key with a tombstone never comes back: not with one of this key store, of the backup, or of
// RestoreOptions.Tombstones. One in the backup ends the key here, too. Those of the list end no key
// that lives here; they end what would live without a record: a key of Config.Legacy, and one that
// an alias has ready (RestoreReport.Ended). A deletion date that passed meanwhile has passed.
//
// The material of keys in hardware is not in the backup. Keys that are not in the hardware which is
// connected are restored all the same and reported as Missing. Two key stores that have one such key share it:
// deleted by one of them, it is gone for both.
func (m *Manager) Restore(ctx context.Context, source io.ReadSeeker, recipient Root, opts *RestoreOptions) (report RestoreReport, err error) {
	c := m.begin(OpRestore)
	defer c.end(ctx, &err)
	rs := &restoring{m: m, c: c, source: source, counts: map[keyid.ID]*allowanceRecord{}, skipped: map[keyid.ID]SkipReason{}}
	if err := rs.options(opts, recipient); err != nil {
		return RestoreReport{}, err
	}
	if err := c.enter(ctx); err != nil {
		return RestoreReport{}, err
	}
	rs.source = frames.StrictReadSeeker(source)
	source = rs.source
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
	if err := rs.verify(ctx); err != nil || rs.opts.DryRun {
		return rs.report, err
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
	keys   *sealing.Keys                 // what is restored into
	mixed  bool                          // in it stands what was sealed under a key that is gone
	named  map[keyid.ID]namedAs          // what the aliases name that only this service gives
	counts map[keyid.ID]*allowanceRecord // of hardware keys

	mu      sync.Mutex // held by those who bring back keys, for what follows
	done    int        // keys
	skipped map[keyid.ID]SkipReason
	report  RestoreReport
}

func (rs *restoring) options(opts *RestoreOptions, recipient Root) error {
	if absent(rs.source) || absent(recipient) {
		return invalid(rs.c.op, "the source or the recipient is nil")
	}
	if opts != nil {
		rs.opts = *opts
	}
	switch until := rs.opts.ExpiresAt; {
	case !until.IsZero() && !until.After(rs.c.now()):
		return invalid(rs.c.op, "RestoreOptions.ExpiresAt is not in the future")
	case !until.IsZero() && rs.opts.NeverExpires:
		return invalid(rs.c.op, "RestoreOptions.ExpiresAt and NeverExpires are both set: set one of them")
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

// verify reads all of the backup, asks the providers for its keys, and looks for what would make the
// Restore useless. Nothing is written.
func (rs *restoring) verify(ctx context.Context) error {
	err := rs.open()
	if err != nil {
		return err
	}
	keys := rs.c.crew()
	info, err := rs.backup.each(ctx, backupVisitor{key: func(r *record) error {
		return keys.do(func() error { return rs.askProvider(ctx, r) })
	}})
	if failed := keys.wait(); err == nil {
		err = failed
	}
	slices.Sort(rs.report.Missing)
	if err == nil {
		_, _, err = rs.look(ctx)
	}
	if err == nil {
		err = rs.readNamed(ctx)
	}
	var ending []keyid.ID
	if err == nil {
		ending, err = rs.ending(ctx)
	}
	if err != nil {
		rs.report = RestoreReport{}
		return err
	}
	rs.report.Backup = info
	for _, id := range ending {
		rs.report.Ended = append(rs.report.Ended, id.String())
	}
	return nil
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
	keys, aliases := rs.c.crew(), rs.c.crew()
	_, err := rs.backup.each(ctx, backupVisitor{
		count: func(r *allowanceRecord) error { rs.counts[r.Key] = r; return nil },
		key:   func(r *record) error { return keys.do(func() error { return rs.restoreKey(ctx, r) }) },
		alias: func(a Alias) error {
			if err := keys.wait(); err != nil { // an alias is for a key that is there
				return err
			}
			return aliases.do(func() error { return rs.restoreAlias(ctx, a) })
		},
	})
	for _, crew := range []*crew{keys, aliases} {
		if failed := crew.wait(); err == nil {
			err = failed
		}
	}
	if err == nil {
		err = rs.end(ctx)
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

// RestoreOptions may be nil. The zero value of each field is its default.
type RestoreOptions struct {
	// ExpiresAt is when an instance that is made anew expires, if the date in the backup is
	// past; in the future. Zero: such an instance is not brought back (ErrInvalid), unless
	// NeverExpires is set. Not both.
	ExpiresAt    time.Time
	NeverExpires bool // such an instance has no expiry any more

	// Tombstones are keys that must not come back, besides those that this key store and the
	// backup know of: what Manager.Tombstones of the key store said that the backup is from, as
	// late as can be had. Nil: there is no such list. An empty list is one that holds none.
	Tombstones []Tombstone

	// DryRun verifies the backup, and whether it could be restored here, and writes nothing. The
	// report has Backup, Missing and Ended, and nothing else.
	DryRun bool

	// Progress is called now and then with how many keys were done, and at the end.
	Progress func(keys int)
}

// RestoreReport tells what a Restore found and did.
type RestoreReport struct {
	Backup   BackupInfo
	Instance Instance // as it is now, with the expiry that it got
	Made     bool     // the instance was made anew; false: it was here, and kept its own facts

	// What became of the keys of the backup. Each of them is counted once, here or in Skipped. What
	// could not be read because its instance was released was not here.
	Restored   int      // keys that were not here, and are now
	Merged     []string // IDs of keys that were here, and were made as strict as in the backup
	Unchanged  int      // keys that were here, and at least as strict
	Tombstones int      // tombstones that were not here, and are now

	Aliases int           // aliases that were not here, and are now
	Skipped []SkippedItem // what was not brought back
	Ended   []string      // IDs of RestoreOptions.Tombstones that Config.Legacy or an alias had ready, and that are deleted here now
	Missing []string      // IDs of keys whose material is in hardware, and not in the one that is here

	// UnknownSince is set where the backup is from another key store and no Tombstones were
	// given: it is the time of the backup. A key that was deleted after it is back.
	UnknownSince time.Time
}

// look reads the record of the instance that is restored into; one without an ID if there is none.
// It refuses what would be of no use there.
func (rs *restoring) look(ctx context.Context) (*instanceRecord, keystore.Version, error) {
	m, c, was := rs.m, rs.c, &rs.backup.rec
	rec, version, err := m.getInstance(ctx, c, was.ID)
	if refusedAs(err, ErrNotFound) {
		rec, version, err = m.lostInstance(ctx, c, was.ID)
	}
	switch {
	case err != nil:
		return nil, "", err
	case rs.living(rec) && rec.Protection != was.Protection:
		err = &refusal{op: c.op, inst: was.ID, cond: ErrUnsupported, text: "the instance that is here has keys of another protection level",
			hint: "The backup is of another instance with this ID. Restore it into a key store that has no instance of the ID."}
	case rs.living(rec):
	case !rec.ReleasedAt.IsZero() && !rec.destroyed():
		err = unavailableInstance(c.op, was.ID, "its keys in hardware are being destroyed", "Let Maintain finish the release first.", nil)
	case len(rec.Check) > 0 && subtle.ConstantTimeCompare(rec.Check, rs.backup.keys.Check()) != 1:
		err = newOtherInstanceKey(c.op, rec)
	case rs.opts.ExpiresAt.IsZero() && !rs.opts.NeverExpires && !rs.dated(rec):
		err = &refusal{op: c.op, inst: was.ID, cond: ErrInvalid, text: "the instance expired at " + instant(earliest(rec.ExpiresAt, was.ExpiresAt)) + ", and no later date is given",
			hint: "Say when the instance expires with RestoreOptions.ExpiresAt, or with NeverExpires that it does not."}
	default:
		_, err = m.level(c.op, was.Protection)
	}
	return rec, version, err
}

// living reports whether the instance that is restored into is here, and keeps its own facts.
func (rs *restoring) living(rec *instanceRecord) bool {
	return rec.ID != "" && rec.state(rs.c.now()) != InstanceReleased
}

// dated reports whether the expiry in the backup, or the one that the instance had here if that is
// earlier, can still be that of the instance.
func (rs *restoring) dated(old *instanceRecord) bool {
	was := earliest(old.ExpiresAt, rs.backup.rec.ExpiresAt)
	return was.IsZero() || was.After(rs.c.now())
}

// target finds the instance that is restored into: one that is here, or else it is made anew
// with the key that it had, so that what still stands of it in the store can be read again.
func (rs *restoring) target(ctx context.Context) error {
	m, c := rs.m, rs.c
	return c.retry(ctx, "", func() error {
		rec, version, err := rs.look(ctx)
		if err != nil {
			return err
		}
		rs.mixed = rec.Mixed || (!rs.living(rec) && rec.shredding())
		switch {
		case rec.ID == DefaultInstance:
			rs.keys = m.home.Load().keys
			return nil
		case rs.living(rec):
			rs.keys, err = m.openInstance(ctx, c, rec)
			return err
		default:
			return rs.make(ctx, rec, version)
		}
	})
}

// make puts the instance of the backup in the place of one that was released, or of none. It is
// protected if either was.
func (rs *restoring) make(ctx context.Context, old *instanceRecord, version keystore.Version) error {
	m, c := rs.m, rs.c
	rec := rs.backup.rec.lasting()
	rec.Store, rec.Seq, rec.KeyedAt, rec.Mixed = m.home.Load().keys.StoreID(), old.Seq, old.KeyedAt, rs.mixed
	if old.Protected && (!rec.Protected || (rec.ReleaseOnly && !old.ReleaseOnly)) {
		rec.Protected, rec.ReleaseOnly, rec.ProtectedWhy = true, old.ReleaseOnly, old.ProtectedWhy
	}
	if rec.ExpiresAt = earliest(old.ExpiresAt, rec.ExpiresAt); !rs.dated(old) {
		rec.ExpiresAt = rs.opts.ExpiresAt.Round(0).UTC()
	}
	if old.Seq > 0 {
		rec.Generation = old.Generation + 1
		rec.Restored = rec.Generation
	}
	by, _, err := m.sealers(ctx, c)
	if err != nil {
		return err
	}
	keys, err := rec.setKey(c.op, by, rs.backup.instanceKey())
	if err != nil {
		return err
	}
	if version, err = m.writeInstanceBy(ctx, c, m.home.Load().keys, &rec, version); err != nil {
		return err
	}
	if err := m.secureNew(ctx, c, &rec); err != nil {
		if was := *old; refusedAs(err, ErrRoot) && was.ID != "" { // what was here stays what it was
			was.Seq = rec.Seq
			return cmp.Or(m.writeInstance(ctx, c, &was, version), err)
		}
		return err
	}
	m.keepOpened(keys)
	rs.keys, rs.report.Made = keys, true
	return nil
}
