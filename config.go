package kms

import (
	"context"
	"reflect"
	"time"

	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/legacy"
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

	// Legacy are keys of other systems, one source for each kind of ciphertexts. Decrypt opens
	// what they made; MigrateLegacyKey takes them over. They are asked for their keys by Open.
	Legacy []legacy.Source

	// Now is the only clock. A use of a key reads it at most once, where a date bears on it or to
	// date it; a change of a key reads it again before it decides. Nil is time.Now.
	Now func() time.Time

	// Authorize is asked before every call that is about keys, when its arguments are found
	// good, and again for every further key that it concerns; for a loop, when it begins.
	// An error refuses the call with ErrDenied. Nil allows all.
	Authorize func(context.Context, Request) error

	// Observe is told of every call when it is over, with the call's context, which may say
	// who called, and of every step that time asked for, when it was taken: see Step. It runs on
	// the caller's goroutine, under Run also on goroutines of Run, and must be quick. Nil tells
	// nobody.
	Observe func(context.Context, Event)

	// MaxStaleness is how long after a change was made by another process this one may
	// still act on what it read before. Zero is at once, which costs a look at the store
	// before every use. Where one process owns the store (Memory, boltstore) a change is
	// always obeyed at once, and at no cost. At most 1 h.
	MaxStaleness time.Duration

	// CacheKeys is for how many opened keys, and how many aliases, there is room in memory;
	// Open takes 32 bytes for each. Zero and less is 10 000, the most is 16 777 216.
	CacheKeys int

	// PurgeDelay is how long Maintain waits, once it saw a deletion date passed, before it
	// destroys the key's material, so that a clock that jumped can be set right. The key
	// is Deleted meanwhile. Zero is 24 hours, negative is not at all; at most 72 hours.
	PurgeDelay time.Duration

	// OnRelease is called before an instance is released: by Maintain when its grace is over,
	// and by ReleaseInstance without Force. A backup with BackupInstance is what it is for. If
	// it fails, the release waits. Two processes may call it at once. Nil does nothing.
	OnRelease func(context.Context, *Manager, Instance) error

	// MaxKeyVersions is how many versions a key may have. Zero is 50, the most is 1000. Versions
	// that were retired do not count once Maintain has destroyed them.
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

// The bounds of a Config.
const (
	maxStaleness   = time.Hour
	maxPurgeDelay  = 72 * time.Hour
	maxCacheKeys   = 1 << 24
	maxKeyVersions = 1000
)

func (c Config) check() error {
	switch {
	case absent(c.Store):
		return invalid(opOpen, "Config.Store is required")
	case absent(c.Root):
		return invalid(opOpen, "Config.Root is required")
	case c.Software != nil && absent(c.Software), c.HSM != nil && absent(c.HSM):
		return invalid(opOpen, "Config.Software or Config.HSM is a nil pointer, which is no provider")
	case c.Software == nil && c.HSM == nil:
		return invalid(opOpen, "one of Config.Software and Config.HSM is required")
	case c.MaxStaleness < 0 || c.MaxStaleness > maxStaleness:
		return invalid(opOpen, "Config.MaxStaleness is not 0 to %v", maxStaleness)
	case c.PurgeDelay > maxPurgeDelay:
		return invalid(opOpen, "Config.PurgeDelay is more than %v", maxPurgeDelay)
	case c.CacheKeys > maxCacheKeys:
		return invalid(opOpen, "Config.CacheKeys is more than %d", maxCacheKeys)
	case c.MaxKeyVersions > maxKeyVersions:
		return invalid(opOpen, "Config.MaxKeyVersions is more than %d", maxKeyVersions)
	}
	return nil
}

// absent tells whether there is nothing, or the nil pointer that a constructor returns beside an error.
func absent(v any) bool {
	r := reflect.ValueOf(v)
	return !r.IsValid() || (r.Kind() == reflect.Pointer && r.IsNil())
}
