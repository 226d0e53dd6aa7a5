package admin

import (
	"context"
	"errors"
	"slices"

	"tram/internal/directory"
	"tram/internal/store"
)

// POP3 is what an account's POP3 programs see, and what becomes of what they have fetched.
type POP3 struct {
	Folders []string `json:"folders"` // by the names that they have now
	Policy  string   `json:"policy"`  // "keep", "delete" or "days"
	Days    int      `json:"days,omitempty"`
	Seen    bool     `json:"seen"` // what was fetched is marked as seen
}

// showPOP3 names the folders. One that is gone is left out; without any there is the Inbox.
func (h *House) showPOP3(ctx context.Context, a directory.Account) (POP3, error) {
	m := a.Maildrop
	p := POP3{Policy: m.Policy.String(), Days: m.Days, Seen: m.Seen}
	if len(m.Folders) > 0 {
		err := h.o.Store.Account(store.AccountID(a.ID)).View(ctx, func(tx *store.Tx) error {
			p.Folders = nil
			for _, id := range m.Folders {
				folder, err := tx.Mailbox(store.MailboxID(id))
				if err != nil && !errors.Is(err, store.ErrNotFound) {
					return err
				}
				if err == nil {
					p.Folders = append(p.Folders, folder.Name)
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return p, fault(err)
		}
	}
	if len(p.Folders) == 0 {
		p.Folders = []string{"INBOX"}
	}
	return p, nil
}

// setPOP3 finds the folders, so that the settings survive when one is renamed.
func (h *House) setPOP3(ctx context.Context, a directory.Account, p POP3) error {
	m := directory.Maildrop{Days: p.Days, Seen: p.Seen}
	var known bool
	if m.Policy, known = directory.ParseMaildropPolicy(p.Policy); !known {
		return invalid("%q is no policy of POP3, which would be keep, delete or days", p.Policy)
	}
	switch {
	case m.Policy == directory.POP3Days && (p.Days < 1 || p.Days > directory.MaxPOP3Days):
		return invalid("mail is kept for %d days, from 1 to %d are possible", p.Days, directory.MaxPOP3Days)
	case m.Policy != directory.POP3Days && p.Days != 0:
		return invalid("days belong to the policy days, and this is %s", p.Policy)
	case len(p.Folders) > directory.MaxPOP3Folders:
		return invalid("%d folders, POP3 shows %d at most", len(p.Folders), directory.MaxPOP3Folders)
	}
	if len(p.Folders) > 0 {
		err := h.o.Store.Account(store.AccountID(a.ID)).View(ctx, func(tx *store.Tx) error {
			m.Folders = nil
			for _, name := range p.Folders {
				id, _, err := tx.FindMailbox(name)
				if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrInvalidName) {
					return &Fault{KindNotFound, a.Address.Unicode() + " has no folder \"" + name + "\""}
				}
				if err != nil {
					return fault(err)
				}
				if !slices.Contains(m.Folders, uint32(id)) {
					m.Folders = append(m.Folders, uint32(id))
				}
			}
			if len(m.Folders) == 1 && m.Folders[0] == uint32(tx.RoleMailbox(store.RoleInbox)) {
				m.Folders = nil // the usual
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return h.o.Directory.SetMaildrop(ctx, a.ID, m)
}

// Folders lists an account's folders by name.
func (h *House) Folders(ctx context.Context, address string) ([]string, error) {
	a, err := h.find(ctx, address)
	if err != nil {
		return nil, err
	}
	names := []string{}
	err = h.o.Store.Account(store.AccountID(a.ID)).View(ctx, func(tx *store.Tx) error {
		names = names[:0]
		folders, err := tx.Mailboxes()
		for _, m := range folders {
			names = append(names, m.Name)
		}
		return err
	})
	return names, fault(err)
}
