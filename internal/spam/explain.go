package spam

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"tram/internal/spam/sign"
)

// Account of a decision, as the trace keeps it and as explanations read it:
//
//	score 6.2 of 5: WORDS_BAD 3.5; LISTED 3 "192.0.2.1 in list.example"; DKIM_VALID -0.3 "example.net"
//
// recordBytes is below what the trace keeps of one field; the signs that weigh least are left out.
const recordBytes = 950

// Record writes a decision down.
func (d Decision) Record() string {
	signs := slices.Clone(d.Signs)
	slices.SortStableFunc(signs, func(a, b sign.Sign) int {
		return cmp.Compare(max(b.Score, -b.Score), max(a.Score, -a.Score))
	})
	s := "score " + number(d.Score) + " of " + number(d.Required) + ":"
	for i, one := range signs {
		text := " " + one.Name + " " + number(one.Score)
		if one.Detail != "" {
			text += " " + strconv.QuoteToGraphic(clip(one.Detail, 100))
		}
		if len(s)+len(text) > recordBytes {
			return s + fmt.Sprintf(" and %d more", len(signs)-i)
		}
		if i > 0 {
			s += ";"
		}
		s += text
	}
	return s
}

// ParseRecord reads what Record wrote.
func ParseRecord(s string) (d Decision, ok bool) {
	head, rest, ok := strings.Cut(s, ":")
	if !ok {
		return d, false
	}
	if _, err := fmt.Sscanf(head, "score %f of %f", &d.Score, &d.Required); err != nil {
		return d, false
	}
	for rest = strings.TrimSpace(rest); rest != ""; rest = strings.TrimLeft(rest, "; ") {
		var one sign.Sign
		one.Name, rest, _ = strings.Cut(rest, " ")
		end := strings.IndexAny(rest, "; ")
		if end < 0 {
			end = len(rest)
		}
		score, err := strconv.ParseFloat(rest[:end], 64)
		if err != nil || one.Name == "and" {
			break // what was left out
		}
		one.Score, rest = score, strings.TrimLeft(rest[end:], " ")
		if q, err := strconv.QuotedPrefix(rest); err == nil {
			one.Detail, _ = strconv.Unquote(q)
			rest = rest[len(q):]
		}
		d.Signs = append(d.Signs, one)
	}
	return d, true
}

func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// Reason is one sign in words.
type Reason struct {
	Name     string  `json:"name"`
	Score    float64 `json:"score"`
	Sentence string  `json:"sentence"`
	Detail   string  `json:"detail,omitempty"`
}

// Explain says in a sentence each why a score is what it is, what weighs most first. outside has the
// sentences for signs that are not of this room; nil: nobody has any.
func Explain(signs []sign.Sign, language string, outside func(name, language string) string) []Reason {
	var out []Reason
	for _, s := range signs {
		sentence := Sentence(s.Name, language)
		if sentence == "" && outside != nil {
			sentence = outside(s.Name, language)
		}
		out = append(out, Reason{s.Name, s.Score, sentence, s.Detail})
	}
	slices.SortStableFunc(out, func(a, b Reason) int {
		return cmp.Compare(max(b.Score, -b.Score), max(a.Score, -a.Score))
	})
	return out
}

// maxTests bounds the names in a status field.
const maxTests = 40

// Status is the field that tells a message's recipients what was found, whoever they are, and from
// which learning takes what it must know of the message's source. Scores of single people stand in the
// trace: the message is stored once for all of them.
func (j *Judge) Status(ev *Evidence) string {
	score, required := round(ev.Score()), j.o.Config.Policy.Junk
	word := "No"
	if required > 0 && score >= required {
		word = "Yes"
	}
	f := folded{}
	f.add("X-Spam-Status: " + word + ",")
	f.add("score=" + number(score))
	f.add("required=" + number(required))
	tests := ""
	for i, s := range ev.Signs[:min(len(ev.Signs), maxTests)] {
		if i > 0 {
			tests += ","
		}
		tests += s.Name
	}
	if tests == "" {
		tests = "none"
	}
	for i, part := range strings.SplitAfter(tests, ",") {
		if i == 0 {
			part = "tests=" + part
			f.add(part)
			continue
		}
		f.join(part)
	}
	if ev.client.IsValid() {
		f.add("client=" + ev.client.String())
	}
	for _, n := range ev.names {
		switch n.kind {
		case nameSigner:
			f.add("signer=" + n.text)
		case nameSender:
			if who, _, _ := strings.Cut(n.text, " "); plain(who) {
				f.add("sender=" + who)
			}
		case nameDomain:
			f.add("domain=" + n.text)
		}
	}
	return f.s + "\r\n"
}

// folded writes a field with at most 78 columns where that can be.
type folded struct {
	s    string
	line int
}

func (f *folded) add(word string) {
	switch {
	case f.s == "":
	case f.line+1+len(word) > 76:
		f.s += "\r\n\t"
		f.line = 8
	default:
		f.s += " "
		f.line++
	}
	f.s += word
	f.line += len(word)
}

// join is add for what belongs to the word before: white space after a comma says nothing there.
func (f *folded) join(word string) {
	if f.line+len(word) > 76 {
		f.s += "\r\n\t"
		f.line = 8
	}
	f.s += word
	f.line += len(word)
}

// plain reports whether a text can stand in a header as it is.
func plain(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}
