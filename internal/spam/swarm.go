package spam

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"tram/internal/mailauth"
	"tram/internal/spam/sign"
)

// The two things here are seen only across many messages. They are kept in memory: a restart forgets
// them, and the next minutes show them again.

// replays notices signed messages that come again and again for other people (fault M5): the good
// name of a signer is used for what somebody else sends.
type replays struct {
	mu   sync.Mutex
	seen map[uint64]*replay
}

type replay struct {
	since      time.Time
	recipients map[uint64]bool
	networks   map[netip.Prefix]bool
}

const (
	replaysKept = 20000
	replayTime  = time.Hour
	replayMost  = 1000 // different recipients that are told apart
)

// replayed counts the recipients of a message's signatures.
func (j *Judge) replayed(ev *Evidence) []sign.Sign {
	if ev.auth == nil {
		return nil
	}
	now := j.o.Clock.Now()
	j.replays.mu.Lock()
	defer j.replays.mu.Unlock()
	for _, d := range ev.auth.DKIM {
		if d.Status != mailauth.Pass || d.Signature == "" {
			continue
		}
		r := j.replays.of(hash64(d.Signature), now)
		if r == nil {
			return nil
		}
		for _, to := range ev.env.Recipients {
			if len(r.recipients) < replayMost {
				r.recipients[hash64(strings.ToLower(to.Address.String()))] = true
			}
		}
		if len(r.networks) < replayMost {
			r.networks[network(ev.client)] = true
		}
		// The members of a list get one signed message, too, but all from the list's own server.
		if len(r.recipients) > j.o.Limits.ReplayAfter {
			s := sign.Sign{Name: signReplay, Score: 1, Detail: fmt.Sprintf(
				"%s, %d recipients from %d networks within an hour", d.Domain, len(r.recipients), len(r.networks))}
			if len(r.networks) > 1 {
				s.Score = 5
			}
			return []sign.Sign{s}
		}
	}
	return nil
}

func (rs *replays) of(signature uint64, now time.Time) *replay {
	r := rs.seen[signature]
	if r != nil && within(now, r.since, replayTime) {
		return r
	}
	if rs.seen == nil {
		rs.seen = map[uint64]*replay{}
	}
	if r == nil && len(rs.seen) >= replaysKept {
		rs.drop(now)
		if len(rs.seen) >= replaysKept {
			return nil
		}
	}
	r = &replay{since: now, recipients: map[uint64]bool{}, networks: map[netip.Prefix]bool{}}
	rs.seen[signature] = r
	return r
}

// drop forgets what is over, and half of the rest if nothing is.
func (rs *replays) drop(now time.Time) {
	before := len(rs.seen)
	for k, r := range rs.seen {
		if !within(now, r.since, replayTime) {
			delete(rs.seen, k)
		}
	}
	for k, r := range rs.seen {
		if len(rs.seen) < before || len(rs.seen) <= replaysKept/2 {
			return
		}
		if len(r.recipients) < 3 {
			delete(rs.seen, k)
		}
	}
}

func (rs *replays) rest(now time.Time) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for k, r := range rs.seen {
		if !within(now, r.since, replayTime) {
			delete(rs.seen, k)
		}
	}
}

// bombs notices list bombs (fault O8): somebody signs a person up at hundreds of places, so that one
// real warning drowns in what they send.
type bombs struct {
	mu     sync.Mutex
	people map[uint64]*burst
}

// burst is the mail of unknown programs to one person.
type burst struct {
	seen   map[uint64]time.Time // domains, when each last wrote
	latest time.Time
	active bool
}

const (
	burstsKept = 20000
	burstMost  = 2000 // domains told apart for one person
)

// bombed counts a message that a program nobody knows has written to a person. It reports whether the
// message is part of a list bomb, and whether that has just begun.
func (j *Judge) bombed(ev *Evidence, account uint64) (is, begins bool) {
	if ev.code {
		return false, false // he waits for this one
	}
	now, l := j.o.Clock.Now(), j.o.Limits
	domain := registered(ev.author[strings.LastIndexByte(ev.author, '@')+1:])
	if domain == "" {
		domain = registered(ev.from.Domain)
	}
	j.bombs.mu.Lock()
	defer j.bombs.mu.Unlock()
	b := j.bombs.people[account]
	if b == nil {
		if j.bombs.people == nil {
			j.bombs.people = map[uint64]*burst{}
		}
		if len(j.bombs.people) >= burstsKept {
			j.bombs.drop(now, l.BombWindow)
		}
		b = &burst{seen: map[uint64]time.Time{}}
		j.bombs.people[account] = b
	}
	if b.active && !within(now, b.latest, l.BombQuiet) {
		*b = burst{seen: map[uint64]time.Time{}}
	}
	b.latest = now
	if len(b.seen) < burstMost {
		b.seen[hash64(domain)] = now
	}
	if b.active {
		return true, false
	}
	for k, at := range b.seen {
		if !within(now, at, l.BombWindow) {
			delete(b.seen, k)
		}
	}
	b.active = len(b.seen) >= l.BombDomains
	return b.active, b.active
}

// drop makes room: it forgets people whose mail of the last minutes was nothing special.
func (bs *bombs) drop(now time.Time, window time.Duration) {
	for k, b := range bs.people {
		if !b.active && !within(now, b.latest, window) || len(bs.people) >= burstsKept && !b.active {
			delete(bs.people, k)
		}
	}
}

func (bs *bombs) rest(now time.Time, quiet time.Duration) {
	bs.mu.Lock()
	defer bs.mu.Unlock()
	for k, b := range bs.people {
		if !within(now, b.latest, quiet) {
			delete(bs.people, k)
		}
	}
}
