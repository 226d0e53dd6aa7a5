package message

import (
	"strconv"
	"strings"
)

// longestQuoted is the longest string that is sent in quotes; clients have been seen to keep quoted
// strings in small buffers, and literals not.
const longestQuoted = 1000

// appendString appends s as an IMAP string: quoted, or a literal where quotes cannot hold it
// (RFC 9051 §4.3). s must not hold NUL.
func appendString(dst []byte, s string, utf8 bool) []byte {
	quoted := len(s) <= longestQuoted
	for i := 0; i < len(s) && quoted; i++ {
		quoted = s[i] != '\r' && s[i] != '\n' && (s[i] < 0x80 || utf8)
	}
	if !quoted {
		dst = append(dst, '{')
		dst = strconv.AppendInt(dst, int64(len(s)), 10)
		dst = append(dst, "}\r\n"...)
		return append(dst, s...)
	}
	dst = append(dst, '"')
	for i := 0; i < len(s); i++ {
		if s[i] == '"' || s[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return append(dst, '"')
}

// appendNString appends s, or NIL for "".
func appendNString(dst []byte, s string, utf8 bool) []byte {
	if s == "" {
		return append(dst, "NIL"...)
	}
	return appendString(dst, s, utf8)
}

// appendText appends header text: as it is where the client takes it, else with encoded words
// (RFC 2047) in the place of what is not ASCII.
func appendText(dst []byte, s string, utf8 bool) []byte {
	if !utf8 && !isASCII(s) {
		s = encodeWords(s)
	}
	return appendNString(dst, s, utf8)
}

// AppendIMAP appends the envelope as FETCH ENVELOPE has it, RFC 9051 §7.5.2. With utf8 false the
// result is 7-bit, for clients that have not enabled UTF-8 (RFC 6855 §3); encoded words that were
// in the header stay in either case, as clients decode them.
func (e *Envelope) AppendIMAP(dst []byte, utf8 bool) []byte {
	dst = append(dst, '(')
	dst = appendField(dst, e.Date, e.Empty&EmptyDate != 0, utf8)
	dst = append(dst, ' ')
	dst = appendField(dst, e.Subject, e.Empty&EmptySubject != 0, utf8)
	from, sender, replyTo := e.From, e.Sender, e.ReplyTo
	if len(sender) == 0 {
		sender = from
	}
	if len(replyTo) == 0 {
		replyTo = from
	}
	for _, list := range [...][]Address{from, sender, replyTo, e.To, e.Cc, e.Bcc} {
		dst = append(dst, ' ')
		dst = appendAddresses(dst, list, utf8)
	}
	dst = append(dst, ' ')
	dst = appendField(dst, e.InReplyTo, e.Empty&EmptyInReplyTo != 0, utf8)
	dst = append(dst, ' ')
	dst = appendField(dst, e.MessageID, e.Empty&EmptyMessageID != 0, utf8)
	return append(dst, ')')
}

// appendField appends a field that may be there and empty, which NIL would deny.
func appendField(dst []byte, s string, empty, utf8 bool) []byte {
	if empty && s == "" {
		return append(dst, '"', '"')
	}
	return appendText(dst, s, utf8)
}

// appendAddresses appends a list, NIL when it is empty; there are no spaces between addresses.
func appendAddresses(dst []byte, list []Address, utf8 bool) []byte {
	if len(list) == 0 {
		return append(dst, "NIL"...)
	}
	dst = append(dst, '(')
	for i := range list {
		dst = list[i].appendIMAP(dst, utf8)
	}
	return append(dst, ')')
}

// appendIMAP appends one address structure: name, route, mailbox, host.
func (a *Address) appendIMAP(dst []byte, utf8 bool) []byte {
	switch a.Group {
	case GroupStart:
		dst = append(dst, "(NIL NIL "...)
		if a.Mailbox == "" {
			dst = append(dst, `""`...)
		} else {
			dst = appendText(dst, a.Mailbox, utf8)
		}
		return append(dst, " NIL)"...)
	case GroupEnd:
		return append(dst, "(NIL NIL NIL NIL)"...)
	}
	name := a.Name
	if a.Raw != "" {
		name = a.Raw
	}
	dst = append(dst, '(')
	dst = appendText(dst, name, utf8)
	dst = append(dst, ' ')
	dst = appendText(dst, a.Route, utf8)
	dst = append(dst, ' ')
	dst = appendPresent(dst, a.Mailbox, utf8)
	dst = append(dst, ' ')
	host := a.Host
	if !utf8 {
		host = asciiHost(host)
	}
	return append(appendPresent(dst, host, utf8), ')')
}

// appendPresent is appendText for the two fields whose NIL would mean a group (RFC 9051 §7.5.2): a
// missing one is an empty string.
func appendPresent(dst []byte, s string, utf8 bool) []byte {
	if s == "" {
		return append(dst, `""`...)
	}
	return appendText(dst, s, utf8)
}

// AppendIMAP appends the structure as FETCH BODY has it, or with extended set as BODYSTRUCTURE
// (RFC 9051 §7.5.2). utf8 is as with Envelope.AppendIMAP.
func (p *Part) AppendIMAP(dst []byte, extended, utf8 bool) []byte {
	dst = append(dst, '(')
	if len(p.Parts) > 0 {
		for _, c := range p.Parts {
			dst = c.AppendIMAP(dst, extended, utf8)
		}
		dst = append(dst, ' ')
		dst = appendString(dst, p.Subtype, utf8)
		if extended {
			dst = append(dst, ' ')
			dst = appendParams(dst, p.Params, utf8)
			dst = p.appendExtension(dst, utf8)
		}
		return append(dst, ')')
	}
	dst = p.appendBasic(dst, utf8)
	switch {
	case p.Embedded != nil:
		dst = append(dst, ' ')
		dst = p.Embedded.Envelope.AppendIMAP(dst, utf8)
		dst = append(dst, ' ')
		dst = p.Embedded.Root.AppendIMAP(dst, extended, utf8)
		dst = appendNumber(dst, p.Lines)
	case p.Type == "text":
		dst = appendNumber(dst, p.Lines)
	}
	if extended {
		dst = append(dst, ' ')
		dst = appendText(dst, p.MD5, utf8)
		dst = p.appendExtension(dst, utf8)
	}
	return append(dst, ')')
}

// appendBasic appends what every leaf begins with.
func (p *Part) appendBasic(dst []byte, utf8 bool) []byte {
	dst = appendString(dst, p.Type, utf8)
	dst = append(dst, ' ')
	dst = appendString(dst, p.Subtype, utf8)
	dst = append(dst, ' ')
	dst = appendParams(dst, p.Params, utf8)
	dst = append(dst, ' ')
	dst = appendText(dst, p.ID, utf8)
	dst = append(dst, ' ')
	dst = appendText(dst, p.Description, utf8)
	dst = append(dst, ' ')
	dst = appendPresent(dst, p.Encoding, utf8)
	return appendNumber(dst, p.Body.Len())
}

// appendNumber appends a space and a number.
func appendNumber(dst []byte, n int64) []byte {
	return strconv.AppendInt(append(dst, ' '), n, 10)
}

// appendExtension appends disposition, language and location, with a space before each.
func (p *Part) appendExtension(dst []byte, utf8 bool) []byte {
	dst = append(dst, ' ')
	if p.Disposition == "" {
		dst = append(dst, "NIL"...)
	} else {
		dst = append(dst, '(')
		dst = appendString(dst, p.Disposition, utf8)
		dst = append(dst, ' ')
		dst = appendParams(dst, p.DispositionParams, utf8)
		dst = append(dst, ')')
	}
	dst = append(dst, ' ')
	switch len(p.Language) {
	case 0:
		dst = append(dst, "NIL"...)
	case 1:
		dst = appendText(dst, p.Language[0], utf8)
	default:
		for i, tag := range p.Language {
			dst = append(dst, "( "[min(i, 1)])
			dst = appendText(dst, tag, utf8)
		}
		dst = append(dst, ')')
	}
	dst = append(dst, ' ')
	return appendText(dst, p.Location, utf8)
}

// appendParams appends a parameter list or NIL. Continuations are joined (RFC 2231 §7). What is not
// ASCII goes out in the form of RFC 2231 §4, in UTF-8, as "name*": clients read it, and RFC 9051
// §7.5.2 asks for it; only where a UTF-8 client meets a raw 8-bit value does that stay itself.
func appendParams(dst []byte, params []Param, utf8 bool) []byte {
	if len(params) == 0 {
		return append(dst, "NIL"...)
	}
	for i, p := range params {
		dst = append(dst, "( "[min(i, 1)])
		name, value := p.Name, p.Value
		switch {
		case p.Raw != "":
			value = p.Raw
		case p.Extended, !utf8 && !isASCII(value):
			name += "*"
			value = encodeExtended(value)
		}
		dst = appendString(dst, name, utf8)
		dst = append(dst, ' ')
		dst = appendString(dst, value, utf8)
	}
	return append(dst, ')')
}

// encodeExtended writes a value as RFC 2231 §4 wants it.
func encodeExtended(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(len("utf-8''") + 3*len(s))
	b.WriteString("utf-8''")
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c < 0x80 && isToken(c) && c != '*' && c != '\'' && c != '%' {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}
