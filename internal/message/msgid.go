package message

import (
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// longestID bounds a message identifier: RFC 5322 §2.1.1, a line.
const longestID = 998

// MessageIDs extracts the message identifiers of Message-ID, In-Reply-To or References, in order,
// with their angle brackets and without white space (RFC 5322 §3.6.4). Phrases between them, as in
// old In-Reply-To fields, are left out. When no brackets are there at all, words with an @ count.
func MessageIDs(s string) []string {
	s = unfold(s)
	n := strings.Count(s, "<")
	if n == 0 {
		return bareIDs(s)
	}
	ids := make([]string, 0, min(n, 100))
	for pos := 0; ; {
		id, next := nextID(s, pos)
		if next < 0 {
			break
		}
		if pos = next; id != "" {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	return ids
}

// bareIDs takes the words with an @ in them for identifiers.
func bareIDs(s string) (ids []string) {
	for w := range strings.FieldsSeq(s) {
		if strings.IndexByte(w, '@') > 0 && len(w) < longestID {
			ids = append(ids, "<"+w+">")
		}
	}
	return ids
}

// firstID is the first of MessageIDs(s), "" if there is none; s is unfolded.
func firstID(s string) string {
	for pos := 0; ; {
		id, next := nextID(s, pos)
		if id != "" {
			return id
		}
		if next < 0 {
			break
		}
		pos = next
	}
	if ids := MessageIDs(s); len(ids) > 0 {
		return ids[0]
	}
	return ""
}

// nextID finds the next <...> at or after pos, and where to go on; next is -1 at the end.
func nextID(s string, pos int) (id string, next int) {
	open := strings.IndexByte(s[pos:], '<')
	if open < 0 {
		return "", -1
	}
	open += pos
	end := strings.IndexAny(s[open+1:], "<>")
	if end < 0 { // cut off, as by a short field in somebody's database
		id = trim(s[open:])
		if strings.ContainsAny(id, " \t") || len(id) < 2 || len(id) > longestID {
			return "", -1
		}
		return id + ">", len(s)
	}
	end += open + 1
	if s[end] == '<' {
		return "", end // "<<a@b>", or one that was never closed
	}
	id = s[open : end+1]
	if strings.ContainsAny(id, " \t") {
		id = strings.NewReplacer(" ", "", "\t", "").Replace(id)
	}
	if len(id) <= 2 || len(id) > longestID {
		id = ""
	}
	return id, end + 1
}

// newestIDs is MessageIDs for a long References field: the last max of them.
func newestIDs(s string, max int) []string {
	s = unfold(s)
	start, n := len(s), 0
	for n < max {
		i := strings.LastIndexByte(s[:start], '<')
		if i < 0 {
			return MessageIDs(s)
		}
		start, n = i, n+1
	}
	return MessageIDs(s[start:])
}

// NewMessageID makes a message identifier from 128 bits of rand: <...@domain>, RFC 5322 §3.6.4.
func NewMessageID(rand io.Reader, domain string) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return "", fmt.Errorf("make message id: %w", err)
	}
	return "<" + hex.EncodeToString(b[:]) + "@" + asciiHost(domain) + ">", nil
}
