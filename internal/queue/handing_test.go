package queue

import (
	"bytes"
	"testing"
	"time"

	"tram/internal/envelope"
	"tram/internal/kv"
)

var handing = envelope.Handing{Key: [16]byte{1, 2, 3}, For: 15 * time.Minute}

// handed is a message as deliver hands it over.
func (w *world) handed(id string, to ...string) *envelope.Envelope {
	w.t.Helper()
	e := &envelope.Envelope{ID: id, Origin: envelope.Inbound, From: addr("x@far.test"),
		Body: w.pending("Received: " + id + "\r\n" + note), ContentHash: [32]byte{9}, Handing: handing}
	for _, a := range to {
		e.Recipients = append(e.Recipients, Recipient{Address: addr(a)})
	}
	return e
}

func (w *world) handOver(envs ...*envelope.Envelope) {
	w.t.Helper()
	if err := w.q.HandOver(w.t.Context(), envs...); err != nil {
		w.t.Fatal(err)
	}
}

// count checks how many items there are, and whom the message is known to be taken for.
func (w *world) count(items int, handed ...string) {
	w.t.Helper()
	st, err := w.q.Stats(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	to, err := w.q.HandedOver(w.t.Context(), 0, handing.Key)
	if err != nil {
		w.t.Fatal(err)
	}
	if int(st.Waiting+st.Held) != items || len(to) != len(handed) {
		w.t.Errorf("%d items for %q; want %d, %q", st.Waiting+st.Held, to, items, handed)
	}
}

// TestHandOverOnce: the same message handed over again is taken for whom it was not taken before, also
// after a crash and when the first item has gone, until its sender has seen the reply or the time is
// over (RFC 1047).
func TestHandOverOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.handOver(w.handed("a.w", "bob@us.test"))
	w.stop = func() {}
	w.crash()
	w.handOver(w.handed("b.w", "bob@us.test"))
	w.count(1, "bob@us.test")
	w.handOver(w.handed("c.w", "bob@us.test", "eve@us.test"))
	w.count(2, "bob@us.test", "eve@us.test")
	if it := w.show("c.w"); len(it.Recipients) != 1 || it.Recipients[0].Address != addr("eve@us.test") {
		t.Errorf("queued for %+v", it.Recipients)
	}
	w.run()
	w.await("delivered", 2)
	w.stop()
	w.handOver(w.handed("d.w", "bob@us.test"))
	w.count(0, "bob@us.test", "eve@us.test")

	if err := w.q.Seen(t.Context(), 0, handing.Key, addr("bob@us.test"), addr("nobody@us.test")); err != nil {
		t.Fatal(err)
	}
	w.count(0, "eve@us.test")
	w.handOver(w.handed("e.w", "bob@us.test"))
	w.count(1, "bob@us.test", "eve@us.test")

	w.clock.Advance(handing.For + time.Second)
	w.count(1)
	w.handOver(w.handed("f.w", "bob@us.test"))
	w.count(2, "bob@us.test")
	rows := 0
	for _, key := range w.keys() {
		if key[2] == handSub || key[2] == overSub {
			rows++
		}
	}
	if rows != 2 {
		t.Errorf("%d rows tell of one recipient", rows)
	}
}

// TestHandOverTogether: several envelopes of one message are taken in one transaction, or none is.
func TestHandOverTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gone := w.handed("a.w", "eve@us.test")
	gone.ID = "not printable\n"
	if err := w.q.HandOver(t.Context(), w.handed("a.w", "bob@us.test"), gone); err == nil {
		t.Fatal("taken")
	}
	w.count(0)
	one, two := w.handed("a.w", "bob@us.test"), w.handed("a.w", "eve@us.test")
	two.Body, two.Junk = one.Body, true
	w.handOver(one, two)
	w.count(2, "bob@us.test", "eve@us.test")
	w.run()
	w.await("delivered", 2)
	w.stop()
	for _, e := range w.local.got {
		if e.Junk != (e.Recipients[0].Address == addr("eve@us.test")) || !e.Queued || e.ContentHash != one.ContentHash {
			t.Errorf("delivered %+v", e)
		}
	}
}

// TestCheckHandings: damaged rows are found and taken out, and what forgets them is made again.
func TestCheckHandings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.handOver(w.handed("a.w", "bob@us.test", "eve@us.test"))
	s := w.q.shardOf(handing.Key, 0)
	err := w.db.Update(t.Context(), s.scope(), func(txn kv.Txn) error {
		for _, key := range w.keys() {
			if key[2] == overSub {
				if err := txn.Delete([]byte(key)); err != nil {
					return err
				}
			}
		}
		if err := txn.Set(s.handKey(append(handing.Key[:], "bob@us.test"...)), []byte("?")); err != nil {
			return err
		}
		return txn.Set(append(s.prefix(overSub), 1, 2), nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	w.count(1, "eve@us.test")
	var found, left []Finding
	if err := w.q.Check(t.Context(), false, func(f Finding) { found = append(found, f) }); err != nil {
		t.Fatal(err)
	}
	err = Repair(t.Context(), w.o, RepairOptions{Left: func(f Finding) { left = append(left, f) }})
	if err != nil || len(found) != 3 || len(left) != 0 {
		t.Errorf("found %+v, left %+v, %v", found, left, err)
	}
	w.count(1, "eve@us.test")
}

// TestRecordContent: the content's hash is kept, and a row without one is as it was before there was any.
func TestRecordContent(t *testing.T) {
	t.Parallel()
	plain := sampleRecord()
	with := sampleRecord()
	with.content = [32]byte{7, 31: 8}
	short, long := plain.appendBinary(nil), with.appendBinary(nil)
	if len(long) <= len(short) || !bytes.HasSuffix(long, with.content[:]) {
		t.Errorf("%d octets, with a hash %d", len(short), len(long))
	}
	for _, b := range [][]byte{short, long} {
		rec, err := decodeRecord("x", b)
		if err != nil {
			t.Fatal(err)
		}
		if again := rec.appendBinary(nil); !bytes.Equal(again, b) {
			t.Errorf("%x, then %x", b, again)
		}
	}
	if _, err := decodeRecord("x", long[:len(long)-1]); err == nil {
		t.Error("half a hash is none")
	}
}
