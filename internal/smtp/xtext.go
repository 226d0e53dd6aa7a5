package smtp

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ErrXText says that a parameter's value is not in its encoding.
var ErrXText = errors.New("malformed encoded parameter")

const hexDigits = "0123456789ABCDEF"

// AppendXText appends s in xtext, RFC 3461 §4: printable ASCII as itself but "+" and "=", any other
// octet as "+" and two hex digits.
func AppendXText(dst []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if c < '!' || c > '~' || c == '+' || c == '=' {
			dst = append(dst, '+', hexDigits[c>>4], hexDigits[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

// DecodeXText undoes xtext. It is strict, but takes lower-case hex digits, which are common.
func DecodeXText(s string) (string, error) {
	if !strings.Contains(s, "+") {
		return s, checkXChars(s)
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '+' {
			if err := checkXChars(s[i : i+1]); err != nil {
				return "", err
			}
			b.WriteByte(s[i])
			continue
		}
		if i+3 > len(s) {
			return "", ErrXText
		}
		v, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil || s[i+1] == '+' {
			return "", ErrXText
		}
		b.WriteByte(byte(v))
		i += 2
	}
	return b.String(), nil
}

func checkXChars(s string) error {
	for i := range len(s) {
		if c := s[i]; c < '!' || c > '~' || c == '=' {
			return ErrXText
		}
	}
	return nil
}

// appendUnitext appends an address of the type utf-8 as an ORCPT value, RFC 6533 §3: "\x{HEX}" for
// what an ESMTP value may not hold and, unless the peer has SMTPUTF8, for all beyond ASCII.
func appendUnitext(dst []byte, s string, utf8OK bool) []byte {
	for _, r := range s {
		plain := r > ' ' && r <= '~' && r != '\\' && r != '+' && r != '='
		if plain || utf8OK && r > '\u009F' {
			dst = utf8.AppendRune(dst, r)
			continue
		}
		dst = append(dst, `\x{`...)
		if r < 0x10 {
			dst = append(dst, '0')
		}
		dst = append(dst, strings.ToUpper(strconv.FormatInt(int64(r), 16))...)
		dst = append(dst, '}')
	}
	return dst
}

// decodeUnitext undoes appendUnitext for all three forms of RFC 6533 §3.
func decodeUnitext(s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", ErrXText
	}
	var b strings.Builder
	for len(s) > 0 {
		if rest, ok := strings.CutPrefix(s, `\x{`); ok {
			point, after, ok := strings.Cut(rest, "}")
			v, err := strconv.ParseUint(point, 16, 32)
			r := rune(v)
			if !ok || err != nil || len(point) < 2 || len(point) > 6 || !utf8.ValidRune(r) {
				return "", ErrXText
			}
			b.WriteRune(r)
			s = after
			continue
		}
		if c := s[0]; c <= ' ' || c == 0x7f || c == '\\' || c == '+' || c == '=' {
			return "", ErrXText
		}
		_, n := utf8.DecodeRuneInString(s)
		b.WriteString(s[:n])
		s = s[n:]
	}
	return b.String(), nil
}
