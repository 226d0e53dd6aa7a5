package aggregate

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"

	"tram/internal/limits"
	"tram/internal/reports/unpack"
)

// What Parse ends with besides errors of its reader.
var (
	// ErrNotReport says that this is something else: no XML, or XML about something else.
	ErrNotReport = errors.New("not an aggregate report")
	// ErrBounds says that a limit on the document's form was reached.
	ErrBounds = errors.New("aggregate report is beyond the limits")
	// ErrDTD refuses a document type declaration, which no report has and every attack begins with.
	ErrDTD = errors.New("aggregate report has a document type declaration")
)

// How much of one value is kept, and how many of those that may come several times.
const (
	textMost   = 255
	repeatMost = 10
	errorsMost = 10
	// rowMost is how long the texts of a record may be on average. Real ones have some 200 bytes; without
	// it a few hundred packed kilobytes would leave as much behind as the limits let unpack.
	rowMost = 1024
)

// Parse reads a report to its end.
func Parse(r io.Reader, l limits.Reports) (*Report, error) {
	in := unpack.NewLeash(unmark(r), l.Token)
	d := xml.NewDecoder(in)
	// Unescaped ampersands and the like are in the reports of real senders.
	d.Strict = false
	declared := false
	d.CharsetReader = func(label string, r io.Reader) (io.Reader, error) {
		// The decoder asks at every declaration, wherever it stands: each would wrap one reader more around
		// those before it, and a document of nothing else would fill the memory.
		if declared {
			return nil, fmt.Errorf("%w: it declares its charset twice", ErrNotReport)
		}
		declared = true
		return charset(in, label, r)
	}
	p := parser{limits: l, report: &Report{}}
	for tokens := 0; ; tokens++ {
		in.Reset()
		t, err := d.Token()
		switch {
		case errors.Is(err, io.EOF) && p.done:
			return p.finish()
		case errors.Is(in.Err(), unpack.ErrTooLong):
			return nil, fmt.Errorf("%w: %w", ErrBounds, in.Err())
		case in.Err() != nil:
			return nil, in.Err()
		case err != nil:
			return nil, fmt.Errorf("%w: %w", ErrNotReport, err)
		case tokens >= l.Tokens:
			return nil, ErrBounds
		}
		if err := p.token(t); err != nil {
			return nil, err
		}
	}
}

// unmark makes UTF-8 of what has a byte order mark.
func unmark(r io.Reader) io.Reader {
	var head [2]byte
	n, err := io.ReadFull(r, head[:])
	whole := io.MultiReader(bytes.NewReader(head[:n]), r)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return io.MultiReader(bytes.NewReader(head[:n]), failed{err})
	}
	if head == [2]byte{0xfe, 0xff} || head == [2]byte{0xff, 0xfe} || head == [2]byte{0xef, 0xbb} {
		return transform.NewReader(whole, unicode.BOMOverride(transform.Nop))
	}
	return whole
}

type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }

// charset is what xml.Decoder asks for when the document says that it is not UTF-8.
func charset(in *unpack.Leash, label string, r io.Reader) (io.Reader, error) {
	if strings.HasPrefix(strings.ToLower(label), "utf-16") {
		return r, nil // unmark has done it, else the decoder would not have come so far
	}
	enc, err := htmlindex.Get(label)
	if err != nil {
		return nil, fmt.Errorf("%w: charset %q", ErrNotReport, clip(label))
	}
	in.Widen()
	return enc.NewDecoder().Reader(r), nil
}

// parser builds the report while elements end.
type parser struct {
	limits limits.Reports
	report *Report
	path   []string // names of the open elements, lower case, without namespace
	text   []byte   // of the innermost element
	record *Record
	done   bool // the root element has ended
	seen   int  // records
	kept   int  // bytes of the texts of those that are kept
}

func (p *parser) token(t xml.Token) error {
	switch t := t.(type) {
	case xml.Directive:
		return ErrDTD
	case xml.StartElement:
		return p.start(strings.ToLower(t.Name.Local))
	case xml.CharData:
		if room := textMost - len(p.text); room > 0 {
			p.text = append(p.text, t[:min(len(t), room)]...)
		}
	case xml.EndElement:
		p.end()
	}
	return nil
}

func (p *parser) start(name string) error {
	switch {
	case len(p.path) == 0 && name != "feedback", p.done:
		return ErrNotReport
	case len(p.path) >= p.limits.Depth:
		return fmt.Errorf("%w: nested deeper than %d", ErrBounds, p.limits.Depth)
	}
	p.path, p.text = append(p.path, name), p.text[:0]
	switch {
	case len(p.path) == 2 && name == "record":
		p.record = &Record{}
	case p.record != nil && p.in(1) == "auth_results" && name == "dkim":
		p.record.Signatures = oneMore(p.record.Signatures)
	case p.record != nil && p.in(1) == "auth_results" && name == "spf":
		p.record.Senders = oneMore(p.record.Senders)
	case p.record != nil && p.in(1) == "policy_evaluated" && name == "reason":
		p.record.Reasons = oneMore(p.record.Reasons)
	}
	return nil
}

// oneMore appends a zero value; when there are enough the last one is written over.
func oneMore[T any](list []T) []T {
	var zero T
	if len(list) >= repeatMost {
		list[len(list)-1] = zero
		return list
	}
	return append(list, zero)
}

// in is the name of the element so many levels above the innermost; "" for none.
func (p *parser) in(up int) string {
	if i := len(p.path) - 1 - up; i >= 0 {
		return p.path[i]
	}
	return ""
}

func (p *parser) end() {
	if len(p.path) == 0 {
		return
	}
	text := clip(strings.TrimSpace(string(p.text)))
	name := p.in(0)
	if p.record != nil {
		p.recordValue(name, text)
	} else if len(p.path) > 1 {
		p.headValue(name, text)
	}
	if len(p.path) == 2 && name == "record" {
		p.keep()
	}
	p.path, p.text = p.path[:len(p.path)-1], p.text[:0]
	p.done = p.done || len(p.path) == 0
}

// keep adds the record that has ended.
func (p *parser) keep() {
	rec := p.record
	p.record = nil
	p.seen++
	size := rec.size()
	if p.seen > p.limits.Rows || p.kept+size > p.limits.Rows*rowMost {
		p.report.Left++
		p.report.LeftMessages = add(p.report.LeftMessages, rec.Count)
		if rec.Passed() {
			p.report.LeftPassed = add(p.report.LeftPassed, rec.Count)
		}
		return
	}
	p.kept += size
	p.report.Records = append(p.report.Records, *rec)
}

// size is how many bytes the texts of a record have.
func (r *Record) size() int {
	n := len(r.Disposition) + len(r.DKIM) + len(r.SPF) + len(r.HeaderFrom) + len(r.EnvelopeFrom) +
		len(r.EnvelopeTo)
	for _, reason := range r.Reasons {
		n += len(reason.Type) + len(reason.Comment)
	}
	for _, list := range [...][]Auth{r.Signatures, r.Senders} {
		for _, a := range list {
			n += len(a.Domain) + len(a.Selector) + len(a.Scope) + len(a.Result) + len(a.Human)
		}
	}
	return n
}

// countMost bounds a count, and a sum of them.
const countMost = 1 << 48

func add(a, b int64) int64 { return min(a+b, countMost) }

func (p *parser) headValue(name, text string) {
	r, pol := p.report, &p.report.Policy
	values := map[string]*string{}
	switch p.in(1) {
	case "feedback":
		values = map[string]*string{"version": &r.Version}
	case "report_metadata":
		values = map[string]*string{"org_name": &r.Org, "email": &r.Email, "extra_contact_info": &r.Contact,
			"report_id": &r.ID, "generator": &r.Generator}
		if name == "error" && text != "" && len(r.Errors) < errorsMost {
			r.Errors = append(r.Errors, text)
		}
	case "date_range":
		switch name {
		case "begin":
			r.Begin = seconds(text)
		case "end":
			r.End = seconds(text)
		}
	case "policy_published":
		values = map[string]*string{"domain": &pol.Domain, "discovery_method": &pol.Discovery, "p": &pol.P,
			"sp": &pol.SP, "np": &pol.NP, "adkim": &pol.ADKIM, "aspf": &pol.ASPF, "fo": &pol.FO,
			"testing": &pol.Testing, "pct": &pol.Percent}
		if name == "domain" {
			text = domain(text)
		}
	}
	if v := values[name]; v != nil {
		*v = text
	}
}

func (p *parser) recordValue(name, text string) {
	rec := p.record
	switch p.in(1) {
	case "row":
		switch name {
		case "source_ip":
			if a, err := netip.ParseAddr(text); err == nil {
				rec.Source = a.Unmap().WithZone("")
			}
		case "count":
			if n, err := strconv.ParseInt(text, 10, 64); err == nil {
				rec.Count = min(max(n, 0), countMost)
			}
		}
	case "policy_evaluated":
		switch name {
		case "disposition":
			rec.Disposition = strings.ToLower(text)
		case "dkim":
			rec.DKIM = strings.ToLower(text)
		case "spf":
			rec.SPF = strings.ToLower(text)
		}
	case "identifiers", "identities": // the second is in reports of 2012 that are still sent
		switch name {
		case "header_from":
			rec.HeaderFrom = domain(text)
		case "envelope_from":
			rec.EnvelopeFrom = domain(text)
		case "envelope_to":
			rec.EnvelopeTo = domain(text)
		}
	case "reason":
		if n := len(rec.Reasons); n > 0 && name == "type" {
			rec.Reasons[n-1].Type = text
		} else if n > 0 && name == "comment" {
			rec.Reasons[n-1].Comment = text
		}
	case "dkim":
		authValue(rec.Signatures, name, text)
	case "spf":
		authValue(rec.Senders, name, text)
	}
}

func authValue(list []Auth, name, text string) {
	if len(list) == 0 {
		return
	}
	a := &list[len(list)-1]
	switch name {
	case "domain":
		a.Domain = domain(text)
	case "selector":
		a.Selector = text
	case "scope":
		a.Scope = text
	case "result":
		a.Result = strings.ToLower(text)
	case "human_result":
		a.Human = text
	}
}

// finish puts the report into order, or says what is missing that nothing can be made of.
func (p *parser) finish() (*Report, error) {
	r := p.report
	if r.Policy.Domain == "" && len(r.Records) > 0 {
		r.Policy.Domain = r.Records[0].HeaderFrom
	}
	if r.Policy.Domain == "" {
		return nil, fmt.Errorf("%w: it names no domain", ErrNotReport)
	}
	if r.Org == "" {
		r.Org = r.Email
	}
	if r.End.Before(r.Begin) {
		r.Begin, r.End = r.End, r.Begin
	}
	return r, nil
}

// seconds reads a time in seconds since 1970, as some write it with a fraction or in milliseconds.
func seconds(text string) time.Time {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !(f > 0) || f > 1e14 {
		return time.Time{}
	}
	if f > 1e11 {
		f /= 1000
	}
	return time.Unix(int64(f), 0).UTC()
}

// domain is a name as it is compared: lower case, without a trailing dot.
func domain(text string) string { return strings.ToLower(strings.TrimSuffix(text, ".")) }

// clip cuts text to a bound and makes it one line of valid UTF-8.
func clip(s string) string {
	s = strings.ToValidUTF8(s[:min(len(s), textMost)], "")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
