package queue

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"tram/internal/kv"
)

// checked returns what a deep check finds.
func (w *world) checked() (found []Finding) {
	w.t.Helper()
	err := w.q.Check(w.t.Context(), true, func(f Finding) { found = append(found, f) })
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

// rows calls do for the rows of one kind in every shard.
func (w *world) rows(sub byte, do func(t kv.Txn, key, value []byte) error) {
	w.t.Helper()
	n := 0
	for s := range w.q.eachShard() {
		err := w.db.Update(w.t.Context(), s.scope(), func(t kv.Txn) error {
			return t.Scan(kv.Prefix(s.prefix(sub)), func(key, value []byte) error {
				n++
				return do(t, bytes.Clone(key), bytes.Clone(value))
			})
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	if n == 0 {
		w.t.Fatalf("no row of kind %q", sub)
	}
}

func remove(t kv.Txn, key, _ []byte) error { return t.Delete(key) }

func rubbish(t kv.Txn, key, _ []byte) error { return t.Set(key, []byte{}) }

// later makes a row of an index one that stands for another time.
func shifted(at int) func(t kv.Txn, key, value []byte) error {
	return func(t kv.Txn, key, value []byte) error {
		key = bytes.Clone(key)
		key[at]++
		return t.Set(key, value)
	}
}

// TestCheckAndRepair plants damage into the queue's rows (reliability B10): a check says what it is,
// a repair puts it right, and what can be sent is sent.
func TestCheckAndRepair(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, kind string
		plant      func(w *world)
		lost       bool // an item is
		held       bool // an item cannot be sent any more
	}{
		{name: "item without leg", kind: "queue-index", plant: func(w *world) { w.rows(legSub, remove) }},
		{name: "leg without item", kind: "queue-index", plant: func(w *world) {
			w.rows(legSub, func(t kv.Txn, key, value []byte) error {
				return t.Set(append(key[:len(key)-4], "none"...), value)
			})
		}},
		{name: "leg at another time", kind: "queue-index", plant: func(w *world) {
			w.rows(legSub, func(t kv.Txn, key, value []byte) error {
				_, rest, err := kv.TakeString(key[3:])
				if err != nil {
					return err
				}
				return shifted(len(key)-len(rest)+5)(t, key, value)
			})
		}},
		{name: "not listed", kind: "queue-index", plant: func(w *world) { w.rows(cameSub, remove) }},
		{name: "listed twice", kind: "queue-index", plant: func(w *world) { w.rows(cameSub, shifted(9)) }},
		{name: "no age", kind: "queue-index", plant: func(w *world) { w.rows(warnSub, remove) }},
		{name: "age of nothing", kind: "queue-index", plant: func(w *world) {
			w.rows(warnSub, func(t kv.Txn, key, value []byte) error { return t.Set(append(key, 'x'), nil) })
		}},
		{name: "end of hold of nothing", kind: "queue-index", plant: func(w *world) {
			w.rows(itemSub, func(t kv.Txn, key, _ []byte) error {
				return t.Set(shard(key[1]).timedKey(wallSub, 9, "nobody"), nil)
			})
		}},
		{name: "no destination", kind: "queue-count", plant: func(w *world) { w.rows(destSub, remove) }},
		{name: "damaged destination", kind: "queue-count", plant: func(w *world) { w.rows(destSub, rubbish) }},
		{name: "no wake", kind: "queue-index", plant: func(w *world) { w.rows(wakeSub, remove) }},
		{name: "second wake", kind: "queue-index", plant: func(w *world) { w.rows(wakeSub, shifted(9)) }},
		{name: "late wake", kind: "queue-index", plant: func(w *world) {
			w.rows(destSub, func(t kv.Txn, key, value []byte) error {
				row, err := decodeDest(value)
				row.wake += 1 << 40
				if err != nil {
					return err
				}
				return t.Set(key, row.appendBinary(nil))
			})
		}},
		{name: "count", kind: "queue-count", plant: func(w *world) {
			w.rows(countSub, func(t kv.Txn, key, _ []byte) error { return t.Set(key, []byte{9, 9}) })
		}},
		{name: "damaged count", kind: "queue-count", plant: func(w *world) {
			w.rows(countSub, func(t kv.Txn, key, _ []byte) error { return t.Set(key, []byte{1}) })
		}},
		{name: "damaged item", kind: "queue-item", lost: true, plant: func(w *world) {
			w.rows(itemSub, rubbish)
		}},
		{name: "no item", kind: "queue-link", lost: true, plant: func(w *world) { w.rows(itemSub, remove) }},
		{name: "body gone", kind: "queue-body", held: true, plant: func(w *world) { w.bodies("bc", remove) }},
		{name: "body does not know", kind: "queue-link", plant: func(w *world) { w.bodies("br", remove) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.send("bob@alive.test")
			if found := w.checked(); len(found) > 0 {
				t.Fatalf("before the damage: %+v", found)
			}
			c.plant(w)
			found := w.checked()
			if !slices.ContainsFunc(found, func(f Finding) bool { return f.Kind == c.kind }) {
				t.Errorf("no finding of kind %s among %+v", c.kind, found)
			}
			var left []Finding
			err := Repair(t.Context(), w.o, RepairOptions{Left: func(f Finding) { left = append(left, f) }})
			if err != nil {
				t.Fatal(err)
			}
			now := w.checked()
			if c.held != (len(now) == 1 && now[0].Kind == "queue-body") || !c.held && len(now)+len(left) > 0 {
				t.Errorf("after the repair: %+v, left %+v", now, left)
			}
			waiting, held := 1, 0
			if c.lost || c.held {
				waiting = 0
			}
			if c.held {
				held = 1
			}
			w.reopen()
			if got, err := w.q.totals(t.Context()); err != nil || got != (counts{waiting, held}) {
				t.Errorf("%+v wait, %v", got, err)
			}
		})
	}
}

// bodies calls do for rows of the bodies.
func (w *world) bodies(prefix string, do func(t kv.Txn, key, value []byte) error) {
	w.t.Helper()
	err := w.db.Update(w.t.Context(), "test", func(t kv.Txn) error {
		return t.Scan(kv.Prefix([]byte(prefix)), func(key, value []byte) error {
			return do(t, bytes.Clone(key), bytes.Clone(value))
		})
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// TestCheckOfRunningQueue: what the queue does by itself is never taken for damage.
func TestCheckOfRunningQueue(t *testing.T) {
	t.Parallel()
	w := newWorld(t).run()
	for i := range 6 {
		w.send("bob@alive.test", "carol@dead.test")
		if i%2 == 0 {
			w.later(20 * time.Minute)
		}
		if found := w.checked(); len(found) > 0 {
			t.Fatalf("round %d: %+v", i, found)
		}
	}
	w.later(5 * time.Hour)
	if found := w.checked(); len(found) > 0 {
		t.Errorf("after warnings: %+v", found)
	}
}
