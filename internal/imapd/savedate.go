package imapd

import (
	"tram/internal/imap"
	"tram/internal/store"
)

// SAVEDATE, RFC 8514: when a message came into the mailbox it is in, by APPEND, COPY, MOVE or
// delivery. The store keeps it for every place of every email, so that SAVEDATESUPPORTED finds all
// messages of all mailboxes.

// saved is for keys about the save date; time and zone are disregarded (RFC 8514 §4.3), as they are
// for the other dates.
func saved(since, before bool) keyFunc {
	return func(_ *compiler, k *imap.SearchKey) (store.Filter, error) {
		from, to := day(k, since, before)
		return store.SavedIn{Since: from, Before: to}, nil
	}
}

// saveDate is the FETCH item SAVEDATE (RFC 8514 §4.2). A message that was expunged in the meantime has
// no save date any more: it is left out of the replies and the command says why.
func (r *row) saveDate(e store.Entry, _ *store.Email) error {
	st, err := r.tx.State(e.Email)
	if err != nil {
		return err
	}
	for _, m := range st.Mailboxes {
		if m.Mailbox == r.s.sel.id && m.UID == e.UID {
			r.label("SAVEDATE ")
			*r.out = imap.AppendDateTime(*r.out, m.Saved)
			return nil
		}
	}
	return store.ErrNotFound
}
