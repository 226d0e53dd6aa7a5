package imapd

import (
	"errors"
	"strings"

	"tram/internal/imap"
	"tram/internal/store"
)

// tellNotices tells what NOTIFY asked for and the client has not heard. It runs when no command does,
// and in IDLE, which sends the same events (RFC 5465 §4).
func (s *session) tellNotices(idle bool) {
	n := s.notify
	if n == nil || n.watch == nil || s.ended {
		return
	}
	// A reply that is not part of a command names its message by UID too (RFC 5465 §5.1).
	name := s.name // of an IDLE that runs
	s.uid, s.name, s.toldModSeq = true, "", false
	err := s.tellSelected(n, idle)
	s.updateContexts()
	if err == nil && n.known != nil {
		err = s.tellOthers(n)
	}
	if err == nil && n.annotations {
		err = s.tellMetadata()
	}
	if err == nil {
		err = s.fetchArrivals(n)
	}
	s.guardModSeq()
	s.uid, s.name, s.code = false, name, "" // a HIGHESTMODSEQ belongs to a command's end
	s.notified(err)
}

// tellBefore tells what others did to other mailboxes before a command runs: mixed with what the
// command does, it could not be told from that.
func (s *session) tellBefore() {
	if n := s.notify; n != nil && n.watch != nil && n.known != nil {
		s.notified(s.tellOthers(n))
	}
}

// notified ends the notifying when it failed.
func (s *session) notified(err error) {
	switch {
	case err == nil || s.ended:
	case s.ctx.Err() != nil:
		s.end("cancelled")
	default:
		s.overflow(err)
	}
}

// overflow ends the notifying, as NOTIFY NONE does (RFC 5465 §5.8).
func (s *session) overflow(err error) {
	if !errors.Is(err, errManyBoxes) {
		s.log("imap notifications ended", err)
	}
	s.notifyNone()
	s.untagged("OK [NOTIFICATIONOVERFLOW] Notifications are off, ask for the state again")
}

// tellSelected tells the news of the selected mailbox.
func (s *session) tellSelected(n *notifying, idle bool) error {
	v := s.sel
	if v == nil || n.selected == 0 {
		return nil
	}
	w := n.at(v.account)
	if w == nil {
		return nil
	}
	may := expunging(!n.delayed || idle)
	if w.watch.ModSeq() <= v.at && (!may || len(v.ghosts) == 0) {
		return nil
	}
	if n.selected&flagChange != 0 {
		return s.hear(w.watch, may)
	}
	v.muting = true
	err := s.hear(w.watch, may)
	v.muting = false
	return err
}

// arrived takes note of new messages whose items the client wants unasked; those that the session
// has made itself are not among them (RFC 5465 §5.2).
func (s *session) arrived(added []store.Entry) {
	n := s.notify
	if n == nil || n.fetch == nil || n.selected&messageNew == 0 {
		return
	}
	made := n.at(s.sel.account)
	for _, e := range added {
		if made != nil && e.ModSeq == made.made {
			continue
		}
		if k := len(s.sel.unfetched); k > 0 && s.sel.unfetched[k-1].Stop+1 == uint32(e.UID) {
			s.sel.unfetched[k-1].Stop++
			continue
		}
		s.sel.unfetched = append(s.sel.unfetched, imap.Range{Start: uint32(e.UID), Stop: uint32(e.UID)})
	}
}

// fetchArrivals writes the FETCH replies for new messages. It is done between commands, so that
// nothing but the command's own answer stands in its way, and sets no \Seen.
func (s *session) fetchArrivals(n *notifying) error {
	if s.sel == nil || len(s.sel.unfetched) == 0 {
		return nil
	}
	spans := s.sel.spansOfUIDs(s.sel.unfetched)
	s.sel.unfetched = nil
	if n.fetch == nil {
		return nil
	}
	plan := *n.fetch
	// RFC 7162 §3.2.4: each unsolicited FETCH has it for clients that know mod-sequences.
	plan.modseq = plan.modseq || s.mode.condstore
	return (&window{s: s, plan: &plan}).run(spans)
}

// tellOthers tells what happened to mailboxes that are not selected, and to subscriptions.
func (s *session) tellOthers(n *notifying) error {
	before := n.known
	err := s.tellAccount(n, &n.watching)
	if err == nil && n.farther(before) {
		err = s.follow(n)
	}
	for _, w := range n.theirs {
		if err == nil && w.known != nil {
			err = s.tellAccount(n, w)
		}
	}
	return err
}

// tellAccount is tellOthers for the mailboxes of one account.
func (s *session) tellAccount(n *notifying, w *watching) error {
	if w.watch.ModSeq() <= w.known.at {
		return nil
	}
	now, err := s.lookAt(w.account, w.watch.ModSeq())
	if err != nil || now == w.known {
		return err
	}
	o := &othersNews{s: s, n: n, w: w, old: w.known, now: now}
	own := w.own
	w.known, w.own = now, 0
	if own < now.at {
		o.own = own
		o.tell()
	}
	return s.spill()
}

// othersNews tells the difference between two states.
type othersNews struct {
	s        *session
	n        *notifying
	w        *watching
	old, now *boxes
	own      store.ModSeq // up to where the session made the changes itself
	byName   map[string]*store.Mailbox
	listed   map[string]bool // names that got their LIST reply
}

// tell writes LIST for names that came, went, or changed, then STATUS for messages.
func (o *othersNews) tell() {
	pairs := differences(o.old, o.now)
	for _, p := range pairs {
		o.names(p)
	}
	off, on := resubscribed(o.old, o.now)
	for _, name := range append(off, on...) {
		switch {
		case inNamespace(name) && o.n.named(name, true)&subscriptionChange != 0:
			o.resubscribed(name)
		case o.n.of(name, true)&subscriptionChange != 0:
			o.list(name, "")
		}
	}
	for _, p := range pairs {
		if p.now != nil && !(o.s.sees(o.w.account) && o.s.sel.id == p.now.ID) {
			o.status(p)
		}
	}
}

// names tells MailboxName, RFC 5465 §5.4. What is below a renamed mailbox is not told, nor that its
// messages left INBOX when that was renamed: the new mailbox is.
func (o *othersNews) names(p pair) {
	switch {
	case o.w.account.prefix != "" && o.access(p):
	case p.old == nil:
		o.affected(p.now.Name, p.now.Subscribed)
	case p.now == nil:
		o.affected(p.old.Name, p.old.Subscribed)
	case p.old.ParentID != p.now.ParentID || leaf(p.old.Name) != leaf(p.now.Name):
		wanted := o.n.events(o.w, p.old) | o.n.events(o.w, p.now)
		if wanted&mailboxName != 0 {
			o.list(p.now.Name, p.old.Name)
		}
	}
}

func leaf(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

// affected tells of a name that came or went, and of the one above it, whose children changed.
func (o *othersNews) affected(name string, subscribed bool) {
	if o.n.wanted(o.w, name, subscribed)&mailboxName != 0 {
		o.list(name, "")
	}
	above := name[:max(0, len(name)-len(leaf(name))-1)]
	if above == "" {
		return
	}
	m := o.mailbox(above)
	if m == nil && o.w.account.prefix != "" {
		return // it is none that one may know of
	}
	if o.n.wanted(o.w, above, m != nil && m.Subscribed)&mailboxName != 0 {
		o.list(above, "")
	}
}

// mailbox finds the mailbox that has a name now, nil when there is none.
func (o *othersNews) mailbox(name string) *store.Mailbox {
	if o.byName == nil {
		o.byName = make(map[string]*store.Mailbox, len(o.now.list))
		for _, m := range o.now.list {
			o.byName[m.Name] = m
		}
	}
	return o.byName[name]
}

// subscribedNow makes listReply tell whether a name is subscribed to.
var subscribedNow = &imap.ListCommand{Return: []string{"SUBSCRIBED"}}

// list writes a name's LIST reply, once.
func (o *othersNews) list(name, oldName string) {
	if o.listed[name] {
		return
	}
	if o.listed == nil {
		o.listed = map[string]bool{}
	}
	o.listed[name] = true
	l := &listed{name: o.w.account.called(name), mailbox: o.mailbox(name), oldName: oldName}
	if oldName != "" {
		l.oldName = o.w.account.called(oldName)
	}
	switch {
	case l.mailbox == nil:
		for _, n := range o.n.known.subscribed {
			l.meets = l.meets || n == l.name
		}
	case o.w.account.prefix != "":
		m := *l.mailbox
		m.Subscribed = o.n.subscribes(l.name)
		l.mailbox = &m
	}
	o.s.listReply(l, "LIST", subscribedNow)
}

// status tells the message events of a mailbox that is not selected, RFC 5465 §5.1 to §5.3.
func (o *othersNews) status(p pair) {
	old, m := p.old, p.now
	if old == nil {
		old = &store.Mailbox{UIDValidity: m.UIDValidity, UIDNext: 1, HighestModSeq: m.HighestModSeq}
	}
	e := o.n.events(o.w, m) & messageEvents
	if old.Subscribed && !m.Subscribed {
		e |= o.n.events(o.w, old) & messageEvents
	}
	if e == 0 || p.old != nil && m.HighestModSeq <= o.own {
		return // the session did it itself
	}
	flags := e&flagChange != 0
	revalidated := flags && m.UIDValidity != old.UIDValidity
	var items []string
	if m.Messages != old.Messages || m.UIDNext != old.UIDNext {
		items = append(items, "MESSAGES", "UIDNEXT")
	}
	if flags && m.Unseen != old.Unseen {
		items = append(items, "UNSEEN")
	}
	changed := len(items) > 0 || flags && m.HighestModSeq != old.HighestModSeq
	if changed && o.s.mode.condstore {
		items = append(items, "HIGHESTMODSEQ")
	}
	if len(items) > 0 && flags || revalidated || p.old == nil && len(items) > 0 {
		items = append(items, "UIDVALIDITY")
	}
	if len(items) == 0 {
		return
	}
	// None of these items reads the store.
	_ = statusQuestion{s: o.s, a: o.w.account}.reply(m, items)
}
