package imapd

import (
	"encoding/hex"
	"strconv"
	"strings"

	"tram/internal/store"
)

// Object identifiers, RFC 8474: a letter for the kind, so that no two kinds share one, and a number.
const (
	mailboxPrefix = 'F'
	threadPrefix  = 'T'
	emailPrefix   = 'M'
)

// appendID appends a kind's letter and a number. What is in another's account has the account's number
// before it: no two mailboxes that a client sees may have the same identifier (RFC 8474 §4).
func (a *account) appendID(b []byte, prefix byte, n uint64) []byte {
	b = append(b, prefix)
	if a.prefix != "" {
		b = append(strconv.AppendUint(b, uint64(a.ID()), 10), '-')
	}
	return strconv.AppendUint(b, n, 10)
}

// parseID returns 0 for what is no identifier of the kind in this account.
func (a *account) parseID(s string, prefix byte) uint64 {
	number := s[strings.LastIndexByte(s, '-')+1:]
	if number == s && s != "" {
		number = s[1:]
	}
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || string(a.appendID(nil, prefix, n)) != s {
		return 0
	}
	return n
}

// appendEmailID appends the EMAILID. It names the stored bytes, not the store's email: a copy into a
// mailbox that holds the message already is a new email with flags of its own, and must have the
// EMAILID of its original all the same (RFC 8474 §5.1).
func appendEmailID(b []byte, _ store.Entry, m *store.Email) []byte {
	return hex.AppendEncode(append(b, emailPrefix), m.Blob.ID[:])
}
