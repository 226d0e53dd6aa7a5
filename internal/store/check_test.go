package store

import (
	"context"
	"errors"
	"slices"
	"testing"

	"tram/internal/kv"
	"tram/internal/kv/memkv"
)

// TestCheckFinds plants damage of every kind (reliability B10) into a small account, and wants it
// found, and everything else still served.
func TestCheckFinds(t *testing.T) {
	t.Parallel()
	for name, plant := range map[string]func(p *planter){
		"account row": func(p *planter) { p.rubbish(appendKey(nil, 1, kindAccount)) },
		"usage":       func(p *planter) { p.account(func(a *accountRow) { a.Usage.Bytes++ }) },
		"recoverable usage": func(p *planter) {
			p.account(func(a *accountRow) { a.Usage.RecoverableMessages = 0 })
		},
		"next email":    func(p *planter) { p.account(func(a *accountRow) { a.NextEmail = 1 }) },
		"next mailbox":  func(p *planter) { p.account(func(a *accountRow) { a.NextMailbox = 2 }) },
		"next thread":   func(p *planter) { p.account(func(a *accountRow) { a.NextThread = 1 }) },
		"modseq":        func(p *planter) { p.account(func(a *accountRow) { a.ModSeq = 2 }) },
		"mailbox count": func(p *planter) { p.account(func(a *accountRow) { a.Mailboxes++ }) },
		"roles":         func(p *planter) { p.account(func(a *accountRow) { a.Roles = a.Roles[1:] }) },
		"keyword table": func(p *planter) { p.rubbish(appendKey(nil, 1, kindKeywords)) },
		"no keyword table": func(p *planter) {
			p.remove(appendKey(nil, 1, kindKeywords))
		},
		"mailbox row":    func(p *planter) { p.rubbish(key32(nil, 1, kindMailbox, 4)) },
		"no mailbox row": func(p *planter) { p.remove(key32(nil, 1, kindMailbox, 4)) },
		"messages":       func(p *planter) { p.mailbox(1, func(m *mailboxRow) { m.Messages-- }) },
		"unseen":         func(p *planter) { p.mailbox(1, func(m *mailboxRow) { m.Unseen++ }) },
		"uidnext":        func(p *planter) { p.mailbox(1, func(m *mailboxRow) { m.UIDNext = 2 }) },
		"highest modseq": func(p *planter) { p.mailbox(1, func(m *mailboxRow) { m.Highest = 1 }) },
		"uidvalidity": func(p *planter) {
			p.mailbox(1, func(m *mailboxRow) { m.UIDValidity++ })
		},
		"parent":      func(p *planter) { p.mailbox(7, func(m *mailboxRow) { m.Parent = 99 }) },
		"own parent":  func(p *planter) { p.mailbox(7, func(m *mailboxRow) { m.Parent = 8 }) },
		"leaf":        func(p *planter) { p.mailbox(7, func(m *mailboxRow) { m.Leaf = "other" }) },
		"height":      func(p *planter) { p.mailbox(7, func(m *mailboxRow) { m.Height = 0 }) },
		"expunged":    func(p *planter) { p.mailbox(1, func(m *mailboxRow) { m.Expunged = 7 }) },
		"segments":    func(p *planter) { p.mailbox(1, func(m *mailboxRow) { m.Segments = 7 }) },
		"tail":        func(p *planter) { p.mailbox(1, func(m *mailboxRow) { m.TailFirst = 3 }) },
		"name row":    func(p *planter) { p.rubbish(nameKey(nil, 1, 0, "Sent")) },
		"no name row": func(p *planter) { p.remove(nameKey(nil, 1, 0, "Sent")) },
		"list row":    func(p *planter) { p.rubbish(listKey(nil, 1, 1, 1, 2)) },
		"no list row": func(p *planter) { p.remove(listKey(nil, 1, 1, 1, 2)) },
		"list row of nothing": func(p *planter) {
			p.put(listKey(nil, 1, 99, 1, 0), appendSegment(nil, &chunk{first: 1}))
		},
		"email row":    func(p *planter) { p.rubbish(key64(nil, 1, kindEmail, 2)) },
		"no email row": func(p *planter) { p.remove(key64(nil, 1, kindEmail, 2)) },
		"state row":    func(p *planter) { p.rubbish(key64(nil, 1, kindState, 2)) },
		"no state row": func(p *planter) { p.remove(key64(nil, 1, kindState, 2)) },
		"flags":        func(p *planter) { p.state(2, func(s *stateRow) { s.Flags ^= Answered }) },
		"place":        func(p *planter) { p.state(2, func(s *stateRow) { s.Places[0].UID = 1 }) },
		"place in no mailbox": func(p *planter) {
			p.state(2, func(s *stateRow) { s.Places[0].Mailbox = 99 })
		},
		"thread of state": func(p *planter) { p.state(2, func(s *stateRow) { s.Thread = 99 }) },
		"keyword":         func(p *planter) { p.state(2, func(s *stateRow) { s.More = []uint32{60} }) },
		"thread row":      func(p *planter) { p.rubbish(key64(nil, 1, kindThread, 2)) },
		"no thread row":   func(p *planter) { p.remove(key64(nil, 1, kindThread, 2)) },
		"thread members": func(p *planter) {
			p.put(key64(nil, 1, kindThread, 2), (&threadRow{}).append(nil))
		},
		"thread index":    func(p *planter) { p.first(kindThreadOf, p.rubbish) },
		"no thread index": func(p *planter) { p.first(kindThreadOf, p.remove) },
		"thread index to nowhere": func(p *planter) {
			p.put(key64(nil, 1, kindThreadOf, 5), appendUint([]byte{version1}, ThreadID(99)))
		},
		"change row":        func(p *planter) { p.first(kindChange, p.rubbish) },
		"no change row":     func(p *planter) { p.first(kindChange, p.remove) },
		"expunged row":      func(p *planter) { p.first(kindVanished, p.rubbish) },
		"no expunged row":   func(p *planter) { p.first(kindVanished, p.remove) },
		"recoverable row":   func(p *planter) { p.first(kindRecover, p.rubbish) },
		"no recoverable":    func(p *planter) { p.first(kindRecover, p.remove) },
		"recoverable lives": func(p *planter) { p.put(recoverKey(nil, 1, 5, 2), appendRecoverable(nil, 1, 1)) },
		"subscription":      func(p *planter) { p.first(kindSubscribe, p.rubbish) },
		"dedupe row":        func(p *planter) { p.rubbish(dedupeKey(nil, 1, []byte("k"))) },
		"unknown row":       func(p *planter) { p.put(appendKey(nil, 1, 'z'), []byte{version1}) },
		"body chunk":        func(p *planter) { p.firstOf([]byte("bc"), p.rubbish) },
		"no body chunk":     func(p *planter) { p.firstOf([]byte("bc"), p.remove) },
		"no link to body":   func(p *planter) { p.firstOf([]byte("br"), p.remove) },
		"domain sum": func(p *planter) {
			p.put(domainKey("example.test"), (&domainRow{Granted: Usage{Bytes: 9}}).append(nil))
		},
		"domain member": func(p *planter) {
			p.put(memberKey("example.test", 1), grant{Epoch: 2}.append(nil))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := furnished(t)
			before := h.served()
			p := &planter{h: h}
			p.do(func(w kv.Txn) { plant(p) })
			h.open() // nothing is remembered
			if found := h.findings(); len(found) == 0 {
				t.Error("nothing was found")
			}
			if name == "account row" {
				return // all hangs on it
			}
			h.stillServed(before)
		})
	}
}

// furnished returns an account with something of everything; it is not checked at the end.
func furnished(t *testing.T) *house {
	db := memkv.New()
	h := openHouse(t, db)
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
	h.check()
	own := &house{t: t, db: db.Crash(), clock: h.clock, limit: h.limit}
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
		if _, listed := after[uid]; !listed && h.t.Name() != "TestCheckFinds/no_list_row" {
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

// TestCheckOptions checks one account of two, tells of progress, and ends with its context.
func TestCheckOptions(t *testing.T) {
	t.Parallel()
	h := furnished(t)
	h.appendMany(300, 1)
	told := 0
	o := CheckOptions{Account: 1, Progress: func(done, total int64, what string) {
		told++
		if done <= 0 || total < 300 || what == "" {
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
