package store

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"tram/internal/blob"
	"tram/internal/kv"
	"tram/internal/kv/memkv"
	"tram/internal/textindex"
)

// damage is something that goes wrong with rows, and the kind of finding that must tell of it.
type damage struct {
	kind  string
	plant func(p *planter)
}

// damages are the kinds of damage of reliability row B10, planted into the account of furnished.
var damages = map[string]damage{
	"account row": {"damaged", func(p *planter) { p.rubbish(appendKey(nil, 1, kindAccount)) }},
	"usage":       {"usage", func(p *planter) { p.account(func(a *accountRow) { a.Usage.Bytes++ }) }},
	"recoverable usage": {"usage", func(p *planter) {
		p.account(func(a *accountRow) { a.Usage.RecoverableMessages = 0 })
	}},
	"next email":    {"next-id", func(p *planter) { p.account(func(a *accountRow) { a.NextEmail = 1 }) }},
	"next mailbox":  {"next-id", func(p *planter) { p.account(func(a *accountRow) { a.NextMailbox = 2 }) }},
	"next thread":   {"next-id", func(p *planter) { p.account(func(a *accountRow) { a.NextThread = 1 }) }},
	"modseq":        {"modseq", func(p *planter) { p.account(func(a *accountRow) { a.ModSeq = 2 }) }},
	"mailbox count": {"counter", func(p *planter) { p.account(func(a *accountRow) { a.Mailboxes++ }) }},
	"roles":         {"role", func(p *planter) { p.account(func(a *accountRow) { a.Roles = a.Roles[1:] }) }},
	"keyword table": {"damaged", func(p *planter) { p.rubbish(appendKey(nil, 1, kindKeywords)) }},
	"no keyword table": {"keyword", func(p *planter) {
		p.remove(appendKey(nil, 1, kindKeywords))
	}},
	"mailbox row":    {"damaged", func(p *planter) { p.rubbish(key32(nil, 1, kindMailbox, 4)) }},
	"no mailbox row": {"name", func(p *planter) { p.remove(key32(nil, 1, kindMailbox, 4)) }},
	"messages":       {"counter", func(p *planter) { p.mailbox(1, func(m *mailboxRow) { m.Messages-- }) }},
	"unseen":         {"counter", func(p *planter) { p.mailbox(1, func(m *mailboxRow) { m.Unseen++ }) }},
	"uidnext":        {"uidnext", func(p *planter) { p.mailbox(1, func(m *mailboxRow) { m.UIDNext = 2 }) }},
	"highest modseq": {"modseq", func(p *planter) { p.mailbox(1, func(m *mailboxRow) { m.Highest = 1 }) }},
	"uidvalidity": {"uidvalidity", func(p *planter) {
		p.mailbox(1, func(m *mailboxRow) { m.UIDValidity++ })
	}},
	"parent":      {"tree", func(p *planter) { p.mailbox(7, func(m *mailboxRow) { m.Parent = 99 }) }},
	"own parent":  {"tree", func(p *planter) { p.mailbox(7, func(m *mailboxRow) { m.Parent = 8 }) }},
	"leaf":        {"name", func(p *planter) { p.mailbox(7, func(m *mailboxRow) { m.Leaf = "other" }) }},
	"height":      {"height", func(p *planter) { p.mailbox(7, func(m *mailboxRow) { m.Height = 0 }) }},
	"expunged":    {"expunged", func(p *planter) { p.mailbox(1, func(m *mailboxRow) { m.Expunged = 7 }) }},
	"segments":    {"list", func(p *planter) { p.mailbox(1, func(m *mailboxRow) { m.Segments = 7 }) }},
	"tail":        {"list", func(p *planter) { p.mailbox(1, func(m *mailboxRow) { m.TailFirst = 3 }) }},
	"name row":    {"damaged", func(p *planter) { p.rubbish(nameKey(nil, 1, 0, "Sent")) }},
	"no name row": {"name", func(p *planter) { p.remove(nameKey(nil, 1, 0, "Sent")) }},
	"list row":    {"damaged", func(p *planter) { p.rubbish(listKey(nil, 1, 1, 1, 2)) }},
	"no list row": {"list-state", func(p *planter) { p.remove(listKey(nil, 1, 1, 1, 2)) }},
	"list row of nothing": {"list", func(p *planter) {
		p.put(listKey(nil, 1, 99, 1, 0), appendSegment(nil, &chunk{first: 1}))
	}},
	"email row":    {"damaged", func(p *planter) { p.rubbish(key64(nil, 1, kindEmail, 2)) }},
	"no email row": {"email-row", func(p *planter) { p.remove(key64(nil, 1, kindEmail, 2)) }},
	"state row":    {"email-state", func(p *planter) { p.rubbish(key64(nil, 1, kindState, 2)) }},
	"no state row": {"email-state", func(p *planter) { p.remove(key64(nil, 1, kindState, 2)) }},
	"flags":        {"list-state", func(p *planter) { p.state(2, func(s *stateRow) { s.Flags ^= Answered }) }},
	"place":        {"list-state", func(p *planter) { p.state(2, func(s *stateRow) { s.Places[0].UID = 1 }) }},
	"place in no mailbox": {"list-state", func(p *planter) {
		p.state(2, func(s *stateRow) { s.Places[0].Mailbox = 99 })
	}},
	"thread of state": {"thread", func(p *planter) { p.state(2, func(s *stateRow) { s.Thread = 99 }) }},
	"keyword":         {"keyword", func(p *planter) { p.state(2, func(s *stateRow) { s.More = []uint32{60} }) }},
	"thread row":      {"damaged", func(p *planter) { p.rubbish(key64(nil, 1, kindThread, 2)) }},
	"no thread row":   {"thread", func(p *planter) { p.remove(key64(nil, 1, kindThread, 2)) }},
	"thread members": {"thread", func(p *planter) {
		p.put(key64(nil, 1, kindThread, 2), (&threadRow{}).append(nil))
	}},
	"thread index":    {"damaged", func(p *planter) { p.first(kindThreadOf, p.rubbish) }},
	"no thread index": {"thread-index", func(p *planter) { p.first(kindThreadOf, p.remove) }},
	"thread index to nowhere": {"thread-index", func(p *planter) {
		p.put(key64(nil, 1, kindThreadOf, 5), appendUint([]byte{version1}, ThreadID(99)))
	}},
	"change row":        {"damaged", func(p *planter) { p.first(kindChange, p.rubbish) }},
	"no change row":     {"change-log", func(p *planter) { p.first(kindChange, p.remove) }},
	"expunged row":      {"damaged", func(p *planter) { p.first(kindVanished, p.rubbish) }},
	"no expunged row":   {"expunged", func(p *planter) { p.first(kindVanished, p.remove) }},
	"recoverable row":   {"damaged", func(p *planter) { p.first(kindRecover, p.rubbish) }},
	"no recoverable":    {"recoverable", func(p *planter) { p.first(kindRecover, p.remove) }},
	"recoverable lives": {"recoverable", func(p *planter) { p.put(recoverKey(nil, 1, 5, 2), appendRecoverable(nil, 1, 1)) }},
	"line form of an email that has none": {"line-form", func(p *planter) {
		p.put(lineFormKey(nil, 1, 2), []byte{version1})
	}},
	"line form of nobody": {"line-form", func(p *planter) {
		p.put(lineFormKey(nil, 1, 900), []byte{version1})
	}},
	"line form row": {"damaged", func(p *planter) {
		p.put(lineFormKey(nil, 1, 2), []byte{version1})
		p.rubbish(lineFormKey(nil, 1, 2))
	}},
	"subscription":    {"damaged", func(p *planter) { p.first(kindSubscribe, p.rubbish) }},
	"dedupe row":      {"damaged", func(p *planter) { p.rubbish(dedupeKey(nil, 1, []byte("k"))) }},
	"unknown row":     {"unknown", func(p *planter) { p.put(appendKey(nil, 1, 'z'), []byte{version1}) }},
	"body chunk":      {"blob-missing", func(p *planter) { p.firstOf([]byte("bc"), p.rubbish) }},
	"no body chunk":   {"blob-missing", func(p *planter) { p.firstOf([]byte("bc"), p.remove) }},
	"no link to body": {"blob-link", func(p *planter) { p.firstOf([]byte("br"), p.remove) }},
	"annotation":      {"damaged", func(p *planter) { p.rubbish(annotationKey(1, "/shared/comment")) }},
	"no annotation":   {"metadata", func(p *planter) { p.remove(annotationKey(1, "/shared/comment")) }},
	"annotation of no mailbox": {"metadata", func(p *planter) {
		a := Annotation{Name: "/private/x", Value: []byte("y"), ModSeq: 1}
		p.put(annotationKey(99, "/private/x"), a.append(nil))
	}},
	"annotation of another name": {"damaged", func(p *planter) {
		a := Annotation{Name: "/private/x", Value: []byte("y"), ModSeq: 1}
		p.put(annotationKey(1, "/shared/comment"), a.append(nil))
	}},
	"annotation to come": {"modseq", func(p *planter) {
		a := Annotation{Name: "/shared/comment", Value: []byte("of INBOX"), ModSeq: 1 << 50}
		p.put(annotationKey(1, "/shared/comment"), a.append(nil))
	}},
	"annotation key": {"damaged", func(p *planter) {
		p.put(append(appendKey(nil, 1, kindMetadata), 1, 2), []byte{version1})
	}},
	"head of annotations":    {"damaged", func(p *planter) { p.rubbish(appendKey(nil, 1, kindMetadata)) }},
	"no head of annotations": {"metadata", func(p *planter) { p.remove(appendKey(nil, 1, kindMetadata)) }},
	"count of annotations": {"metadata", func(p *planter) {
		p.put(appendKey(nil, 1, kindMetadata), (&metadataHead{ModSeq: 2, Entries: 9}).append(nil))
	}},
	"annotation of domain": {"damaged", func(p *planter) {
		p.rubbish(append(domainMetadataKey("example.test"), "/shared/comment"...))
	}},
	"no annotation of domain": {"metadata", func(p *planter) {
		p.remove(append(domainMetadataKey("example.test"), "/shared/comment"...))
	}},
	"head of domain's annotations": {"damaged", func(p *planter) {
		p.rubbish(domainMetadataKey("example.test"))
	}},
	"no head of domain's annotations": {"metadata", func(p *planter) {
		p.remove(domainMetadataKey("example.test"))
	}},
	"domain sum": {"domain", func(p *planter) {
		p.put(domainKey("example.test"), (&domainRow{Granted: Usage{Bytes: 9}}).append(nil))
	}},
	"domain member": {"domain", func(p *planter) {
		p.put(memberKey("example.test", 1), grant{Epoch: 2}.append(nil))
	}},
	"duplicate uid": {"list-state", func(p *planter) {
		p.state(3, func(s *stateRow) { s.Places[0].UID = 2 })
	}},
	"entry without email": {"list-state", func(p *planter) {
		key := listKey(nil, 1, 1, 1, 40)
		p.put(key, appendLoose(nil, &edit{Entry: Entry{UID: 40, Email: 900, ModSeq: 2, Size: 5}}))
	}},
	"no entry": {"list-state", func(p *planter) { p.remove(listKey(nil, 1, 1, 1, 3)) }},
	"size of entry": {"list-state", func(p *planter) {
		p.loose(1, 1, 2, func(e *Entry) { e.Size++ })
	}},
	"date of entry": {"list-state", func(p *planter) {
		p.loose(1, 1, 2, func(e *Entry) { e.Received++ })
	}},
	"deleted counter": {"counter", func(p *planter) {
		p.mailbox(1, func(m *mailboxRow) { m.Deleted++ })
	}},
	"size counter": {"counter", func(p *planter) { p.mailbox(1, func(m *mailboxRow) { m.Size = 1 }) }},
	"no inbox": {"role", func(p *planter) {
		p.mailbox(1, func(m *mailboxRow) { m.Role = NoRole })
		p.account(func(a *accountRow) { a.Roles = a.Roles[1:] })
	}},
	"role twice": {"role", func(p *planter) {
		p.mailbox(7, func(m *mailboxRow) { m.Role = RoleSent })
	}},
	"duplicate name": {"name", func(p *planter) {
		p.mailbox(7, func(m *mailboxRow) { m.Leaf = "Sent" })
	}},
	"invalid name": {"name", func(p *planter) {
		p.remove(nameKey(nil, 1, 0, "a"))
		p.mailbox(7, func(m *mailboxRow) { m.Leaf = "a\x01" })
		p.put(nameKey(nil, 1, 0, "a\x01"), appendNameRow(nil, 7))
	}},
	"no account row": {"account-row", func(p *planter) { p.remove(appendKey(nil, 1, kindAccount)) }},
	"email and state rows": {"blob-orphan", func(p *planter) {
		p.remove(key64(nil, 1, kindEmail, 2))
		p.remove(key64(nil, 1, kindState, 2))
	}},
	"email, state and list rows": {"blob-orphan", func(p *planter) {
		p.remove(key64(nil, 1, kindEmail, 2))
		p.remove(key64(nil, 1, kindState, 2))
		p.remove(listKey(nil, 1, 1, 1, 2))
	}},
	"modseq of state": {"modseq", func(p *planter) {
		p.state(2, func(s *stateRow) { s.ModSeq = 1 << 62 })
	}},
	"envelope": {"structure", func(p *planter) {
		key := key64(nil, 1, kindEmail, 2)
		row := p.get(key)
		value := bytes.Replace(row[:len(row)-4], []byte("Letter"), []byte("Better"), 1)
		p.put(key, value)
	}},
	"wrong size of body": {"blob-missing", func(p *planter) {
		p.ref(2, func(ref *blob.Ref) { ref.Size += 3 })
	}},
	"wrong hash of body": {"blob-missing", func(p *planter) {
		p.ref(2, func(ref *blob.Ref) { ref.SHA256[5] ^= 1 })
	}},
	"byte of body": {"blob-missing", func(p *planter) {
		p.firstOf([]byte("bc"), func(key []byte) {
			value := bytes.Clone(p.get(key))
			value[len(value)/2] ^= 1
			p.h.must(p.w.Set(key, value))
		})
	}},
	"link to body": {"blob-link", func(p *planter) { p.firstOf([]byte("br"), p.rubbish) }},
	"body of nobody": {"blob-leak", func(p *planter) {
		p.h.must(p.w.Set(append([]byte("bc"), make([]byte, 20)...), []byte("left over")))
	}},
	"unlinked body of nobody": {"blob-leak", func(p *planter) {
		p.h.must(p.w.Set(append([]byte("br"), make([]byte, 33)...), make([]byte, 9)))
	}},
	"text index lacks": {"text-index", func(p *planter) {
		p.h.must(textindex.Drop(p.w, 1))
		b := textindex.NewBatch()
		b.Begin(1)
		b.End()
		p.h.must(b.Commit(p.w, 1, 5, nil))
	}},
	"text index phantom": {"text-index", func(p *planter) {
		p.h.must(textindex.Drop(p.w, 1))
		b := textindex.NewBatch()
		b.Begin(1)
		b.Write(textindex.Body, []byte("nobody wrote this"))
		b.End()
		p.h.must(b.Commit(p.w, 1, 5, nil))
	}},
	"text index ahead": {"text-index", func(p *planter) {
		p.h.must(textindex.NewBatch().Commit(p.w, 1, 500, nil))
	}},
	"text index row": {"text-index", func(p *planter) { p.firstOf([]byte("x\x00\x00\x00\x00\x00\x00\x00\x01h"), p.rubbish) }},
	"domain row":     {"damaged", func(p *planter) { p.rubbish(domainKey("example.test")) }},
	"member row":     {"damaged", func(p *planter) { p.rubbish(memberKey("example.test", 1)) }},
	"domain granted": {"domain", func(p *planter) {
		p.put(domainKey("example.test"), (&domainRow{
			Quota: Quota{Bytes: 1 << 30}, Granted: Usage{Bytes: 7, Messages: 1},
		}).append(nil))
	}},
}

// allDamages are damages with those of other files.
func allDamages() map[string]damage {
	all := maps.Clone(damages)
	maps.Copy(all, sharingDamages)
	return all
}

// TestCheckFinds plants damage of every kind into a small account, and wants it found and called by
// its name, and everything else still served.
func TestCheckFinds(t *testing.T) {
	t.Parallel()
	for name, d := range allDamages() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := furnished(t)
			before := h.served()
			h.plant(d)
			h.wantFinding(d.kind)
			if name == "account row" || name == "no account row" {
				return // all hangs on it
			}
			h.stillServed(before)
		})
	}
}

// plant does the damage, and opens the store anew, so that nothing is remembered.
func (h *house) plant(d damage) {
	h.t.Helper()
	p := &planter{h: h}
	p.do(func(kv.Txn) { d.plant(p) })
	h.open()
}

func (h *house) wantFinding(kind string) {
	h.t.Helper()
	found := h.findings()
	if !slices.ContainsFunc(found, func(f Finding) bool { return f.Kind == kind }) {
		h.t.Errorf("no finding of kind %q among %+v", kind, found)
	}
	for _, f := range found {
		if f.Where == "" || f.What == "" {
			h.t.Errorf("a finding does not say what or where: %+v", f)
		}
	}
}

// furnished returns an account with something of everything; it is not checked at the end.
func furnished(t *testing.T) *house {
	db := memkv.New()
	h := openHouse(t, db)
	h.index = true
	h.open()
	ctx := context.Background()
	h.must(h.store.SetDomain(ctx, 1, "example.test"))
	h.must(h.store.SetDomainQuota(ctx, "example.test", Quota{Bytes: 1 << 30}))
	for n := range 4 {
		h.appendWith(AppendOptions{
			Mailboxes: []MailboxID{1}, Keywords: []string{"k"}, DedupeKey: []byte("k"[:1-min(n, 1)]),
		}, mail(n))
	}
	h.append(mail(5), 1, 4)
	h.create("a/b")
	h.expunge(1, 4)
	h.annotate(0, "/private/comment", "of the account")
	h.annotate(1, "/shared/comment", "of INBOX")
	h.furnishSharing()
	h.must(h.store.UpdateDomainAnnotations(ctx, "example.test", func(a *Annotations) error {
		return a.Set([]AnnotationChange{{"/shared/comment", []byte("of the domain")}})
	}))
	for range 2 { // the first round waits for more
		h.must(h.store.IndexText(ctx))
	}
	h.check()
	own := &house{t: t, db: db.Crash(), clock: h.clock, limit: h.limit, index: true}
	own.open()
	return own
}

// served returns the subjects in INBOX, by UID.
func (h *house) served() map[UID]string {
	out := map[UID]string{}
	h.view(func(tx *Tx) error {
		l, err := tx.List(1)
		if err != nil {
			return err
		}
		return tx.EachEmail(l, 0, l.Len(), func(e Entry, m *Email) error {
			if out[e.UID] = "unreadable"; m != nil {
				out[e.UID] = m.Subject()
			}
			return nil
		})
	})
	return out
}

// stillServed wants every message but one at most to be listed and read as before, and the account
// to take mail in and give it up.
func (h *house) stillServed(before map[UID]string) {
	h.t.Helper()
	after := h.served()
	differ := 0
	for uid, subject := range before {
		if after[uid] != subject {
			differ++
		}
		if _, listed := after[uid]; !listed && !strings.HasPrefix(h.t.Name(), "TestCheckFinds/no_") &&
			h.t.Name() != "TestCheckFinds/email,_state_and_list_rows" {
			h.t.Errorf("UID %d is not listed", uid)
		}
	}
	if differ > 1 {
		h.t.Errorf("%d of %d messages cannot be read", differ, len(before))
	}
	h.append(mail(50), 1)
	h.expunge(1, 1, 2)
	if l := h.list(1); slices.Contains(uidsOf(l), 2) {
		h.t.Error("a message could not be expunged")
	}
	h.view(func(tx *Tx) error {
		_, err := tx.Query(Query{Filter: AnyText("letter")})
		return err
	})
}

// planter damages rows.
type planter struct {
	h *house
	w kv.Txn
}

func (p *planter) do(fn func(w kv.Txn)) {
	p.h.t.Helper()
	p.h.must(p.h.db.Update(context.Background(), "account/1", func(w kv.Txn) error {
		p.w = w
		fn(w)
		return nil
	}))
}

func (p *planter) get(key []byte) []byte {
	value, err := p.w.Get(key)
	p.h.must(err)
	return value
}

func (p *planter) put(key, value []byte) { p.h.must(p.w.Set(key, seal(key, value))) }

func (p *planter) rubbish(key []byte) {
	p.get(key)
	p.h.must(p.w.Set(key, []byte("rubbish")))
}

func (p *planter) remove(key []byte) {
	p.get(key)
	p.h.must(p.w.Delete(key))
}

// first does something to the first row of a kind.
func (p *planter) first(kind byte, do func(key []byte)) { p.firstOf(appendKey(nil, 1, kind), do) }

func (p *planter) firstOf(prefix []byte, do func(key []byte)) {
	var first []byte
	p.h.must(p.w.Scan(kv.Prefix(prefix), func(key, _ []byte) error {
		first = append([]byte(nil), key...)
		return kv.Stop
	}))
	if first == nil {
		p.h.t.Fatalf("no row with prefix %q", prefix)
	}
	do(first)
}

func (p *planter) account(change func(a *accountRow)) {
	key := appendKey(nil, 1, kindAccount)
	row, err := decodeAccount(key, p.get(key))
	p.h.must(err)
	change(&row)
	p.put(key, row.append(nil))
}

func (p *planter) mailbox(id MailboxID, change func(m *mailboxRow)) {
	key := key32(nil, 1, kindMailbox, uint32(id))
	row, err := decodeMailbox(id, key, p.get(key))
	p.h.must(err)
	change(&row)
	p.put(key, row.append(nil))
}

func (p *planter) state(id EmailID, change func(s *stateRow)) {
	key := key64(nil, 1, kindState, uint64(id))
	var row stateRow
	p.h.must(row.decode(key, p.get(key)))
	change(&row)
	p.put(key, row.append(nil))
}

// loose changes an entry that stands in a loose row.
func (p *planter) loose(m MailboxID, first, uid UID, change func(e *Entry)) {
	key := listKey(nil, 1, m, first, uid)
	ed, err := decodeLoose(key, p.get(key), uid)
	p.h.must(err)
	change(&ed.Entry)
	p.put(key, appendLoose(nil, &ed))
}

// ref changes what an email row says of its body.
func (p *planter) ref(id EmailID, change func(ref *blob.Ref)) {
	key := key64(nil, 1, kindEmail, uint64(id))
	row := p.get(key)
	var e Email
	p.h.must(e.decode(key, row))
	was := e.Blob.AppendBinary(nil)
	change(&e.Blob)
	p.put(key, bytes.Replace(row[:len(row)-4], was, e.Blob.AppendBinary(nil), 1))
}

// TestCheckReadsAnew: what this process has read before and found right does not count in a check.
func TestCheckReadsAnew(t *testing.T) {
	t.Parallel()
	h := furnished(t)
	h.raw()
	p := &planter{h: h}
	p.do(func(kv.Txn) { damages["byte of body"].plant(p) })
	h.wantFinding("blob-missing")
}

// TestCheckOptions checks one account of two, tells of progress, and ends with its context.
func TestCheckOptions(t *testing.T) {
	t.Parallel()
	h := furnished(t)
	h.appendMany(300, 1)
	told := 0
	o := CheckOptions{Account: 1, Progress: func(done, total int64, what string) {
		told++
		if done <= 0 || total < 300 || done > total || what == "" {
			t.Errorf("progress %d of %d, %q", done, total, what)
		}
	}}
	h.must(h.store.Check(context.Background(), o, func(f Finding) { t.Errorf("%+v", f) }))
	if told == 0 {
		t.Error("no progress was told")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := h.store.Check(ctx, o, func(Finding) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}
