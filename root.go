package kms

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
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

// RotateRoot seals the instance keys under next instead of the root that the Manager was
// opened with. Keys and ciphertexts stay as they are, and every open Manager goes on; an
// instance that another one had not met yet, or would create, is ErrRoot for it, until it is
// opened anew. It may be killed at any point and repeated, on this Manager or on one opened
// anew with the old root. When it has returned nil, Open takes next and the old root opens
// nothing that the store then holds; older copies of the store it still opens (see Shred). An item
// among the instances that is none is told as ErrTampered, and does not keep the others.
func (m *Manager) RotateRoot(ctx context.Context, next Root) (err error) {
	c := m.begin(OpRotateRoot)
	defer c.end(ctx, &err)
	if absent(next) {
		return invalid(c.op, "the next root is nil")
	}
	if err := c.authorize(ctx, Request{}); err != nil {
		return err
	}
	// The default instance comes after the others, so that the old root opens the store until
	// all is done. From then on nobody makes an instance under the old root; those that were
	// made meanwhile are sealed by the second round.
	again := sameRoot(*m.root.Load(), next)
	var foreign []error
	done := map[string]bool{DefaultInstance: true}
	for range 2 {
		tampered, err := m.resealAll(ctx, c, done, next, again)
		if err == nil {
			err = m.reseal(ctx, c, DefaultInstance, next, again)
		}
		if err != nil {
			return err
		}
		foreign = append(foreign, tampered...)
	}
	m.root.Store(&next)
	return errors.Join(foreign...)
}

// resealAll seals the keys of all instances that are not done. What is no instance of this
// service must not keep the root from being rotated.
func (m *Manager) resealAll(ctx context.Context, c *call, done map[string]bool, next Root, again bool) (foreign []error, err error) {
	for item, err := range m.store.List(ctx, instanceSegment, "") {
		if err != nil {
			return nil, c.storeFailed("", err)
		}
		id := strings.TrimPrefix(item.Name, instanceSegment)
		if done[id] {
			continue
		}
		done[id] = true
		switch err := m.reseal(ctx, c, id, next, again); {
		case refusedAs(err, ErrTampered):
			foreign = append(foreign, err)
		case err != nil:
			return nil, err
		}
	}
	return foreign, nil
}

// reseal seals the key of one instance under next, unless it is already; again says that next is
// the old root.
func (m *Manager) reseal(ctx context.Context, c *call, id string, next Root, again bool) error {
	old := *m.root.Load()
	return c.retry(ctx, "", func() error {
		rec, version, err := m.getInstance(ctx, c, id)
		if err != nil {
			return err
		}
		if len(rec.Sealed) == 0 { // it was released
			return nil
		}
		key, err := rec.key(c.op, old)
		if refusedAs(err, ErrRoot) {
			if opened, done := rec.key(c.op, next); done == nil {
				clear(opened)
				return nil
			}
		}
		if err != nil {
			return err
		}
		if _, err := rec.setKey(c.op, next, key); err != nil {
			return err
		}
		from := rec.Generation
		if len(rec.Former) > 0 { // it is being shredded
			if err := rec.resealFormer(c.op, old, next); err != nil {
				return err
			}
			from--
		}
		if !again {
			rec.RootedFrom, rec.RootedAt = from, c.now()
		}
		return m.writeInstance(ctx, c, rec, version)
	})
}

// sameRoot tells whether the next root is the old one: what that has sealed it opens.
func sameRoot(old, next Root) bool {
	where := []byte("keyhold root v1")
	probe := randomBytes(32)
	sealed, err := next.Encrypt(probe, where)
	if err != nil { // it will be told when it is used
		return false
	}
	opened, err := old.Decrypt(sealed, where)
	return err == nil && subtle.ConstantTimeCompare(opened, probe) == 1
}

// current is the root, unless another process rotated it: what the old one sealed would be
// lost with it.
func (m *Manager) current(ctx context.Context, c *call) (Root, error) {
	root := *m.root.Load()
	home, _, err := m.getInstance(ctx, c, DefaultInstance)
	if err != nil {
		return nil, err
	}
	key, err := home.key(c.op, root)
	clear(key)
	return root, err
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
