package popd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"

	"tram/internal/directory"
	"tram/internal/store"
)

// maildrop is what a session sees: the folders that the account shows, as they were at log-in.
// Message numbers are places in their order, from 1 on, and never change (RFC 1939 §4).
type maildrop struct {
	settings directory.Maildrop
	lists    []*store.List // of the folders, shared with every other session
	// order is the messages of several folders by their age in the account, each once; one folder
	// needs none, its list is the order.
	order []spot
	// forms are of the few messages that do not go out as they are stored: they have no line end at
	// their end, or the program cannot read UTF-8 in their headers.
	forms map[store.EmailID]store.LineForm
	utf8  bool // the program said UTF8

	deleted map[int]bool
	// fetched are those that were sent whole; true: policy "delete" deletes it with QUIT.
	fetched map[int]bool
	octets  int64 // of what is not deleted
}

// spot is where a message stands: in which list, at which index.
type spot struct{ list, at int32 }

func openMaildrop(ctx context.Context, a *store.Account, o directory.Maildrop, utf8 bool) (
	*maildrop, error) {
	m := &maildrop{settings: o, utf8: utf8, deleted: map[int]bool{}, fetched: map[int]bool{}}
	err := a.View(ctx, func(tx *store.Tx) error {
		m.lists = m.lists[:0]
		folders, err := shown(tx, o)
		if err != nil {
			return err
		}
		for _, id := range folders {
			list, err := tx.List(id)
			if err != nil {
				return err
			}
			m.lists = append(m.lists, list)
		}
		m.forms, err = tx.LineForms()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open maildrop: %w", err)
	}
	if len(m.lists) > 1 {
		m.merge()
	}
	for _, e := range m.all() {
		m.octets += m.size(e)
	}
	return m, nil
}

// shown returns the folders that POP3 shows: those of the settings that are there still, and the
// Inbox when that leaves none.
func shown(tx *store.Tx, o directory.Maildrop) ([]store.MailboxID, error) {
	var folders []store.MailboxID
	for _, f := range o.Folders {
		_, err := tx.Counts(store.MailboxID(f))
		if errors.Is(err, store.ErrNotFound) {
			continue // deleted since; its identifier comes to no other
		}
		if err != nil {
			return nil, err
		}
		folders = append(folders, store.MailboxID(f))
	}
	if len(folders) > 0 {
		return folders, nil
	}
	inbox := tx.RoleMailbox(store.RoleInbox)
	if inbox == 0 {
		return nil, fmt.Errorf("inbox: %w", store.ErrNotFound)
	}
	return []store.MailboxID{inbox}, nil
}

// merge puts the messages of several folders into one order. One that is in two of them is one
// message: it has one identifier, and a program would take the second for a server's mistake.
func (m *maildrop) merge() {
	n := 0
	for _, l := range m.lists {
		n += l.Len()
	}
	type aged struct {
		email store.EmailID
		spot
	}
	all := make([]aged, 0, n)
	for k, l := range m.lists {
		for i, e := range l.Entries(0, l.Len()) {
			all = append(all, aged{e.Email, spot{int32(k), int32(i)}})
		}
	}
	slices.SortFunc(all, func(a, b aged) int {
		return cmp.Or(cmp.Compare(a.email, b.email), cmp.Compare(a.list, b.list), cmp.Compare(a.at, b.at))
	})
	m.order = make([]spot, 0, n)
	for i := range all {
		if i == 0 || all[i].email != all[i-1].email {
			m.order = append(m.order, all[i].spot)
		}
	}
}

// total is how many messages there were at log-in.
func (m *maildrop) total() int {
	if m.order != nil {
		return len(m.order)
	}
	return m.lists[0].Len()
}

// count is the number of messages that are not deleted.
func (m *maildrop) count() int { return m.total() - len(m.deleted) }

func (m *maildrop) at(i int) store.Entry {
	if m.order == nil {
		return m.lists[0].At(i)
	}
	return m.lists[m.order[i].list].At(int(m.order[i].at))
}

// all iterates over all messages, deleted or not.
func (m *maildrop) all() iter.Seq2[int, *store.Entry] {
	if m.order == nil {
		return m.lists[0].Entries(0, m.lists[0].Len())
	}
	return func(yield func(int, *store.Entry) bool) {
		for i := range m.order {
			if e := m.at(i); !yield(i, &e) {
				return
			}
		}
	}
}

// size is how many octets RETR sends of a message, before dots are doubled (RFC 1939 §11).
func (m *maildrop) size(e *store.Entry) int64 {
	if len(m.forms) == 0 {
		return int64(e.Size)
	}
	switch f := m.forms[e.Email]; {
	case f.Surrogate && !m.utf8:
		return int64(e.Size) + f.Growth
	case f.Open:
		return int64(e.Size) + int64(len("\r\n"))
	}
	return int64(e.Size)
}

// asSurrogate reports whether a message is sent as its surrogate, RFC 6856 §2.1.
func (m *maildrop) asSurrogate(e *store.Entry) bool { return !m.utf8 && m.forms[e.Email].Surrogate }

// get returns the message with a number as the client wrote it, and its place.
func (m *maildrop) get(arg string) (int, store.Entry, error) {
	n, err := strconv.Atoi(arg)
	if err != nil || n < 1 {
		return 0, store.Entry{}, errArguments
	}
	if n > m.total() || m.deleted[n-1] {
		return 0, store.Entry{}, errNoMessage
	}
	return n - 1, m.at(n - 1), nil
}

var errNoMessage = &refused{"", "No such message"}

// appendUID appends a message's unique identifier, RFC 1939 §7. It tells the email itself and not
// its place, so it stays when the message is moved between folders that are shown, and when a
// repair gives a folder a new UIDVALIDITY. An email's number is never given out again; should an
// older state of the store be brought back, and numbers with it be given to other messages, then
// these came at another time, or have another size.
func (m *maildrop) appendUID(b []byte, e *store.Entry) []byte {
	b = append(strconv.AppendUint(b, uint64(e.Email), 16), '.')
	b = append(strconv.AppendInt(b, e.Received, 16), '.')
	return strconv.AppendUint(b, uint64(e.Size), 16)
}
