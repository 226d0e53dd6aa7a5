package spam

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"sync"
	"time"

	"tram/internal/kv"
)

// What has a reputation. The order of the scopes is: the server's experience, that of one of our
// domains, one person's.
type nameKind byte

const (
	nameAddr    nameKind = 'i' // an address of the Internet
	nameNetwork nameKind = 'n' // its network
	nameSystem  nameKind = 's' // whose network that is
	nameDomain  nameKind = 'd' // a domain that authenticated itself
	nameSigner  nameKind = 'k' // a domain that signed
	nameSender  nameKind = 'a' // an author; with the network he came from, if nobody vouches for him
)

// weights is the most that each kind adds to a score or takes from it.
var weights = map[nameKind]float64{
	nameAddr: 2, nameNetwork: 1, nameSystem: 0.5, nameDomain: 1.5, nameSigner: 1, nameSender: 2.5,
}

// Bounds of what experience alone may do to a score.
const (
	mostServer  = 4.0
	mostDomain  = 2.0
	mostAccount = 5.0
)

// record is the good and bad that was seen of a name, both halved every half-life. Its row:
// version:1, good and bad as float32:4 each, hours since 1970:4.
type record struct {
	good, bad float64
	at        uint32
}

const recordSize = 1 + 4 + 4 + 4

func (r record) encode() []byte {
	b := append(make([]byte, 0, recordSize), version)
	b = binary.BigEndian.AppendUint32(b, math.Float32bits(float32(r.good)))
	b = binary.BigEndian.AppendUint32(b, math.Float32bits(float32(r.bad)))
	return binary.BigEndian.AppendUint32(b, r.at)
}

func decodeRecord(b []byte) (record, error) {
	if len(b) != recordSize || b[0] != version {
		return record{}, fmt.Errorf("reputation row %x: %w", b, kv.ErrCorrupt)
	}
	return record{
		good: float64(math.Float32frombits(binary.BigEndian.Uint32(b[1:]))),
		bad:  float64(math.Float32frombits(binary.BigEndian.Uint32(b[5:]))),
		at:   binary.BigEndian.Uint32(b[9:]),
	}, nil
}

// aged is the record as it is worth at a later hour.
func (r record) aged(now uint32, half time.Duration) record {
	if now > r.at && half > 0 {
		f := math.Exp2(-float64(now-r.at) / half.Hours())
		r.good, r.bad = r.good*f, r.bad*f
	}
	r.at = max(r.at, now)
	return r
}

// change is what is to be added to a record. Negative amounts take back.
type change struct {
	good, bad float64
	// unopposed is good that nobody has said: mail that looked right and met no complaint.
	unopposed float64
}

// unopposedMost is how much good of a name mail can make that nobody complained of. Only people make
// more of it: else whoever sends thousands of harmless messages to people who never look could buy
// himself a good name for the one that is not harmless.
const unopposedMost = 3

// with is the record after a change.
func (r record) with(c change) record {
	r.good, r.bad = max(r.good+c.good, 0), max(r.bad+c.bad, 0)
	r.good += max(min(c.unopposed, unopposedMost-r.good), 0)
	return r
}

// doubt is how much experience of a name is half believed.
const doubt = 5

// score is what a name's past says, from -1 for nothing but good to 1.
func (r record) score() float64 { return (r.bad - r.good) / (r.good + r.bad + doubt) }

// name is one thing that has a reputation.
type name struct {
	kind nameKind
	text string
}

// maxName bounds what is stored of one.
const maxName = 254

func nameKey(scope Scope, n name) string {
	text := n.text
	if len(text) > maxName {
		text = text[:maxName]
	}
	return string(append(append(scopedKey(nameSub, scope), byte(n.kind)), text...))
}

// names is the memory of what is not yet written, and of what was read a moment ago.
type names struct {
	mu      sync.Mutex
	pending map[string]change
	cache   map[string]cachedRecord
}

type cachedRecord struct {
	record
	read time.Time
}

const (
	cacheNames = 50000
	cacheTime  = time.Minute
)

// lookUp returns the records of some keys as they are worth now, in one read.
func (j *Judge) lookUp(ctx context.Context, keys []string) ([]record, error) {
	now := j.o.Clock.Now()
	out := make([]record, len(keys))
	var missing []int
	s := &j.names
	s.mu.Lock()
	for i, k := range keys {
		if c, ok := s.cache[k]; ok && within(now, c.read, cacheTime) {
			out[i] = c.record
		} else {
			missing = append(missing, i)
		}
	}
	s.mu.Unlock()
	if len(missing) > 0 {
		err := j.o.DB.View(ctx, scopeFacts, func(r kv.Reader) error {
			for _, i := range missing {
				b, err := r.Get([]byte(keys[i]))
				if errors.Is(err, kv.ErrNotFound) {
					continue
				}
				if err != nil {
					return err
				}
				if out[i], err = decodeRecord(b); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read reputation: %w", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cache == nil || len(s.cache)+len(missing) > cacheNames {
		s.cache = map[string]cachedRecord{}
	}
	for _, i := range missing {
		s.cache[keys[i]] = cachedRecord{out[i], now}
	}
	for i, k := range keys {
		out[i] = out[i].aged(hours(now), j.o.Limits.HalfLife).with(s.pending[k])
	}
	return out, nil
}

// remember adds to what is known of names.
func (j *Judge) remember(keys []string, c change) {
	s := &j.names
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending == nil {
		s.pending = map[string]change{}
	}
	for _, k := range keys {
		p, ok := s.pending[k]
		if !ok && len(s.pending) >= j.o.Limits.Pending {
			factsLost.WithLabelValues("reputation").Inc()
			continue
		}
		p.good, p.bad, p.unopposed = p.good+c.good, p.bad+c.bad, p.unopposed+c.unopposed
		s.pending[k] = p
	}
}

// flushNames adds what is pending to the rows.
func (j *Judge) flushNames(ctx context.Context) error {
	s := &j.names
	s.mu.Lock()
	pending := s.pending
	s.pending = nil
	s.mu.Unlock()
	now := hours(j.o.Clock.Now())
	keys := make([]string, 0, len(pending))
	for k := range pending {
		keys = append(keys, k)
	}
	for len(keys) > 0 {
		part := keys[:min(len(keys), chunk)]
		keys = keys[len(part):]
		err := j.o.DB.Full()
		if err == nil {
			err = j.o.DB.Update(ctx, scopeFacts, func(tx kv.Txn) error {
				for _, k := range part {
					if err := addRecord(tx, k, pending[k], now, j.o.Limits.HalfLife); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err != nil {
			factsLost.WithLabelValues("reputation").Add(float64(len(part)))
			if errors.Is(err, kv.ErrFull) {
				continue
			}
			return fmt.Errorf("write reputation: %w", err)
		}
		s.mu.Lock()
		for _, k := range part {
			delete(s.cache, k)
		}
		s.mu.Unlock()
	}
	return nil
}

func addRecord(tx kv.Txn, key string, add change, now uint32, half time.Duration) error {
	var r record
	b, err := tx.Get([]byte(key))
	switch {
	case err == nil:
		if r, err = decodeRecord(b); err != nil {
			r = record{} // experience can be made again
		}
	case !errors.Is(err, kv.ErrNotFound):
		return err
	}
	return tx.Set([]byte(key), r.aged(now, half).with(add).encode())
}

// sweepNames forgets names that nobody has heard of for long, and those that have faded to nothing;
// when there are too many, the faint ones.
func (j *Judge) sweepNames(ctx context.Context) error {
	now := j.o.Clock.Now()
	faint := 0.05
	for range 4 {
		left, err := j.sweep(ctx, nameSub, func(_, value []byte) bool {
			r, err := decodeRecord(value)
			if err != nil {
				return true
			}
			silent := hours(now)-min(r.at, hours(now)) > uint32(j.o.Limits.ForgetAfter.Hours())
			r = r.aged(hours(now), j.o.Limits.HalfLife)
			return silent || r.good+r.bad < faint
		})
		if err != nil || left <= j.o.Limits.Reputation {
			return err
		}
		faint *= 4
	}
	return nil
}

// network is the part of an address that one owner has, as a rule.
func network(a netip.Addr) netip.Prefix {
	a = a.Unmap()
	bits := 24
	if a.Is6() {
		bits = 48
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// Reputation is what is known of a name, for people.
type Reputation struct {
	Scope string  `json:"scope"`
	Kind  string  `json:"kind"`
	Name  string  `json:"name"`
	Good  float64 `json:"good"`
	Bad   float64 `json:"bad"`
}

var kindNames = map[nameKind]string{
	nameAddr: "address", nameNetwork: "network", nameSystem: "system", nameDomain: "domain",
	nameSigner: "signer", nameSender: "sender",
}

// Reputation tells what is known of a name, in one scope.
func (j *Judge) Reputation(ctx context.Context, scope Scope, text string) ([]Reputation, error) {
	var all []name
	if a, err := netip.ParseAddr(text); err == nil {
		all = append(all, name{nameAddr, a.Unmap().String()}, name{nameNetwork, network(a).String()})
	} else {
		for _, k := range []nameKind{nameNetwork, nameSystem, nameDomain, nameSigner, nameSender} {
			all = append(all, name{k, text})
		}
	}
	keys := make([]string, len(all))
	for i, n := range all {
		keys[i] = nameKey(scope, n)
	}
	records, err := j.lookUp(ctx, keys)
	if err != nil {
		return nil, err
	}
	var out []Reputation
	for i, r := range records {
		if r.good+r.bad > 0.01 {
			out = append(out, Reputation{string(scope), kindNames[all[i].kind], all[i].text, r.good, r.bad})
		}
	}
	return out, nil
}
