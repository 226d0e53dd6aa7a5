package imapd

import (
	"strings"
	"time"

	"tram/internal/imap"
	"tram/internal/store"
)

// compiler turns a search program into a filter of the store's. Message numbers mean what they mean
// in the session's view.
type compiler struct {
	s  *session
	tx *store.Tx
}

// searchKeys says what each key with a plain meaning compiles to; an extension adds its line here
// (and to the grammar in package imap). Keys with keys inside are in compile.
var searchKeys = map[string]func(c *compiler, k *imap.SearchKey) (store.Filter, error){
	"ALL":        yes(store.And{}),
	"ANSWERED":   yes(store.HasFlags(store.Answered)),
	"DELETED":    yes(store.HasFlags(store.Deleted)),
	"DRAFT":      yes(store.HasFlags(store.Draft)),
	"FLAGGED":    yes(store.HasFlags(store.Flagged)),
	"SEEN":       yes(store.HasFlags(store.Seen)),
	"UNANSWERED": yes(store.Not{Filter: store.HasFlags(store.Answered)}),
	"UNDELETED":  yes(store.Not{Filter: store.HasFlags(store.Deleted)}),
	"UNDRAFT":    yes(store.Not{Filter: store.HasFlags(store.Draft)}),
	"UNFLAGGED":  yes(store.Not{Filter: store.HasFlags(store.Flagged)}),
	"UNSEEN":     yes(store.Not{Filter: store.HasFlags(store.Seen)}),
	"SEQ":        (*compiler).seqs,
	"UID":        (*compiler).uids,
	"RECENT":     (*compiler).recent,
	"NEW":        (*compiler).newKey,
	"OLD":        (*compiler).old,
	"KEYWORD":    (*compiler).keyword,
	"UNKEYWORD":  (*compiler).unkeyword,
	"LARGER":     (*compiler).larger,
	"SMALLER":    (*compiler).smaller,
	"MODSEQ":     (*compiler).modSeq,
	"EMAILID":    (*compiler).emailID,
	"THREADID":   (*compiler).threadID,
	"FROM":       address(store.From),
	"TO":         address(store.To),
	"CC":         address(store.Cc),
	"BCC":        address(store.Bcc),
	"SUBJECT":    text(func(s string) store.Filter { return store.SubjectText(s) }),
	"BODY":       text(func(s string) store.Filter { return store.BodyText(s) }),
	"TEXT":       text(func(s string) store.Filter { return store.AnyText(s) }),
	"HEADER":     (*compiler).header,
	"BEFORE":     received(false, true),
	"ON":         received(true, true),
	"SINCE":      received(true, false),
	"SENTBEFORE": sent(false, true),
	"SENTON":     sent(true, true),
	"SENTSINCE":  sent(true, false),
}

type keyFunc = func(c *compiler, k *imap.SearchKey) (store.Filter, error)

// yes is for keys without arguments.
func yes(f store.Filter) keyFunc {
	return func(*compiler, *imap.SearchKey) (store.Filter, error) { return f, nil }
}

// text is for keys with a string.
func text(f func(string) store.Filter) keyFunc {
	return func(_ *compiler, k *imap.SearchKey) (store.Filter, error) { return f(k.Text), nil }
}

// address is for keys that look into a field of addresses.
func address(field store.AddressField) keyFunc {
	return text(func(s string) store.Filter { return store.AddressText{Field: field, Text: s} })
}

// day returns the bounds of a key about a date; RFC 9051 §6.4.4 disregards time and zone.
func day(k *imap.SearchKey, since, before bool) (from, to time.Time) {
	if since {
		from = k.Date
	}
	switch {
	case before && since:
		to = k.Date.AddDate(0, 0, 1)
	case before:
		to = k.Date
	}
	return from, to
}

// received is for keys about INTERNALDATE.
func received(since, before bool) keyFunc {
	return func(_ *compiler, k *imap.SearchKey) (store.Filter, error) {
		from, to := day(k, since, before)
		return store.ReceivedIn{Since: from, Before: to}, nil
	}
}

// sent is for keys about the Date field.
func sent(since, before bool) keyFunc {
	return func(_ *compiler, k *imap.SearchKey) (store.Filter, error) {
		from, to := day(k, since, before)
		return store.SentOn{Since: from, Before: to}, nil
	}
}

// compile turns a key into a filter. The grammar has bounded its depth.
func (c *compiler) compile(k *imap.SearchKey) (store.Filter, error) {
	switch k.Name {
	case "AND":
		subs, err := c.all(k.Keys)
		return store.And(subs), err
	case "OR":
		subs, err := c.all(k.Keys)
		return store.Or(subs), err
	case "NOT":
		sub, err := c.compile(&k.Keys[0])
		return store.Not{Filter: sub}, err
	}
	if f := searchKeys[k.Name]; f != nil {
		return f(c, k)
	}
	return nil, &imap.Error{Text: "Unknown search key"}
}

// all compiles the keys of a list.
func (c *compiler) all(keys []imap.SearchKey) ([]store.Filter, error) {
	subs := make([]store.Filter, len(keys))
	for i := range keys {
		var err error
		if subs[i], err = c.compile(&keys[i]); err != nil {
			return nil, err
		}
	}
	return subs, nil
}

// seqs is a set of message numbers, or "$". Numbers beyond the last find nothing.
func (c *compiler) seqs(k *imap.SearchKey) (store.Filter, error) {
	if k.Set.Saved {
		return uidFilter(c.s.saved), nil
	}
	v := c.s.sel
	count := uint32(v.count())
	rs := k.Set.Resolve(count)
	for i, r := range rs {
		if r.Stop > count {
			rs = rs[:i]
			if r.Start <= count {
				rs = append(rs, imap.Range{Start: r.Start, Stop: count})
			}
			break
		}
	}
	spans, _ := v.spansOfSeqs(rs)
	return store.UIDs(v.uidRanges(spans)), nil
}

// uids is a set of UIDs; "*" is the largest in the view.
func (c *compiler) uids(k *imap.SearchKey) (store.Filter, error) {
	if k.Set.Saved {
		return uidFilter(c.s.saved), nil
	}
	return uidFilter(k.Set.Resolve(c.s.sel.largestUID())), nil
}

func uidFilter(rs []imap.Range) store.Filter {
	out := make(store.UIDs, 0, len(rs))
	for _, r := range rs {
		out = append(out, store.UIDRange{First: store.UID(r.Start), Last: store.UID(r.Stop)})
	}
	return out
}

// recent, newKey and old are RFC 3501 §6.4.4's.
func (c *compiler) recent(*imap.SearchKey) (store.Filter, error) {
	return store.UIDs(c.s.sel.recent), nil
}

func (c *compiler) newKey(*imap.SearchKey) (store.Filter, error) {
	return store.And{
		store.UIDs(c.s.sel.recent), store.Not{Filter: store.HasFlags(store.Seen)},
	}, nil
}

func (c *compiler) old(*imap.SearchKey) (store.Filter, error) {
	return store.Not{Filter: store.UIDs(c.s.sel.recent)}, nil
}

// keyword also takes system flags: clients ask KEYWORD \Seen, which is as good as SEEN.
func (c *compiler) keyword(k *imap.SearchKey) (store.Filter, error) {
	if bits, keywords := splitFlags([]string{k.Text}); len(keywords) == 0 {
		return store.HasFlags(bits), nil
	}
	return store.Keyword(k.Text), nil
}

func (c *compiler) unkeyword(k *imap.SearchKey) (store.Filter, error) {
	f, err := c.keyword(k)
	return store.Not{Filter: f}, err
}

func (c *compiler) larger(k *imap.SearchKey) (store.Filter, error) {
	return store.Larger(k.Number), nil
}

func (c *compiler) smaller(k *imap.SearchKey) (store.Filter, error) {
	return store.Smaller(k.Number), nil
}

func (c *compiler) modSeq(k *imap.SearchKey) (store.Filter, error) {
	return store.SinceMod(k.Number), nil
}

// header forgives a colon after the field's name.
func (c *compiler) header(k *imap.SearchKey) (store.Filter, error) {
	return store.HeaderText{Name: strings.TrimSuffix(k.Field, ":"), Text: k.Text}, nil
}

// threadID finds nothing for what is no identifier: RFC 8474 §6 makes that no error.
func (c *compiler) threadID(k *imap.SearchKey) (store.Filter, error) {
	if id := parseID(k.Text, threadPrefix); id != 0 {
		return store.InThread(id), nil
	}
	return store.Or{}, nil
}

// emailID looks for the message by reading rows: see appendEmailID for why the store's own number
// does not do. It reads until the first match and on, for there may be copies.
func (c *compiler) emailID(k *imap.SearchKey) (store.Filter, error) {
	var found store.UIDs
	list, b := c.s.sel.list, []byte(nil)
	err := c.tx.EachEmail(list, 0, list.Len(), func(e store.Entry, m *store.Email) error {
		if m == nil {
			return nil
		}
		if b = appendEmailID(b[:0], e, m); string(b) == k.Text {
			found = append(found, store.UIDRange{First: e.UID, Last: e.UID})
		}
		return nil
	})
	return found, err
}
