package deliver

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"tram/internal/envelope"
	"tram/internal/mailauth"
	"tram/internal/smtp"
	"tram/internal/store"
)

// reader is a desk for the address "reports" and "alice".
type reader struct {
	mu   sync.Mutex
	err  error
	read []string
}

func (d *reader) Takes(to smtp.Address) bool {
	return to.Domain == "example.test" && (to.Local == "reports" || to.Local == "alice")
}

func (d *reader) Take(_ context.Context, env *envelope.Envelope) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil {
		d.read = append(d.read, env.ID)
	}
	return d.err
}

// TestDesk: mail for an address of programs needs no account; whoever has the address gets it too, and
// what the desk cannot make sense of is then no failure.
func TestDesk(t *testing.T) {
	t.Parallel()
	never := smtp.NewReply(554, smtp.Enhanced{5, 6, 0}, "No report")
	for name, tc := range map[string]struct {
		to    []string
		err   error
		code  int
		read  int
		alice int
	}{
		"nobody's":              {[]string{"reports"}, nil, 250, 1, 0},
		"twice":                 {[]string{"reports", "reports"}, nil, 250, 1, 0},
		"somebody's":            {[]string{"alice"}, nil, 250, 1, 1},
		"and another":           {[]string{"reports", "bob"}, nil, 250, 1, 0},
		"no report":             {[]string{"reports"}, never, 554, 0, 0},
		"no report, somebody's": {[]string{"alice"}, never, 250, 0, 1},
		"no room":               {[]string{"reports"}, store.ErrFull, 452, 0, 0},
		"later":                 {[]string{"reports"}, errors.New("disk"), 451, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			desk := &reader{err: tc.err}
			h.o.Desk = desk
			d := New(h.o)
			for _, to := range tc.to {
				if r := d.CheckRecipient(t.Context(), local(to), 0); r.Code != 0 {
					t.Errorf("%s was refused at RCPT: %v", to, r)
				}
			}
			env := h.mail(d, envelope.Inbound, text, tc.to...)
			if out := d.DeliverAll(t.Context(), env); out.Reply.Code != tc.code {
				t.Errorf("answered %v", out.Reply)
			}
			if len(desk.read) != tc.read || len(h.inbox("alice")) != tc.alice {
				t.Errorf("%d were read, alice has %d", len(desk.read), len(h.inbox("alice")))
			}
		})
	}
	h := newHouse(t)
	if r := New(h.o).CheckRecipient(t.Context(), local("reports"), 0); r.Code != 550 {
		t.Errorf("without a desk its address is there: %v", r)
	}
}

// TestObserve: each inbound message whose sender was looked into is counted once, when it is known what
// became of it.
func TestObserve(t *testing.T) {
	t.Parallel()
	refuse := smtp.NewReply(550, smtp.Enhanced{5, 7, 1}, "Forged")
	later := smtp.NewReply(451, smtp.Enhanced{4, 7, 1}, "Later")
	for name, tc := range map[string]struct {
		to      string
		verdict Verdict
		origin  envelope.Origin
		want    []Fate
	}{
		"delivered":  {"alice", Verdict{}, envelope.Inbound, []Fate{FateDelivered}},
		"junk":       {"alice", Verdict{Junk: true}, envelope.Inbound, []Fate{FateJunked}},
		"held":       {"alice", Verdict{Quarantine: true}, envelope.Inbound, []Fate{FateJunked}},
		"refused":    {"alice", Verdict{Refuse: refuse}, envelope.Inbound, []Fate{FateRefused}},
		"later":      {"alice", Verdict{Refuse: later}, envelope.Inbound, nil},
		"nobody":     {"nobody", Verdict{}, envelope.Inbound, []Fate{FateRefused}},
		"submission": {"alice", Verdict{}, envelope.Submission, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			var got []Fate
			h.o.Observe = func(_ *envelope.Envelope, f Fate) { got = append(got, f) }
			h.o.Classify = func(
				context.Context, *envelope.Envelope, store.AccountID, Verdict,
			) (Verdict, error) {
				return tc.verdict, nil
			}
			d := New(h.o)
			deliver := func() {
				env := h.mail(d, tc.origin, text, tc.to)
				env.Auth = &mailauth.Results{}
				d.DeliverAll(t.Context(), env)
			}
			deliver()
			if !slices.Equal(got, tc.want) {
				t.Errorf("counted %v, want %v", got, tc.want)
			}
			if name != "delivered" {
				return
			}
			deliver() // the reply was lost
			if !slices.Equal(got, tc.want) {
				t.Errorf("a repetition was counted: %v", got)
			}
		})
	}
}
