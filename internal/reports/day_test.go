package reports

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"tram/internal/mailauth"
	"tram/internal/tlspolicy"
)

// TestDue: a report goes out when the day's last counts are certainly written, each at its own moment.
func TestDue(t *testing.T) {
	t.Parallel()
	midnight := start.Truncate(24*time.Hour).AddDate(0, 0, 1)
	w := newWorld(t, func(o *Options) { o.Limits.Reports.Spread = 0 })
	w.dns.Add(bankRecord)
	w.Observe(mail(forger, "192.0.2.66", mailauth.PolicyReject, false), Refused)
	w.send(midnight.Add(late - time.Second))
	if len(w.queue.sent) != 0 {
		t.Error("sent too soon")
	}
	w.send(midnight.Add(late))
	if len(w.queue.sent) != 1 {
		t.Error("not sent in time")
	}
	// What comes after that, as from a machine whose clock is behind, starts no second report.
	w.clock.Set(start)
	w.Observe(mail(forger, "192.0.2.67", mailauth.PolicyReject, false), Refused)
	w.send(start)
	if n := w.rows(); n != 4 { // the day and the domain, and that a report went there
		t.Errorf("%d rows are kept of a day that is done", n)
	}
	w.send(midnight.Add(2 * time.Hour))
	if len(w.queue.sent) != 1 {
		t.Errorf("a day's report was sent %d times", len(w.queue.sent))
	}
	w = newWorld(t, nil)
	first, last := midnight.Add(24*time.Hour), midnight
	for _, domain := range []string{"a.example", "b.example", "c.example", "d.example", "e.example", "f.example"} {
		due := w.due(&parcel{kind: DMARC, day: dayOf(start), domain: domain, own: "boat.example"})
		if due.Before(first) {
			first = due
		}
		if due.After(last) {
			last = due
		}
	}
	if first.Before(midnight.Add(late)) || last.After(midnight.Add(late+w.limits.Spread)) ||
		last.Sub(first) < time.Hour {
		t.Errorf("from %v to %v", first, last)
	}
}

// TestPostRest: of several HTTPS addresses only those that failed are tried again.
func TestPostRest(t *testing.T) {
	t.Parallel()
	asked := map[string]int{}
	fails := true
	w := newWorld(t, nil)
	w.client = servedBy(t, func(rw http.ResponseWriter, r *http.Request) {
		asked[r.URL.Path]++
		if r.URL.Path == "/b" && fails {
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
	}, w)
	w.dns.Add(`_smtp._tls.bank.example. IN TXT "v=TLSRPTv1;rua=https://example.com/a,https://example.com/b"` + "\n")
	w.Result(session(forger, tlspolicy.Success))
	w.send(start)
	w.send(tomorrow)
	fails = false
	w.send(tomorrow.Add(2 * time.Hour))
	w.send(tomorrow.Add(4 * time.Hour))
	if asked["/a"] != 1 || asked["/b"] != 2 {
		t.Errorf("asked %v", asked)
	}
}

// TestHandOverTwice: of two that have composed the same report one hands it over.
func TestHandOverTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.dns.Add(bankRecord)
	w.Observe(mail(forger, "192.0.2.66", mailauth.PolicyReject, false), Refused)
	w.send(start)
	w.clock.Set(tomorrow)
	list, err := w.parcels(context.Background(), DMARC, "boat.example")
	if err != nil || len(list) != 1 {
		t.Fatalf("%d reports, %v", len(list), err)
	}
	for range 2 {
		p := list[0]
		mark := func(d *domainRow) bool {
			was := d.State
			d.State = sending
			return was == open
		}
		if _, err := w.move(t.Context(), &p, mark); err != nil {
			t.Fatal(err)
		}
		if err := w.sendOne(t.Context(), &list[0]); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.queue.sent) != 0 {
		t.Error("a report that another machine has in hand was handed over")
	}
	if !strings.HasPrefix(w.trail(&list[0]), "report-dmarc-") {
		t.Error(w.trail(&list[0]))
	}
}
