package imapd

import (
	"context"
	"errors"
	"strings"

	"tram/internal/conn"
	"tram/internal/imap"
	"tram/internal/store"
)

// A search runs in one snapshot against the store's query language. It is the most that one command
// can ask of the processors, hence the turns that searches of one account take and the time after
// which they are given up (limits.IMAP.SearchTime).

// searchCommand is the arguments of SEARCH.
type searchCommand struct {
	options  map[string]bool // of RETURN, in upper case
	extended bool            // RETURN was given
	key      imap.SearchKey
}

// searchOptions are the options of RETURN, RFC 9051 §6.4.4.
var searchOptions = map[string]bool{
	"MIN": true, "MAX": true, "ALL": true, "COUNT": true, "SAVE": true,
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
	s.answer(cmd, found, modseq)
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
	cmd := searchCommand{options: map[string]bool{}}
	d := s.dec
	word := s.peekWord()
	if word == "RETURN" {
		d.Label()
		d.SP()
		cmd.extended = true
		d.List(func() {
			option := d.Label()
			if !searchOptions[option] {
				d.Bad("Unknown search option")
			}
			cmd.options[option] = true
		})
		d.SP()
		word = s.peekWord()
	}
	if len(cmd.options) == 0 {
		cmd.options["ALL"] = true // RFC 4731 §3.1
	}
	if word == "CHARSET" {
		d.Label()
		d.SP()
		charset := strings.ToUpper(d.AString())
		if s.mode.utf8 && d.Err() == nil && !s.mode.rev2 {
			d.Bad("CHARSET is not for UTF8=ACCEPT") // RFC 6855 §3
		}
		if d.Err() == nil && charset != "UTF-8" && charset != "US-ASCII" {
			return cmd, &no{"BADCHARSET (US-ASCII UTF-8)", "Unknown charset"}
		}
		d.SP()
	}
	cmd.key = d.SearchKeys()
	return cmd, nil
}

// peekWord returns the next word in upper case without consuming it.
func (s *session) peekWord() string { return strings.ToUpper(s.dec.PeekLabel()) }

// found is the result of a search, by index in the view's list, ascending.
type found struct {
	indexes []int
	modseq  store.ModSeq // the highest among them
}

// find runs the search in one snapshot, together with the news, so that its numbers are those of the
// view. Searches of one account take turns and end after limits.IMAP.SearchTime, or when the client
// has left.
func (s *session) find(cmd searchCommand, may expunging) (*found, error) {
	there, stop := s.c.Attend(s.ctx)
	defer stop()
	ctx, cancel := context.WithTimeout(there, s.srv.o.Limits.SearchTime)
	defer cancel()
	f, err := s.findWithin(ctx, cmd, may)
	if err != nil && errors.Is(context.Cause(there), conn.ErrLeft) {
		s.end("disconnected during a search")
		return nil, errEnded
	}
	return f, err
}

func (s *session) findWithin(ctx context.Context, cmd searchCommand, may expunging) (*found, error) {
	select {
	case s.account.searches <- struct{}{}:
		defer func() { <-s.account.searches }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	f := &found{}
	err := s.account.View(ctx, func(tx *store.Tx) error {
		n, err := s.learn(tx)
		if err != nil {
			return err
		}
		// The view must be at tx's list before the keys are compiled. The telling goes to memory:
		// a transaction does not wait for a client.
		s.hold = true
		err = s.tell(n, may, nil)
		s.hold = false
		if err != nil {
			return err
		}
		filter, err := (&compiler{s: s, tx: tx}).compile(&cmd.key)
		if err != nil {
			return err
		}
		result, err := tx.Query(store.Query{
			Mailboxes: []store.MailboxID{s.sel.id}, Filter: filter,
		})
		if err != nil {
			return err
		}
		f.indexes = make([]int, len(result.Hits))
		for i, h := range result.Hits {
			f.indexes[i] = h.Index
		}
		return nil
	})
	return f, err
}

// answer sends the result and saves it where that was asked for.
func (s *session) answer(cmd searchCommand, f *found, modseq bool) {
	v := s.sel
	if cmd.options["SAVE"] {
		s.saved = v.saveable(cmd, f.indexes)
	}
	if !cmd.extended && !s.mode.rev2 {
		s.plainAnswer(f.indexes, modseq)
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
	n := len(f.indexes)
	if n > 0 {
		if cmd.options["MIN"] {
			b = imap.AppendNumber(append(b, " MIN "...), s.number(f.indexes[0]))
		}
		if cmd.options["MAX"] {
			b = imap.AppendNumber(append(b, " MAX "...), s.number(f.indexes[n-1]))
		}
		if cmd.options["ALL"] {
			b = imap.AppendSet(append(b, " ALL "...), s.numberSet(f.indexes))
		}
	}
	if cmd.options["COUNT"] {
		b = imap.AppendNumber(append(b, " COUNT "...), n)
	}
	if modseq && n > 0 {
		b = imap.AppendNumber(append(b, " MODSEQ "...), v.highest(cmd.counted(f.indexes)))
	}
	*s.buf() = append(b, "\r\n"...)
}

// plainAnswer is the SEARCH reply of IMAP4rev1, RFC 3501 §7.2.5.
func (s *session) plainAnswer(indexes []int, modseq bool) {
	b := append(*s.buf(), "* SEARCH"...)
	for _, i := range indexes {
		b = imap.AppendNumber(append(b, ' '), s.number(i))
	}
	if modseq && len(indexes) > 0 { // RFC 7162 §3.1.6
		b = append(b, " (MODSEQ "...)
		b = append(imap.AppendNumber(b, s.sel.highest(indexes)), ')')
	}
	*s.buf() = append(b, "\r\n"...)
}

// number is what the client calls a message in this command.
func (s *session) number(i int) uint32 {
	if s.uid {
		return uint32(s.sel.list.At(i).UID)
	}
	return s.sel.seq(i)
}

func (s *session) numberSet(indexes []int) []imap.Range {
	var set imap.SetBuilder
	for _, i := range indexes {
		set.Add(s.number(i))
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

// counted returns the messages whose mod-sequence counts for the reply: with nothing but MIN and MAX
// asked for, only those (RFC 4731 §3.2).
func (cmd searchCommand) counted(indexes []int) []int {
	if cmd.options["ALL"] || cmd.options["COUNT"] {
		return indexes
	}
	return cmd.ends(indexes)
}

// ends returns the messages that MIN and MAX name, all without either.
func (cmd searchCommand) ends(indexes []int) []int {
	var out []int
	if cmd.options["MIN"] {
		out = append(out, indexes[0])
	}
	if cmd.options["MAX"] {
		out = append(out, indexes[len(indexes)-1])
	}
	if out == nil {
		return indexes
	}
	return out
}

// saveable returns the UIDs that "$" stands for from now on. With MIN or MAX, and neither ALL nor
// COUNT, it is those messages only (RFC 5182 §2.1, table).
func (v *view) saveable(cmd searchCommand, indexes []int) []imap.Range {
	if len(indexes) == 0 {
		return nil
	}
	var set imap.SetBuilder
	for _, i := range cmd.counted(indexes) {
		set.Add(uint32(v.list.At(i).UID))
	}
	return set.Ranges
}
