package kms

import (
	"context"
	"iter"
	"slices"
	"time"
)

// ReEncrypt decrypts a ciphertext under one encryption context and encrypts what was in
// it under a key and another context; the plaintext does not leave the service. It asks
// and tells twice: ReEncryptFrom the one key, ReEncryptTo the other. Like Decrypt it opens the
// ciphertext with the key that this is of; ReEncryptWithKey with one that the caller names.
//
// By what the key is, it is refused with ErrBrownout, ErrDisabled, ErrInstanceExpired,
// ErrNotFound, ErrPendingDeletion, ErrPendingImport, ErrReadOnly, ErrRetired and ErrUsage.
func (m *Manager) ReEncrypt(ctx context.Context, ciphertext []byte, from EncryptionContext, ref string, to EncryptionContext) ([]byte, error) {
	if to.check(OpReEncryptTo) != nil {
		return m.reEncryptTo(ctx, ref, nil, to) // which refuses it
	}
	plaintext, _, err := m.reEncryptFrom(ctx, ciphertext, from)
	if err != nil {
		return nil, err
	}
	defer clear(plaintext)
	return m.reEncryptTo(ctx, ref, plaintext, to)
}

// ReEncryptWithKey is ReEncrypt from the key that source names, a key ID or an alias, and from no
// other, as DecryptWithKey opens. It says which key version that was.
//
// By what the key is, it is refused with ErrBrownout, ErrDisabled, ErrInstanceExpired,
// ErrNotFound, ErrPendingDeletion, ErrPendingImport, ErrReadOnly, ErrRetired and ErrUsage.
func (m *Manager) ReEncryptWithKey(ctx context.Context, source string, ciphertext []byte, from EncryptionContext, ref string, to EncryptionContext) ([]byte, Used, error) {
	if to.check(OpReEncryptTo) != nil {
		_, err := m.reEncryptTo(ctx, ref, nil, to) // which refuses it
		return nil, Used{}, err
	}
	plaintext, used, err := m.reEncryptFromKey(ctx, source, ciphertext, from)
	if err != nil {
		return nil, Used{}, err
	}
	defer clear(plaintext)
	moved, err := m.reEncryptTo(ctx, ref, plaintext, to)
	if err != nil {
		return nil, Used{}, err
	}
	return moved, used, nil
}

func (m *Manager) reEncryptFrom(ctx context.Context, ciphertext []byte, ec EncryptionContext) (plaintext []byte, used Used, err error) {
	c := m.begin(OpReEncryptFrom)
	defer c.end(ctx, &err)
	plaintext, err = m.decrypt(ctx, c, nil, ciphertext, ec)
	return plaintext, c.used(), err
}

func (m *Manager) reEncryptFromKey(ctx context.Context, source string, ciphertext []byte, ec EncryptionContext) (plaintext []byte, used Used, err error) {
	c := m.begin(OpReEncryptFrom)
	defer c.end(ctx, &err)
	return m.decryptWithKey(ctx, c, source, ciphertext, ec)
}

func (m *Manager) reEncryptTo(ctx context.Context, ref string, plaintext []byte, ec EncryptionContext) (_ []byte, err error) {
	c := m.begin(OpReEncryptTo)
	defer c.end(ctx, &err)
	e, err := m.encryptor(ctx, c, ref, ec)
	if err != nil {
		return nil, err
	}
	return m.seal(ctx, c, e, nil, plaintext, ec)
}

// Wrapped is a ciphertext that a caller keeps somewhere, with what belongs to it.
type Wrapped struct {
	ID         string // the caller's name for it
	Ciphertext []byte
	Context    EncryptionContext // what it was encrypted with
}

// RewrapOptions may be nil. The zero value of each field is its default.
type RewrapOptions struct {
	After     string             // go on behind the Wrapped of this ID, as an earlier report said
	PerSecond int                // how many to encrypt anew in a second, at most; 0 is no limit
	Progress  func(RewrapReport) // told after each Wrapped, on the caller's goroutine
}

// RewrapReport tells how far a Rewrap came.
type RewrapReport struct {
	KeyID     string
	Version   int    // the primary version when the Rewrap began
	Rewrapped int    // encrypted anew, and put
	Current   int    // under that version or a later one already
	Others    int    // of another key, left alone
	Last      string // the ID of the last that was dealt with: RewrapOptions.After of the next run
	Complete  bool   // the end was reached: behind After nothing is left under an older version
}

// Rewrap goes through ciphertexts that the caller keeps and encrypts anew, under the
// primary version of a key, those of older versions. It stops at the first that fails,
// with its error and a report from which the next run goes on. What was done before is
// not done again: a run over everything costs little where little is left.
//
// What it encrypts anew, that key has opened, as DecryptWithKey does. The rest it leaves by what
// the ciphertext says of itself. A ciphertext of another system may not say whose it is: if the
// key may have made it and does not open it, another key has to open it to be among the Others.
//
// Items yields the ciphertexts behind a given ID, or from the first for "", in an order
// that stays. Put puts the new ciphertext in the place of the one in w, if that is still
// there; if it was changed meanwhile, it does nothing and returns nil.
func (m *Manager) Rewrap(ctx context.Context, ref string, items func(after string) iter.Seq2[Wrapped, error],
	put func(ctx context.Context, w Wrapped, ciphertext []byte) error, opts *RewrapOptions) (report RewrapReport, err error) {
	var o RewrapOptions
	if opts != nil {
		o = *opts
	}
	if items == nil || put == nil {
		return report, invalid(OpReEncryptTo, "items or put is nil")
	}
	key, e, err := m.describeKey(ctx, ref)
	if err != nil {
		return report, err
	}
	r := rewrap{m: m, old: e.record.Old, put: put, pace: newPace(o.PerSecond),
		report: RewrapReport{KeyID: key.ID, Version: key.PrimaryVersion, Last: o.After}}
	defer r.pace.stop()
	r.blind = slices.ContainsFunc(r.old, func(v oldVersion) bool { return m.legacy.scheme(v.Scheme) == nil })
	seq := items(o.After)
	if seq == nil {
		return r.report, invalid(OpReEncryptTo, "what items returned is nil")
	}
	for w, err := range seq {
		if err == nil {
			err = r.do(ctx, w)
		}
		if err != nil {
			return r.report, err
		}
		r.report.Last = w.ID
		if o.Progress != nil {
			o.Progress(r.report)
		}
	}
	r.report.Complete = true
	return r.report, nil
}

// A rewrap is one run of Rewrap.
type rewrap struct {
	m      *Manager
	old    []oldVersion // that the key had in another system
	blind  bool         // of some of which Config.Legacy has no source, which would locate its ciphertexts
	put    func(context.Context, Wrapped, []byte) error
	pace   pace
	report RewrapReport
}

// do deals with one ciphertext. By what that says of itself it is left alone, as current or as
// another key's; what is encrypted anew the key itself has opened.
func (r *rewrap) do(ctx context.Context, w Wrapped) error {
	info, err := Inspect(w.Ciphertext)
	foreign, named := err != nil, err == nil && info.KeyID == r.report.KeyID
	at := r.m.legacy.locate(w.Ciphertext)
	switch {
	case named && info.KeyVersion >= r.report.Version:
		r.report.Current++
		return nil
	case named || r.had(at):
	case foreign:
		return r.other(ctx, w, at)
	default:
		r.report.Others++
		return nil
	}
	if err := r.pace.wait(ctx); err != nil {
		return ended(ctx, unavailable(OpReEncryptTo, r.report.KeyID, "", err))
	}
	plaintext, _, err := r.m.reEncryptFromKey(ctx, r.report.KeyID, w.Ciphertext, w.Context)
	switch {
	case err == nil:
	case foreign && refusedAs(err, ErrCiphertext):
		return r.other(ctx, w, at)
	case !named && refusedAs(err, ErrCiphertext):
		r.report.Others++
		return nil
	default:
		return err
	}
	defer clear(plaintext)
	ciphertext, err := r.m.reEncryptTo(ctx, r.report.KeyID, plaintext, w.Context)
	if err == nil {
		err = r.put(ctx, w, ciphertext)
	}
	if err == nil {
		r.report.Rewrapped++
	}
	return err
}

// had reports whether the key may have made a ciphertext of which that is known, in another system.
func (r *rewrap) had(at []oldLocator) bool {
	return slices.ContainsFunc(r.old, func(v oldVersion) bool { return slices.Contains(at, v.at()) })
}

// other counts a ciphertext of another system that the key does not open as another key's. If the
// key may have made it, another key has to open it: it could be the key's own, damaged or with a
// wrong context, and would be lost with the key's old versions if it were passed over.
func (r *rewrap) other(ctx context.Context, w Wrapped, at []oldLocator) error {
	if !r.had(at) && !r.blind {
		ids, err := r.m.makers(ctx, r.m.begin(OpReEncryptFrom), at)
		if err != nil {
			return ended(ctx, err)
		}
		if len(ids) > 0 {
			r.report.Others++
			return nil
		}
	}
	plaintext, used, err := r.m.reEncryptFrom(ctx, w.Ciphertext, w.Context)
	clear(plaintext)
	switch {
	case err != nil:
		return err
	case used.KeyID == r.report.KeyID: // which did not open it just before
		return refuse(OpReEncryptFrom, r.report.KeyID, ErrCiphertext)
	}
	r.report.Others++
	return nil
}

// A pace is how fast a job may go. Nil is as fast as it can.
type pace struct{ tick *time.Ticker }

func newPace(perSecond int) pace {
	if perSecond <= 0 {
		return pace{}
	}
	return pace{time.NewTicker(max(time.Second/time.Duration(perSecond), 1))}
}

func (p pace) wait(ctx context.Context) error {
	if p.tick == nil {
		return nil
	}
	select {
	case <-p.tick.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p pace) stop() {
	if p.tick != nil {
		p.tick.Stop()
	}
}
