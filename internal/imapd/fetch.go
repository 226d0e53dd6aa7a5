package imapd

import (
	"errors"
	"slices"

	"tram/internal/imap"
	"tram/internal/store"
)

// fetchPlan is a FETCH command made ready: what to write for each message.
type fetchPlan struct {
	items    []fetchItem
	needsRow bool // some item is not in the hot list
	flags    bool // FLAGS was asked for
	modseq   bool
	setsSeen bool
	changed  store.ModSeq // CHANGEDSINCE; 0: not given
	vanished bool         // VANISHED
	partial  *imap.PartialRange
}

// fetchItem writes one item of one message. m is nil when the plan needs no row.
type fetchItem func(r *row, e store.Entry, m *store.Email) error

// fetchDef is an entry of the table of items that have no section.
type fetchDef struct {
	write fetchItem
	row   bool // needs the email's row
	seen  bool // sets \Seen
}

// fetchItems is every item without a section; an extension adds its line here. UID, FLAGS and
// MODSEQ stand in the plan.
var fetchItems = map[string]fetchDef{
	"INTERNALDATE":  {write: (*row).internalDate},
	"RFC822.SIZE":   {write: (*row).size},
	"EMAILID":       {write: (*row).emailID, row: true},
	"THREADID":      {write: (*row).threadID, row: true},
	"SAVEDATE":      {write: (*row).saveDate, row: true}, // RFC 8514
	"PREVIEW":       {write: (*row).preview, row: true},  // RFC 8970
	"ENVELOPE":      {write: (*row).envelope, row: true},
	"BODY":          {write: (*row).bodyShort, row: true},
	"BODYSTRUCTURE": {write: (*row).bodyStructure, row: true},
	// RFC 3501 §6.4.5; gone from IMAP4rev2.
	"RFC822":        {write: (*row).rfc822, row: true, seen: true},
	"RFC822.HEADER": {write: (*row).rfc822Header, row: true},
	"RFC822.TEXT":   {write: (*row).rfc822Text, row: true, seen: true},
}

// fetch is FETCH and UID FETCH, RFC 9051 §6.4.5.
func (s *session) fetch() error {
	s.dec.SP()
	set := s.dec.NumSet()
	s.dec.SP()
	plan := s.fetchPlan(s.dec.FetchItems())
	if s.dec.TrySP() {
		s.fetchModifiers(plan)
	}
	if err := s.args(); err != nil {
		return err
	}
	if plan.modseq {
		s.condstoreAware()
	}
	if err := s.partialLimit(plan.partial); err != nil {
		return err
	}
	return s.runFetch(set, plan)
}

// fetchPlan looks the items up.
func (s *session) fetchPlan(items []imap.FetchItem) *fetchPlan {
	plan := &fetchPlan{}
	add := func(write fetchItem) { plan.items = append(plan.items, write) }
	var once []string
	for _, item := range items {
		def, known := fetchItems[item.Name]
		if known && slices.Contains(once, item.Name) {
			continue // asked for a thousand times it would be in memory as often
		}
		switch {
		case item.Section != nil:
			s.sectionItem(plan, item)
		case item.Name == "UID":
			if !s.uid || s.mode.uidOnly { // else it is written for each message anyway
				add((*row).uid)
			}
		case item.Name == "FLAGS":
			if !plan.flags {
				add((*row).flagList)
			}
			plan.flags = true
		case item.Name == "MODSEQ":
			plan.modseq = true // RFC 7162 §3.1.4.2; written last
		case known:
			once = append(once, item.Name)
			add(def.write)
			plan.needsRow = plan.needsRow || def.row
			plan.setsSeen = plan.setsSeen || def.seen
		default:
			s.dec.Bad("Unknown item to fetch")
		}
	}
	return plan
}

// fetchModifiers reads CHANGEDSINCE and VANISHED, RFC 7162 §3.1.4.1 and §3.2.6.
func (s *session) fetchModifiers(plan *fetchPlan) {
	given := false
	s.dec.List(func() {
		switch s.dec.Label() {
		case "CHANGEDSINCE":
			s.dec.SP()
			plan.changed = store.ModSeq(s.dec.Number64())
			plan.modseq, given = true, true
		case "VANISHED":
			plan.vanished = true
		case "PARTIAL": // RFC 9394 §3.3
			s.dec.SP()
			if r := s.dec.PartialRange(); plan.partial != nil || !s.uid {
				s.dec.Bad("PARTIAL is for UID FETCH, once")
			} else {
				plan.partial = &r
			}
		default:
			s.dec.Bad("Unknown FETCH modifier")
		}
	})
	switch {
	case plan.vanished && !given:
		s.dec.Bad("VANISHED needs CHANGEDSINCE")
	case plan.vanished && !s.uid:
		s.dec.Bad("VANISHED is for UID FETCH")
	case plan.vanished && !s.mode.qresync:
		s.dec.Bad("VANISHED needs ENABLE QRESYNC")
	}
}

// runFetch brings the view up to date, sets \Seen where the items ask for it, and writes the
// messages window by window.
func (s *session) runFetch(set imap.NumSet, plan *fetchPlan) error {
	w := &window{s: s, plan: plan}
	var ghosts bool
	var err error
	if plan.needsRow && !plan.setsSeen && !plan.vanished {
		ghosts, err = s.runAtOnce(set, w)
	} else {
		ghosts, err = s.runInSteps(set, w)
	}
	switch {
	case err != nil:
		return err
	case w.damaged:
		return store.ErrDamaged
	case w.unknownCTE:
		return &no{"UNKNOWN-CTE", "A part has an unknown encoding"} // RFC 9051 §6.4.5
	case ghosts || w.gone:
		return &no{"EXPUNGEISSUED", "Some of the messages are gone"} // RFC 2180 §4.1.3
	}
	return nil
}

// runAtOnce reads the news and the first window, which for most commands is all, in one snapshot. It
// reports whether some of the messages are gone.
func (s *session) runAtOnce(set imap.NumSet, w *window) (ghosts bool, err error) {
	var rest []span
	var streams []stream
	w.widen()
	defer w.narrow()
	err = s.viewSelected(func(tx *store.Tx) error {
		n, err := s.learn(tx)
		if err != nil {
			return err
		}
		// To memory: a transaction does not wait for a client.
		s.hold = true
		err = s.tell(n, s.byNumber(), nil)
		s.hold = false
		if err != nil {
			return err
		}
		nums, err := s.resolve(set)
		if err != nil {
			return err
		}
		rest, ghosts = s.sel.spans(s.within(s.sel.part(nums, w.plan.partial)))
		if s.cut == 0 {
			rest, streams, err = w.read(tx, rest)
		}
		return err
	})
	if err != nil {
		return false, s.gone(err)
	}
	if err := w.send(streams); err != nil {
		return false, err
	}
	w.narrow()
	return ghosts, w.run(rest)
}

// runInSteps is runAtOnce for what needs several transactions, or none but the news.
func (s *session) runInSteps(set imap.NumSet, w *window) (ghosts bool, err error) {
	if err := s.catchUp(s.byNumber()); err != nil {
		return false, err
	}
	nums, err := s.resolve(set)
	if err != nil {
		return false, err
	}
	if w.plan.vanished {
		if err := s.vanishedEarlier(w.plan.changed, nums.ranges, 0); err != nil {
			return false, err
		}
	}
	nums = s.within(s.sel.part(nums, w.plan.partial))
	if w.plan.setsSeen && !s.sel.readOnly && s.sel.may(store.RightSeen) == nil { // RFC 4314 §4
		if w.fresh, err = s.setSeen(nums); err != nil {
			return false, err
		}
	}
	spans, ghosts := s.sel.spans(nums)
	return ghosts, w.run(spans)
}

// setSeen sets \Seen for the messages of the spans that lack it, all in one transaction, and returns
// their UIDs: their flags go into the replies (RFC 9051 §6.4.5).
func (s *session) setSeen(nums numbers) (map[store.UID]bool, error) {
	v := s.sel
	spans, _ := v.spans(nums)
	var unseen []store.UID
	for _, sp := range spans {
		for _, e := range v.list.Entries(sp.from, sp.to) {
			if e.Flags&store.Seen == 0 {
				unseen = append(unseen, e.UID)
			}
		}
	}
	if len(unseen) == 0 {
		return nil, nil
	}
	var n *news
	var fresh map[store.UID]bool
	err := s.updateSelected(func(tx *store.Tx) error {
		changed, _, err := tx.SetFlags(v.id, unseen, store.FlagChange{Flags: store.Seen})
		if err != nil {
			return err
		}
		fresh = make(map[store.UID]bool, len(changed))
		for _, e := range changed {
			fresh[e.UID] = true
		}
		n, err = s.learn(tx)
		return err
	})
	if errors.Is(err, store.ErrFull) {
		return nil, nil // people can read on a full disk, if not mark what they read
	}
	if err != nil {
		return nil, s.gone(err)
	}
	err = s.tell(n, s.byNumber(), func(old, now store.Entry) tellWhat {
		if fresh[now.UID] && now.Flags == old.Flags|store.Seen {
			return tellNothing
		}
		return tellFlags
	})
	return fresh, err
}
