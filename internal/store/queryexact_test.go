package store

import (
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"mime/quotedprintable"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/unicode/norm"
)

// What a search of text finds, held against a definition that shares nothing with it: letters are
// compared one by one, as people would.

// exactWords are of both languages, and alike enough for wrong answers.
var exactWords = strings.Fields(`tiếng Việt tieng viet TIẾNG VIỆT đường Đường duong đương kế hoạch Kế kê
	ke hoach hoặc trường trưởng truong người ngừơi nguoi report Report reports annual plan planned the
	for quý 2026 3.5 a-b Thủy Thuỷ hòa hoà ở ớ ợ ư`)

// exactLetter is a character without case, and the same without marks.
type exactLetter struct{ kept, bare rune }

// exactLetters takes text apart. White space of any length is one blank.
func exactLetters(s string) []exactLetter {
	var out []exactLetter
	for _, r := range norm.NFC.String(s) {
		r = unicode.ToLower(r)
		if unicode.IsSpace(r) {
			if n := len(out); n == 0 || out[n-1].kept != ' ' {
				out = append(out, exactLetter{' ', ' '})
			}
			continue
		}
		bare, _ := utf8.DecodeRuneInString(norm.NFD.String(string(r)))
		if r == 'đ' {
			bare = 'd'
		}
		out = append(out, exactLetter{r, bare})
	}
	return out
}

// exactIn says whether query is in text: a word of the query that has a mark somewhere matches only
// with these marks, one without matches with any.
func exactIn(query, text []exactLetter) bool {
	strict := make([]bool, len(query))
	for i := 0; i < len(query); i++ {
		end, marked := i, false
		for ; end < len(query) && query[end].kept != ' '; end++ {
			marked = marked || query[end].kept != query[end].bare
		}
		for ; i < end; i++ {
			strict[i] = marked
		}
	}
	for at := 0; at+len(query) <= len(text); at++ {
		same := true
		for i, q := range query {
			t := text[at+i]
			if q.bare != t.bare || strict[i] && q.kept != t.kept {
				same = false
				break
			}
		}
		if same {
			return true
		}
	}
	return false
}

// exactForms are the ways in which programs write Vietnamese: composed, taken apart, and as
// windows-1258 has it, letters composed with tones behind them.
var exactForms = []func(string) string{norm.NFC.String, norm.NFD.String, halfComposed}

func halfComposed(s string) string {
	var out strings.Builder
	for _, r := range norm.NFC.String(s) {
		parts := []rune(norm.NFD.String(string(r)))
		base, tones := string(parts[:1]), ""
		for _, mark := range parts[1:] {
			if strings.ContainsRune("\u0302\u0306\u031b", mark) {
				base = norm.NFC.String(base + string(mark))
			} else {
				tones += string(mark)
			}
		}
		out.WriteString(base + tones)
	}
	return out.String()
}

// exactMail is a message and its text as a person reads it.
type exactMail struct {
	raw                              string
	from, to, subject, body, headers string
}

func exactText(rnd *rand.Rand, words int, gaps ...string) string {
	var b strings.Builder
	for i := range words {
		if i > 0 {
			b.WriteString(gaps[rnd.IntN(len(gaps))])
		}
		b.WriteString(exactWords[rnd.IntN(len(exactWords))])
	}
	return exactForms[rnd.IntN(len(exactForms))](b.String())
}

func newExactMail(rnd *rand.Rand) exactMail {
	m := exactMail{
		subject: exactText(rnd, 1+rnd.IntN(5), " "), body: exactText(rnd, rnd.IntN(40), " ", "  ", "\n", ", "),
	}
	name := func() (raw, text string) {
		text = exactText(rnd, 1+rnd.IntN(3), " ")
		local := fmt.Sprintf("person%d@example.test", rnd.IntN(30))
		return "=?utf-8?b?" + base64.StdEncoding.EncodeToString([]byte(text)) + "?= <" + local + ">",
			text + " <" + local + ">"
	}
	var from, to string
	from, m.from = name()
	to, m.to = name()
	subject := m.subject // raw UTF-8, as old programs send it
	if rnd.IntN(2) == 0 {
		subject = "=?utf-8?b?" + base64.StdEncoding.EncodeToString([]byte(subject)) + "?="
	}
	charset, body := "utf-8", m.body
	if half := halfComposed(m.body); rnd.IntN(3) == 0 {
		if old, err := charmap.Windows1258.NewEncoder().String(half); err == nil {
			charset, body = "windows-1258", old
		}
	}
	encoding := []string{"8bit", "base64", "quoted-printable"}[rnd.IntN(3)]
	switch encoding {
	case "base64":
		body = base64.StdEncoding.EncodeToString([]byte(body))
	case "quoted-printable":
		var b strings.Builder
		w := quotedprintable.NewWriter(&b)
		if _, err := w.Write([]byte(body)); err != nil || w.Close() != nil {
			body = ""
		}
		body = strings.ReplaceAll(b.String(), "\r\n", "\n")
	}
	kind := "text/plain; charset=" + charset
	m.raw = "From: " + from + "\nTo: " + to + "\nSubject: " + subject +
		"\nMIME-Version: 1.0\nContent-Type: " + kind +
		"\nContent-Transfer-Encoding: " + encoding + "\n\n" + body + "\n"
	m.headers = strings.Join([]string{m.from, m.to, m.subject, "1.0", kind, encoding}, "\n") + "\n"
	return m
}

// exactQuery takes a piece of a text, in another form and case.
func exactQuery(rnd *rand.Rand, text string) string {
	r := []rune(norm.NFC.String(text))
	if len(r) == 0 {
		return "x"
	}
	from := rnd.IntN(len(r))
	s := string(r[from:min(len(r), from+1+rnd.IntN(14))])
	switch rnd.IntN(4) {
	case 0:
		s = strings.ToUpper(s)
	case 1: // without marks, as people type
		s = strings.Map(func(r rune) rune { return exactLetters(string(r))[0].bare }, s)
	}
	return exactForms[rnd.IntN(len(exactForms))](s)
}

// exactFind is a filter and its definition.
type exactFind struct {
	filter Filter
	holds  func(m *exactMail) bool
}

// exactFinds are the searches of one text.
func exactFinds(query string) []exactFind {
	letters := exactLetters(query)
	in := func(filter Filter, text func(m *exactMail) string) exactFind {
		return exactFind{filter, func(m *exactMail) bool { return exactIn(letters, exactLetters(text(m))) }}
	}
	return []exactFind{
		in(SubjectText(query), func(m *exactMail) string { return m.subject }),
		in(AddressText{From, query}, func(m *exactMail) string { return m.from }),
		in(AddressText{To, query}, func(m *exactMail) string { return m.to }),
		in(HeaderText{"subject", query}, func(m *exactMail) string { return m.subject }),
		in(BodyText(query), func(m *exactMail) string { return m.body + "\n" }),
		in(AnyText(query), func(m *exactMail) string { return m.headers + m.body + "\n" }),
	}
}

// exactPair joins two searches: what the index leaves out of one may be what the other asks for.
func exactPair(rnd *rand.Rand, a, b exactFind) exactFind {
	switch rnd.IntN(3) {
	case 0:
		return exactFind{And{a.filter, b.filter}, func(m *exactMail) bool { return a.holds(m) && b.holds(m) }}
	case 1:
		return exactFind{Or{a.filter, b.filter}, func(m *exactMail) bool { return a.holds(m) || b.holds(m) }}
	}
	return exactFind{And{a.filter, Not{b.filter}}, func(m *exactMail) bool { return a.holds(m) && !b.holds(m) }}
}

// TestTextSearchIsExact compares searches of subject, addresses, body and everything, and of two of
// them joined, with an index that covers all, half or none of the mail, with the definition.
func TestTextSearchIsExact(t *testing.T) {
	t.Parallel()
	rnd := seeded(t, rand.Uint64())
	h := newHouse(t)
	h.index = true
	h.open()
	box := h.inbox()
	var mails []exactMail
	for round := range 3 {
		for range 25 {
			mails = append(mails, newExactMail(rnd))
			h.append(mails[len(mails)-1].raw, box)
		}
		for range 2 * min(1, round) { // nothing is indexed at first, and at last all
			if err := h.store.IndexText(context.Background()); err != nil {
				t.Fatal(err)
			}
			if round == 1 {
				mails = append(mails, newExactMail(rnd))
				h.append(mails[len(mails)-1].raw, box)
			}
		}
		for range 25 {
			m := mails[rnd.IntN(len(mails))]
			query := exactQuery(rnd, []string{m.subject, m.from, m.body, m.headers}[rnd.IntN(4)])
			finds := exactFinds(query)
			for range 4 { // and what is made of two of them
				other := exactFinds(exactQuery(rnd, mails[rnd.IntN(len(mails))].body))
				finds = append(finds, exactPair(rnd, finds[rnd.IntN(6)], other[rnd.IntN(6)]))
			}
			for _, f := range finds {
				var want []UID
				for i := range mails {
					if f.holds(&mails[i]) {
						want = append(want, UID(i+1))
					}
				}
				if got := h.find(Query{Mailboxes: []MailboxID{box}, Filter: f.filter}); !slices.Equal(got, want) {
					t.Fatalf("round %d: %T %+q: %v, want %v", round, f.filter, f.filter, got, want)
				}
			}
		}
	}
}
