package kv

import (
	"hash/maphash"
	"sync"
)

// Cache keeps values that never change, found again by keys that are never reused, up to a number
// of bytes. Because a value cannot become wrong, nothing has to be told to a Cache when the database
// changes, and transactions of any age may share it. It is safe for concurrent use.
//
// What goes when there is no room is what was not asked for since the clock's hand last passed: in
// one pass over a lot that is read once, the few that are read again stay.
type Cache[K comparable, V any] struct {
	seed   maphash.Seed
	shards [cacheShards]cacheShard[K, V]
}

// cacheShards is the number of locks: sessions that hit at the same time seldom meet.
const cacheShards = 16

type cacheShard[K comparable, V any] struct {
	mu    sync.Mutex
	limit int64
	used  int64
	index map[K]int32 // into slots
	slots []cacheSlot[K, V]
	free  []int32 // empty slots
	hand  int     // the slot that is looked at next when room is needed
	_     [24]byte
}

type cacheSlot[K comparable, V any] struct {
	key   K
	value V
	size  int64 // 0: empty
	asked bool  // since the hand passed
	idle  uint8 // calls of Age since it was put or asked for
}

// NewCache returns an empty Cache for limit bytes. It takes no memory until it is used.
func NewCache[K comparable, V any](limit int64) *Cache[K, V] {
	c := &Cache[K, V]{seed: maphash.MakeSeed()}
	for i := range c.shards {
		c.shards[i].limit = limit / cacheShards
	}
	return c
}

func (c *Cache[K, V]) shard(key K) *cacheShard[K, V] {
	return &c.shards[maphash.Comparable(c.seed, key)%cacheShards]
}

// Get returns the value of key, which must not be changed. It stays valid after it has left the
// Cache.
func (c *Cache[K, V]) Get(key K) (value V, ok bool) {
	s := c.shard(key)
	s.mu.Lock()
	i, ok := s.index[key]
	if ok {
		slot := &s.slots[i]
		slot.asked, slot.idle = true, 0
		value = slot.value
	}
	s.mu.Unlock()
	return value, ok
}

// Put offers a value that takes size bytes with all that it points to. It must not be changed from
// here on. One that is too large for the Cache is not taken.
func (c *Cache[K, V]) Put(key K, value V, size int64) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.index[key]; ok || size <= 0 || size > s.limit/4 {
		return
	}
	for s.used+size > s.limit {
		s.evict()
	}
	var i int32
	if n := len(s.free); n > 0 {
		i, s.free = s.free[n-1], s.free[:n-1]
	} else {
		i = int32(len(s.slots))
		s.slots = append(s.slots, cacheSlot[K, V]{})
	}
	s.slots[i] = cacheSlot[K, V]{key: key, value: value, size: size}
	if s.index == nil {
		s.index = map[K]int32{}
	}
	s.index[key] = i
	s.used += size
}

// evict removes one value; there is one, as something is used.
func (s *cacheShard[K, V]) evict() {
	for {
		if s.hand >= len(s.slots) {
			s.hand = 0
		}
		i := s.hand
		s.hand++
		switch slot := &s.slots[i]; {
		case slot.size == 0:
		case slot.asked:
			slot.asked = false
		default:
			s.remove(int32(i))
			return
		}
	}
}

func (s *cacheShard[K, V]) remove(i int32) {
	slot := &s.slots[i]
	s.used -= slot.size
	delete(s.index, slot.key)
	*slot = cacheSlot[K, V]{}
	s.free = append(s.free, i)
}

// Delete forgets key: for what was removed on purpose.
func (c *Cache[K, V]) Delete(key K) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, ok := s.index[key]; ok {
		s.remove(i)
	}
}

// Age forgets what nobody has asked for since the call before the last: called now and then, it
// gives the memory of a busy hour back in a quiet one.
func (c *Cache[K, V]) Age() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		for k := range s.slots {
			slot := &s.slots[k]
			if slot.size == 0 {
				continue
			}
			if slot.idle++; slot.idle > 1 {
				s.remove(int32(k))
			}
		}
		if s.used == 0 { // maps and slices do not shrink by themselves
			s.index, s.slots, s.free, s.hand = nil, nil, nil, 0
		}
		s.mu.Unlock()
	}
}

// Bytes is what the values in the Cache take.
func (c *Cache[K, V]) Bytes() int64 {
	var n int64
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += s.used
		s.mu.Unlock()
	}
	return n
}
