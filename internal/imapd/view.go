package imapd

import (
	"slices"
	"sort"

	"tram/internal/imap"
	"tram/internal/store"
)

// view is the selected mailbox as the client knows it: the newest list that it was told of, and the
// ghosts, messages that are gone but whose removal it has not heard of, because it must not during
// FETCH, STORE and SEARCH (RFC 9051 §7.5.1). The client's message numbers count list and ghosts
// together, by UID.
type view struct {
	account     *account // that the mailbox is in; the session's own, or another's
	id          store.MailboxID
	readOnly    bool         // opened with EXAMINE
	rights      store.Rights // of the session's person
	toldFlags   store.Flags  // keywords that the client has heard of; only in another's mailbox
	uidValidity uint32
	at          store.ModSeq // of the account, when list was the newest
	list        *store.List
	ghosts      []ghost // by UID; nearly always none
	// recent are the UIDs that this session was the first to hear of, see recent.go.
	recent []store.UIDRange
	// safe is the HIGHESTMODSEQ that the client may resume from: that of the newest list from
	// which nothing was withheld (RFC 7162 §3.2: a removal that is delayed holds it back).
	safe     store.ModSeq
	keywords *store.KeywordTable

	// unfetched are new messages whose items NOTIFY has promised, see notifytell.go.
	unfetched []imap.Range
	// muted is up to where the client has heard of flags, when NOTIFY has kept some from it: the
	// next command tells them. 0: it has heard of all. muting: they are being kept from it.
	muted  store.ModSeq
	muting bool

	contexts []*searchContext // searches whose results are kept up to date, RFC 5267
	touched  touched          // what they have to look at
}

// ghost is a message that only the client still counts.
type ghost struct {
	uid    store.UID
	before int // entries of the list with a smaller UID
}

// span is a run of entries of the list: indexes from up to, and without, to.
type span struct{ from, to int }

// count is the number of messages the client believes in.
func (v *view) count() int { return v.list.Len() + len(v.ghosts) }

// seq returns the message number of the entry with index i.
func (v *view) seq(i int) uint32 {
	if len(v.ghosts) == 0 {
		return uint32(i + 1)
	}
	gone := sort.Search(len(v.ghosts), func(k int) bool { return v.ghosts[k].before > i })
	return uint32(i + 1 + gone)
}

// ghostSeq returns the message number of the k-th ghost.
func (v *view) ghostSeq(k int) uint32 { return uint32(v.ghosts[k].before + k + 1) }

// below returns how many entries of the list have a message number below seq.
func (v *view) below(seq uint32) int {
	gone := sort.Search(len(v.ghosts), func(k int) bool { return v.ghostSeq(k) >= seq })
	return int(seq) - 1 - gone
}

// may returns an error unless the session's person has some rights to the mailbox. The store looks
// again: this is for what it is not asked for, or asked for late.
func (v *view) may(want store.Rights) error {
	if v.rights.Has(want) {
		return nil
	}
	return store.ErrNoPermission
}

// largestUID is what "*" means in a set of UIDs, 0 in an empty mailbox.
func (v *view) largestUID() uint32 {
	if v.list.Len() == 0 {
		return 0
	}
	return uint32(v.list.At(v.list.Len() - 1).UID)
}

// numbers are the message numbers or UIDs of a command, resolved once: the view may move on while the
// command runs.
type numbers struct {
	ranges []imap.Range // merged
	uid    bool
}

// resolve gives a set of numbers its meaning. A message number beyond the last is the client's
// fault (RFC 9051 §9, seq-number); a UID that does not exist is not.
func (s *session) resolve(set imap.NumSet) (numbers, error) {
	v := s.sel
	if set.Saved { // RFC 5182 §2.1: "$" stands for messages, however they are numbered
		return numbers{ranges: s.saved, uid: true}, nil
	}
	if s.uid {
		return numbers{ranges: set.Resolve(v.largestUID()), uid: true}, nil
	}
	rs := set.Resolve(uint32(v.count()))
	if n := len(rs); n > 0 && rs[n-1].Stop > uint32(v.count()) {
		return numbers{}, &imap.Error{Code: "CLIENTBUG", Text: "No message has this number"}
	}
	return numbers{ranges: rs}, nil
}

// spans finds the entries that the numbers name now; ghosts reports whether some are numbers of
// messages that are gone.
func (v *view) spans(n numbers) (spans []span, ghosts bool) {
	if n.uid {
		return v.spansOfUIDs(n.ranges), false
	}
	return v.spansOfSeqs(n.ranges)
}

// spansOfSeqs finds the entries that merged ranges of message numbers name; ghosts reports whether
// some of the numbers are those of messages that are gone.
func (v *view) spansOfSeqs(rs []imap.Range) (spans []span, ghosts bool) {
	for _, r := range rs {
		sp := span{v.below(r.Start), v.below(r.Stop + 1)}
		if n := uint32(sp.to - sp.from); n < r.Stop-r.Start+1 {
			ghosts = true
		}
		if sp.from < sp.to {
			spans = append(spans, sp)
		}
	}
	return spans, ghosts
}

// spansOfUIDs finds the entries that merged ranges of UIDs name.
func (v *view) spansOfUIDs(rs []imap.Range) []span {
	var spans []span
	for _, r := range rs {
		from, _ := v.list.Find(store.UID(r.Start))
		to, found := v.list.Find(store.UID(r.Stop))
		if found {
			to++
		}
		if from >= to {
			continue
		}
		if n := len(spans); n > 0 && spans[n-1].to == from {
			spans[n-1].to = to
			continue
		}
		spans = append(spans, span{from, to})
	}
	return spans
}

// uidRanges returns merged UID ranges that hold the entries of the spans and no other entry.
func (v *view) uidRanges(spans []span) []store.UIDRange {
	out := make([]store.UIDRange, 0, len(spans))
	for _, sp := range spans {
		out = append(out, store.UIDRange{
			First: v.list.At(sp.from).UID, Last: v.list.At(sp.to - 1).UID,
		})
	}
	return out
}

// uids lists the UIDs of the spans' entries.
func (v *view) uids(spans []span) []store.UID {
	n := 0
	for _, sp := range spans {
		n += sp.to - sp.from
	}
	out := make([]store.UID, 0, n)
	for _, sp := range spans {
		for _, e := range v.list.Entries(sp.from, sp.to) {
			out = append(out, e.UID)
		}
	}
	return out
}

// haunt takes note of removals that the client will hear of later.
func (v *view) haunt(removed []store.Entry) {
	for _, e := range removed {
		v.ghosts = append(v.ghosts, ghost{uid: e.UID})
	}
	slices.SortFunc(v.ghosts, func(a, b ghost) int {
		switch {
		case a.uid < b.uid:
			return -1
		case a.uid > b.uid:
			return 1
		}
		return 0
	})
}

// move makes list the newest one and finds the ghosts' places in it.
func (v *view) move(list *store.List) {
	v.list = list
	for k := range v.ghosts {
		v.ghosts[k].before, _ = list.Find(v.ghosts[k].uid)
	}
}
