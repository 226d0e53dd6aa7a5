package dns

import (
	"sync"
	"time"

	"github.com/miekg/dns"

	"tram/internal/clock"
	"tram/internal/limits"
)

const (
	// failureTTL is how long a failure is remembered, so that a thousand messages for a domain
	// whose servers are broken do not ask them a thousand times (RFC 9520 §3.2).
	failureTTL = time.Second
	// maxRecords and maxBytes bound an answer that is kept; a bigger one is asked for anew each
	// time.
	maxRecords = 100
	maxBytes   = 8 << 10
)

// cache keeps answers, denials and failures for as long as they say.
type cache struct {
	clock  clock.Clock
	limits limits.DNS

	mu      sync.Mutex
	entries map[question]entry
}

type entry struct {
	answer answer
	err    error
	until  time.Time
}

func newCache(c clock.Clock, l limits.DNS) *cache {
	return &cache{clock: c, limits: l, entries: map[question]entry{}}
}

// get returns what is known of a question; the time to live is what is left of it.
func (c *cache) get(q question) (a answer, err error, ok bool) {
	now := c.clock.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[q]
	if !ok {
		return answer{}, nil, false
	}
	left := e.until.Sub(now)
	// A clock that jumped back would keep an entry for longer than any may live.
	if left <= 0 || left > max(c.limits.MaxTTL, c.limits.MaxNegative) {
		delete(c.entries, q)
		return answer{}, nil, false
	}
	e.answer.ttl = left
	return e.answer, e.err, true
}

func (c *cache) put(q question, a answer, err error) {
	ttl := a.ttl
	if err != nil {
		ttl = failureTTL
	}
	tooBig := len(a.records) > maxRecords || size(a) > maxBytes
	if ttl <= 0 || tooBig || c.limits.Cache <= 0 {
		return
	}
	until := c.clock.Now().Add(ttl)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.entries) >= c.limits.Cache {
		c.shrink()
	}
	c.entries[q] = entry{a, err, until}
}

// size is roughly what an answer takes on the wire.
func size(a answer) int {
	n := 0
	for _, rr := range a.records {
		n += dns.Len(rr)
	}
	return n
}

// shrink removes a sixteenth of the entries, in the map's own random order.
func (c *cache) shrink() {
	n := len(c.entries)/16 + 1
	for q := range c.entries {
		if n--; n < 0 {
			return
		}
		delete(c.entries, q)
	}
}
