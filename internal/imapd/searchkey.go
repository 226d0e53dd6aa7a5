package imapd

import (
	"strings"
	"time"

	"tram/internal/imap"
	"tram/internal/store"
)

// compiler turns a search program into a filter of the store's. Message numbers mean what they mean
// in the view of the mailbox: the session's, where it is the selected one.
type compiler struct {
	s     *session
	tx    *store.Tx
	views []*view   // what is searched; nil: the selected mailbox
	among []span    // of the view: where EMAILID looks; nil: everywhere
	fuzzy bool      // inside of FUZZY
	now   time.Time // of WITHIN
}

// account is the one that is searched.
func (c *compiler) account() *account {
	if c.views == nil {
		return c.s.sel.account
	}
	return c.views[0].account
}

// each makes a filter out of one for each of the mailboxes.
func (c *compiler) each(uids func(v *view) ([]store.UIDRange, error)) (store.Filter, error) {
	views := c.views
	if views == nil {
		views = []*view{c.s.sel}
	}
	filter := make(store.UIDsIn, len(views))
	for _, v := range views {
		ranges, err := uids(v)
		if err != nil {
			return nil, err
		}
		filter[v.id] = ranges
	}
	return filter, nil
}

// eachListed is each for what needs to know the messages. Lists of mailboxes that are not selected are
// read one after another: together they may be too much.
func (c *compiler) eachListed(uids func(v *view) ([]store.UIDRange, error)) (store.Filter, error) {
	return c.each(func(v *view) ([]store.UIDRange, error) {
		if v.list == nil {
			list, err := c.tx.List(v.id)
			if err != nil {
				return nil, err
			}
			v = &view{account: v.account, id: v.id, list: list}
		}
		return uids(v)
	})
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
	"UIDAFTER":   (*compiler).uidAfter, // RFC 9738 §3.2
	"UIDBEFORE":  (*compiler).uidBefore,
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
	"OLDER":      (*compiler).older,
	"YOUNGER":    (*compiler).younger,

	"SAVEDBEFORE":       saved(false, true),
	"SAVEDON":           saved(true, true),
	"SAVEDSINCE":        saved(true, false),
	"SAVEDATESUPPORTED": yes(store.And{}),
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
		outer := c.fuzzy
		c.fuzzy = false // see compileFuzzy
		sub, err := c.compile(&k.Keys[0])
		c.fuzzy = outer
		return store.Not{Filter: sub}, err
	case "FUZZY":
		return c.compileFuzzy(k)
	}
	f := searchKeys[k.Name]
	if f == nil {
		return nil, &imap.Error{Text: "Unknown search key"}
	}
	filter, err := f(c, k)
	if c.fuzzy && err == nil {
		filter = fuzzily(k.Name, filter)
	}
	return filter, err
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
		return c.savedResult()
	}
	if err := c.s.uidRequired(k.Set); err != nil {
		return nil, err
	}
	return c.eachListed(func(v *view) ([]store.UIDRange, error) {
		spans, _ := v.spansOfSeqs(v.numbered(k.Set))
		return v.uidRanges(spans), nil
	})
}

// numbered gives a set of message numbers its meaning, without those beyond the last.
func (v *view) numbered(set imap.NumSet) []imap.Range {
	count := uint32(v.count())
	rs := set.Resolve(count)
	for i, r := range rs {
		if r.Stop > count {
			rs = rs[:i]
			if r.Start <= count {
				rs = append(rs, imap.Range{Start: r.Start, Stop: count})
			}
			break
		}
	}
	return rs
}

// savedResult is "$": messages of the selected mailbox, wherever else is searched (RFC 5182 §2.1).
func (c *compiler) savedResult() (store.Filter, error) {
	return c.each(func(v *view) ([]store.UIDRange, error) {
		if v != c.s.sel {
			return nil, nil
		}
		return uidRanges(c.s.saved), nil
	})
}

// uids is a set of UIDs; "*" is the largest in the view.
func (c *compiler) uids(k *imap.SearchKey) (store.Filter, error) {
	if k.Set.Saved {
		return c.savedResult()
	}
	return c.eachListed(func(v *view) ([]store.UIDRange, error) {
		return uidRanges(k.Set.Resolve(v.largestUID())), nil
	})
}

func uidRanges(rs []imap.Range) []store.UIDRange {
	out := make([]store.UIDRange, 0, len(rs))
	for _, r := range rs {
		out = append(out, store.UIDRange{First: store.UID(r.Start), Last: store.UID(r.Stop)})
	}
	return out
}

// recent, newKey and old are RFC 3501 §6.4.4's.
func (c *compiler) recent(*imap.SearchKey) (store.Filter, error) {
	return c.each(func(v *view) ([]store.UIDRange, error) { return v.recent, nil })
}

func (c *compiler) newKey(k *imap.SearchKey) (store.Filter, error) {
	recent, err := c.recent(k)
	return store.And{recent, store.Not{Filter: store.HasFlags(store.Seen)}}, err
}

func (c *compiler) old(k *imap.SearchKey) (store.Filter, error) {
	recent, err := c.recent(k)
	return store.Not{Filter: recent}, err
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

// header forgives a colon after the field's name. It is how programs find what they have put here:
// mbsync by X-TUID, OfflineIMAP by X-OfflineIMAP, where they lack APPENDUID; imapsync, K-9 and Thunderbird
// by Message-ID.
func (c *compiler) header(k *imap.SearchKey) (store.Filter, error) {
	return store.HeaderText{Name: strings.TrimSuffix(k.Field, ":"), Text: k.Text}, nil
}

// threadID finds nothing for what is no identifier: RFC 8474 §6 makes that no error.
func (c *compiler) threadID(k *imap.SearchKey) (store.Filter, error) {
	if id := c.account().parseID(k.Text, threadPrefix); id != 0 {
		return store.InThread(id), nil
	}
	return store.Or{}, nil
}

// emailID looks for the message by reading rows: see appendEmailID for why the store's own number
// does not do. It reads until the first match and on, for there may be copies.
func (c *compiler) emailID(k *imap.SearchKey) (store.Filter, error) {
	return c.eachListed(func(v *view) (found []store.UIDRange, err error) {
		var b []byte
		look := func(e store.Entry, m *store.Email) error {
			if m == nil {
				return nil
			}
			if b = appendEmailID(b[:0], e, m); string(b) == k.Text {
				found = append(found, store.UIDRange{First: e.UID, Last: e.UID})
			}
			return nil
		}
		among := c.among
		if among == nil {
			among = []span{{0, v.list.Len()}}
		}
		for _, sp := range among {
			if err = c.tx.EachEmail(v.list, sp.from, sp.to, look); err != nil {
				break
			}
		}
		return found, err
	})
}
