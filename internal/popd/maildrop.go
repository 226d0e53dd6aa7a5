package popd

import (
	"context"
	"fmt"
	"strconv"

	"tram/internal/store"
)

// maildrop is what a session sees: the inbox as it was at log-in. Message numbers are places in the
// list, from 1 on, and never change (RFC 1939 §4).
type maildrop struct {
	list     *store.List // shared with every other session of the mailbox
	validity uint32
	deleted  map[int]bool
	octets   int64 // of what is not deleted
}

func openMaildrop(ctx context.Context, a *store.Account) (*maildrop, error) {
	m := &maildrop{deleted: map[int]bool{}}
	err := a.View(ctx, func(tx *store.Tx) error {
		inbox, err := tx.MailboxByRole(store.RoleInbox)
		if err != nil {
			return err
		}
		m.validity = inbox.UIDValidity
		m.list, err = tx.List(inbox.ID)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open maildrop: %w", err)
	}
	for _, e := range m.list.Entries(0, m.list.Len()) {
		m.octets += int64(e.Size)
	}
	return m, nil
}

// count is the number of messages that are not deleted.
func (m *maildrop) count() int { return m.list.Len() - len(m.deleted) }

// get returns the message with a number as the client wrote it, and its place in the list.
func (m *maildrop) get(arg string) (int, store.Entry, error) {
	n, err := strconv.Atoi(arg)
	if err != nil || n < 1 {
		return 0, store.Entry{}, errArguments
	}
	if n > m.list.Len() || m.deleted[n-1] {
		return 0, store.Entry{}, &refused{"", "No such message"}
	}
	return n - 1, m.list.At(n - 1), nil
}

// appendUID appends a message's unique identifier, RFC 1939 §7: UIDVALIDITY and UID of the inbox,
// which are never used again for another message (RFC 9051 §2.3.1.1).
func (m *maildrop) appendUID(b []byte, e store.Entry) []byte {
	b = strconv.AppendUint(b, uint64(m.validity), 16)
	b = append(b, '.')
	return strconv.AppendUint(b, uint64(e.UID), 16)
}

// commit removes what was deleted. Messages that another session has removed already are no error:
// they are gone, as the client wanted.
func (m *maildrop) commit(ctx context.Context, a *store.Account) error {
	if len(m.deleted) == 0 {
		return nil
	}
	uids := make([]store.UID, 0, len(m.deleted))
	for i := range m.deleted {
		uids = append(uids, m.list.At(i).UID)
	}
	return a.Update(store.Freeing(ctx), func(tx *store.Tx) error {
		_, err := tx.Expunge(m.list.Mailbox(), uids)
		return err
	})
}
