package imapd

import (
	"errors"

	"tram/internal/imap"
	"tram/internal/store"
)

// How a session keeps in step. Each command that looks at the selected mailbox first brings the view
// to the newest list, and tells the client what lies between the two; only then it acts, on numbers
// that both sides agree on. A command that changes the mailbox reads the news inside of its own
// transaction, so that its answer, and what others did just before, come from one state, and tells
// them once the transaction is durable. Telling never happens inside of a transaction: it may block
// on a client that does not read.
//
// The order of the telling is fixed: removals, then keywords, then flags, then arrivals. Message
// numbers in it are those that hold after the lines before it.

// expunging says whether removals may be told now, RFC 9051 §7.5.1.
type expunging bool

const (
	mayExpunge expunging = true  // everywhere but
	noExpunge  expunging = false // FETCH, STORE and SEARCH with message numbers
)

// byNumber is noExpunge for a command whose arguments are message numbers.
func (s *session) byNumber() expunging { return expunging(s.uid) }

// errGone ends the session whose selected mailbox was deleted by somebody else (RFC 2180 §3.3).
var errGone = errors.New("selected mailbox was deleted")

// errShut ends the session that may not read its selected mailbox any more (RFC 4314 §5.1.1).
var errShut = errors.New("selected mailbox was taken away")

// news is what happened to the selected mailbox since the client last heard: read in a transaction,
// told after it, so that no transaction waits for a client.
type news struct {
	at       store.ModSeq   // of the account
	mailbox  *store.Mailbox // its counts; nil unless messages came
	list     *store.List
	delta    store.Delta
	keywords *store.KeywordTable
	extra    extraKeywords
	rights   store.Rights // in another's mailbox, where they may be taken away at any time
}

// extraKeywords are those of emails that have more than fit into store.Flags.
type extraKeywords map[store.EmailID][]string

// learn reads the news.
func (s *session) learn(tx *store.Tx) (*news, error) {
	v := s.sel
	unmute := v.muted != 0 && !v.muting
	rights, err := v.rightsNow(tx)
	if err != nil {
		return nil, err
	}
	if tx.ModSeq() == v.at && !unmute { // nothing has changed in the whole account
		return &news{at: v.at, list: v.list, rights: rights}, nil
	}
	list, err := tx.List(v.id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, errGone
	}
	if err != nil {
		return nil, err
	}
	n := &news{at: tx.ModSeq(), list: list, rights: rights}
	if list == v.list && !unmute {
		return n, nil
	}
	n.delta = list.Delta(v.list)
	if unmute {
		n.delta.Changed = v.unheard(list)
	}
	if len(n.delta.Added) > 0 {
		if n.mailbox, err = tx.Counts(v.id); err != nil {
			return nil, err
		}
	}
	if n.keywords, err = tx.Keywords(); err != nil {
		return nil, err
	}
	for _, e := range n.delta.Changed {
		if err := n.extra.read(tx, e); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// unheard returns the messages whose flags NOTIFY has kept from the client, with all that changed
// since.
func (v *view) unheard(list *store.List) []store.Entry {
	var out []store.Entry
	for _, e := range list.Changed(v.muted, 0, list.Len()) {
		if _, known := v.list.Find(e.UID); known {
			out = append(out, *e)
		}
	}
	return out
}

// read adds an entry's keywords, if it has any that are not in its flags.
func (x *extraKeywords) read(tx *store.Tx, e store.Entry) error {
	if e.Flags&store.MoreKeywords == 0 {
		return nil
	}
	names, err := tx.ExtraKeywords(e.Email)
	if err != nil {
		return err
	}
	if *x == nil {
		*x = extraKeywords{}
	}
	(*x)[e.Email] = names
	return nil
}

// extraOf reads the keywords of more messages.
func (n *news) extraOf(tx *store.Tx, uids []store.UID) error {
	for _, uid := range uids {
		if i, ok := n.list.Find(uid); ok {
			if err := n.extra.read(tx, n.list.At(i)); err != nil {
				return err
			}
		}
	}
	return nil
}

// catchUp tells the client the news.
func (s *session) catchUp(may expunging) error {
	if err := s.tellMetadata(); err != nil {
		return err
	}
	if s.sel == nil {
		return nil
	}
	var n *news
	err := s.viewSelected(func(tx *store.Tx) (err error) {
		n, err = s.learn(tx)
		return err
	})
	if err != nil {
		return s.gone(err)
	}
	s.sel.account.latest.offer(s.sel.id, n)
	return s.tell(n, may, nil)
}

// gone turns errGone and errShut into the end of the session.
func (s *session) gone(err error) error {
	switch {
	case errors.Is(err, errGone):
		s.bye("", "The selected mailbox was deleted")
	case errors.Is(err, errShut):
		s.bye("", "The selected mailbox may not be read any more")
	}
	return err
}

// telling decides what the client is told of a message with changed flags. nil always tells them.
type telling func(old, now store.Entry) tellWhat

// tellWhat is what an unsolicited FETCH reply holds.
type tellWhat uint8

const (
	tellNothing tellWhat = iota
	tellModSeq           // for CONDSTORE-aware clients, else nothing
	tellFlags
)

// tell moves the view to the news and writes the untagged replies for the difference.
func (s *session) tell(n *news, may expunging, what telling) error {
	v, old := s.sel, s.sel.list
	switch {
	case !v.muting:
		v.muted = 0
	case len(n.delta.Added)+len(n.delta.Removed) == 0 && (len(v.ghosts) == 0 || may == noExpunge):
		return nil // flags alone: the view stays, and the next command tells them
	case len(n.delta.Changed) > 0 && v.muted == 0:
		v.muted = old.HighestModSeq()
	}
	v.at = n.at
	if n.rights != 0 && n.rights != v.rights {
		v.rights = n.rights
		s.tellFlagNames() // RFC 4314 §5.1.1
	}
	if n.list == old && len(n.delta.Changed) == 0 && (len(v.ghosts) == 0 || !may) {
		return nil
	}
	if len(n.delta.Removed) > 0 {
		v.haunt(n.delta.Removed)
	}
	v.move(n.list)
	s.removeFromContexts(n.delta.Removed)
	v.touch(&n.delta)
	if may {
		s.tellRemoved()
	}
	s.learnKeywords(n)
	if !v.muting {
		if err := s.tellChanged(n, old, what); err != nil {
			return err
		}
	}
	if len(n.delta.Added) > 0 {
		// EXISTS comes only when messages came: after EXPUNGE the count is known, and Apple Mail
		// loops on "* 0 EXISTS" then.
		s.claimRecent(v, n.mailbox)
		s.untagged("%d EXISTS", v.count())
		if !s.mode.rev2 {
			s.untagged("%d RECENT", v.recentCount())
		}
		s.arrived(n.delta.Added)
	}
	if len(v.ghosts) == 0 && v.muted == 0 {
		v.safe = v.list.HighestModSeq()
	}
	return nil
}

// guardModSeq ends a command that told mod-sequences while a removal is withheld: the client must not
// resume from what it has seen, or it would never hear of the removal (RFC 7162 §3.2 and §6).
func (s *session) guardModSeq() {
	switch {
	case s.sel == nil || !s.toldModSeq:
	case len(s.sel.ghosts) > 0:
		s.untagged("OK [HIGHESTMODSEQ %d] A removal is not told yet", s.sel.safe)
	case s.sel.muted != 0:
		s.untagged("OK [HIGHESTMODSEQ %d] Flags are not told yet", s.sel.safe)
	}
}

// tellRemoved reports the ghosts and lets them go.
func (s *session) tellRemoved() {
	v := s.sel
	if len(v.ghosts) == 0 {
		return
	}
	p := s.buf()
	if s.mode.qresync || s.mode.uidOnly {
		var set imap.SetBuilder
		for _, g := range v.ghosts {
			set.Add(uint32(g.uid))
		}
		*p = append(*p, "* VANISHED "...)
		*p = append(imap.AppendSet(*p, set.Ranges), "\r\n"...)
		if s.mode.qresync { // RFC 7162 §3.2.7: the client may resume from here
			s.code = "HIGHESTMODSEQ " + string(imap.AppendNumber(nil, v.list.HighestModSeq()))
		} else {
			s.mode.uidsUsed = true // see keepToUIDs
		}
	} else {
		// From the last to the first: no number changes before it is told.
		for k := len(v.ghosts) - 1; k >= 0; k-- {
			*p = append(*p, "* "...)
			*p = imap.AppendNumber(*p, v.ghostSeq(k))
			*p = append(*p, " EXPUNGE\r\n"...)
		}
	}
	v.ghosts = nil
}

// learnKeywords announces keywords that the client has not heard of (RFC 9051 §7.3.5).
func (s *session) learnKeywords(n *news) {
	v, table := s.sel, n.keywords
	if v.account.prefix != "" {
		s.learnTheirKeywords(n)
		return
	}
	if table == nil || v.keywords != nil && table.Len() <= v.keywords.Len() {
		return
	}
	v.keywords = table
	s.tellFlagNames()
}

// tellChanged writes FETCH replies for messages with new flags.
func (s *session) tellChanged(n *news, old *store.List, what telling) error {
	flags := s.newFlags(n.extra)
	for _, e := range n.delta.Changed {
		w := tellFlags
		if what != nil {
			if i, ok := old.Find(e.UID); ok {
				w = what(old.At(i), e)
			}
		}
		if w == tellFlags && s.sel.account.prefix != "" && sameFlags(old, &e) {
			w = tellModSeq // its owner has read it, which is nobody else's news
		}
		if w == tellNothing || w == tellModSeq && !s.mode.condstore {
			continue
		}
		i, _ := s.sel.list.Find(e.UID)
		s.tellOne(flags, i, e, w == tellFlags)
		if err := s.spill(); err != nil {
			return err
		}
	}
	return nil
}

// tellOne writes one unsolicited FETCH reply. Clients that know mod-sequences get UID and MODSEQ with
// each (RFC 7162 §3.2.4), and UID STORE's replies have the UID (RFC 9051 §6.4.9).
func (s *session) tellOne(flags *flagWriter, i int, e store.Entry, withFlags bool) {
	p := s.buf()
	b := s.openFetch(*p, i, e.UID)
	sep := ""
	if (s.mode.condstore || s.uid || s.notify != nil) && !s.mode.uidOnly { // RFC 5465 §5.1
		b = append(b, "UID "...)
		b = imap.AppendNumber(b, e.UID)
		sep = " "
	}
	if withFlags {
		b = append(append(b, sep...), "FLAGS "...)
		b = flags.append(b, e)
		sep = " "
	}
	if s.mode.condstore {
		s.toldModSeq = true
		b = append(append(b, sep...), "MODSEQ ("...)
		b = append(imap.AppendNumber(b, e.ModSeq), ')')
	}
	*p = append(b, ")\r\n"...)
}
