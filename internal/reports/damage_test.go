package reports

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"tram/internal/kv"
	"tram/internal/mailauth"
)

// put writes a row as damage would leave it.
func (w *world) put(key, value []byte) {
	w.t.Helper()
	err := w.db.Update(w.t.Context(), scopeOut, func(t kv.Txn) error { return t.Set(key, value) })
	if err != nil {
		w.t.Fatal(err)
	}
}

// TestDamagedCounts: what is damaged of one domain costs that domain its report, and no other.
func TestDamagedCounts(t *testing.T) {
	t.Parallel()
	day := dayOf(start)
	for name, damage := range map[string]struct{ key, value []byte }{
		"head":         {domainKey(DMARC, day, "aaa.example"), []byte{9}},
		"head, JSON":   {domainKey(DMARC, day, "aaa.example"), []byte{version, '{'}},
		"head, empty":  {domainKey(DMARC, day, "aaa.example"), []byte{version, '{', '}'}},
		"count":        {countKey(DMARC, day, "aaa.example", "x"), []byte{version}},
		"count, row":   {countKey(DMARC, day, "aaa.example", "x"), append([]byte{version}, "12345678{"...)},
		"without head": {countKey(DMARC, day, "aa.example", "x"), []byte{version}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			w.dns.Add(bankRecord + `_dmarc.aaa.example. IN TXT "v=DMARC1; p=reject; rua=mailto:r@aaa.example"` + "\n")
			broken := mail("aaa.example", "192.0.2.1", mailauth.PolicyReject, false)
			broken.Auth.DMARC.Record, broken.Auth.DMARC.Organizational = "aaa.example", "aaa.example"
			w.Observe(broken, Refused)
			w.send(start)
			w.put(damage.key, damage.value)
			w.Observe(broken, Refused)
			w.Observe(mail(forger, "192.0.2.66", mailauth.PolicyReject, false), Refused)
			w.send(start)
			w.clock.Set(tomorrow)
			if err := w.Send(t.Context()); err != nil && !errors.Is(err, kv.ErrCorrupt) {
				t.Error(err)
			}
			others := 0
			for _, e := range w.queue.sent {
				if e.Recipients[0].Address.Domain == forger {
					others++
				}
			}
			if others != 1 {
				t.Errorf("the other domain's report was sent %d times", others)
			}
			w.send(tomorrow.AddDate(0, 0, 8))
			if n := w.rows(); n != 0 {
				t.Errorf("%d rows are left", n)
			}
		})
	}
}

// TestManyDomains: the counts of very many domains take few transactions, and all arrive.
func TestManyDomains(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Limits.Reports.PerRun = 250 })
	const domains = 600
	for i := range domains {
		d := fmt.Sprintf("d%d.example", i)
		w.dns.Add("_dmarc." + d + `. IN TXT "v=DMARC1; p=none; rua=mailto:r@` + d + "\"\n")
		e := mail(d, "192.0.2.1", mailauth.PolicyNone, false)
		e.Auth.DMARC.Record, e.Auth.DMARC.Organizational = d, d
		w.Observe(e, Delivered)
	}
	before := w.db.Stats().Commits
	w.send(start)
	if n := w.db.Stats().Commits - before; n > 5 {
		t.Errorf("%d domains took %d transactions", domains, n)
	}
	for i, want := range []int{250, 500, 600, 600} {
		w.send(tomorrow.Add(time.Duration(i) * time.Minute))
		if len(w.queue.sent) != want {
			t.Errorf("after %d runs %d reports were sent, want %d", i+1, len(w.queue.sent), want)
		}
	}
}

// TestSwitchedOff: who tells others nothing counts nothing, and sends nothing that was counted before.
func TestSwitchedOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.dns.Add(bankRecord)
	w.Observe(mail(forger, "192.0.2.66", mailauth.PolicyReject, false), Refused)
	w.send(start)
	w.o.SendDMARC, w.o.SendTLS = false, false
	w.restart()
	w.Observe(mail(forger, "192.0.2.67", mailauth.PolicyReject, false), Refused)
	w.Result(session(forger, ""))
	if n := w.Counted(); n != 0 {
		t.Errorf("%d results were counted", n)
	}
	w.send(tomorrow)
	if len(w.queue.sent) != 0 {
		t.Error("a report was sent")
	}
	w.o.SendDMARC, w.o.Resolver = true, nil
	w.restart()
	w.send(tomorrow)
	if len(w.queue.sent) != 0 {
		t.Error("a report was sent without a DNS")
	}
}

// TestDamagedReport: a received report that is damaged is told as that.
func TestDamagedReport(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.take(letter(t, "a.example", "text/xml", "", reportNumber(1, start)), authentic("a.example"))
	l := w.dmarcOf("boat.example", false).List[0]
	id, _ := parseID(l.Name)
	for name, value := range map[string][]byte{"version": {9}, "packed": {version, 1, 2}} {
		w.put(pieceKey(id, 0), value)
		if _, err := w.Report(t.Context(), l.Name); !errors.Is(err, kv.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
		if s := w.dmarcOf("boat.example", false); s.Damaged != 1 || s.Reports != 0 {
			t.Errorf("%s: %+v", name, s)
		}
	}
	h := l.Received
	w.put(h.key(id), []byte{version, '{'})
	w.take(letter(t, "a.example", "text/xml", "", reportNumber(2, start)), authentic("a.example"))
	if s := w.dmarcOf("boat.example", false); s.Damaged != 1 || s.Reports != 1 {
		t.Errorf("%+v", s)
	}
	w.clock.Advance(w.limits.Keep + time.Hour)
	if err := w.Expire(t.Context()); err != nil {
		t.Error(err)
	}
	if n := w.rows(); n > 1 { // a tally of bytes, at most
		t.Errorf("%d rows are left", n)
	}
	w.put(indexKey(id), nil)
	if _, err := w.Report(t.Context(), l.Name); err == nil {
		t.Error("an index that leads nowhere")
	}
}
