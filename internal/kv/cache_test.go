package kv

import (
	"math/rand/v2"
	"sync"
	"testing"
)

func TestCacheKeepsWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	c := NewCache[int, int](cacheShards * 10_000)
	for k := range 20 {
		c.Put(k, k, 10)
	}
	for pass := range 300 { // far more than there is room for, each read once
		for k := range 20 {
			if v, ok := c.Get(k); !ok || v != k {
				t.Fatalf("pass %d: Get(%d) = %d, %t; it was asked for all the time", pass, k, v, ok)
			}
		}
		for k := range 30 { // fewer than one shard takes: the hand passes once at most
			c.Put(1000+30*pass+k, 0, 100)
		}
		if n := c.Bytes(); n > cacheShards*10_000 {
			t.Fatalf("%d bytes in a cache of %d", n, cacheShards*10_000)
		}
	}
}

func TestCacheAges(t *testing.T) {
	t.Parallel()
	c := NewCache[int, string](1 << 20)
	c.Put(1, "asked for", 10)
	c.Put(2, "forgotten", 10)
	c.Age()
	if _, ok := c.Get(1); !ok {
		t.Error("a value has gone at the first Age")
	}
	c.Age()
	if _, ok := c.Get(2); ok {
		t.Error("a value that nobody asked for is still there")
	}
	if _, ok := c.Get(1); !ok {
		t.Error("a value that was asked for has gone")
	}
	c.Age()
	c.Age()
	if n := c.Bytes(); n != 0 {
		t.Errorf("%d bytes are left when nobody asks", n)
	}
	c.Put(3, "again", 10)
	if v, _ := c.Get(3); v != "again" {
		t.Error("an aged cache takes nothing in")
	}
}

func TestCacheRefusesAndDeletes(t *testing.T) {
	t.Parallel()
	c := NewCache[int, int](cacheShards * 100)
	c.Put(1, 1, 26)
	if _, ok := c.Get(1); ok {
		t.Error("a value took more than a quarter of its part of the cache")
	}
	c.Put(2, 2, 25)
	c.Put(2, 3, 25)
	if v, ok := c.Get(2); !ok || v != 2 {
		t.Errorf("Get = %d, %t; want the first value that was put", v, ok)
	}
	c.Delete(2)
	c.Delete(2)
	if _, ok := c.Get(2); ok || c.Bytes() != 0 {
		t.Error("a deleted value is still there")
	}
}

// TestCacheConcurrent is for the race detector; a value is always that of its key.
func TestCacheConcurrent(t *testing.T) {
	t.Parallel()
	c := NewCache[int, int](cacheShards * 200)
	var wg sync.WaitGroup
	for seed := range uint64(4) {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, 1))
			for range 5000 {
				k := rnd.IntN(200)
				switch rnd.IntN(20) {
				case 0:
					c.Delete(k)
				case 1:
					c.Age()
				default:
					if v, ok := c.Get(k); ok && v != -k {
						t.Errorf("Get(%d) = %d", k, v)
					}
					c.Put(k, -k, int64(1+k%40))
				}
			}
		})
	}
	wg.Wait()
	var sum int64
	for i := range c.shards {
		for _, slot := range c.shards[i].slots {
			sum += slot.size
		}
	}
	if n := c.Bytes(); n != sum || n > cacheShards*200 {
		t.Errorf("%d bytes are counted, %d are there", n, sum)
	}
}
