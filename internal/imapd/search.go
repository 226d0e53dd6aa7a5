package imapd

import (
	"context"
	"errors"
	"slices"
	"strings"

	"tram/internal/conn"
	"tram/internal/imap"
	"tram/internal/store"
)

// A search runs in one snapshot against the store's query language. It is the most that one command
// can ask of the processors, hence the turns that searches of one account take and the time after
// which they are given up (limits.IMAP.SearchTime).

// searchCommand is the arguments of SEARCH, SORT and THREAD.
type searchCommand struct {
	options  map[string]bool // of RETURN, in upper case
	extended bool            // RETURN was given
	partial  imap.PartialRange
	key      imap.SearchKey
	sort     []store.Comparator // of SORT
	thread   string             // of THREAD: the algorithm
	fetch    *fetchPlan         // of UPDATE: see contextfetch.go
}

// searchOptions are the options of RETURN, RFC 9051 §6.4.4.
var searchOptions = map[string]bool{
	"MIN": true, "MAX": true, "ALL": true, "COUNT": true, "SAVE": true,
	"RELEVANCY": true, // RFC 6203 §4
	"PARTIAL":   true, // RFC 9394 §3.1
	"CONTEXT":   true, // RFC 5267 §4
	"UPDATE":    true,
}

// search is SEARCH and UID SEARCH, RFC 9051 §6.4.4, with ESEARCH (RFC 4731) and SEARCHRES (RFC 5182).
func (s *session) search() error {
	s.dec.SP()
	cmd, err := s.searchArguments()
	if err != nil {
		return s.searchFailed(cmd, err)
	}
	if err := s.args(); err != nil {
		return err
	}
	return s.runSearch(cmd)
}

// runSearch is what SEARCH and SORT have in common.
func (s *session) runSearch(cmd searchCommand) error {
	if cmd.options["UPDATE"] && s.sel.context(s.tag) >= 0 {
		return &imap.Error{Text: "Tag reuse"} // RFC 5267 §4.3
	}
	if err := s.expandFilters(&cmd.key); err != nil {
		return s.searchFailed(cmd, err)
	}
	modseq := cmd.key.Uses("MODSEQ")
	if modseq {
		s.condstoreAware()
	}
	may := s.byNumber()
	if cmd.key.Uses("SEQ") {
		may = noExpunge // RFC 7162 §3.2.10.2
	}
	found, err := s.find(cmd, may)
	if err != nil {
		return s.searchFailed(cmd, s.gone(err))
	}
	if !cmd.options["UPDATE"] {
		s.answer(cmd, found, modseq)
		return nil
	}
	kept := s.newContext(cmd, found.indexes)
	s.answer(cmd, found, modseq)
	if s.cut > 0 {
		s.noUpdate(s.tag, "Too many messages to search in at once")
		return nil
	}
	s.keepContext(kept)
	return nil
}

// searchFailed empties the saved result when a search with SAVE is answered NO (RFC 5182 §2.1).
func (s *session) searchFailed(cmd searchCommand, err error) error {
	if cmd.options["SAVE"] {
		s.saved = nil
	}
	return err
}

// searchArguments reads RETURN, CHARSET and the keys. What is not UTF-8 or ASCII is refused with
// BADCHARSET before the keys are looked at.
func (s *session) searchArguments() (searchCommand, error) {
	cmd := s.searchReturn()
	d := s.dec
	if s.peekWord() == "CHARSET" {
		d.Label()
		d.SP()
		charset := strings.ToUpper(d.AString())
		if s.mode.utf8 && d.Err() == nil && !s.mode.rev2 {
			d.Bad("CHARSET is not for UTF8=ACCEPT") // RFC 6855 §3
		}
		if d.Err() == nil && !knownCharset(charset) {
			return cmd, s.charsetRefusal()
		}
		d.SP()
	}
	cmd.key = d.SearchKeys()
	s.relevancyNeedsFuzzy(cmd.options["RELEVANCY"], &cmd.key)
	return cmd, nil
}

// searchReturn reads RETURN, if it is there, with the space after it.
func (s *session) searchReturn() searchCommand {
	cmd := searchCommand{options: map[string]bool{}}
	d := s.dec
	if s.peekWord() == "RETURN" {
		d.Label()
		d.SP()
		cmd.extended = true
		d.List(func() { s.searchOption(&cmd) })
		d.SP()
	}
	if len(cmd.options) == 0 {
		cmd.options["ALL"] = true // RFC 4731 §3.1
	}
	return cmd
}

// searchOption reads one option of RETURN.
func (s *session) searchOption(cmd *searchCommand) {
	d := s.dec
	option := d.Label()
	if !searchOptions[option] {
		d.Bad("Unknown search option")
	}
	if option == "PARTIAL" {
		d.SP()
		if cmd.options["PARTIAL"] {
			d.Bad("PARTIAL is given twice")
		}
		cmd.partial = d.PartialRange()
	}
	if option == "UPDATE" {
		cmd.updateItems(s)
	}
	cmd.options[option] = true
	if cmd.options["PARTIAL"] && cmd.options["ALL"] {
		d.Bad("PARTIAL and ALL exclude each other") // RFC 9394 §3.1
	}
}

// errCharset lists what knownCharset knows, RFC 9051 §6.4.4.
var errCharset = &no{"BADCHARSET (US-ASCII UTF-8)", "Unknown charset"}

// knownCharset is for a name in upper case.
func knownCharset(name string) bool { return name == "UTF-8" || name == "US-ASCII" }

// peekWord returns the next word in upper case without consuming it.
func (s *session) peekWord() string { return strings.ToUpper(s.dec.PeekLabel()) }

// found is the result of a search, by index in the view's list: ascending, or in SORT's order.
type found struct {
	indexes []int
	scores  []uint8  // how well each matches what is FUZZY, RFC 6203
	threads *threads // of THREAD
}

func newFound(hits []store.Hit) *found {
	f := &found{indexes: make([]int, len(hits)), scores: make([]uint8, len(hits))}
	for i, h := range hits {
		f.indexes[i], f.scores[i] = h.Index, h.Score
	}
	return f
}

// find runs the search in one snapshot, together with the news, so that its numbers are those of the
// view.
func (s *session) find(cmd searchCommand, may expunging) (*found, error) {
	f := &found{}
	err := s.inTurn(s.sel.account, func(tx *store.Tx) error {
		if err := s.searchNews(tx, may); err != nil {
			return err
		}
		filter, err := (&compiler{s: s, tx: tx}).compile(&cmd.key)
		if err != nil {
			return err
		}
		if filter, err = s.searchLimit(&cmd, filter); err != nil {
			return err
		}
		result, err := tx.Query(store.Query{
			Mailboxes: []store.MailboxID{s.sel.id}, Filter: filter, Sort: cmd.sort,
		})
		if err != nil {
			return err
		}
		if cmd.thread != "" {
			f.threads, err = s.threads(tx, cmd.thread, result.Hits)
			return err
		}
		*f = *newFound(result.Hits)
		return nil
	})
	return f, err
}

// searchNews tells the news of the selected mailbox: the view must be at tx's list before keys are
// compiled. The telling goes to memory, as a transaction does not wait for a client.
func (s *session) searchNews(tx *store.Tx, may expunging) error {
	n, err := s.learn(tx)
	if err != nil {
		return err
	}
	s.hold = true
	err = s.tell(n, may, nil)
	s.hold = false
	return err
}

// inTurn runs a search in a snapshot of an account. Searches of one person take turns and end after
// limits.IMAP.SearchTime, or when the client has left.
func (s *session) inTurn(a *account, run func(tx *store.Tx) error) error {
	there, stop := s.c.Attend(s.ctx)
	defer stop()
	ctx, cancel := context.WithTimeout(there, s.srv.o.Limits.SearchTime)
	defer cancel()
	ctx, told := s.working(ctx)
	defer told()
	err := s.await(ctx, a, run)
	if err != nil && errors.Is(context.Cause(there), conn.ErrLeft) {
		s.end("disconnected during a search")
		return errEnded
	}
	return err
}

// await is inTurn without its ends.
func (s *session) await(ctx context.Context, a *account, run func(tx *store.Tx) error) error {
	select {
	case s.account.searches <- struct{}{}:
		defer func() { <-s.account.searches }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return a.View(ctx, run)
}

// answer sends the result and saves it where that was asked for.
func (s *session) answer(cmd searchCommand, f *found, modseq bool) {
	v := s.sel
	if cmd.options["SAVE"] {
		s.saved = v.saveable(cmd, f.indexes)
	}
	if !cmd.extended && (cmd.sort != nil || !s.mode.rev2) {
		s.plainAnswer(cmd, f.indexes, modseq)
		return
	}
	if len(cmd.options) == 1 && cmd.options["SAVE"] {
		return // RFC 5182 §2.1: nothing else was asked for
	}
	b := append(*s.buf(), "* ESEARCH (TAG "...)
	b = append(imap.AppendString(b, s.tag, false), ')')
	if s.uid {
		b = append(b, " UID"...)
	}
	b = cmd.appendData(b, v, f, s.uid, modseq)
	*s.buf() = append(b, "\r\n"...)
}

// appendData writes what was asked for of the messages found in a mailbox, RFC 4731 §3.1.
func (cmd searchCommand) appendData(b []byte, v *view, f *found, uid, modseq bool) []byte {
	n := len(f.indexes)
	if n > 0 {
		if cmd.options["MIN"] {
			b = imap.AppendNumber(append(b, " MIN "...), v.number(f.indexes[0], uid))
		}
		if cmd.options["MAX"] {
			b = imap.AppendNumber(append(b, " MAX "...), v.number(f.indexes[n-1], uid))
		}
		if cmd.options["ALL"] {
			b = imap.AppendSet(append(b, " ALL "...), v.numberSet(cmd, f.indexes, uid))
		}
	}
	if cmd.options["PARTIAL"] {
		b = cmd.appendPartial(b, v, f.indexes, uid)
	}
	if cmd.options["COUNT"] {
		b = imap.AppendNumber(append(b, " COUNT "...), n)
	}
	if cmd.options["RELEVANCY"] {
		b = appendRelevancy(b, cmd.scores(f))
	}
	if m := v.highest(cmd.counted(f.indexes)); modseq && m > 0 {
		b = imap.AppendNumber(append(b, " MODSEQ "...), m)
	}
	return b
}

// plainAnswer is the SEARCH reply of IMAP4rev1, RFC 3501 §7.2.5, or the SORT reply, RFC 5256 §4.
func (s *session) plainAnswer(cmd searchCommand, indexes []int, modseq bool) {
	name := "* SEARCH"
	if cmd.sort != nil {
		name = "* SORT"
	}
	b := append(*s.buf(), name...)
	for _, i := range indexes {
		b = imap.AppendNumber(append(b, ' '), s.sel.number(i, s.uid))
	}
	if modseq && len(indexes) > 0 { // RFC 7162 §3.1.6
		b = append(b, " (MODSEQ "...)
		b = append(imap.AppendNumber(b, s.sel.highest(indexes)), ')')
	}
	*s.buf() = append(b, "\r\n"...)
}

// number is what the client calls a message: by its UID or by its number.
func (v *view) number(i int, uid bool) uint32 {
	if uid {
		return uint32(v.list.At(i).UID)
	}
	return v.seq(i)
}

// numberSet makes a set of messages, in SORT's order where there is one.
func (v *view) numberSet(cmd searchCommand, indexes []int, uid bool) []imap.Range {
	if cmd.sort != nil {
		var set imap.OrderBuilder
		for _, i := range indexes {
			set.Add(v.number(i, uid))
		}
		return set.Ranges
	}
	var set imap.SetBuilder
	for _, i := range indexes {
		set.Add(v.number(i, uid))
	}
	return set.Ranges
}

// highest returns the highest mod-sequence of some messages.
func (v *view) highest(indexes []int) store.ModSeq {
	var m store.ModSeq
	for _, i := range indexes {
		m = max(m, v.list.At(i).ModSeq)
	}
	return m
}

// counted returns the messages whose mod-sequence counts for the reply: with neither ALL nor COUNT
// asked for, only those that MIN, MAX and PARTIAL name (RFC 4731 §3.2), without these all.
func (cmd searchCommand) counted(indexes []int) []int {
	if cmd.options["ALL"] || cmd.options["COUNT"] || len(indexes) == 0 {
		return indexes
	}
	var out []int
	if cmd.options["MIN"] {
		out = append(out, indexes[0])
	}
	if cmd.options["PARTIAL"] {
		from, to := cmd.partial.Of(len(indexes))
		out = append(out, indexes[from:to]...)
	}
	if cmd.options["MAX"] {
		out = append(out, indexes[len(indexes)-1])
	}
	if out == nil && !cmd.options["PARTIAL"] {
		return indexes
	}
	return out
}

// saveable returns the UIDs that "$" stands for from now on: those of the messages that counted names
// (RFC 5182 §2.1 and RFC 9394 §3.2, tables).
func (v *view) saveable(cmd searchCommand, indexes []int) []imap.Range {
	return v.uidSet(cmd.counted(indexes))
}

// uidSet returns the UIDs of messages, given in any order.
func (v *view) uidSet(indexes []int) []imap.Range {
	if !slices.IsSorted(indexes) {
		indexes = slices.Sorted(slices.Values(indexes))
	}
	var set imap.SetBuilder
	for _, i := range indexes {
		set.Add(uint32(v.list.At(i).UID))
	}
	return set.Ranges
}
