package message

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"golang.org/x/net/html"
)

func htmlText(t testing.TB, s string) string {
	t.Helper()
	whole, err := io.ReadAll(HTMLText(strings.NewReader(s)))
	if err != nil {
		t.Fatal(err)
	}
	bytewise, err := io.ReadAll(HTMLText(iotest.OneByteReader(strings.NewReader(s))))
	if err != nil || string(bytewise) != string(whole) {
		t.Fatalf("%q: whole %q, byte by byte %q, %v", s, whole, bytewise, err)
	}
	return string(whole)
}

func TestHTMLText(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"plain", "plain"},
		{"a <b>b</b>c", "a bc"},
		{"  a \r\n\t b ", "a b"},
		{"<p>a</p><p>b</p>", "a\nb"},
		{"a<br>b<br/>c<BR\n/>d", "a\nb\nc\nd"},
		{"<ul><li>a<li>b</ul>c", "a\nb\nc"},
		{"<td>a</td><td>b</td>", "a b"},
		{"<style>p{}</style>a<script>if (a</b) '</p>'</script >b", "ab"},
		{"<title>t</title>a", "a"},
		{"<SCRIPT>x</sCrIpT\n>a", "a"},
		{"<script>x</scripty></script>a", "a"},
		{"<noscript>a</noscript>", "a"},
		{"<!-- a > b -- c -->d", "d"},
		{"<!-->a", "a"}, {"<!--->a", "a"}, {"<!-- x --!>a", "a"}, {"<!-- x -- !>a-->b", "b"},
		{"<!doctype html>a<?xml x?>b<!x>c", "abc"},
		{"</>a</ x>b", "ab"},
		{"1 < 2 && 3 > 2", "1 < 2 && 3 > 2"},
		{"a<1", "a<1"},
		{"<", ""}, {"a<b", "a"}, {"a<b c='", "a"},
		{`<a title="a>b" href='c>d' x=e>f</a>`, "f"},
		{`<a title = "x" y>z`, "z"},
		{`<img alt=">" src="` + strings.Repeat("A", 200_000) + `">ok`, "ok"},
		{"&amp;&lt;&gt;&quot;&#39;&#x41;&eacute;&#272;", "&<>\"'AéĐ"},
		{"&nbsp;", "\u00a0"}, {"a&nbsp;b", "a\u00a0b"},
		{"&copy2", "©2"}, {"&notit;", "¬it;"}, {"&unknown;", "&unknown;"}, {"&", "&"}, {"&#;", "&#;"},
		{"&" + strings.Repeat("a", 100), "&" + strings.Repeat("a", 100)},
		{"a&#10;b&#0;c", "a b\ufffdc"},
		{"<pre>a\n  b</pre>c", "a\nb\nc"},
		{"<blockquote>a<p>b</blockquote>c", "> a\n> b\nc"},
		{"</blockquote></pre>a\nb", "a b"},
		{"Tiếng <i>Việt</i>", "Tiếng Việt"},
		{"a\x00b", "a b"},
	} {
		if got := htmlText(t, tt.in); got != tt.want {
			t.Errorf("%.60q: got %q, want %q", tt.in, got, tt.want)
		}
	}
	if _, err := io.ReadAll(HTMLText(iotest.ErrReader(errBroken))); !errors.Is(err, errBroken) {
		t.Errorf("error of the reader: %v", err)
	}
}

// tokenizedText is the text of s according to the tokenizer of x/net, without white space.
func tokenizedText(s string) string {
	var b strings.Builder
	z := html.NewTokenizer(strings.NewReader(s))
	skip := ""
	for {
		switch z.Next() {
		case html.ErrorToken:
			return strings.Join(strings.Fields(b.String()), "")
		case html.TextToken:
			if skip == "" {
				b.Write(z.Text())
			}
			skip = ""
		case html.StartTagToken, html.SelfClosingTagToken:
			name, _ := z.TagName()
			switch skip = ""; string(name) {
			case "script", "style", "title", "iframe", "noembed", "noframes":
				skip = string(name)
			default:
				z.NextIsNotRawText()
			}
		case html.EndTagToken:
			skip = ""
		}
	}
}

// comparableHTML reports whether the two may be compared: not where layout adds text, nor where the
// tokenizer goes its own way (it knows CDATA, plaintext and states inside scripts, makes NUL U+FFFD,
// and shows a tag that the end cuts off).
func comparableHTML(s string) bool {
	s = strings.ToLower(s)
	for _, odd := range []string{
		"blockquote", "plaintext", "\x00", "<![", "<script", "<style", "<title", "<iframe", "<noembed",
		"<noframes",
	} {
		if strings.Contains(s, odd) {
			return false
		}
	}
	return strings.LastIndexByte(s, '<') <= strings.LastIndexByte(s, '>')
}

// TestHTMLTextAgrees compares with the tokenizer of x/net on HTML of all kinds.
func TestHTMLTextAgrees(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"<p class=a>b</p> c", "<a href='x>y'>z</a>", "a<b<c>d", "<a b='c'd=e>f", "<a/b/c>d", "<a b=/>c",
		"<!--a--!>b", "<!-- a --- b -->c", "<!a>b", "</a b='>'>c", "&amp;&ampx;&#65&#x42;", "<a\tb\n=\rc>d",
		"<a \"b>c", "<a b=\"c\"\"d\">e", "<a =b>c", "<a b==c>d", "<3 a", "a < b > c", "<a<b>c",
	} {
		agree(t, s)
	}
}

func agree(t testing.TB, s string) {
	t.Helper()
	if !comparableHTML(s) {
		return
	}
	got := strings.Join(strings.Fields(htmlText(t, s)), "")
	if want := tokenizedText(s); got != want {
		t.Errorf("%q: got %q, the tokenizer has %q", s, got, want)
	}
}
