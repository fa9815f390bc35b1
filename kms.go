package kms

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyhold/kms/internal/fresh"
	"github.com/keyhold/kms/internal/keyid"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/provider"
)

// Manager is the key management service over one key store. Its methods may be called by
// many goroutines. It is made by Open and starts nothing by itself. Close keeps what was
// counted of the use of keys, and else does nothing.
type Manager struct {
	store       keystore.Store
	rootsNow    atomic.Pointer[[]Root]        // the newest first: one, but while the root is rotated
	oldestRoot  atomic.Uint64                 // the generation that opened the store when it was last read
	home        atomic.Pointer[instanceEntry] // the default instance
	opened      sync.Map                      // instance ID -> *openedInstance
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
	ids         keyid.Source

	allowances allowances

	keys         *fresh.Cache[keyid.ID, *entry]
	keyChanges   *fresh.Follower
	aliases      *fresh.Cache[string, aliasEntry]
	aliasChanges *fresh.Follower

	instances       *fresh.Cache[string, *instanceEntry]
	instanceChanges *fresh.Follower

	latestKeys      *fresh.Latest[keyid.ID]
	latestAliases   *fresh.Latest[string]
	latestInstances *fresh.Latest[string]

	usage  tallies
	unsure unsureSteps
	looked atomic.Pointer[duePass] // the last that this process made; nil: none yet
	legacy *sources
}

// Open returns a Manager for a key store. On a new store it makes the default instance.
// It returns ErrRoot where the root is another than the one that the store was made
// with, ErrTampered where the record of the default instance was changed, and ErrUnavailable
// where the store cannot be read.
func Open(ctx context.Context, cfg Config) (_ *Manager, err error) {
	defer func() { err = ended(ctx, err) }()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if err := checkContext(ctx, opOpen); err != nil {
		return nil, err
	}
	m := &Manager{
		store: cfg.Store, clock: cfg.now(), ticks: cfg.Now == nil, ask: cfg.Authorize, tell: cfg.Observe,
		onRelease: cfg.OnRelease, staleness: cfg.MaxStaleness, purgeDelay: cfg.purgeDelay(), maxVersions: cfg.maxVersions(),
		providers: map[Protection]provider.Provider{},
	}
	m.rootsNow.Store(&[]Root{cfg.Root})
	m.usage.self = rand.Text()
	m.allowances.most, m.allowances.first = MaxHSMUses, firstBlock
	if cfg.Software != nil {
		m.providers[ProtectionSoftware] = cfg.Software
	}
	if cfg.HSM != nil {
		m.providers[ProtectionHSM] = cfg.HSM
	}
	seed := maphash.MakeSeed()
	byID := func(id keyid.ID) uint64 {
		return binary.LittleEndian.Uint64(id[8:]) * 0x9E3779B97F4A7C15 >> 20
	}
	m.keys = fresh.NewCache[keyid.ID, *entry](cfg.cacheKeys(), byID)
	byName := func(s string) uint64 { return maphash.String(seed, s) }
	m.aliases = fresh.NewCache[string, aliasEntry](cfg.cacheKeys(), byName)
	m.instances = fresh.NewCache[string, *instanceEntry](cfg.cacheKeys(), byName)
	m.keyChanges = fresh.NewFollower(m.store, keySegment, m.staleness, m.clock, m.forgetKey, m.keys.DropAll)
	m.aliasChanges = fresh.NewFollower(m.store, aliasSegment, m.staleness, m.clock, m.aliases.Drop, m.aliases.DropAll)
	m.instanceChanges = fresh.NewFollower(m.store, instanceSegment, m.staleness, m.clock, m.forgetInstance, m.instances.DropAll)
	m.latestKeys = fresh.NewLatest(m.keyChanges, byID)
	m.latestAliases = fresh.NewLatest(m.aliasChanges, byName)
	m.latestInstances = fresh.NewLatest(m.instanceChanges, byName)

	if m.legacy, err = readSources(ctx, cfg.Legacy); err != nil {
		return nil, err
	}
	for _, f := range []*fresh.Follower{m.keyChanges, m.aliasChanges, m.instanceChanges} {
		if err := f.Poll(ctx); err != nil { // what is known from here on is lost where the store is
			return nil, unavailable(opOpen, "", "the key store", err)
		}
	}
	home, err := openHome(ctx, m.store, cfg.Root, m.now())
	if err != nil {
		return nil, err
	}
	m.settleHome(home)
	m.sawRoot(&home.rec)
	m.latestInstances.Saw(DefaultInstance, home.rec.Seq, m.latestInstances.Before(DefaultInstance))
	return m, nil
}

// now reads the clock for a record.
func (m *Manager) now() time.Time { return m.begin(opNone).now() }

// recorded drops from a time what does not belong into a record.
func recorded(t time.Time) time.Time { return t.Round(0).UTC() }

func (m *Manager) forgetKey(name string) {
	if id, ok := keyid.Parse(strings.TrimPrefix(name, keySegment)); ok {
		m.keys.Drop(id)
	}
}
