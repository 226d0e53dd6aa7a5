package imapd

import (
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
	_, a, err := s.quotaAccount(root)
	if err != nil {
		return err
	}
	return s.quotaReply(root, a)
}

// getQuotaRoot is GETQUOTAROOT, RFC 9208 §4.1.2; the mailbox need not exist.
func (s *session) getQuotaRoot() error {
	s.dec.SP()
	name := s.dec.Mailbox()
	if err := s.args(); err != nil {
		return err
	}
	p := s.buf()
	*p = append(*p, "* QUOTAROOT "...)
	*p = append(imap.AppendMailbox(*p, name, s.mode.utf8), ` ""`+"\r\n"...)
	return s.quotaReply("", s.account.Account)
}

// quotaReply sends QUOTA for an account: the resources that are limited, storage in units of 1,024
// bytes.
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
