package aggregate

import (
	"bufio"
	"encoding/xml"
	"io"
	"strconv"
	"strings"
)

// Write writes a report as RFC 9990 has it. Empty elements that may be left out are.
func Write(w io.Writer, r *Report) error {
	x := writer{w: bufio.NewWriter(w)}
	x.str(xml.Header)
	x.str(`<feedback xmlns="` + Namespace + `">` + "\n")
	x.value(1, "version", "1.0", always)
	x.open(1, "report_metadata")
	x.value(2, "org_name", r.Org, always)
	x.value(2, "email", r.Email, always)
	x.value(2, "extra_contact_info", r.Contact, given)
	x.value(2, "report_id", r.ID, always)
	x.open(2, "date_range")
	x.value(3, "begin", strconv.FormatInt(r.Begin.Unix(), 10), always)
	x.value(3, "end", strconv.FormatInt(r.End.Unix(), 10), always)
	x.shut(2, "date_range")
	for _, e := range r.Errors {
		x.value(2, "error", e, always)
	}
	x.value(2, "generator", r.Generator, given)
	x.shut(1, "report_metadata")
	x.policy(&r.Policy)
	for i := range r.Records {
		x.record(&r.Records[i])
	}
	x.str("</feedback>\n")
	if x.err != nil {
		return x.err
	}
	return x.w.Flush()
}

// writer writes elements, one a line. The first error stays.
type writer struct {
	w   *bufio.Writer
	err error
}

// When an element is written.
type when bool

const (
	always when = true
	given  when = false // when there is something to say
)

func (x *writer) str(s string) {
	if x.err == nil {
		_, x.err = x.w.WriteString(s)
	}
}

func (x *writer) indent(depth int)           { x.str(strings.Repeat("  ", depth)) }
func (x *writer) open(depth int, tag string) { x.indent(depth); x.str("<" + tag + ">\n") }
func (x *writer) shut(depth int, tag string) { x.indent(depth); x.str("</" + tag + ">\n") }

func (x *writer) value(depth int, tag, text string, w when) {
	if text == "" && w == given {
		return
	}
	x.indent(depth)
	x.str("<" + tag + ">")
	if x.err == nil {
		x.err = xml.EscapeText(x.w, []byte(text))
	}
	x.str("</" + tag + ">\n")
}

func (x *writer) policy(p *Policy) {
	x.open(1, "policy_published")
	x.value(2, "domain", p.Domain, always)
	x.value(2, "discovery_method", p.Discovery, given)
	x.value(2, "p", p.P, always)
	x.value(2, "sp", p.SP, given)
	x.value(2, "np", p.NP, given)
	x.value(2, "fo", p.FO, given)
	x.value(2, "adkim", p.ADKIM, given)
	x.value(2, "aspf", p.ASPF, given)
	x.value(2, "testing", p.Testing, given)
	x.shut(1, "policy_published")
}

func (x *writer) record(r *Record) {
	x.open(1, "record")
	x.open(2, "row")
	x.value(3, "source_ip", r.Source.String(), always)
	x.value(3, "count", strconv.FormatInt(r.Count, 10), always)
	x.open(3, "policy_evaluated")
	x.value(4, "disposition", r.Disposition, always)
	x.value(4, "dkim", r.DKIM, always)
	x.value(4, "spf", r.SPF, always)
	for _, reason := range r.Reasons {
		x.open(4, "reason")
		x.value(5, "type", reason.Type, always)
		x.value(5, "comment", reason.Comment, given)
		x.shut(4, "reason")
	}
	x.shut(3, "policy_evaluated")
	x.shut(2, "row")
	x.open(2, "identifiers")
	x.value(3, "header_from", r.HeaderFrom, always)
	x.value(3, "envelope_from", r.EnvelopeFrom, always)
	x.shut(2, "identifiers")
	x.open(2, "auth_results")
	for i := range r.Signatures {
		x.auth("dkim", &r.Signatures[i])
	}
	for i := range r.Senders {
		x.auth("spf", &r.Senders[i])
	}
	x.shut(2, "auth_results")
	x.shut(1, "record")
}

func (x *writer) auth(tag string, a *Auth) {
	x.open(3, tag)
	x.value(4, "domain", a.Domain, always)
	if tag == "dkim" {
		x.value(4, "selector", a.Selector, always)
	} else {
		x.value(4, "scope", a.Scope, given)
	}
	x.value(4, "result", a.Result, always)
	x.value(4, "human_result", a.Human, given)
	x.shut(3, tag)
}
