package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// The steps of the model test: each does one thing to the store and to the model, and compares what
// the store said about it. They return a description.

func (r *run) opAppend() string {
	boxes := []MailboxID{r.box()}
	if r.rng.IntN(5) == 0 {
		boxes = append(boxes, r.box())
	}
	return r.appendTo(boxes, 1)
}

// opBulk fills a mailbox, so that segments are folded and split.
func (r *run) opBulk() string { return r.appendTo([]MailboxID{r.m.ids()[0]}, 70+r.rng.IntN(200)) }

func (r *run) appendTo(boxes []MailboxID, n int) string {
	var options []AppendOptions
	var letters []int
	for range n {
		r.letter++
		letter := r.letter % 40 // repeats: the same message identifier and subject again
		var refs []string
		if r.rng.IntN(4) == 0 {
			refs = []string{fmt.Sprintf("In-Reply-To: <%d@example.test>", r.rng.IntN(40))}
		}
		o := AppendOptions{Mailboxes: boxes, Received: r.clock.Now(), Flags: r.flags()}
		o.Keywords = r.keywords()
		o.Body, o.Message = r.body(mail(letter, refs...))
		options, letters = append(options, o), append(letters, letter)
	}
	var got []Appended
	err := r.do(func(tx *Tx) error {
		got = got[:0]
		for _, o := range options {
			a, err := tx.Append(o)
			if err != nil {
				return err
			}
			got = append(got, a)
		}
		return nil
	})
	if err != nil {
		u, size := r.m.usage(), int64(0)
		for _, o := range options {
			size += o.Body.Ref().Size
		}
		over := over(u.Bytes, size, r.m.limit.Bytes) || over(u.Messages, int64(n), r.m.limit.Messages)
		if !over || !errors.Is(err, ErrOverQuota) {
			r.t.Errorf("append: %v with usage %+v of %+v", err, u, r.m.limit)
		}
		return fmt.Sprintf("append %d to %v: %v", n, boxes, err)
	}
	for i, a := range got {
		r.appended(boxes, options[i], letters[i], a)
	}
	return fmt.Sprintf("append %d to %v: %+v", n, boxes, got[0])
}

func (r *run) appended(boxes []MailboxID, o AppendOptions, letter int, a Appended) {
	if r.m.emails[a.Email] != nil {
		r.t.Errorf("append returned email %d again", a.Email)
	}
	e := &modelEmail{
		n: letter, size: o.Body.Ref().Size, received: o.Received.Unix(), thread: a.Thread,
		flags: o.Flags &^ Deleted, words: map[string]bool{}, places: map[MailboxID]UID{},
	}
	for _, k := range o.Keywords {
		e.words[k] = true
	}
	r.m.emails[a.Email] = e
	for i, p := range a.Entries {
		if uid := r.m.add(p.Mailbox, a.Email, o.Flags&Deleted != 0); uid != p.UID ||
			!slices.Contains(boxes, p.Mailbox) || i > 0 && p.Mailbox == a.Entries[0].Mailbox {
			r.t.Errorf("append returned %+v, want UID %d in one of %v", p, uid, boxes)
		}
	}
}

func (r *run) flags() Flags { return Flags(r.rng.Uint64()) & SystemFlags }

func (r *run) keywords() []string {
	var out []string
	for range r.rng.IntN(3) {
		k := fmt.Sprintf("word%d", r.rng.IntN(70)) // more than there are bits
		if !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	return out
}

func (r *run) opFlags() string {
	id := r.box()
	uids := r.pick(id)
	c := FlagChange{Mode: FlagMode(r.rng.IntN(3)), Flags: r.flags(), Keywords: r.keywords()}
	if r.rng.IntN(4) == 0 {
		c.Conditional = true
	}
	var changed []Entry
	var refused []UID
	var before *List
	var at ModSeq
	err := r.do(func(tx *Tx) (err error) {
		if before, err = tx.List(id); err != nil {
			return err
		}
		if c.Conditional {
			c.UnchangedSince = before.HighestModSeq() - min(before.HighestModSeq(), 3)
		}
		changed, refused, err = tx.SetFlags(id, uids, c)
		at = tx.ModSeq()
		return err
	})
	desc := fmt.Sprintf("flags %+v of %v in %d: %v", c, uids, id, err)
	if !r.expect(err, nil) {
		return desc
	}
	var want, held []UID
	for _, uid := range r.m.here(id, uids) {
		if c.Conditional && before.get(uid).ModSeq > c.UnchangedSince {
			held = append(held, uid)
		} else if r.m.setFlags(id, uid, c) {
			want = append(want, uid)
		}
	}
	var got []UID
	for _, e := range changed {
		got = append(got, e.UID)
		if e.ModSeq != at {
			r.t.Errorf("UID %d got ModSeq %d in transaction %d", e.UID, e.ModSeq, at)
		}
	}
	if !slices.Equal(got, want) || !slices.Equal(refused, held) {
		r.t.Errorf("flags changed %v, want %v; refused %v, want %v", got, want, refused, held)
	}
	return desc
}

// setFlags changes the model and reports whether that changed anything of the entry.
func (m *model) setFlags(box MailboxID, uid UID, c FlagChange) bool {
	en := m.boxes[box].entries[uid]
	e := m.emails[en.email]
	flags, words, deleted := e.flags, maps.Clone(e.words), en.deleted
	own := c.Flags &^ Deleted
	switch c.Mode {
	case ReplaceFlags:
		e.flags, e.words, en.deleted = own, map[string]bool{}, c.Flags&Deleted != 0
	case AddFlags:
		e.flags |= own
		en.deleted = en.deleted || c.Flags&Deleted != 0
	case RemoveFlags:
		e.flags &^= own
		en.deleted = en.deleted && c.Flags&Deleted == 0
	}
	for _, k := range c.Keywords {
		if c.Mode == RemoveFlags {
			delete(e.words, k)
		} else {
			e.words[k] = true
		}
	}
	return flags != e.flags || deleted != en.deleted || !maps.Equal(words, e.words)
}

func (r *run) opCopy() string {
	from, to := r.box(), r.box()
	uids := r.pick(from)
	var pairs []UIDPair
	err := r.do(func(tx *Tx) (err error) {
		pairs, err = tx.Copy(from, uids, to)
		return err
	})
	desc := fmt.Sprintf("copy %v from %d to %d: %v %v", uids, from, to, pairs, err)
	if errors.Is(err, ErrOverQuota) && r.m.limit != (Quota{}) {
		return desc
	}
	if !r.expect(err, nil) {
		return desc
	}
	r.pairs(pairs, r.m.here(from, uids), func(uid UID) UID { return r.m.copyTo(r, from, uid, to) })
	return desc
}

// copyTo does what COPY does to the model. A new email's identifier is read from the store.
func (m *model) copyTo(r *run, from MailboxID, uid UID, to MailboxID) UID {
	en := m.boxes[from].entries[uid]
	id := en.email
	if _, there := m.emails[id].places[to]; there {
		e := r.emailAt(to, m.boxes[to].next)
		m.clone(id, e.ID, e.Thread)
		id = e.ID
	}
	return m.add(to, id, en.deleted)
}

// emailAt asks the store for the email of an entry.
func (r *run) emailAt(box MailboxID, uid UID) (e *Email) {
	r.view(func(tx *Tx) error {
		l, err := tx.List(box)
		if err != nil {
			return err
		}
		entry := l.get(uid)
		if entry == nil {
			return fmt.Errorf("UID %d is not in mailbox %d: %w", uid, box, ErrNotFound)
		}
		e, err = tx.Email(entry.Email)
		return err
	})
	return e
}

func (r *run) pairs(pairs []UIDPair, uids []UID, do func(UID) UID) {
	var want []UIDPair
	for _, uid := range uids {
		want = append(want, UIDPair{uid, do(uid)})
	}
	if !slices.Equal(pairs, want) {
		r.t.Errorf("pairs %v, want %v", pairs, want)
	}
}

func (r *run) opMove() string {
	from, to := r.box(), r.box()
	uids := r.pick(from)
	var pairs []UIDPair
	now := r.clock.Now()
	err := r.do(func(tx *Tx) (err error) {
		pairs, err = tx.Move(from, uids, to)
		return err
	})
	desc := fmt.Sprintf("move %v from %d to %d: %v %v", uids, from, to, pairs, err)
	if errors.Is(err, ErrOverQuota) && r.m.limit != (Quota{}) {
		return desc
	}
	if !r.expect(err, nil) {
		return desc
	}
	r.m.carry(from, to, pairs)
	r.pairs(pairs, r.m.here(from, uids), func(uid UID) UID {
		en := r.m.boxes[from].entries[uid]
		if _, there := r.m.emails[en.email].places[to]; there && from != to {
			got := r.m.copyTo(r, from, uid, to)
			r.m.drop(from, uid, now)
			return got
		}
		r.m.drop(from, uid, now)
		return r.m.add(to, en.email, en.deleted)
	})
	return desc
}

func (r *run) opExpunge() string {
	id := r.box()
	uids := r.pick(id)
	var gone []UID
	now := r.clock.Now()
	err := r.do(func(tx *Tx) (err error) {
		gone, err = tx.Expunge(id, uids)
		return err
	})
	desc := fmt.Sprintf("expunge %v of %d: %v", uids, id, err)
	if !r.expect(err, nil) {
		return desc
	}
	want := r.m.here(id, uids)
	if !slices.Equal(gone, want) {
		r.t.Errorf("expunged %v, want %v", gone, want)
	}
	for _, uid := range want {
		r.m.drop(id, uid, now)
	}
	r.bounded()
	return desc
}

// bounded takes out of the model what the bound of the recoverable area has purged.
func (r *run) bounded() {
	if r.limit.RecoverableBytes == 0 {
		return
	}
	r.view(func(tx *Tx) error {
		recs, err := tx.Recoverable()
		left := map[EmailID]bool{}
		for _, rec := range recs {
			left[rec.Email] = true
		}
		for id, e := range r.m.emails {
			if len(e.places) == 0 && !left[id] {
				delete(r.m.emails, id)
			}
		}
		if u, _ := tx.Usage(); u.RecoverableBytes > r.limit.RecoverableBytes {
			r.t.Errorf("%d recoverable bytes, %d are allowed", u.RecoverableBytes,
				r.limit.RecoverableBytes)
		}
		return err
	})
}

func (r *run) name() string {
	names := []string{"a", "b", "c d", "Tiếng Việt", "x&y", "INBOX", "%*", "é"}
	parts := []string{names[r.rng.IntN(len(names))]}
	for r.rng.IntN(2) == 0 && len(parts) < 3 {
		parts = append(parts, names[r.rng.IntN(len(names))])
	}
	return strings.Join(parts, "/")
}

// ensure makes the mailboxes above a name in the model, with the identifiers that the store gave.
func (r *run) ensure(name string) {
	for i, c := range name + "/" {
		if c != '/' || r.m.byName(name[:i]) != 0 {
			continue
		}
		r.view(func(tx *Tx) error {
			mb, err := tx.MailboxByName(name[:i])
			if err != nil {
				return err
			}
			if r.m.used[mb.UIDValidity] {
				r.t.Errorf("UIDVALIDITY %d was used before", mb.UIDValidity)
			}
			r.m.used[mb.UIDValidity] = true
			r.m.boxes[mb.ID] = &modelBox{
				name: name[:i], validity: mb.UIDValidity, next: 1, recent: 1,
				entries: map[UID]*modelEntry{}, acl: r.m.inherits(name[:i]), seen: map[UID]bool{},
			}
			return nil
		})
	}
}

func (r *run) opCreate() string {
	name := r.name()
	err := r.do(func(tx *Tx) error {
		_, err := tx.CreateMailbox(name, CreateOptions{})
		return err
	})
	desc := fmt.Sprintf("create %q: %v", name, err)
	switch {
	case r.m.byName(name) != 0:
		r.expect(err, ErrExists)
	case errors.Is(err, ErrTooMany) && len(r.m.boxes)+3 > r.limit.Mailboxes:
	case r.expect(err, nil):
		r.ensure(name)
	}
	return desc
}

func (r *run) opRename() string {
	id, name := r.box(), r.name()
	old := r.m.boxes[id].name
	now := r.clock.Now()
	err := r.do(func(tx *Tx) error { return tx.RenameMailbox(id, name) })
	desc := fmt.Sprintf("rename %q to %q: %v", old, name, err)
	switch {
	case r.m.byName(name) != 0:
		r.expect(err, ErrExists)
		return desc
	case errors.Is(err, ErrTooMany) && len(r.m.boxes)+3 > r.limit.Mailboxes:
		return desc
	case errors.Is(err, ErrInvalidName):
		if !r.tooDeep(old, name) && !strings.HasPrefix(name, old+"/") {
			r.t.Errorf("%s", desc)
		}
		return desc
	case !r.expect(err, nil):
		return desc
	}
	if old == inbox {
		r.ensure(name)
		to := r.m.byName(name)
		for _, uid := range r.m.boxes[id].uids() {
			en := r.m.boxes[id].entries[uid]
			r.m.drop(id, uid, now)
			r.m.add(to, en.email, en.deleted)
		}
		return desc
	}
	for _, b := range r.m.boxes {
		if b.name == old || strings.HasPrefix(b.name, old+"/") {
			b.name = name + strings.TrimPrefix(b.name, old)
		}
	}
	r.ensure(name)
	return desc
}

func (r *run) tooDeep(old, name string) bool {
	for _, b := range r.m.boxes {
		if strings.HasPrefix(b.name, old+"/") {
			if strings.Count(name+strings.TrimPrefix(b.name, old), "/")+1 > r.limit.NameDepth {
				return true
			}
		}
	}
	return false
}

func (r *run) opDelete() string {
	id := r.box()
	b := r.m.boxes[id]
	now := r.clock.Now()
	children := r.m.view(id).HasChildren
	err := r.do(func(tx *Tx) error { return tx.DeleteMailbox(id) })
	desc := fmt.Sprintf("delete %q: %v", b.name, err)
	switch {
	case b.role != NoRole:
		r.expect(err, ErrProtected)
	case children:
		r.expect(err, ErrHasChildren)
	case r.expect(err, nil):
		for _, uid := range b.uids() {
			r.m.drop(id, uid, now)
		}
		delete(r.m.boxes, id)
		delete(r.sync, id)
		r.bounded()
	}
	return desc
}

func (r *run) opSubscribe() string {
	name, on := r.name(), r.rng.IntN(2) == 0
	r.expect(r.do(func(tx *Tx) error { return tx.Subscribe(name, on) }), nil)
	if on {
		r.m.subs[name] = true
	} else {
		delete(r.m.subs, name)
	}
	return fmt.Sprintf("subscribe %q %t", name, on)
}

func (r *run) opClaim() string {
	id := r.box()
	b := r.m.boxes[id]
	var from UID
	r.expect(r.do(func(tx *Tx) (err error) {
		from, err = tx.ClaimRecent(id)
		return err
	}), nil)
	if from != b.recent {
		r.t.Errorf("claimed recent from %d, want %d", from, b.recent)
	}
	b.recent = b.next
	return fmt.Sprintf("claim recent of %d", id)
}

func (r *run) email(recoverable bool) EmailID {
	var ids []EmailID
	for _, id := range slices.Sorted(maps.Keys(r.m.emails)) {
		if (len(r.m.emails[id].places) == 0) == recoverable {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return 0
	}
	return ids[r.rng.IntN(len(ids))]
}

func (r *run) opSetMailboxes() string {
	id := r.email(false)
	if id == 0 {
		return "set mailboxes: no email"
	}
	var to []MailboxID
	for range r.rng.IntN(4) {
		to = append(to, r.box())
	}
	now := r.clock.Now()
	err := r.do(func(tx *Tx) error { return tx.SetMailboxes(id, to) })
	if r.expect(err, nil) {
		e := r.m.emails[id]
		for box, uid := range maps.Clone(e.places) {
			if !slices.Contains(to, box) {
				r.m.drop(box, uid, now)
			}
		}
		for _, box := range to {
			if _, there := e.places[box]; !there {
				r.m.add(box, id, false)
			}
		}
		r.bounded()
	}
	return fmt.Sprintf("set mailboxes of %d to %v: %v", id, to, err)
}

func (r *run) opRecover() string {
	id, to := r.email(true), r.box()
	if id == 0 {
		return "recover: nothing"
	}
	var uid UID
	err := r.do(func(tx *Tx) (err error) {
		uid, err = tx.Recover(id, to)
		return err
	})
	if !errors.Is(err, ErrOverQuota) || r.m.limit == (Quota{}) {
		if r.expect(err, nil) && r.m.add(to, id, false) != uid {
			r.t.Errorf("recovered as UID %d", uid)
		}
	}
	return fmt.Sprintf("recover %d to %d: %v", id, to, err)
}

func (r *run) opPurge() string {
	id := r.email(true)
	if id == 0 {
		return "purge: nothing"
	}
	if r.expect(r.do(func(tx *Tx) error { return tx.Purge(id) }), nil) {
		delete(r.m.emails, id)
	}
	return fmt.Sprintf("purge %d", id)
}

func (r *run) opMaintain() string {
	if r.rng.IntN(3) == 0 {
		r.clock.Advance(r.limit.Recoverable / 2)
	}
	now := r.clock.Now()
	r.expect(r.store.Maintain(context.Background()), nil)
	for id, e := range r.m.emails {
		if len(e.places) == 0 && e.removed.Truncate(time.Second).Before(now.Add(-r.limit.Recoverable)) {
			delete(r.m.emails, id)
		}
	}
	_, err := r.blobs.Collect(context.Background())
	r.expect(err, nil)
	return "maintain"
}

// opCrash pulls the plug and starts again with what was durable.
func (r *run) opCrash() string {
	r.reopen(r.crash())
	return "crash"
}

func (r *run) opQuota() string {
	q := Quota{}
	if u := r.m.usage(); r.rng.IntN(2) == 0 {
		q = Quota{Bytes: u.Bytes + int64(r.rng.IntN(2000)), Messages: u.Messages + int64(r.rng.IntN(9))}
	}
	r.expect(r.store.SetQuota(context.Background(), 1, q), nil)
	r.m.limit = q
	return fmt.Sprintf("quota %+v", q)
}

// opAbort does many things and gives them up: nothing of them may stay.
func (r *run) opAbort() string {
	enough := errors.New("enough")
	from, to := r.box(), r.box()
	uids := r.m.boxes[from].uids()
	err := r.do(func(tx *Tx) error {
		if _, err := tx.Copy(from, uids, to); err != nil && !errors.Is(err, ErrOverQuota) {
			return err
		}
		if _, err := tx.Expunge(from, uids); err != nil {
			return err
		}
		_, err := tx.CreateMailbox("given up", CreateOptions{Subscribed: true})
		if err != nil && !errors.Is(err, ErrTooMany) {
			return err
		}
		return enough
	})
	r.expect(err, enough)
	return "abort"
}

func (r *run) opRole() string {
	id := r.box()
	role := Role(r.rng.IntN(int(lastRole) + 1))
	err := r.do(func(tx *Tx) error { return tx.SetRole(id, role) })
	b := r.m.boxes[id]
	switch {
	case b.role == role:
		r.expect(err, nil)
	case role == RoleInbox || b.role == RoleInbox:
		r.expect(err, ErrProtected)
	case r.expect(err, nil):
		for _, o := range r.m.boxes {
			if o.role == role {
				o.role = NoRole
			}
		}
		b.role = role
	}
	return fmt.Sprintf("role %d for %d: %v", role, id, err)
}
