package reports

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tram/internal/blob"
	"tram/internal/kv"
	"tram/internal/mailauth"
	"tram/internal/smtp"
	"tram/internal/tlspolicy"
)

// failingDB is a database whose disk gives nothing back once err is set.
type failingDB struct {
	kv.Database
	err error
}

func (d *failingDB) View(ctx context.Context, s kv.Scope, fn func(kv.Reader) error) error {
	if d.err != nil {
		return d.err
	}
	return d.Database.View(ctx, s, fn)
}

// TestDiskFails: a report that our own disk does not give back is not its sender's fault: he comes again.
func TestDiskFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	db := &failingDB{Database: w.db}
	w.blobs = blob.New(db, blob.Options{Clock: w.clock})
	report := slices.Concat(reportNumber(1, start), []byte(strings.Repeat("<!-- "+strings.Repeat("x", 1000)+" -->", 1000)))
	env := w.envelope(letter(t, "a.example", "text/xml", "", report), authentic("a.example"))
	db.err = errors.New("input/output error")
	var reply smtp.Reply
	if err := w.Take(t.Context(), env); !errors.Is(err, db.err) || errors.As(err, &reply) {
		t.Errorf("the sender is told: %v", err)
	}
	db.err = nil
	if err := w.Take(t.Context(), env); err != nil {
		t.Error(err)
	}
}

// TestDamagedIndex: rows that do not fit together keep nothing from being removed or kept.
func TestDamagedIndex(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(w *world, l Listed, id reportID){
		"index":      func(w *world, _ Listed, id reportID) { w.put(indexKey(id), []byte("x")) },
		"index, key": func(w *world, _ Listed, id reportID) { w.put(indexKey(id), []byte{space, rowHead, 'd', 'x'}) },
		"no head":    func(w *world, l Listed, id reportID) { w.remove(l.key(id)) },
		"no index":   func(w *world, _ Listed, id reportID) { w.remove(indexKey(id)) },
		"tally":      func(w *world, _ Listed, _ reportID) { w.put(tallyKey(DMARC, "boat.example", true), []byte{9}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			w.take(letter(t, "a.example", "text/xml", "", reportNumber(1, start)), authentic("a.example"))
			l := w.dmarcOf("boat.example", false).List[0]
			id, _ := parseID(l.Name)
			damage(w, l, id)
			w.clock.Advance(time.Hour)
			w.take(letter(t, "a.example", "text/xml", "", reportNumber(2, start)), authentic("a.example"))
			w.clock.Advance(w.limits.Keep + time.Hour)
			for range 2 {
				if err := w.Expire(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			for _, l := range w.dmarcOf("boat.example", false).List {
				t.Logf("left: %+v", l)
			}
			if n := w.rows(); n > 2 { // a head without an index and its tally, which a check finds
				t.Errorf("%d rows are left", n)
			}
		})
	}
}

// remove takes a row away as damage would.
func (w *world) remove(key []byte) {
	w.t.Helper()
	if err := w.db.Update(w.t.Context(), scopeIn, func(t kv.Txn) error { return t.Delete(key) }); err != nil {
		w.t.Fatal(err)
	}
}

// TestManyDecline: a record of very many addresses that do not want reports costs few questions.
func TestManyDecline(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	var uris []string
	for i := range 300 {
		uris = append(uris, fmt.Sprintf("mailto:a@v%d.test", i))
	}
	text := "v=DMARC1; p=reject; rua=" + strings.Join(uris, ",")
	var quoted []string
	for chunk := range slices.Chunk([]byte(text), 250) {
		quoted = append(quoted, `"`+string(chunk)+`"`)
	}
	w.dns.Add("_dmarc.bank.example. IN TXT " + strings.Join(quoted, " ") + "\n")
	w.Observe(mail(forger, "192.0.2.66", mailauth.PolicyReject, false), Refused)
	w.send(start)
	w.send(tomorrow)
	if n := len(w.dns.Asked()); n == 0 || n > 2*w.limits.Recipients {
		t.Errorf("%d questions", n)
	}
}

// TestOneDoubtful: an address whose DNS never answers does not keep the report from the other.
func TestOneDoubtful(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.dns.Add(rua("mailto:a@third.test,mailto:b@bank.example"))
	w.dns.Fail("bank.example._report._dmarc.third.test", errors.New("broken"))
	w.Observe(mail(forger, "192.0.2.66", mailauth.PolicyReject, false), Refused)
	w.send(start)
	w.send(tomorrow)
	if len(w.queue.sent) != 0 {
		t.Error("the other was not waited for")
	}
	w.send(tomorrow.Add(2 * retryAfter))
	if len(w.queue.sent) != 1 || len(w.queue.sent[0].Recipients) != 1 {
		t.Errorf("sent %d times", len(w.queue.sent))
	}
}

// TestPostTwoMachines: of two machines of one database one posts a report.
func TestPostTwoMachines(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	posted := 0
	w := newWorld(t, nil)
	client := servedBy(t, func(http.ResponseWriter, *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		posted++
	}, w)
	w.client = client
	w.dns.Add(`_smtp._tls.bank.example. IN TXT "v=TLSRPTv1;rua=https://example.com/a"` + "\n")
	w.Result(session(forger, tlspolicy.Success))
	w.send(start)
	w.clock.Set(tomorrow)
	other := New(w.o)
	other.client = client
	mine, err := w.parcels(t.Context(), TLS, "boat.example")
	if err != nil || len(mine) != 1 {
		t.Fatalf("%d reports, %v", len(mine), err)
	}
	// Both have it on their lists; the other one is done first, or still at it.
	his := mine[0]
	if ours, err := other.claim(t.Context(), &his); err != nil || !ours {
		t.Fatal(ours, err)
	}
	if err := w.sendOne(t.Context(), &mine[0]); err != nil {
		t.Fatal(err)
	}
	if posted != 0 {
		t.Error("posted while another machine has it in hand")
	}
	w.send(tomorrow.Add(2 * retryAfter)) // the other one has stopped
	w.send(tomorrow.Add(4 * retryAfter))
	if posted != 1 {
		t.Errorf("posted %d times", posted)
	}
}

// TestPostedAndLost: what was posted is not posted again because the message to another address could
// not be made.
func TestPostedAndLost(t *testing.T) {
	t.Parallel()
	posted := 0
	dice := &failingRand{err: errors.New("no randomness")}
	w := newWorld(t, func(o *Options) { o.Rand = dice })
	w.client = servedBy(t, func(http.ResponseWriter, *http.Request) { posted++ }, w)
	w.dns.Add(`_smtp._tls.bank.example. IN TXT "v=TLSRPTv1;rua=https://example.com/a,mailto:r@bank.example"` + "\n")
	w.Result(session(forger, tlspolicy.Success))
	w.send(start)
	w.clock.Set(tomorrow)
	if err := w.Send(t.Context()); !errors.Is(err, dice.err) {
		t.Fatal(err)
	}
	dice.err = nil
	for i := range 3 {
		w.send(tomorrow.Add(time.Duration(2*(i+1)) * retryAfter))
	}
	if posted != 1 || len(w.queue.sent) != 1 {
		t.Errorf("posted %d times, sent %d times", posted, len(w.queue.sent))
	}
}

// failingRand fails while err is set, and else is not random.
type failingRand struct{ err error }

func (r *failingRand) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	clear(p)
	return len(p), nil
}

// TestLongNames: what a stranger chooses of a result, as the names in broken signatures or the lines of
// a policy, takes little room in memory and on the disk.
func TestLongNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Limits.Reports.Memory = 20 })
	long := strings.Repeat("x", 16<<10)
	signed := func(i int) {
		e := mail(forger, "192.0.2.66", mailauth.PolicyReject, false)
		for n := range 8 {
			domain := fmt.Sprintf("%s.%d.%d.example", strings.Repeat("d", 200), i, n)
			e.Auth.DKIM = append(e.Auth.DKIM, mailauth.DKIM{Domain: domain, Selector: long, Status: mailauth.PermError})
		}
		w.Observe(e, Refused)
	}
	for i := range 100 {
		signed(i)
	}
	policy := session(forger, tlspolicy.Success)
	policy.Policy = slices.Repeat([]string{"mx: " + long}, 500)
	policy.MXPatterns = slices.Repeat([]string{long}, 500)
	w.Result(policy)
	sizes := func(l *ledger) (n, all int) {
		for _, domains := range l.days {
			for _, c := range domains {
				for row := range c.rows {
					n, all = n+1, all+len(row)
				}
			}
		}
		return n, all
	}
	if n, all := sizes(&w.dmarc); n == 0 || n > 10 || all > 20*resultMean {
		t.Errorf("%d results take %d bytes", n, all)
	}
	if n, all := sizes(&w.tls); n != 1 || all > resultMost {
		t.Errorf("%d sessions take %d bytes", n, all)
	}
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	signed(1000) // there is room again
	if n, _ := sizes(&w.dmarc); n != 1 {
		t.Errorf("%d results after a write", n)
	}
}
