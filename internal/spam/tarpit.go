package spam

import (
	"context"
	"net/netip"
	"time"

	"tram/internal/metrics"
)

var tarpitted = metrics.Gauge("spam_tarpit_sessions", "Sessions with sources of bad repute that are slowed.")

// badAlready is the score of an address's past from which on it is slowed; see record.score.
const badAlready = 0.4

// Tarpit says how long each reply to a client is to wait, 0 for not at all. While there is a delay,
// the session holds one of a few places, which release gives back.
func (j *Judge) Tarpit(ctx context.Context, client netip.Addr) (delay time.Duration, release func()) {
	none := func() {}
	if !client.IsValid() || j.o.Limits.TarpitDelay <= 0 {
		return 0, none
	}
	key := nameKey(Server, name{nameAddr, client.Unmap().String()})
	records, err := j.lookUp(ctx, []string{key})
	if err != nil || records[0].score() < badAlready {
		return 0, none
	}
	t := &j.tarpit
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n >= j.o.Limits.TarpitAtOnce {
		return 0, none
	}
	t.n++
	tarpitted.Set(float64(t.n))
	return j.o.Limits.TarpitDelay, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.n--
		tarpitted.Set(float64(t.n))
	}
}
