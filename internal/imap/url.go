package imap

import (
	"net/url"
	"strings"
	"unicode/utf8"
)

// MessageURL names a message, or a piece of one, in the account of the one who uses it: the relative
// forms of RFC 5092 that RFC 4469 §3 allows. Other servers, other accounts, searches, lists and
// URLAUTH are not among them.
type MessageURL struct {
	Mailbox     string // UTF-8
	UIDValidity uint32 // 0: not given
	UID         uint32
	Section     *Section // nil: the whole message
	Partial     *Partial // Count is -1 up to the end; nil: all of it
}

// ParseMessageURL parses raw. base is the selected mailbox, which forms without a leading slash
// start from, "" when none is.
func ParseMessageURL(raw, base string) (MessageURL, bool) {
	path, ok := messagePath(raw, base)
	if !ok {
		return MessageURL{}, false
	}
	// enc-mailbox [";UIDVALIDITY=" n] "/;UID=" n ["/;SECTION=" s] ["/;PARTIAL=" a["." b]]
	path, partial, hasPartial := cutParameter(path, "/;PARTIAL=")
	path, section, hasSection := cutParameter(path, "/;SECTION=")
	path, uid, ok := cutParameter(path, "/;UID=")
	if !ok {
		return MessageURL{}, false
	}
	name, validity, hasValidity := cutParameter(path, ";UIDVALIDITY=")
	var u MessageURL
	ok = parseNonZero(uid, &u.UID) &&
		(!hasValidity || parseNonZero(validity, &u.UIDValidity)) &&
		u.setMailbox(name) &&
		(!hasSection || u.setSection(section)) &&
		(!hasPartial || u.setPartial(partial))
	if !ok {
		return MessageURL{}, false
	}
	return u, true
}

// messagePath resolves raw against the mailbox base (RFC 3986 §5.2, RFC 5092 §7) and returns the
// escaped path without its leading slash.
func messagePath(raw, base string) (string, bool) {
	levels := strings.Split(base, "/")
	for i, level := range levels {
		levels[i] = url.PathEscape(level)
	}
	escaped := strings.Join(levels, "/")
	if strings.HasPrefix(raw, ";") {
		// A message of the base mailbox itself: its name is not a last segment to be replaced.
		if base == "" {
			return "", false
		}
		raw = "/" + escaped + "/" + raw
		if strings.HasPrefix(strings.ToUpper(raw[len(escaped)+2:]), ";UIDVALIDITY=") {
			raw = "/" + escaped + raw[len(escaped)+2:]
		}
	}
	ref, err := url.Parse(raw)
	if err != nil || ref.Scheme != "" || ref.Host != "" || ref.User != nil || ref.Opaque != "" ||
		ref.RawQuery != "" || ref.ForceQuery || strings.Contains(raw, "#") ||
		strings.HasPrefix(raw, "//") {
		return "", false
	}
	from, err := url.Parse("imap://host/" + escaped)
	if err != nil {
		return "", false
	}
	return strings.TrimPrefix(from.ResolveReference(ref).EscapedPath(), "/"), true
}

// cutParameter cuts path at the last occurrence of a parameter's name, in whatever case.
func cutParameter(path, name string) (before, value string, found bool) {
	upper := upperASCII(path)
	i := strings.LastIndex(upper, name)
	if i < 0 {
		return path, "", false
	}
	return path[:i], path[i+len(name):], true
}

// upperASCII is strings.ToUpper that leaves the length as it is.
func upperASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

// parseNonZero reads a whole string as a number from 1 to 2^32-1.
func parseNonZero(s string, to *uint32) bool {
	n, used := parseUint([]byte(s))
	*to = uint32(n)
	return used == len(s) && used > 0 && 0 < n && n < 1<<32
}

func (u *MessageURL) setMailbox(escaped string) bool {
	name, err := url.PathUnescape(escaped)
	if err != nil || name == "" || !utf8.ValidString(name) {
		return false
	}
	if strings.EqualFold(name, "INBOX") {
		name = "INBOX"
	}
	u.Mailbox = name
	return true
}

// setSection reads what would stand between the brackets of BODY[...].
func (u *MessageURL) setSection(escaped string) bool {
	text, err := url.PathUnescape(escaped)
	if err != nil || text == "" {
		return false
	}
	// The bracket ends the line, so that no literal can be announced in it.
	d := Decoder{line: []byte(text + "]"), limits: Limits{Depth: 32, Quoted: len(text)}}
	u.Section = d.section()
	return d.err == nil && d.pos == len(text)
}

// setPartial reads "offset" or "offset.count".
func (u *MessageURL) setPartial(text string) bool {
	from, count, hasCount := strings.Cut(text, ".")
	offset, used := parseUint([]byte(from))
	if used == 0 || used != len(from) || offset > 1<<62 {
		return false
	}
	u.Partial = &Partial{Offset: int64(offset), Count: -1}
	if !hasCount {
		return true
	}
	n, used := parseUint([]byte(count))
	u.Partial.Count = int64(n)
	return used > 0 && used == len(count) && 0 < n && n <= 1<<62
}
