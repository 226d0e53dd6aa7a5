// Package tlsrpt answers "what does this report on TLS say?", and writes the like: the JSON of RFC 8460
// §4, how often mail for a domain went out over TLS as its policy asks, and what went wrong when not.
//
// It promises to be generous with values and strict with bounds: a number may be written as text, a
// list of one as its element, unknown names are skipped; depth, length and number are bounded, and the
// document is read as a stream. What [Write] writes [Parse] reads to the same value.
//
// What must never happen: memory or time that grows faster than the input.
package tlsrpt

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"tram/internal/limits"
	"tram/internal/reports/unpack"
)

// What Parse ends with besides errors of its reader.
var (
	// ErrNotReport says that this is something else: no JSON, or JSON about something else.
	ErrNotReport = errors.New("not a TLS report")
	// ErrBounds says that a limit on the document's form was reached.
	ErrBounds = errors.New("TLS report is beyond the limits")
)

// Report is a TLS report. The order of the fields and their names are those of RFC 8460 §4.4.
type Report struct {
	Org      string    `json:"organization-name"`
	Range    DateRange `json:"date-range"`
	Contact  string    `json:"contact-info"`
	ID       string    `json:"report-id"`
	Policies []Policy  `json:"policies"`
	// Left is the number of policies and failures beyond the limit, of which only the sums are known.
	Left int `json:"-"`
}

// DateRange is the time that a report is about.
type DateRange struct {
	Start time.Time `json:"start-datetime"`
	End   time.Time `json:"end-datetime"`
}

// Policy is what was found under one policy.
type Policy struct {
	Policy   PolicyText `json:"policy"`
	Summary  Summary    `json:"summary"`
	Failures []Failure  `json:"failure-details,omitempty"`
}

// PolicyText is the policy as the reporter found it.
type PolicyText struct {
	Type    string   `json:"policy-type"` // sts, tlsa, no-policy-found
	Text    []string `json:"policy-string,omitempty"`
	Domain  string   `json:"policy-domain"`
	MXHosts []string `json:"mx-host,omitempty"`
}

// Summary counts sessions.
type Summary struct {
	Successes int64 `json:"total-successful-session-count"`
	Failures  int64 `json:"total-failure-session-count"`
}

// Failure is a number of sessions that failed in the same way.
type Failure struct {
	Type        string `json:"result-type"` // RFC 8460 §4.3
	SendingIP   string `json:"sending-mta-ip,omitempty"`
	MX          string `json:"receiving-mx-hostname,omitempty"`
	HELO        string `json:"receiving-mx-helo,omitempty"`
	ReceivingIP string `json:"receiving-ip,omitempty"`
	Count       int64  `json:"failed-session-count"`
	Information string `json:"additional-information,omitempty"`
	Code        string `json:"failure-reason-code,omitempty"`
}

// Write writes a report.
func Write(w io.Writer, r *Report) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("write TLS report: %w", err)
	}
	return nil
}

// How much of one value is kept, and how many of those that may come several times.
const (
	textMost   = 255
	keyMost    = 40
	linesMost  = 30
	policyMost = 500
)

// Parse reads a report to its end.
func Parse(r io.Reader, l limits.Reports) (*Report, error) {
	in := unpack.NewLeash(r, l.Token)
	p := parser{in: in, d: json.NewDecoder(in), limits: l, report: &Report{}}
	p.d.UseNumber()
	t, err := p.next()
	if err == nil && t != json.Delim('{') {
		err = ErrNotReport
	}
	if err == nil {
		err = p.object("", 1)
	}
	if err == nil {
		_, err = p.next()
		if err == nil {
			return nil, fmt.Errorf("%w: something follows it", ErrNotReport)
		}
		if errors.Is(err, io.EOF) && in.Err() == nil {
			return p.finish()
		}
	}
	switch {
	case errors.Is(in.Err(), unpack.ErrTooLong):
		return nil, fmt.Errorf("%w: %w", ErrBounds, in.Err())
	case in.Err() != nil:
		return nil, in.Err()
	case errors.Is(err, ErrBounds), errors.Is(err, ErrNotReport):
		return nil, err
	}
	return nil, fmt.Errorf("%w: %w", ErrNotReport, err)
}

type parser struct {
	in     *unpack.Leash
	d      *json.Decoder
	limits limits.Reports
	tokens int
	report *Report
	rows   int
	// policy and failure are what is being read; written over when there are too many.
	policy  *Policy
	failure *Failure
	spill   Failure
	spare   Policy
}

func (p *parser) next() (json.Token, error) {
	p.in.Reset()
	if p.tokens++; p.tokens > p.limits.Tokens {
		return nil, ErrBounds
	}
	return p.d.Token()
}

// object reads the members of an object whose brace was read. path is where it stands.
func (p *parser) object(path string, depth int) error {
	p.enter(path)
	for {
		t, err := p.next()
		if err != nil || t == json.Delim('}') {
			return err
		}
		key, ok := t.(string)
		if !ok {
			return ErrNotReport
		}
		key = strings.ToLower(key[:min(len(key), keyMost)])
		if err := p.value(strings.TrimPrefix(path+"."+key, "."), depth); err != nil {
			return err
		}
	}
}

// value reads one value; those of a list have the path of the list.
func (p *parser) value(path string, depth int) error {
	t, err := p.next()
	if err != nil {
		return err
	}
	return p.token(t, path, depth)
}

func (p *parser) token(t json.Token, path string, depth int) error {
	if depth >= p.limits.Depth {
		return fmt.Errorf("%w: nested deeper than %d", ErrBounds, p.limits.Depth)
	}
	switch t {
	case json.Delim('{'):
		return p.object(path, depth+1)
	case json.Delim('['):
		for {
			t, err := p.next()
			if err != nil || t == json.Delim(']') {
				return err
			}
			if err := p.token(t, path, depth+1); err != nil {
				return err
			}
		}
	}
	switch t := t.(type) {
	case string:
		p.text(path, clip(t))
	case json.Number:
		p.text(path, clip(t.String()))
	}
	return nil
}

// enter begins an element of the lists that are kept.
func (p *parser) enter(path string) {
	switch path {
	case "policies":
		p.spare, p.policy = Policy{}, &p.spare
		if len(p.report.Policies) < policyMost {
			p.report.Policies = append(p.report.Policies, Policy{})
			p.policy = &p.report.Policies[len(p.report.Policies)-1]
		} else {
			p.report.Left++
		}
	case "policies.failure-details":
		if p.policy == nil {
			return
		}
		p.spill, p.failure = Failure{}, &p.spill
		if p.rows++; p.rows <= p.limits.Rows && p.policy != &p.spare {
			p.policy.Failures = append(p.policy.Failures, Failure{})
			p.failure = &p.policy.Failures[len(p.policy.Failures)-1]
		} else {
			p.report.Left++
		}
	}
}

func (p *parser) text(path, s string) {
	r := p.report
	switch path {
	case "organization-name":
		r.Org = s
	case "contact-info":
		r.Contact = s
	case "report-id":
		r.ID = s
	case "date-range.start-datetime":
		r.Range.Start = when(s)
	case "date-range.end-datetime":
		r.Range.End = when(s)
	}
	under, name, ok := cutLast(path)
	if !ok || p.policy == nil {
		return
	}
	switch under {
	case "policies.policy":
		p.policyText(name, s)
	case "policies.summary":
		switch name {
		case "total-successful-session-count":
			p.policy.Summary.Successes = number(s)
		case "total-failure-session-count":
			p.policy.Summary.Failures = number(s)
		}
	case "policies.failure-details":
		if p.failure != nil {
			p.failure.set(name, s)
		}
	}
}

func cutLast(path string) (before, after string, ok bool) {
	i := strings.LastIndexByte(path, '.')
	if i < 0 {
		return "", path, false
	}
	return path[:i], path[i+1:], true
}

func (p *parser) policyText(name, s string) {
	t := &p.policy.Policy
	switch name {
	case "policy-type":
		t.Type = strings.ToLower(s)
	case "policy-domain":
		t.Domain = strings.ToLower(strings.TrimSuffix(s, "."))
	case "policy-string":
		if len(t.Text) < linesMost {
			t.Text = append(t.Text, s)
		}
	case "mx-host", "mx-host-pattern": // the second is in drafts that are still in use
		if len(t.MXHosts) < linesMost {
			t.MXHosts = append(t.MXHosts, s)
		}
	}
}

func (f *Failure) set(name, s string) {
	switch name {
	case "result-type":
		f.Type = strings.ToLower(s)
	case "sending-mta-ip":
		f.SendingIP = s
	case "receiving-mx-hostname":
		f.MX = s
	case "receiving-mx-helo":
		f.HELO = s
	case "receiving-ip":
		f.ReceivingIP = s
	case "failed-session-count":
		f.Count = number(s)
	case "additional-information", "additional-info-uri":
		f.Information = s
	case "failure-reason-code", "failure-error-code":
		f.Code = s
	}
}

func (p *parser) finish() (*Report, error) {
	r := p.report
	if len(r.Policies) == 0 {
		return nil, fmt.Errorf("%w: it names no policy", ErrNotReport)
	}
	if r.Range.End.Before(r.Range.Start) {
		r.Range.Start, r.Range.End = r.Range.End, r.Range.Start
	}
	return r, nil
}

// countMost bounds a count.
const countMost = 1 << 48

// number reads a count, which some write as a text or with a fraction.
func number(s string) int64 {
	f, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || !(f > 0) {
		return 0
	}
	return int64(min(f, countMost))
}

// when reads a time of RFC 3339, or one of those that are sent instead.
func when(s string) time.Time {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, strings.TrimSpace(s)); err == nil && t.Year() >= 1970 {
			return t.UTC()
		}
	}
	return time.Time{}
}

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
