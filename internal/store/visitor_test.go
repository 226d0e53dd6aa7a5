package store

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"tram/internal/kv"
)

var (
	bea  = Person{Account: 2, Domain: "example.test"}
	carl = Person{Account: 3, Domain: "example.test"}
	dora = Person{Account: 4, Domain: "other.test"}
)

// share sets the rights of somebody to a mailbox of account 1.
func (h *house) share(id MailboxID, who AccountID, rights Rights) {
	h.t.Helper()
	h.must(h.store.Account(1).SetACL(context.Background(), "example.test", id, ACLChange{Who: who, Rights: rights}))
}

// as runs fn in a transaction of account 1 in somebody's name.
func (h *house) as(p Person, fn func(tx *Tx) error) error {
	return h.store.Account(1).As(p).Update(context.Background(), fn)
}

func rights(t testing.TB, s string) Rights {
	t.Helper()
	r, err := ParseRights(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// site is what the operations of TestMatrix work on: account 1, with a mailbox whose rights are varied and
// one to which everybody has all.
type site struct {
	*house
	varied, full MailboxID
	email, other EmailID
	thread       ThreadID
	entries      []Entry
	lists        map[MailboxID]*List
}

// operation is what a person tries, by the method of Tx that does it.
type operation struct {
	method string
	// want are the rights that it takes, any one group of letters; "" for the owner alone.
	want []string
	// any says that every right is enough.
	any bool
	do  func(s *site, tx *Tx) error
}

func flagsOf(mode FlagMode, f Flags, words ...string) func(*site, *Tx) error {
	return func(s *site, tx *Tx) error {
		_, _, err := tx.SetFlags(s.varied, []UID{1}, FlagChange{Mode: mode, Flags: f, Keywords: words})
		return err
	}
}

func on(fn func(tx *Tx, id MailboxID) error) func(*site, *Tx) error {
	return func(s *site, tx *Tx) error { return fn(tx, s.varied) }
}

// operations are all methods of Tx that ask for rights, with the rights of RFC 4314 §4.
var operations = []operation{
	{"Mailbox", nil, true, on(func(tx *Tx, id MailboxID) error { _, err := tx.Mailbox(id); return err })},
	{"MailboxByName", nil, true, on(func(tx *Tx, _ MailboxID) error { _, err := tx.MailboxByName("Varied"); return err })},
	{"FindMailbox", nil, true, on(func(tx *Tx, _ MailboxID) error { _, _, err := tx.FindMailbox("Varied"); return err })},
	{"Rights", nil, true, on(func(tx *Tx, id MailboxID) error { _, err := tx.Rights(id); return err })},
	{"Counts", []string{"r"}, false, on(func(tx *Tx, id MailboxID) error { _, err := tx.Counts(id); return err })},
	{"List", []string{"r"}, false, on(func(tx *Tx, id MailboxID) error { _, err := tx.List(id); return err })},
	{"Vanished", []string{"r"}, false, on(func(tx *Tx, id MailboxID) error {
		_, _, err := tx.Vanished(id, 0, nil)
		return err
	})},
	{"ClaimRecent", []string{"r"}, false, on(func(tx *Tx, id MailboxID) error { _, err := tx.ClaimRecent(id); return err })},
	{"Query", []string{"r"}, false, on(func(tx *Tx, id MailboxID) error {
		_, err := tx.Query(Query{Mailboxes: []MailboxID{id}})
		return err
	})},
	{"Query", []string{"r"}, false, func(s *site, tx *Tx) error {
		_, err := tx.Query(Query{In: s.lists[s.varied]})
		return err
	}},
	{"EachEmail", []string{"r"}, false, func(s *site, tx *Tx) error {
		return tx.EachEmail(s.lists[s.varied], 0, 1, func(Entry, *Email) error { return nil })
	}},
	{"EachHit", []string{"r"}, false, func(s *site, tx *Tx) error {
		return tx.EachHit(s.entries, func(int, *Email) error { return nil })
	}},
	{"Email", []string{"r"}, false, func(s *site, tx *Tx) error { _, err := tx.Email(s.email); return err }},
	{"State", []string{"r"}, false, func(s *site, tx *Tx) error { _, err := tx.State(s.email); return err }},
	{"ExtraKeywords", []string{"r"}, false, func(s *site, tx *Tx) error { _, err := tx.ExtraKeywords(s.email); return err }},
	{"Thread", []string{"r"}, false, func(s *site, tx *Tx) error { _, err := tx.Thread(s.thread); return err }},
	{"Append", []string{"i"}, false, func(s *site, tx *Tx) error {
		o := AppendOptions{Mailboxes: []MailboxID{s.varied}, Flags: SystemFlags, Keywords: []string{"new"}}
		o.Body, o.Message = s.body(mail(9))
		_, err := tx.Append(o)
		return err
	}},
	{"SetFlags", []string{"s"}, false, flagsOf(AddFlags, Seen)},
	{"SetFlags", []string{"t"}, false, flagsOf(AddFlags, Deleted)},
	{"SetFlags", []string{"w"}, false, flagsOf(AddFlags, Flagged)},
	{"SetFlags", []string{"w"}, false, flagsOf(AddFlags, 0, "word")},
	{"SetFlags", []string{"s", "t"}, false, flagsOf(AddFlags, Seen|Deleted)},
	{"SetFlags", []string{"s", "w"}, false, flagsOf(RemoveFlags, Seen, "word")},
	{"SetFlags", []string{"s", "t", "w"}, false, flagsOf(ReplaceFlags, Seen)},
	{"Copy", []string{"r"}, false, func(s *site, tx *Tx) error {
		_, err := tx.Copy(s.varied, []UID{1}, s.full)
		return err
	}},
	{"Copy", []string{"i"}, false, func(s *site, tx *Tx) error {
		_, err := tx.Copy(s.full, []UID{1}, s.varied)
		return err
	}},
	{"Move", []string{"rte"}, false, func(s *site, tx *Tx) error {
		_, err := tx.Move(s.varied, []UID{1}, s.full)
		return err
	}},
	{"Move", []string{"i"}, false, func(s *site, tx *Tx) error {
		_, err := tx.Move(s.full, []UID{1}, s.varied)
		return err
	}},
	{"Expunge", []string{"e"}, false, on(func(tx *Tx, id MailboxID) error { _, err := tx.Expunge(id, []UID{1}); return err })},
	{"CreateMailbox", []string{"k"}, false, on(func(tx *Tx, _ MailboxID) error {
		_, err := tx.CreateMailbox("Varied/New", CreateOptions{})
		return err
	})},
	{"CreateMailbox", []string{"k"}, false, on(func(tx *Tx, _ MailboxID) error {
		_, err := tx.CreateMailbox("Varied/a/b/c", CreateOptions{})
		return err
	})},
	{"RenameMailbox", []string{"x"}, false, on(func(tx *Tx, id MailboxID) error { return tx.RenameMailbox(id, "Full/x") })},
	{"RenameMailbox", []string{"k"}, false, func(s *site, tx *Tx) error { return tx.RenameMailbox(s.full, "Varied/x") }},
	{"DeleteMailbox", []string{"x"}, false, on(func(tx *Tx, id MailboxID) error { return tx.DeleteMailbox(id) })},
	{"ACL", []string{"a"}, false, on(func(tx *Tx, id MailboxID) error { _, err := tx.ACL(id); return err })},
	{"Annotations", []string{"lr", "ls", "lw", "li", "lp"}, false, on(func(tx *Tx, id MailboxID) error {
		_, err := tx.Annotations(id)
		return err
	})},
	{"Annotations", []string{"lw"}, false, on(func(tx *Tx, id MailboxID) error {
		a, err := tx.Annotations(id)
		if err != nil {
			return err
		}
		return a.Set([]AnnotationChange{{"/shared/comment", []byte("x")}})
	})},
	{"Annotations", nil, false, on(func(tx *Tx, _ MailboxID) error { _, err := tx.Annotations(0); return err })},
	{"CreateMailbox", nil, false, on(func(tx *Tx, _ MailboxID) error {
		_, err := tx.CreateMailbox("Top", CreateOptions{})
		return err
	})},
	{"CreateMailbox", nil, false, on(func(tx *Tx, _ MailboxID) error {
		_, err := tx.CreateMailbox("Full/New", CreateOptions{Role: RoleAll})
		return err
	})},
	{"CreateMailbox", nil, false, on(func(tx *Tx, _ MailboxID) error {
		_, err := tx.CreateMailbox("Full/New", CreateOptions{Subscribed: true})
		return err
	})},
	{"RenameMailbox", nil, false, func(s *site, tx *Tx) error { return tx.RenameMailbox(s.full, "Top") }},
	{"SetRole", nil, false, func(s *site, tx *Tx) error { return tx.SetRole(s.full, RoleAll) }},
	{"Subscribe", nil, false, on(func(tx *Tx, _ MailboxID) error { return tx.Subscribe("Full", true) })},
	{"SetMailboxes", nil, false, func(s *site, tx *Tx) error { return tx.SetMailboxes(s.other, []MailboxID{s.full}) }},
	{"Recoverable", nil, false, on(func(tx *Tx, _ MailboxID) error { _, err := tx.Recoverable(); return err })},
	{"Recover", nil, false, func(s *site, tx *Tx) error { _, err := tx.Recover(s.other, s.full); return err }},
	{"Purge", nil, false, func(s *site, tx *Tx) error { return tx.Purge(s.other) }},
	{"LineForms", nil, false, on(func(tx *Tx, _ MailboxID) error { _, err := tx.LineForms(); return err })},
	{"MailboxByRole", nil, false, on(func(tx *Tx, _ MailboxID) error {
		if _, err := tx.MailboxByRole(RoleInbox); !errors.Is(err, ErrNotFound) {
			return err
		}
		return ErrNoPermission
	})},
}

// filtered are the methods that ask for no right and leave out what the person may not know; each has a
// test of its own below. The others tell nothing of any mailbox.
var filtered = []string{
	"Mailboxes", "EachMailbox", "EachMailboxAfter", "EachAnnotation", "Subscriptions", "Changes", "RoleMailbox",
	"Account", "AnnotationsAt", "Keywords", "ModSeq", "Open", "Progress", "Usage",
}

// TestEveryMethodAsks wants a line for every method of Tx: a new one cannot be forgotten.
func TestEveryMethodAsks(t *testing.T) {
	t.Parallel()
	known := slices.Clone(filtered)
	for _, o := range operations {
		known = append(known, o.method)
	}
	for m := range reflect.TypeFor[*Tx]().Methods() {
		if !slices.Contains(known, m.Name) {
			t.Errorf("nobody has said what rights Tx.%s takes", m.Name)
		}
	}
}

// TestMatrix tries every operation with every right alone, with it and the right to look the mailbox up,
// with all rights but one, with none and with all.
func TestMatrix(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var sets []Rights
	for i := range len(rightLetters) {
		sets = append(sets, 1<<i, 1<<i|RightLookup, AllRights&^(1<<i))
	}
	for _, have := range append(sets, 0, AllRights, rights(t, "rte"), rights(t, "lrte")) {
		s.share(s.varied, bea.Account, have)
		for i, o := range operations {
			err := s.attempt(bea, o)
			want := o.outcome(t, have)
			if want == nil && err != nil || want != nil && !errors.Is(err, want) {
				t.Errorf("with %q, %s (%d) is %v; want %v", have, o.method, i, err, want)
			}
		}
	}
	// What fits the rights of the owner fits the owner himself.
	for _, o := range operations {
		if err := s.attempt(Person{Account: 1}, o); errors.Is(err, ErrNoPermission) && o.method != "MailboxByRole" {
			t.Errorf("the owner may not do %s: %v", o.method, err)
		}
	}
}

func newSite(t *testing.T) *site {
	s := &site{house: newHouse(t), lists: map[MailboxID]*List{}}
	s.varied, s.full = s.create("Varied"), s.create("Full")
	s.share(s.full, bea.Account, AllRights)
	done := s.append(mail(1), s.varied)
	s.email, s.thread = done.Email, done.Thread
	s.other = s.append(mail(2), s.full).Email
	s.lists[s.varied] = s.list(s.varied)
	s.entries = []Entry{s.lists[s.varied].At(0)}
	return s
}

var errUndo = errors.New("undo")

// attempt does an operation and takes it back.
func (s *site) attempt(p Person, o operation) error {
	s.t.Helper()
	err := s.as(p, func(tx *Tx) error {
		if err := o.do(s, tx); err != nil {
			return err
		}
		return errUndo
	})
	if errors.Is(err, errUndo) {
		return nil
	}
	if err == nil {
		s.t.Error("an error was lost")
	}
	return err
}

// outcome is what becomes of an operation with rights.
func (o *operation) outcome(t *testing.T, have Rights) error {
	if o.any && have != 0 {
		return nil
	}
	if !o.any && o.want == nil {
		return ErrNoPermission
	}
	for _, w := range o.want {
		if have.Has(rights(t, w)) {
			return nil
		}
	}
	switch o.method {
	case "Email", "State", "ExtraKeywords", "Thread", "EachHit":
		return ErrNotFound // they name no mailbox
	}
	if have.Has(RightLookup) {
		return ErrNoPermission
	}
	return ErrNotFound
}

// TestVisitorLists wants a person to see what is shared with him, and nothing else to be told.
func TestVisitorLists(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	ids := map[string]MailboxID{}
	for _, name := range []string{"Team", "Team/Plans/2026", "Private", "Team/Drop", "Hidden/Deep/Shown"} {
		ids[name] = h.create(name)
	}
	h.share(ids["Team"], Anyone, rights(t, "l"))
	h.share(ids["Team/Plans/2026"], bea.Account, rights(t, "lrs"))
	h.share(ids["Team/Drop"], bea.Account, rights(t, "i"))
	h.share(ids["Hidden/Deep/Shown"], carl.Account, rights(t, "lr"))
	h.share(h.inbox(), bea.Account, rights(t, "lr"))
	for _, name := range []string{"Team", "Team/Plans/2026", "Private", "Team/Drop"} {
		h.append(mail(int(ids[name])), ids[name])
	}
	h.append(mail(1), h.inbox())

	for _, c := range []struct {
		who  Person
		want string
	}{
		{bea, "INBOX 1 lr -, Team 0 l +, Team/Plans/2026 1 lrs -"},
		{carl, "Hidden/Deep/Shown 0 lr -, Team 0 l -"},
		{dora, ""},
		{Person{Account: 5}, ""},
		{Person{}, ""},
		{Person{Account: 6, Domain: "example.test", Admin: true}, "Team 0 l -"},
	} {
		a := h.store.Account(1).As(c.who)
		h.must(a.View(ctx, func(tx *Tx) error {
			all, err := tx.Mailboxes()
			if err != nil {
				return err
			}
			if got := describe(all); got != c.want {
				t.Errorf("%+v sees %q, want %q", c.who, got, c.want)
			}
			var each, after []*Mailbox
			err = errors.Join(tx.EachMailbox(func(m *Mailbox) error {
				each = append(each, m)
				return nil
			}), tx.EachMailboxAfter("INBOX", func(m *Mailbox) error {
				after = append(after, m)
				return nil
			}))
			if describe(each) != c.want || describe(after) != strings.TrimPrefix(c.want, "INBOX 1 lr -, ") {
				t.Errorf("%+v sees one by one %q, after INBOX %q", c.who, describe(each), describe(after))
			}
			r, queryErr := tx.Query(Query{})
			for _, hit := range r.Hits {
				if have, err := tx.Rights(hit.Mailbox); err != nil || !have.Has(RightRead) {
					t.Errorf("%+v finds a message in mailbox %d: %v, %v", c.who, hit.Mailbox, have, err)
				}
			}
			return errors.Join(err, queryErr)
		}))
	}
	h.wantChanges(ids)
}

func describe(all []*Mailbox) string {
	var out []string
	for _, m := range all {
		children := "-"
		if m.HasChildren {
			children = "+"
		}
		out = append(out, fmt.Sprintf("%s %d %s %s", m.Name, m.Messages, m.Rights, children))
	}
	return strings.Join(out, ", ")
}

// wantChanges wants the changes of hidden mailboxes to be hidden as well.
func (h *house) wantChanges(ids map[string]MailboxID) {
	h.t.Helper()
	h.must(h.store.Account(1).As(bea).View(context.Background(), func(tx *Tx) error {
		c, err := tx.Changes(0, 0)
		for _, id := range append(c.Lists, c.Mailboxes.Created...) {
			if id == ids["Private"] || id == ids["Hidden/Deep/Shown"] {
				h.t.Errorf("a change of hidden mailbox %d is told", id)
			}
		}
		if !slices.Contains(c.Lists, ids["Team/Plans/2026"]) || slices.Contains(c.Lists, ids["Team"]) {
			h.t.Errorf("lists that changed are %v", c.Lists)
		}
		if len(c.Emails.Created)+len(c.Threads.Created) > 0 || tx.RoleMailbox(RoleInbox) != 0 {
			h.t.Error("emails, threads or roles of the owner are told")
		}
		subs, err2 := tx.Subscriptions()
		if len(subs) > 0 {
			h.t.Errorf("subscriptions of the owner are told: %q", subs)
		}
		return errors.Join(err, err2)
	}))
}

// TestVisitorAnnotations keeps the owner's private annotations private.
func TestVisitorAnnotations(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	box, other := h.create("Team"), h.create("Other")
	for _, id := range []MailboxID{0, box, other} {
		h.annotate(id, "/private/comment", "mine")
		h.annotate(id, "/shared/comment", "ours")
	}
	h.share(box, bea.Account, rights(t, "lrw"))
	var got []string
	h.must(h.as(bea, func(tx *Tx) error {
		a, err := tx.Annotations(box)
		if err != nil {
			return err
		}
		if _, err := a.Get("/private/comment"); !errors.Is(err, ErrNotFound) {
			t.Errorf("a private annotation: %v", err)
		}
		if err := a.Set([]AnnotationChange{{"/private/comment", nil}}); !errors.Is(err, ErrNoPermission) {
			t.Errorf("remove a private annotation: %v", err)
		}
		got = got[:0]
		note := func(e Annotation) error {
			got = append(got, e.Name+"="+string(e.Value))
			return nil
		}
		return errors.Join(a.Set([]AnnotationChange{{"/shared/comment", []byte("hers")}}), a.Each("/private", note),
			a.Each("/shared", note), tx.EachAnnotation(func(_ MailboxID, e Annotation) error { return note(e) }))
	}))
	if want := []string{"/shared/comment=hers", "/shared/comment=hers"}; !slices.Equal(got, want) {
		t.Errorf("annotations are %q", got)
	}
	h.wantAnnotations(box, "/private", "/private/comment=mine")
}

// rowsOf returns the rows of one kind of account 1.
func (h *house) rowsOf(kind byte) map[string][]byte {
	h.t.Helper()
	rows := map[string][]byte{}
	h.must(h.db.View(context.Background(), "", func(r kv.Reader) error {
		return r.Scan(kv.Prefix(appendKey(nil, 1, kind)), func(key, value []byte) error {
			rows[string(key)] = slices.Clone(value)
			return nil
		})
	}))
	return rows
}
