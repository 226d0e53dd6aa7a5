package imapd

import "tram/internal/imap"

// getQuota is GETQUOTA, RFC 9208 §4.1.1. An account has one quota root, called "".
func (s *session) getQuota() error {
	s.dec.SP()
	root := s.dec.AString()
	if err := s.args(); err != nil {
		return err
	}
	if root != "" {
		return &no{"NONEXISTENT", "No such quota root"}
	}
	return s.quotaReply()
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
	return s.quotaReply()
}

// quotaReply sends QUOTA: the resources that are limited, storage in units of 1,024 bytes.
func (s *session) quotaReply() error {
	usage, quota, err := s.account.Usage(s.ctx)
	if err != nil {
		return err
	}
	b := append(*s.buf(), `* QUOTA "" (`...)
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
