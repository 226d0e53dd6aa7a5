package message

// node is an open part.
type node struct {
	part     *Part
	boundary string // of a multipart that waits for delimiters, "" otherwise
	lines    int64  // line ends before the part's body
	depth    int    // multiparts and messages around it
	digest   bool   // children are messages unless they say otherwise, RFC 2046 §5.1.5
	embedded bool   // the root of a message inside a part
	full     bool   // of a multipart that may have no more parts
}

// top is the current part. The pointer is good until the next push.
func (p *Parser) top() *node { return &p.stack[len(p.stack)-1] }

// delimit acts on a line that match recognised: the parts inside the multipart end before it, and
// another one begins after it, or the epilogue.
func (p *Parser) delimit(line []byte) {
	for p.inHeader {
		p.endHeader(p.lineStart) // a header without blank line
	}
	for len(p.stack)-1 > p.matched {
		p.pop(p.lineStart - p.eol)
	}
	if line[len(line)-1] == '\n' {
		p.newline(line, len(line)-1, 0)
	}
	p.off += int64(len(line))
	n := p.top()
	if p.final {
		n.boundary = ""
		p.watch--
		return
	}
	n.full = p.parts >= p.lim.Parts // then one leaf holds all the rest
	part := &Part{Header: Span{p.off, p.off}, Opaque: n.full}
	n.part.Parts = append(n.part.Parts, part)
	p.push(node{part: part, depth: n.depth + 1})
	p.inHeader = true
	if part.Opaque {
		p.endHeader(p.off)
	}
}

// push makes n the current part.
func (p *Parser) push(n node) {
	p.parts++
	p.stack = append(p.stack, n)
}

// endHeader ends the header of the current part: its body begins at offset body.
func (p *Parser) endHeader(body int64) {
	n := p.top()
	n.part.Header.End = body
	n.part.Body = Span{body, body}
	n.lines = p.lines
	p.inHeader = false
	p.readFields(n)
	p.hdr, p.cut = p.hdr[:0], false
	p.open()
}

// open decides what the current part's body is read as.
func (p *Parser) open() {
	n := p.top()
	part := n.part
	if part.Opaque {
		p.shut(part, FlawPartLimit)
	}
	multipart := part.Type == "multipart"
	message := part.isMessage()
	if (multipart || message) && n.depth >= p.lim.Depth || message && p.parts >= p.lim.Parts {
		p.shut(part, FlawPartLimit)
		multipart, message = false, false
	}
	switch {
	case multipart && !identity(part.Encoding):
		p.msg.Flaws |= FlawEncoding // RFC 2045 §6.4; readers look inside all the same
	case message && !identity(part.Encoding):
		p.shut(part, FlawEncoding) // its header cannot be read as it is
		message = false
	}
	switch {
	case multipart:
		p.openMultipart(n)
	case message:
		p.attachment(part)
		part.Embedded = &Embedded{Root: &Part{Header: part.Body, Body: part.Body}}
		p.push(node{part: part.Embedded.Root, depth: n.depth + 1, embedded: true})
		p.inHeader = true
	default:
		n.boundary = ""
		p.leaf(n)
	}
}

// openMultipart begins to watch for the boundary. Without a usable one the body will be one text.
func (p *Parser) openMultipart(n *node) {
	n.digest = n.part.Subtype == "digest"
	if n.boundary == "" {
		p.msg.Flaws |= FlawBoundary
		return
	}
	if len(n.boundary) > p.lim.Boundary {
		n.boundary = ""
		p.shut(n.part, FlawPartLimit)
		p.leaf(n)
		return
	}
	for _, other := range p.stack[:len(p.stack)-1] {
		if other.boundary == n.boundary {
			p.msg.Flaws |= FlawBoundary
		}
	}
	p.watch++
}

// shut makes part an opaque leaf.
func (p *Parser) shut(part *Part, why Flaws) {
	part.Opaque, part.Type, part.Subtype = true, "application", "octet-stream"
	p.msg.Flaws |= why
}

// leaf begins a part that holds no other.
func (p *Parser) leaf(n *node) {
	p.attachment(n.part)
	p.preview.begin(p.stack)
}

// attachment notes whether the current part is an attachment of the message; those of a message
// inside it are not.
func (p *Parser) attachment(part *Part) {
	var parent *Part
	if n := len(p.stack); n > 1 {
		parent = p.stack[n-2].part
	}
	for _, n := range p.stack {
		if n.embedded {
			return
		}
	}
	if isAttachment(part, parent) {
		p.msg.HasAttachment = true
	}
}

// pop ends the current part at offset end, or where its last child ends: a delimiter that follows
// another without a line between them belongs to neither.
func (p *Parser) pop(end int64) {
	n := p.top()
	part := n.part
	part.Body.End = max(end, part.Body.Start)
	if k := len(part.Parts); k > 0 {
		part.Body.End = max(part.Body.End, part.Parts[k-1].Body.End)
	}
	if part.Embedded != nil {
		part.Body.End = max(part.Body.End, part.Embedded.Root.Body.End)
	}
	part.Lines = p.linesBefore(part.Body.End) - n.lines
	if n.boundary != "" {
		p.watch--
		p.msg.Flaws |= FlawUnclosed
	}
	if part.Type == "multipart" && len(part.Parts) == 0 {
		part.Parts = []*Part{wholeText(part)}
	}
	p.preview.end()
	*n = node{}
	p.stack = p.stack[:len(p.stack)-1]
}

// linesBefore counts the line ends before pos, which is in the current line or just before the
// line end that leads to it.
func (p *Parser) linesBefore(pos int64) int64 {
	if pos < p.lineStart {
		return p.lines - 1
	}
	return p.lines
}

// wholeText is the one child of a multipart in which no delimiter was found: IMAP has no multipart
// without parts (RFC 9051 §9, body-type-mpart), and the person should see what is there.
func wholeText(part *Part) *Part {
	return &Part{
		Header: Span{part.Body.Start, part.Body.Start}, Body: part.Body, Lines: part.Lines,
		Type: "text", Subtype: "plain", Encoding: "7bit",
	}
}

// isMessage reports whether p holds a whole message.
func (p *Part) isMessage() bool {
	return p.Type == "message" && (p.Subtype == "rfc822" || p.Subtype == "global")
}

// identity reports whether enc leaves bytes as they are.
func identity(enc string) bool { return enc == "7bit" || enc == "8bit" || enc == "binary" }

// isAttachment guesses whether a reader offers a part for download, RFC 8621 §4.1.4: what says so,
// what has a file name, and what is no text, unless it is shown inside a text.
func isAttachment(part, parent *Part) bool {
	inline := part.Disposition == "inline"
	switch {
	case part.Disposition == "attachment":
		return true
	case part.isMessage():
		return parent != nil && parent.Subtype != "digest" && parent.Subtype != "report"
	case part.Type == "text" || part.Type == "message":
		return !inline && part.FileName() != ""
	case part.Subtype == "pgp-signature", part.Subtype == "pkcs7-signature",
		part.Subtype == "x-pkcs7-signature", part.Subtype == "pgp-encrypted":
		return false
	case inline:
		return part.ID == "" && part.Type != "image"
	}
	return part.ID == "" || parent == nil || parent.Subtype != "related"
}

// Param returns the decoded value of the Content-Type parameter called name (in lower case).
func (p *Part) Param(name string) string { return paramValue(p.Params, name) }

// FileName is the name the sender gave the part, decoded, "" for none. It is what was sent: not
// fit to be a path.
func (p *Part) FileName() string {
	if name := paramValue(p.DispositionParams, "filename"); name != "" {
		return name
	}
	return paramValue(p.Params, "name")
}

// paramValue finds a parameter, "" if there is none.
func paramValue(params []Param, name string) string {
	for _, p := range params {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

// Walk calls fn for the part and all parts inside it, embedded messages included, in the order in
// which they stand.
func (p *Part) Walk(fn func(*Part)) {
	fn(p)
	if p.Embedded != nil {
		p.Embedded.Root.Walk(fn)
	}
	for _, c := range p.Parts {
		c.Walk(fn)
	}
}
