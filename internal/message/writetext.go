package message

import "bytes"

// textEncoding chooses how a text goes out: as it is when it is short ASCII lines, else in the
// shorter of quoted-printable and base64.
func textEncoding(s string) string {
	high, line, longest := 0, 0, 0
	for i := 0; i < len(s); i++ {
		line++
		switch c := s[i]; {
		case c == '\n':
			line = 0
		case c >= 0x7f || c < ' ' && c != '\t' && c != '\r':
			high++
		}
		longest = max(longest, line)
	}
	switch {
	case high == 0 && longest <= lineLimit:
		return "7bit"
	case high > len(s)/6:
		return "base64"
	}
	return "quoted-printable"
}

// writeText writes a text in its encoding, its line ends made CRLF.
func writeText(c *composer, s, encoding string) {
	var fix crlfFixer
	text := fix.finish(fix.append(make([]byte, 0, len(s)+len(s)/32), []byte(s)))
	switch encoding {
	case "base64":
		c.copyEncoded(bytes.NewReader(text))
	case "quoted-printable":
		c.Write(appendQuoted(nil, text))
	default:
		c.Write(text)
	}
}

// appendQuoted encodes text with CRLF line ends as quoted-printable, RFC 2045 §6.7. Dots and
// "From " at the beginning of a line are encoded, too, for the transports that change them.
func appendQuoted(dst, text []byte) []byte {
	const hex = "0123456789ABCDEF"
	col := 0
	for i, c := range text {
		if c == '\r' || c == '\n' {
			dst, col = append(dst, c), 0
			continue
		}
		plain := c > ' ' && c < 0x7f && c != '=' || c == ' ' || c == '\t'
		if (c == ' ' || c == '\t') && (i+1 == len(text) || text[i+1] == '\r') {
			plain = false
		}
		if col == 0 && (c == '.' || bytes.HasPrefix(text[i:], []byte("From "))) {
			plain = false
		}
		width := 3
		if plain {
			width = 1
		}
		if col+width > 75 {
			dst, col = append(dst, "=\r\n"...), 0
		}
		if plain {
			dst = append(dst, c)
		} else {
			dst = append(dst, '=', hex[c>>4], hex[c&15])
		}
		col += width
	}
	return dst
}
