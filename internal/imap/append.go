package imap

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// AppendNumber appends n in decimal.
func AppendNumber[T ~int | ~int64 | ~uint32 | ~uint64](dst []byte, n T) []byte {
	return strconv.AppendUint(dst, uint64(n), 10)
}

// AppendLiteral appends the announcement of a literal of n bytes.
func AppendLiteral(dst []byte, n int64) []byte {
	dst = strconv.AppendInt(append(dst, '{'), n, 10)
	return append(dst, "}\r\n"...)
}

// AppendQuoted appends s as a quoted string; s must hold no CR, LF or NUL.
func AppendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	if strings.IndexByte(s, '"') < 0 && strings.IndexByte(s, '\\') < 0 {
		dst = append(dst, s...)
		return append(dst, '"')
	}
	for i := 0; i < len(s); i++ {
		if s[i] == '"' || s[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return append(dst, '"')
}

// AppendString appends s as a quoted string where it may be one, else as a literal. UTF-8 in
// quoted strings is for clients that asked for it.
func AppendString(dst []byte, s string, allowUTF8 bool) []byte {
	if quotable(s, allowUTF8) {
		return AppendQuoted(dst, s)
	}
	return append(AppendLiteral(dst, int64(len(s))), s...)
}

// quotable reports whether s may be sent between quotes. Long strings go as literals: old clients
// have small line buffers (RFC 2683 §3.2.1.5).
func quotable(s string, allowUTF8 bool) bool {
	high := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\r' || c == '\n' || c == 0:
			return false
		case c >= 0x80:
			high = true
		}
	}
	return len(s) <= 1024 && (!high || allowUTF8 && utf8.ValidString(s))
}

// AppendNString is AppendString, with NIL for the empty string.
func AppendNString(dst []byte, s string, allowUTF8 bool) []byte {
	if s == "" {
		return append(dst, "NIL"...)
	}
	return AppendString(dst, s, allowUTF8)
}

// AppendAString appends s as an atom where it may be one.
func AppendAString(dst []byte, s string, allowUTF8 bool) []byte {
	if s == "" || len(s) == 3 && strings.EqualFold(s, "NIL") {
		return AppendString(dst, s, allowUTF8)
	}
	for i := 0; i < len(s); i++ {
		if classes[s[i]]&isAtom == 0 {
			return AppendString(dst, s, allowUTF8)
		}
	}
	return append(dst, s...)
}

// AppendMailbox appends a mailbox name: UTF-8 for clients that enabled it, else modified UTF-7.
func AppendMailbox(dst []byte, name string, useUTF8 bool) []byte {
	if useUTF8 {
		return AppendAString(dst, name, true)
	}
	for i := 0; i < len(name); i++ {
		if name[i] == '&' || !plainName(name[i]) {
			return AppendAString(dst, string(AppendName(nil, name)), false)
		}
	}
	return AppendAString(dst, name, false)
}

// AppendFlags appends a parenthesised list.
func AppendFlags(dst []byte, flags []string) []byte {
	dst = append(dst, '(')
	for i, f := range flags {
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = append(dst, f...)
	}
	return append(dst, ')')
}

// AppendText appends s as the text of a reply: control characters become spaces, so that nothing
// in it ends the line.
func AppendText(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c >= 0x7f {
			dst = append(dst, '?')
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

// ValidKeyword reports whether s may be stored as a keyword: an atom that is not a system flag.
func ValidKeyword(s string) bool {
	for i := 0; i < len(s); i++ {
		if classes[s[i]]&isAtom == 0 {
			return false
		}
	}
	return s != ""
}
