package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

// race appends n messages at once to the accounts, in turn, and returns how many were taken.
func (h *house) race(n int, accounts ...AccountID) int {
	h.t.Helper()
	var wg sync.WaitGroup
	var taken atomic.Int64
	for i := range n {
		id := accounts[i%len(accounts)]
		wg.Go(func() {
			body, m := h.body(mail(100 + i%10))
			err := h.store.Account(id).Update(context.Background(), func(tx *Tx) error {
				_, err := tx.Append(AppendOptions{
					Mailboxes: []MailboxID{tx.RoleMailbox(RoleInbox)}, Body: body, Message: m,
				})
				return err
			})
			switch {
			case err == nil:
				taken.Add(1)
			case errors.Is(err, ErrOverQuota):
				body.Discard()
			default:
				h.t.Error(err)
			}
		})
	}
	wg.Wait()
	return int(taken.Load())
}

// letterSize is the size of the messages that race sends.
func (h *house) letterSize() int64 {
	body, _ := h.body(mail(100))
	defer body.Discard()
	return body.Ref().Size
}

// TestQuotaRace is reliability A19: 100 appends at once, with room for one, or seven.
func TestQuotaRace(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		quota func(size int64) Quota
		want  int
	}{
		"bytes, room for one":       {func(s int64) Quota { return Quota{Bytes: s} }, 1},
		"bytes, a byte too few":     {func(s int64) Quota { return Quota{Bytes: 7*s - 1} }, 6},
		"messages":                  {func(int64) Quota { return Quota{Messages: 7} }, 7},
		"bytes before messages":     {func(s int64) Quota { return Quota{Bytes: 3 * s, Messages: 50} }, 3},
		"no bound":                  {func(int64) Quota { return Quota{} }, 100},
		"less than any message has": {func(int64) Quota { return Quota{Bytes: 1} }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			if err := h.store.SetQuota(context.Background(), 1, tc.quota(h.letterSize())); err != nil {
				t.Fatal(err)
			}
			if got := h.race(100, 1); got != tc.want {
				t.Errorf("%d messages were taken, want %d", got, tc.want)
			}
		})
	}
}

// TestDomainQuotaRace has several accounts of a domain fill it up together, in every order of
// setting things up.
func TestDomainQuotaRace(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for name, prepare := range map[string]func(h *house, q Quota){
		"quota first": func(h *house, q Quota) {
			h.must(h.store.SetDomainQuota(ctx, "example.test", q))
			for id := range AccountID(5) {
				h.must(h.store.SetDomain(ctx, id+1, "example.test"))
			}
		},
		"accounts first": func(h *house, q Quota) {
			for id := range AccountID(5) {
				h.must(h.store.SetDomain(ctx, id+1, "example.test"))
			}
			h.must(h.store.SetDomainQuota(ctx, "example.test", q))
		},
		"raised in between": func(h *house, q Quota) {
			h.must(h.store.SetDomainQuota(ctx, "example.test", Quota{Bytes: 1}))
			for id := range AccountID(5) {
				h.must(h.store.SetDomain(ctx, id+1, "example.test"))
			}
			if n := h.race(5, 1, 2, 3, 4, 5); n != 0 {
				h.t.Errorf("%d messages in a quota of one byte", n)
			}
			h.must(h.store.SetDomainQuota(ctx, "example.test", q))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			size := h.letterSize()
			prepare(h, Quota{Bytes: 40*size + size/2, Messages: 1000})
			// The first account has some in any case: which account wins the race is not known.
			if n := h.race(10, 1) + h.race(200, 1, 2, 3, 4, 5); n != 40 {
				t.Errorf("%d messages were taken, want 40", n)
			}
			u, q, err := h.store.DomainUsage(ctx, "example.test")
			if err != nil || u.Bytes != 40*size || u.Messages != 40 || q.Messages != 1000 {
				t.Errorf("domain uses %+v of %+v, %v", u, q, err)
			}
			// What is given up in one account is there for another.
			h.update(func(tx *Tx) error {
				_, err := tx.Expunge(1, []UID{1, 2, 3})
				return err
			})
			if n := h.race(50, 2, 3); n != 3 {
				t.Errorf("%d messages were taken after three had gone, want 3", n)
			}
			// An account that leaves takes its mail with it.
			h.must(h.store.SetDomain(ctx, 1, "other.test"))
			usage, _, err := h.store.Account(1).Usage(ctx)
			if err != nil || usage.Messages == 0 {
				t.Fatalf("account 1 uses %+v, %v", usage, err)
			}
			if n := h.race(50, 4, 5); n != int(usage.Messages) {
				t.Errorf("%d messages were taken after %d had left", n, usage.Messages)
			}
			if n := h.race(10, 1); n != 10 {
				t.Errorf("%d messages were taken without quota, want 10", n)
			}
		})
	}
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// TestGrantCut ends the work on a grant after each of its transactions: nothing may ever be used
// that was not granted, and nothing may be lost for good.
func TestGrantCut(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	cut := errors.New("cut")
	work := map[string]func(h *house, s *Store) error{
		"grow": func(h *house, s *Store) error {
			body, m := take(h.t, s, []byte(mail(5)))
			err := s.Account(1).Update(ctx, func(tx *Tx) error {
				_, err := tx.Append(AppendOptions{Mailboxes: []MailboxID{1}, Body: body, Message: m})
				return err
			})
			if err != nil {
				body.Discard()
			}
			return err
		},
		"join":  func(_ *house, s *Store) error { return s.SetDomain(ctx, 3, "example.test") },
		"leave": func(_ *house, s *Store) error { return s.SetDomain(ctx, 2, "") },
		"quota": func(_ *house, s *Store) error {
			return s.SetDomainQuota(ctx, "example.test", Quota{Messages: 50})
		},
		"remove": func(_ *house, s *Store) error { return s.Remove(ctx, 2) },
	}
	for name, do := range work {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for n := int64(1); ; n++ {
				h := newHouse(t)
				h.must(h.store.SetDomain(ctx, 1, "example.test"))
				h.must(h.store.SetDomain(ctx, 2, "example.test"))
				h.must(h.store.SetDomainQuota(ctx, "example.test", Quota{Messages: 20}))
				if got := h.race(10, 1, 2); got != 10 {
					t.Fatalf("%d taken, want 10", got)
				}
				f := &faulty{Database: h.db, failUpdate: n, err: cut}
				s, err := Open(ctx, Options{DB: f, Blobs: h.blobs, Clock: h.clock})
				h.must(err)
				err = do(h, s)
				if err != nil && !errors.Is(err, cut) {
					t.Fatalf("cut %d: %v", n, err)
				}
				h.check()
				if err != nil {
					h.must(h.store.Maintain(ctx))
					h.must(do(h, h.store))
				}
				h.check()
				h.fillDomain(fmt.Sprintf("%s, cut %d", name, n))
				if err == nil {
					return
				}
			}
		})
	}
}

// fillDomain fills the domain up and compares with what its quota allows.
func (h *house) fillDomain(when string) {
	h.t.Helper()
	u, q, err := h.store.DomainUsage(context.Background(), "example.test")
	h.must(err)
	if n := h.race(60, 1); n != int(q.Messages-u.Messages) {
		h.t.Errorf("%s: %d were taken on top of %d, the quota is %d", when, n, u.Messages, q.Messages)
	}
}
