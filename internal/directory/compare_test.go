package directory

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// answer is what a log-in came to.
type answer chan error

func (h house) logIn(ctx context.Context, password string) answer {
	out := make(answer, 1)
	go func() {
		_, err := h.Authenticate(ctx, attempt("alice@example.test", password))
		out <- err
	}()
	return out
}

// TestOneAnswerForOneQuestionOnly proves that log-ins that share the work of one hash ask the very
// same: another password, or the same one after it was changed, gets an answer of its own.
func TestOneAnswerForOneQuestionOnly(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := open(t, nil)
	h.domain("example.test")
	alice := h.account("alice@example.test")
	h.hasher.slots = make(chan struct{}, 8) // one for every hash, whatever the machine has
	started, gate := make(chan struct{}, 8), make(chan struct{})
	var count atomic.Int32
	h.hasher.ran = func() {
		started <- struct{}{}
		if count.Add(1) == 1 {
			<-gate // the first is in the middle of its work
		}
	}
	first := h.logIn(ctx, password)
	<-started
	if err := <-h.logIn(ctx, "wrong"); err != ErrBadCredentials {
		t.Errorf("a wrong password beside a right one: %v", err)
	}
	if err := h.SetPassword(ctx, alice.ID, "another long one"); err != nil {
		t.Fatal(err)
	}
	if err := <-h.logIn(ctx, password); err != ErrBadCredentials {
		t.Errorf("the old password, while a log-in from before its change goes on: %v", err)
	}
	close(gate)
	if err := <-first; err != nil {
		t.Errorf("the log-in from before the change: %v", err)
	}
	// Nothing of it is remembered for the new generation.
	if err := <-h.logIn(ctx, password); err != ErrBadCredentials {
		t.Errorf("the old password at the end: %v", err)
	}
}

// observed is a context that tells when somebody begins to wait for its end.
type observed struct {
	context.Context
	waited chan struct{}
	once   sync.Once
}

func observe(ctx context.Context) *observed {
	return &observed{Context: ctx, waited: make(chan struct{})}
}

func (o *observed) Done() <-chan struct{} {
	o.once.Do(func() { close(o.waited) })
	return o.Context.Done()
}

// TestWhoSharesIsNotLeftAlone proves that the log-in that does the work for others may leave: they
// get their answer all the same.
func TestWhoSharesIsNotLeftAlone(t *testing.T) {
	t.Parallel()
	for _, ends := range []error{context.Canceled, context.DeadlineExceeded} {
		h := open(t, nil)
		h.domain("example.test")
		h.account("alice@example.test")
		for range cap(h.hasher.slots) {
			h.hasher.slots <- struct{}{}
		}
		doing := &ending{Context: context.Background(), end: make(chan struct{}), err: ends}
		watched := observe(doing)
		first := h.logIn(watched, password)
		<-watched.waited
		other := observe(context.Background())
		second := h.logIn(other, password)
		<-other.waited
		impatient, leave := context.WithCancel(context.Background())
		watched = observe(impatient)
		third := h.logIn(watched, password)
		<-watched.waited
		leave()
		if err := <-third; !errors.Is(err, context.Canceled) {
			t.Errorf("one that left while it waited for another: %v", err)
		}
		close(doing.end)
		if err := <-first; !errors.Is(err, ends) {
			t.Errorf("the first: %v, want %v", err, ends)
		}
		for range cap(h.hasher.slots) {
			<-h.hasher.slots
		}
		if err := <-second; err != nil {
			t.Errorf("the second, after the first had %v: %v", ends, err)
		}
	}
}

// ending is a context that ends with the error of the test's choice, when the test says so.
type ending struct {
	context.Context
	end chan struct{}
	err error
}

func (e *ending) Done() <-chan struct{} { return e.end }

func (e *ending) Err() error {
	select {
	case <-e.end:
		return e.err
	default:
		return nil
	}
}

// TestStoredAnew proves that each of the ways in which a stored password can be out of date is
// enough to store it anew at the next right log-in, and that nothing else is.
func TestStoredAnew(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		what   string
		change func(*house, *credentialRecord)
		anew   bool
	}{
		{"nothing", func(*house, *credentialRecord) {}, false},
		{"memory", func(h *house, _ *credentialRecord) { h.hasher.limits.ArgonMemoryKiB *= 2 }, true},
		{"passes", func(h *house, _ *credentialRecord) { h.hasher.limits.ArgonTime++ }, true},
		{"iterations", func(h *house, _ *credentialRecord) { h.limits.SCRAMRounds++ }, true},
		{"no SCRAM keys", func(_ *house, r *credentialRecord) { r.SCRAM = nil }, true},
		{"no SCRAM-SHA-1 keys", func(_ *house, r *credentialRecord) { r.SCRAM1 = nil }, true},
		{"threads", func(h *house, r *credentialRecord) {
			p, err := parsePHC(r.Password)
			if err != nil {
				h.t.Fatal(err)
			}
			p.threads = 2
			if p.tag, err = h.hasher.tag(context.Background(), password, p); err != nil {
				h.t.Fatal(err)
			}
			r.Password = p.String()
		}, true},
	} {
		ctx := context.Background()
		h := open(t, nil)
		h.domain("example.test")
		alice := h.account("alice@example.test")
		err := h.change(ctx, alice.ID, func(_ *accountRecord, r *credentialRecord) error {
			tt.change(&h, r)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		before, err := h.cache.secret(ctx, alice.ID)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.Authenticate(ctx, attempt("alice@example.test", "wrong")); err != ErrBadCredentials {
			t.Errorf("%s: %v", tt.what, err)
		}
		if rec, err := h.cache.secret(ctx, alice.ID); err != nil || rec.Password != before.Password {
			t.Errorf("%s: a wrong password was stored (%v)", tt.what, err)
		}
		if _, err := h.Authenticate(ctx, attempt("alice@example.test", password)); err != nil {
			t.Errorf("%s: %v", tt.what, err)
		}
		rec, err := h.cache.secret(ctx, alice.ID)
		if err != nil || (rec.Password != before.Password) != tt.anew {
			t.Errorf("%s: stored anew %v, want %v (%v)", tt.what, !tt.anew, tt.anew, err)
		}
		p, err := parsePHC(rec.Password)
		now := h.hasher.current()
		if err != nil || p.memory != now.memory || p.time != now.time || p.threads != now.threads ||
			h.staleSCRAM(rec.SCRAM) || h.staleSCRAM(rec.SCRAM1) {
			t.Errorf("%s: %+v is kept (%v)", tt.what, rec, err)
		}
	}
}

// TestSuccessesBelongToOneGeneration proves that what is remembered opens the account and the
// generation it was right for, until its time is up, and nothing else (A10).
func TestSuccessesBelongToOneGeneration(t *testing.T) {
	t.Parallel()
	var s successes
	if err := s.open(2); err != nil {
		t.Fatal(err)
	}
	mac := s.mac("right")
	alice := Account{ID: 1, Generation: 3}
	for _, tt := range []struct {
		what string
		a    Account
		mac  [32]byte
		now  time.Time
		ok   bool
	}{
		{"the same", alice, mac, noon, true},
		{"the last moment", alice, mac, noon.Add(time.Minute - 1), true},
		{"too late", alice, mac, noon.Add(time.Minute), false},
		{"another secret", alice, s.mac("wrong"), noon, false},
		{"another account", Account{ID: 2, Generation: 3}, mac, noon, false},
		{"a later generation", Account{ID: 1, Generation: 4}, mac, noon, false},
		{"an earlier generation", Account{ID: 1, Generation: 2}, mac, noon, false},
	} {
		s.add(alice, mac, noon.Add(time.Minute))
		if ok := s.holds(tt.a, tt.mac, tt.now); ok != tt.ok {
			t.Errorf("%s: %v", tt.what, ok)
		}
	}
	// A wrong secret does not make it forget the right one; a change of the account does.
	s.add(alice, mac, noon.Add(time.Minute))
	s.holds(alice, s.mac("wrong"), noon)
	if !s.holds(alice, mac, noon) {
		t.Error("forgotten because of a wrong secret")
	}
	s.holds(Account{ID: 1, Generation: 4}, mac, noon)
	if s.holds(alice, mac, noon) {
		t.Error("remembered after the generation changed")
	}
	var other successes
	if err := other.open(2); err != nil || other.mac("right") == mac {
		t.Errorf("two processes have one key (%v)", err)
	}
}
