package store

import (
	"context"
	"testing"

	"tram/internal/kv"
)

// sharingDamages are the kinds of damage to what others have of INBOX of account 1, which is shared with
// account 2, who has seen the first message, and with all of the domain.
var sharingDamages = map[string]damage{
	"rights":    {"damaged", func(p *planter) { p.rubbish(aclKey(nil, 1, 1)) }},
	"no rights": {"acl", func(p *planter) { p.remove(aclKey(nil, 1, 1)) }},
	"rights to no mailbox": {"acl", func(p *planter) {
		p.put(aclKey(nil, 1, 99), (&aclRow{"example.test", []ACLEntry{{2, RightRead}}}).append(nil))
	}},
	"rights of the owner": {"acl", func(p *planter) {
		p.put(aclKey(nil, 1, 1), (&aclRow{"example.test", []ACLEntry{{1, RightRead}, {2, RightRead}}}).append(nil))
	}},
	"rights in no domain": {"acl", func(p *planter) {
		p.put(aclKey(nil, 1, 1), (&aclRow{"", []ACLEntry{{2, RightRead}}}).append(nil))
	}},
	"rights that the mailbox does not know": {"acl", func(p *planter) {
		p.mailbox(1, func(m *mailboxRow) { m.Sharing = sharingSeen })
	}},
	"own seen that the mailbox does not know": {"acl", func(p *planter) {
		p.mailbox(1, func(m *mailboxRow) { m.Sharing = sharingACL })
	}},
	"share":              {"damaged", func(p *planter) { p.rubbish(shareRow(2)) }},
	"no share":           {"share", func(p *planter) { p.remove(shareRow(2)) }},
	"no share of domain": {"share", func(p *planter) { p.remove(shareRow(Anyone)) }},
	"share of nobody":    {"damaged", func(p *planter) { p.put(shareRow(2)[:15], appendShare(nil, epoch)) }},
	"head of own seen":   {"damaged", func(p *planter) { p.rubbish(ownHeadKey(nil, 1, 1, 2)) }},
	"no head of own seen": {"own-seen", func(p *planter) {
		p.remove(ownHeadKey(nil, 1, 1, 2))
	}},
	"head of own seen to come": {"modseq", func(p *planter) {
		p.put(ownHeadKey(nil, 1, 1, 2), appendOwnHead(nil, 1<<50))
	}},
	"own seen": {"damaged", func(p *planter) { p.rubbish(ownBlockKey(nil, 1, 1, 2, 0)) }},
	"own seen of no mailbox": {"own-seen", func(p *planter) {
		p.put(ownHeadKey(nil, 1, 99, 2), appendOwnHead(nil, 1))
	}},
	"own seen of the owner": {"own-seen", func(p *planter) {
		p.put(ownHeadKey(nil, 1, 1, 1), appendOwnHead(nil, 1))
	}},
	"own seen of what is to come": {"uidnext", func(p *planter) {
		b := seenBlock{runs: []seenRun{{UIDRange{1, 4000}, 1, true}}}
		p.put(ownBlockKey(nil, 1, 1, 2, 0), b.append(nil))
	}},
	"own seen after its head": {"modseq", func(p *planter) {
		b := seenBlock{runs: []seenRun{{UIDRange{1, 2}, 1 << 50, true}}}
		p.put(ownBlockKey(nil, 1, 1, 2, 0), b.append(nil))
	}},
	"own seen key": {"damaged", func(p *planter) { p.put(append(ownHeadKey(nil, 1, 1, 2), 1), appendOwnHead(nil, 1)) }},
}

// shareRow is the key of what leads somebody to account 1.
func shareRow(who AccountID) []byte { return kv.AppendUint64(shareKey(who, "example.test"), 1) }

// furnishSharing shares INBOX.
func (h *house) furnishSharing() {
	h.t.Helper()
	h.share(1, bea.Account, RightLookup|RightRead|RightSeen)
	h.share(1, Anyone, RightLookup)
	h.markAs(bea, 1, FlagChange{Flags: Seen}, 1)
}

// TestRepairFolders loses the account row of a domain's shared folders: they are found to be that, and
// their rights stand.
func TestRepairFolders(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	h.must(h.store.MakeFolders(ctx, 20, "example.test"))
	admin := Person{Account: 6, Domain: "example.test", Admin: true}
	a := h.store.Account(20)
	var box MailboxID
	h.must(a.As(admin).Update(ctx, func(tx *Tx) error {
		m, err := tx.CreateMailbox("Team", CreateOptions{})
		if err == nil {
			box = m.ID
		}
		return err
	}))
	h.must(a.SetACL(ctx, "example.test", box, ACLChange{Who: bea.Account, Rights: RightLookup}))
	p := &planter{h: h}
	p.do(func(kv.Txn) { p.rubbish(appendKey(nil, 20, kindAccount)) })
	h.open()
	h.repair()
	h.must(h.store.MakeFolders(ctx, 20, "example.test")) // as the directory knows
	for who, want := range map[Person]string{admin: "Team 0 lrswipkxtea -", bea: "Team 0 l -"} {
		h.must(h.store.Account(20).As(who).View(ctx, func(tx *Tx) error {
			all, err := tx.Mailboxes()
			if got := describe(all); got != want {
				t.Errorf("account %d sees %q, want %q", who.Account, got, want)
			}
			return err
		}))
	}
	if all, err := h.store.Folders(ctx); err != nil || all["example.test"] != 20 {
		t.Errorf("shared folders are %v, %v", all, err)
	}
}
