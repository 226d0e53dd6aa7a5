package message

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Casemap appends the form of a UTF-8 text in which the collation i;unicode-casemap compares octets
// (RFC 5051 §2): each character in titlecase, then taken apart. It is the order that IMAP's SORT must
// keep (RFC 5256 §7); for people, Fold does better, as marks weigh more than letters here. Text that
// is not valid UTF-8 stays as it is.
func Casemap(dst, s []byte) []byte {
	start := len(dst)
	var buf [utf8.UTFMax]byte
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if 'a' <= c && c <= 'z' {
				c -= 'a' - 'A'
			}
			dst = append(dst, c)
			i++
			continue
		}
		r, n := utf8.DecodeRune(s[i:])
		if r == utf8.RuneError && n == 1 {
			return append(dst[:start], s...) // step (1)(b)
		}
		i += n
		one := utf8.AppendRune(buf[:0], unicode.ToTitle(r))
		if apart := norm.NFKD.Properties(one).Decomposition(); apart != nil {
			one = apart
		}
		dst = append(dst, one...)
	}
	return dst
}
