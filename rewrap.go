package kms

import (
	"context"
	"iter"
	"time"
)

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
	Others    int    // under another key, left alone
	Last      string // the ID of the last that was dealt with: RewrapOptions.After of the next run
	Complete  bool   // the end was reached: behind After nothing is left under an older version
}

// Rewrap goes through ciphertexts that the caller keeps and encrypts anew, under the
// primary version of a key, those of older versions. It stops at the first that fails,
// with its error and a report from which the next run goes on. What was done before is
// not done again: a run over everything costs little where little is left.
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
	key, err := m.DescribeKey(ctx, ref)
	if err != nil {
		return report, err
	}
	report = RewrapReport{KeyID: key.ID, Version: key.PrimaryVersion, Last: o.After}
	pace := newPace(o.PerSecond)
	defer pace.stop()
	for w, err := range items(o.After) {
		if err == nil {
			err = m.rewrapOne(ctx, w, put, pace, &report)
		}
		if err != nil {
			return report, err
		}
		report.Last = w.ID
		if o.Progress != nil {
			o.Progress(report)
		}
	}
	report.Complete = true
	return report, nil
}

func (m *Manager) rewrapOne(ctx context.Context, w Wrapped, put func(context.Context, Wrapped, []byte) error, p pace, report *RewrapReport) error {
	info, err := Inspect(w.Ciphertext)
	switch {
	case err != nil && len(m.legacy.locate(w.Ciphertext)) > 0:
		return m.rewrapOld(ctx, w, put, p, report)
	case err != nil:
		return err
	case info.KeyID != report.KeyID:
		report.Others++
		return nil
	case info.KeyVersion >= report.Version:
		report.Current++
		return nil
	}
	if err := p.wait(ctx); err != nil {
		return ended(ctx, unavailable(OpReEncryptTo, report.KeyID, "", err))
	}
	ciphertext, err := m.ReEncrypt(ctx, w.Ciphertext, w.Context, report.KeyID, w.Context)
	if err != nil {
		return err
	}
	if err := put(ctx, w, ciphertext); err != nil {
		return err
	}
	report.Rewrapped++
	return nil
}

// rewrapOld encrypts a ciphertext of another system anew. Whose it is shows when it is opened.
func (m *Manager) rewrapOld(ctx context.Context, w Wrapped, put func(context.Context, Wrapped, []byte) error, p pace, report *RewrapReport) error {
	if err := p.wait(ctx); err != nil {
		return ended(ctx, unavailable(OpReEncryptTo, report.KeyID, "", err))
	}
	plaintext, keyID, err := m.reEncryptFrom(ctx, w.Ciphertext, w.Context)
	if err != nil {
		return err
	}
	defer clear(plaintext)
	if keyID != report.KeyID {
		report.Others++
		return nil
	}
	ciphertext, err := m.reEncryptTo(ctx, report.KeyID, plaintext, w.Context)
	if err == nil {
		err = put(ctx, w, ciphertext)
	}
	if err == nil {
		report.Rewrapped++
	}
	return err
}

// A pace is how fast a job may go. Nil is as fast as it can.
type pace struct{ tick *time.Ticker }

func newPace(perSecond int) pace {
	if perSecond <= 0 {
		return pace{}
	}
	return pace{time.NewTicker(time.Second / time.Duration(perSecond))}
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
