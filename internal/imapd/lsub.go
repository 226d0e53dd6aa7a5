package imapd

import (
	"strings"

	"tram/internal/imap"
	"tram/internal/store"
)

// lsub is LSUB, RFC 3501 §6.3.9; IMAP4rev2 has LIST (SUBSCRIBED) instead.
func (s *session) lsub() error {
	s.dec.SP()
	reference := s.dec.Reference()
	s.dec.SP()
	pattern := s.dec.Pattern()
	if err := s.args(); err != nil {
		return err
	}
	var names []string
	err := s.view(func(tx *store.Tx) (err error) {
		names, err = tx.Subscriptions()
		return err
	})
	if err != nil {
		return err
	}
	p := newPatterns(reference, []string{pattern})
	for _, n := range expand(names, p, strings.Contains(pattern, "%")) {
		b := append(*s.buf(), "* LSUB ("...)
		if !n.meets {
			b = append(b, imap.AttrNoSelect...) // only what is below it is subscribed
		}
		b = append(b, `) "/" `...)
		*s.buf() = append(imap.AppendMailbox(b, n.name, s.mode.utf8), "\r\n"...)
		if err := s.spill(); err != nil {
			return err
		}
	}
	return nil
}
