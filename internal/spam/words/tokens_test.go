package words

import (
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"tram/internal/limits"
)

var testKey = newKey([16]byte([]byte("0123456789abcdef")))

func tokensOf(text Text) []string {
	l := limits.Default().Words
	r := newReader(testKey, l.Tokens)
	defer r.free()
	r.read(&text, &l)
	list := make([]string, len(r.list))
	for i, t := range r.list {
		list[i] = r.shown(t)
	}
	return list
}

func hashesOf(text Text) map[uint64]bool {
	l := limits.Default().Words
	r := newReader(testKey, l.Tokens)
	defer r.free()
	r.read(&text, &l)
	all := map[uint64]bool{}
	for _, t := range r.list {
		all[t.hash] = true
	}
	return all
}

func TestTokens(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, body string
		want       []string // separated by bars in the order of the text
	}{
		{"words and pairs", "Hello, big WORLD", lines("hello", "big", "hello big", "world", "big world")},
		{"apostrophe", "don't", lines("dont")},
		// The second pair is the same without marks, as junk is often written.
		{"Vietnamese", "Vay tiền", lines("vay", "tiền", "vay tiền", "vay tiền")},
		{"Vietnamese in capitals", "ĐỒNG Ý", lines("đồng", "ý", "đồng ý", "đồng ý")},
		{"decomposed", "tie\u0302\u0300n", lines("tiền")},
		{"one letter is no word", "win a prize", lines("win", "prize", "win prize")},
		{"number", "12 1234 12.345", lines("#2", "#4", "#2 #4", "#5", "#4 #5")},
		{"money", "$500 50.000.000đ 500k 20%",
			lines("$#3", "#8d", "$#3 #8d", "#3k", "#8d #3k", "#2%", "#3k #2%")},
		{"telephone", "0912345678", lines("0912345678", "#10")},
		{"name of a thing", "h264x1y", lines("h#x#y")},
		{"hidden", "via\u200bgra", lines("sign:hidden characters", "viagra")},
		{"digits for letters", "v1agra", lines("sign:signs for letters", "viagra")},
		{"signs for letters", "ca$h", lines("sign:signs for letters", "cash")},
		{"full width", "ＶＩＡＧＲＡ", lines("sign:other forms", "viagra")},
		{"mathematical", "𝐯𝐢𝐚𝐠𝐫𝐚", lines("sign:other forms", "viagra")},
		{"Cyrillic in Latin", "pаypаl", lines("sign:two alphabets", "paypal")},
		{"Cyrillic alone", "привет мир", lines("привет", "мир", "привет мир")},
		{"letters apart", "v i a g r a now", lines("sign:letters apart", "viagra", "now")},
		{"letters apart with dots", "x v.i.a.g.r.a", lines("sign:letters apart", "xviagra")},
		{"marked letters apart", "v a y", nil},
		{"link", "see https://user@Evil.Example.COM:8080/path/a?b",
			lines("see", "sign:name in link", "sign:port in link", "link:evil.example.com", "link:example.com", "link:.com")},
		{"www", "www.example.org", lines("link:example.org", "link:.org")},
		{"link to an address", "http://192.0.2.1/x", lines("link:an address")},
		{"address", "a.person@example.org,", lines("person", "link:example.org", "link:.org")},
		{"many marks", "now!!!!", lines("now", "sign:!!")},
		{"too long", strings.Repeat("x", 90), lines("sign:long x2")},
		{"ideographs", "你好吗", lines("你", "好", "你 好", "吗", "好 吗")},
		{"not UTF-8", "a\xff\xfebc de", lines("bc", "de", "bc de")},
		{"nothing", "", nil},
	} {
		if got := tokensOf(Text{Body: c.body}); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func lines(s ...string) []string { return s }

func TestTokensOfHeader(t *testing.T) {
	t.Parallel()
	got := tokensOf(Text{Subject: "Big win", From: `"Anna B." <Anna@Mail.Example.COM>`, To: "Bob",
		Hosts: lines("a.example.net"), Files: lines("application/zip", ".EXE"), Signs: lines("NO_DATE")})
	want := lines("sign:no_date", "file:application/zip", "file:.exe", "from:anna@mail.example.com",
		"from:mail.example.com", "from:example.com", "from:.com", "from:anna", "link:a.example.net", "link:example.net",
		"link:.net", "subject:big", "subject:win", "subject:big win", "big", "win", "big win", "to:bob")
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestSender: the forms in which an author is given.
func TestSender(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		from string
		want []string
	}{
		{"Anna <a@b.example>", lines("from:a@b.example", "from:b.example", "from:.example", "from:anna")},
		{"Anna a@b.example", lines("from:a@b.example", "from:b.example", "from:.example", "from:anna")},
		{" a@b.example ", lines("from:a@b.example", "from:b.example", "from:.example")},
		{"Anna Bell", lines("from:anna", "from:bell", "from:anna bell")},
		{"<>", nil},
		{"a@b", lines("from:a@b")},
	} {
		if got := tokensOf(Text{From: c.from}); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.from, got, c.want)
		}
	}
}

// TestDisguises: what is written to hide a word is the word and a sign.
func TestDisguises(t *testing.T) {
	t.Parallel()
	plain := hashesOf(Text{Body: "viagra"})
	for _, s := range lines("VIAGRA", "v1agra", "vi\u00adagra", "v\u200bi\u200ba\u200bg\u200br\u200ba", "v!agra", "ｖｉａｇｒａ",
		"vіagrа", "v i a g r a", "v-i-a-g-r-a", "V.I.A.G.R.A") {
		got := hashesOf(Text{Body: s})
		for h := range plain {
			if !got[h] {
				t.Errorf("%q is not read as the word: %q", s, tokensOf(Text{Body: s}))
			}
		}
	}
	// A text without its marks has the pairs of one with them.
	marked, bare := hashesOf(Text{Body: "vay tiền nhanh"}), hashesOf(Text{Body: "vay tien nhanh"})
	common := 0
	for h := range bare {
		if marked[h] {
			common++
		}
	}
	if common != 4 { // vay, nhanh, vay tien, tien nhanh
		t.Errorf("%d words in common", common)
	}
	// But two words that differ by their marks alone are two.
	if a, b := hashesOf(Text{Body: "má"}), hashesOf(Text{Body: "mà"}); len(a) != 1 || len(b) != 1 {
		t.Errorf("%d and %d words", len(a), len(b))
	} else {
		for h := range a {
			if b[h] {
				t.Error("words with other marks are one")
			}
		}
	}
}

// TestTokensAreKeyed: with another secret nothing is the same number.
func TestTokensAreKeyed(t *testing.T) {
	t.Parallel()
	a, b := testKey, newKey([16]byte([]byte("0123456789abcdeg")))
	if a.sum(0, []byte("word")) == b.sum(0, []byte("word")) || a.pair(1, 2) == b.pair(1, 2) || a.pair(1, 2) == a.pair(2, 1) ||
		a.sum(0, []byte("word")) == a.sum(1, []byte("word")) {
		t.Error("numbers do not depend on the key, the order or the kind")
	}
}

func FuzzTokens(f *testing.F) {
	for _, s := range lines("Vay tiền nhanh 50.000.000đ!!! https://a.example/x", "v i a g r a v1agra via\u200bgra", "e\u0301\u0302\u0303",
		"pаypаl ＶＩＡ 𝐯𝐢𝐚", "a@b.example www.x.example 0912345678 $5 ca$h 1a1a1a", "\xff\xc3(\x00", strings.Repeat("a1", 300),
		"ước muốn ở à ý", "ﬁ Ⅷ ①②", "http://[::1]:25/ ://", "đ\u0323\u0302", "ไทย ខ្មែរ 你好") {
		f.Add(s, s)
	}
	l := limits.Default().Words
	f.Fuzz(func(t *testing.T, subject, body string) {
		r := newReader(testKey, 300)
		defer r.free()
		r.read(&Text{Subject: subject, From: subject, Body: body, Hosts: lines(subject), Signs: lines(body)}, &l)
		if len(r.list) > 300 {
			t.Fatalf("%d tokens", len(r.list))
		}
		seen := map[uint64]bool{}
		for _, tok := range r.list {
			s := r.shown(tok)
			if seen[tok.hash] || tok.start >= tok.end {
				t.Errorf("%q is empty or there twice", s)
			}
			seen[tok.hash] = true
			if !tok.aside && len(s) > 2*longest+40 {
				t.Errorf("%q is %d bytes long", s, len(s))
			}
			if strings.ContainsFunc(s, func(c rune) bool { return c == utf8.RuneError || !unicode.IsPrint(c) }) {
				t.Errorf("%q does not print", s)
			}
		}
		r.tile(nil)
	})
}

// TestReaderIsBounded: a text far beyond all limits takes no more tokens, and no more time than its limit.
func TestReaderIsBounded(t *testing.T) {
	t.Parallel()
	l := limits.Default().Words
	for _, s := range lines(strings.Repeat("word ", 1<<20), strings.Repeat("x", 4<<20), strings.Repeat("a.", 2<<20),
		strings.Repeat("e\u0301", 1<<20), strings.Repeat("http://a.b/", 1<<18), strings.Repeat("\u200b", 1<<20)) {
		r := newReader(testKey, l.Tokens)
		r.read(&Text{Subject: s, From: s, To: s, Body: s, Hosts: lines(s)}, &l)
		if len(r.list) > l.Tokens || len(r.arena) > 2*l.Text || len(r.aside) > 2*l.Text {
			t.Errorf("%.20q: %d tokens, %d and %d bytes", s, len(r.list), len(r.arena), len(r.aside))
		}
		r.free()
	}
}

func BenchmarkRead20k(b *testing.B) {
	l := limits.Default().Words
	text := Text{Subject: "Re: report", From: "A <a@b.example>", Body: long(20_000)}
	b.SetBytes(int64(len(text.Body)))
	for b.Loop() {
		r := newReader(testKey, l.Tokens)
		r.read(&text, &l)
		r.free()
	}
}

// long is a text of both languages with many different words.
func long(size int) string {
	var b strings.Builder
	syllables := strings.Fields("vay tiền nhanh report công meeting việt project hợp đồng account khách hàng with nam from the những")
	for i := 0; b.Len() < size; i++ {
		b.WriteString(syllables[i*7%len(syllables)])
		if i%3 == 0 {
			b.WriteString(string(rune('a'+i%26)) + string(rune('a'+i/26%26)))
		}
		b.WriteByte(' ')
	}
	return b.String()[:size]
}
