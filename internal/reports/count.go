package reports

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"tram/internal/kv"
	"tram/internal/limits"
)

// What is told to others is counted in memory first, equal results together, and written by a job
// (Flush) every half minute: a delivery never waits for it, and a crash loses what was counted since,
// a minute at most. More different results than the limits allow are not counted one by one; a metric
// says how many.

// How long a result may be, and how long all are on average: real ones have some 300 bytes. What a stranger
// can choose of them, such as the names in signatures, must not fill the memory.
const (
	resultMost = 8 << 10
	resultMean = 1 << 10
)

// ledger counts results of one kind.
type ledger struct {
	kind   Kind
	most   int
	mu     sync.Mutex
	days   map[uint32]map[string]*counts // by day and policy domain
	rows   int
	bytes  int // of the rows
	missed interface{ Inc() }
}

// counts are those of a domain and a day. The keys of rows are results as JSON.
type counts struct {
	about json.Marshaler
	rows  map[string]uint64
	own   int // messages of ours with reports that went there
}

func (l *ledger) init(k Kind, lim limits.Reports) {
	l.kind, l.most, l.days = k, lim.Memory, map[uint32]map[string]*counts{}
	l.missed = uncounted.WithLabelValues(string(k))
}

// of returns the counts of a domain and a day, which mu protects; nil when there are too many.
func (l *ledger) of(day uint32, domain string) *counts {
	byDomain := l.days[day]
	if byDomain == nil {
		byDomain = map[string]*counts{}
		l.days[day] = byDomain
	}
	c := byDomain[domain]
	if c == nil {
		if l.rows >= l.most {
			return nil
		}
		l.rows++
		c = &counts{rows: map[string]uint64{}}
		byDomain[domain] = c
	}
	return c
}

// add counts a result n times. about, when not nil, is what is kept of the domain: the newest wins.
func (l *ledger) add(day uint32, domain string, about json.Marshaler, row string, n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.of(day, domain)
	if c == nil {
		l.missed.Inc()
		return
	}
	if about != nil {
		c.about = about
	}
	if _, there := c.rows[row]; !there {
		if l.rows >= l.most || len(row) > resultMost || l.bytes+len(row) > l.most*resultMean {
			l.missed.Inc()
			return
		}
		l.rows, l.bytes = l.rows+1, l.bytes+len(row)
	}
	c.rows[row] += n
}

// addOwn notes that a report of ours goes to a domain.
func (l *ledger) addOwn(day uint32, domain string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.of(day, domain); c != nil {
		c.own++
	}
}

func (l *ledger) take() map[uint32]map[string]*counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	days := l.days
	l.days, l.rows, l.bytes = map[uint32]map[string]*counts{}, 0, 0
	return days
}

const dayLength = 24 * time.Hour

func dayOf(t time.Time) uint32 { return uint32(max(t.Unix(), 0) / int64(dayLength/time.Second)) }

func startOf(day uint32) time.Time {
	return time.Unix(int64(day)*int64(dayLength/time.Second), 0).UTC()
}

// dayRow is what is known of a day.
type dayRow struct {
	Rows int `json:"rows"` // of all domains
}

// state is how far a report has come.
type state string

const (
	open    state = ""        // counted, not sent
	sending state = "sending" // about to be handed to the queue: never again
	done    state = "done"    // sent, or nobody wants it
)

// domainRow is what is known of a domain and a day, beside the counts.
type domainRow struct {
	Rows  int             `json:"rows"`
	About json.RawMessage `json:"about,omitempty"`
	Own   int             `json:"own,omitempty"`
	State state           `json:"state,omitempty"`
	Tries int             `json:"tries,omitempty"`
	Next  time.Time       `json:"next,omitzero"` // not tried before
	// Posted are the HTTPS addresses that have had the report.
	Posted []string `json:"posted,omitempty"`
}

func dayKey(k Kind, day uint32) []byte {
	return kv.AppendUint32([]byte{space, rowCounted, k.letter()}, day)
}

func domainKey(k Kind, day uint32, domain string) []byte {
	return kv.AppendString(dayKey(k, day), domain)
}

func countKey(k Kind, day uint32, domain, row string) []byte {
	// What is in a row is partly a stranger's to choose: he must not find one that takes another's place.
	h := sha256.Sum256([]byte(row))
	return append(domainKey(k, day, domain), h[:8]...)
}

// flushBatch is how many results one transaction writes.
const flushBatch = 500

// part is some of what was counted about a domain on a day.
type part struct {
	day    uint32
	domain string
	counts
}

// Flush writes what was counted.
func (s *Reports) Flush(ctx context.Context) error {
	return errors.Join(s.flush(ctx, &s.dmarc), s.flush(ctx, &s.tls))
}

// flush writes one ledger, many results in a transaction. What cannot be written now is counted again.
func (s *Reports) flush(ctx context.Context, l *ledger) error {
	parts := l.parts()
	for len(parts) > 0 {
		n, rows := 0, 0
		for n < len(parts) && (n == 0 || rows+len(parts[n].rows) <= flushBatch) && n < flushBatch {
			rows += len(parts[n].rows)
			n++
		}
		if err := s.write(ctx, l, parts[:n]); err != nil {
			for i := range parts {
				l.restore(&parts[i])
			}
			return fmt.Errorf("write what was counted for reports: %w", err)
		}
		parts = parts[n:]
	}
	return nil
}

// parts takes what was counted, in pieces that fit into a transaction.
func (l *ledger) parts() []part {
	var parts []part
	for day, domains := range l.take() {
		for domain, c := range domains {
			p := part{day, domain, counts{about: c.about, own: c.own, rows: map[string]uint64{}}}
			for row, n := range c.rows {
				if len(p.rows) == flushBatch {
					parts = append(parts, p)
					p.rows, p.own = map[string]uint64{}, 0
				}
				p.rows[row] = n
			}
			parts = append(parts, p)
		}
	}
	return parts
}

// restore counts a part again.
func (l *ledger) restore(p *part) {
	for row, n := range p.rows {
		l.add(p.day, p.domain, p.about, row, n)
	}
	for range p.own {
		l.addOwn(p.day, p.domain)
	}
}

// write writes some parts in one transaction.
func (s *Reports) write(ctx context.Context, l *ledger, parts []part) error {
	missed := 0
	err := s.o.DB.Update(ctx, scopeOut, func(t kv.Txn) error {
		missed = 0
		for i := range parts {
			n, err := s.writePart(t, l.kind, &parts[i])
			if errors.Is(err, kv.ErrCorrupt) {
				// One domain's damage must not keep the others' counts back.
				s.o.Logger.Error("what was counted for a report is damaged", "domain", parts[i].domain, "error", err)
				n, err = len(parts[i].rows), nil
			}
			if err != nil {
				return err
			}
			missed += n
		}
		return nil
	})
	for range missed {
		l.missed.Inc()
	}
	return err
}

// writePart adds a part to what is stored, and tells how many of its results have no room.
func (s *Reports) writePart(t kv.Txn, k Kind, p *part) (missed int, err error) {
	var all dayRow
	var head domainRow
	allKey, headKey := dayKey(k, p.day), domainKey(k, p.day, p.domain)
	for _, err := range []error{get(t, allKey, &all), get(t, headKey, &head)} {
		if err != nil && !errors.Is(err, kv.ErrNotFound) {
			return 0, err
		}
	}
	if head.State != open {
		return len(p.rows), nil // sent: this comes too late
	}
	if p.about != nil {
		if head.About, err = p.about.MarshalJSON(); err != nil {
			return 0, fmt.Errorf("encode report row: %w", err)
		}
	}
	head.Own += p.own
	for row, n := range p.rows {
		key := countKey(k, p.day, p.domain, row)
		old, err := t.Get(key)
		switch {
		case errors.Is(err, kv.ErrNotFound):
			if head.Rows >= s.limits.DomainRows || all.Rows >= s.limits.DayRows {
				missed++
				continue
			}
			head.Rows, all.Rows = head.Rows+1, all.Rows+1
		case err != nil:
			return 0, err
		case len(old) < 9:
			return 0, fmt.Errorf("read report row: %w", kv.ErrCorrupt)
		default:
			n += binary.BigEndian.Uint64(old[1:])
		}
		if err := t.Set(key, append(kv.AppendUint64([]byte{version}, n), row...)); err != nil {
			return 0, err
		}
	}
	if err := set(t, allKey, all); err != nil {
		return 0, err
	}
	return missed, set(t, headKey, head)
}

// eachCount calls fn for every result that was counted about a domain on a day.
func eachCount(r kv.Reader, k Kind, day uint32, domain string, fn func(row []byte, n uint64) error) error {
	prefix := domainKey(k, day, domain)
	return r.Scan(kv.Prefix(prefix), func(key, value []byte) error {
		if len(key) == len(prefix) {
			return nil // the head
		}
		if len(value) < 9 || value[0] != version {
			return fmt.Errorf("read report row: %w", kv.ErrCorrupt)
		}
		return fn(value[9:], binary.BigEndian.Uint64(value[1:]))
	})
}
