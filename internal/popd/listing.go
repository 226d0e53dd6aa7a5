package popd

import (
	"strconv"
	"strings"

	"tram/internal/store"
)

// stat is STAT, RFC 1939 §5.
func (s *session) stat() error {
	s.ok("%d %d", s.drop.count(), s.drop.octets)
	return nil
}

// list is LIST, RFC 1939 §5: of one message, or all.
func (s *session) list(args string) error {
	return s.listing(args, func(b []byte, e *store.Entry) []byte {
		return strconv.AppendInt(b, s.drop.size(e), 10)
	})
}

// uidl is UIDL, RFC 1939 §7.
func (s *session) uidl(args string) error { return s.listing(args, s.drop.appendUID) }

// listLines is how many lines of a listing are written at once.
const listLines = 500

// listing writes a line for each message: its number and what item appends.
func (s *session) listing(args string, item func([]byte, *store.Entry) []byte) error {
	line := func(b []byte, i int, e *store.Entry) []byte {
		b = append(strconv.AppendInt(b, int64(i)+1, 10), ' ')
		return append(item(b, e), "\r\n"...)
	}
	if args = strings.TrimSpace(args); args != "" {
		i, e, err := s.drop.get(args)
		if err != nil {
			return err
		}
		_, _ = s.c.Write(line([]byte("+OK "), i, &e))
		return nil
	}
	s.ok("%d messages", s.drop.count())
	var b []byte
	lines := 0
	for i, e := range s.drop.all() {
		if s.drop.deleted[i] {
			continue
		}
		b = line(b, i, e)
		if lines++; lines%listLines == 0 {
			if _, err := s.c.Write(b); err != nil {
				return err
			}
			b = b[:0]
		}
	}
	_, _ = s.c.Write(append(b, ".\r\n"...))
	return nil
}

// dele is DELE, RFC 1939 §5: the message goes with QUIT.
func (s *session) dele(args string) error {
	i, e, err := s.drop.get(strings.TrimSpace(args))
	if err != nil {
		return err
	}
	s.drop.deleted[i] = true
	s.drop.octets -= s.drop.size(&e)
	s.ok("Message deleted")
	return nil
}

// rset is RSET, RFC 1939 §5.
func (s *session) rset() error {
	s.drop.reset()
	s.ok("%d messages", s.drop.count())
	return nil
}

// quit is QUIT, RFC 1939 §§5 and 6: what was deleted goes, in one transaction. What was fetched is
// marked in another, which a full disk may refuse: that is no reason to tell the client of a failure.
func (s *session) quit() error {
	s.end("QUIT")
	if s.drop != nil {
		if err := s.drop.commit(s.ctx, s.account); err != nil {
			s.log("QUIT", err)
			return &refused{"SYS/TEMP", "Deleted messages were not removed"}
		}
		if err := s.drop.mark(s.ctx, s.account); err != nil {
			s.log("QUIT", err)
		}
	}
	s.ok("Goodbye")
	return nil
}
