package kms

import (
	"context"
	"strings"
	"sync"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/keyid"
	"github.com/keyhold/kms/internal/sealing"
	"github.com/keyhold/kms/keystore"
)

// Shred replaces the key of an instance. It seals and authenticates everything that is the instance's
// under a new instance key and forgets the old one. Earlier copies of the store (snapshots, logs, free
// pages) can then be opened only with the previous instance key, which those copies hold sealed under
// the root of that time. To make a deleted key unreadable even to an attacker who has every byte that
// the store ever wrote, and the root: purge the key with Maintain, call Shred, then RotateRoot, then
// destroy the previous root. The order matters: what the new root once sealed it opens. DeletionReceipt
// reports how far a key is.
//
// Keys, ciphertexts and their life stay what they are, whether the instance is Active or Expired. One
// that was released is ErrNotFound. Each item is one write, and other calls continue meanwhile. Shred may
// be killed at any point: the instance then has both keys, and the next Shred continues with the key
// that was begun with. Other processes learn of the new key from the store, for which they need the root:
// a Manager that was opened with a previous root returns ErrRoot until it is opened with the present one.
//
// Import tokens that were issued before are no longer valid: get new parameters. A backup made before
// Shred holds the old key, for its recipient: make a new backup, which ReleaseInstance asks for, and
// destroy the recipient of the others. Such a backup can be restored while the instance is not released,
// and into another key store. Once the instance was released here, Restore refuses it with ErrBackup.
//
// Items that this service did not write are reported as ErrTampered and skipped. An earlier copy of such
// an item is useless from then on.
func (m *Manager) Shred(ctx context.Context, instance string) (_ Instance, err error) {
	c := m.begin(OpShred)
	defer c.end(ctx, &err)
	if err := c.nameInstance(ctx, instance); err != nil {
		return Instance{}, err
	}
	keys, err := m.beginShred(ctx, c, instance)
	if err != nil {
		return Instance{}, err
	}
	s := &shredding{m: m, c: c, keys: keys}
	if err := s.untilAll(ctx); err != nil {
		return Instance{}, err
	}
	rec, err := m.endShred(ctx, c, keys)
	if err != nil {
		return Instance{}, err
	}
	return rec.describe(c.now()), errors.Join(s.foreign...)
}

// beginShred gives an instance a further key and keeps the former, unless it has both already.
func (m *Manager) beginShred(ctx context.Context, c *call, id string) (keys *sealing.Keys, err error) {
	err = c.retry(ctx, "", func() error {
		rec, version, err := m.getInstance(ctx, c, id)
		if err != nil {
			return err
		}
		c.reread()
		if rec.state(c.now()) == InstanceReleased {
			return instanceGone(c.op, id)
		}
		by, err := m.resealers(ctx, c, rec)
		if err != nil {
			return err
		}
		was, err := m.openInstance(ctx, c, rec)
		if err != nil || was.Former() != nil {
			keys = was
			return err
		}
		rec.Generation, rec.KeyedAt = rec.Generation+1, c.now()
		if keys, err = rec.newKey(c.op, by); err != nil {
			return err
		}
		keys = keys.WithFormer(was)
		return m.rekey(ctx, c, rec, keys, version)
	})
	return keys, err
}

// endShred drops the former key, unless another process has.
func (m *Manager) endShred(ctx context.Context, c *call, keys *sealing.Keys) (rec *instanceRecord, err error) {
	err = c.retry(ctx, "", func() error {
		var version keystore.Version
		rec, version, err = m.getInstance(ctx, c, keys.ID())
		if err != nil || rec.Generation != keys.Generation() || !rec.shredding() {
			return err
		}
		for i := range rec.Seals {
			rec.Seals[i].Former = nil
		}
		err := m.rekey(ctx, c, rec, keys.WithFormer(nil), version)
		if !errors.Is(err, errStale) {
			m.forgetAll() // records that were opened with the former key
		}
		return err
	})
	return rec, err
}

// rekey writes the record of an instance whose keys are others now, and makes them known. That
// of the default instance is authenticated by the key that it holds.
func (m *Manager) rekey(ctx context.Context, c *call, rec *instanceRecord, keys *sealing.Keys, version keystore.Version) error {
	by := m.home.Load().keys
	if rec.ID == DefaultInstance {
		by = keys
	}
	version, err := m.writeInstanceBy(ctx, c, by, rec, version)
	if err != nil {
		return err
	}
	if rec.ID == DefaultInstance {
		m.settleHome(&instanceEntry{keys: keys, rec: *rec, version: version})
	} else {
		m.keepOpened(keys)
	}
	m.instances.Drop(rec.ID)
	return nil
}

// shredding is one Shred, between its first write and its last.
type shredding struct {
	m    *Manager
	c    *call
	keys *sealing.Keys
	all  *crew

	mu      sync.Mutex
	changed int     // items, in this pass
	foreign []error // of this pass
}

// untilAll goes through everything at least twice, and until a pass has changed nothing. The
// former key is forgotten after it: a list that left something out once, and what others made
// meanwhile, must not be lost for that.
func (s *shredding) untilAll(ctx context.Context) error {
	for pass := 0; pass < 2 || s.changed > 0; pass++ {
		s.changed, s.foreign, s.all = 0, nil, s.c.crew()
		if err := s.everything(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *shredding) everything(ctx context.Context) error {
	segments := []string{keySegment}
	if s.keys.ID() == DefaultInstance {
		segments = append(segments, homeSegments...)
	}
	for _, segment := range segments {
		for item, err := range s.m.store.List(ctx, segment, "") {
			if err != nil {
				_ = s.all.wait()
				return s.c.storeFailed("", err)
			}
			named, ok := instanceNamed(item.Value)
			if !ok {
				named = DefaultInstance // which tells of what is nobody's
			}
			if named != s.keys.ID() {
				continue
			}
			if err := s.all.do(func() error { return s.reseal(ctx, segment, item) }); err != nil {
				_ = s.all.wait()
				return err
			}
		}
	}
	return s.all.wait()
}

// reseal seals and authenticates an item under the new key, unless it is already.
func (s *shredding) reseal(ctx context.Context, segment string, item keystore.Item) error {
	for {
		if _, done := s.keys.Wrote(item.Name, item.Value); done {
			return nil
		}
		value, ok := s.anew(segment, item)
		if !ok {
			if over, err := s.over(ctx); over || err != nil {
				return err
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.foreign = append(s.foreign, tamperedItem(s.c.op, item.Name))
			return nil
		}
		_, err := s.m.store.Put(ctx, item.Name, item.Version, value)
		switch {
		case err == nil:
			s.mu.Lock()
			defer s.mu.Unlock()
			s.changed++
			return nil
		case !errors.Is(err, keystore.ErrConflict):
			return s.c.storeFailed("", err)
		}
		name := item.Name
		if item, err = s.m.store.Get(ctx, name); err != nil {
			return s.c.storeFailed("", err)
		}
		item.Name = name
	}
}

// over tells whether somebody else has finished this Shred and begun the next.
func (s *shredding) over(ctx context.Context) (bool, error) {
	for keys := s.keys; ; {
		newer, err := s.m.newer(ctx, s.c, keys)
		if err != nil || newer == nil {
			return keys.Generation() != s.keys.Generation(), err
		}
		keys = newer
	}
}

// anew is an item under the new key. It changes nothing, and so its sequence number is what it was.
func (s *shredding) anew(segment string, item keystore.Item) ([]byte, bool) {
	if segment != keySegment {
		body, ok := s.keys.Former().Wrote(item.Name, item.Value)
		return s.keys.Authenticate(item.Name, body), ok
	}
	text := strings.TrimPrefix(item.Name, keySegment)
	id, ok := keyid.Parse(text)
	if !ok {
		return nil, false
	}
	r, err := decodeRecord(s.keys, id, text, item.Value)
	if err != nil {
		return nil, false
	}
	value, err := s.keys.Encode(item.Name, r)
	return value, err == nil
}

func tamperedItem(op Op, name string) error {
	return &refusal{op: op, cond: ErrTampered, text: "the item", said: quoted(name)}
}
