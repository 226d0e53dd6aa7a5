package message

import (
	"io"

	"golang.org/x/net/html"
)

// HTMLText turns HTML into the text a person would read: tags, comments, scripts and styles gone,
// character references resolved, white space collapsed as a browser does, a line per block, lines
// in a block quotation marked with "> ". r must be UTF-8.
//
// The scanner follows the tokenisation states of the HTML standard and keeps none of the input: a
// picture of megabytes in an attribute costs nothing, where a tokenizer would hold it whole.
func HTMLText(r io.Reader) io.Reader {
	return &decodeReader{src: r, dec: &htmlStripper{}, in: make([]byte, 8<<10)}
}

// htmlState is where the scanner stands.
type htmlState uint8

const (
	inText      htmlState = iota
	inReference           // after &
	inTagOpen             // after <
	inEndTag              // after </
	inTagName
	inGap      // between attributes
	inAttrName // of an attribute
	afterName  // white space after it
	beforeValue
	inDouble // "value"
	inSingle // 'value'
	inBare   // value
	inMarkup // after <!
	inMarkup2
	inComment
	inCommentBang // after --!
	inBogus       // up to the next >
	inRaw         // script, style and other elements of raw text
)

// htmlStripper is the scanner, with what it remembers of the layout.
type htmlStripper struct {
	state   htmlState
	name    []byte // of the current tag, lower case, cut after 12 bytes
	closing bool
	raw     string // the element whose raw text is being passed over
	matched int    // how much of its end tag was seen
	dashes  int    // in a row, in a comment
	ref     []byte // a character reference, from its &

	pre   int  // open pre elements
	quote int  // open block quotations
	begun bool // the current line has text
	some  bool // some line had text
	space bool // white space was seen since the last text
	line  bool // a line ended since the last text
}

// decode appends the text of src. Runs of text, of attribute values and of bogus comments are taken
// at once, everything else byte by byte.
func (h *htmlStripper) decode(dst, src []byte) []byte {
	for i := 0; i < len(src); {
		if h.state == inText {
			start := i
			for i < len(src) && !htmlSpecial[src[i]] {
				i++
			}
			if i > start {
				dst = h.write(dst, src[start:i])
				continue
			}
			dst = h.special(dst, src[i])
			i++
			continue
		}
		if h.state >= inDouble && h.state <= inBare || h.state == inBogus {
			i = h.skip(src, i)
			continue
		}
		var took bool
		if dst, took = h.step(dst, src[i]); took {
			i++
		}
	}
	return dst
}

// finish ends the text: what is open stays open, as a browser has it.
func (h *htmlStripper) finish(dst []byte) []byte {
	if h.state == inReference {
		dst = h.endReference(dst)
	}
	return dst
}

// htmlSpecial marks the bytes that end a run of text.
var htmlSpecial = [256]bool{
	'<': true, '&': true, ' ': true, '\t': true, '\n': true, '\r': true, '\f': true, 0: true,
}

// special handles a byte of text that is no text by itself.
func (h *htmlStripper) special(dst []byte, c byte) []byte {
	switch {
	case c == '<':
		h.state = inTagOpen
	case c == '&':
		h.state, h.ref = inReference, append(h.ref[:0], c)
	case h.pre > 0 && c == '\n':
		h.newline()
	default:
		h.space = true
	}
	return dst
}

// skip passes over an attribute's value or a bogus comment.
func (h *htmlStripper) skip(src []byte, i int) int {
	for ; i < len(src); i++ {
		c := src[i]
		switch {
		case h.state == inDouble && c == '"', h.state == inSingle && c == '\'',
			h.state == inBare && isHTMLSpace(c):
			h.state = inGap
			return i + 1
		case h.state == inBare && c == '>':
			h.endTag()
			return i + 1
		case h.state == inBogus && c == '>':
			h.state = inText
			return i + 1
		}
	}
	return i
}

// isHTMLSpace is white space as HTML has it.
func isHTMLSpace(c byte) bool { return isBlank(c) || c == '\f' }

// step advances by one byte outside of text. took is false when c is to be read again.
func (h *htmlStripper) step(dst []byte, c byte) (_ []byte, took bool) {
	switch h.state {
	case inReference:
		return h.reference(dst, c)
	case inTagOpen, inEndTag:
		return h.tagOpen(dst, c)
	case inTagName, inGap, inAttrName, afterName, beforeValue:
		h.attribute(c)
	case inMarkup, inMarkup2:
		return dst, h.markup(c)
	case inComment, inCommentBang:
		h.comment(c)
	case inRaw:
		h.rawText(c)
	}
	return dst, true
}

// reference collects a character reference; what ends it is text unless it is a semicolon.
func (h *htmlStripper) reference(dst []byte, c byte) ([]byte, bool) {
	const longest = 40 // longer than any name the standard has
	letter := c|0x20 >= 'a' && c|0x20 <= 'z'
	if len(h.ref) < longest && (letter || isDigit(c) || c == '#' && len(h.ref) == 1) {
		h.ref = append(h.ref, c)
		return dst, true
	}
	if c == ';' {
		h.ref = append(h.ref, c)
	}
	return h.endReference(dst), c == ';'
}

// endReference writes what the reference stands for, or itself where it stands for nothing.
func (h *htmlStripper) endReference(dst []byte) []byte {
	h.state = inText
	text := html.UnescapeString(string(h.ref))
	for i := 0; i < len(text); i++ {
		if c := text[i]; isHTMLSpace(c) || c == 0 {
			h.space = true
		} else {
			dst = h.write(dst, []byte{c})
		}
	}
	return dst
}

// tagOpen tells a tag from a bare less-than sign.
func (h *htmlStripper) tagOpen(dst []byte, c byte) ([]byte, bool) {
	letter := c|0x20 >= 'a' && c|0x20 <= 'z'
	switch end := h.state == inEndTag; {
	case letter:
		h.name, h.closing, h.state = append(h.name[:0], lowerByte(c)), end, inTagName
	case end && c == '>':
		h.state = inText // "</>" is nothing
	case end:
		h.state = inBogus
		return dst, false
	case c == '/':
		h.state = inEndTag
	case c == '!':
		h.state = inMarkup
	case c == '?':
		h.state = inBogus
	default:
		h.state = inText // a bare <
		return h.write(dst, []byte{'<'}), false
	}
	return dst, true
}

// attribute reads a tag after its name began.
func (h *htmlStripper) attribute(c byte) {
	switch {
	case c == '>':
		h.endTag()
	case h.state == beforeValue && c == '"':
		h.state = inDouble
	case h.state == beforeValue && c == '\'':
		h.state = inSingle
	case h.state == beforeValue && isHTMLSpace(c):
	case h.state == beforeValue:
		h.state = inBare
	case c == '/':
		h.state = inGap
	case isHTMLSpace(c):
		if h.state == inAttrName {
			h.state = afterName
		} else if h.state == inTagName {
			h.state = inGap
		}
	case h.state == inTagName:
		if len(h.name) < 12 {
			h.name = append(h.name, lowerByte(c))
		}
	case c == '=' && h.state != inGap:
		h.state = beforeValue
	default:
		h.state = inAttrName
	}
}

// markup reads what follows <!: a comment, or a declaration that is passed over.
func (h *htmlStripper) markup(c byte) (took bool) {
	if c != '-' {
		h.state = inBogus
		return false
	}
	if h.state == inMarkup {
		h.state = inMarkup2
	} else {
		h.state, h.dashes = inComment, 2 // "<!-->" is a whole comment
	}
	return true
}

// comment looks for "-->" and "--!>".
func (h *htmlStripper) comment(c byte) {
	switch {
	case c == '>' && (h.dashes >= 2 || h.state == inCommentBang):
		h.state = inText
	case c == '-' && h.state == inComment:
		h.dashes++
	case c == '!' && h.dashes >= 2 && h.state == inComment:
		h.state = inCommentBang
	default:
		h.dashes = 0
		if h.state == inCommentBang && c == '-' {
			h.dashes = 1
		}
		h.state = inComment
	}
}

// rawText looks for the end tag of h.raw.
func (h *htmlStripper) rawText(c byte) {
	end := len("</") + len(h.raw)
	switch {
	case h.matched == end && c == '>':
		h.endRaw()
		h.endTag()
	case h.matched == end && (isHTMLSpace(c) || c == '/'):
		h.endRaw()
		h.state = inGap
	case c == '<':
		h.matched = 1
	case h.matched == 1 && c == '/':
		h.matched = 2
	case h.matched >= 2 && h.matched < end && lowerByte(c) == h.raw[h.matched-2]:
		h.matched++
	default:
		h.matched = 0
	}
}

// endRaw leaves raw text: what goes on is an end tag.
func (h *htmlStripper) endRaw() {
	h.name, h.closing, h.raw = append(h.name[:0], h.raw...), true, ""
}

// endTag acts on a tag that is complete.
func (h *htmlStripper) endTag() {
	h.state = inText
	step := 1
	if h.closing {
		step = -1
	}
	switch name := string(h.name); name {
	case "script", "style", "title", "iframe", "noembed", "noframes":
		if !h.closing {
			h.state, h.raw, h.matched = inRaw, name, 0
		}
	case "br", "p", "div", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "dl", "dt", "dd",
		"table", "tr", "hr", "section", "article", "header", "footer", "address", "form",
		"fieldset", "figure", "figcaption", "center", "main", "nav", "aside", "body", "html",
		"option", "caption", "thead", "tbody", "tfoot":
		h.newline()
	case "pre":
		h.newline()
		h.pre = max(h.pre+step, 0)
	case "blockquote":
		h.newline()
		h.quote = max(h.quote+step, 0)
	case "td", "th", "img":
		h.space = true
	}
}

// newline ends the line if it has begun; lines without text are not shown.
func (h *htmlStripper) newline() {
	h.line, h.space = h.line || h.begun, false
	h.begun = false
}

// write appends text, with what white space and line ends came before it.
func (h *htmlStripper) write(dst, text []byte) []byte {
	if h.line && h.some {
		dst = append(dst, '\n')
	}
	if h.quote > 0 && !h.begun {
		dst = append(dst, "> "...)
	}
	if h.space && h.begun {
		dst = append(dst, ' ')
	}
	h.line, h.space, h.begun, h.some = false, false, true, true
	return append(dst, text...)
}
