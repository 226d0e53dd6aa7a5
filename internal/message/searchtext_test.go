package message

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestSearchTextPieces: the pieces make the whole, are cut between words, and folding them one by
// one is folding the whole.
func TestSearchTextPieces(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		strings.Repeat("Tiếng Việt ", 20000), strings.Repeat("không", 30000), strings.Repeat("x", 100000),
		strings.Repeat("e\u0301", 50000), "",
	} {
		raw := []byte("Subject: =?utf-8?q?=C4=91?=\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + text)
		m := Parse(raw, testLimits)
		var whole, folded []byte
		err := SearchText(bytes.NewReader(raw), m, 4<<20, func(chunk []byte) error {
			if len(chunk) > 3*searchChunk {
				t.Errorf("a piece of %d", len(chunk))
			}
			whole = append(whole, chunk...)
			folded = Fold(folded, chunk, true)
			return nil
		})
		want := "đ\ntext/plain; charset=utf-8\n" + text + "\n\n"
		if err != nil || string(whole) != want {
			t.Errorf("%.20q: %v, %d bytes, want %d", text, err, len(whole), len(want))
		}
		if string(folded) != string(Fold(nil, []byte(want), true)) {
			t.Errorf("%.20q: folded in pieces it differs", text)
		}
	}
}

func TestSearchTextStops(t *testing.T) {
	t.Parallel()
	raw := []byte("Content-Type: text/plain; charset=utf-8\r\n\r\n" + strings.Repeat("đ", 100000))
	m := Parse(raw, testLimits)
	for _, limit := range []int64{1, 2, 50, 33333, 70000} {
		var n int64
		if err := SearchText(bytes.NewReader(raw), m, limit, func(chunk []byte) error {
			if n += int64(len(chunk)); !utf8.Valid(chunk) {
				t.Errorf("limit %d cuts a character", limit)
			}
			return nil
		}); err != nil || n > limit || n < limit-3 {
			t.Errorf("limit %d: %d bytes, %v", limit, n, err)
		}
	}
	want := errors.New("enough")
	if err := SearchText(bytes.NewReader(raw), m, 1000, func([]byte) error { return want }); !errors.Is(err, want) {
		t.Errorf("error of the callback: %v", err)
	}
}

func TestPreview(t *testing.T) {
	t.Parallel()
	text := func(s string) string { return "Content-Type: text/plain; charset=utf-8\n\n" + s }
	multi := func(kind string, parts ...string) string {
		return "Content-Type: multipart/" + kind + "; boundary=b\n\n--b\n" +
			strings.Join(parts, "\n--b\n") + "\n--b--\n"
	}
	htmlPart := func(s string) string { return "Content-Type: text/html; charset=utf-8\n\n" + s }
	for name, tt := range map[string]struct{ raw, want string }{
		"collapsed":       {text("a  b\n\n\tc\n"), "a b c"},
		"quotation":       {text("On Monday, B wrote:\n> q\n>> r\nanswer\n"), "answer"},
		"only quotation":  {text("> q\n"), "> q"},
		"colon":           {text("The list:\n- a\n"), "The list: - a"},
		"signature":       {text("a\n-- \nme\n"), "a"},
		"starts signed":   {text("-- \nme\n"), "-- me"},
		"alternative":     {multi("alternative", htmlPart("<p>h"), text("p")), "p"},
		"empty plain":     {multi("alternative", text("  \n"), htmlPart("<p>h")), "h"},
		"mixed, html 1st": {multi("mixed", htmlPart("<p>h"), text("footer")), "h"},
		"mixed, text 1st": {multi("mixed", text("p"), htmlPart("<p>h")), "p"},
		"attachment":      {multi("mixed", "Content-Disposition: attachment\n\na", text("p")), "p"},
		"embedded":        {multi("mixed", "Content-Type: message/rfc822\n\n"+text("in"), text("p")), "p"},
		"calendar":        {multi("mixed", "Content-Type: text/calendar\n\nBEGIN", text("p")), "p"},
		"invisible":       {text("a\u200b\u00ad\u034f \u202eb\u00a0c"), "a b c"},
		"base64":          {"Content-Transfer-Encoding: base64\n\nxJHGsOG7nW5n", "đường"},
		"cut character":   {text(strings.Repeat("x", previewPlain-1) + "đ"), strings.Repeat("x", 256)},
		"late answer":     {text(strings.Repeat("> q\n", 500) + "answer"), "answer"},
		"none":            {"Content-Type: image/png\n\nx", ""},
	} {
		if got := Parse([]byte(crlf(tt.raw)), testLimits).Preview; got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
	for _, unit := range []string{"đ", "a", "đ ", "ab ", "日本", "e\u0301"} {
		got := Parse([]byte(crlf(text(strings.Repeat(unit, 5000)))), testLimits).Preview
		if n := utf8.RuneCountInString(got); n > 256 || n < 255 || !utf8.ValidString(got) {
			t.Errorf("%q: %d characters: %q", unit, n, got)
		}
	}
}

func TestHasAttachment(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]bool{
		"Content-Type: text/plain":                                                    false,
		"Content-Type: text/html":                                                     false,
		"Content-Type: text/plain\nContent-Disposition: attachment":                   true,
		"Content-Type: text/plain; name=a.txt":                                        true,
		"Content-Type: text/plain; name=a.txt\nContent-Disposition: inline":           false,
		"Content-Type: application/pdf":                                               true,
		"Content-Type: image/png\nContent-Disposition: inline\nContent-ID: <a@b>":     false,
		"Content-Type: image/png":                                                     true,
		"Content-Type: application/pgp-signature":                                     false,
		"Content-Type: message/delivery-status":                                       false,
		"Content-Type: message/rfc822\n\nContent-Type: application/pdf":               true,
		"Content-Type: multipart/mixed; boundary=x\n\n--x\n\na":                       false,
		"Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: audio/ogg\n": true,
	} {
		raw := "Content-Type: multipart/mixed; boundary=b\n\n--b\n\ntext\n--b\n" + header + "\n\nx\n--b--\n"
		if got := Parse([]byte(crlf(raw)), testLimits).HasAttachment; got != want {
			t.Errorf("%q: %v", header, got)
		}
	}
	related := "Content-Type: multipart/related; boundary=b\n\n--b\nContent-Type: text/html\n\nx\n--b\n" +
		"Content-Type: image/png\nContent-ID: <a@b>\n\nx\n--b--\n"
	if Parse([]byte(crlf(related)), testLimits).HasAttachment {
		t.Error("a picture inside the text is an attachment")
	}
}

// TestFlaws proves reliability row M2: what is ambiguous in a header is marked.
func TestFlaws(t *testing.T) {
	t.Parallel()
	const rest = "Date: Tue, 18 Nov 2025 09:12:40 +0700\nMessage-ID: <a@b>\n"
	for header, want := range map[string]Flaws{
		"From: a@b.c\n" + rest:                                       0,
		"From: a@b.c, d@e.f\n" + rest:                                0,
		rest:                                                         FlawNoFrom,
		"From:\n" + rest:                                             FlawNoFrom,
		"From: nobody\n" + rest:                                      FlawNoFrom | FlawAddress,
		"From: a@b.c\nfrom: d@e.f\n" + rest:                          FlawDoubleFrom,
		"From : a@b.c\n" + rest:                                      FlawSpaceBeforeColon,
		"From\t: a@b.c\n" + rest:                                     FlawSpaceBeforeColon,
		"Fr\x01om: x\nFrom: a@b.c\n" + rest:                          FlawNameCharacter,
		": x\nFrom: a@b.c\n" + rest:                                  FlawNameCharacter,
		"From: a@b.c\nSubject: a\nSubject: b\n" + rest:               FlawDoubleField,
		"From: a@b.c\n" + rest + rest:                                FlawDoubleField,
		"From: a@b.c\nMessage-ID: x\nDate: now\n":                    FlawMessageID | FlawDate,
		" folded: x\nFrom: a@b.c\n" + rest:                           FlawLateFold,
		"From: a@b.c\nX: a\n \t\n b\n" + rest:                        FlawBlankFold,
		"From: a@b.c\nX:\n a\n" + rest:                               0,
		"garbage\nFrom: a@b.c\n" + rest:                              FlawNoColon,
		"From: a@b.c <d@e.f> <g@h.i>\n" + rest:                       FlawAddress,
		"From: a@b.c\nContent-Type: a/b\nContent-Type: c/d\n" + rest: FlawDoubleContentType,
		"From: a@b.c\nContent-Transfer-Encoding: rot13\n" + rest:     FlawEncoding,
		"From: a@b.c\nContent-Type: x\n" + rest:                      FlawContentType,
	} {
		m := Parse([]byte(crlf(header+"\nbody\n")), testLimits)
		if m.Flaws != want {
			t.Errorf("%q: %s, want %s", header, flawList(m.Flaws), flawList(want))
		}
	}
}

func flawList(f Flaws) string {
	var list []string
	for i, name := range flawNames {
		if f.Has(1 << i) {
			list = append(list, name)
		}
	}
	return fmt.Sprint(list)
}

// TestFromCount: authors are counted over all From fields.
func TestFromCount(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]int{
		"": 0, "From: a@b.c\r\n": 1, "From: a@b.c, d@e.f\r\n": 2, "From: a@b.c\r\nFrom: d@e.f\r\n": 2,
		"From: <>\r\n": 0, "From: g:;\r\n": 0, "From: a\r\n": 0,
	} {
		if m := Parse([]byte(header+"\r\n"), testLimits); m.FromCount != want {
			t.Errorf("%q: %d", header, m.FromCount)
		}
	}
}
