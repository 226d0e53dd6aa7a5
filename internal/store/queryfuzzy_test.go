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

// scored runs a query and returns UIDs with their scores, as "uid:score".
func (h *house) scored(q Query) (out []string) {
	h.t.Helper()
	h.view(func(tx *Tx) error {
		r, err := tx.Query(q)
		for _, hit := range r.Hits {
			out = append(out, fmt.Sprintf("%d:%d", hit.Entry.UID, hit.Score))
		}
		return err
	})
	return out
}

// RFC 6203 §3 to §6.
func TestFuzzy(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	library(h)
	for _, tc := range []struct {
		name string
		f    Filter
		want string
	}{
		{"subject, as it stands", Fuzzy{SubjectText("kế hoạch")}, "1:100 2:95"},
		{"subject, without marks", Fuzzy{SubjectText("ke hoach")}, "1:100 2:100"},
		{"subject, other order", Fuzzy{SubjectText("hoach, ke")}, "1:95 2:95"},
		{"subject, a beginning and an error", Fuzzy{SubjectText("hoac file")}, ""},
		{"subject, an error", Fuzzy{SubjectText("fiels")}, "5:60"},
		{"from", Fuzzy{AddressText{From, "alise nguyen"}}, "1:77"},
		{"from, an address", Fuzzy{AddressText{From, "binh@other.test"}}, "2:100"},
		{"header", Fuzzy{HeaderText{"x-kind", "ome"}}, ""},
		{"header, nothing about it", Fuzzy{HeaderText{"x-kind", ""}}, "1:100"},
		{"body", Fuzzy{BodyText("straße long")}, "3:95"},
		{"body, one word is not there", Fuzzy{BodyText("straße short")}, ""},
		{"text: subject before body", Fuzzy{AnyText("files")}, "5:100"},
		{"text: an error", Fuzzy{AnyText("atached")}, "5:45"},
		{"no word: exact", Fuzzy{SubjectText(":")}, "1:100"},
		{"received, a day off", Fuzzy{ReceivedIn{Since: epoch.Add(12 * time.Hour)}},
			"1:92 2:78 3:64 4:50 5:35"},
		{"received, exactly", Fuzzy{ReceivedIn{Since: epoch.Add(-time.Hour), Before: epoch.Add(time.Hour)}},
			"1:100 2:86 3:72 4:57 5:43"},
		{"received, far off", Fuzzy{ReceivedIn{Since: epoch.Add(30 * 24 * time.Hour)}}, ""},
		{"sent", Fuzzy{SentOn{day(8), day(9)}}, "1:13 2:14 5:34"},
		{"flags are exact", Fuzzy{HasFlags(Flagged)}, "2:100"},
		{"and", Fuzzy{And{SubjectText("hoahc"), HasFlags(Seen)}}, "1:60"},
		{"or counts both", Fuzzy{Or{SubjectText("hoach"), BodyText("tieng")}}, "1:97 2:97"},
		{"or with one of two", Or{SubjectText("lat"), Fuzzy{SubjectText("fils")}}, "3:1 5:60"},
		{"not is exact", Fuzzy{Not{SubjectText("hoach")}}, "3:100 4:100 5:100"},
		{"not of fuzzy", Not{Fuzzy{SubjectText("hoahc")}}, "3:100 4:100 5:100"},
		{"beside a not", And{Fuzzy{SubjectText("hoach")}, Not{Fuzzy{SubjectText("kee")}}}, "1:100 2:100"},
		{"mean of several", And{Fuzzy{SubjectText("hoahc")}, Fuzzy{BodyText("tieng")}}, "1:77 2:77"},
		{"saved", Fuzzy{SavedIn{Since: epoch.Add(1000 * time.Hour)}}, ""},
	} {
		got := strings.Join(h.scored(Query{Mailboxes: []MailboxID{1}, Filter: tc.f}), " ")
		if got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
	q := Query{Mailboxes: []MailboxID{1}, Filter: Fuzzy{ReceivedIn{Since: epoch.Add(12 * time.Hour)}},
		Sort: []Comparator{{Key: ByRelevance, Reverse: true}}}
	if got := h.find(q); !slices.Equal(got, []UID{5, 4, 3, 2, 1}) {
		t.Errorf("the least relevant first: %v", got)
	}
	q.Sort[0].Reverse = false
	if got := h.find(q); !slices.Equal(got, []UID{1, 2, 3, 4, 5}) {
		t.Errorf("the most relevant first: %v", got)
	}
}

// TestFuzzySizes: a tenth off, and less so the further away (RFC 6203 §5).
func TestFuzzySizes(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, size := range []int{800, 950, 1000, 1050, 1200} {
		head := "Subject: x\n\n" // and two bytes more, as lines end with CRLF
		h.append(head+strings.Repeat("x", size-len(head)-2), 1)
	}
	for _, tc := range []struct {
		f    Filter
		want string
	}{
		{Fuzzy{Larger(1000)}, "2:49 3:99 4:100 5:100"},
		{Fuzzy{Smaller(1000)}, "1:100 2:100 3:99 4:49"},
		{And{Fuzzy{Larger(900)}, Fuzzy{Smaller(1100)}}, "2:100 3:100 4:100 5:54"},
	} {
		got := strings.Join(h.scored(Query{Mailboxes: []MailboxID{1}, Filter: tc.f}), " ")
		if got != tc.want {
			t.Errorf("%+v: %q, want %q", tc.f, got, tc.want)
		}
	}
}

// TestFuzzyWords: a query for too many words is refused, as the index holds sets of emails for each.
func TestFuzzyWords(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var all And
	for i := range maxFuzzyWords + 1 {
		all = append(all, Fuzzy{SubjectText(fmt.Sprintf("word%d", i))})
	}
	err := h.store.Account(1).View(context.Background(), func(tx *Tx) error {
		if _, err := tx.Query(Query{Filter: all[1:]}); err != nil {
			t.Errorf("as many as may be: %v", err)
		}
		_, err := tx.Query(Query{Filter: all})
		return err
	})
	if !errors.Is(err, ErrTooMany) {
		t.Errorf("one more: %v", err)
	}
}

// TestFuzzyIndexedEqualsScan: hits and scores do not depend on how far the index has come.
func TestFuzzyIndexedEqualsScan(t *testing.T) {
	t.Parallel()
	rnd := seeded(t, rand.Uint64())
	h := newHouse(t)
	h.index = true
	h.open()
	box := h.inbox()
	plain := &house{t: t, db: h.db, clock: h.clock, limit: h.limit}
	plain.open()
	var mails []exactMail
	for round := range 3 {
		for range 25 {
			mails = append(mails, newExactMail(rnd))
			h.append(mails[len(mails)-1].raw, box)
		}
		for range 2 * (round % 2) {
			if err := h.store.IndexText(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		for range 25 {
			m := mails[rnd.IntN(len(mails))]
			query := exactQuery(rnd, []string{m.subject, m.from, m.body, m.headers}[rnd.IntN(4)])
			for _, f := range []Filter{
				SubjectText(query), AddressText{From, query}, HeaderText{"to", query},
				BodyText(query), AnyText(query), Or{SubjectText(query), AnyText(exactQuery(rnd, m.body))},
			} {
				q := Query{Mailboxes: []MailboxID{box}, Filter: Fuzzy{f}}
				if got, want := h.scored(q), plain.scored(q); !slices.Equal(got, want) {
					t.Fatalf("%T %+q: %v with the index, %v without", f, query, got, want)
				}
			}
		}
	}
}

// TestQueryEach: what is found in each mailbox is handed over by itself, and nothing stays.
func TestQueryEach(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	other, empty := h.create("other"), h.create("empty")
	h.append("Subject: one\n\nx\n", 1)
	h.append("Subject: two\n\nx\n", 1, other)
	h.append("Subject: three\n\nx\n", other)
	var got []string
	h.view(func(tx *Tx) error {
		got = nil
		r, err := tx.Query(Query{
			Mailboxes: []MailboxID{other, empty, 1},
			Filter: Or{
				UIDsIn{1: {{First: 2, Last: 9}}, empty: {{First: 1, Last: 9}}}, SubjectText("t"),
			},
			Each: func(list *List, hits []Hit) error {
				for _, hit := range hits {
					got = append(got, fmt.Sprintf("%d/%d", list.Mailbox(), list.At(hit.Index).UID))
				}
				return nil
			},
		})
		if len(r.Hits) > 0 {
			t.Errorf("%d hits in the result", len(r.Hits))
		}
		return err
	})
	want := []string{fmt.Sprintf("%d/1", other), fmt.Sprintf("%d/2", other), "1/2"}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
