package unpack

import (
	"bytes"
	"compress/zlib"
	"encoding/ascii85"
	"io"
	"unicode/utf16"
	"unicode/utf8"
)

// pdfNames are the names of a PDF that say what it does, ISO 32000-1 §12.6 and §7.11.4.
var pdfNames = map[string]Marks{
	"JavaScript": JavaScript, "JS": JavaScript, "Launch": Launch, "OpenAction": OpenAction, "AA": OpenAction,
	"EmbeddedFile": Embedded, "EmbeddedFiles": Embedded, "RichMedia": Embedded, "Encrypt": Encrypted,
	"XFA": Form, "SubmitForm": Form,
}

// pdf looks into a PDF: its names, in object streams too, its text and its links. The cross references are
// not followed, since a reader repairs them: whatever stands in the file is looked at.
func (w *walker) pdf(b []byte) Marks {
	var marks Marks
	for len(b) > 0 && !w.over() {
		i := bytes.Index(b, []byte("stream"))
		if i < 0 {
			marks |= w.pdfObjects(b)
			break
		}
		head := b[:i]
		marks |= w.pdfObjects(head)
		b = b[i+len("stream"):]
		if bytes.HasSuffix(head, []byte("end")) {
			continue
		}
		dict := head[max(0, len(head)-4096):]
		if open := bytes.LastIndex(dict, []byte(" obj")); open >= 0 {
			dict = dict[open:]
		}
		b = bytes.TrimPrefix(bytes.TrimPrefix(b, []byte("\r")), []byte("\n"))
		end := bytes.Index(b, []byte("endstream"))
		if end < 0 {
			end = len(b)
		}
		marks |= w.pdfStream(dict, b[:end])
		b = b[end:]
	}
	if marks.Has(Encrypted) {
		return marks &^ Damaged // streams that are encrypted cannot be unpacked
	}
	return marks
}

// pdfStream undoes the filters of a stream and looks at what comes out. Pictures are left alone.
func (w *walker) pdfStream(dict, b []byte) Marks {
	names := pdfNameList(dict)
	var filters []string
	wanted := true
	for _, n := range names {
		switch n {
		case "FlateDecode", "Fl", "ASCIIHexDecode", "AHx", "ASCII85Decode", "A85", "LZWDecode", "RunLengthDecode":
			filters = append(filters, n)
		case "DCTDecode", "JPXDecode", "CCITTFaxDecode", "JBIG2Decode", "FontFile", "FontFile2", "FontFile3":
			wanted = false
		}
	}
	if !wanted {
		return 0
	}
	if len(filters) > w.lim.ArchiveDeep {
		w.fail("a stream packed %d times over", len(filters))
		return Bomb
	}
	var marks Marks
	for _, f := range filters {
		var r io.Reader
		switch f {
		case "FlateDecode", "Fl":
			z, err := zlib.NewReader(bytes.NewReader(b))
			if err != nil {
				return marks | Damaged
			}
			r = z
		case "ASCII85Decode", "A85":
			r = ascii85.NewDecoder(bytes.NewReader(b[:a85End(b)]))
		case "ASCIIHexDecode", "AHx":
			r = bytes.NewReader(hexBytes(b))
		default:
			return marks
		}
		var more Marks
		b, _, more = w.drain(r, int64(len(b))*3)
		marks |= more & Bomb
		if w.over() {
			return marks
		}
	}
	marks |= w.pdfObjects(b)
	if bytes.Contains(b, []byte("BT")) {
		w.pdfText(b)
	}
	return marks
}

// a85End finds the mark at the end of ASCII 85.
func a85End(b []byte) int {
	if i := bytes.Index(b, []byte("~>")); i >= 0 {
		return i
	}
	return len(b)
}

// hexBytes decodes pairs of hexadecimal digits, skipping all else, up to a ">".
func hexBytes(b []byte) []byte {
	out := make([]byte, 0, len(b)/2)
	half, have := byte(0), false
	for _, c := range b {
		if c == '>' {
			break
		}
		if !isHex(c) {
			continue
		}
		if have {
			out = append(out, half<<4|unhex(c))
		}
		half, have = unhex(c), !have
	}
	if have {
		out = append(out, half<<4)
	}
	return out
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f' }

// pdfObjects looks for names that say what a document does, and for the addresses of its links.
func (w *walker) pdfObjects(b []byte) Marks {
	var marks Marks
	for i := bytes.IndexByte(b, '/'); i >= 0; {
		b = b[i+1:]
		name, n := pdfName(b)
		marks |= pdfNames[string(name)]
		if string(name) == "URI" {
			rest := bytes.TrimLeft(b[n:], " \r\n\t")
			if len(rest) > 0 && rest[0] == '(' {
				if end := bytes.IndexByte(rest[:min(len(rest), 1000)], ')'); end > 0 {
					w.say(string(rest[1:end]) + "\n")
				}
			}
		}
		i = bytes.IndexByte(b, '/')
	}
	return marks
}

// pdfNameList lists the names in b.
func pdfNameList(b []byte) []string {
	var names []string
	for i := bytes.IndexByte(b, '/'); i >= 0; i = bytes.IndexByte(b, '/') {
		b = b[i+1:]
		name, _ := pdfName(b)
		names = append(names, string(name))
	}
	return names
}

// pdfName reads a name after its slash, with the escapes that hide it: /J#61vaScript.
func pdfName(b []byte) (name []byte, n int) {
	for n < len(b) && n < 64 && b[n] > ' ' && bytes.IndexByte([]byte("()<>[]{}/%"), b[n]) < 0 {
		n++
	}
	if bytes.IndexByte(b[:n], '#') < 0 {
		return b[:n], n
	}
	for i := 0; i < n; i++ {
		if b[i] == '#' && i+2 < n && isHex(b[i+1]) && isHex(b[i+2]) {
			name = append(name, unhex(b[i+1])<<4|unhex(b[i+2]))
			i += 2
		} else {
			name = append(name, b[i])
		}
	}
	return name, n
}

// pdfText adds the strings that a content stream shows. Fonts with codes of their own cannot be read
// without their tables; their strings are left out.
func (w *walker) pdfText(b []byte) {
	var out []byte
	for i := 0; i < len(b) && len(out) < w.lim.Text; i++ {
		switch c := b[i]; {
		case c == '(':
			var s []byte
			s, i = pdfString(b, i+1)
			out = appendPDF(out, s)
		case c == 'T' && i+1 < len(b) && (b[i+1] == 'd' || b[i+1] == 'D' || b[i+1] == '*' || b[i+1] == 'm'),
			c == 'E' && i+1 < len(b) && b[i+1] == 'T':
			if len(out) > 0 && out[len(out)-1] != '\n' {
				out = append(out, '\n')
			}
		case c == '-' && i+3 < len(b) && b[i+1] >= '2' && b[i+1] <= '9' && b[i+2] >= '0' && b[i+2] <= '9' &&
			b[i+3] >= '0' && b[i+3] <= '9': // a gap as wide as a space between two strings
			out = append(out, ' ')
		}
	}
	w.say(string(out))
}

// pdfString reads a literal string after its parenthesis; i is that of the closing one.
func pdfString(b []byte, i int) (s []byte, _ int) {
	for depth := 1; i < len(b); i++ {
		c := b[i]
		switch {
		case c == '\\' && i+1 < len(b):
			i++
			switch e := b[i]; {
			case e >= '0' && e <= '7':
				v := 0
				for n := 0; n < 3 && i < len(b) && b[i] >= '0' && b[i] <= '7'; n++ {
					v = v<<3 | int(b[i]-'0')
					i++
				}
				i--
				c = byte(v)
			case e == 'n', e == 'r', e == 't':
				c = ' '
			default:
				c = e
			}
			s = append(s, c)
			continue
		case c == '(':
			depth++
		case c == ')':
			if depth--; depth == 0 {
				return s, i
			}
		}
		s = append(s, c)
	}
	return s, i
}

// appendPDF adds a string as UTF-8: UTF-16 with its mark, else Latin 1. Control characters are codes of a
// font: such a string is no text.
func appendPDF(out, s []byte) []byte {
	if bytes.HasPrefix(s, []byte("\xfe\xff")) {
		for i := 2; i+1 < len(s); i += 2 {
			if r := rune(s[i])<<8 | rune(s[i+1]); !utf16.IsSurrogate(r) {
				out = utf8.AppendRune(out, r)
			}
		}
		return out
	}
	for _, c := range s {
		if c < ' ' {
			return out
		}
	}
	for _, c := range s {
		out = utf8.AppendRune(out, rune(c))
	}
	return out
}
