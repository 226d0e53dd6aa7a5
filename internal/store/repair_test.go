package store

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"tram/internal/kv"
)

// TestRepair plants every kind of damage and repairs it. Every message whose bytes are intact is
// there afterwards with the same bytes and, unless its place itself was lost, under the same UID; no
// UID is given out again; a second check finds nothing but the bodies that were named as lost; and a
// second repair does nothing.
func TestRepair(t *testing.T) {
	t.Parallel()
	if len(damages) < 25 {
		t.Fatalf("%d kinds of damage, 25 are the promise", len(damages))
	}
	for name, d := range allDamages() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := furnished(t)
			before, next := h.raw(), h.mailbox(1).UIDNext
			var modseq ModSeq
			h.view(func(tx *Tx) error { modseq = tx.ModSeq(); return nil })
			h.plant(d)
			left := h.repair()
			lost := d.kind == "blob-missing"
			for _, f := range left {
				if !lost || f.Kind != "blob-missing" || !strings.Contains(f.Where, "UID") &&
					!strings.Contains(f.Where, "email") {
					t.Errorf("not repaired: %+v", f)
				}
			}
			if now := h.findings(); len(now) != len(left) {
				t.Errorf("repair left %+v, a check finds %+v", left, now)
			}
			h.open()
			h.wantRaw(before, lost)
			if got := h.mailbox(h.inbox()).UIDNext; got < next && !strings.Contains(name, "mailbox row") {
				t.Errorf("UIDNEXT is %d, it was %d", got, next)
			}
			h.view(func(tx *Tx) error {
				if tx.ModSeq() < modseq {
					t.Errorf("ModSeq fell from %d to %d", modseq, tx.ModSeq())
				}
				return nil
			})
			h.append(mail(60), h.inbox())
			if deeds := h.repairDeeds(nil); len(deeds) > 0 {
				t.Errorf("the second repair did %+v", deeds)
			}
		})
	}
}

// raw returns every message that can be read, by its bytes, with the mailboxes and UIDs it has.
func (h *house) raw() map[string]string {
	h.t.Helper()
	out := map[string]string{}
	h.view(func(tx *Tx) error {
		boxes, err := tx.Mailboxes()
		if err != nil {
			return err
		}
		for _, m := range boxes {
			l, err := tx.List(m.ID)
			if err != nil {
				return err
			}
			err = tx.EachEmail(l, 0, l.Len(), func(e Entry, row *Email) error {
				if row == nil {
					return nil
				}
				r := tx.Open(row)
				defer r.Close()
				if b, err := io.ReadAll(r); err == nil {
					out[string(b)] += fmt.Sprintf("%s %d;", m.Name, e.UID)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return out
}

// wantRaw wants every message as before; but for one where its body was damaged, or its place.
func (h *house) wantRaw(before map[string]string, lost bool) {
	h.t.Helper()
	after := h.raw()
	missing, moved := 0, 0
	for body, where := range before {
		switch now, ok := after[body]; {
		case !ok:
			missing++
		case now != where:
			moved++
			h.t.Logf("a message was at %s, is at %s", where, now)
		}
	}
	if missing > 1 || missing > 0 && !lost {
		h.t.Errorf("%d messages of %d are lost", missing, len(before))
	}
	if moved > 1 && !strings.Contains(h.t.Name(), "mailbox") && !strings.Contains(h.t.Name(), "inbox") {
		h.t.Errorf("%d messages of %d have moved", moved, len(before))
	}
}

// repair repairs, and returns what is left.
func (h *house) repair() (left []Finding) {
	h.t.Helper()
	h.repairDeeds(&left)
	return left
}

func (h *house) repairDeeds(left *[]Finding) (deeds []Finding) {
	h.t.Helper()
	h.must(h.store.Repair(context.Background(), RepairOptions{
		Did: func(f Finding) {
			deeds = append(deeds, f)
			if f.What == "" || f.Where == "" {
				h.t.Errorf("a deed does not say what or where: %+v", f)
			}
		},
		Left: func(f Finding) {
			if left != nil {
				*left = append(*left, f)
			}
		},
		Progress: func(done, total int64, what string) {
			if done > total {
				h.t.Errorf("progress %d of %d, %s", done, total, what)
			}
		},
	}))
	return deeds
}

// TestRepairKeeps: what is thrown away is handed over first.
func TestRepairKeeps(t *testing.T) {
	t.Parallel()
	h := furnished(t)
	key := key64(nil, 1, kindEmail, 2)
	h.plant(damage{plant: func(p *planter) { p.rubbish(key) }})
	kept := false
	h.must(h.store.Repair(context.Background(), RepairOptions{Keep: func(k, v []byte) error {
		kept = kept || bytes.Equal(k, key) && string(v) == "rubbish"
		return nil
	}}))
	if !kept {
		t.Error("the damaged row was not kept")
	}
}

// TestRepairLosesWithBody: an email whose row is lost and whose body is damaged cannot be kept. It
// is named and taken off the lists, and its UID does not come back.
func TestRepairLosesWithBody(t *testing.T) {
	t.Parallel()
	h := furnished(t)
	h.plant(damage{plant: func(p *planter) {
		var e Email
		key := key64(nil, 1, kindEmail, 1)
		h.must(e.decode(key, p.get(key)))
		p.remove(key)
		p.firstOf(append([]byte("bc"), e.Blob.ID[:]...), p.rubbish)
	}})
	deeds := h.repairDeeds(nil)
	if !slices.ContainsFunc(deeds, func(f Finding) bool {
		return f.Kind == "lost" && strings.Contains(f.Where, "UID 1 of INBOX")
	}) {
		t.Errorf("the loss was not told: %+v", deeds)
	}
	if found := h.findings(); len(found) > 0 {
		t.Errorf("a check finds %+v", found)
	}
	if got := uidsOf(h.list(1)); slices.Contains(got, 1) || len(got) != 3 {
		t.Errorf("UIDs are %v", got)
	}
}

// TestRepairAllRows loses every row of the account but the bodies and the references to them: every
// message comes back.
func TestRepairAllRows(t *testing.T) {
	t.Parallel()
	h := furnished(t)
	before := h.raw()
	h.plant(damage{plant: func(p *planter) {
		h.must(p.w.DeleteRange(appendKey(nil, 1, 0), appendKey(nil, 2, 0)))
	}})
	if left := h.repair(); len(left) > 0 {
		t.Errorf("left: %+v", left)
	}
	after := h.raw()
	for body := range before {
		if where := after[body]; !strings.HasPrefix(where, recoveredName+" ") {
			t.Errorf("a message is at %q", where)
		}
	}
	h.check()
}

// TestRepairLarge repairs an account whose lists have several segments, with holes in rows of every
// kind: what one row lacks, another tells.
func TestRepairLarge(t *testing.T) {
	t.Parallel()
	h := furnished(t)
	h.appendMany(1500, 1)
	for range 2 {
		h.must(h.store.IndexText(context.Background()))
	}
	before := h.raw()
	n := 0
	h.plant(damage{plant: func(p *planter) {
		for _, kind := range []byte{kindEmail, kindState, kindList, kindThread, kindThreadOf} {
			h.must(p.w.Scan(kv.Prefix(appendKey(nil, 1, kind)), func(key, _ []byte) error {
				if n++; n%37 == int(kind)%7 {
					return p.w.Delete(key)
				}
				return nil
			}))
		}
	}})
	if left := h.repair(); len(left) > 0 {
		t.Errorf("left: %+v", left)
	}
	h.check()
	after := h.raw()
	for body := range before {
		if _, ok := after[body]; !ok {
			t.Fatalf("a message is lost, it was at %s", before[body])
		}
	}
}
