package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// library fills INBOX with mail that differs in all that can be asked for.
func library(h *house) []string {
	texts := []string{
		"From: Alice Nguyễn <alice@example.test>\nTo: bob@example.test\nSubject: Re: Kế hoạch\n" +
			"Date: Sun, 1 Mar 2026 23:30:00 -0500\nMessage-ID: <1@x>\nX-Kind: One\n\n" +
			"Tiếng Việt có dấu, đủ cả.\n",
		"From: =?utf-8?q?B=C3=ACnh_Tr=E1=BA=A7n?= <binh@other.test>\nTo: Team: a@x.test, b@x.test;\n" +
			"Cc: zoe@example.test\nSubject: Ke hoach\nDate: Mon, 2 Mar 2026 00:30:00 +0700\n" +
			"Message-ID: <2@x>\n\ntieng viet khong dau, du ca\n",
		"From: zed@example.test\nTo: Alice <alice@example.test>\nSubject: =?utf-8?q?=C4=90=C3=A0_L=E1=BA=A1t?=\n" +
			"Date: Fri, 27 Feb 2026 10:00:00 +0000\nContent-Type: text/html; charset=utf-8\n\n" +
			"<p>A <b>long</b> trip,\n   with STRASSE and Straße</p>\n",
		"Subject: no author\n\nnothing here\n",
		"From: carol@example.test\nBcc: hidden@example.test\nSubject: files\nMIME-Version: 1.0\n" +
			"Date: Tue, 3 Mar 2026 10:00:00 +0000\n" +
			"Content-Type: multipart/mixed; boundary=b\n\n--b\n\nsee attached\n--b\n" +
			"Content-Type: application/pdf; name=report.pdf\n" +
			"Content-Disposition: attachment; filename=report.pdf\n" +
			"Content-Transfer-Encoding: base64\n\nJVBERi0=\n--b--\n",
	}
	for i, text := range texts {
		h.clock.Advance(time.Hour)
		h.appendWith(AppendOptions{
			Mailboxes: []MailboxID{1}, Received: epoch.Add(-time.Duration(i) * 24 * time.Hour),
			Flags:    []Flags{Seen, Flagged, Seen | Deleted, 0, Draft}[i],
			Keywords: [][]string{{"$Junk"}, nil, {"a", "b"}, {"b"}, nil}[i],
		}, text)
	}
	return texts
}

func (h *house) find(q Query) (uids []UID) {
	h.t.Helper()
	h.view(func(tx *Tx) error {
		r, err := tx.Query(q)
		for _, hit := range r.Hits {
			uids = append(uids, hit.Entry.UID)
		}
		return err
	})
	return uids
}

func day(d int) time.Time { return time.Date(2026, 3, d, 0, 0, 0, 0, time.UTC) }

func TestFilters(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	library(h)
	h.update(func(tx *Tx) error {
		_, err := tx.Copy(1, []UID{2}, 4)
		return err
	})
	for _, tc := range []struct {
		name string
		f    Filter
		want []UID
	}{
		{"all", nil, []UID{1, 2, 3, 4, 5}},
		{"and of nothing", And{}, []UID{1, 2, 3, 4, 5}},
		{"or of nothing", Or{}, nil},
		{"flags", HasFlags(Seen), []UID{1, 3}},
		{"two flags", HasFlags(Seen | Deleted), []UID{3}},
		{"not flags", Not{HasFlags(Seen)}, []UID{2, 4, 5}},
		{"keyword", Keyword("B"), []UID{3, 4}},
		{"unknown keyword", Not{Keyword("never")}, []UID{1, 2, 3, 4, 5}},
		{"uids", UIDs{{4, 1<<32 - 1}, {2, 2}}, []UID{2, 4, 5}},
		{"larger and smaller", And{Larger(60), Smaller(260)}, []UID{1, 2, 3}},
		{"email", IsEmail(3), []UID{3}},
		{"thread", InThread(2), []UID{2}},
		{"no thread", InThread(999), nil},
		{"modseq", SinceMod(4), []UID{4, 5}},
		{"attachment", Attachment{}, []UID{5}},
		{"received", ReceivedIn{Since: epoch.Add(-48 * time.Hour), Before: epoch}, []UID{2, 3}},
		{"in mailbox", InMailbox(4), []UID{2}},
		{"not in mailbox", Not{InMailbox(4)}, []UID{1, 3, 4, 5}},
		{"saved", SavedIn{Since: epoch.Add(3 * time.Hour)}, []UID{3, 4, 5}},
		{"sent at", SentAt{Since: day(2)}, []UID{1, 5}},
		// 23:30 -0500 of the first is the first; 00:30 +0700 of the second the second.
		{"sent on the first", SentOn{day(1), day(2)}, []UID{1}},
		{"sent on the second", SentOn{day(2), day(3)}, []UID{2}},
		{"without date: received", SentOn{day(-10), day(-1)}, []UID{4}},
		{"from", AddressText{From, "ALICE"}, []UID{1}},
		{"from, name without marks", AddressText{From, "nguyen"}, []UID{1}},
		{"from, encoded", AddressText{From, "trần"}, []UID{2}},
		{"from, address", AddressText{From, "Nguyễn <alice@ex"}, []UID{1}},
		{"to", AddressText{To, "x.test"}, []UID{2}},
		{"to, name of a group", AddressText{To, "tEam"}, []UID{2}},
		{"cc", AddressText{Cc, "zoe"}, []UID{2}},
		{"bcc", AddressText{Bcc, "hidden"}, []UID{5}},
		{"subject with marks", SubjectText("Kế hoạch"), []UID{1}},
		{"subject without", SubjectText("ke HOACH"), []UID{1, 2}},
		{"subject, other marks", SubjectText("kê hoach"), nil},
		{"subject, one word with marks", SubjectText("ke hoạch"), []UID{1}},
		{"subject, đ", SubjectText("da lat"), []UID{3}},
		{"subject, đ and bare", SubjectText("đà lat"), []UID{3}},
		{"empty text", SubjectText(""), []UID{1, 2, 3, 4, 5}},
		{"header", HeaderText{"x-kind", "one"}, []UID{1}},
		{"header is there", HeaderText{"cc", ""}, []UID{2}},
		{"header is not there", Not{HeaderText{"from", ""}}, []UID{4}},
		{"message-id", HeaderText{"Message-Id", "<2@x>"}, []UID{2}},
		{"body", BodyText("tieng viet"), []UID{1, 2}},
		{"body with marks", BodyText("tiếng"), []UID{1}},
		{"body, mixed", BodyText("tiếng viet co dấu"), []UID{1}},
		{"body, mixed, no", BodyText("tiếng viet có dau, dụ"), nil},
		{"body, html", BodyText("long trip, with strasse"), []UID{3}},
		{"body, not header", BodyText("hoạch"), nil},
		{"text, header too", AnyText("hoạch"), []UID{1}},
		{"text, file name", AnyText("report.pdf"), []UID{5}},
		{"text, ß", AnyText("straße or"), nil},
		{"text, ß folded", AnyText("and straße"), []UID{3}},
		{"nested", Or{And{HasFlags(Seen), Not{SubjectText("hoach")}}, Attachment{}}, []UID{3, 5}},
	} {
		if got := h.find(Query{Mailboxes: []MailboxID{1}, Filter: tc.f}); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
	for _, bad := range []Filter{Not{}, And{nil}, And{Or{Not{}}}} {
		err := h.store.Account(1).View(context.Background(), func(tx *Tx) error {
			_, err := tx.Query(Query{Filter: bad})
			return err
		})
		if err == nil {
			t.Errorf("filter %#v: no error", bad)
		}
	}
}

// TestSort follows RFC 5256 §3 and RFC 5957 §3; equal ones keep their order.
func TestSort(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	library(h)
	for _, tc := range []struct {
		name string
		by   []Comparator
		want []UID
	}{
		{"none", nil, []UID{1, 2, 3, 4, 5}},
		{"uid, reverse", []Comparator{{Key: ByUID, Reverse: true}}, []UID{5, 4, 3, 2, 1}},
		{"received", []Comparator{{Key: ByReceived}}, []UID{5, 4, 3, 2, 1}},
		{"sent", []Comparator{{Key: BySent}}, []UID{4, 3, 2, 1, 5}},
		{"size, reverse", []Comparator{{Key: BySize, Reverse: true}}, []UID{5, 3, 2, 1, 4}},
		{"from", []Comparator{{Key: ByFrom}}, []UID{4, 1, 2, 5, 3}},
		{"display from", []Comparator{{Key: ByDisplayFrom}}, []UID{4, 1, 2, 5, 3}},
		// The first address of message 2 is a group, whose addr-mailbox is its name: Team.
		{"to", []Comparator{{Key: ByTo}}, []UID{4, 5, 3, 1, 2}},
		{"cc, then size", []Comparator{{Key: ByCc}, {Key: BySize}}, []UID{4, 1, 3, 5, 2}},
		{"subject", []Comparator{{Key: BySubject}}, []UID{3, 5, 2, 1, 4}},
		{"keyword", []Comparator{{Key: ByKeyword, Keyword: "b", Reverse: true}}, []UID{3, 4, 1, 2, 5}},
	} {
		if got := h.find(Query{Mailboxes: []MailboxID{1}, Sort: tc.by}); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestQueryWindow(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	library(h)
	h.update(func(tx *Tx) error {
		_, err := tx.Copy(1, []UID{1, 5}, 4)
		return err
	})
	h.view(func(tx *Tx) error {
		for _, tc := range []struct {
			q     Query
			want  string
			total int
		}{
			{Query{}, "[1/0/1 1/1/2 1/2/3 1/3/4 1/4/5 4/0/1 4/1/2]", 7},
			{Query{Distinct: true}, "[1/0/1 1/1/2 1/2/3 1/3/4 1/4/5]", 5},
			{Query{Mailboxes: []MailboxID{4, 1}, Distinct: true, Position: 1, Limit: 2},
				"[4/1/2 1/1/2]", 5},
			{Query{Position: -2}, "[4/0/1 4/1/2]", 7},
			{Query{Position: -20, Limit: 1}, "[1/0/1]", 7},
			{Query{Position: 20}, "[]", 7},
		} {
			r, err := tx.Query(tc.q)
			if err != nil {
				return err
			}
			var got []string
			for _, hit := range r.Hits {
				got = append(got, fmt.Sprintf("%d/%d/%d", hit.Mailbox, hit.Index, hit.Entry.UID))
			}
			if fmt.Sprint(got) != tc.want || r.Total != tc.total {
				t.Errorf("%+v: %v of %d, want %s of %d", tc.q, got, r.Total, tc.want, tc.total)
			}
		}
		return nil
	})
}

// TestTextOverPieces finds what begins in one piece of a long text and ends in the next.
func TestTextOverPieces(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var b strings.Builder
	b.WriteString("Subject: long\n\n")
	for n := range 9000 {
		fmt.Fprintf(&b, "từ số %d đây\n", n)
	}
	h.append(b.String(), 1)
	rng := seeded(t, 5)
	for range 30 {
		n := rng.IntN(8990)
		text := fmt.Sprintf("số %d đây từ so %d day", n, n+1)
		if got := h.find(Query{Filter: BodyText(text)}); len(got) != 1 {
			t.Errorf("%q is not found", text)
		}
		text = fmt.Sprintf("sô %d đây từ so %d day", n, n+1)
		if got := h.find(Query{Filter: BodyText(text)}); len(got) != 0 {
			t.Errorf("%q is found", text)
		}
	}
}

// TestQueryEnds: a query whose client has gone is given up soon.
func TestQueryEnds(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	library(h)
	for _, f := range []Filter{nil, SubjectText("x"), AnyText("x"), HasFlags(Seen)} {
		ctx, cancel := context.WithCancel(context.Background())
		err := h.store.Account(1).View(ctx, func(tx *Tx) error {
			cancel()
			_, err := tx.Query(Query{Filter: f, Sort: []Comparator{{Key: BySubject}}})
			return err
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%#v: %v", f, err)
		}
	}
}

// TestQueryRandom compares random filters with a judge that looks at one email at a time.
func TestQueryRandom(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	rng := seeded(t, 6)
	for n := range 60 {
		h.appendWith(AppendOptions{
			Mailboxes: []MailboxID{1}, Flags: Flags(rng.Uint64()) & SystemFlags,
			Keywords: []string{fmt.Sprint("k", rng.IntN(60))}, Received: epoch.Add(-time.Duration(n) * time.Hour),
		}, mail(n, fmt.Sprintf("X-N: %d", n%7)))
	}
	h.view(func(tx *Tx) error {
		l, err := tx.List(1)
		if err != nil {
			return err
		}
		for range 400 {
			f, judge := randomFilter(rng, 3)
			r, err := tx.Query(Query{Mailboxes: []MailboxID{1}, Filter: f})
			if err != nil {
				return err
			}
			var got, want []UID
			for _, hit := range r.Hits {
				got = append(got, hit.Entry.UID)
			}
			for _, e := range l.Entries(0, l.Len()) {
				st, err := tx.State(e.Email)
				if err != nil {
					return err
				}
				if judge(*e, st) {
					want = append(want, e.UID)
				}
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%#v: %v, want %v", f, got, want)
			}
		}
		return nil
	})
}

// randomFilter returns a filter and what it means.
func randomFilter(rng *rand.Rand, depth int) (Filter, func(Entry, *State) bool) {
	if depth > 0 && rng.IntN(3) > 0 {
		var filters []Filter
		var judges []func(Entry, *State) bool
		for range rng.IntN(4) {
			f, j := randomFilter(rng, depth-1)
			filters, judges = append(filters, f), append(judges, j)
		}
		and := func(e Entry, s *State) bool {
			for _, j := range judges {
				if !j(e, s) {
					return false
				}
			}
			return true
		}
		or := func(e Entry, s *State) bool {
			for _, j := range judges {
				if j(e, s) {
					return true
				}
			}
			return false
		}
		switch rng.IntN(3) {
		case 0:
			return And(filters), and
		case 1:
			return Or(filters), or
		}
		return Not{Or(filters)}, func(e Entry, s *State) bool { return !or(e, s) }
	}
	n := rng.IntN(60)
	switch rng.IntN(7) {
	case 0:
		f := Flags(1 << rng.IntN(5))
		return HasFlags(f), func(e Entry, _ *State) bool { return e.Flags&f == f }
	case 1:
		k := fmt.Sprint("k", n)
		return Keyword(k), func(_ Entry, s *State) bool { return slices.Contains(s.Keywords, k) }
	case 2:
		return UIDs{{UID(n), UID(n + 9)}}, func(e Entry, _ *State) bool {
			return e.UID >= UID(n) && e.UID <= UID(n+9)
		}
	case 3: // as mail() writes it
		text := fmt.Sprintf("letter %d", n)
		return SubjectText(text), func(e Entry, _ *State) bool {
			return strings.HasPrefix(fmt.Sprintf("letter %d", e.UID-1), text)
		}
	case 4:
		return HeaderText{"x-n", fmt.Sprint(n % 7)}, func(e Entry, _ *State) bool {
			return int(e.UID-1)%7 == n%7
		}
	case 5:
		return AnyText(fmt.Sprintf("of letter %d.", n)), func(e Entry, _ *State) bool {
			return int(e.UID-1) == n
		}
	}
	at := epoch.Add(-time.Duration(n) * time.Hour)
	return ReceivedIn{Since: at}, func(e Entry, _ *State) bool { return e.Received >= at.Unix() }
}
