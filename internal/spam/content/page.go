package content

import (
	"bytes"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// page is an HTML text that is being read as a person sees it.
type page struct {
	x       *examination
	out     []byte // what is seen
	stack   []element
	classes map[string]style
	raw     atom.Atom // the element whose raw text comes: style, script, title

	shown    int // letters seen
	unseen   int // letters hidden
	comments int // bytes of comments that are no hints to Outlook
	size     int
	space    bool

	href    string // of the open link, "" for none
	from    int    // where in out its text begins
	inImage bool   // a picture stands in it
}

// element is an open one.
type element struct {
	name atom.Atom
	style
}

// deepestElement bounds the stack; what is deeper has the style of what is around it.
const deepestElement = 200

// readPage reads HTML: its visible text is returned, its links and what it hides are noted.
func (x *examination) readPage(r io.Reader) *page {
	p := &page{x: x, stack: make([]element, 1, 32), out: make([]byte, 0, 4096)}
	p.stack[0].style = style{size: unset, fg: 0, bg: 0xffffff} // black on white
	z := html.NewTokenizer(io.LimitReader(r, x.o.Limits.HTML))
	z.SetMaxBuf(int(x.o.Limits.HTML))
	for {
		t := z.Next()
		p.size += len(z.Raw())
		switch t {
		case html.ErrorToken:
			p.endLink()
			p.judge()
			return p
		case html.TextToken:
			p.text(z)
		case html.StartTagToken, html.SelfClosingTagToken:
			p.open(z)
		case html.EndTagToken:
			name, _ := z.TagName()
			p.close(atom.Lookup(name))
		case html.CommentToken:
			b := bytes.TrimLeft(z.Text(), " ")
			if !bytes.HasPrefix(b, []byte("[if")) && !bytes.HasPrefix(b, []byte("<![endif")) {
				p.comments += len(b)
			}
		}
	}
}

// top is the innermost open element.
func (p *page) top() *element { return &p.stack[len(p.stack)-1] }

// text takes text, or the content of an element of raw text.
func (p *page) text(z *html.Tokenizer) {
	switch p.raw {
	case atom.Style:
		if p.classes == nil {
			p.classes = map[string]style{}
		}
		parseSheet(string(z.Text()), p.classes)
		return
	case atom.Script, atom.Title:
		return
	}
	b := z.Text()
	if p.top().unseen() {
		p.unseen += countLetters(b)
		p.space = true
		return
	}
	p.shown += p.write(b)
}

// write appends visible text with its white space collapsed, and returns how many letters it has.
func (p *page) write(b []byte) int {
	n := 0
	for i := 0; i < len(b); {
		c := b[i]
		if c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f' || c == 0xc2 && i+1 < len(b) && b[i+1] == 0xa0 {
			p.space = true
			i++
			if c == 0xc2 {
				i++
			}
			continue
		}
		if p.space {
			p.space = false
			if len(p.out) > 0 && p.out[len(p.out)-1] != '\n' {
				p.out = append(p.out, ' ')
			}
		}
		from := i
		for i < len(b) && b[i] > ' ' && b[i] != 0xc2 {
			if b[i]&0xc0 != 0x80 {
				n++
			}
			i++
		}
		if i == from { // another character that begins with 0xc2, or a control
			n++
			for i++; i < len(b) && b[i]&0xc0 == 0x80; i++ {
			}
		}
		p.out = append(p.out, b[from:i]...)
	}
	return n
}

// countLetters counts letters and digits; spaces and fillers of hidden previews are none.
func countLetters(b []byte) int {
	n := 0
	for i := 0; i < len(b); {
		if c := b[i]; c < utf8.RuneSelf {
			if c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' {
				n++
			}
			i++
			continue
		}
		r, size := utf8.DecodeRune(b[i:])
		if unicode.IsLetter(r) && r != 0x34f {
			n++
		}
		i += size
	}
	return n
}

// newline ends a line of the visible text.
func (p *page) newline() {
	if n := len(p.out); n > 0 && p.out[n-1] != '\n' {
		p.out = append(p.out, '\n')
	}
	p.space = false
}

// void are the elements without an end.
func void(a atom.Atom) bool {
	switch a {
	case atom.Area, atom.Base, atom.Br, atom.Col, atom.Embed, atom.Hr, atom.Img, atom.Input, atom.Link, atom.Meta,
		atom.Param, atom.Source, atom.Track, atom.Wbr:
		return true
	}
	return false
}

// block are the elements that stand on lines of their own.
func block(a atom.Atom) bool {
	switch a {
	case atom.P, atom.Div, atom.Tr, atom.Li, atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6, atom.Table,
		atom.Ul, atom.Ol, atom.Blockquote, atom.Br, atom.Hr, atom.Section, atom.Article, atom.Center, atom.Pre,
		atom.Body, atom.Form, atom.Address, atom.Dt, atom.Dd, atom.Option:
		return true
	}
	return false
}

// open acts on a tag that opens an element.
func (p *page) open(z *html.Tokenizer) {
	tag, more := z.TagName()
	name := atom.Lookup(tag)
	if name == atom.Noscript {
		z.NextIsNotRawText() // no mail program runs scripts: it is shown
	}
	e := *p.top()
	e.name = name
	if block(name) {
		p.newline()
	} else if name == atom.Td || name == atom.Th {
		p.space = true
	}
	var href, action, refresh, kind string
	for more {
		var key, val []byte
		key, val, more = z.TagAttr()
		switch string(key) {
		case "style":
			e.set(parseStyle(string(val)))
		case "class":
			if p.classes != nil {
				for class := range strings.FieldsSeq(string(val)) {
					if st, ok := p.classes[class]; ok {
						e.set(st)
					}
				}
			}
		case "hidden":
			e.hidden = true
		case "bgcolor":
			e.set(style{size: unset, fg: unset, bg: colour(string(val))})
		case "background":
			e.bg = unclear
		case "color", "text":
			if name == atom.Font || name == atom.Body {
				e.set(style{size: unset, fg: colour(string(val)), bg: unset})
			}
		case "size":
			if name == atom.Font && string(val) == "0" {
				e.size = 0
			}
		case "href":
			href = string(val)
		case "action", "formaction":
			action = string(val)
		case "content":
			refresh = string(val)
		case "http-equiv":
			kind = strings.ToLower(string(val))
		case "onload", "onclick", "onerror", "onmouseover", "onfocus":
			p.x.add("SCRIPT", string(key))
		}
	}
	if !void(name) && len(p.stack) < deepestElement {
		p.stack = append(p.stack, e)
	}
	p.act(name, href, action, refresh, kind)
}

// act does what an element means.
func (p *page) act(name atom.Atom, href, action, refresh, kind string) {
	p.raw = 0
	switch name {
	case atom.Style, atom.Title:
		p.raw = name
	case atom.Script:
		p.raw = name
		p.x.add("SCRIPT", "")
	case atom.A, atom.Area:
		p.endLink()
		p.href, p.from = href, len(p.out)
		if name == atom.Area {
			p.endLink()
		}
	case atom.Form:
		p.x.add("FORM", action)
		p.x.link(action, "")
	case atom.Input, atom.Button:
		p.x.link(action, "")
	case atom.Img:
		p.x.images++
		p.inImage = true
	case atom.Base:
		p.x.link(href, "") // what other links lead to is said here
	case atom.Meta:
		if _, to, ok := strings.Cut(strings.ToLower(refresh), "url="); ok && kind == "refresh" {
			p.x.add("LINK_REDIRECTED", to)
			p.x.link(to, "")
		}
	}
}

// close acts on an end tag: it ends the innermost element of its name and those that were left open in it.
func (p *page) close(name atom.Atom) {
	p.raw = 0
	if name == atom.A {
		p.endLink()
	}
	if block(name) {
		p.newline()
	}
	for i := len(p.stack) - 1; i > 0 && i > len(p.stack)-20; i-- {
		if p.stack[i].name == name {
			p.stack = p.stack[:i]
			return
		}
	}
}

// endLink notes the link that is open.
func (p *page) endLink() {
	if p.href != "" {
		p.x.link(p.href, string(bytes.TrimSpace(p.out[min(p.from, len(p.out)):])))
	}
	p.href = ""
}

// What of a page may be hidden or commented without a word: previews that stand before a newsletter, and
// the notes of those who made it.
const (
	usualHidden   = 250
	usualComments = 3000
)

// judge notes what the page as a whole says.
func (p *page) judge() {
	p.x.letters += p.shown
	if p.unseen > usualHidden && p.unseen*3 > p.shown {
		p.x.add("HIDDEN_TEXT", "")
		p.x.rep.Hidden = true
	} else if p.unseen > 0 {
		p.x.rep.Hidden = true
	}
	if p.comments > usualComments && p.comments*4 > p.size {
		p.x.add("COMMENT_STUFFING", "")
	}
}
