package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"tram/internal/blob"
	"tram/internal/kv"
)

// Finding is something in the queue's rows that is not as it must be, or what was done about it.
type Finding struct {
	Kind       string // short and stable: "queue-item", "queue-index", "queue-body", "queue-count"
	Where      string // item, destination or key
	What       string // a sentence
	Repairable bool   // without losing a message
}

// Check verifies the rows of the queue, each shard in one snapshot, while it runs; deep reads the
// messages too. It changes nothing.
func (q *Queue) Check(ctx context.Context, deep bool, report func(Finding)) error {
	for s := range q.eachShard() {
		err := q.o.DB.View(ctx, s.scope(), func(r kv.Reader) error {
			return (&shardCheck{q: q, ctx: ctx, s: s, r: r, deep: deep, report: report}).run()
		})
		if errors.Is(err, kv.ErrCorrupt) && ctx.Err() == nil {
			report(Finding{"queue-item", fmt.Sprintf("queue shard %d", s),
				fmt.Sprintf("cannot be read any further: %v", err), true})
			err = nil
		}
		if err != nil {
			return fmt.Errorf("check queue: %w", err)
		}
	}
	return q.checkOwners(ctx, func(ref blob.Reference, id ID) error {
		report(Finding{"queue-link", fmt.Sprintf("body %s", ref.ID),
			fmt.Sprintf("referred to by queue item %s, which does not exist", id), true})
		return nil
	})
}

// RepairOptions are who hears of a Repair. Each function may be nil.
type RepairOptions struct {
	Found, Did, Left func(Finding)
	// Keep is given each row that is dropped and cannot be read.
	Keep func(key, value []byte) error
}

// Repair puts the rows of a queue right that nobody uses: its indexes and counts are made again
// from its items. An item whose message is damaged is held, for people to decide about.
func Repair(ctx context.Context, o Options, ro RepairOptions) error {
	o.defaults()
	q := &Queue{o: o, log: o.Logger}
	ctx = kv.Freeing(ctx)
	var err error
	if q.shards, err = loadShards(ctx, &o); errors.Is(err, kv.ErrCorrupt) {
		q.shards, err = recoverShards(ctx, &o, ro)
	}
	if err == nil {
		q.time, err = loadTimeline(ctx, &o)
	}
	if err != nil {
		return fmt.Errorf("repair queue: %w", err)
	}
	for s := range q.eachShard() {
		if err := q.repairShard(ctx, s, ro); err != nil {
			return fmt.Errorf("repair queue: %w", err)
		}
	}
	var strays []blob.Reference
	err = q.checkOwners(ctx, func(ref blob.Reference, id ID) error {
		ref.Owner = bytes.Clone(ref.Owner)
		strays = append(strays, ref)
		return nil
	})
	for _, ref := range strays {
		if err != nil {
			break
		}
		err = o.DB.Update(ctx, metaScope, func(txn kv.Txn) error {
			return o.Blobs.Forget(txn, ref.ID, ref.Owner)
		})
		tell(ro.Did, Finding{"queue-link", fmt.Sprintf("body %s", ref.ID),
			"is given up: its item does not exist", false})
	}
	if err != nil {
		return fmt.Errorf("repair queue: %w", err)
	}
	return nil
}

func tell(to func(Finding), f Finding) {
	if to != nil {
		to(f)
	}
}

// recoverShards takes the number of shards from the rows.
func recoverShards(ctx context.Context, o *Options, ro RepairOptions) (int, error) {
	shards := o.Shards
	err := o.DB.Update(ctx, metaScope, func(txn kv.Txn) error {
		for s := range maxShards {
			r := kv.Prefix([]byte{space, byte(s)})
			r.Limit, r.KeysOnly = 1, true
			err := txn.Scan(r, func(_, _ []byte) error {
				shards = max(shards, s+1)
				return nil
			})
			if err != nil {
				return err
			}
		}
		return txn.Set(metaKey, []byte{version, byte(shards)})
	})
	tell(ro.Did, Finding{"queue-item", "meta row of the queue", "is made again", false})
	return shards, err
}

func (q *Queue) repairShard(ctx context.Context, s shard, ro RepairOptions) error {
	var found, deeds []Finding
	err := q.o.DB.Update(ctx, s.scope(), func(txn kv.Txn) error {
		found, deeds = nil, nil
		c := &shardCheck{q: q, ctx: ctx, s: s, r: txn, fix: txn, deep: true, keep: ro.Keep}
		c.report = func(f Finding) { found = append(found, f) }
		c.did = func(f Finding) { deeds = append(deeds, f) }
		return c.run()
	})
	if err != nil {
		return err
	}
	for _, f := range found {
		tell(ro.Found, f)
	}
	for _, f := range deeds {
		tell(ro.Did, f)
	}
	if len(found) == 0 {
		return nil
	}
	return q.o.DB.View(ctx, s.scope(), func(r kv.Reader) error {
		c := &shardCheck{q: q, ctx: ctx, s: s, r: r, deep: true}
		c.report = func(f Finding) { tell(ro.Left, f) }
		return c.run()
	})
}

// checkOwners calls fn for the references to bodies that items have which do not exist.
func (q *Queue) checkOwners(ctx context.Context, fn func(blob.Reference, ID) error) error {
	return q.o.Blobs.EachReference(ctx, func(ref blob.Reference) error {
		id, ours := strings.CutPrefix(string(ref.Owner), "queue/")
		if err := ctx.Err(); err != nil || !ours || !ref.Live && ref.Err == nil {
			return err
		}
		for s := range q.eachShard() {
			found := false
			err := q.o.DB.View(ctx, s.scope(), func(r kv.Reader) error {
				_, err := r.Get(s.itemKey(ID(id)))
				if found = err == nil; found && ref.Err == nil || errors.Is(err, kv.ErrNotFound) {
					return nil
				}
				return err
			})
			if err != nil || found {
				return err
			}
		}
		// An item may have left since the reference was read: a later look decides.
		stands := false
		err := q.o.DB.View(ctx, metaScope, func(r kv.Reader) (err error) {
			stands, err = q.o.Blobs.Linked(r, blob.Ref{ID: ref.ID}, ref.Owner)
			if errors.Is(err, kv.ErrCorrupt) {
				stands, err = true, nil
			}
			return err
		})
		if err != nil || !stands {
			return err
		}
		return fn(ref, ID(id))
	})
}

// shardCheck goes over one shard. With fix set it puts right what it finds, as it goes.
type shardCheck struct {
	q      *Queue
	ctx    context.Context
	s      shard
	r      kv.Reader
	fix    kv.Txn
	deep   bool
	report func(Finding)
	did    func(Finding)
	keep   func(key, value []byte) error

	counts counts
	dests  map[string]int // items that wait, by destination
	late   map[ID][]byte  // items that are not in the index of ages where they should be
}

func (c *shardCheck) find(kind, where string, repairable bool, format string, args ...any) {
	c.report(Finding{kind, where, fmt.Sprintf(format, args...), repairable})
}

func (c *shardCheck) done(kind, where, format string, args ...any) {
	c.did(Finding{Kind: kind, Where: where, What: fmt.Sprintf(format, args...)})
}

func (c *shardCheck) run() error {
	c.dests, c.late = map[string]int{}, map[ID][]byte{}
	for _, step := range []func() error{c.items, c.arrivals, c.legs, c.ages, c.walls, c.destinations, c.totals,
		c.handings} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// items checks each item, and that the indexes have it where they should.
func (c *shardCheck) items() error {
	prefix := c.s.prefix(itemSub)
	return c.r.Scan(kv.Prefix(prefix), func(key, value []byte) error {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		id := ID(key[len(prefix):])
		where := fmt.Sprintf("queue item %s", id)
		rec, err := decodeRecord(id, value)
		if err != nil {
			c.find("queue-item", where, false, "cannot be read: %v", err)
			return c.drop("queue-item", where, key, value)
		}
		if err := c.body(where, rec); err != nil {
			return err
		}
		if rec.parked() {
			c.counts.waiting++
		} else {
			c.counts.held++
		}
		return c.indexed(where, rec)
	})
}

// drop removes a row, and keeps it aside.
func (c *shardCheck) drop(kind, where string, key, value []byte) error {
	if c.fix == nil {
		return nil
	}
	c.done(kind, where, "is taken out")
	if c.keep != nil {
		if err := c.keep(key, value); err != nil {
			return err
		}
	}
	return c.fix.Delete(key)
}

func (c *shardCheck) body(where string, rec *record) error {
	who := owner(rec.id)
	linked, err := c.q.o.Blobs.Linked(c.r, rec.body, who)
	if err != nil && !errors.Is(err, kv.ErrCorrupt) {
		return err
	}
	if !linked {
		c.find("queue-link", where, true, "its body does not know that it is referred to")
		if c.fix != nil {
			c.done("queue-link", where, "its body knows of it again")
			if err := c.q.o.Blobs.Restore(c.fix, rec.body.ID, who); err != nil {
				return err
			}
		}
	}
	if !c.deep {
		return nil
	}
	err = c.q.o.Blobs.VerifyIn(c.r, rec.body)
	if !errors.Is(err, blob.ErrDamaged) {
		return err
	}
	c.find("queue-body", where, false, "its message from %s cannot be read: %v",
		rec.from.Path(), err)
	if c.fix == nil || rec.held {
		return nil
	}
	rec.held, rec.reason = true, "the stored message is damaged: tell its sender and drop it"
	c.done("queue-body", where, "is held: it can be dropped with a notice to its sender")
	return c.fix.Set(c.s.itemKey(rec.id), rec.appendBinary(nil))
}

// want makes sure that an index has a key.
func (c *shardCheck) want(key []byte, where, what string) error {
	_, err := c.r.Get(key)
	if !errors.Is(err, kv.ErrNotFound) {
		return err
	}
	c.find("queue-index", where, true, "%s", what)
	if c.fix == nil {
		return nil
	}
	c.done("queue-index", where, "is in its index again")
	return c.fix.Set(key, nil)
}

func (c *shardCheck) indexed(where string, rec *record) error {
	if err := c.want(c.s.cameKey(rec), where, "would not be listed"); err != nil {
		return err
	}
	if at := rec.wallEvent(); at != 0 {
		err := c.want(c.s.timedKey(wallSub, at, rec.id), where, "nothing would end its hold in time")
		if err != nil {
			return err
		}
	}
	if !rec.parked() {
		return nil
	}
	for i := range rec.legs {
		l := &rec.legs[i]
		if l.done {
			continue
		}
		c.dests[l.dest]++
		err := c.want(c.s.legKey(l.dest, rec.prio, l.due, rec.id), where,
			"is not among those that wait for "+l.dest+": nobody would send it")
		if err != nil {
			return err
		}
	}
	// Its place depends on limits that may have been others when it was put there.
	key := c.q.ageKey(c.s, rec)
	if _, err := c.r.Get(key); errors.Is(err, kv.ErrNotFound) {
		c.late[rec.id] = key
	} else if err != nil {
		return err
	}
	return nil
}

// extra removes the row of an index that stands for nothing.
func (c *shardCheck) extra(key []byte, format string, args ...any) error {
	where := fmt.Sprintf("queue key %x", key)
	c.find("queue-index", where, true, format, args...)
	return c.drop("queue-index", where, key, nil)
}

// item returns an item, nil when there is none that can be read.
func (c *shardCheck) item(id ID) (*record, error) {
	rec, err := readItem(c.r, c.s, id)
	if errors.Is(err, ErrNotFound) || errors.Is(err, kv.ErrCorrupt) {
		return nil, nil
	}
	return rec, err
}

// arrivals looks for rows of listings without an item that came then.
func (c *shardCheck) arrivals() error {
	return c.r.Scan(kv.Prefix(c.s.prefix(cameSub)), func(key, _ []byte) error {
		_, name, err := parseTimed(key)
		if err != nil {
			return c.extra(key, "cannot be read: %v", err)
		}
		rec, err := c.item(ID(name))
		if err != nil || rec != nil && bytes.Equal(key, c.s.cameKey(rec)) {
			return err
		}
		return c.extra(key, "item %s did not come then", name)
	})
}

// legs looks for waiting rows without an item that waits.
func (c *shardCheck) legs() error {
	prefix := c.s.prefix(legSub)
	return c.r.Scan(kv.Prefix(prefix), func(key, _ []byte) error {
		dest, rest, err := kv.TakeString(key[len(prefix):])
		var ref legRef
		if err == nil {
			ref, err = parseLeg(c.s, rest)
		}
		if err != nil {
			return c.extra(key, "cannot be read: %v", err)
		}
		rec, err := c.item(ref.id)
		if err != nil {
			return err
		}
		if rec != nil && rec.parked() {
			i := rec.legTo(dest)
			if i >= 0 && bytes.Equal(key, c.s.legKey(dest, rec.prio, rec.legs[i].due, rec.id)) {
				return nil
			}
		}
		return c.extra(key, "item %s does not wait for %s then", ref.id, dest)
	})
}

// ages checks the indexes of what an item's age brings.
func (c *shardCheck) ages() error {
	for _, sub := range []byte{warnSub, endSub} {
		err := c.r.Scan(kv.Prefix(c.s.prefix(sub)), func(key, _ []byte) error {
			_, name, err := parseTimed(key)
			if err != nil {
				return c.extra(key, "cannot be read: %v", err)
			}
			rec, err := c.item(ID(name))
			if err != nil {
				return err
			}
			if rec == nil || !rec.parked() || rec.warned != (sub == endSub) {
				return c.extra(key, "item %s does not age so", name)
			}
			delete(c.late, rec.id)
			return nil
		})
		if err != nil {
			return err
		}
	}
	for id, key := range c.late {
		if err := c.want(key, fmt.Sprintf("queue item %s", id), "it would never expire"); err != nil {
			return err
		}
	}
	return nil
}

func (c *shardCheck) walls() error {
	return c.r.Scan(kv.Prefix(c.s.prefix(wallSub)), func(key, _ []byte) error {
		at, name, err := parseTimed(key)
		if err != nil {
			return c.extra(key, "cannot be read: %v", err)
		}
		rec, err := c.item(ID(name))
		if err != nil || rec != nil && rec.wallEvent() == at {
			return err
		}
		return c.extra(key, "nothing happens to item %s then", name)
	})
}

// destinations compares what is known of destinations with the items that wait for them.
func (c *shardCheck) destinations() error {
	wakes := map[string]qtime{}
	prefix := c.s.prefix(destSub)
	err := c.r.Scan(kv.Prefix(prefix), func(key, value []byte) error {
		name := string(key[len(prefix):])
		where := "destination " + name
		row, err := decodeDest(value)
		switch n := c.dests[name]; {
		case err != nil:
			c.find("queue-count", where, true, "cannot be read: %v", err)
			return c.drop("queue-count", where, key, value) // and made again below
		case n == 0:
			c.find("queue-count", where, true, "%d items wait for it, it says; none does", row.count)
			return c.drop("queue-count", where, key, value)
		case n != row.count:
			c.find("queue-count", where, true, "%d items wait for it, it says %d", n, row.count)
			row.count = n
			if err := c.putDest(name, row); err != nil {
				return err
			}
		}
		wakes[name] = row.wake
		return nil
	})
	if err != nil {
		return err
	}
	for name, n := range c.dests {
		first, err := earliest(c.r, c.s, name)
		if err != nil {
			return err
		}
		wake, known := wakes[name]
		where := "destination " + name
		if !known {
			c.find("queue-count", where, true, "%d items wait for it, it does not know", n)
		}
		row, err := c.readDest(name)
		if err != nil {
			return err
		}
		if late := known && row.fails == 0 && wake > first; late || !known {
			if late {
				c.find("queue-index", where, true, "would be looked at too late")
			}
			row.count, row.wake = n, min(first, row.wake)
			if err := c.putDest(name, row); err != nil {
				return err
			}
			wakes[name] = row.wake
		}
		if c.fix != nil || known {
			err = c.want(c.s.wakeKey(wakes[name], name), where, "nobody would look at it")
			if err != nil {
				return err
			}
		}
	}
	return c.wakes(wakes)
}

func (c *shardCheck) readDest(name string) (destRow, error) {
	b, err := c.r.Get(c.s.destKey(name))
	if err == nil {
		if row, err := decodeDest(b); err == nil {
			return row, nil
		}
	}
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return destRow{}, err
	}
	return destRow{wake: never}, nil
}

func (c *shardCheck) putDest(name string, row destRow) error {
	if c.fix == nil {
		return nil
	}
	c.done("queue-count", "destination "+name, "%d items wait for it", row.count)
	return c.fix.Set(c.s.destKey(name), row.appendBinary(nil))
}

// wakes looks for wakes of destinations that nobody waits for.
func (c *shardCheck) wakes(of map[string]qtime) error {
	return c.r.Scan(kv.Prefix(c.s.prefix(wakeSub)), func(key, _ []byte) error {
		at, name, err := parseTimed(key)
		if wake, known := of[name]; err == nil && known && wake == qtime(at) {
			return nil
		}
		return c.extra(key, "nobody waits for destination %s then", name)
	})
}

func (c *shardCheck) totals() error {
	have, err := readCounts(c.r, c.s)
	if err != nil && !errors.Is(err, kv.ErrCorrupt) {
		return err
	}
	if err == nil && have == c.counts {
		return nil
	}
	where := fmt.Sprintf("counts of queue shard %d", c.s)
	c.find("queue-count", where, true, "say %d waiting and %d held, counted %d and %d", have.waiting,
		have.held, c.counts.waiting, c.counts.held)
	if c.fix == nil {
		return nil
	}
	c.done("queue-count", where, "are counted again")
	var e encoder
	e.uint(uint64(c.counts.waiting))
	e.uint(uint64(c.counts.held))
	return c.fix.Set(c.s.prefix(countSub), e.b)
}
