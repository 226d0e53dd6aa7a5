package imap

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// The names of RFC 3501 §5.1.3 and RFC 9051 appendix A.1, and Vietnamese ones.
func TestNames(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ utf7, utf8 string }{
		{"INBOX", "INBOX"},
		{"~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語"},
		{"&Jjo-!", "☺!"},
		{"&U,BTF2XlZyyKng-", "台北日本語"},
		{"a&-b", "a&b"},
		{"&-", "&"},
		{"&2D3eAA-", "😀"},
		{"Th&AbA- r&AOE-c", "Thư rác"},
	} {
		got, ok := DecodeName(tt.utf7)
		if !ok || got != tt.utf8 {
			t.Errorf("DecodeName(%q) = %q, %v; want %q", tt.utf7, got, ok, tt.utf8)
		}
		if enc := string(AppendName(nil, tt.utf8)); enc != tt.utf7 {
			t.Errorf("AppendName(%q) = %q; want %q", tt.utf8, enc, tt.utf7)
		}
	}
}

func TestBadNames(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"&",                  // not ended
		"&Jjo!",              // not ended
		"&Jjo",               // not ended
		"&AGE-",              // a letter that stands for itself
		"&ACY-",              // an ampersand that has its own form
		"&U,BTFw-&ZeVnLIqe-", // superfluous shift, RFC 3501 §5.1.3
		"&2D0-",              // half of a surrogate pair
		"&2D0AYQ-",           // half of a pair and a letter
		"&3gA-",              // second half alone
		"&Jjp-",              // bits left over that are not zero
		"&J-",                // half a unit
		"&AAo-",              // a line feed
		"a\nb", "a\x00", "\x7f",
	} {
		if got, ok := DecodeName(s); ok {
			t.Errorf("DecodeName(%q) = %q, want a refusal", s, got)
		}
	}
}

func FuzzNames(f *testing.F) {
	for _, s := range []string{"INBOX", "&U,BTFw-", "&2D3eAA-", "Th&AbA-", "&-", "&", "việc&"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if name, ok := DecodeName(s); ok && !strings.ContainsFunc(s, func(r rune) bool { return r > 0x7e }) {
			if enc := string(AppendName(nil, name)); enc != s {
				t.Errorf("%q decodes to %q, which encodes as %q", s, name, enc)
			}
		}
		if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
			return
		}
		enc := string(AppendName(nil, s))
		if got, ok := DecodeName(enc); !ok || got != s {
			t.Errorf("%q encodes as %q, which decodes to %q, %v", s, enc, got, ok)
		}
	})
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pattern string
		yes, no []string
	}{
		{"*", []string{"", "a", "a/b/c"}, nil},
		{"%", []string{"", "a"}, []string{"a/b"}},
		{"a/%", []string{"a/", "a/b"}, []string{"a", "a/b/c", "b/a"}},
		{"a*", []string{"a", "ab", "a/b"}, []string{"b"}},
		{"%/%", []string{"a/b", "/"}, []string{"a", "a/b/c"}},
		{"%3/%4", []string{"test3/test4"}, []string{"test3/x/test4"}},
		{"%t*4", []string{"test3/test4", "t4"}, []string{"a/t4"}},
		{"*%", []string{"a/b"}, nil},
		{"a%b%c", []string{"abc", "axbyc"}, []string{"ab/c"}},
		{"abc", []string{"abc"}, []string{"ab", "abcd"}},
	} {
		p := NewPattern(tt.pattern)
		for _, s := range tt.yes {
			if !p.Match(s) {
				t.Errorf("%q does not match %q", tt.pattern, s)
			}
		}
		for _, s := range tt.no {
			if p.Match(s) {
				t.Errorf("%q matches %q", tt.pattern, s)
			}
		}
	}
}

func TestPatternOfWildcardsIsCheap(t *testing.T) {
	t.Parallel()
	p := NewPattern(strings.Repeat("*%", 30000) + "x")
	if len(p.text) != 2 {
		t.Errorf("pattern of %d bytes", len(p.text))
	}
	if NewPattern(strings.Repeat("a*", 30000)).Match(strings.Repeat("a", 1000)) {
		t.Error("matched a name that is too short")
	}
}

func TestDateTimes(t *testing.T) {
	t.Parallel()
	d := decode(t, `" 7-Feb-1994 21:52:25 -0800"`+"\r\n", after())
	got := d.DateTime()
	if want := time.Date(1994, 2, 8, 5, 52, 25, 0, time.UTC); !got.Equal(want) {
		t.Errorf("read %v, %v", got, d.Err())
	}
	for _, when := range []time.Time{got, time.Unix(0, 0), time.Date(2026, 12, 31, 23, 59, 59, 0, time.UTC)} {
		want := when.UTC().Format(`"` + dateTime + `"`)
		if s := string(AppendDateTime(nil, when)); s != want {
			t.Errorf("wrote %s, want %s", s, want)
		}
	}
}
