package imapd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"

	"tram/internal/imap"
	"tram/internal/limits"
	"tram/internal/store"
)

// TestFetchWithoutRoom: a session for which there is no room for a full window is told the same.
func TestFetchWithoutRoom(t *testing.T) {
	t.Parallel()
	whole, attachment := bigMail(3 << 20)
	answers := func(memory int64) map[string]string {
		h := build(t, options{limits: func(l *limits.IMAP) { l.FetchMemory = memory }})
		c := h.client()
		do(t, c, "APPEND INBOX ", []byte(whole))
		h.fill("INBOX", 2, 600)
		do(t, c, "SELECT INBOX")
		all := map[string]string{}
		for _, r := range do(t, c, "FETCH 1:* (UID FLAGS ENVELOPE ENVELOPE BODY.PEEK[] BODY.PEEK[1] BINARY.PEEK[2]"+
			" BODY.PEEK[]<1000000.100000> BINARY.PEEK[2]<2000000.70000> BODY.PEEK[HEADER.FIELDS (SUBJECT)])").Data {
			for item, body := range r.Fetch.Bodies {
				all[fmt.Sprint(r.Fetch.Seq, " ", item)] = body
			}
		}
		if h.srv.room.left.Load() != memory {
			t.Errorf("%d bytes of room are left of %d", h.srv.room.left.Load(), memory)
		}
		return all
	}
	narrow, wide := answers(1), answers(64<<20)
	for key, want := range map[string]string{
		"1 BODY[]": whole, "1 BODY[]<1000000>": whole[1000000:1100000], "1 BODY[1]": "small",
		"1 BINARY[2]": string(attachment), "601 BODY[]": mail(601),
	} {
		if narrow[key] != want {
			t.Errorf("%s without room: %d bytes, want %d", key, len(narrow[key]), len(want))
		}
	}
	if len(narrow) != len(wide) {
		t.Errorf("%d answers without room, %d with", len(narrow), len(wide))
	}
	for key, want := range wide {
		if narrow[key] != want {
			t.Errorf("%s without room: %d bytes, want %d", key, len(narrow[key]), len(want))
		}
	}
}

// TestSlowReadersShareRoom: clients that do not read what they asked for take the room that there is,
// one person's no more than a share of it, and nobody waits for them.
func TestSlowReadersShareRoom(t *testing.T) {
	t.Parallel()
	const windows = widePerAccount + 3
	h := build(t, options{limits: func(l *limits.IMAP) { l.FetchMemory = windows * wideRoom }})
	whole, _ := bigMail(8 << 20)
	users := []string{testUser, "bob@example.test", "carol@example.test"}
	var slow []*wire
	for i, user := range users {
		if i > 0 {
			h.person(user)
		}
		w := h.loggedInAs(user)
		w.say(t, "a APPEND INBOX {%d+}", len(whole))
		w.say(t, "%s", whole)
		w.want(t, "a OK")
	}
	// stall asks for the message n times and reads its first line only.
	stall := func(user string, n int) {
		for range n {
			w := h.loggedInAs(user)
			w.say(t, "a SELECT INBOX")
			w.want(t, "a OK")
			w.say(t, "b FETCH 1 BODY.PEEK[]")
			w.want(t, "* 1 FETCH")
			slow = append(slow, w)
		}
	}
	left := func(want int64) {
		t.Helper()
		if got := h.srv.room.left.Load(); got != want*wideRoom {
			t.Errorf("room for %g windows is left, want %d", float64(got)/wideRoom, want)
		}
	}
	stall(users[0], widePerAccount+4)
	left(3)
	stall(users[1], 2)
	left(1)
	stall(users[2], 3)
	left(0)
	c := h.client()
	do(t, c, "SELECT INBOX")
	if got := do(t, c, "FETCH 1 (BODY.PEEK[])").Data[0].Fetch.Bodies["BODY[]"]; got != whole {
		t.Errorf("served beside them: %d bytes, want %d", len(got), len(whole))
	}
	for _, w := range slow {
		got := make([]byte, len(whole))
		if _, err := io.ReadFull(w.r, got); err != nil || string(got) != whole {
			t.Fatalf("a slow client's message was altered, or %v", err)
		}
		w.want(t, "b OK")
	}
	left(windows)
}

// TestManyItemsOfOneMessage: what a client asks for of one message, a thousand times, is not in memory
// as often: it is read when it is sent.
func TestManyItemsOfOneMessage(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	whole, _ := bigMail(1 << 20)
	whole = "X-Long: " + strings.Repeat("long ", 6000) + "\r\n" + whole
	do(t, h.client(), "APPEND INBOX ", []byte(whole))
	const times = 500
	var items []imap.FetchItem
	for i := range times {
		items = append(items,
			imap.FetchItem{Name: "BODY.PEEK", Section: &imap.Section{},
				Partial: &imap.Partial{Offset: int64(i), Count: 30000}},
			imap.FetchItem{Name: "BODY.PEEK", Section: &imap.Section{
				Text: "HEADER.FIELDS", Fields: []string{"X-LONG"}}, Partial: &imap.Partial{Offset: int64(i), Count: 30000}},
			imap.FetchItem{Name: "BINARY.PEEK", Section: &imap.Section{Part: []int{1}},
				Partial: &imap.Partial{Offset: 1, Count: 3}},
			imap.FetchItem{Name: "ENVELOPE"})
	}
	for _, wide := range []bool{false, true} {
		s := &session{srv: h.srv, ctx: context.Background()}
		addr := netip.MustParseAddr("127.0.0.1")
		s.account = h.srv.join(store.AccountID(h.alice.ID), addr)
		w := &window{s: s, plan: s.fetchPlan(items), wide: wide}
		var streams []stream
		err := s.account.View(s.ctx, func(tx *store.Tx) error {
			m, err := tx.MailboxByName("INBOX")
			if err != nil {
				return err
			}
			list, err := tx.List(m.ID)
			if err != nil {
				return err
			}
			s.sel = &view{account: s.account, id: m.ID, list: list}
			_, streams, err = w.read(tx, []span{{0, 1}})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if held := len(*s.buf()); held > w.limit()+inlineBinary+times*100 {
			t.Errorf("wide %v: %d bytes are held for one message", wide, held)
		}
		var sent bytes.Buffer
		done := 0
		for _, st := range streams {
			sent.Write((*s.buf())[done:st.at])
			done = st.at
			if err := st.copy(&sent); err != nil {
				t.Fatal(err)
			}
		}
		sent.Write((*s.buf())[done:])
		checkManyItems(t, sent.String(), whole, times)
		h.srv.leave(s.account, addr)
	}
}

// checkManyItems looks for each literal in its place.
func checkManyItems(t *testing.T, sent, whole string, times int) {
	t.Helper()
	field, _, _ := strings.Cut(whole, "MIME-Version")
	field = field[:strings.Index(field, "Subject")] + "\r\n"
	for i := range times {
		for _, want := range []string{
			fmt.Sprintf("BODY[]<%d> {30000}\r\n%s", i, whole[i:i+30000]),
			fmt.Sprintf("BODY[HEADER.FIELDS (X-LONG)]<%d> {", i),
			"BINARY[1]<1> {3}\r\nmal",
		} {
			_, rest, found := strings.Cut(sent, want)
			if !found {
				t.Fatalf("%.40q is missing, or has other bytes", want)
			}
			sent = rest
			if strings.HasSuffix(want, "{") {
				_, sent, _ = strings.Cut(sent, "}\r\n")
				if part := field[i:min(i+30000, len(field))]; !strings.HasPrefix(sent, part) {
					t.Fatalf("field from %d on: %.40q", i, sent)
				}
			}
		}
	}
	if strings.Contains(sent, "ENVELOPE") {
		t.Error("the envelope came again")
	}
}

// BenchmarkSendBody is a long body with room for a full window and without.
func BenchmarkSendBody(b *testing.B) {
	h := build(b, options{})
	whole, _ := bigMail(8 << 20)
	do(b, h.client(), "APPEND INBOX ", []byte(whole))
	for _, wide := range []bool{true, false} {
		b.Run(fmt.Sprintf("wide=%v", wide), func(b *testing.B) {
			s := &session{srv: h.srv, ctx: context.Background()}
			w := &window{s: s, wide: wide}
			var ref store.BodyRef
			err := h.account().View(s.ctx, func(tx *store.Tx) error {
				m, err := tx.MailboxByName("INBOX")
				if err != nil {
					return err
				}
				list, err := tx.List(m.ID)
				if err != nil {
					return err
				}
				return tx.EachEmail(list, 0, 1, func(_ store.Entry, m *store.Email) error {
					ref = m.Blob
					return nil
				})
			})
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(ref.Size)
			for b.Loop() {
				if err := w.sendBody(io.Discard, ref); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
