package imap

import (
	"strconv"
	"strings"
)

// Section is what stands in the brackets of BODY[...] and BINARY[...], RFC 9051 §6.4.5.
type Section struct {
	Part   []int    // part numbers; empty for the message itself
	Text   string   // "", HEADER, HEADER.FIELDS, HEADER.FIELDS.NOT, TEXT or MIME
	Fields []string // of HEADER.FIELDS and HEADER.FIELDS.NOT, as the client wrote them
}

// Partial is "<offset.count>": a range of bytes.
type Partial struct{ Offset, Count int64 }

// FetchItem is one thing that FETCH asks for.
type FetchItem struct {
	Name    string // in upper case: FLAGS, BODY, BODY.PEEK, BINARY.SIZE, ...
	Section *Section
	Partial *Partial
	Lazy    bool // PREVIEW (LAZY), RFC 8970 §4
}

// maxPart bounds part numbers; no message has more parts.
const maxPart = 1 << 20

// fetchMacros are allowed alone, RFC 9051 §6.4.5.
var fetchMacros = map[string][]FetchItem{
	"ALL":  {{Name: "FLAGS"}, {Name: "INTERNALDATE"}, {Name: "RFC822.SIZE"}, {Name: "ENVELOPE"}},
	"FAST": {{Name: "FLAGS"}, {Name: "INTERNALDATE"}, {Name: "RFC822.SIZE"}},
	"FULL": {
		{Name: "FLAGS"}, {Name: "INTERNALDATE"}, {Name: "RFC822.SIZE"}, {Name: "ENVELOPE"},
		{Name: "BODY"},
	},
}

// FetchItems reads a macro, one item or a parenthesised list of items. Names are not checked.
func (d *Decoder) FetchItems() []FetchItem {
	var items []FetchItem
	if d.peek() == '(' {
		d.List(func() { items = append(items, d.FetchItem()) })
		if len(items) == 0 {
			d.Bad("Expected items to fetch")
		}
		return items
	}
	item := d.FetchItem()
	if macro := fetchMacros[item.Name]; macro != nil && item.Section == nil {
		return macro
	}
	return append(items, item)
}

// UpdateItems reads the items to fetch that may follow UPDATE in the options of a search (RFC 5465
// §8, modifier-update); nil without them.
func (d *Decoder) UpdateItems() []FetchItem {
	if d.peek() != ' ' || d.pos+1 >= len(d.line) || d.line[d.pos+1] != '(' {
		return nil
	}
	d.SP()
	return d.FetchItems()
}

// FetchItem reads one item with its section and range.
func (d *Decoder) FetchItem() FetchItem {
	item := FetchItem{Name: d.Label()}
	if d.Try('[') {
		item.Section = d.section()
		d.Expect(']')
	}
	if item.Section != nil && d.peek() == '<' {
		item.Partial = d.partial()
	}
	if item.Name == "PREVIEW" && d.lazyNext() {
		d.SP()
		d.List(func() {
			if d.Label() != "LAZY" {
				d.Bad("Unknown PREVIEW modifier")
			}
		})
		item.Lazy = true
	}
	return item
}

// lazyNext reports whether PREVIEW is followed by its modifiers: after a lone item the parenthesis
// may be that of the command's own, CHANGEDSINCE for one.
func (d *Decoder) lazyNext() bool {
	const modifier = " (LAZY"
	if d.err != nil || len(d.line)-d.pos < len(modifier) {
		return false
	}
	return strings.EqualFold(string(d.line[d.pos:d.pos+len(modifier)]), modifier)
}

// section reads up to the closing bracket.
func (d *Decoder) section() *Section {
	s := &Section{}
	for c := d.peek(); '0' <= c && c <= '9'; c = d.peek() {
		n := d.NonZero()
		if n > maxPart {
			d.Bad("Part number too large")
		}
		if len(s.Part) >= d.limits.Depth*2 {
			d.Fail(errTooDeep)
		}
		s.Part = append(s.Part, int(n))
		if !d.Try('.') {
			return s
		}
	}
	if d.peek() == ']' {
		if len(s.Part) > 0 {
			d.Bad("Part number ends in a dot")
		}
		return s
	}
	s.Text = d.Label()
	switch s.Text {
	case "HEADER", "TEXT":
	case "HEADER.FIELDS", "HEADER.FIELDS.NOT":
		d.SP()
		d.List(func() { s.Fields = append(s.Fields, d.AString()) })
		if len(s.Fields) == 0 {
			d.Bad("Expected names of header fields")
		}
	case "MIME":
		if len(s.Part) == 0 {
			d.Bad("MIME needs a part number") // RFC 9051 §6.4.5
		}
	default:
		d.Bad("Unknown section")
	}
	return s
}

// partial reads "<offset.count>".
func (d *Decoder) partial() *Partial {
	p := &Partial{}
	d.Expect('<')
	p.Offset = int64(d.Number64())
	d.Expect('.')
	p.Count = int64(d.Number64())
	if p.Count == 0 {
		d.Bad("An empty range of bytes")
	}
	d.Expect('>')
	return p
}

// Append writes the section with its brackets, as replies repeat it.
func (s *Section) Append(dst []byte) []byte {
	dst = append(dst, '[')
	for i, n := range s.Part {
		if i > 0 {
			dst = append(dst, '.')
		}
		dst = strconv.AppendInt(dst, int64(n), 10)
	}
	if s.Text != "" {
		if len(s.Part) > 0 {
			dst = append(dst, '.')
		}
		dst = append(dst, s.Text...)
	}
	if len(s.Fields) > 0 {
		dst = append(dst, " ("...)
		for i, f := range s.Fields {
			if i > 0 {
				dst = append(dst, ' ')
			}
			dst = AppendAString(dst, f, false)
		}
		dst = append(dst, ')')
	}
	return append(dst, ']')
}
