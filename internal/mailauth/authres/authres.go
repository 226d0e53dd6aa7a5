// Package authres answers "how do we say what was found out, and who else claims to have said it in our
// name?": the Authentication-Results field, RFC 8601, written and read.
//
// It promises that what it writes is one field whatever the names in it hold, and that no field of a
// stranger that any reader could take for ours is missed by [Claims]. What must never happen: a message
// brings its own results, and a program behind this server believes them.
package authres

import (
	"net/netip"
	"strconv"
	"strings"

	"tram/internal/mailauth"
)

// Name is the field's name.
const Name = "Authentication-Results"

// Field is what the field says.
type Field struct {
	ID      string // authserv-id: who says so
	Version int    // 1 when nothing was said
	Results []Result
}

// Result is one method's result.
type Result struct {
	Method  string // lower case
	Version int    // 1 when nothing was said
	Value   mailauth.Status
	Comment string // written only, after the value; what was read has none
	Reason  string
	Props   []Prop
}

// Prop is a property that the result is about: header.d=example.com.
type Prop struct{ Type, Name, Value string }

// Client is what the results are about beside the message.
type Client struct {
	Addr netip.Addr
	From string // reverse-path without angle brackets, "" for the null one
}

// Of says in a field what was found out about a message, under our name.
func Of(id string, r *mailauth.Results, c Client) Field {
	f := Field{ID: id, Version: 1}
	d := r.DMARC
	dmarc := Result{Method: "dmarc", Value: d.Status, Reason: d.Reason}
	dmarc.add("header", "from", d.Domain)
	dmarc.add("policy", "dmarc", d.Policy)
	if d.ARC {
		dmarc.Comment = "not applied: the chain of trusted forwarders says pass"
	}
	f.add(dmarc)
	for _, s := range r.DKIM {
		f.add(ofSignature(s))
	}
	f.add(ofSPF(r.SPF, c))
	if !r.SPF.Helo {
		f.add(ofSPF(r.HELO, c))
	}
	if r.ARC.Status != mailauth.None {
		arc := Result{Method: "arc", Value: r.ARC.Status, Reason: r.ARC.Reason}
		if r.ARC.Instances > 0 {
			arc.Comment = "i=" + strconv.Itoa(r.ARC.Instances)
		}
		f.add(arc)
	}
	if r.IPRev.Status != "" && c.Addr.IsValid() {
		rev := Result{Method: "iprev", Value: r.IPRev.Status, Comment: r.IPRev.Name}
		rev.add("policy", "iprev", c.Addr.String())
		f.add(rev)
	}
	return f
}

func ofSignature(s mailauth.DKIM) Result {
	out := Result{Method: "dkim", Value: s.Status, Reason: s.Reason}
	if s.KeyBits > 0 {
		out.Comment = strconv.Itoa(s.KeyBits) + "-bit key"
	}
	out.add("header", "d", s.Domain)
	if s.Identity != "@"+s.Domain {
		out.add("header", "i", s.Identity)
	}
	out.add("header", "s", s.Selector)
	out.add("header", "a", s.Algorithm)
	// RFC 6008 §4: as much of the signature as tells it from the others of the message.
	out.add("header", "b", s.Signature[:min(len(s.Signature), 8)])
	return out
}

func ofSPF(s mailauth.SPF, c Client) Result {
	out := Result{Method: "spf", Value: s.Status, Reason: s.Reason}
	switch {
	case s.Helo:
		out.add("smtp", "helo", s.Domain)
	case plain(c.From):
		out.add("smtp", "mailfrom", c.From)
	default: // RFC 8601 §2.7.2: the domain alone will do
		out.add("smtp", "mailfrom", s.Domain)
	}
	return out
}

// plain reports whether an address is a dot-atom and a domain, all ASCII: others would need quotes that
// not every reader understands, or UTF-8 in a header that has none.
func plain(address string) bool {
	local, domain, ok := strings.Cut(address, "@")
	return ok && local != "" && domain != "" && isToken(local) && isToken(domain)
}

func (f *Field) add(r Result) {
	if r.Value != "" {
		f.Results = append(f.Results, r)
	}
}

func (r *Result) add(ptype, name, value string) {
	if value != "" {
		r.Props = append(r.Props, Prop{ptype, name, value})
	}
}

// maxText is how much of a name, a reason or a comment is written: they can be a stranger's.
const maxText = 200

// Append writes the field with its name and line end, each result on a line of its own (RFC 8601 §2.2,
// RFC 5322 §2.1.1).
func (f Field) Append(dst []byte) []byte {
	dst = append(dst, Name+": "...)
	return append(f.AppendValue(dst), "\r\n"...)
}

// AppendValue writes what stands after the field's name: an ARC-Authentication-Results field has its
// instance before it (RFC 8617 §4.1.1).
func (f Field) AppendValue(dst []byte) []byte {
	dst = appendWord(dst, f.ID)
	if len(f.Results) == 0 {
		return append(dst, "; none"...)
	}
	for _, r := range f.Results {
		dst = append(dst, ";\r\n\t"...)
		dst = append(append(append(dst, r.Method...), '='), string(r.Value)...)
		if r.Comment != "" {
			dst = append(appendComment(append(dst, " ("...), r.Comment), ')')
		}
		if r.Reason != "" {
			dst = appendQuoted(append(dst, "\r\n\t\treason="...), r.Reason)
		}
		column := 0
		for _, p := range r.Props {
			n := len(p.Type) + len(p.Name) + len(p.Value) + 3
			if column += n; column > 55 {
				dst = append(dst, "\r\n\t\t"...)
				column = n
			} else {
				dst = append(dst, ' ')
			}
			dst = append(append(append(dst, p.Type...), '.'), p.Name...)
			dst = appendWord(append(dst, '='), p.Value)
		}
	}
	return dst
}

// appendWord writes a value: as it is if it can stand so, else quoted.
func appendWord(dst []byte, s string) []byte {
	local, domain, at := strings.Cut(s, "@")
	if len(s) <= maxText && (isToken(s) || at && (local == "" || isToken(local)) && isToken(domain)) {
		return append(dst, s...)
	}
	return appendQuoted(dst, s)
}

// isToken reports whether s is a token of RFC 2045 §5.1 or, with its slashes and plus signs, what other
// writers put without quotes.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"[]?=`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := range min(len(s), maxText) {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ' || c >= 0x7f:
			dst = append(dst, '?')
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

func appendComment(dst []byte, s string) []byte {
	for i := range min(len(s), maxText) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '(' || c == ')' || c == '\\' {
			dst = append(dst, '?')
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}
