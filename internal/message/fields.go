package message

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// once is a set of the fields that may come once in a header.
type once uint32

const (
	onceDate once = 1 << iota
	onceSubject
	onceFrom
	onceSender
	onceReplyTo
	onceTo
	onceCc
	onceBcc
	onceInReplyTo
	onceMessageID
	onceReferences
	onceContentType
	onceEncoding
	onceDisposition
	onceContentID

	onceMIME = onceContentType | onceEncoding | onceDisposition | onceContentID
)

// fieldReader reads the fields of one header.
type fieldReader struct {
	p    *Parser
	m    *Message
	n    *node
	part *Part
	env  *Envelope // nil in a part's header
	top  bool      // the message's own header
	text string    // the header; values are cut out of it
	hint string    // charset for 8-bit text
	seen once
}

// readFields fills the part of n, and its envelope if it is a message, from the header in p.hdr.
func (p *Parser) readFields(n *node) {
	r := fieldReader{p: p, m: p.msg, n: n, part: n.part, top: len(p.stack) == 1}
	n.part.Type, n.part.Subtype, n.part.Encoding = "text", "plain", "7bit"
	switch {
	case r.top:
		r.env = &p.msg.Envelope
		p.msg.Header = append([]byte(nil), p.hdr...)
	case n.embedded:
		r.env = &p.stack[len(p.stack)-2].part.Embedded.Envelope
	case p.stack[len(p.stack)-2].digest:
		n.part.Type, n.part.Subtype = "message", "rfc822"
	}
	if len(p.hdr) > 0 {
		r.text = string(p.hdr)
		if p.msg.EightBit && hasHigh(p.hdr) {
			p.msg.EightBitHeader = true
			r.hint = headerCharset(p.hdr, p.lim.Params)
		}
		r.fields(p.hdr)
	}
	if p.cut {
		p.msg.Flaws |= FlawHeaderLimit
		n.part.Opaque = n.part.Opaque || r.seen&onceContentType == 0
	}
	if r.top {
		r.finish()
	}
}

// headerCharset is the charset that the header's Content-Type names.
func headerCharset(hdr []byte, params int) string {
	f, ok := HeaderField(hdr, "Content-Type")
	if !ok {
		return ""
	}
	return paramValue(parseContentType(string(f.Body), params, "").params, "charset")
}

// fields goes over the header.
func (r *fieldReader) fields(hdr []byte) {
	pos := 0
	for count := 0; ; count++ {
		f, ok := nextField(hdr, pos)
		if !ok {
			return
		}
		if count == r.p.lim.Fields {
			r.m.Flaws |= FlawHeaderLimit
			return
		}
		pos = f.end
		if r.p.cut && f.end == len(hdr) {
			return // the field the limit cut in two
		}
		if f.colon < 0 {
			r.flaw(isWSP(hdr[f.start]), FlawLateFold)
			r.flaw(!isWSP(hdr[f.start]), FlawNoColon)
			continue
		}
		r.check(hdr, f)
		var buf [32]byte
		name := lowerName(buf[:0], hdr[f.start:f.nameEnd])
		body := trim(r.text[f.colon+1 : f.end])
		if len(body) > r.p.lim.FieldBytes {
			body = body[:r.p.lim.FieldBytes]
			r.m.Flaws |= FlawHeaderLimit
		}
		if r.env == nil || !r.messageField(string(name), body) {
			r.mimeField(string(name), body)
		}
	}
}

// lowerName appends name in lower case, nothing if it is longer than any name that matters.
func lowerName(dst, name []byte) []byte {
	if len(name) > cap(dst) {
		return dst
	}
	for _, c := range name {
		dst = append(dst, lowerByte(c))
	}
	return dst
}

// flaw notes a flaw of the message's own header; of other headers only what makes their parts
// ambiguous.
func (r *fieldReader) flaw(is bool, f Flaws) {
	if is && (r.top || f&FlawDoubleContentType != 0) {
		r.m.Flaws |= f
	}
}

// check notes what is odd about a field's form.
func (r *fieldReader) check(hdr []byte, f fieldPos) {
	r.flaw(f.nameEnd < f.colon, FlawSpaceBeforeColon)
	for _, c := range hdr[f.start:f.nameEnd] {
		r.flaw(c <= ' ' || c >= 0x7f, FlawNameCharacter)
	}
	r.flaw(f.nameEnd == f.start, FlawNameCharacter)
	rest := hdr[f.colon+1 : f.end]
	for i := bytes.IndexByte(rest, '\n'); i >= 0 && i+1 < len(rest); {
		rest = rest[i+1:]
		for i = 0; i < len(rest) && (isWSP(rest[i]) || rest[i] == '\r'); i++ {
		}
		r.flaw(i < len(rest) && rest[i] == '\n', FlawBlankFold)
		i = bytes.IndexByte(rest, '\n')
	}
}

// first reports whether a field that may come once comes for the first time.
func (r *fieldReader) first(f once) bool {
	if r.seen&f == 0 {
		r.seen |= f
		return true
	}
	switch {
	case f&onceMIME != 0:
		r.flaw(true, FlawDoubleContentType)
	case f == onceFrom:
		r.flaw(true, FlawDoubleFrom)
	default:
		r.flaw(true, FlawDoubleField)
	}
	return false
}

// messageField reads the fields of a message's header that are no MIME fields.
func (r *fieldReader) messageField(name, body string) bool {
	e := r.env
	switch name {
	case "date":
		r.date(body)
	case "subject":
		if r.first(onceSubject) {
			e.Subject = r.value(body, EmptySubject)
		}
	case "from":
		r.addresses(&e.From, onceFrom, body)
	case "sender":
		r.addresses(&e.Sender, onceSender, body)
	case "reply-to":
		r.addresses(&e.ReplyTo, onceReplyTo, body)
	case "to":
		r.addresses(&e.To, onceTo, body)
	case "cc":
		r.addresses(&e.Cc, onceCc, body)
	case "bcc":
		r.addresses(&e.Bcc, onceBcc, body)
	case "in-reply-to":
		r.inReplyTo(body)
	case "message-id":
		r.messageID(body)
	default:
		return r.top && r.topField(name, body)
	}
	return true
}

// topField reads the fields that only matter in the message's own header.
func (r *fieldReader) topField(name, body string) bool {
	switch name {
	case "references":
		if r.first(onceReferences) {
			r.m.References = newestIDs(body, r.p.lim.References)
		}
	case "received":
		r.m.Received++
	case "delivered-to":
		if len(r.m.DeliveredTo) < maxAddresses {
			r.m.DeliveredTo = append(r.m.DeliveredTo, r.value(body, 0))
		}
	default:
		return false
	}
	return true
}

// date reads the Date field, RFC 5322 §3.6.1.
func (r *fieldReader) date(body string) {
	if !r.first(onceDate) {
		return
	}
	r.env.Date = r.value(body, EmptyDate)
	if r.top {
		r.m.Date, _ = ParseDate(r.env.Date)
	}
}

// inReplyTo reads In-Reply-To, RFC 5322 §3.6.4.
func (r *fieldReader) inReplyTo(body string) {
	if !r.first(onceInReplyTo) {
		return
	}
	r.env.InReplyTo = r.value(body, EmptyInReplyTo)
	if r.top {
		r.m.InReplyTo = newestIDs(r.env.InReplyTo, r.p.lim.References)
	}
}

// messageID reads Message-ID. Of several in one field the first counts.
func (r *fieldReader) messageID(body string) {
	if !r.first(onceMessageID) {
		return
	}
	r.env.MessageID = r.value(body, EmptyMessageID)
	if !r.top {
		return
	}
	r.m.MessageID = firstID(r.env.MessageID)
	r.flaw(r.m.MessageID == "", FlawMessageID)
}

// addresses reads an address list. Fields of one name are read as one list: what a reader might
// show must not be hidden behind another field.
func (r *fieldReader) addresses(list *[]Address, f once, body string) {
	r.first(f)
	had := len(*list)
	room := min(r.p.lim.Addresses-had, r.p.addresses)
	if had == 0 && room > 0 {
		*list = make([]Address, 0, min(room, strings.Count(body, ",")+1))
	}
	var flaws Flaws
	sc := addressScanner{s: unfold(body), room: room, hint: r.hint, out: *list, buf: r.p.scratch}
	*list, flaws = sc.list()
	r.p.scratch = sc.buf[:0]
	if len(*list) == 0 {
		*list = nil
	}
	r.p.addresses -= len(*list) - had
	r.flaw(true, flaws)
}

// value is a field's text on one line in valid UTF-8, as written otherwise.
func (r *fieldReader) value(body string, empty EmptyFields) string {
	s := trim(unfold(body))
	if s == "" && r.env != nil {
		r.env.Empty |= empty
	}
	if utf8.ValidString(s) {
		return s
	}
	return legacyText(s, r.hint)
}

// mimeField reads the fields of RFC 2045 and its kin.
func (r *fieldReader) mimeField(name, body string) {
	part := r.part
	switch name {
	case "content-type":
		if r.first(onceContentType) {
			r.contentType(body)
		}
	case "content-transfer-encoding":
		if r.first(onceEncoding) {
			r.encoding(body)
		}
	case "content-disposition":
		if r.first(onceDisposition) {
			r.disposition(body)
		}
	case "content-id":
		if r.first(onceContentID) {
			part.ID = r.value(body, 0)
		}
	case "content-description":
		part.Description = r.value(body, 0)
	case "content-language":
		for tag := range strings.SplitSeq(r.value(body, 0), ",") {
			if tag = trim(tag); tag != "" && len(part.Language) < r.p.lim.Params {
				part.Language = append(part.Language, tag)
			}
		}
	case "content-location":
		part.Location = strings.NewReplacer(" ", "", "\t", "").Replace(r.value(body, 0))
	case "content-md5":
		part.MD5 = r.value(body, 0)
	}
}

// contentType reads Content-Type. The boundary is kept apart from the parameters, as its bytes are
// on the wire.
func (r *fieldReader) contentType(body string) {
	ct := parseContentType(body, r.p.lim.Params, r.hint)
	r.m.Flaws |= ct.flaws
	r.part.Type, r.part.Subtype, r.part.Params = ct.typ, ct.subtype, ct.params
	r.n.boundary = ""
	if ct.typ == "multipart" {
		r.n.boundary = ct.boundary
	}
}

// encoding reads Content-Transfer-Encoding, RFC 2045 §6.
func (r *fieldReader) encoding(body string) {
	sc := paramScanner{s: unfold(body)}
	sc.skipSpace()
	enc := lower(sc.until("; \t\r\n("))
	if strings.Contains(enc, "=?") {
		r.m.Flaws |= FlawEncodedParam
	}
	if enc == "" {
		return
	}
	if !knownEncoding(enc) {
		r.m.Flaws |= FlawEncoding
	}
	r.part.Encoding = cleanControls(legacyText(enc, ""))
}

// knownEncoding lists the encodings of RFC 2045 §6.1 and the one older than MIME.
func knownEncoding(enc string) bool {
	switch enc {
	case "7bit", "8bit", "binary", "quoted-printable", "base64", "x-uuencode", "uuencode", "x-uue":
		return true
	}
	return false
}

// disposition reads Content-Disposition.
func (r *fieldReader) disposition(body string) {
	sc := paramScanner{s: unfold(body)}
	sc.skipSpace()
	r.part.Disposition = lower(sc.token())
	var room [usualParams]rawParam
	raw, flaws := sc.params(room[:0], r.p.lim.Params)
	params, more := joinParams(raw, r.hint)
	r.part.DispositionParams = params
	r.m.Flaws |= flaws | more
}

// finish derives what the message's own header implies.
func (r *fieldReader) finish() {
	m := r.m
	for _, a := range m.Envelope.From {
		if a.Is() {
			m.FromCount++
		}
	}
	r.flaw(m.FromCount == 0, FlawNoFrom)
	r.flaw(m.Date.IsZero(), FlawDate)
	m.Subject = decodeWords(m.Envelope.Subject, r.hint)
	m.BaseSubject, m.Reply = BaseSubject(m.Subject)
}
