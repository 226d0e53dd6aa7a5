package imap

import (
	"fmt"
	"strings"
)

// maxEntryName is the longest name of an annotation; RFC 5464 has no bound.
const maxEntryName = 512

// maxListEntries bounds the annotations that one LIST asks for: each comes for every mailbox.
const maxListEntries = 32

// Infinity is the depth of all that is below an entry.
const Infinity = -1

// GetMetadata is a GETMETADATA command, RFC 5464 §4.2.
type GetMetadata struct {
	Mailbox string // "" for the server
	Entries []string
	MaxSize int64 // of a value, -1 for no bound
	Depth   int   // 0, 1 or Infinity
}

// GetMetadata reads the arguments of GETMETADATA. The options stand before the mailbox in the grammar
// of RFC 5464 §5 and after it in its examples: both are understood.
func (d *Decoder) GetMetadata() GetMetadata {
	g := GetMetadata{MaxSize: -1}
	options := d.peek() == '('
	if options {
		d.metadataOptions(&g)
		d.SP()
	}
	g.Mailbox = d.Mailbox()
	d.SP()
	if !options && d.peek() == '(' && d.pos+1 < len(d.line) && isLetter(d.line[d.pos+1]) {
		d.metadataOptions(&g) // an entry begins with "/", a quote or a brace
		d.SP()
	}
	g.Entries = d.Entries(g.Depth != 0)
	for d.TrySP() { // RFC 5464 §4.4.1 has examples without parentheses
		g.Entries = append(g.Entries, d.entry(g.Depth != 0))
	}
	return g
}

func isLetter(c byte) bool { return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' }

// metadataOptions reads "(" option *(SP option) ")".
func (d *Decoder) metadataOptions(g *GetMetadata) {
	seen := map[string]bool{}
	d.List(func() {
		option := d.Label()
		if seen[option] {
			d.Bad("Option given twice")
		}
		seen[option] = true
		d.SP()
		switch option {
		case "MAXSIZE":
			g.MaxSize = int64(d.Number())
		case "DEPTH":
			switch d.Label() {
			case "0":
				g.Depth = 0
			case "1":
				g.Depth = 1
			case "INFINITY":
				g.Depth = Infinity
			default:
				d.Bad("Expected 0, 1 or infinity")
			}
		default:
			d.Bad("Unknown GETMETADATA option")
		}
	})
}

// Entries reads the name of an annotation, or several in parentheses. With deep they may be names
// that have entries below them only.
func (d *Decoder) Entries(deep bool) []string {
	if d.peek() != '(' {
		return []string{d.entry(deep)}
	}
	var names []string
	d.List(func() { names = append(names, d.entry(deep)) })
	if len(names) == 0 {
		d.Bad("Expected an entry%s", d.found())
	}
	return names
}

// listEntries reads the argument of LIST's METADATA option, RFC 9590 §3.
func (d *Decoder) listEntries() []string {
	names := d.Entries(false)
	if len(names) > maxListEntries {
		d.Fail(&Error{Code: "LIMIT", Text: "Too many entries"})
	}
	return names
}

// entry reads and checks a name.
func (d *Decoder) entry(deep bool) string {
	name := d.AString()
	if d.err == nil {
		d.checkEntry(name, deep)
	}
	return name
}

// checkEntry holds a name to RFC 5464 §3.2: invalid ones are BAD in any command.
func (d *Decoder) checkEntry(name string, deep bool) {
	if len(name) > maxEntryName {
		d.Fail(&Error{Code: "LIMIT", Text: "Entry name too long"})
		return
	}
	for i := 0; i < len(name); i++ {
		if c := name[i]; c < 0x20 || c >= 0x7f || c == '*' || c == '%' {
			d.Bad("Character that is not allowed in an entry name")
			return
		}
	}
	parts := strings.Split(strings.ToLower(name), "/")
	for _, p := range parts[1:] {
		if p == "" {
			d.Bad("Empty component in an entry name")
			return
		}
	}
	least := 2
	switch {
	case parts[0] != "" || len(parts) < 2 || parts[1] != "private" && parts[1] != "shared":
		d.Bad("Entry names begin with /private or /shared")
		return
	case deep:
		least = 1
	case len(parts) > 2 && parts[2] == "vendor":
		least = 4
	}
	if len(parts)-1 < least {
		d.Bad("Entry name has too few components")
	}
}

// EntryValue is an annotation that SETMETADATA sets, or removes where Nil.
type EntryValue struct {
	Name  string
	Value string
	Nil   bool
}

// EntryValues reads the list of SETMETADATA, RFC 5464 §4.3. A value longer than limit is refused
// before it is asked for, with the code of the RFC.
func (d *Decoder) EntryValues(limit int) []EntryValue {
	var values []EntryValue
	d.List(func() {
		v := EntryValue{Name: d.entry(false)}
		d.SP()
		if d.AtLiteral() {
			d.boundValue(limit)
		}
		v.Value, v.Nil = d.NString()
		v.Nil = !v.Nil
		values = append(values, v)
	})
	if len(values) == 0 {
		d.Bad("Expected an entry%s", d.found())
	}
	return values
}

// boundValue refuses the literal that is next if it is longer than limit.
func (d *Decoder) boundValue(limit int) {
	at := d.pos
	if d.line[at] == '~' {
		at++
	}
	size, _, ok := parseLiteral(d.line[at:])
	if !ok || size <= int64(limit) {
		return
	}
	if l := d.header(); l != nil {
		d.refuse(l, &Error{
			No: true, Code: fmt.Sprintf("METADATA MAXSIZE %d", limit), Text: "Value too long",
		})
	}
}

// AppendMetadataValue appends the value of an annotation: NIL for nil, a literal8 where there are NUL
// bytes.
func AppendMetadataValue(dst []byte, value []byte, allowUTF8 bool) []byte {
	switch {
	case value == nil:
		return append(dst, "NIL"...)
	case hasNUL(value):
		return append(AppendLiteral(append(dst, '~'), int64(len(value))), value...)
	}
	return AppendString(dst, string(value), allowUTF8)
}
