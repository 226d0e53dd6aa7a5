package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"tram/internal/kv"
	"tram/internal/smtp"
)

// lookedAtMost is how many items a listing leaves out, in all shards together, before it hands out what
// it has: a filter that next to nothing matches must not make anybody wait for a million reads.
const lookedAtMost = 40_000

// List returns a page of items, the oldest first. next is the After of the next page, "" if there is
// none. A page may have fewer items than the limit, and none, while there is a next: the filter left
// out very many.
func (q *Queue) List(ctx context.Context, f Filter) (items []Item, next string, err error) {
	if f.Limit <= 0 {
		f.Limit = 100
	}
	f.Sender, f.Recipient = strings.ToLower(f.Sender), strings.ToLower(f.Recipient)
	if d, err := smtp.ParseDomain(f.Domain); err == nil {
		f.Domain = d
	}
	after, err := q.position(ctx, f.After)
	if err != nil {
		return nil, "", fmt.Errorf("list queue: %w", err)
	}
	var until place // where the first shard stopped that has more; zero: none
	for s := range q.eachShard() {
		page, stopped, err := q.listShard(ctx, s, &f, after)
		if err != nil {
			return nil, "", fmt.Errorf("list queue: %w", err)
		}
		items = append(items, page...)
		if stopped.id != "" && (until.id == "" || stopped.compare(until) < 0) {
			until = stopped
		}
	}
	slices.SortFunc(items, func(a, b Item) int { return a.place().compare(b.place()) })
	if until.id != "" {
		// What comes behind that place might come before something that was not looked at.
		n, found := slices.BinarySearchFunc(items, until, func(it Item, p place) int {
			return it.place().compare(p)
		})
		if found {
			n++
		}
		items, next = items[:n], until.String()
	}
	if len(items) > f.Limit {
		items = items[:f.Limit]
		next = items[f.Limit-1].place().String()
	}
	return items, next, nil
}

// place is where an item stands in listings.
type place struct {
	came int64 // Unix milliseconds
	id   ID
}

func (it *Item) place() place { return place{it.Created.UnixMilli(), it.ID} }

func (p place) compare(o place) int {
	return cmp.Or(cmp.Compare(p.came, o.came), cmp.Compare(p.id, o.id))
}

// String returns the form in which a place is handed out: it leads on even if the item has gone.
func (p place) String() string { return "@" + strconv.FormatInt(p.came, 36) + "." + string(p.id) }

// position reads a Filter's After.
func (q *Queue) position(ctx context.Context, after string) (place, error) {
	if after == "" {
		return place{}, nil
	}
	if rest, ok := strings.CutPrefix(after, "@"); ok {
		came, id, _ := strings.Cut(rest, ".")
		if ms, err := strconv.ParseInt(came, 36, 64); err == nil {
			return place{ms, ID(id)}, nil
		}
	}
	_, rec, err := q.find(ctx, ID(after))
	if err != nil {
		return place{}, err
	}
	return place{rec.created.UnixMilli(), rec.id}, nil
}

// listShard returns one item more than the page has, to tell that there is more; or what it found until
// it had left out so many that it stopped, and where that was.
func (q *Queue) listShard(ctx context.Context, s shard, f *Filter, after place) (
	page []Item, stopped place, err error) {
	prefix := s.prefix(cameSub)
	rng := kv.Range{Start: prefix, End: kv.PrefixEnd(prefix), KeysOnly: true}
	if after.id != "" {
		rng.Start = append(s.timedKey(cameSub, after.came, after.id), 0)
	}
	dests := map[string]destRow{}
	err = q.o.DB.View(ctx, s.scope(), func(r kv.Reader) error {
		page, stopped = nil, place{}
		left := max(1, q.o.looked/q.shards)
		return r.Scan(rng, func(key, _ []byte) error {
			came, id, err := parseTimed(key)
			if err != nil {
				return err
			}
			item, ok, err := q.listed(r, s, place{came, ID(id)}, f, dests)
			if ok {
				page = append(page, item)
			} else {
				left--
			}
			switch {
			case err != nil:
			case len(page) > f.Limit:
				err = kv.Stop
			case left == 0:
				stopped, err = place{came, ID(id)}, kv.Stop
			}
			return cmp.Or(err, ctx.Err())
		})
	})
	return page, stopped, err
}

// listed returns an item of a listing; ok is false if the filter leaves it out.
func (q *Queue) listed(r kv.Reader, s shard, at place, f *Filter, dests map[string]destRow) (
	item Item, ok bool, err error) {
	rec, err := readItem(r, s, at.id)
	switch {
	case errors.Is(err, kv.ErrCorrupt):
		// It is shown, as far as it can be, and the others are too.
		item = Item{ID: at.id, Created: time.UnixMilli(at.came).UTC(), State: StateHeld,
			HeldReason: "its row in the queue is damaged and cannot be read"}
		return item, f.Sender == "" && f.Recipient == "" && f.Domain == "" &&
			(f.State == "" || f.State == StateHeld), nil
	case err != nil:
		return item, false, err
	}
	state := q.stateOf(rec)
	if !f.matches(rec, state) {
		return item, false, nil
	}
	item, err = q.show(r, s, rec, state, dests)
	return item, err == nil, err
}
