package store

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

// model is what an account must look like, kept in the plainest way.
type model struct {
	boxes  map[MailboxID]*modelBox
	emails map[EmailID]*modelEmail
	subs   map[string]bool
	used   map[uint32]bool // UIDVALIDITYs ever given out
	limit  Quota
}

type modelBox struct {
	name     string
	role     Role
	validity uint32
	next     UID
	recent   UID
	entries  map[UID]*modelEntry
	acl      map[AccountID]Rights
	seen     map[UID]bool // by bea
}

type modelEntry struct {
	email   EmailID
	deleted bool
}

type modelEmail struct {
	n        int // of mail(n)
	size     int64
	received int64
	thread   ThreadID
	flags    Flags           // system flags without \Deleted
	words    map[string]bool // keywords
	places   map[MailboxID]UID
	removed  time.Time // when places became empty
}

func newModel() *model {
	return &model{
		boxes: map[MailboxID]*modelBox{}, emails: map[EmailID]*modelEmail{},
		subs: map[string]bool{}, used: map[uint32]bool{},
	}
}

func (m *model) usage() (u Usage) {
	for _, e := range m.emails {
		if len(e.places) > 0 {
			u.Bytes += e.size
			u.Messages++
		} else {
			u.RecoverableBytes += e.size
			u.RecoverableMessages++
		}
	}
	return u
}

func (m *model) byName(name string) MailboxID {
	for id, b := range m.boxes {
		if b.name == name {
			return id
		}
	}
	return 0
}

func (m *model) ids() []MailboxID { return slices.Sorted(maps.Keys(m.boxes)) }

func (b *modelBox) uids() []UID { return slices.Sorted(maps.Keys(b.entries)) }

// add puts an email into a mailbox and returns its UID.
func (m *model) add(box MailboxID, id EmailID, deleted bool) UID {
	b := m.boxes[box]
	uid := b.next
	b.next++
	b.entries[uid] = &modelEntry{id, deleted}
	m.emails[id].places[box] = uid
	m.emails[id].removed = time.Time{}
	return uid
}

// drop takes an entry out of a mailbox.
func (m *model) drop(box MailboxID, uid UID, now time.Time) {
	b := m.boxes[box]
	e := m.emails[b.entries[uid].email]
	delete(b.entries, uid)
	delete(e.places, box)
	if len(e.places) == 0 {
		e.removed = now
	}
}

// clone makes a copy of an email under a new identifier.
func (m *model) clone(from, to EmailID, thread ThreadID) {
	e := *m.emails[from]
	e.words, e.places, e.thread = maps.Clone(e.words), map[MailboxID]UID{}, thread
	m.emails[to] = &e
}

// boxView is a mailbox in a form that model and store can both be put into.
type boxView struct {
	Name, Flags                       string
	Validity                          uint32
	Next                              UID
	Messages, Unseen, Deleted, Recent uint32
	Size                              int64
	Role                              Role
	Subscribed, HasChildren           bool
	Entries                           []entryView
}

type entryView struct {
	UID      UID
	Email    EmailID
	Flags    string
	Size     uint32
	Received int64
}

func flagNames(f Flags, words []string) string {
	var out []string
	for bit, name := range map[Flags]string{
		Seen: "seen", Answered: "answered", Flagged: "flagged", Draft: "draft", Deleted: "deleted",
	} {
		if f&bit != 0 {
			out = append(out, name)
		}
	}
	out = append(out, words...)
	sort.Strings(out)
	return strings.Join(out, " ")
}

func (m *model) view(id MailboxID) boxView {
	b := m.boxes[id]
	v := boxView{
		Name: b.name, Validity: b.validity, Next: b.next, Role: b.role, Subscribed: m.subs[b.name],
		Messages: uint32(len(b.entries)),
	}
	for _, o := range m.boxes {
		v.HasChildren = v.HasChildren || strings.HasPrefix(o.name, b.name+"/")
	}
	for _, uid := range b.uids() {
		en := b.entries[uid]
		e := m.emails[en.email]
		f := e.flags
		if en.deleted {
			f |= Deleted
			v.Deleted++
		}
		if f&Seen == 0 {
			v.Unseen++
		}
		if uid >= b.recent {
			v.Recent++
		}
		v.Size += e.size
		v.Entries = append(v.Entries, entryView{
			uid, en.email, flagNames(f, slices.Collect(maps.Keys(e.words))), uint32(e.size), e.received,
		})
	}
	return v
}

// viewOf is what the store says of a mailbox.
func viewOf(tx *Tx, mb *Mailbox) (boxView, error) {
	v := boxView{
		Name: mb.Name, Validity: mb.UIDValidity, Next: mb.UIDNext, Role: mb.Role,
		Subscribed: mb.Subscribed, HasChildren: mb.HasChildren, Messages: mb.Messages,
		Unseen: mb.Unseen, Deleted: mb.Deleted, Recent: mb.Recent, Size: mb.Size,
	}
	l, err := tx.List(mb.ID)
	if err != nil {
		return v, err
	}
	words, err := tx.Keywords()
	if err != nil {
		return v, err
	}
	if l.UIDNext() != mb.UIDNext || l.HighestModSeq() != mb.HighestModSeq {
		return v, fmt.Errorf("list of %d: UIDNEXT %d, mailbox %d; modseq %d, mailbox %d", mb.ID,
			l.UIDNext(), mb.UIDNext, l.HighestModSeq(), mb.HighestModSeq)
	}
	for i, e := range l.Entries(0, l.Len()) {
		if l.At(i) != *e {
			return v, fmt.Errorf("list of %d: At(%d) is not entry %d", mb.ID, i, i)
		}
		if at, ok := l.Find(e.UID); at != i || !ok {
			return v, fmt.Errorf("list of %d: Find(%d) = %d, %t", mb.ID, e.UID, at, ok)
		}
		names := words.AppendNames(nil, e.Flags)
		if e.Flags&MoreKeywords != 0 {
			more, err := tx.ExtraKeywords(e.Email)
			if err != nil {
				return v, err
			}
			names = append(names, more...)
		}
		v.Entries = append(v.Entries, entryView{
			e.UID, e.Email, flagNames(e.Flags, names), e.Size, e.Received,
		})
	}
	return v, nil
}

// compare holds the store against the model.
func (m *model) compare(t testing.TB, tx *Tx) error {
	t.Helper()
	all, err := tx.Mailboxes()
	if err != nil {
		return err
	}
	var each []*Mailbox
	if err := tx.EachMailbox(func(mb *Mailbox) error {
		each = append(each, mb)
		return nil
	}); err != nil {
		return err
	}
	if diff := gocmp.Diff(all, each); diff != "" {
		return fmt.Errorf("Mailboxes and EachMailbox differ:\n%s", diff)
	}
	if len(all) != len(m.boxes) {
		return fmt.Errorf("%d mailboxes, want %d", len(all), len(m.boxes))
	}
	if !slices.IsSortedFunc(all, func(a, b *Mailbox) int { return compareNames(a.Name, b.Name) }) {
		return fmt.Errorf("mailboxes are out of order")
	}
	for _, mb := range all {
		if m.boxes[mb.ID] == nil {
			return fmt.Errorf("mailbox %d %q should not be there", mb.ID, mb.Name)
		}
		one, err := tx.MailboxByName(mb.Name)
		if err != nil {
			return err
		}
		if diff := gocmp.Diff(mb, one); diff != "" {
			return fmt.Errorf("MailboxByName(%q):\n%s", mb.Name, diff)
		}
		got, err := viewOf(tx, mb)
		if err != nil {
			return err
		}
		if diff := gocmp.Diff(m.view(mb.ID), got); diff != "" {
			return fmt.Errorf("mailbox %d (-want +got):\n%s", mb.ID, diff)
		}
	}
	return m.compareAccount(tx)
}

func (m *model) compareAccount(tx *Tx) error {
	subs, err := tx.Subscriptions()
	if err != nil {
		return err
	}
	slices.Sort(subs)
	if want := slices.Sorted(maps.Keys(m.subs)); !slices.Equal(want, subs) {
		return fmt.Errorf("subscriptions %q, want %q", subs, want)
	}
	if u, q := tx.Usage(); u != m.usage() || q != m.limit {
		return fmt.Errorf("usage %+v of %+v, want %+v of %+v", u, q, m.usage(), m.limit)
	}
	recs, err := tx.Recoverable()
	if err != nil {
		return err
	}
	var got []EmailID
	for _, r := range recs {
		got = append(got, r.Email)
	}
	slices.Sort(got)
	threads := map[ThreadID][]EmailID{}
	var want []EmailID
	for _, id := range slices.Sorted(maps.Keys(m.emails)) {
		e := m.emails[id]
		if len(e.places) == 0 {
			want = append(want, id)
		} else {
			threads[e.thread] = append(threads[e.thread], id)
		}
		if err := m.compareEmail(tx, id); err != nil {
			return err
		}
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("recoverable %v, want %v", got, want)
	}
	for id, ids := range threads {
		slices.SortStableFunc(ids, func(a, b EmailID) int {
			return cmp.Compare(m.emails[a].received, m.emails[b].received)
		})
		got, err := tx.Thread(id)
		if err != nil || !slices.Equal(got, ids) {
			return fmt.Errorf("thread %d has %v, want %v: %w", id, got, ids, err)
		}
	}
	return nil
}

func (m *model) compareEmail(tx *Tx, id EmailID) error {
	want := m.emails[id]
	e, err := tx.Email(id)
	if err != nil {
		return err
	}
	places := map[MailboxID]UID{}
	for _, p := range e.State.Mailboxes {
		places[p.Mailbox] = p.UID
	}
	if !maps.Equal(places, want.places) || e.Thread != want.thread || e.Size() != want.size ||
		e.State.Removed.Unix() != max(want.removed.Unix(), time.Time{}.Unix()) {
		return fmt.Errorf("email %d is %+v with %+v, want %+v", id, e, e.State, want)
	}
	if e.Subject() != fmt.Sprintf("Letter %d", want.n) {
		return fmt.Errorf("email %d is %q, want letter %d", id, e.Subject(), want.n)
	}
	return nil
}
