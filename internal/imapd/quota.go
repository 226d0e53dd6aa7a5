package imapd

import (
	"strings"

	"tram/internal/imap"
	"tram/internal/store"
)

// getQuota is GETQUOTA, RFC 9208 §4.1.1. An account has one quota root, called "". An administrator
// has those of the others in the domain too, under their addresses: see quotaset.go.
func (s *session) getQuota() error {
	s.dec.SP()
	root := s.dec.AString()
	if err := s.args(); err != nil {
		return err
	}
	a, err := s.quotaSeen(root)
	if err != nil {
		return err
	}
	return s.quotaReply(root, a)
}

// quotaSeen returns the account of a quota root that the session's person may know.
func (s *session) quotaSeen(root string) (*store.Account, error) {
	if root != "" {
		a, err := s.sharedQuota(root)
		if a != nil || err != nil {
			return a, err
		}
	}
	_, a, err := s.quotaAccount(root)
	return a, err
}

// sharedQuota returns the account of a quota root that one of the mailboxes one may read is under, nil
// if there is none (RFC 9208 §6).
func (s *session) sharedQuota(root string) (*store.Account, error) {
	all, err := s.sharedWith()
	if err != nil {
		return nil, err
	}
	for _, a := range all {
		if !strings.EqualFold(a.quotaRoot(), root) {
			continue
		}
		reads := false
		err := a.View(s.ctx, func(tx *store.Tx) error {
			return tx.EachMailbox(func(m *store.Mailbox) error {
				if m.Rights.Has(store.RightRead) {
					reads = true
					return store.Stop
				}
				return nil
			})
		})
		if err != nil || !reads {
			return nil, err
		}
		return a.Account, nil
	}
	return nil, nil
}

// quotaRoot is the quota root that the mailboxes of an account are under: for its owner it has no name,
// for others it has the owner's.
func (a *account) quotaRoot() string {
	name := strings.TrimPrefix(a.prefix, othersPrefix)
	return decodeOwner(strings.TrimSuffix(name, "/"))
}

// getQuotaRoot is GETQUOTAROOT, RFC 9208 §4.1.2; an own mailbox need not exist. Of
// another's, one must be allowed to read it (RFC 9208 §6).
func (s *session) getQuotaRoot() error {
	s.dec.SP()
	name := s.dec.Mailbox()
	if err := s.args(); err != nil {
		return err
	}
	at, err := s.place(name)
	if err != nil {
		return err
	}
	if at.account != s.account {
		err := at.view(s.ctx, func(tx *store.Tx) error { return readable(tx, at.name) })
		if err != nil {
			return err
		}
	}
	root := at.account.quotaRoot()
	p := s.buf()
	*p = append(*p, "* QUOTAROOT "...)
	*p = append(imap.AppendMailbox(*p, name, s.mode.utf8), ' ')
	*p = append(imap.AppendAString(*p, root, s.mode.utf8), "\r\n"...)
	return s.quotaReply(root, at.account.Account)
}

// readable returns an error unless there is a mailbox of a name and it may be read.
func readable(tx *store.Tx, name string) error {
	m, err := tx.MailboxByName(name)
	if err != nil {
		return err
	}
	return needs(m.Rights, store.RightRead)
}

// quotaReply sends QUOTA for an account: the resources that are limited, storage in units of 1,024
// bytes. Without limits the list is empty, as RFC 9208 §4.2.1 says; its grammar, which forgot that, has
// at least one resource.
func (s *session) quotaReply(root string, a *store.Account) error {
	usage, quota, err := a.Usage(s.ctx)
	if err != nil {
		return err
	}
	b := append(*s.buf(), "* QUOTA "...)
	b = append(imap.AppendAString(b, root, s.mode.utf8), " ("...)
	if quota.Bytes > 0 {
		b = imap.AppendNumber(append(b, "STORAGE "...), (usage.Bytes+1023)/1024)
		b = imap.AppendNumber(append(b, ' '), quota.Bytes/1024)
	}
	if quota.Messages > 0 {
		if quota.Bytes > 0 {
			b = append(b, ' ')
		}
		b = imap.AppendNumber(append(b, "MESSAGE "...), usage.Messages)
		b = imap.AppendNumber(append(b, ' '), quota.Messages)
	}
	*s.buf() = append(b, ")\r\n"...)
	return nil
}
