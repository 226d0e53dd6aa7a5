package unpack

import (
	"bytes"
	"html"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// officePart looks into a part of an OOXML or ODF document: what runs, what is loaded from elsewhere, and
// the text.
func (w *walker) officePart(name string, b []byte) Marks {
	name = strings.ToLower(strings.TrimPrefix(strings.ReplaceAll(name, "\\", "/"), "/"))
	base := path.Base(name)
	switch {
	case base == "vbaproject.bin", base == "vbadata.xml", strings.HasPrefix(name, "basic/") && base != "script-lc.xml",
		strings.HasPrefix(name, "scripts/"), strings.HasPrefix(name, "xl/macrosheets/"):
		return Macro
	case strings.HasSuffix(name, ".rels"):
		return officeRelations(b)
	case strings.HasPrefix(name, "xl/externallinks/"):
		if bytes.Contains(b, []byte("<ddeLink")) {
			return DDE
		}
	case name == "word/document.xml", strings.HasPrefix(base, "header"), strings.HasPrefix(base, "footer"),
		name == "xl/sharedstrings.xml", name == "content.xml",
		strings.HasPrefix(name, "ppt/slides/slide"), strings.HasPrefix(name, "xl/worksheets/"):
		if !strings.HasPrefix(name, "xl/worksheets/") {
			w.say(xmlText(b, 2*w.lim.Text))
		}
		return officeFields(b)
	}
	return 0
}

// officeFile reports whether a part of a document is a file that somebody put into it.
func officeFile(name string, b []byte) bool {
	name = strings.ToLower(strings.ReplaceAll(name, "\\", "/"))
	switch Sniff(b) {
	case Program, Script, Shortcut, HTML, Zip, Rar, Seven, Disk, Java, PDF, RTF, Office, OneNote, Help:
		return true
	case OLE:
		return strings.Contains(name, "embeddings/")
	}
	return false
}

// officeRelations looks for parts that are loaded from elsewhere, other than links.
func officeRelations(b []byte) Marks {
	for len(b) > 0 {
		i := bytes.Index(b, []byte("<Relationship "))
		if i < 0 {
			break
		}
		b = b[i+1:]
		end := bytes.IndexByte(b, '>')
		if end < 0 {
			break
		}
		rel := bytes.ToLower(b[:end])
		if !bytes.Contains(rel, []byte(`targetmode="external"`)) {
			continue
		}
		for _, kind := range []string{`/attachedtemplate"`, `/oleobject"`, `/frame"`, `/subdocument"`, `/externallink`} {
			if bytes.Contains(rel, []byte(kind)) {
				return Template
			}
		}
	}
	return 0
}

// officeFields looks for fields that start programs (DDE). The word may be cut into runs, so fields'
// instructions are joined first.
func officeFields(b []byte) Marks {
	if !bytes.Contains(b, []byte("instr")) && !bytes.Contains(b, []byte("DDE")) {
		return 0
	}
	var field []byte
	for rest := b; ; {
		i := bytes.Index(rest, []byte("instrText"))
		if i < 0 || len(field) > 1<<16 {
			break
		}
		rest = rest[i:]
		open := bytes.IndexByte(rest, '>')
		if open < 0 {
			break
		}
		rest = rest[open+1:]
		end := bytes.IndexByte(rest, '<')
		if end < 0 {
			break
		}
		field = append(field, bytes.TrimSpace(rest[:end])...)
		rest = rest[end:]
		if bytes.HasPrefix(rest, []byte("</")) { // passes its own end tag
			rest = rest[min(len(rest), len("</w:instrText")):]
		}
	}
	for _, s := range [][]byte{field, b} {
		for _, word := range []string{"DDEAUTO", `instr="DDE`, `instr=" DDE`, "of:=DDE(", "msoxl:=DDE("} {
			if bytes.Contains(s, []byte(word)) {
				return DDE
			}
		}
	}
	if bytes.HasPrefix(field, []byte("DDE")) {
		return DDE
	}
	return 0
}

// xmlText is the text of an XML document, a space for each tag that ends a word, at most about n bytes.
func xmlText(b []byte, n int) string {
	var out strings.Builder
	for len(b) > 0 && out.Len() < n {
		i := bytes.IndexByte(b, '<')
		if i < 0 {
			i = len(b)
		}
		if text := b[:min(i, n)]; len(text) > 0 {
			out.WriteString(html.UnescapeString(string(text)))
		}
		b = b[i:]
		end := bytes.IndexByte(b, '>')
		if end < 0 {
			break
		}
		tag := b[:end]
		for _, p := range []string{"</w:p", "</a:p", "</si", "</text:p", "<w:tab", "<w:br", "</text:h"} {
			if bytes.HasPrefix(tag, []byte(p)) {
				out.WriteByte('\n')
				break
			}
		}
		b = b[end+1:]
	}
	return out.String()
}

// Sizes of the compound file format, MS-CFB §2.
const (
	oleHeader  = 512
	oleEntry   = 128
	oleEndMark = 0xfffffffa // and above: no sector
)

// ole looks into a compound file: its directory says what it is and whether it has programs.
func (w *walker) ole(b []byte) (Type, Marks) {
	names, ok := oleNames(b)
	var marks Marks
	if !ok {
		marks = Damaged
	}
	typ, word := OLE, false
	for _, n := range names {
		switch l := strings.ToLower(n); {
		case l == "_vba_project", l == "vba", l == "macros", l == "_vba_project_cur":
			marks |= Macro
		case l == "encryptedpackage", l == "encryptioninfo":
			marks |= Encrypted
			typ = Office
		case l == "\x01ole10native", l == "package":
			marks |= Embedded
		case l == "worddocument":
			word = true
		case strings.HasPrefix(l, "__substg1.0_"), strings.HasPrefix(l, "__properties_version1.0"):
			typ = Mail
		}
	}
	// The class of the root storage says that the file is a package of the Windows installer.
	if bytes.Contains(b[:min(len(b), 1<<20)], []byte("\x84\x10\x0c\x00\x00\x00\x00\x00\xc0\x00\x00\x00\x00\x00\x00F")) {
		typ = Install
	}
	if word || typ == Mail {
		w.strings(b)
	}
	return typ, marks
}

// oleNames lists the names in the directory of a compound file. Sectors are followed through the file
// allocation table as often as there can be sectors, so that a ring ends.
func oleNames(b []byte) (names []string, ok bool) {
	d := le(b)
	shift := d.u16(30)
	if shift < 7 || shift > 16 || len(b) < oleHeader {
		return nil, false
	}
	size := int64(1) << shift
	sector := func(n int64) le { return d.slice((n+1)<<shift, size) }
	next := func(n int64) int64 { // through the first 109 sectors of the table
		per := size / 4
		at := n / per
		if at >= 109 {
			return oleEndMark
		}
		return sector(d.u32(76 + int(at)*4)).u32(int(n%per) * 4)
	}
	most := int64(len(b))>>shift + 1
	for n := d.u32(48); n < oleEndMark && most > 0; n, most = next(n), most-1 {
		s := sector(n)
		if len(s) == 0 {
			return names, false
		}
		for at := 0; at+oleEntry <= len(s); at += oleEntry {
			if l := s.u16(at + 64); l >= 2 && l <= 64 {
				names = append(names, utf16le(s[at:at+l-2]))
			}
		}
		if len(names) > 10000 {
			return names, false
		}
	}
	return names, true
}

// strings adds runs of letters to the text, in UTF-16 and in single bytes: the text of old documents
// stands in their file as it is.
func (w *walker) strings(b []byte) {
	const shortest = 6
	for _, step := range []int{1, 2} {
		var run []byte
		flush := func() {
			if utf8.RuneCount(run) >= shortest {
				w.say(string(run) + "\n")
			}
			run = run[:0]
		}
		for i := 0; i+step <= len(b) && w.text.Len() < w.lim.Text; i += step {
			r := rune(b[i])
			if step == 2 {
				r |= rune(b[i+1]) << 8
			}
			if r >= ' ' && r < 0x7f || step == 2 && r >= 0xc0 && r < 0x2000 && unicode.IsLetter(r) {
				run = utf8.AppendRune(run, r)
			} else if len(run) > 0 {
				flush()
			}
		}
		flush()
	}
}

// rtf looks into rich text: embedded objects, templates and the words.
func (w *walker) rtf(b []byte) Marks {
	var marks Marks
	low := bytes.ToLower(b)
	if bytes.Contains(low, []byte(`\objdata`)) || bytes.Contains(low, []byte(`\objupdate`)) ||
		bytes.Contains(low, []byte(`\objocx`)) {
		marks |= Embedded
	}
	if i := bytes.Index(low, []byte(`\*\template`)); i >= 0 {
		if head := low[i:min(len(low), i+300)]; bytes.Contains(head, []byte("http")) || bytes.Contains(head, []byte(`\\\\`)) {
			marks |= Template
		}
	}
	if bytes.Contains(low, []byte("ddeauto")) {
		marks |= DDE
	}
	w.say(rtfText(b, w.lim.Text))
	return marks
}

// rtfText drops the control words of rich text.
func rtfText(b []byte, n int) string {
	var out strings.Builder
	for i := 0; i < len(b) && out.Len() < n; i++ {
		switch c := b[i]; {
		case c == '{', c == '}', c == '\r', c == '\n':
		case c == '\\' && i+1 < len(b) && isLetter(b[i+1]):
			for i++; i < len(b) && isLetter(b[i]); i++ {
			}
			for ; i < len(b) && (b[i] == '-' || b[i] >= '0' && b[i] <= '9'); i++ {
			}
			if i < len(b) && b[i] != ' ' {
				i--
			}
			out.WriteByte(' ')
		case c == '\\' && i+3 < len(b) && b[i+1] == '\'':
			out.WriteRune(rune(unhex(b[i+2])<<4 | unhex(b[i+3])))
			i += 3
		case c == '\\':
			i++
		case c < 0x80:
			out.WriteByte(c)
		}
	}
	return strings.Join(strings.Fields(out.String()), " ")
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// unhex is the value of a hexadecimal digit, 0 for what is none.
func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	}
	return 0
}

// Page tells what acts in the beginning b of a page: HTML, SVG or XML. It needs no child process.
func Page(b []byte) Marks { return markup(b) }

// markup looks for what acts in HTML, SVG and XML.
func markup(b []byte) Marks {
	b, _ = plain(b)
	low := bytes.ToLower(b)
	var marks Marks
	for word, m := range map[string]Marks{
		"<script": JavaScript, "javascript:": JavaScript, "vbscript:": JavaScript, "onload=": JavaScript,
		"onerror=": JavaScript, "onclick=": JavaScript, "onmouseover=": JavaScript, "<hta:": JavaScript,
		"<foreignobject": JavaScript, "<iframe": Refresh, "<object": Embedded, "<embed": Embedded,
		"<form": Form, "type=\"password\"": Form, "type=password": Form,
	} {
		if bytes.Contains(low, []byte(word)) {
			marks |= m
		}
	}
	if i := bytes.Index(low, []byte("http-equiv")); i >= 0 {
		if bytes.Contains(low[i:min(len(low), i+100)], []byte("refresh")) {
			marks |= Refresh
		}
	}
	return marks
}
