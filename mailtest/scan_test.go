package mailtest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tram/internal/config"
	"tram/internal/scan/filter/filtertest"
	"tram/internal/smtp"
)

// scanner is a small clamd that can be told to fail.
type scanner struct {
	fault atomic.Pointer[filtertest.Fault]
	asked atomic.Int32
	addr  string
}

func newScanner(t *testing.T) *scanner {
	s := &scanner{}
	works := filtertest.Clamd(50 << 20)
	s.addr = filtertest.Serve(t, func(c net.Conn) {
		s.asked.Add(1)
		if f := s.fault.Load(); f != nil {
			f.Handle(c)
			return
		}
		works(c)
	}).Name
	return s
}

// scanLetter is a letter with more text.
func scanLetter(from, to, text string) string {
	return Letter(from, to, "a letter") + text + "\r\n"
}

// send mails while time passes, as what hangs is given up by the house's clock.
func (s *scanner) send(w *World, sender *Sender, from, text, to string) smtp.Reply {
	w.T.Helper()
	got := make(chan smtp.Reply, 1)
	go func() { got <- sender.Mail(from, text, to)[0] }()
	var r smtp.Reply
	w.Until("a reply", func() bool {
		select {
		case r = <-got:
			return true
		default:
			return false
		}
	})
	return r
}

// TestScannerFails is O15: a scanner that hangs, dies, is cut off or talks nonsense lets nothing through
// that was not scanned, by port 25 and from our own people; half a minute is the longest that a sender
// waits, and nobody waits once it has failed five times. When it is back, mail flows by itself.
func TestScannerFails(t *testing.T) {
	t.Parallel()
	for _, fault := range filtertest.Faults("1: stream: OK\x00") {
		t.Run(fault.Name, func(t *testing.T) {
			t.Parallel()
			w, s := New(t), newScanner(t)
			h := w.House("a.test", Options{Edit: func(c *config.Config) { c.Scan.Clamd.Address = s.addr }})
			alice := h.Person("alice", 0)
			s.fault.Store(&fault)
			stranger, submitter := h.Stranger(), alice.Submitter()
			const from = "someone@elsewhere.test"
			for i := range 4 {
				began := w.Clock.Now()
				r := s.send(w, stranger, from, scanLetter(from, alice.Address, fmt.Sprint(i)), alice.Address)
				if r.Code != 451 || r.Enhanced != (smtp.Enhanced{4, 7, 1}) {
					t.Errorf("message %d: %v", i, r)
				}
				if d := w.Clock.Now().Sub(began); !fault.Hangs && d > 25*time.Second {
					t.Logf("message %d took %v", i, d)
				}
			}
			if r := s.send(w, submitter, alice.Address, scanLetter(alice.Address, from, "x"), from); r.Code != 451 {
				t.Errorf("submission: %v", r)
			}
			// Five in a row: nobody is asked any more, and the reply comes without time passing.
			asked := s.asked.Load()
			for range 5 {
				r := stranger.Mail(from, scanLetter(from, alice.Address, "y"), alice.Address)[0]
				if r.Code != 451 {
					t.Errorf("while it is left alone: %v", r)
				}
			}
			if n := s.asked.Load(); n != asked {
				t.Errorf("it was asked %d times meanwhile", n-asked)
			}
			if n := len(alice.Inbox()); n != 0 {
				t.Errorf("%d messages were delivered unscanned", n)
			}
			if n := len(h.Queued()); n != 0 {
				t.Errorf("%d messages were queued unscanned", n)
			}
			s.fault.Store(nil)
			w.Clock.Advance(16 * time.Second)
			if r := s.send(w, stranger, from, scanLetter(from, alice.Address, "at last"), alice.Address); !r.OK() {
				t.Errorf("when it is back: %v", r)
			}
			if box := alice.WaitInbox(1); len(box) != 1 || !strings.Contains(box[0], "at last") {
				t.Errorf("inbox %q", box)
			}
		})
	}
}

// TestScannerAccepts: with on_failure = "accept" mail goes on without the filter.
func TestScannerAccepts(t *testing.T) {
	t.Parallel()
	w, s := New(t), newScanner(t)
	s.fault.Store(&filtertest.Fault{Handle: func(c net.Conn) { c.Close() }})
	h := w.House("a.test", Options{Edit: func(c *config.Config) {
		c.Scan.Clamd.Address, c.Scan.Clamd.OnFailure = s.addr, config.ScanAccept
	}})
	alice := h.Person("alice", 0)
	const from = "someone@elsewhere.test"
	if r := s.send(w, h.Stranger(), from, scanLetter(from, alice.Address, "x"), alice.Address); !r.OK() {
		t.Error(r)
	}
	alice.WaitInbox(1)
}

// TestVirusAtTheDoors: a virus is refused in the session, under its name, whoever sends it; nothing of it
// is kept.
func TestVirusAtTheDoors(t *testing.T) {
	t.Parallel()
	w, s := New(t), newScanner(t)
	h := w.House("a.test", Options{Edit: func(c *config.Config) { c.Scan.Clamd.Address = s.addr }})
	alice, bob := h.Person("alice", 0), h.Person("bob", 0)
	const from = "someone@elsewhere.test"
	refused := func(r smtp.Reply) {
		t.Helper()
		if r.Code != 550 || r.Enhanced != (smtp.Enhanced{5, 7, 1}) || !strings.Contains(r.Text(), "Eicar-Test") {
			t.Errorf("%v", r)
		}
	}
	refused(h.Stranger().Mail(from, scanLetter(from, alice.Address, "EICAR"), alice.Address)[0])
	refused(alice.Submitter().Mail(alice.Address, scanLetter(alice.Address, bob.Address, "EICAR"), bob.Address)[0])
	alice.Submit(scanLetter(alice.Address, bob.Address, "clean"), bob.Address)
	bob.WaitInbox(1)
	if n := len(alice.Inbox()); n != 0 {
		t.Errorf("alice has %d", n)
	}
	if len(h.Queued()) != 0 {
		t.Error("something is queued")
	}
}

// TestMilterAtTheDoors: what a milter adds stands on top of what is filed and of what is sent; what it
// wants held or dropped is held for an administrator, and nobody has it.
func TestMilterAtTheDoors(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		end  []string
		held bool
	}{
		"fields":     {[]string{"hX-Filter\x00seen\x00", "c"}, false},
		"quarantine": {[]string{"qlooks odd\x00", "c"}, true},
		"discard":    {[]string{"d"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := New(t)
			address := filtertest.Serve(t, filtertest.Milter(tc.end...)).Name
			h := w.House("a.test", Options{Edit: func(c *config.Config) {
				c.Scan.Milters = []config.ScanMilter{{Name: "m", Address: address, OnFailure: config.ScanDefer}}
			}})
			alice, bob := h.Person("alice", 0), h.Person("bob", 0)
			const from = "someone@elsewhere.test"
			if r := h.Stranger().Mail(from, scanLetter(from, alice.Address, "x"), alice.Address)[0]; !r.OK() {
				t.Fatal(r)
			}
			alice.Submit(scanLetter(alice.Address, bob.Address, "y"), bob.Address)
			if tc.held {
				held := 0
				for _, item := range h.Queued() {
					if item.State == "held" {
						held++
					} else if item.From != "<>" { // a notice to the administrator
						t.Errorf("in the queue: %+v", item)
					}
				}
				if held != 2 {
					t.Errorf("%d messages are held", held)
				}
				for _, text := range append(alice.Inbox(), bob.Inbox()...) {
					if !strings.HasPrefix(text, "Return-Path: <>") {
						t.Errorf("delivered:\n%s", text)
					}
				}
				return
			}
			for _, box := range [][]string{alice.WaitInbox(1), bob.WaitInbox(1)} {
				if n := strings.Count(box[0], "X-Filter: seen\r\n"); n != 1 {
					t.Errorf("%d fields in\n%s", n, box[0])
				}
				if !strings.HasPrefix(box[0], "Return-Path: <") || strings.Count(box[0], "Return-Path: ") != 1 {
					t.Errorf("top of\n%s", box[0])
				}
			}
		})
	}
}

// TestFiltersJudgeSubmissions: what the filters find counts in what our own people send: it is held when it
// looks like spam. A virus is refused before anything else is said of it.
func TestFiltersJudgeSubmissions(t *testing.T) {
	t.Parallel()
	w, s := New(t), newScanner(t)
	rspamd := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		score := "2"
		if strings.Contains(string(body), "lottery") {
			score = "30"
		}
		fmt.Fprintf(rw, `{"action": "add header", "score": %[1]s, "required_score": 15, "symbols": {"OWN": {"score": %[1]s}}}`,
			score)
	}))
	t.Cleanup(rspamd.Close)
	h := w.House("a.test", Options{Edit: func(c *config.Config) {
		c.Scan.Clamd.Address = s.addr
		c.Scan.Rspamd.Address, c.Scan.Rspamd.OnFailure = rspamd.Listener.Addr().String(), config.ScanDefer
	}})
	alice, bob := h.Person("alice", 0), h.Person("bob", 0)
	virus := scanLetter(alice.Address, bob.Address, "the lottery EICAR")
	if r := alice.Submitter().Mail(alice.Address, virus, bob.Address)[0]; r.Code != 550 {
		t.Errorf("a virus: %v", r)
	}
	alice.Submit(scanLetter(alice.Address, bob.Address, "see you"), bob.Address)
	bob.WaitInbox(1)
	alice.Submit(scanLetter(alice.Address, bob.Address, "the lottery"), bob.Address)
	held := 0
	for _, item := range h.Queued() {
		if item.State == "held" {
			held++
			if !strings.Contains(item.Reason, "RSPAMD_OWN") {
				t.Errorf("held for %q", item.Reason)
			}
		}
	}
	if held != 1 || len(bob.Inbox()) != 1 {
		t.Errorf("%d messages are held, bob has %d", held, len(bob.Inbox()))
	}
}
