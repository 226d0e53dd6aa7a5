package directory

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"tram/internal/kv"
	"tram/internal/limits"
)

const day = 24 * time.Hour

// sourceKey is a network from which log-ins come: its prefix length and its address, 17 bytes.
type sourceKey [17]byte

// sources returns the keys of a client: its own network (an IPv4 address, an IPv6 /64, which is
// one household) and the wider one (/24, /56). An IPv4 address inside of IPv6 is the IPv4 address.
// All clients without an address share one key.
func sources(addr netip.Addr) (own, wide sourceKey) {
	addr = addr.Unmap().WithZone("")
	narrow, broad := 64, 56
	if addr.Is4() {
		narrow, broad = 32, 24
	}
	return sourceOf(addr, narrow), sourceOf(addr, broad)
}

func sourceOf(addr netip.Addr, bits int) sourceKey {
	p, err := addr.Prefix(bits)
	if err != nil || !addr.IsValid() {
		return sourceKey{}
	}
	var k sourceKey
	k[0] = byte(bits)
	if addr.Is4() {
		a := p.Addr().As4()
		copy(k[1:], a[:])
		return k
	}
	a := p.Addr().As16()
	copy(k[1:], a[:])
	return k
}

// prefix is the network of a key; the zero Prefix for clients without an address.
func (k sourceKey) prefix() netip.Prefix {
	switch {
	case k[0] == 0:
		return netip.Prefix{}
	case k[0] == 32 || k[0] == 24:
		return netip.PrefixFrom(netip.AddrFrom4([4]byte(k[1:5])), int(k[0]))
	}
	return netip.PrefixFrom(netip.AddrFrom16([16]byte(k[1:])), int(k[0]))
}

func (k sourceKey) row() []byte { return append(key(kindSource), k[:]...) }

// who is a login name in the throttle: 8 bytes of its HMAC, so that no row tells a name.
type who uint64

// failure is one log-in that failed.
type failure struct {
	at  int64 // Unix nanoseconds
	who who
}

// source is what is remembered of a network. Failures of the last day are kept one by one, at most
// as many as a day allows, so that the windows slide and a success can take back its own.
type source struct {
	failures []failure // oldest first
	strikes  uint8     // how often the minute's or the day's limit was reached
	until    time.Time // banned until
	inflight int       // being checked now; each may become a failure
	trying   map[who]bool
	changed  chan struct{} // closed when inflight or trying shrinks
}

// bounds are the limits of one kind of source.
type bounds struct {
	perMinute, perDay int
	bans              bool
}

func ownBounds(l limits.Auth) bounds { return bounds{l.PerMinute, l.PerDay, true} }

func wideBounds(l limits.Auth) bounds {
	return bounds{l.PerMinute * l.WiderFactor, l.PerDay * l.WiderFactor, false}
}

// prune forgets failures of more than a day ago, and those a clock that jumped back left in the
// future; after a quiet day that begins when a ban ends the strikes are forgiven.
func (s *source) prune(now time.Time) {
	oldest, newest := now.Add(-day).UnixNano(), now.Add(time.Minute).UnixNano()
	s.failures = slices.DeleteFunc(s.failures, func(f failure) bool {
		return f.at <= oldest || f.at > newest
	})
	if s.until.After(now.Add(31 * day)) {
		s.until = now
	}
	if len(s.failures) == 0 && now.Sub(s.until) >= day {
		s.strikes = 0
	}
}

// quiet reports whether a source that was pruned is as good as one never seen.
func (s *source) quiet() bool { return len(s.failures) == 0 && s.strikes == 0 }

// lastMinute counts the failures of the minute that ends now.
func (s *source) lastMinute(now time.Time) int {
	from := now.Add(-time.Minute).UnixNano()
	n := 0
	for n < len(s.failures) && s.failures[len(s.failures)-1-n].at > from {
		n++
	}
	return n
}

// state is whether a source may try now.
type state int

const (
	free    state = iota
	full          // as many are being checked as may still fail: wait for one to end
	blocked       // not before the time given
)

// look tells whether another log-in may be checked, and when not, how long until then.
func (s *source) look(now time.Time, b bounds) (state, time.Duration) {
	s.prune(now)
	minute, days := s.lastMinute(now), len(s.failures)
	var wait time.Duration
	if s.until.After(now) {
		wait = s.until.Sub(now)
	}
	if minute >= b.perMinute {
		wait = max(wait, s.leaves(now, b.perMinute, time.Minute))
	}
	if days >= b.perDay {
		wait = max(wait, s.leaves(now, b.perDay, day))
	}
	switch {
	case wait > 0:
		return blocked, wait
	case minute+s.inflight >= b.perMinute || days+s.inflight >= b.perDay:
		return full, 0
	}
	return free, 0
}

// leaves is the time until the n-th last failure is older than window.
func (s *source) leaves(now time.Time, n int, window time.Duration) time.Duration {
	at := time.Unix(0, s.failures[len(s.failures)-n].at)
	return max(at.Add(window).Sub(now), time.Millisecond)
}

// fail records a failure. Reaching the minute's limit is a strike, and from the second strike on
// each bans for twice as long; reaching the day's limit bans at once.
func (s *source) fail(now time.Time, w who, b bounds, l limits.Auth) {
	s.prune(now)
	i := len(s.failures)
	for i > 0 && s.failures[i-1].at > now.UnixNano() {
		i--
	}
	s.failures = slices.Insert(s.failures, i, failure{now.UnixNano(), w})
	if n := len(s.failures) - b.perDay; n > 0 {
		s.failures = slices.Delete(s.failures, 0, n)
	}
	minute, days := s.lastMinute(now) >= b.perMinute, len(s.failures) >= b.perDay
	if !b.bans || !minute && !days {
		return
	}
	if s.strikes > 0 || days {
		ban := l.BanMin << min(max(s.strikes, 1)-1, 16)
		s.until = now.Add(min(max(ban, l.BanMin), l.BanMax))
	}
	s.strikes = min(s.strikes+1, 32)
}

// forgive takes back the failures of one name: it has proved itself from here. What others failed
// at stays.
func (s *source) forgive(w who) (forgiven []failure) {
	s.failures = slices.DeleteFunc(s.failures, func(f failure) bool {
		if f.who == w {
			forgiven = append(forgiven, f)
		}
		return f.who == w
	})
	return forgiven
}

// remove takes failures out that were forgiven at a network inside of this one.
func (s *source) remove(forgiven []failure) {
	s.failures = slices.DeleteFunc(s.failures, func(f failure) bool {
		return slices.Contains(forgiven, f)
	})
}

// failed reports whether a name has failed from here in the last day without proving itself since.
func (s *source) failed(w who) bool {
	return slices.ContainsFunc(s.failures, func(f failure) bool { return f.who == w })
}

// release ends a check and wakes those who wait for it.
func (s *source) release(w who, exempt bool) {
	if exempt {
		delete(s.trying, w)
	} else {
		s.inflight--
	}
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// wait returns a channel that is closed when a check ends.
func (s *source) wait() <-chan struct{} {
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

// The stored form of a source, all numbers big endian:
//
//	byte    version, 1
//	byte    strikes
//	int64   banned until, Unix seconds, 0 when not
//	16 bytes for each failure, oldest first: int64 Unix nanoseconds, uint64 who
const sourceVersion = 1

func (s *source) encode() []byte {
	b := make([]byte, 0, 10+16*len(s.failures))
	b = append(b, sourceVersion, s.strikes)
	var until uint64
	if !s.until.IsZero() {
		until = uint64(s.until.Unix())
	}
	b = binary.BigEndian.AppendUint64(b, until)
	for _, f := range s.failures {
		b = binary.BigEndian.AppendUint64(b, uint64(f.at))
		b = binary.BigEndian.AppendUint64(b, uint64(f.who))
	}
	return b
}

func decodeSource(b []byte) (*source, error) {
	if len(b) < 10 || b[0] != sourceVersion || (len(b)-10)%16 != 0 {
		return nil, fmt.Errorf("read throttle of a source: %w", kv.ErrCorrupt)
	}
	s := &source{strikes: b[1]}
	if until := int64(binary.BigEndian.Uint64(b[2:])); until > 0 {
		s.until = time.Unix(until, 0)
	}
	for b = b[10:]; len(b) > 0; b = b[16:] {
		s.failures = append(s.failures, failure{
			at: int64(binary.BigEndian.Uint64(b)), who: who(binary.BigEndian.Uint64(b[8:])),
		})
	}
	return s, nil
}
