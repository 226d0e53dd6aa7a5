package trace

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"time"

	"tram/internal/kv"
)

// The log's rows, all integers big-endian:
//
//	't' day:4 'e' trail id:16            -> the events of one trail in one batch, see appendEvent
//	't' day:4 'x' kind:1 hash:8 id:8 trail -> empty: the trail has an event with that value
//
// day counts from 1970 in UTC, so that retention is one range deletion. trail is escaped and
// terminated by kv.AppendString. The row id is time:8 (Unix nanoseconds) counter:4 node:4, the
// id of an index row its time. kind is 'm' for a Message-ID without <>, 'a' for an address in
// lower case; hash is 64-bit FNV-1a, and a reader compares the event itself.
const (
	space   = 't'
	rowSub  = 'e'
	idxSub  = 'x'
	kindMsg = 'm'
	kindAdr = 'a'

	version = 1 // first byte of a row's value
)

const day = 24 * time.Hour

// dayOf returns the day's number; times outside the format's reach count as the first or last.
func dayOf(t time.Time) uint32 {
	d := t.Unix() / int64(day/time.Second)
	return uint32(min(max(d, 0), math.MaxUint32-1))
}

func dayKey(dst []byte, d uint32) []byte {
	return kv.AppendUint32(append(dst, space), d)
}

func trailKey(dst []byte, d uint32, trail string) []byte {
	return kv.AppendString(append(dayKey(dst, d), rowSub), trail)
}

func indexKey(dst []byte, d uint32, kind byte, hash uint64) []byte {
	return kv.AppendUint64(append(dayKey(dst, d), idxSub, kind), hash)
}

// idSource makes row ids that sort by time and are unique among nodes sharing a database.
type idSource struct {
	node    [4]byte
	counter uint32
}

func newIDSource() idSource {
	var s idSource
	rand.Read(s.node[:]) // never fails: crypto/rand ends the process itself
	return s
}

func (s *idSource) append(dst []byte, t time.Time) []byte {
	s.counter++
	dst = kv.AppendUint64(dst, uint64(t.UnixNano()))
	dst = kv.AppendUint32(dst, s.counter)
	return append(dst, s.node[:]...)
}

// hash is FNV-1a, stable between runs.
func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

func normMessageID(s string) string {
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(s), "<"), ">")
}

func normAddress(s string) string { return strings.ToLower(normMessageID(s)) }

// index is an index row to write, once per trail and batch.
type index struct {
	day  uint32
	kind byte
	hash uint64
}

// group is the events of one trail and day in one batch.
type group struct {
	day    uint32
	trail  string
	at     time.Time // of the first event
	value  []byte
	last   Event // fields equal to the last event's take one byte
	hashes []index
}

func (g *group) note(kind byte, value string) {
	if value == "" {
		return
	}
	x := index{g.day, kind, hash(value)}
	for _, have := range g.hashes {
		if have == x {
			return
		}
	}
	g.hashes = append(g.hashes, x)
}

// encode turns a batch into rows. An event without a trail becomes a trail of its own.
func (l *Log) encode(batch []Event) []kv.Pair {
	type key struct {
		day   uint32
		trail string
	}
	groups := make([]*group, 0, len(batch)/2+1)
	byTrail := make(map[key]*group, len(batch)/2+1)
	for i := range batch {
		e := &batch[i]
		if e.ID == "" {
			e.ID = fmt.Sprintf("-%x", l.ids.append(nil, e.Time))
		}
		k := key{dayOf(e.Time), clip(e.ID)}
		g := byTrail[k]
		if g == nil {
			g = &group{day: k.day, trail: k.trail, at: e.Time, value: []byte{version}}
			byTrail[k] = g
			groups = append(groups, g)
		}
		g.add(e)
	}
	pairs := make([]kv.Pair, 0, 4*len(groups))
	for _, g := range groups {
		row := l.ids.append(trailKey(nil, g.day, g.trail), g.at)
		pairs = append(pairs, kv.Pair{Key: row, Value: g.value})
		for _, x := range g.hashes {
			k := kv.AppendUint64(indexKey(nil, x.day, x.kind, x.hash), uint64(g.at.UnixNano()))
			pairs = append(pairs, kv.Pair{Key: kv.AppendString(k, g.trail)})
		}
	}
	return pairs
}

func (g *group) add(e *Event) {
	g.value = appendEvent(g.value, e, &g.last)
	g.last = *e
	g.note(kindMsg, normMessageID(clip(e.MessageID)))
	g.note(kindAdr, normAddress(clip(e.From)))
	g.note(kindAdr, normAddress(clip(e.To)))
}

// clip cuts a field to the bound, so that one hostile reply cannot fill the log.
func clip(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "")
}

// fields lists an event's texts in the order they are stored.
func (e *Event) fields() [7]*string {
	return [7]*string{&e.Step, &e.MessageID, &e.From, &e.To, &e.Remote, &e.Result, &e.Detail}
}

// appendEvent writes time:8 (Unix nanoseconds), the code as a uvarint, and each text as a uvarint
// n and its bytes: n = 0 is the same text as in the event before, else the length is n-1.
func appendEvent(dst []byte, e, last *Event) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.Time.UnixNano()))
	dst = binary.AppendUvarint(dst, uint64(max(e.Code, 0)))
	before := last.fields()
	for i, f := range e.fields() {
		text := clip(*f)
		if text == clip(*before[i]) {
			dst = append(dst, 0)
			continue
		}
		dst = binary.AppendUvarint(dst, uint64(len(text))+1)
		dst = append(dst, text...)
	}
	return dst
}

var errRow = fmt.Errorf("read trace row: %w", kv.ErrCorrupt)

// decodeRow appends the row's events to dst.
func decodeRow(dst []Event, trail string, b []byte) ([]Event, error) {
	if len(b) == 0 || b[0] != version {
		return dst, errRow
	}
	b = b[1:]
	last := Event{ID: trail}
	for len(b) > 0 {
		if len(b) < 8 {
			return dst, errRow
		}
		last.Time = time.Unix(0, int64(binary.BigEndian.Uint64(b))).UTC()
		code, n := binary.Uvarint(b[8:])
		if n <= 0 {
			return dst, errRow
		}
		last.Code = int(code)
		b = b[8+n:]
		for _, f := range last.fields() {
			size, n := binary.Uvarint(b)
			if n <= 0 || size > uint64(len(b)-n)+1 {
				return dst, errRow
			}
			b = b[n:]
			if size == 0 {
				continue
			}
			*f = string(b[:size-1])
			b = b[size-1:]
		}
		dst = append(dst, last)
	}
	return dst, nil
}
