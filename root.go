package kms

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"reflect"
	"slices"
	"strings"

	"github.com/cockroachdb/errors"
)

// Root is the key outside the key store that seals the instance keys, and so everything.
// It has the methods of Tink's AEAD: every KMS integration of Tink is a Root, and so is
// what package software makes from 32 bytes, a passphrase or a file. It is used when a
// Manager is opened, when an instance is created or met for the first time, when one is
// backed up or restored, and when the root is rotated; else never for a use of a key. Its
// errors are wrapped and shown: they must not hold secrets.
type Root interface {
	Encrypt(plaintext, associatedData []byte) ([]byte, error)
	Decrypt(ciphertext, associatedData []byte) ([]byte, error)
}

// A sealer is a root that this Manager has, and its generation.
type sealer struct {
	root       Root
	generation uint64
}

// roots are those that this Manager has, the newest first.
func (m *Manager) roots() []Root { return *m.rootsNow.Load() }

// sealers are the roots that the instance key of a new instance is sealed by, and the record of the
// default instance that says so: those that this Manager has of the ones that open it.
func (m *Manager) sealers(ctx context.Context, c *call) (by []sealer, home *instanceRecord, err error) {
	home, _, err = m.getInstance(ctx, c, DefaultInstance)
	if err != nil {
		return nil, nil, err
	}
	for i := range home.Seals {
		root, failed := home.openedBy(m.roots(), &home.Seals[i])
		if failed != nil {
			err = refuseInstance(c.op, "", ErrRoot, "", failed)
			continue
		}
		by = append(by, sealer{root, home.Seals[i].Root})
	}
	if len(by) == 0 {
		return nil, nil, err
	}
	return by, home, nil
}

// resealers are the roots by which a further instance key of an instance has to be sealed. All of
// them are needed: where one opened the instance before, it has to open it afterwards.
func (m *Manager) resealers(ctx context.Context, c *call, rec *instanceRecord) (by []sealer, err error) {
	home, _, err := m.getInstance(ctx, c, DefaultInstance)
	if err != nil {
		return nil, err
	}
	rec.drop(home.oldest())
	for i := range rec.Seals {
		root, err := rec.openedBy(m.roots(), &rec.Seals[i])
		if err != nil {
			return nil, &refusal{op: c.op, inst: rec.named(), cond: ErrRoot, cause: err, hint: "Open the key store with the root that it has now. " +
				"While the root is rotated, let RotateRoot finish first, or use the Manager that rotates it."}
		}
		by = append(by, sealer{root, rec.Seals[i].Root})
	}
	return by, nil
}

// RotateRoot seals the instance keys under next instead of the root that the Manager was opened with.
// Keys and ciphertexts stay as they are, and all open Managers continue. When it has returned nil,
// next alone opens everything that any process was ever told is done, and a previous root opens
// nothing that the store then holds. Older copies of the store it still opens: see Shred.
//
// It works in two phases. In the first, each instance key is sealed under next as well, and both roots
// open the store. Then the record of the default instance is sealed under next alone, and from then on
// Open takes next alone. In the second phase the seals by previous roots are taken away.
//
// It may fail, end with its context, or be killed anywhere. Repeat it with the same next, by a Manager
// that was opened with either root. One that was opened with next may have to be given the previous
// root as former: it returns ErrRoot if it meets an instance that is under a root which it was not
// given, and has lost nothing. Former may be any further roots that may have sealed an instance.
//
// An instance that none of the roots opens, although they open the store, is reported with ErrRoot and
// does not hold up the others. So is an item among the instances that is not one, with ErrTampered.
//
// Another Manager that was opened with the previous root continues with the instances that it has
// opened. It returns ErrRoot for others, and for CreateInstance, until it is opened with next.
func (m *Manager) RotateRoot(ctx context.Context, next Root, former ...Root) (err error) {
	c := m.begin(OpRotateRoot)
	defer c.end(ctx, &err)
	if slices.ContainsFunc(append([]Root{next}, former...), func(r Root) bool { return absent(r) }) {
		return invalid(c.op, "a root is nil")
	}
	if err := c.authorize(ctx, Request{}); err != nil {
		return err
	}
	r := &rotation{m: m, c: c, own: m.roots(), next: sealer{root: next}, doubt: map[string]bool{}}
	for _, root := range slices.Concat([]Root{next}, r.own, former) {
		if !slices.ContainsFunc(r.roots, func(known Root) bool { return oneRoot(known, root) }) {
			r.roots = append(r.roots, root)
		}
	}
	if err := r.announce(ctx); err != nil {
		return err
	}
	m.rootsNow.Store(&r.roots) // after a failure, too: either may be needed
	if err := c.retry(ctx, "", func() error { return r.commit(ctx) }); err != nil {
		return err
	}
	foreign, err := r.all(ctx, r.dropped, r.drop)
	if err != nil {
		return err
	}
	if err := errors.Join(append(r.left, foreign...)...); err != nil {
		return err
	}
	m.rootsNow.Store(&[]Root{next})
	return nil
}

// oneRoot reports whether two roots are the same value.
func oneRoot(a, b Root) bool {
	return reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}

// A rotation is one RotateRoot.
type rotation struct {
	m     *Manager
	c     *call
	own   []Root          // that the Manager had before
	roots []Root          // all that are at hand
	next  sealer          // what is rotated to
	again bool            // next is a root that the store had before
	whole bool            // the roots at hand are all that open the record of the default instance
	home  *instanceRecord // of the default instance, when the round began
	left  []error         // of instances that none of the roots opens, in this round
	doubt map[string]bool // what was left by a round
	sure  bool            // all that this round left was left by one before
}

// announce adds a seal by the next root to the record of the default instance, unless that has one. So
// every process learns that the root is being rotated.
func (r *rotation) announce(ctx context.Context) error {
	return r.c.retry(ctx, "", func() error {
		home, version, err := r.m.getInstance(ctx, r.c, DefaultInstance)
		if err != nil {
			return err
		}
		last := &home.Seals[len(home.Seals)-1]
		known := home.opens(last, r.next.root)
		r.next.generation = last.Root
		if !known || (len(home.Seals) == 1 && home.opens(last, r.own...)) { // it is not the unfinished one
			r.next.generation++
		}
		r.again, r.whole = known && last.Root < r.next.generation, true
		for i := range home.Seals {
			s := &home.Seals[i]
			previous := s.Root < r.next.generation
			r.again = r.again || (previous && home.opens(s, r.next.root))
			r.whole = r.whole && (!previous || home.opens(s, r.roots...))
		}
		if home.newest() == r.next.generation {
			return nil
		}
		if err := home.carry(r.c.op, r.roots, r.next, r.again, r.c.now()); err != nil {
			return err
		}
		return r.m.writeInstance(ctx, r.c, home, version)
	})
}

// commit carries all instances over, and then seals the record of the default instance under the next
// root alone. It returns errStale if that record was written meanwhile: an instance may have come, or its
// record may have been replaced, where the round had passed already.
func (r *rotation) commit(ctx context.Context) error {
	home, version, err := r.m.getInstance(ctx, r.c, DefaultInstance)
	if err != nil {
		return err
	}
	if home.newest() != r.next.generation {
		return refuseBecause(r.c.op, "", ErrRoot, "another rotation of the root was begun, to another root", nil)
	}
	r.home, r.left, r.sure = home, nil, true
	if _, err := r.all(ctx, r.carried, r.carry); err != nil {
		return err
	}
	switch {
	case len(r.left) > 0 && !r.whole:
		return errors.Join(r.left...)
	case !r.sure:
		return errStale
	case home.oldest() == r.next.generation: // it was done before
		return nil
	}
	alone := *home
	alone.drop(r.next.generation)
	return r.m.writeInstance(ctx, r.c, &alone, version)
}

// all takes a step of every instance for which it was not taken. What is not an instance must not
// keep the root from being rotated: it is returned.
func (r *rotation) all(ctx context.Context, taken func(*instanceRecord) bool, step func(context.Context, string) error) (foreign []error, err error) {
	for item, err := range r.m.store.List(ctx, instanceSegment, "") {
		if err != nil {
			return nil, r.c.storeFailed("", err)
		}
		id := strings.TrimPrefix(item.Name, instanceSegment)
		if id == DefaultInstance {
			continue
		}
		rec, err := r.m.readInstance(ctx, r.c, id, item.Value)
		if err == nil && !taken(rec) {
			err = step(ctx, id)
		}
		switch {
		case refusedAs(err, ErrTampered):
			foreign = append(foreign, err)
		case err != nil:
			return nil, err
		}
	}
	return foreign, nil
}

func (r *rotation) carried(rec *instanceRecord) bool {
	return rec.destroyed() || rec.lost(r.home.oldest()) || rec.newest() >= r.next.generation
}

// carry adds a seal by the next root to one instance. If no root opens it, carry notes that in its
// record, so that the instance is not taken for one that was never made.
func (r *rotation) carry(ctx context.Context, id string) error {
	return r.c.retry(ctx, "", func() error {
		rec, version, err := r.m.storedInstance(ctx, r.c, id)
		if err != nil || r.carried(rec) {
			return err
		}
		switch err := rec.carry(r.c.op, r.roots, r.next, r.again, r.c.now()); {
		case refusedAs(err, ErrRoot) && r.works(ctx):
			r.leave(id, err)
			if !r.whole || rec.Rooted == r.next.generation {
				return nil
			}
			if !r.doubt[id] { // the root may have failed this once
				r.doubt[id], r.sure = true, false
				return nil
			}
			rec.Rooted = r.next.generation
		case err != nil:
			return err
		}
		return r.m.writeInstance(ctx, r.c, rec, version)
	})
}

// leave notes an instance that none of the roots opens, once in a round.
func (r *rotation) leave(id string, cause error) {
	same := func(err error) bool { return refusalOf(err).inst == id }
	r.left = append(slices.DeleteFunc(r.left, same), &refusal{op: r.c.op, inst: id, cond: ErrRoot, text: "none of the roots opens it", cause: cause,
		hint: "Repeat RotateRoot and give the root that the instance is under, too, or release the instance with ReleaseInstance by force."})
}

// works reports whether the roots at hand still do what they did when the rotation began.
func (r *rotation) works(ctx context.Context) bool {
	home, _, err := r.m.getInstance(ctx, r.c, DefaultInstance)
	if err != nil {
		return false
	}
	for i := range home.Seals {
		if r.whole && !home.opens(&home.Seals[i], r.roots...) {
			return false
		}
	}
	return home.opens(&home.Seals[len(home.Seals)-1], r.next.root)
}

// dropped reports whether there is nothing to take away, or nothing else that opens the instance.
func (r *rotation) dropped(rec *instanceRecord) bool {
	return rec.destroyed() || rec.oldest() >= r.next.generation || rec.newest() < r.next.generation
}

// drop takes the seals by previous roots from one instance.
func (r *rotation) drop(ctx context.Context, id string) error {
	return r.c.retry(ctx, "", func() error {
		rec, version, err := r.m.storedInstance(ctx, r.c, id)
		if err != nil || r.dropped(rec) {
			return err
		}
		rec.drop(r.next.generation)
		return r.m.writeInstance(ctx, r.c, rec, version)
	})
}

// sealUnder seals an instance key under a root, and opens it once before it is trusted.
func sealUnder(root Root, key, where []byte) ([]byte, error) {
	sealed, err := root.Encrypt(key, where)
	if err != nil {
		return nil, err
	}
	again, err := root.Decrypt(sealed, where)
	if err != nil {
		return nil, err
	}
	defer clear(again)
	if subtle.ConstantTimeCompare(again, key) != 1 {
		return nil, errors.New("kms: the root does not give back what it sealed")
	}
	return sealed, nil
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}
