package store

import (
	"slices"

	"tram/internal/kv"
)

// Vanished returns the UIDs of within (nil: all there ever were) that were expunged from a mailbox
// after since (RFC 7162 §3.2.6). When the history does not reach back so far, complete is false and
// the answer is all UIDs of within that are not in the mailbox: more than asked for, and never
// wrong (RFC 7162 §3.2.5.1).
func (tx *Tx) Vanished(id MailboxID, since ModSeq, within []UIDRange) (
	gone []UIDRange, complete bool, err error) {
	m, err := tx.allowed(id, RightRead)
	if err != nil {
		return nil, false, err
	}
	if within == nil {
		within = []UIDRange{{1, 1<<32 - 1}}
	}
	if m.row.UIDNext == 1 {
		return nil, true, nil
	}
	within = intersect(normalRanges(within), []UIDRange{{1, m.row.UIDNext - 1}})
	if since < m.row.ExpungedFloor {
		gone, err = tx.absent(m, within)
		return gone, false, err
	}
	var all []UIDRange
	broken := false
	err = tx.r.Scan(kv.Range{
		Start: vanishedKey(nil, tx.id, id, since+1),
		End:   kv.PrefixEnd(key32(nil, tx.id, kindVanished, uint32(id))),
	}, func(key, value []byte) error {
		r, err := decodeVanished(key, value)
		if err != nil {
			broken = true
			return kv.Stop
		}
		all = append(all, r...)
		return nil
	})
	if err != nil {
		return nil, false, wrap(err, "read expunged")
	}
	if broken {
		gone, err = tx.absent(m, within)
		return gone, false, err
	}
	for _, uid := range tidy(slices.Clone(m.removed)) {
		all = appendUID(all, uid)
	}
	return intersect(normalRanges(all), within), true, nil
}

// absent returns the UIDs of within that are not in the mailbox.
func (tx *Tx) absent(m *mailboxTx, within []UIDRange) ([]UIDRange, error) {
	list, err := tx.list(m)
	if err != nil {
		return nil, err
	}
	return subtract(within, list.UIDs()), nil
}
