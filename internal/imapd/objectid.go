package imapd

import (
	"encoding/hex"
	"strconv"

	"tram/internal/store"
)

// Object identifiers, RFC 8474: a letter for the kind, so that no two kinds share one, and a number.
const (
	mailboxPrefix = 'F'
	threadPrefix  = 'T'
	emailPrefix   = 'M'
)

// appendID appends a kind's letter and a number.
func appendID(b []byte, prefix byte, n uint64) []byte {
	return strconv.AppendUint(append(b, prefix), n, 10)
}

// parseID returns 0 for what is no identifier of the kind.
func parseID(s string, prefix byte) uint64 {
	if s == "" || s[0] != prefix {
		return 0
	}
	n, err := strconv.ParseUint(s[1:], 10, 64)
	if err != nil || string(appendID(nil, prefix, n)) != s {
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
