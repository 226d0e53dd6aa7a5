package imapd

import (
	"tram/internal/imap"
	"tram/internal/store"
)

// expunge is EXPUNGE, RFC 9051 §6.4.3, and UID EXPUNGE, §6.4.9.
func (s *session) expunge() error {
	all := imap.NumSet{Ranges: []imap.Range{{Start: 1, Stop: 0}}}
	set := all
	if s.uid {
		s.dec.SP()
		set = s.dec.NumSet()
	}
	if err := s.args(); err != nil {
		return err
	}
	if s.sel.readOnly {
		return &no{"CANNOT", "Mailbox is open read-only"}
	}
	if err := s.sel.may(store.RightExpunge); err != nil {
		return err
	}
	var ranges []imap.Range
	if s.uid {
		nums, err := s.resolve(set)
		if err != nil {
			return err
		}
		// "$" may stand for no message: that is not all of them.
		ranges = append([]imap.Range{}, nums.ranges...)
	}
	n, err := s.removeDeleted(ranges)
	if err != nil {
		return s.gone(err)
	}
	return s.tell(n, mayExpunge, nil)
}

// removeDeleted removes the messages with \Deleted, those in ranges of UIDs or, with nil, all.
func (s *session) removeDeleted(ranges []imap.Range) (*news, error) {
	v := s.sel
	var n *news
	err := s.freeingSelected(func(tx *store.Tx) error {
		m, err := tx.Counts(v.id)
		if err != nil {
			return errGone
		}
		if m.Deleted > 0 {
			list, err := tx.List(v.id)
			if err != nil {
				return err
			}
			uids := deletedUIDs(list, ranges)
			if ranges != nil { // EXPUNGE and CLOSE have no limit
				uids = s.expungeLimit(uids)
			}
			if _, err := tx.Expunge(v.id, uids); err != nil {
				return err
			}
		}
		n, err = s.learn(tx)
		return err
	})
	return n, err
}

// deletedUIDs finds the messages with \Deleted, in ranges or anywhere.
func deletedUIDs(list *store.List, ranges []imap.Range) []store.UID {
	var uids []store.UID
	for _, e := range list.Flagged(store.Deleted) {
		if ranges == nil || imap.ContainsNum(ranges, uint32(e.UID)) {
			uids = append(uids, e.UID)
		}
	}
	return uids
}
