package imapd

import (
	"unicode/utf8"

	"tram/internal/imap"
	"tram/internal/store"
)

// maxPreview is the most characters a preview may have on the wire, RFC 8970 §3.3. What the store
// keeps may be configured to be longer.
const maxPreview = 256

// preview writes PREVIEW, RFC 8970 §3. It was made when the message came, so it is never late: LAZY
// and its absence are answered alike, and NIL, which would mean "ask again", is never sent. A message
// without a text has the empty string (§3.2).
func (r *row) preview(_ store.Entry, m *store.Email) error {
	r.label("PREVIEW ")
	*r.out = imap.AppendString(*r.out, cutText(m.Preview, maxPreview), r.utf8)
	return nil
}

// cutText returns the first n characters of UTF-8.
func cutText(b []byte, n int) string {
	if len(b) <= n {
		return string(b)
	}
	end := 0
	for range n {
		_, size := utf8.DecodeRune(b[end:])
		end += size
	}
	return string(b[:end])
}
