package imap

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"tram/internal/limits"
)

// decode returns a decoder that stands at the first command of input.
func decode(t testing.TB, input string, l Limits) *Decoder {
	t.Helper()
	d := NewDecoder(newReader(strings.NewReader(input)), l)
	if err := d.Next(); err != nil {
		t.Fatalf("first line of %q: %v", input, err)
	}
	return d
}

func after() Limits  { return AfterLogin(limits.Default().IMAP) }
func before() Limits { return BeforeLogin(limits.Default().IMAP) }

func TestTokens(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, input, want string
		read              func(d *Decoder) string
	}{
		{"atom", "abc rest", "abc", (*Decoder).Atom},
		{"astring may hold a bracket", "a]b", "a]b", (*Decoder).AString},
		{"quoted", `"a b"`, "a b", (*Decoder).AString},
		{"quoted with escapes", `"a \"b\" \\"`, `a "b" \`, (*Decoder).AString},
		{"quoted UTF-8", `"việc"`, "việc", (*Decoder).AString},
		{"empty quoted", `""`, "", (*Decoder).AString},
		{"literal", "{3}\r\nabc\r\n", "abc", (*Decoder).AString},
		{"literal with CRLF in it", "{4+}\r\na\r\nb\r\n", "a\r\nb", (*Decoder).AString},
		{"empty literal", "{0}\r\n\r\n", "", (*Decoder).AString},
		{"literal8 may hold NUL", "~{3}\r\na\x00b\r\n", "a\x00b", (*Decoder).Str},
		{"label", "body.peek", "BODY.PEEK", (*Decoder).Label},
		{"flag", `\sEEN`, `\Seen`, (*Decoder).Flag},
		{"keyword", "$Forwarded", "$Forwarded", (*Decoder).Flag},
		{"inbox", "inBoX", "INBOX", (*Decoder).Mailbox},
		{"mailbox", `"Th&AbA- r&AOE-c"`, "Thư rác", (*Decoder).Mailbox},
		{"pattern", "a/%*", "a/%*", (*Decoder).Pattern},
		{"pattern that is no modified UTF-7", `!#&'+,-.%`, `!#&'+,-.%`, (*Decoder).Pattern},
		{"tag", "a.1[x rest", "a.1[x", (*Decoder).Tag},
	}
	for _, tt := range tests {
		d := decode(t, tt.input+"\r\n", after())
		if got := tt.read(d); got != tt.want || d.Err() != nil {
			t.Errorf("%s: %q, %v; want %q", tt.name, got, d.Err(), tt.want)
		}
	}
}

func TestMalformedTokens(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]struct {
		input string
		read  func(d *Decoder)
	}{
		"empty atom":            {"(", func(d *Decoder) { d.Atom() }},
		"control in atom":       {"\x01", func(d *Decoder) { d.Atom() }},
		"8-bit atom":            {"\xc3\xa9", func(d *Decoder) { d.AString() }},
		"open quote":            {`"abc`, func(d *Decoder) { d.Str() }},
		"escape at the end":     {`"abc\`, func(d *Decoder) { d.Str() }},
		"unknown escape":        {`"a\n"`, func(d *Decoder) { d.Str() }},
		"NUL in quotes":         {"\"a\x00\"", func(d *Decoder) { d.Str() }},
		"latin-1 in quotes":     {"\"a\xe9\"", func(d *Decoder) { d.Str() }},
		"NUL in literal":        {"{3}\r\na\x00b\r\n", func(d *Decoder) { d.Str() }},
		"literal in the middle": {"{3} x", func(d *Decoder) { d.Str() }},
		"literal without size":  {"{}", func(d *Decoder) { d.Str() }},
		"literal of 2^64":       {"{18446744073709551616}", func(d *Decoder) { d.Str() }},
		"negative literal":      {"{-1}", func(d *Decoder) { d.Str() }},
		"number of 2^32":        {"4294967296", func(d *Decoder) { d.Number() }},
		"zero":                  {"0", func(d *Decoder) { d.NonZero() }},
		"mod-sequence of 2^63":  {"9223372036854775808", func(d *Decoder) { d.Number64() }},
		"two spaces":            {"  a", func(d *Decoder) { d.SP(); d.Atom() }},
		"tab":                   {"\ta", func(d *Decoder) { d.SP() }},
		"trailing word":         {" x", func(d *Decoder) { d.End() }},
		"tag with plus":         {"+", func(d *Decoder) { d.Tag() }},
		"bad modified UTF-7":    {"a&b", func(d *Decoder) { d.Mailbox() }},
		"date":                  {"30-Feb-2026", func(d *Decoder) { d.Date() }},
		"date-time":             {`"1-Feb-2026 10:00:0 +00000"`, func(d *Decoder) { d.DateTime() }},
		"open list":             {"(a", func(d *Decoder) { d.Flags() }},
		"list with two spaces":  {"(a  b)", func(d *Decoder) { d.Flags() }},
	} {
		d := decode(t, f.input+"\r\n", after())
		f.read(d)
		var e *Error
		if !errors.As(d.Err(), &e) {
			t.Errorf("%s: error %v, want one for the client", name, d.Err())
		}
	}
}

func TestTrailingSpacesAreNoArgument(t *testing.T) {
	t.Parallel()
	d := decode(t, "NOOP  \r\n", after())
	d.Atom()
	if d.TrySP() {
		t.Error("trailing spaces begin an argument")
	}
	if d.End(); d.Err() != nil {
		t.Error(d.Err())
	}
}

// TestRefusedLiteralIsDropped proves the package's first promise for every way a command can fail
// before its literal was read.
func TestRefusedLiteralIsDropped(t *testing.T) {
	t.Parallel()
	body := "b OK?\r\n"
	for name, f := range map[string]struct {
		limits Limits
		read   func(d *Decoder)
	}{
		"not reached":        {after(), func(d *Decoder) { d.Bad("no") }},
		"not looked at":      {after(), func(d *Decoder) {}},
		"too long to hold":   {Limits{Line: 100, Literals: 3}, func(d *Decoder) { d.Str() }},
		"too long to stream": {after(), func(d *Decoder) { d.Literal(3) }},
		"over LITERAL-":      {Limits{Line: 100, Literals: 99, NonSync: 5}, func(d *Decoder) { d.Str() }},
		"streamed in part": {after(), func(d *Decoder) {
			d.Literal(100).Read(make([]byte, 2))
			d.Bad("no")
		}},
		"streamed, not closed": {after(), func(d *Decoder) { io.Copy(io.Discard, d.Literal(100)) }},
		"the one after it":     {after(), func(d *Decoder) { d.Str(); d.Bad("no") }},
	} {
		input := fmt.Sprintf("{%d+}\r\n%s {%d+}\r\n%s x\r\nb NOOP\r\n",
			len(body), body, len(body), body)
		d := decode(t, input, f.limits)
		f.read(d)
		if err := d.Finish(); err != nil {
			t.Errorf("%s: finish: %v", name, err)
			continue
		}
		if err := d.Next(); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if tag, _ := d.Tag(), d.Try(' '); tag != "b" || d.Atom() != "NOOP" {
			t.Errorf("%s: the literal was read as a command", name)
		}
	}
}

func TestSynchronisingLiteralIsNotAwaitedOnceRefused(t *testing.T) {
	t.Parallel()
	asked := 0
	d := decode(t, "{7}\r\nb NOOP\r\n", Limits{Line: 100, Literals: 3})
	d.Continue = func() error { asked++; return nil }
	d.Str()
	if d.Err() == nil || asked > 0 {
		t.Fatalf("error %v, asked %d times", d.Err(), asked)
	}
	if err := errors.Join(d.Finish(), d.Next()); err != nil || d.Tag() != "b" {
		t.Errorf("lost the next command: %v", err)
	}
}

func TestContinueIsAskedOnce(t *testing.T) {
	t.Parallel()
	asked := 0
	d := decode(t, "{3}\r\nabc {3+}\r\nabc\r\n", after())
	d.Continue = func() error { asked++; return nil }
	d.Str()
	d.SP()
	d.Str()
	if d.End(); d.Err() != nil || asked != 1 {
		t.Errorf("asked %d times, %v", asked, d.Err())
	}
}

// TestLiteralCutAtEveryByte is reliability.md P4's "also inside an IMAP literal".
func TestLiteralCutAtEveryByte(t *testing.T) {
	t.Parallel()
	whole := "{5+}\r\nab\r\nc {3+}\r\nxyz\r\n"
	for cut := 1; cut < len(whole); cut++ {
		d := NewDecoder(newReader(strings.NewReader(whole[:cut])), after())
		err := d.Next()
		if err == nil {
			d.Str()
			d.SP()
			if l := d.Literal(10); l != nil {
				io.Copy(io.Discard, l)
				l.Close()
			}
			d.End()
			err = d.Err()
		}
		var e *Error
		if err == nil || errors.As(err, &e) {
			t.Errorf("cut at %d: %v, want the source's error", cut, err)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]struct {
		limits Limits
		input  string
		read   func(d *Decoder)
	}{
		"literals add up": {before(), strings.Repeat("{3000+}\r\n"+strings.Repeat("x", 3000)+" ", 4),
			func(d *Decoder) {
				for d.Err() == nil {
					d.Str()
					d.SP()
				}
			}},
		"empty literals cost": {before(), strings.Repeat("{0+}\r\n ", 600), func(d *Decoder) {
			for d.Err() == nil {
				d.Str()
				d.SP()
			}
		}},
		"4 GiB literal":   {after(), "{4294967295}", func(d *Decoder) { d.Str() }},
		"parentheses":     {after(), strings.Repeat("(", 60000), func(d *Decoder) { d.SearchKeys() }},
		"NOT":             {after(), strings.Repeat("NOT ", 15000), func(d *Decoder) { d.SearchKeys() }},
		"OR":              {after(), strings.Repeat("OR ", 20000), func(d *Decoder) { d.SearchKeys() }},
		"many keys":       {after(), strings.Repeat("ALL ", 15000) + "ALL", func(d *Decoder) { d.SearchKeys() }},
		"fetch nesting":   {after(), strings.Repeat("(", 60000), func(d *Decoder) { d.FetchItems() }},
		"deep part":       {after(), "BODY[" + strings.Repeat("1.", 30000), func(d *Decoder) { d.FetchItems() }},
		"ranges":          {after(), strings.Repeat("1,", 20000) + "1", func(d *Decoder) { d.NumSet() }},
		"quoted":          {after(), `"` + strings.Repeat("x", 9000) + `"`, func(d *Decoder) { d.Str() }},
		"keyword":         {after(), strings.Repeat("k", 200), func(d *Decoder) { d.Flag() }},
		"patterns":        {after(), `"" (` + strings.Repeat("a ", 9000) + "a)", func(d *Decoder) { d.ListCommand() }},
		"nested patterns": {after(), `"" (((((((`, func(d *Decoder) { d.ListCommand() }},
	} {
		d := decode(t, f.input+"\r\n", f.limits)
		f.read(d)
		var e *Error
		if !errors.As(d.Err(), &e) {
			t.Errorf("%s: %v, want a refusal", name, d.Err())
		}
	}
}

// TestHostileInputCostsLittleMemory is the codec's part of reliability.md P7 and P8.
func TestHostileInputCostsLittleMemory(t *testing.T) {
	for name, input := range map[string]string{
		"literal flood": "a SEARCH " + strings.Repeat("TEXT {1048576+}\r\n", 1000) + "\r\n",
		"open":          "a SEARCH " + strings.Repeat("(", 60000) + "\r\n",
		"close":         "a SEARCH " + strings.Repeat(")", 60000) + "\r\n",
		"braces":        "a SEARCH TEXT " + strings.Repeat("{", 60000) + "\r\n",
		"fetch":         "a FETCH 1 " + strings.Repeat("(", 60000) + "\r\n",
	} {
		var m0, m1 runtime.MemStats
		runtime.ReadMemStats(&m0)
		d := decode(t, input, after())
		d.Tag()
		d.SP()
		switch d.Label() {
		case "SEARCH":
			d.SP()
			d.SearchKeys()
		case "FETCH":
			d.SP()
			d.NumSet()
			d.SP()
			d.FetchItems()
		}
		runtime.ReadMemStats(&m1)
		if d.Err() == nil {
			t.Errorf("%s: accepted", name)
		}
		if grown := m1.TotalAlloc - m0.TotalAlloc; grown > 512<<10 {
			t.Errorf("%s: allocated %d bytes", name, grown)
		}
	}
}

func TestLongLineEndsTheSession(t *testing.T) {
	t.Parallel()
	d := NewDecoder(newReader(strings.NewReader(strings.Repeat("x", 1<<20)+"\r\n")), before())
	if err := d.Next(); !errors.Is(err, ErrLine) {
		t.Errorf("error %v", err)
	}
}

func TestUnreadLiteralTooLongToDrop(t *testing.T) {
	t.Parallel()
	d := decode(t, "{99999999999+}\r\n", after())
	d.Str()
	var e *Error
	if err := d.Finish(); !errors.As(err, &e) || !e.Close {
		t.Errorf("finish: %v", err)
	}
}

func TestWordsDoNotAllocateTwice(t *testing.T) {
	src := newReader(strings.NewReader(strings.Repeat("a1 UID FETCH 1:500 (UID FLAGS)\r\n", 2000)))
	d := NewDecoder(src, after())
	n := testing.AllocsPerRun(1000, func() {
		if err := d.Next(); err != nil {
			t.Fatal(err)
		}
		d.Tag()
		d.SP()
		d.Label()
		d.SP()
		d.Label()
		d.SP()
		d.NumSet()
		d.SP()
		d.FetchItems()
		if d.End(); d.Err() != nil {
			t.Fatal(d.Err())
		}
	})
	if n > 12 {
		t.Errorf("%v allocations for a command", n)
	}
}
