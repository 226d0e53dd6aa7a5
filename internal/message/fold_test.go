package message

import (
	"strings"
	"testing"
	"unicode"

	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"
)

func TestFold(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, keep, strip string }{
		{"", "", ""},
		{"Hello, World", "hello, world", "hello, world"},
		{"Tiếng Việt", "tiếng việt", "tieng viet"},
		{"ĐƯỜNG đường", "đường đường", "duong duong"},
		{"Tie\u0302\u0301ng", "tiếng", "tieng"}, // decomposed
		{"Tiê\u0301ng", "tiếng", "tieng"},       // half decomposed, as windows-1258 gives it
		{"Straße STRASSE", "strasse strasse", "strasse strasse"},
		{"ΣΊΣΥΦΟΣ Σίσυφος", "σίσυφοσ σίσυφοσ", "σισυφοσ σισυφοσ"},
		{"ＦＵＬＬ　ｗｉｄｔｈ", "full width", "full width"},
		{"ﬁn ①", "fin 1", "fin 1"},
		{"a\u00a0b", "a b", "a b"},
		{"Łódź Ørsted", "łódź ørsted", "lodz orsted"},
		{"İstanbul ISTANBUL ı", "istanbul istanbul i", "istanbul istanbul i"},
		{"한국 \u1112\u1161\u11ab", "한국 한", "한국 한"},
		{"Ёлка", "ёлка", "елка"},
		{"ｶﾞ が", "ガ が", "カ か"},
		{"\u212a", "k", "k"}, // the kelvin sign
		{"bad \xff end", "bad \ufffd end", "bad \ufffd end"},
		{"x\u0301\u0323", "x\u0323\u0301", "x"},
		{"🙂", "🙂", "🙂"},
	} {
		if got := string(Fold(nil, []byte(tt.in), false)); got != tt.keep {
			t.Errorf("%q: got %+q, want %+q", tt.in, got, tt.keep)
		}
		if got := string(Fold(nil, []byte(tt.in), true)); got != tt.strip {
			t.Errorf("%q stripped: got %+q, want %+q", tt.in, got, tt.strip)
		}
	}
}

func TestHasMarks(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{
		"viet": false, "Việt": true, "đ": true, "VIET": false, "straße": false, "日本": false, "": false,
		"が": true, "ﬁ": false, "e\u0301": true,
	} {
		if HasMarks(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
}

// randomText draws text of the kinds that are hard to fold.
func randomText(t *rapid.T) string {
	return strings.Join(rapid.SliceOf(rapid.SampledFrom([]string{
		"a", "Ê", "\u0301", "\u0323", " ", "đ", "ß", "한", "\u1161", "\u11a8", "Việt", "\xff", "e", "ﬁ",
		"\u3099", "か", "\u0f73", "İ", "\u0345", "ᾳ",
	})).Draw(t, "text"), "")
}

// TestFoldProperties: folding is idempotent, blind to normal forms and case, and may be done in
// pieces at FoldBoundary.
func TestFoldProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := randomText(t)
		for _, strip := range []bool{false, true} {
			want := string(Fold(nil, []byte(s), strip))
			if again := string(Fold(nil, []byte(want), strip)); again != want {
				t.Fatalf("%+q: once %+q, twice %+q", s, want, again)
			}
			for _, other := range []string{norm.NFD.String(s), norm.NFC.String(s)} {
				if got := string(Fold(nil, []byte(other), strip)); got != want {
					t.Fatalf("%+q: %+q, as %+q it is %+q", s, want, other, got)
				}
			}
			if strip && strings.ContainsFunc(want, func(r rune) bool { return unicode.Is(unicode.Mn, r) }) {
				t.Fatalf("%+q: marks in %+q", s, want)
			}
			end := rapid.IntRange(0, len(s)).Draw(t, "end")
			n := FoldBoundary([]byte(s[:end]))
			pieces := Fold(Fold(nil, []byte(s[:n]), strip), []byte(s[n:]), strip)
			if string(pieces) != want {
				t.Fatalf("%+q: whole %+q, cut at %d %+q", s, want, n, pieces)
			}
		}
	})
}

func BenchmarkFold(b *testing.B) {
	text := []byte(strings.Repeat("Tiếng Việt có dấu, và English words beside them. ", 100))
	var dst []byte
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	defer reportCPU(b)()
	for b.Loop() {
		dst = Fold(dst[:0], text, true)
	}
}
