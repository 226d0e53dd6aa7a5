package imapd

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"tram/internal/message"
	"tram/internal/store"
)

// sortable is a message of a random mailbox, with what SORT should find in it.
type sortable struct {
	raw      string
	received time.Time
	sent     int64
	texts    map[string]string // by criterion
}

// randomSortable makes a message. Few different values make many ties.
func randomSortable(rng *rand.Rand, n int) sortable {
	pick := func(of ...string) string { return of[rng.IntN(len(of))] }
	m := sortable{texts: map[string]string{}}
	m.received = time.Date(2026, 3, 1+rng.IntN(5), rng.IntN(3), 0, 0, 0, time.UTC)
	m.sent = m.received.Unix()
	var b strings.Builder
	if rng.IntN(5) > 0 {
		at := time.Date(2026, 2, 1+rng.IntN(3), rng.IntN(24), 0, 0, 0,
			time.FixedZone("", 3600*(rng.IntN(24)-12)))
		m.sent = at.Unix()
		b.WriteString("Date: " + at.Format(time.RFC1123Z) + "\r\n")
	}
	base := pick("", "apple", "Äpfel", "banana_1", "Banana", "Đá", "da", "zebra", "[x]")
	b.WriteString("Subject: " + pick("", "Re: ", "fwd:  ", "[list] RE: ") + base + pick("", " (fwd)") + "\r\n")
	m.texts["SUBJECT"] = base
	for _, f := range []string{"From", "To", "Cc"} {
		if rng.IntN(4) == 0 {
			continue
		}
		local, name := pick("amy", "Bob", "_c", "émile"), pick("", "Zoë", "ada", "Ngọc")
		b.WriteString(f + ": " + strings.TrimSpace(name+" <"+local+"@example.com>") + ", z@example.org\r\n")
		m.texts[strings.ToUpper(f)] = local
		m.texts["DISPLAY"+strings.ToUpper(f)] = cmp.Or(name, local+"@example.com")
	}
	fmt.Fprintf(&b, "\r\n%s%d\r\n", strings.Repeat("x", rng.IntN(4)), n%10)
	m.raw = b.String()
	return m
}

// compare orders two messages by one criterion.
func (m *sortable) compare(o *sortable, key string) int {
	switch key {
	case "ARRIVAL":
		return m.received.Compare(o.received)
	case "DATE":
		return cmp.Compare(m.sent, o.sent)
	case "SIZE":
		return cmp.Compare(len(m.raw), len(o.raw))
	}
	return bytes.Compare(message.Casemap(nil, []byte(m.texts[key])),
		message.Casemap(nil, []byte(o.texts[key])))
}

// keep appends messages to INBOX.
func (h *house) keep(messages []sortable) {
	h.t.Helper()
	for _, m := range messages {
		b := h.store.NewBody(context.Background())
		if _, err := b.Write([]byte(m.raw)); err != nil {
			h.t.Fatal(err)
		}
		body, parsed, err := b.Finish()
		if err != nil {
			h.t.Fatal(err)
		}
		err = h.account().Update(context.Background(), func(tx *store.Tx) error {
			inbox, err := tx.MailboxByName("INBOX")
			if err != nil {
				return err
			}
			_, err = tx.Append(store.AppendOptions{
				Mailboxes: []store.MailboxID{inbox.ID}, Body: body, Message: parsed,
				Received: m.received,
			})
			return err
		})
		if err != nil {
			h.t.Fatal(err)
		}
	}
}

// TestSortModel compares SORT by random criteria with a plain sort of random messages (RFC 5256 §3,
// RFC 5957 §4, RFC 5051).
func TestSortModel(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 3))
	h := build(t, options{})
	var messages []sortable
	for n := range 80 {
		messages = append(messages, randomSortable(rng, n))
	}
	h.keep(messages)
	c := h.client()
	do(t, c, "SELECT INBOX")
	keys := []string{
		"ARRIVAL", "CC", "DATE", "FROM", "SIZE", "SUBJECT", "TO", "DISPLAYFROM", "DISPLAYTO",
	}
	for range 60 {
		var criteria []string
		for range 1 + rng.IntN(3) {
			criteria = append(criteria, []string{"", "REVERSE "}[rng.IntN(2)]+keys[rng.IntN(len(keys))])
		}
		order := make([]int, len(messages))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(a, b int) int {
			for _, criterion := range criteria {
				key, reverse := strings.CutPrefix(criterion, "REVERSE ")
				d := messages[a].compare(&messages[b], key)
				if d != 0 && reverse {
					return -d
				}
				if d != 0 {
					return d
				}
			}
			return 0
		})
		want := ""
		for _, i := range order {
			want += fmt.Sprint(" ", i+1)
		}
		got := ""
		r := do(t, c, "UID SORT ("+strings.Join(criteria, " ")+") UTF-8 ALL")
		for _, v := range r.Data[0].Values {
			got += " " + v.Str()
		}
		if got != want {
			t.Fatalf("seed %d, %v:\n got%s\nwant%s", seed, criteria, got, want)
		}
	}
}
