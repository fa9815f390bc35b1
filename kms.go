package kms

import (
	"context"
	"encoding/binary"
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/provider"
)

// Config is what a Manager is opened with. Store, Root and one provider are required.
type Config struct {
	// Store is where the keys are kept. The caller closes it, after the Manager's last use.
	Store keystore.Store

	// Root seals the key store. Without it nothing in the store can be read.
	Root Root

	// Software and HSM do the cryptography of the keys of either protection level.
	Software, HSM provider.Provider

	// Now is the only clock, read once per call. Nil is time.Now.
	Now func() time.Time

	// Authorize is asked before every call and again for every further key that the call
	// concerns. An error refuses the call with ErrDenied. Nil allows all.
	Authorize func(context.Context, Request) error

	// Observe is told of every call when it is over, with the call's context, which may say
	// who called. It runs on the caller's goroutine and must be quick. Nil tells nobody.
	Observe func(context.Context, Event)

	// MaxStaleness is how long after a change was made by another process this one may
	// still act on what it read before. Zero is at once, which costs a look at the store
	// before every use. Where one process owns the store (Memory, boltstore) a change is
	// always obeyed at once, and at no cost.
	MaxStaleness time.Duration

	// CacheKeys is for how many opened keys there is room in memory. Zero is 10 000.
	CacheKeys int

	// PurgeDelay is how long Maintain waits, once it saw a deletion date passed, before it
	// destroys the key's material, so that a clock that jumped can be set right. The key
	// is Deleted meanwhile. Zero is 24 hours, negative is not at all; at most 72 hours.
	PurgeDelay time.Duration

	// MaxKeyVersions is how many versions a key may have. Zero is 50.
	MaxKeyVersions int
}

func (c Config) maxVersions() int {
	if c.MaxKeyVersions <= 0 {
		return 50
	}
	return c.MaxKeyVersions
}

func (c Config) now() func() time.Time {
	if c.Now == nil {
		return time.Now
	}
	return c.Now
}

func (c Config) cacheKeys() int {
	if c.CacheKeys <= 0 {
		return 10_000
	}
	return c.CacheKeys
}

func (c Config) purgeDelay() time.Duration {
	if c.PurgeDelay == 0 {
		return 24 * time.Hour
	}
	return max(c.PurgeDelay, 0)
}

func (c Config) check() error {
	switch {
	case c.Store == nil:
		return invalid(opOpen, "Config.Store is required")
	case c.Root == nil:
		return invalid(opOpen, "Config.Root is required")
	case c.Software == nil && c.HSM == nil:
		return invalid(opOpen, "one of Config.Software and Config.HSM is required")
	case c.MaxStaleness < 0 || c.MaxStaleness > time.Hour:
		return invalid(opOpen, "Config.MaxStaleness is not 0 to 1 h")
	case c.PurgeDelay > 72*time.Hour:
		return invalid(opOpen, "Config.PurgeDelay is more than 72 h")
	case c.CacheKeys > 1<<24:
		return invalid(opOpen, "Config.CacheKeys is more than 16 777 216")
	case c.MaxKeyVersions > 1000:
		return invalid(opOpen, "Config.MaxKeyVersions is more than 1000")
	}
	return nil
}

// Manager is the key management service over one key store. Its methods may be called by
// many goroutines. It starts nothing by itself and needs no closing.
type Manager struct {
	store       keystore.Store
	root        atomic.Pointer[Root]
	instance    *instance
	providers   map[Protection]provider.Provider
	clock       func() time.Time
	ask         func(context.Context, Request) error
	tell        func(context.Context, Event)
	staleness   time.Duration
	purgeDelay  time.Duration
	maxVersions int
	ids         idSource

	keys         *cache[keyID, *entry]
	keyChanges   *follower
	aliases      *cache[string, aliasEntry]
	aliasChanges *follower
}

// Open returns a Manager for a key store. On a new store it makes the default instance.
// It returns ErrRoot where the root is another than the one that the store was made
// with, ErrTampered where the record of the instance was changed, and ErrUnavailable
// where the store cannot be read.
func Open(ctx context.Context, cfg Config) (*Manager, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	m := &Manager{
		store: cfg.Store, clock: cfg.now(), ask: cfg.Authorize, tell: cfg.Observe,
		staleness: cfg.MaxStaleness, purgeDelay: cfg.purgeDelay(), maxVersions: cfg.maxVersions(),
		providers: map[Protection]provider.Provider{},
	}
	m.root.Store(&cfg.Root)
	if cfg.Software != nil {
		m.providers[ProtectionSoftware] = cfg.Software
	}
	if cfg.HSM != nil {
		m.providers[ProtectionHSM] = cfg.HSM
	}
	seed := maphash.MakeSeed()
	m.keys = newCache[keyID, *entry](cfg.cacheKeys(), func(id keyID) uint64 {
		return binary.LittleEndian.Uint64(id[8:]) * 0x9E3779B97F4A7C15 >> 20
	})
	m.aliases = newCache[string, aliasEntry](cfg.cacheKeys(), func(s string) uint64 { return maphash.String(seed, s) })
	m.keyChanges = newFollower(m.store, keySegment, m.staleness, m.forgetKey, m.keys.dropAll)
	m.aliasChanges = newFollower(m.store, aliasSegment, m.staleness, m.aliases.drop, m.aliases.dropAll)

	var err error
	m.instance, err = openInstance(ctx, m.store, cfg.Root, m.now())
	if err != nil {
		return nil, err
	}
	return m, nil
}

// now reads the clock and drops what does not belong into a record.
func (m *Manager) now() time.Time { return m.clock().Round(0).UTC() }

func (m *Manager) forgetKey(name string) {
	if id, ok := parseKeyID(name[len(keySegment):]); ok {
		m.keys.drop(id)
	}
}

// write puts a record with its next sequence number in place of the version that it was
// read at. ErrConflict is the store's, unwrapped.
func (m *Manager) write(ctx context.Context, c *call, r *record, old keystore.Version) (keystore.Version, error) {
	r.Seq++
	name := keyItem(r.id())
	value, err := m.instance.encodeItem(name, r)
	if err != nil {
		return "", errors.NewAssertionErrorWithWrappedErrf(err, "kms: a record that cannot be encoded")
	}
	version, err := m.store.Put(ctx, name, old, value)
	if old != "" {
		m.keys.drop(r.ID)
	}
	if err != nil && !errors.Is(err, keystore.ErrConflict) {
		return "", outcomeUnknown(c.op, r.id(), err)
	}
	return version, err
}

// update is the only way in which a call changes a key: read it, decide, change it, and
// write it if it is still what was read; else again from the start. What changes
// nothing writes nothing. An argument that is bad is refused before all that.
func (m *Manager) update(ctx context.Context, op Op, ref string, bad error, change func(c *call, r *record) error) (_ Key, err error) {
	c := m.begin(op)
	defer c.end(ctx, &err)
	if bad != nil {
		return Key{}, bad
	}
	id, err := m.resolve(ctx, c, ref)
	if err != nil {
		return Key{}, err
	}
	for {
		e, err := m.load(ctx, c, id)
		if err != nil {
			return Key{}, err
		}
		if err := e.record.allow(op, c.now); err != nil {
			return Key{}, err
		}
		r := e.record.clone()
		if err := change(c, r); err != nil {
			return Key{}, err
		}
		if r.equal(e.record) {
			return m.describe(r, c.now), nil
		}
		r.settle(c.now)
		if _, err := m.write(ctx, c, r, e.version); err == nil {
			return m.describe(r, c.now), nil
		} else if !errors.Is(err, keystore.ErrConflict) {
			return Key{}, err
		}
		if ctx.Err() != nil {
			return Key{}, unavailable(op, r.id(), "", context.Cause(ctx))
		}
	}
}

// fromProvider gives a provider's error the name that callers know.
func fromProvider(op Op, keyID string, err error) error {
	switch {
	case errors.Is(err, provider.ErrCiphertext):
		return refuse(op, keyID, ErrCiphertext)
	case errors.Is(err, provider.ErrUnsupported):
		return refuseBecause(op, keyID, ErrUnsupported, "the provider", err)
	case errors.Is(err, provider.ErrNoKey):
		return refuseBecause(op, keyID, ErrTampered, "the provider does not know the key's material", nil)
	default:
		return unavailable(op, keyID, "the provider", err)
	}
}
