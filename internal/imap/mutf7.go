package imap

import (
	"encoding/base64"
	"unicode/utf16"
	"unicode/utf8"
)

// Modified UTF-7, RFC 3501 §5.1.3 and RFC 9051 appendix A.1: printable ASCII stands for itself but
// "&", which is written "&-"; everything else is UTF-16BE in base64 with "," for "/", between "&"
// and "-".
var base64Name = base64.NewEncoding(
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,",
).WithPadding(base64.NoPadding).Strict()

// plainName reports whether c stands for itself in modified UTF-7.
func plainName(c byte) bool { return 0x20 <= c && c <= 0x7e && c != '&' }

// AppendName appends name, which is UTF-8, in modified UTF-7. Invalid UTF-8 becomes U+FFFD.
func AppendName(dst []byte, name string) []byte {
	for i := 0; i < len(name); {
		c := name[i]
		switch {
		case plainName(c):
			dst = append(dst, c)
			i++
		case c == '&':
			dst = append(dst, '&', '-')
			i++
		default:
			end := i
			for end < len(name) && !plainName(name[end]) && name[end] != '&' {
				end++
			}
			dst = appendShifted(dst, name[i:end])
			i = end
		}
	}
	return dst
}

// appendShifted appends a run of characters that do not stand for themselves.
func appendShifted(dst []byte, s string) []byte {
	units := make([]byte, 0, 2*len(s))
	for _, r := range s {
		if hi, lo := utf16.EncodeRune(r); hi != utf8.RuneError {
			units = append(units, byte(hi>>8), byte(hi), byte(lo>>8), byte(lo))
		} else {
			units = append(units, byte(r>>8), byte(r))
		}
	}
	dst = append(dst, '&')
	dst = base64Name.AppendEncode(dst, units)
	return append(dst, '-')
}

// DecodeName decodes modified UTF-7 and reports whether it was valid: one name has one encoding, so
// that two spellings never name the same mailbox. UTF-8 is let through as it is: some clients of
// IMAP4rev1 send it without asking (old Outlook for Mac, scripts with imaplib).
func DecodeName(s string) (string, bool) {
	plain := true
	for i := 0; i < len(s); i++ {
		if s[i] == '&' || s[i] < 0x20 || s[i] == 0x7f {
			plain = false
		}
	}
	if plain {
		return s, true
	}
	out := make([]byte, 0, len(s))
	shifted := -1 // where the last shifted run ended in s
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c < 0x20 || c == 0x7f:
			return "", false
		case c != '&':
			out = append(out, c)
			i++
		case i+1 < len(s) && s[i+1] == '-':
			out = append(out, '&')
			i += 2
		default:
			if i == shifted {
				return "", false // two runs that should have been one
			}
			end := i + 1
			for end < len(s) && s[end] != '-' {
				end++
			}
			var ok bool
			if end == len(s) {
				return "", false
			}
			if out, ok = appendUnshifted(out, s[i+1:end]); !ok {
				return "", false
			}
			i = end + 1
			shifted = i
		}
	}
	return string(out), true
}

// appendUnshifted decodes what stands between "&" and "-".
func appendUnshifted(dst []byte, b64 string) ([]byte, bool) {
	units, err := base64Name.DecodeString(b64)
	if err != nil || len(units) == 0 || len(units)%2 != 0 {
		return nil, false
	}
	for i := 0; i < len(units); i += 2 {
		r := rune(units[i])<<8 | rune(units[i+1])
		if utf16.IsSurrogate(r) {
			if i+3 >= len(units) {
				return nil, false
			}
			r = utf16.DecodeRune(r, rune(units[i+2])<<8|rune(units[i+3]))
			if r == utf8.RuneError {
				return nil, false
			}
			i += 2
		} else if r < 0x80 && plainName(byte(r)) || r == '&' || r < 0x20 || r == 0x7f {
			return nil, false
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst, true
}
