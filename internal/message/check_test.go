package message

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"tram/internal/limits"
)

var testLimits = limits.Default().Message

// checkMessage asserts everything that must hold for any message whatever, and returns it parsed.
func checkMessage(t *testing.T, raw []byte, lim limits.Message) *Message {
	t.Helper()
	m := Parse(raw, lim)
	if m.Size != int64(len(raw)) || m.Root == nil || m.HeaderSize != m.Root.Header.End {
		t.Fatalf("size %d of %d, header %d, root %+v", m.Size, len(raw), m.HeaderSize, m.Root)
	}
	if m.Root.Header.Start != 0 || m.Root.Body.End != m.Size {
		t.Errorf("the root does not cover the message: %+v", m.Root)
	}
	checkPart(t, raw, m.Root, Span{0, m.Size})
	checkFlags(t, raw, m)
	checkStrings(t, m)
	checkBinary(t, m)
	checkIMAP(t, m)
	checkSections(t, raw, m)
	return m
}

// checkPart asserts that spans are nested and in order, and that lines are counted.
func checkPart(t *testing.T, raw []byte, p *Part, in Span) {
	t.Helper()
	if p.Header.Start < in.Start || p.Header.End < p.Header.Start ||
		p.Body.Start != p.Header.End || p.Body.End < p.Body.Start || p.Body.End > in.End {
		t.Fatalf("spans of %s/%s: header %v, body %v, in %v", p.Type, p.Subtype, p.Header, p.Body, in)
	}
	if n := int64(bytes.Count(raw[p.Body.Start:p.Body.End], []byte("\n"))); n != p.Lines {
		t.Errorf("%s/%s at %v: %d lines, counted %d", p.Type, p.Subtype, p.Body, n, p.Lines)
	}
	if (p.Type == "multipart") != (len(p.Parts) > 0) {
		t.Errorf("%s/%s has %d parts", p.Type, p.Subtype, len(p.Parts))
	}
	if p.isMessage() != (p.Embedded != nil) || p.Opaque && p.Type != "application" {
		t.Errorf("%s/%s: opaque %v, embedded %v", p.Type, p.Subtype, p.Opaque, p.Embedded)
	}
	at := p.Body.Start
	for _, c := range p.Parts {
		checkPart(t, raw, c, Span{at, p.Body.End})
		at = c.Body.End
	}
	if p.Embedded != nil {
		if p.Embedded.Root.Header.Start != p.Body.Start || p.Embedded.Root.Body.End != p.Body.End {
			t.Errorf("embedded message %+v does not fill %v", p.Embedded.Root, p.Body)
		}
		checkPart(t, raw, p.Embedded.Root, p.Body)
	}
}

func checkFlags(t *testing.T, raw []byte, m *Message) {
	t.Helper()
	crlfs := bytes.Count(raw, []byte("\r\n"))
	want := [...]bool{
		bytes.Count(raw, []byte("\r")) != crlfs, bytes.Count(raw, []byte("\n")) != crlfs,
		bytes.IndexByte(raw, 0) >= 0, !isASCII(string(raw)), longestLine(raw) > maxLine,
	}
	if got := [...]bool{m.BareCR, m.BareLF, m.NUL, m.EightBit, m.LongLine}; got != want {
		t.Errorf("bare CR, bare LF, NUL, 8-bit, long line: got %v, want %v", got, want)
	}
}

func longestLine(raw []byte) (n int) {
	lines := bytes.SplitAfter(raw, []byte("\n"))
	for i, line := range lines {
		line = bytes.TrimSuffix(line, []byte("\n"))
		if i+1 < len(lines) {
			line = bytes.TrimSuffix(line, []byte("\r"))
		}
		n = max(n, len(line))
	}
	return n
}

// checkStrings asserts that what is said to be text is text.
func checkStrings(t *testing.T, m *Message) {
	t.Helper()
	texts := []string{m.Subject, m.BaseSubject, m.Preview, m.MessageID, m.Envelope.Subject,
		m.Envelope.Date, m.Envelope.MessageID, m.Envelope.InReplyTo}
	for _, list := range [][]Address{m.Envelope.From, m.Envelope.To, m.Envelope.Cc} {
		for _, a := range list {
			texts = append(texts, a.Name, a.Mailbox, a.Host)
		}
	}
	m.Root.Walk(func(p *Part) {
		for _, param := range append(p.Params[:len(p.Params):len(p.Params)], p.DispositionParams...) {
			texts = append(texts, param.Value, param.Raw)
		}
		texts = append(texts, p.Type, p.Subtype, p.Encoding, p.Description, p.ID, p.Disposition)
	})
	for _, s := range texts {
		if !utf8.ValidString(s) || strings.ContainsAny(s, "\x00\r\n") {
			t.Errorf("not one line of valid text: %q", s)
		}
	}
	if n := utf8.RuneCountInString(m.Preview); n > testLimits.Preview {
		t.Errorf("preview of %d characters", n)
	}
}

func checkBinary(t *testing.T, m *Message) {
	t.Helper()
	b := m.AppendBinary(nil)
	got, err := Decode(b)
	if err != nil {
		t.Fatalf("Decode(AppendBinary): %v", err)
	}
	want := *m
	want.Header = nil
	if !reflect.DeepEqual(&want, got) {
		t.Errorf("Decode(AppendBinary) differs (-want +got):\n%s", diffMessages(&want, got))
	}
}

// diffMessages is cmp.Diff for trees of a size it can compare.
func diffMessages(want, got *Message) string {
	parts := 0
	want.Root.Walk(func(*Part) { parts++ })
	if parts > 50 {
		return fmt.Sprintf("\t%d parts, not shown", parts)
	}
	return cmp.Diff(want, got)
}

// checkIMAP asserts that the renderings are grammatical and, where they must be, 7-bit.
func checkIMAP(t *testing.T, m *Message) {
	t.Helper()
	for _, utf8 := range []bool{false, true} {
		env := m.Envelope.AppendIMAP(nil, utf8)
		list, err := readIMAP(env)
		if err != nil || len(list.list) != 10 {
			t.Errorf("envelope %q: %v", env, err)
		}
		for _, extended := range []bool{false, true} {
			b := m.Root.AppendIMAP(nil, extended, utf8)
			v, err := readIMAP(b)
			if err == nil {
				err = checkBodyStructure(v, extended)
			}
			if err != nil {
				t.Errorf("body structure %q: %v", b, err)
			}
			if !utf8 && (!isASCII(string(b)) || !isASCII(string(env))) {
				t.Errorf("not 7-bit: %q %q", env, b)
			}
		}
	}
}

// imapValue is a list, or an atom or string.
type imapValue struct {
	list   []imapValue
	isList bool
	str    bool
	s      string
}

func readIMAP(b []byte) (imapValue, error) {
	v, rest, err := readIMAPValue(b)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("left over: %q", rest)
	}
	return v, err
}

// readIMAPValue is a strict reader of RFC 9051 §9: one space between values, none elsewhere, but
// none either between the lists of a list, where ENVELOPE and BODY have none.
func readIMAPValue(b []byte) (v imapValue, rest []byte, err error) {
	switch {
	case len(b) == 0:
		return v, b, fmt.Errorf("empty")
	case b[0] == '(':
		v.isList = true
		for b = b[1:]; ; {
			if len(b) == 0 {
				return v, b, fmt.Errorf("open list")
			}
			if b[0] == ')' {
				return v, b[1:], nil
			}
			if n := len(v.list); n > 0 {
				if b[0] == ' ' {
					b = b[1:]
				} else if !v.list[n-1].isList || b[0] != '(' {
					return v, b, fmt.Errorf("no space at %.20q", b)
				}
			}
			var item imapValue
			if item, b, err = readIMAPValue(b); err != nil {
				return v, b, err
			}
			v.list = append(v.list, item)
		}
	case b[0] == '"':
		v.str = true
		for b = b[1:]; len(b) > 0 && b[0] != '"'; b = b[1:] {
			if b[0] == '\\' {
				b = b[1:]
			}
			if len(b) == 0 || b[0] == '\r' || b[0] == '\n' || b[0] == 0 {
				return v, b, fmt.Errorf("bad quoted string")
			}
			v.s += string(b[0])
		}
		if len(b) == 0 {
			return v, b, fmt.Errorf("open quoted string")
		}
		return v, b[1:], nil
	case b[0] == '{':
		head, tail, ok := bytes.Cut(b[1:], []byte("}\r\n"))
		n, err := strconv.Atoi(string(head))
		if !ok || err != nil || n > len(tail) {
			return v, b, fmt.Errorf("bad literal: %w", err)
		}
		return imapValue{str: true, s: string(tail[:n])}, tail[n:], nil
	}
	n := 0
	for n < len(b) && b[n] != ' ' && b[n] != '(' && b[n] != ')' {
		n++
	}
	v.s = string(b[:n])
	if _, err := strconv.ParseUint(v.s, 10, 63); err != nil && v.s != "NIL" {
		return v, b, fmt.Errorf("bad atom %q", v.s)
	}
	return v, b[n:], nil
}

// checkBodyStructure checks the shape of a body structure, RFC 9051 §9 (body).
func checkBodyStructure(v imapValue, extended bool) error {
	if !v.isList || len(v.list) == 0 {
		return fmt.Errorf("not a list")
	}
	n := 0
	for n < len(v.list) && v.list[n].isList {
		if err := checkBodyStructure(v.list[n], extended); err != nil {
			return err
		}
		n++
	}
	want := n + 1 // and the subtype
	ext := 4
	if n == 0 {
		want = 7
		switch typ := v.list[0].s; {
		case typ == "text":
			want++
		case typ == "message" && (v.list[1].s == "rfc822" || v.list[1].s == "global"):
			want += 3
			if err := checkBodyStructure(v.list[8], extended); err != nil {
				return err
			}
			if len(v.list[7].list) != 10 {
				return fmt.Errorf("envelope of %d fields", len(v.list[7].list))
			}
		case typ == "multipart":
			return fmt.Errorf("multipart without parts")
		}
	}
	if extended {
		want += ext
	}
	if len(v.list) != want {
		return fmt.Errorf("%d fields, want %d", len(v.list), want)
	}
	return nil
}

// checkSections asserts that section spans lie in the message.
func checkSections(t *testing.T, raw []byte, m *Message) {
	t.Helper()
	for _, path := range [][]int{nil, {1}, {2}, {1, 1}, {1, 2}, {2, 1}, {1, 1, 1}, {0}, {-1}, {9999}} {
		for s := SectionAll; s <= SectionMIME; s++ {
			span, ok := m.Section(path, s)
			if span.Start < 0 || span.End < span.Start || span.End > int64(len(raw)) {
				t.Errorf("section %v of %v: %v %v", s, path, span, ok)
			}
		}
	}
}

// checkSplit asserts that the slices a message comes in make no difference.
func checkSplit(t *testing.T, raw []byte, lim limits.Message, seed uint64) {
	t.Helper()
	want := Parse(raw, lim)
	rnd := rand.New(rand.NewPCG(seed, 1))
	p := NewParser(lim)
	for _, most := range []int{1, 3, 80, 5000} {
		p.Reset()
		for rest := raw; len(rest) > 0; {
			n := min(len(rest), 1+rnd.IntN(most))
			if most == 1 && len(raw) > 200_000 {
				n = min(len(rest), 7)
			}
			p.Write(rest[:n])
			rest = rest[n:]
		}
		if got := p.Finish(); !reflect.DeepEqual(want, got) {
			t.Fatalf("in slices of at most %d it differs (-whole +slices):\n%s", most,
				diffMessages(want, got))
		}
	}
}
