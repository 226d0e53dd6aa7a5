package content

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"

	"tram/internal/message"
)

// plainHeader reports whether all programs read a part's header alike, as far as its parts and encodings go.
func plainHeader(hdr []byte) bool {
	for f := range message.Header(hdr) {
		if f.Name == nil || len(f.Raw) > 64<<10 {
			return false
		}
		for _, c := range f.Name {
			if c <= ' ' || c >= 0x7f {
				return false
			}
		}
		if len(f.Name) < len(f.Raw) && (f.Raw[len(f.Name)] == ' ' || f.Raw[len(f.Name)] == '\t') {
			return false // "Content-Type : "
		}
		if len(f.Name) == 0 {
			return false
		}
		if f.Name[0]|0x20 != 'c' && f.Name[0] != '_' {
			continue
		}
		switch {
		case f.Is("Content-Type"):
			if !plainType(f.Value()) {
				return false
			}
		case f.Is("Content-Transfer-Encoding"):
			if !plainEncoding(f.Value()) {
				return false
			}
		case nearName(f.Name):
			return false
		}
	}
	return true
}

// nearName reports whether a field's name could be taken for one that matters, by a program that drops what
// is no letter.
func nearName(name []byte) bool {
	letters := make([]byte, 0, 32)
	for _, c := range name {
		if c |= 0x20; c >= 'a' && c <= 'z' && len(letters) < cap(letters) {
			letters = append(letters, c)
		}
	}
	return string(letters) == "contenttype" || string(letters) == "contenttransferencoding"
}

// plainEncoding reports whether a Content-Transfer-Encoding is one word of RFC 2045 §6.1.
func plainEncoding(v string) bool {
	switch strings.ToLower(v) {
	case "7bit", "8bit", "binary", "base64", "quoted-printable":
		return true
	}
	return false
}

// plainType reports whether a Content-Type has the form that all programs agree on: no comments, no
// escapes, no pieces, one boundary of usual characters.
func plainType(v string) bool {
	typ, rest, _ := strings.Cut(v, ";")
	typ = strings.TrimSpace(typ)
	if strings.Count(typ, "/") != 1 || strings.ContainsAny(typ, " \t()\"'=<>@,?\\") {
		return false
	}
	boundaries := 0
	for rest = strings.TrimLeft(rest, " \t"); rest != ""; {
		name, after, ok := strings.Cut(rest, "=")
		if !ok || name == "" || strings.ContainsAny(name, " \t()\";<>@,?\\") {
			return false
		}
		value, tail, ok := paramValue(after)
		if !ok {
			return false
		}
		if name = strings.ToLower(name); strings.HasPrefix(name, "boundary") || strings.HasPrefix(name, "charset*") {
			boundaries++
			if name != "boundary" || boundaries > 1 || !plainBoundary(value) {
				return false
			}
		}
		rest = strings.TrimLeft(tail, " \t")
		if rest != "" {
			if rest[0] != ';' {
				return false
			}
			rest = strings.TrimLeft(rest[1:], " \t")
		}
	}
	return boundaries == 1 || !strings.EqualFold(strings.Split(typ, "/")[0], "multipart")
}

// paramValue reads a parameter's value as written.
func paramValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, "; \t")
		if end < 0 {
			end = len(s)
		}
		return s[:end], s[end:], !strings.ContainsAny(s[:end], "\"()<>\\") && end > 0
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return s[1:i], s[i+1:], true
		}
	}
	return "", "", false
}

// plainBoundary reports whether a boundary has the form of RFC 2046 §5.1.1, without what some take for a
// comment, a quote or an encoded word.
func plainBoundary(b string) bool {
	if b == "" || len(b) > 70 || strings.Contains(b, "=?") || b[len(b)-1] == ' ' || b[0] == ' ' {
		return false
	}
	for i := 0; i < len(b); i++ {
		c := b[i]
		if !(c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || strings.IndexByte("+_,-./:=?; $!#%&*~{}|@[]^`", c) >= 0) {
			return false
		}
	}
	return true
}

// countDelimiters counts the lines that some program may take for a delimiter of one of the boundaries: those
// that begin with it, in any case, and those that begin like it.
func (s *readings) countDelimiters(boundaries []string) (int, error) {
	for i, b := range boundaries {
		boundaries[i] = strings.ToLower(b)
	}
	n := 0
	r := bufio.NewReaderSize(io.NewSectionReader(s.r, 0, s.m.Size), 32<<10)
	for start := true; ; {
		line, err := r.ReadSlice('\n')
		if start && len(line) > 2 && line[0] == '-' && line[1] == '-' {
			got := strings.ToLower(string(bytes.TrimRight(line[2:min(len(line), 400)], " \t\r\n")))
			for _, b := range boundaries {
				if strings.HasPrefix(got, b) || len(got) >= 8 && strings.HasPrefix(b, got) {
					n++
					break
				}
			}
		}
		start = err == nil
		switch {
		case err == io.EOF:
			return n, nil
		case err != nil && err != bufio.ErrBufferFull:
			return 0, fmt.Errorf("read message: %w", err)
		}
	}
}
