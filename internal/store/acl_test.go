package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"tram/internal/kv"
)

// rightsOf returns what the rights to a mailbox are, as text.
func (h *house) rightsOf(id MailboxID) (out string) {
	h.t.Helper()
	h.view(func(tx *Tx) error {
		acl, err := tx.ACL(id)
		for _, e := range acl {
			out += fmt.Sprintf("%d:%s ", e.Who, e.Rights)
		}
		return err
	})
	return out
}

func (h *house) wantRights(id MailboxID, want string) {
	h.t.Helper()
	if got := h.rightsOf(id); got != want {
		h.t.Errorf("mailbox %d has rights %q, want %q", id, got, want)
	}
	if m := h.mailbox(id); m.Shared != (want != "") || m.Rights != AllRights {
		h.t.Errorf("mailbox %d: shared %v, rights %q", id, m.Shared, m.Rights)
	}
}

func (h *house) sharedWith(p Person) []AccountID {
	h.t.Helper()
	owners, err := h.store.SharedWith(context.Background(), p)
	h.must(err)
	return owners
}

// TestACL sets, adds to, takes from and removes rights (RFC 4314 §3.1, §3.2).
func TestACL(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	box := h.create("Team")
	a := h.store.Account(1)
	h.wantRights(box, "")
	set := func(changes ...ACLChange) error { return a.SetACL(ctx, "example.test", box, changes...) }
	h.must(set(ACLChange{carl.Account, SetRights, rights(t, "lrs")}, ACLChange{Anyone, SetRights, RightLookup}))
	h.wantRights(box, "0:l 3:lrs ")
	h.must(set(ACLChange{carl.Account, AddRights, rights(t, "ie")}, ACLChange{bea.Account, AddRights, RightLookup}))
	h.wantRights(box, "0:l 2:l 3:lrsie ")
	h.must(set(ACLChange{carl.Account, RemoveRights, rights(t, "sx")}, ACLChange{9, RemoveRights, AllRights}))
	h.wantRights(box, "0:l 2:l 3:lrie ")
	at := h.mailbox(box)
	h.must(set(ACLChange{Anyone, SetRights, RightLookup})) // as it is
	h.must(set(ACLChange{Anyone, SetRights, 0}, ACLChange{bea.Account, RemoveRights, AllRights}))
	h.wantRights(box, "3:lrie ")
	if now := h.mailbox(box); now.HighestModSeq != at.HighestModSeq {
		t.Error("the list has changed with the rights")
	}
	h.must(set(ACLChange{carl.Account, SetRights, 0}))
	h.wantRights(box, "")
	if len(h.rowsOf(kindACL)) != 0 {
		t.Error("a mailbox that is not shared has a row")
	}

	for what, err := range map[string]error{
		"the owner": set(ACLChange{1, SetRights, 0}), "no rights": set(ACLChange{2, SetRights, AllRights + 1}),
		"no domain":  a.SetACL(ctx, "", box, ACLChange{2, SetRights, RightLookup}),
		"no mailbox": a.SetACL(ctx, "example.test", 99, ACLChange{2, SetRights, RightLookup}),
	} {
		if !errors.Is(err, map[string]error{
			"the owner": ErrProtected, "no rights": ErrInvalidRights, "no domain": ErrNoPermission,
			"no mailbox": ErrNotFound,
		}[what]) {
			t.Errorf("%s: %v", what, err)
		}
	}
	h.wantRights(box, "")
}

// TestACLForeign refuses people of other domains, those that are gone, and those who may not share.
func TestACLForeign(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	box := h.create("Team")
	h.must(h.store.SetDomain(ctx, 1, "example.test"))
	h.must(h.store.SetDomain(ctx, dora.Account, "other.test"))
	h.must(h.store.MakeFolders(ctx, 20, "example.test"))
	h.must(h.store.SetDomain(ctx, 8, "example.test"))
	h.must(h.store.Remove(ctx, 8))
	try := func(p Person, domain string, who AccountID) error {
		return h.store.Account(1).As(p).SetACL(ctx, domain, box, ACLChange{Who: who, Rights: RightLookup})
	}
	owner := Person{Account: 1}
	for _, c := range []struct {
		p      Person
		domain string
		who    AccountID
		want   error
	}{
		{owner, "example.test", dora.Account, ErrNoPermission},
		{owner, "other.test", dora.Account, ErrNoPermission},
		{owner, "other.test", Anyone, ErrNoPermission},
		{owner, "example.test", 8, ErrNotFound},
		{owner, "example.test", 20, ErrNotFound},
		{owner, "example.test", bea.Account, nil},
		{bea, "example.test", carl.Account, ErrNoPermission},
		{carl, "example.test", carl.Account, ErrNotFound},
	} {
		if err := try(c.p, c.domain, c.who); !errors.Is(err, c.want) {
			t.Errorf("%d shares in %s with %d: %v, want %v", c.p.Account, c.domain, c.who, err, c.want)
		}
	}
	h.wantRights(box, "2:l ")
	if got := h.sharedWith(carl); !slices.Equal(got, []AccountID{20}) {
		t.Errorf("somebody without rights has led carl to %v", got)
	}
	h.share(box, bea.Account, rights(t, "la"))
	h.must(try(bea, "example.test", carl.Account))
	h.wantRights(box, "2:la 3:l ")
}

// TestACLLimit bounds the entries of a mailbox; what there is too much can still be taken back.
func TestACLLimit(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.limit.ACLEntries = 3
	h.open()
	box := h.create("Team")
	for who := range AccountID(3) {
		h.share(box, who+10, RightLookup)
	}
	err := h.store.Account(1).SetACL(context.Background(), "example.test", box, ACLChange{Who: 2, Rights: RightLookup})
	if !errors.Is(err, ErrTooMany) {
		t.Errorf("one too many: %v", err)
	}
	h.share(box, 11, RightRead)
	h.share(box, 12, 0)
	h.wantRights(box, "10:l 11:r ")
}

// TestACLInheritance gives new mailboxes the rights of the one above, keeps them with a RENAME, and ends
// them with the mailbox (RFC 4314 §4).
func TestACLInheritance(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	team := h.create("Team")
	h.share(team, bea.Account, AllRights)
	h.share(team, Anyone, RightLookup)
	const want = "0:l 2:lrswipkxtea "
	below := h.create("Team/a/b")
	h.wantRights(below, want)
	var hers MailboxID
	h.must(h.as(bea, func(tx *Tx) error {
		m, err := tx.CreateMailbox("Team/hers", CreateOptions{})
		if err == nil {
			hers = m.ID
			_, err = tx.List(hers)
		}
		return err
	}))
	h.wantRights(hers, want)
	h.share(below, Anyone, 0)
	h.wantRights(team, want)
	other := h.create("Other")
	h.wantRights(other, "")
	h.update(func(tx *Tx) error { return tx.RenameMailbox(team, "Other/Moved") })
	for id, rights := range map[MailboxID]string{team: want, below: "2:lrswipkxtea ", hers: want, other: ""} {
		h.wantRights(id, rights)
	}
	h.share(h.inbox(), bea.Account, RightRead)
	h.append(mail(1), h.inbox())
	h.update(func(tx *Tx) error { return tx.RenameMailbox(h.inbox(), "Old mail") })
	h.wantRights(h.inbox(), "2:r ")
	h.markAs(bea, below, FlagChange{Flags: Seen}, 1)
	for _, id := range []MailboxID{below, hers} {
		h.update(func(tx *Tx) error { return tx.DeleteMailbox(id) })
	}
	if n := len(h.rowsOf(kindACL)); n != 3 { // Other/Moved, Other/Moved/a, INBOX
		t.Errorf("%d mailboxes have rights", n)
	}
}

// TestSharedWith leads people to those who share with them, and away from those who do no more.
func TestSharedWith(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	box := h.create("Team")
	var other MailboxID
	h.must(h.store.Account(7).Update(ctx, func(tx *Tx) error {
		other = tx.RoleMailbox(RoleInbox)
		return nil
	}))
	h.share(box, bea.Account, RightRead)
	h.must(h.store.Account(7).SetACL(ctx, "example.test", other, ACLChange{Who: Anyone, Rights: RightRead}))
	want := func(when string, p Person, owners ...AccountID) {
		t.Helper()
		if got := h.sharedWith(p); !slices.Equal(got, owners) {
			t.Errorf("%s: account %d is led to %v, want %v", when, p.Account, got, owners)
		}
	}
	want("at first", bea, 1, 7)
	want("at first", carl, 7)
	want("at first", dora)
	want("at first", Person{})
	want("at first", Person{Account: 7, Domain: "example.test"})

	h.share(box, bea.Account, 0)
	h.must(h.store.Maintain(ctx))
	want("just taken back", bea, 1, 7)
	h.clock.Advance(2 * shareGrace)
	h.must(h.store.Maintain(ctx))
	want("taken back", bea, 7)
	want("taken back", carl, 7)
	h.must(h.store.Remove(ctx, 7))
	h.must(h.store.Maintain(ctx))
	want("the owner is gone", carl)
}

// TestShareSurvives cuts the granting and the taking back of rights at every write, and wants whoever has
// rights to be led to them.
func TestShareSurvives(t *testing.T) {
	t.Parallel()
	for cut := 1; ; cut++ {
		h := newHouse(t)
		box := h.create("Team")
		broken := &cutDB{Database: h.db, left: cut}
		s, err := Open(context.Background(), Options{DB: broken, Blobs: h.blobs, Clock: h.clock, Limits: h.limit})
		h.must(err)
		a := s.Account(1)
		work := func() error {
			for range 2 {
				for _, r := range []Rights{RightRead, 0} {
					for _, who := range []AccountID{bea.Account, Anyone} {
						err := a.SetACL(context.Background(), "example.test", box, ACLChange{Who: who, Rights: r})
						if err != nil {
							return err
						}
					}
				}
				h.clock.Advance(2 * shareGrace)
				if err := s.Maintain(context.Background()); err != nil {
					return err
				}
			}
			return nil
		}
		if work() == nil {
			if cut < 12 {
				t.Errorf("cut at %d places only", cut)
			}
			return
		}
		h.check() // that there is a share for all rights is among what it checks
		h.view(func(tx *Tx) error {
			acl, err := tx.ACL(box)
			if len(acl) > 0 && !slices.Equal(h.sharedWith(bea), []AccountID{1}) {
				t.Errorf("cut at %d: %v leads nowhere", cut, acl)
			}
			return err
		})
	}
}

// cutDB fails for ever after some updates.
type cutDB struct {
	kv.Database
	left int
}

var errCut = errors.New("the plug is pulled")

func (d *cutDB) Update(ctx context.Context, s kv.Scope, fn func(kv.Txn) error) error {
	if d.left--; d.left < 0 {
		return errCut
	}
	return d.Database.Update(ctx, s, fn)
}

// TestShareRace grants and takes back at once, while Maintain settles: nobody with rights is lost.
func TestShareRace(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	boxes := []MailboxID{h.create("A"), h.create("B")}
	done := make(chan error, 3)
	for i, box := range boxes {
		go func() {
			var err error
			for n := range 40 {
				r := []Rights{RightRead, 0}[(n+i)%2]
				err = errors.Join(err, h.store.Account(1).SetACL(ctx, "example.test", box, ACLChange{Who: 2, Rights: r}))
			}
			done <- err
		}()
	}
	go func() {
		var err error
		for range 40 {
			h.clock.Advance(shareGrace / 50)
			err = errors.Join(err, h.store.Maintain(ctx))
		}
		done <- err
	}()
	for range 3 {
		h.must(<-done)
	}
	h.share(boxes[0], 2, RightRead)
	if got := h.sharedWith(bea); !slices.Equal(got, []AccountID{1}) {
		t.Errorf("led to %v", got)
	}
}

// TestRemovedPerson takes all back that was granted to an account that is removed.
func TestRemovedPerson(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	box, open := h.create("Team"), h.create("Open")
	for id := AccountID(1); id <= 3; id++ {
		h.must(h.store.SetDomain(ctx, id, "example.test"))
	}
	h.share(box, bea.Account, AllRights)
	h.share(box, carl.Account, RightRead)
	h.share(open, Anyone, rights(t, "lrs"))
	h.append(mail(1), box, open)
	h.markAs(bea, box, FlagChange{Flags: Seen}, 1)
	h.markAs(bea, open, FlagChange{Flags: Seen}, 1)
	h.markAs(carl, open, FlagChange{Flags: Seen}, 1)
	h.must(h.store.Remove(ctx, bea.Account))
	h.wantRights(box, "3:r ")
	if n := len(h.rowsOf(kindOwnSeen)); n != 2 {
		t.Errorf("%d rows of own \\Seen are left, want a head and a block", n)
	}
	if got := h.sharedWith(Person{Account: bea.Account}); len(got) > 0 {
		t.Errorf("she is led to %v", got)
	}
	h.must(h.store.Account(1).maintain(ctx, func(tx *Tx) error { // as an older server may have left it
		m, err := tx.mailbox(box)
		if err != nil {
			return err
		}
		tx.silent = false
		return tx.setACL(m, &aclRow{"example.test", []ACLEntry{{bea.Account, RightRead}}})
	}))
	h.must(h.store.noteShare(ctx, shareKey(bea.Account, ""), 1))
	h.must(h.store.Maintain(ctx))
	h.wantRights(box, "")
}

// TestSharedFolders are a domain's: its administrators may do everything, others what they are granted,
// and nobody has an INBOX there.
func TestSharedFolders(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	const id = 20
	admin := Person{Account: 6, Domain: "example.test", Admin: true}
	a := h.store.Account(id)
	if err := a.As(admin).View(ctx, func(*Tx) error { return nil }); !errors.Is(err, ErrNotFound) {
		t.Errorf("before they are made: %v", err)
	}
	for range 2 {
		h.must(h.store.MakeFolders(ctx, id, "example.test"))
	}
	if got := h.sharedWith(carl); !slices.Equal(got, []AccountID{id}) {
		t.Errorf("he is led to %v", got)
	}
	var box MailboxID
	h.must(a.As(admin).Update(ctx, func(tx *Tx) error {
		m, err := tx.CreateMailbox("Sales/Orders", CreateOptions{})
		if err == nil {
			box = m.ParentID
		}
		return err
	}))
	h.must(a.As(admin).SetACL(ctx, "example.test", box, ACLChange{Anyone, SetRights, rights(t, "lrsi")}))
	for _, c := range []struct {
		p    Person
		want string
	}{
		{admin, "Sales 0 lrswipkxtea +, Sales/Orders 0 lrswipkxtea -"}, {carl, "Sales 0 lrsi -"}, {dora, ""},
		{Person{Account: 7, Domain: "other.test", Admin: true}, ""},
	} {
		h.must(a.As(c.p).View(ctx, func(tx *Tx) error {
			all, err := tx.Mailboxes()
			if got := describe(all); got != c.want {
				t.Errorf("%+v sees %q", c.p, got)
			}
			return err
		}))
	}
	for _, p := range []Person{admin, carl} {
		o := AppendOptions{Mailboxes: []MailboxID{box}, Flags: Seen}
		o.Body, o.Message = h.body(mail(int(p.Account)))
		h.must(a.As(p).Update(ctx, func(tx *Tx) error { _, err := tx.Append(o); return err }))
		h.must(a.As(p).View(ctx, func(tx *Tx) error {
			m, err := tx.Mailbox(box)
			if err == nil && m.Unseen != m.Messages-1 {
				t.Errorf("account %d: %d of %d are unseen", p.Account, m.Unseen, m.Messages)
			}
			return err
		}))
	}
	h.clock.Advance(2 * shareGrace)
	h.must(h.store.Maintain(ctx))
	if got := h.sharedWith(dora); len(got) > 0 || len(h.sharedWith(bea)) != 1 {
		t.Errorf("led to %v, %v", got, h.sharedWith(bea))
	}
	if u, _, err := h.store.DomainUsage(ctx, "example.test"); err != nil || u.Messages != 2 {
		t.Errorf("the domain uses %+v, %v", u, err)
	}
}
