package trace

import (
	"context"
	"fmt"
	"slices"

	"tram/internal/kv"
)

// scope serialises retention; events are written beside it.
const scope kv.Scope = "trace"

const defaultFind = 1000

// Find returns the trails that concern query, each whole, oldest event first: query is a
// Message-ID with or without <>, an address (sender or recipient, any case) or a trail id. The
// newest trails win when there are more than limit events (0: 1,000). No match is no error.
func (l *Log) Find(ctx context.Context, query string, limit int) ([]Event, error) {
	if l == nil || query == "" {
		return nil, nil
	}
	if limit <= 0 {
		limit = defaultFind
	}
	if err := l.Flush(ctx); err != nil {
		return nil, fmt.Errorf("flush trace: %w", err)
	}
	var found []Event
	err := l.db.View(ctx, scope, func(r kv.Reader) error {
		found = nil
		s := search{r: r, query: query, limit: limit}
		if err := s.run(); err != nil {
			return err
		}
		found = s.found
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("find trace of %q: %w", query, err)
	}
	slices.SortStableFunc(found, func(a, b Event) int { return a.Time.Compare(b.Time) })
	return found, nil
}

// search is one Find.
type search struct {
	r     kv.Reader
	query string
	limit int
	days  []uint32 // with any row, newest first
	seen  map[string]bool
	found []Event
}

func (s *search) run() error {
	s.seen = map[string]bool{}
	if err := s.listDays(); err != nil {
		return err
	}
	if err := s.trail(s.query); err != nil {
		return err
	}
	for _, d := range s.days {
		for _, x := range []index{
			{d, kindMsg, hash(normMessageID(s.query))}, {d, kindAdr, hash(normAddress(s.query))},
		} {
			if err := s.index(x); err != nil {
				return err
			}
		}
	}
	return nil
}

// listDays seeks from day to day: retention keeps them few, a clock that jumped may spread them.
func (s *search) listDays() error {
	start := []byte{space}
	for {
		found := false
		r := kv.Range{Start: start, End: []byte{space + 1}, Limit: 1, KeysOnly: true}
		err := s.r.Scan(r, func(key, _ []byte) error {
			d, _, err := kv.TakeUint32(key[1:])
			if err != nil {
				return err
			}
			found = true
			s.days = append(s.days, d)
			start = dayKey(nil, d+1)
			return nil
		})
		if err != nil {
			return err
		}
		if !found {
			slices.Reverse(s.days)
			return nil
		}
	}
}

// index visits the trails of one index value, newest first.
func (s *search) index(x index) error {
	prefix := indexKey(nil, x.day, x.kind, x.hash)
	r := kv.Prefix(prefix)
	r.Reverse, r.KeysOnly = true, true
	r.Limit = s.limit
	var trails []string
	err := s.r.Scan(r, func(key, _ []byte) error {
		if len(key) < len(prefix)+8 {
			return errRow
		}
		trail, _, err := kv.TakeString(key[len(prefix)+8:])
		trails = append(trails, string(trail))
		return err
	})
	for _, id := range trails {
		if err == nil && len(s.found) < s.limit {
			err = s.trail(id)
		}
	}
	return err
}

// trail adds the trail's events of all days, when one of them is what was asked for.
func (s *search) trail(id string) error {
	if s.seen[id] {
		return nil
	}
	s.seen[id] = true
	var events []Event
	for _, d := range slices.Backward(s.days) {
		err := s.r.Scan(kv.Prefix(trailKey(nil, d, id)), func(_, value []byte) error {
			var err error
			events, err = decodeRow(events, id, value)
			return err
		})
		if err != nil {
			return err
		}
	}
	if !slices.ContainsFunc(events, s.matches) {
		return nil
	}
	if room := s.limit - len(s.found); len(events) > room {
		events = events[:max(room, 0)]
	}
	s.found = append(s.found, events...)
	return nil
}

func (s *search) matches(e Event) bool {
	bare, address := normMessageID(s.query), normAddress(s.query)
	if bare == "" {
		return false
	}
	return e.ID == s.query || normMessageID(e.MessageID) == bare ||
		normAddress(e.From) == address || normAddress(e.To) == address
}

// Prune removes the days that are wholly older than the retention. Zero retention keeps all.
func (l *Log) Prune(ctx context.Context) error {
	if l == nil || l.retention <= 0 {
		return nil
	}
	end := dayKey(nil, dayOf(l.clock.Now().Add(-l.retention)))
	err := l.db.Update(kv.Freeing(ctx), scope, func(txn kv.Txn) error {
		return txn.DeleteRange([]byte{space}, end)
	})
	if err != nil {
		return fmt.Errorf("prune trace: %w", err)
	}
	return nil
}
