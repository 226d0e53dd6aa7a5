package store

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"tram/internal/blob"
	"tram/internal/kv/memkv"
)

func TestAppend(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	in, sent := h.inbox(), MailboxID(3)
	text := mail(1, "Cc: =?utf-8?q?B=C3=ACnh?= <binh@example.test>")
	a := h.appendWith(AppendOptions{
		Mailboxes: []MailboxID{in, sent, in}, Flags: Seen | Deleted | Recent | MoreKeywords,
		Keywords: []string{"$junk", "$JUNK", "Own"}, Received: epoch.Add(-time.Hour),
	}, text)
	want := []MailboxEntry{{in, 1, epoch}, {sent, 1, epoch}}
	if diff := gocmp.Diff(want, a.Entries); diff != "" {
		t.Errorf("entries:\n%s", diff)
	}
	h.view(func(tx *Tx) error {
		e, err := tx.Email(a.Email)
		if err != nil {
			return err
		}
		if e.Subject() != "Letter 1" || e.MessageID() != "<1@example.test>" ||
			!e.Received.Equal(epoch.Add(-time.Hour)) || e.Sent().Format(time.RFC3339) !=
			"2026-03-01T09:01:00+07:00" || e.Size() != int64(len(text)+strings.Count(text, "\n")) {
			t.Errorf("email is %+v, sent %v", e, e.Sent())
		}
		if got := e.Addresses(Cc); len(got) != 1 || got[0].Name != "Bình" || got[0].Host != "example.test" {
			t.Errorf("Cc is %+v", got)
		}
		if !strings.Contains(string(e.Envelope.For(false)), `"Letter 1"`) ||
			!strings.Contains(string(e.BodyStructure.For(true)), `"plain"`) {
			t.Errorf("envelope %s, structure %s", e.Envelope.For(false), e.BodyStructure.For(true))
		}
		wantState := &State{
			ModSeq: 2, Flags: Seen | 3<<firstKeywordBit, Keywords: []string{"$Junk", "Own"},
			Mailboxes: want,
		}
		if diff := gocmp.Diff(wantState, e.State); diff != "" {
			t.Errorf("state:\n%s", diff)
		}
		for _, box := range []MailboxID{in, sent} {
			l, err := tx.List(box)
			if err != nil {
				return err
			}
			if en := l.At(0); en.Flags != wantState.Flags|Deleted || en.Email != a.Email ||
				en.Received != epoch.Add(-time.Hour).Unix() {
				t.Errorf("entry in %d is %+v", box, en)
			}
		}
		return nil
	})
}

// TestAppendCost counts what a delivery writes: the contract is 14 keys.
func TestAppendCost(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	in := h.inbox()
	f := &faulty{Database: h.db}
	s, err := Open(context.Background(), Options{
		DB: f, Blobs: blob.New(f, blob.Options{Clock: h.clock}), Clock: h.clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 * looseMax {
		body, m := take(t, s, letter(n, 4000))
		err := s.Account(1).Update(context.Background(), func(tx *Tx) error {
			_, err := tx.Append(AppendOptions{
				Mailboxes: []MailboxID{in}, Body: body, Message: m, DedupeKey: []byte{byte(n)},
			})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		folding := h.list(in).chunks[0].loose == 0
		if got := f.writes.Load(); got > 14 && !folding || got > 14+looseMax {
			t.Errorf("append %d wrote %d rows", n, got)
		}
	}
}

func TestAppendRefuses(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	in := h.inbox()
	for name, tc := range map[string]struct {
		change func(o *AppendOptions)
		want   error
	}{
		"no such mailbox": {func(o *AppendOptions) { o.Mailboxes = []MailboxID{in, 99} }, ErrNotFound},
		"keyword with a blank": {
			func(o *AppendOptions) { o.Keywords = []string{"a b"} }, ErrInvalidName},
		"empty keyword": {func(o *AppendOptions) { o.Keywords = []string{""} }, ErrInvalidName},
	} {
		o := AppendOptions{Mailboxes: []MailboxID{in}}
		o.Body, o.Message = h.body(mail(1))
		tc.change(&o)
		err := h.store.Account(1).Update(context.Background(), func(tx *Tx) error {
			_, err := tx.Append(o)
			return err
		})
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
		o.Body.Discard()
	}
	err := h.store.Account(1).View(context.Background(), func(tx *Tx) error {
		_, err := tx.Append(AppendOptions{})
		return err
	})
	if !errors.Is(err, ErrReadOnly) {
		t.Errorf("append in a view: %v", err)
	}
	if m := h.mailbox(in); m.Messages != 0 || m.UIDNext != 1 {
		t.Errorf("refused appends left %+v", m)
	}
}

// TestDedupe is the gap of RFC 1047 (reliability D15): the connection is cut after the message was
// stored and before the sender saw the 250, and it is sent again.
func TestDedupe(t *testing.T) {
	t.Parallel()
	db := memkv.New()
	h := openHouse(t, db)
	in := h.inbox()
	o := AppendOptions{Mailboxes: []MailboxID{in}, DedupeKey: []byte("sender and content")}
	first := h.appendWith(o, mail(1))
	again := func(want bool, when string) Appended {
		t.Helper()
		a := h.appendWith(o, mail(1))
		if a.Duplicate != want {
			t.Fatalf("%s: duplicate is %t, want %t", when, a.Duplicate, want)
		}
		if want {
			if diff := gocmp.Diff(first.Entries, a.Entries); diff != "" || a.Email != first.Email ||
				a.Thread != first.Thread {
				t.Errorf("%s: %+v, want %+v", when, a, first)
			}
		}
		return a
	}
	again(true, "at once")
	h.clock.Advance(h.limit.Dedupe - time.Second)
	again(true, "just in time")

	h.db = db.Crash()
	h.open()
	again(true, "after a crash")

	h.clock.Advance(time.Second)
	first = again(false, "when its time is over")
	if err := h.store.AckDedupe(context.Background(), 1, o.DedupeKey); err != nil {
		t.Fatal(err)
	}
	first = again(false, "an intended repetition after the reply was seen")
	again(true, "and that one again")

	h.clock.Advance(h.limit.Dedupe)
	if err := h.store.Maintain(context.Background()); err != nil {
		t.Fatal(err)
	}
	h.view(func(tx *Tx) error {
		_, err := tx.r.Get(dedupeKey(nil, 1, o.DedupeKey))
		if err == nil {
			t.Error("Maintain left an expired dedupe row")
		}
		return nil
	})
	if m := h.mailbox(in); m.Messages != 3 {
		t.Errorf("%d messages, want 3", m.Messages)
	}
}

// TestDedupeWaits: what the first delivery wrote may not be on disk yet when the second finds it.
// The second must not be acknowledged before, so its transaction has to write.
func TestDedupeWaits(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	o := AppendOptions{Mailboxes: []MailboxID{h.inbox()}, DedupeKey: []byte("k")}
	h.appendWith(o, mail(1))
	f := &faulty{Database: h.db}
	s, err := Open(context.Background(), Options{
		DB: f, Blobs: blob.New(f, blob.Options{Clock: h.clock}), Clock: h.clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	o.Body, o.Message = take(t, s, []byte(mail(1)))
	defer o.Body.Discard()
	var before, after ModSeq
	err = s.Account(1).Update(context.Background(), func(tx *Tx) error {
		before = tx.ModSeq()
		a, err := tx.Append(o)
		after = tx.ModSeq()
		if err == nil && !a.Duplicate {
			t.Error("not a duplicate")
		}
		return err
	})
	if err != nil || f.writes.Load() == 0 {
		t.Errorf("duplicate: %v after %d writes, want one at least", err, f.writes.Load())
	}
	if before != after {
		t.Errorf("a duplicate raised the ModSeq from %d to %d", before, after)
	}
}
