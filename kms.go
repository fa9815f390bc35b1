package kms

import (
	"context"
	"encoding/binary"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/provider"
)

// Manager is the key management service over one key store. Its methods may be called by
// many goroutines. It is made by Open and starts nothing by itself. Close keeps what was
// counted of the use of keys, and else does nothing.
type Manager struct {
	store       keystore.Store
	root        atomic.Pointer[Root]
	home        atomic.Pointer[instanceEntry] // the default instance
	opened      sync.Map                      // instance ID -> *instance
	providers   map[Protection]provider.Provider
	clock       func() time.Time
	ticks       bool         // the clock is the machine's
	tick        atomic.Int64 // the second since 1970, while Run keeps it; else 0
	ask         func(context.Context, Request) error
	tell        func(context.Context, Event)
	staleness   time.Duration
	purgeDelay  time.Duration
	onRelease   func(context.Context, *Manager, Instance) error
	maxVersions int
	ids         idSource

	allowances allowances

	keys         *cache[keyID, *entry]
	keyChanges   *follower
	aliases      *cache[string, aliasEntry]
	aliasChanges *follower

	instances       *cache[string, *instanceEntry]
	instanceChanges *follower

	latestKeys      *latest[keyID]
	latestAliases   *latest[string]
	latestInstances *latest[string]

	usage  tallies
	looked atomic.Pointer[duePass] // the last that this process made; nil: none yet
	legacy *sources
}

// Open returns a Manager for a key store. On a new store it makes the default instance.
// It returns ErrRoot where the root is another than the one that the store was made
// with, ErrTampered where the record of the default instance was changed, and ErrUnavailable
// where the store cannot be read.
func Open(ctx context.Context, cfg Config) (*Manager, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	m := &Manager{
		store: cfg.Store, clock: cfg.now(), ticks: cfg.Now == nil, ask: cfg.Authorize, tell: cfg.Observe,
		onRelease: cfg.OnRelease, staleness: cfg.MaxStaleness, purgeDelay: cfg.purgeDelay(), maxVersions: cfg.maxVersions(),
		providers: map[Protection]provider.Provider{},
	}
	m.root.Store(&cfg.Root)
	m.allowances.most, m.allowances.first = MaxHSMUses, firstBlock
	if cfg.Software != nil {
		m.providers[ProtectionSoftware] = cfg.Software
	}
	if cfg.HSM != nil {
		m.providers[ProtectionHSM] = cfg.HSM
	}
	seed := maphash.MakeSeed()
	byID := func(id keyID) uint64 {
		return binary.LittleEndian.Uint64(id[8:]) * 0x9E3779B97F4A7C15 >> 20
	}
	m.keys = newCache[keyID, *entry](cfg.cacheKeys(), byID)
	byName := func(s string) uint64 { return maphash.String(seed, s) }
	m.aliases = newCache[string, aliasEntry](cfg.cacheKeys(), byName)
	m.instances = newCache[string, *instanceEntry](cfg.cacheKeys(), byName)
	m.keyChanges = newFollower(m.store, keySegment, m.staleness, m.clock, m.forgetKey, m.keys.dropAll)
	m.aliasChanges = newFollower(m.store, aliasSegment, m.staleness, m.clock, m.aliases.drop, m.aliases.dropAll)
	m.instanceChanges = newFollower(m.store, instanceSegment, m.staleness, m.clock, m.forgetInstance, m.instances.dropAll)
	m.latestKeys = newLatest(m.keyChanges, byID)
	m.latestAliases = newLatest(m.aliasChanges, byName)
	m.latestInstances = newLatest(m.instanceChanges, byName)

	var err error
	if m.legacy, err = readSources(ctx, cfg.Legacy); err != nil {
		return nil, err
	}
	for _, f := range []*follower{m.keyChanges, m.aliasChanges, m.instanceChanges} {
		if err := f.again(ctx); err != nil { // what is known from here on is lost where the store is
			return nil, unavailable(opOpen, "", "the key store", err)
		}
	}
	home, err := openHome(ctx, m.store, cfg.Root, m.now())
	if err != nil {
		return nil, err
	}
	m.settleHome(home)
	m.latestInstances.saw(DefaultInstance, home.rec.Seq, m.latestInstances.before(DefaultInstance))
	return m, nil
}

// now reads the clock for a record.
func (m *Manager) now() time.Time { return recorded(m.clock()) }

// recorded drops from a time what does not belong into a record.
func recorded(t time.Time) time.Time { return t.Round(0).UTC() }

func (m *Manager) forgetKey(name string) {
	if id, ok := parseKeyID(strings.TrimPrefix(name, keySegment)); ok {
		m.keys.drop(id)
	}
}

// errStale is write's answer where the record is not what was read any more.
var errStale = errors.New("kms: the record was changed meanwhile")

// write puts a record with its next sequence number in place of the version that it was
// read at, or says errStale.
func (m *Manager) write(ctx context.Context, c *call, r *record, old keystore.Version) (keystore.Version, error) {
	if err := m.noteDue(ctx, c, r); err != nil {
		return "", err
	}
	r.Seq++
	name := keyItem(r.id())
	value, err := r.in.encodeItem(name, r)
	if errors.Is(err, errTooLarge) {
		return "", refuseBecause(c.op, r.id(), ErrLimit, "all that is known of the key is more than 512 KiB", nil)
	}
	if err != nil { // all that callers give has its bounds; the clock has not
		return "", badDate(c.op)
	}
	known := m.latestKeys.before(r.ID)
	version, err := m.store.Put(ctx, name, old, value)
	if err == nil {
		m.latestKeys.saw(r.ID, r.Seq, known)
	}
	if old != "" {
		m.keys.drop(r.ID)
	} else if err == nil {
		version, err = m.created(ctx, c, r, version)
	}
	return version, written(c.op, r.id(), err)
}

// written is what a Put says to callers.
func written(op Op, keyID string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, keystore.ErrConflict):
		return errStale
	default:
		return outcomeUnknown(op, keyID, err)
	}
}

// update is the only way in which a call changes a key: read it, decide, change it, and
// write it if it is still what was read; else again from the start. What changes
// nothing writes nothing. An argument that is bad is refused before all that.
func (m *Manager) update(ctx context.Context, op Op, ref string, bad error, change func(c *call, r *record) error) (Key, error) {
	return m.updateAs(ctx, "", op, ref, bad, change)
}

// updateAs is update by the view of a service; "" is the Manager itself.
func (m *Manager) updateAs(ctx context.Context, service string, op Op, ref string, bad error, change func(c *call, r *record) error) (_ Key, err error) {
	c := m.begin(op)
	c.service = service
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
		c.again() // time passed: a deletion date may have come
		ie, err := m.allow(ctx, c, e.record)
		if err != nil {
			return Key{}, err
		}
		r := e.record.clone()
		if err := change(c, r); err != nil {
			return Key{}, err
		}
		if r.equal(e.record) {
			return m.describe(r, ie, c.now()), nil
		}
		r.settle(c.now())
		if _, err := m.write(ctx, c, r, e.version); err == nil {
			return m.describe(r, ie, c.now()), nil
		} else if !errors.Is(err, errStale) {
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
	case errors.Is(err, provider.ErrSignature):
		return refuse(op, keyID, ErrSignature)
	case errors.Is(err, provider.ErrUnsupported):
		return refuseBecause(op, keyID, ErrUnsupported, "the provider", err)
	case errors.Is(err, provider.ErrNoKey):
		return refuseBecause(op, keyID, ErrTampered, "the provider does not know the key's material", nil)
	default:
		return unavailable(op, keyID, "the provider", err)
	}
}
