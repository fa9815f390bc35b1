package fresh

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// Cache keeps what was read from the key store, up to a bound. Reading it takes no lock and allocates
// nothing. It is a table of buckets of eight; a full bucket gives up what was not used lately.
//
// What is put was read under a mark. If the key was dropped since the mark was taken, the value may
// be older than the drop, and is not kept.
type Cache[K comparable, V any] struct {
	hash    func(K) uint64
	slots   []atomic.Pointer[cached[K, V]]
	mu      sync.Mutex         // held by Put, Drop and DropAll
	dropped [256]atomic.Uint64 // how often, for the keys of a hash
}

type cached[K comparable, V any] struct {
	key   K
	value V
	used  atomic.Bool
}

const bucket = 8

// NewCache returns a Cache with room for n values. To keep buckets from being full
// early it has at least twice as many slots.
func NewCache[K comparable, V any](n int, hash func(K) uint64) *Cache[K, V] {
	slots := max(bucket, 1<<bits.Len(uint(2*max(n, 1)-1)))
	return &Cache[K, V]{hash: hash, slots: make([]atomic.Pointer[cached[K, V]], slots)}
}

func (c *Cache[K, V]) bucket(key K) []atomic.Pointer[cached[K, V]] {
	start := c.hash(key) * bucket & uint64(len(c.slots)-1)
	return c.slots[start : start+bucket]
}

// Get returns the value of key, if it is kept.
func (c *Cache[K, V]) Get(key K) (value V, ok bool) {
	slots := c.bucket(key)
	for i := range slots {
		if e := slots[i].Load(); e != nil && e.key == key {
			if !e.used.Load() {
				e.used.Store(true)
			}
			return e.value, true
		}
	}
	return value, false
}

// Mark is taken before the value of key is read from the key store.
func (c *Cache[K, V]) Mark(key K) uint64 { return c.drops(key).Load() }

func (c *Cache[K, V]) drops(key K) *atomic.Uint64 {
	return &c.dropped[c.hash(key)%uint64(len(c.dropped))]
}

// Put keeps a value that was read under mark.
func (c *Cache[K, V]) Put(key K, value V, mark uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.Mark(key) != mark {
		return
	}
	slots := c.bucket(key)
	victim := &slots[0]
	for rank, i := 0, 0; i < bucket; i++ {
		switch e := slots[i].Load(); {
		case e != nil && e.key == key:
			victim, rank = &slots[i], 3
		case e == nil && rank < 2:
			victim, rank = &slots[i], 2
		case e != nil && !e.used.Swap(false) && rank < 1:
			victim, rank = &slots[i], 1
		}
	}
	victim.Store(&cached[K, V]{key: key, value: value})
}

// Drop forgets key.
func (c *Cache[K, V]) Drop(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drops(key).Add(1)
	slots := c.bucket(key)
	for i := range slots {
		if e := slots[i].Load(); e != nil && e.key == key {
			slots[i].Store(nil)
		}
	}
}

// DropAll forgets everything.
func (c *Cache[K, V]) DropAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.dropped {
		c.dropped[i].Add(1)
	}
	for i := range c.slots {
		c.slots[i].Store(nil)
	}
}

// Len counts the values that are kept.
func (c *Cache[K, V]) Len() (n int) {
	for i := range c.slots {
		if c.slots[i].Load() != nil {
			n++
		}
	}
	return n
}
