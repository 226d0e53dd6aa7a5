package content

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// clean makes s fit to be shown as what was seen: one line without controls, direction marks and what is
// invisible, at most n bytes.
func clean(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError || isDirection(r) || isInvisible(r):
			return -1
		case unicode.IsControl(r) || unicode.IsSpace(r):
			return ' '
		}
		return r
	}, s)
	s = strings.TrimSpace(s)
	if len(s) <= n {
		return s
	}
	for n > 3 && !utf8.RuneStart(s[n-3]) {
		n--
	}
	return s[:max(n-3, 0)] + "…"
}

// isDirection reports whether r turns the direction of the text around it.
func isDirection(r rune) bool {
	return r == 0x61c || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x200e || r == 0x200f
}

// isInvisible reports whether r shows nothing and has no use in a Latin text.
func isInvisible(r rune) bool {
	return r >= 0x200b && r <= 0x200d || r == 0x2060 || r == 0xfeff || r == 0xad || r == 0x34f ||
		r >= 0xe0000 && r <= 0xe007f || r == 0x180e || r >= 0x2061 && r <= 0x2064 ||
		r == 0x115f || r == 0x1160 || r == 0x3164
}

// lower is b with ASCII letters in lower case: unlike bytes.ToLower it leaves everything where it stands.
func lower(b []byte) []byte {
	out := make([]byte, len(b))
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		out[i] = c
	}
	return out
}
