package message

import (
	"strings"
	"testing"
)

const sampleHeader = "From: a@x\r\nSubject: one\r\n two\r\nX-Empty:\r\nno colon\r\nfrom : b@y\r\n\r\nBody: x\r\n"

func TestHeader(t *testing.T) {
	t.Parallel()
	var got []string
	for f := range Header([]byte(sampleHeader)) {
		got = append(got, string(f.Name)+"="+f.Value())
		if !strings.HasSuffix(string(f.Raw), "\r\n") || !strings.HasSuffix(string(f.Raw), string(f.Body)) {
			t.Errorf("raw %q, body %q", f.Raw, f.Body)
		}
	}
	want := "From=a@x|Subject=one two|X-Empty=|=no colon|from=b@y"
	if strings.Join(got, "|") != want {
		t.Errorf("got %q, want %q", strings.Join(got, "|"), want)
	}
	if f, ok := HeaderField([]byte(sampleHeader), "sUBJECT"); !ok || f.Value() != "one two" {
		t.Errorf("Subject: %q %v", f.Raw, ok)
	}
	if _, ok := HeaderField([]byte(sampleHeader), "Body"); ok {
		t.Error("the body is a header field")
	}
	for f := range Header([]byte("A: b")) { // no line end at all
		if f.Value() != "b" {
			t.Errorf("got %q", f.Value())
		}
	}
}

func TestHeaderDoesNotAllocate(t *testing.T) {
	block := []byte(sampleHeader)
	n := 0
	if allocs := testing.AllocsPerRun(100, func() {
		for f := range Header(block) {
			n += len(f.Body)
		}
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func TestUnfold(t *testing.T) {
	t.Parallel()
	if got := string(Unfold([]byte("x:"), []byte(" a\r\n\tb\n c\rd\x00e \r\n"))); got != "x:a\tb c de" {
		t.Errorf("got %q", got)
	}
}

// TestAppendHeaderFields: HEADER.FIELDS and HEADER.FIELDS.NOT, RFC 9051 §6.4.5.
func TestAppendHeaderFields(t *testing.T) {
	t.Parallel()
	header := "From: a@x\r\nSubject: one\r\n two\r\nX-Empty:\r\nno colon\r\nfrom : b@y\r\n\r\n"
	for _, tt := range []struct {
		header string
		names  []string
		not    bool
		want   string
	}{
		{header, []string{"FROM"}, false, "From: a@x\r\nfrom : b@y\r\n\r\n"},
		{header, []string{"subject", "subject"}, false, "Subject: one\r\n two\r\n\r\n"},
		{header, []string{"x"}, false, "\r\n"},
		{header, nil, false, "\r\n"},
		{header, nil, true, header},
		{header, []string{"from", "subject"}, true, "X-Empty:\r\nno colon\r\n\r\n"},
		{"From: a@x\r\n", []string{"from"}, false, "From: a@x\r\n"}, // no blank line, no body
		{"From: a@x", []string{"from"}, false, "From: a@x"},
		{"From: a@x\n\n", []string{"to"}, false, "\n"},
		{"", []string{"from"}, false, ""},
		{"\r\n", []string{"from"}, true, "\r\n"},
	} {
		if got := string(AppendHeaderFields(nil, []byte(tt.header), tt.names, tt.not)); got != tt.want {
			t.Errorf("%q %v %v: got %q, want %q", tt.header, tt.names, tt.not, got, tt.want)
		}
	}
}

func TestHeaderLimits(t *testing.T) {
	t.Parallel()
	lim := testLimits
	lim.Fields, lim.HeaderBytes, lim.FieldBytes = 3, 100, 20
	for _, tt := range []struct{ header, subject string }{
		{"A: 1\r\nB: 2\r\nSubject: x\r\n", "x"},
		{"A: 1\r\nB: 2\r\nC: 3\r\nSubject: x\r\n", ""},                            // one field too many
		{"Subject: " + strings.Repeat("x", 50) + "\r\n", strings.Repeat("x", 20)}, // too long a field
		{"A: " + strings.Repeat("x", 85) + "\r\nSubject: cut in two\r\n", ""},
	} {
		m := checkMessage(t, []byte(tt.header+"\r\nbody"), lim)
		if m.Subject != tt.subject || m.Flaws.Has(FlawHeaderLimit) != (tt.subject != "x") {
			t.Errorf("%q: %q, flaws %b", tt.header, m.Subject, m.Flaws)
		}
	}
	// A header that hides its Content-Type behind the limit says nothing.
	raw := "A: " + strings.Repeat("x", 100) + "\r\nContent-Type: text/html\r\n\r\nbody"
	if m := checkMessage(t, []byte(raw), lim); !m.Root.Opaque {
		t.Errorf("root %+v", m.Root)
	}
}
