package learn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tram/internal/blob"
	"tram/internal/clock"
	"tram/internal/directory"
	"tram/internal/kv/memkv"
	"tram/internal/limits"
	"tram/internal/smtp"
	"tram/internal/spam"
	"tram/internal/spam/words"
	"tram/internal/store"
)

// house is a person's mail, and what learns from it.
type house struct {
	t       *testing.T
	store   *store.Store
	judge   *spam.Judge
	learner *Learner
	account *store.Account
	id      uint64
	silent  bool // the notes of what was filed as junk are lost
}

func newHouse(t *testing.T) *house {
	t.Helper()
	ctx, db := context.Background(), memkv.New()
	c := clock.NewFake(time.Date(2026, 5, 4, 9, 0, 0, 0, time.UTC))
	dir, err := directory.Open(ctx, directory.Options{DB: db, Pepper: bytes.Repeat([]byte("p"), 32), Clock: c})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dir.AddDomain(ctx, "house.test"); err != nil {
		t.Fatal(err)
	}
	a, err := dir.AddAccount(ctx, directory.AccountOptions{Address: smtp.Address{Local: "alice", Domain: "house.test"}})
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, id: uint64(a.ID)}
	h.judge = spam.New(spam.Options{DB: db, Clock: c, Config: spam.DefaultConfig(),
		Words: words.Open(words.Options{DB: db, Clock: c})})
	h.learner = New(Options{Judge: h.judge, Directory: dir, Limits: limits.Default().Spam,
		Message: limits.Default().Message})
	h.store, err = store.Open(ctx, store.Options{DB: db, Blobs: blob.New(db, blob.Options{}), Clock: c,
		Changed: h.learner.Changed})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(dir.Close(), h.store.Close()); err != nil {
			t.Error(err)
		}
	})
	h.account = h.store.Account(store.AccountID(a.ID))
	return h
}

// file stores a letter as deliver does.
func (h *house) file(junk bool) (id store.EmailID) {
	h.t.Helper()
	ctx := context.Background()
	body := h.store.NewBody(ctx)
	fmt.Fprintf(body, "X-Spam-Status: No, score=1 client=192.0.2.7 sender=bob@away.test\r\n"+
		"Received: from x by y\r\nFrom: bob@away.test\r\nSubject: An offer\r\n\r\nCheap watches for you\r\n")
	pending, parsed, err := body.Finish()
	if err != nil {
		h.t.Fatal(err)
	}
	err = h.account.Update(ctx, func(tx *store.Tx) error {
		role := store.RoleInbox
		o := store.AppendOptions{Body: pending, Message: parsed}
		if junk {
			role, o.Keywords = store.RoleJunk, []string{"$Junk"}
		}
		o.Mailboxes = []store.MailboxID{tx.RoleMailbox(role)}
		done, err := tx.Append(o)
		id = done.Email
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	if junk && !h.silent {
		h.judge.Filed(h.id, uint64(id))
	}
	return id
}

func (h *house) move(id store.EmailID, to store.Role) {
	h.t.Helper()
	err := h.account.Update(context.Background(), func(tx *store.Tx) error {
		return tx.SetMailboxes(id, []store.MailboxID{tx.RoleMailbox(to)})
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) mark(id store.EmailID, change store.FlagChange) {
	h.t.Helper()
	err := h.account.Update(context.Background(), func(tx *store.Tx) error {
		s, err := tx.State(id)
		if err != nil {
			return err
		}
		_, _, err = tx.SetFlags(s.Mailboxes[0].Mailbox, []store.UID{s.Mailboxes[0].UID}, change)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// known runs the job, twice as it may be cut, and tells what the client's address is known for.
func (h *house) known() string {
	h.t.Helper()
	for range 2 {
		if err := h.learner.Run(context.Background(), h.store); err != nil {
			h.t.Fatal(err)
		}
	}
	list, err := h.judge.Reputation(context.Background(), spam.Server, "192.0.2.7")
	if err != nil {
		h.t.Fatal(err)
	}
	for _, r := range list {
		if r.Kind == "address" {
			return fmt.Sprintf("%.0f bad, %.0f good", r.Bad, r.Good)
		}
	}
	return "nothing"
}

// TestActs goes through what people do, and back.
func TestActs(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		junk bool // where the server had filed it
		acts []func(*house, store.EmailID)
		want []string
	}{
		{"to junk and back", false, []func(*house, store.EmailID){
			func(h *house, id store.EmailID) { h.move(id, store.RoleJunk) },
			func(h *house, id store.EmailID) {
				h.mark(id, store.FlagChange{Mode: store.AddFlags, Flags: store.Seen})
			},
			func(h *house, id store.EmailID) { h.move(id, store.RoleInbox) },
			func(h *house, id store.EmailID) { h.move(id, store.RoleJunk) },
		}, []string{"1 bad, 0 good", "1 bad, 0 good", "nothing", "1 bad, 0 good"}},
		{"out of junk and back", true, []func(*house, store.EmailID){
			func(h *house, id store.EmailID) {
				h.mark(id, store.FlagChange{Mode: store.AddFlags, Flags: store.Seen})
			},
			func(h *house, id store.EmailID) { h.move(id, store.RoleInbox) },
			func(h *house, id store.EmailID) { h.move(id, store.RoleJunk) },
		}, []string{"nothing", "0 bad, 1 good", "nothing"}},
		{"marked and unmarked", false, []func(*house, store.EmailID){
			func(h *house, id store.EmailID) {
				h.mark(id, store.FlagChange{Mode: store.AddFlags, Keywords: []string{"$Junk"}})
			},
			func(h *house, id store.EmailID) {
				h.mark(id, store.FlagChange{Mode: store.RemoveFlags, Keywords: []string{"$Junk"}})
			},
			func(h *house, id store.EmailID) {
				h.mark(id, store.FlagChange{Mode: store.AddFlags, Keywords: []string{"$NotJunk"}})
			},
		}, []string{"1 bad, 0 good", "nothing", "0 bad, 1 good"}},
		{"answered", false, []func(*house, store.EmailID){
			func(h *house, id store.EmailID) {
				h.mark(id, store.FlagChange{Mode: store.AddFlags, Flags: store.Answered})
			},
		}, []string{"0 bad, 1 good"}},
		{"junk thrown away", false, []func(*house, store.EmailID){
			func(h *house, id store.EmailID) { h.move(id, store.RoleJunk) },
			func(h *house, id store.EmailID) { h.move(id, store.RoleTrash) },
		}, []string{"1 bad, 0 good", "1 bad, 0 good"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			id := h.file(tc.junk)
			if got := h.known(); got != "nothing" {
				t.Errorf("before any act: %s", got)
			}
			for i, act := range tc.acts {
				act(h, id)
				if got := h.known(); got != tc.want[i] {
					t.Errorf("after act %d: %s, want %s", i+1, got, tc.want[i])
				}
			}
		})
	}
}

// TestOwnVerdict: what the server filed as junk teaches nothing, even when a crash has lost the note.
func TestOwnVerdict(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.silent = true
	id := h.file(true)
	if got := h.known(); got != "nothing" {
		t.Errorf("the server's own verdict taught: %s", got)
	}
	h.move(id, store.RoleInbox)
	if got := h.known(); got != "0 bad, 1 good" {
		t.Errorf("after it was taken out: %s", got)
	}
}

func TestMessages(t *testing.T) {
	t.Parallel()
	mbox := "From a Mon\nSubject: one\n\n>From the start\n\nFrom b Tue\nSubject: two\r\n\nFromage\n"
	for in, want := range map[string]string{
		"Subject: one\n\nbody\nFrom here\n": "Subject: one\r\n\r\nbody\r\nFrom here\r\n|",
		mbox: "Subject: one\r\n\r\nFrom the start\r\n\r\n|" +
			"Subject: two\r\n\r\nFromage\r\n|",
		"": "",
	} {
		var got strings.Builder
		err := Messages(strings.NewReader(in), func(raw []byte) error { fmt.Fprintf(&got, "%s|", raw); return nil })
		if err != nil || got.String() != want {
			t.Errorf("%q reads %q, want %q, %v", in, got.String(), want, err)
		}
	}
	h := newHouse(t)
	n, err := h.learner.Read(context.Background(), strings.NewReader(mbox), spam.Person{Account: h.id}, true)
	if n != 2 || err != nil {
		t.Errorf("learned %d, %v", n, err)
	}
}
