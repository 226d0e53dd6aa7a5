package popd

import (
	"context"
	"errors"
	"maps"

	"tram/internal/directory"
	"tram/internal/store"
)

// fetchedKeyword marks what a POP3 program has fetched whole, where the policy is to keep it for so
// many days: what nobody has fetched does not go, however old it is.
const fetchedKeyword = "$POP3Fetched"

// sent notes that a message was sent whole.
func (m *maildrop) sent(i int) {
	if m.settings.Seen || m.settings.Policy != directory.POP3Keep {
		m.fetched[i] = true
	}
}

// reset is RSET: nothing goes with QUIT, neither what was deleted nor what was fetched. That it was
// fetched stays true.
func (m *maildrop) reset() {
	for i := range m.deleted {
		e := m.at(i)
		m.octets += m.size(&e)
	}
	clear(m.deleted)
	for i := range m.fetched {
		m.fetched[i] = false
	}
}

// commit removes what was deleted, or goes by the account's policy, in one transaction. Messages
// that another session has removed already are no error: they are gone, as the client wanted.
func (m *maildrop) commit(ctx context.Context, a *store.Account) error {
	var gone []store.Entry
	for i := range m.deleted {
		gone = append(gone, m.at(i))
	}
	if m.settings.Policy == directory.POP3Delete {
		for i, implied := range m.fetched {
			if implied && !m.deleted[i] {
				gone = append(gone, m.at(i))
			}
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return a.Update(store.Freeing(ctx), func(tx *store.Tx) error {
		uids, err := m.places(tx, gone)
		if err != nil {
			return err
		}
		for folder, list := range uids {
			if _, err := tx.Expunge(folder, list); err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		return nil
	})
}

// mark tells of what was fetched and stays that it was, as the account's settings have it.
func (m *maildrop) mark(ctx context.Context, a *store.Account) error {
	c := store.FlagChange{Mode: store.AddFlags}
	if m.settings.Seen {
		c.Flags = store.Seen
	}
	if m.settings.Policy == directory.POP3Days {
		c.Keywords = []string{fetchedKeyword}
	}
	var marked []store.Entry
	for i, implied := range m.fetched {
		stays := !m.deleted[i] && !(implied && m.settings.Policy == directory.POP3Delete)
		if e := m.at(i); stays && (c.Keywords != nil || e.Flags&c.Flags != c.Flags) {
			marked = append(marked, e)
		}
	}
	if len(marked) == 0 || c.Flags == 0 && c.Keywords == nil {
		return nil
	}
	return a.Update(ctx, func(tx *store.Tx) error {
		uids, err := m.places(tx, marked)
		if err != nil {
			return err
		}
		for folder, list := range uids {
			_, _, err := tx.SetFlags(folder, list, c)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		return nil
	})
}

// places says where messages are now, in the folders that are shown: somebody may have moved them
// from one to the other since log-in.
func (m *maildrop) places(tx *store.Tx, entries []store.Entry) (map[store.MailboxID][]store.UID, error) {
	uids := map[store.MailboxID][]store.UID{}
	for _, l := range m.lists {
		uids[l.Mailbox()] = nil
	}
	for _, e := range entries {
		if len(m.lists) == 1 {
			folder := m.lists[0].Mailbox()
			uids[folder] = append(uids[folder], e.UID)
			continue
		}
		state, err := tx.State(e.Email)
		if errors.Is(err, store.ErrNotFound) {
			continue // purged since
		}
		if errors.Is(err, store.ErrDamaged) {
			m.placesAtLogin(uids, e.Email)
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, p := range state.Mailboxes {
			if _, isShown := uids[p.Mailbox]; isShown {
				uids[p.Mailbox] = append(uids[p.Mailbox], p.UID)
			}
		}
	}
	maps.DeleteFunc(uids, func(_ store.MailboxID, list []store.UID) bool { return len(list) == 0 })
	return uids, nil
}

// placesAtLogin adds where a message was at log-in, for one whose row cannot be read.
func (m *maildrop) placesAtLogin(uids map[store.MailboxID][]store.UID, email store.EmailID) {
	for _, l := range m.lists {
		for _, e := range l.Entries(0, l.Len()) {
			if e.Email == email {
				uids[l.Mailbox()] = append(uids[l.Mailbox()], e.UID)
			}
		}
	}
}
