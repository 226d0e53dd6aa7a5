package imaptest

import (
	"maps"
	"strconv"
	"strings"
)

// defaults are the directives of a list that names none, by reply and by where in it the list
// stands: servers may order these as they like, and tell more than was asked.
var defaults = map[string]map[int][]string{
	"list":   {1: {"$!unordered"}},
	"lsub":   {1: {"$!unordered"}},
	"status": {2: {"$!unordered=2"}},
	"fetch":  {2: {"$!unordered=2"}},
}

// flagDefaults are those of the flags in a FETCH reply: nothing but \Recent may be added.
var flagDefaults = []string{"$!unordered", "$!noextra", `$!ignore=\recent`}

// directed puts the default directives into the lists of an expected reply.
func directed(args []arg) []arg {
	name := 0
	if len(args) > 1 && args[0].text != "" && strings.ContainsAny(args[0].text[:1], "0123456789$") {
		name = 1
	}
	if len(args) <= name {
		return args
	}
	places := defaults[strings.ToLower(args[name].text)]
	for i := range args {
		words, known := places[i]
		if args[i].kind != list || !known {
			continue
		}
		if strings.EqualFold(args[name].text, "fetch") {
			directFlags(args[i].list)
		}
		args[i].list = direct(args[i].list, words)
	}
	return args
}

func directFlags(items []arg) {
	for i := 1; i < len(items); i++ {
		if items[i].kind == list && strings.EqualFold(items[i-1].text, "flags") {
			items[i].list = direct(items[i].list, flagDefaults)
		}
	}
}

// direct puts directives at the beginning of a list that has none.
func direct(l []arg, words []string) []arg {
	if len(l) > 0 && strings.HasPrefix(l[0].text, "$!") {
		return l
	}
	var all []arg
	for _, w := range words {
		all = append(all, arg{text: w})
	}
	return append(all, l...)
}

// matcher compares replies with what a script expects. It holds what the script's variables are, and
// takes back what it learned from a reply that does not fit.
type matcher struct {
	vars  map[string]string
	where []int // by number when the command began: the number now, 0 for removed
}

// fits compares a reply, the beginning of it only when prefix is set.
func (m *matcher) fits(want, got []arg, prefix bool) bool {
	before := maps.Clone(m.vars)
	if m.args(want, got, prefix) {
		return true
	}
	m.vars = before
	return false
}

func (m *matcher) args(want, got []arg, prefix bool) bool {
	for i, w := range want {
		if w.text == "$]" && w.kind == atom { // skips to the end of a response code
			for len(got) > 1 && !strings.Contains(got[0].text, "]") {
				got = got[1:]
			}
			if len(got) == 0 {
				return false
			}
			got = got[1:]
			continue
		}
		if len(got) == 0 || !m.arg(w, got[0], prefix && i == len(want)-1) {
			return false
		}
		got = got[1:]
	}
	return prefix || len(got) == 0
}

func (m *matcher) arg(want, got arg, prefix bool) bool {
	switch {
	case want.kind == null:
		return got.kind == null
	case want.kind == list:
		return got.kind == list && m.list(want.list, got.list)
	case want.text == "$" && got.kind == list:
		return true
	case !got.isWord():
		return false
	case want.kind == literal:
		// Letters of a body that have another case are another body.
		return want.text == got.text || strings.Contains(want.text, "$") && m.word(want.text, got.text, prefix)
	}
	return m.word(want.text, got.text, prefix)
}

// rules are the directives of a list.
type rules struct {
	unordered bool
	noExtra   bool
	chain     int
	ignore    []string
	ban       []string
}

func cutRules(l []arg) (rules, []arg) {
	r := rules{chain: 1}
	for len(l) > 0 && strings.HasPrefix(l[0].text, "$!") {
		name, value, _ := strings.Cut(l[0].text[2:], "=")
		switch name {
		case "unordered":
			r.unordered = true
			if n, err := strconv.Atoi(value); err == nil {
				r.chain = n
			}
		case "noextra":
			r.noExtra = true
		case "ignore":
			r.ignore = append(r.ignore, value)
		case "ban":
			r.ban = append(r.ban, value)
		}
		l = l[1:]
	}
	return r, l
}

func (m *matcher) list(want, got []arg) bool {
	r, want := cutRules(want)
	if !r.unordered {
		return m.args(want, got, false)
	}
	if len(got)%r.chain != 0 || len(want)%r.chain != 0 {
		return false
	}
	used := make([]bool, len(got))
	for ; len(want) > 0; want = want[r.chain:] {
		found := false
		for i := 0; i < len(got) && !found; i += r.chain {
			found = m.fits(want[:r.chain], got[i:i+r.chain], false)
			used[i] = used[i] || found
		}
		if !found {
			return false
		}
	}
	for i := 0; i < len(got); i += r.chain {
		extra := !used[i] && got[i].isWord()
		if extra && (r.noExtra && !containsFold(r.ignore, got[i].text) || containsFold(r.ban, got[i].text)) {
			return false
		}
	}
	return true
}

func containsFold(words []string, s string) bool {
	for _, w := range words {
		if strings.EqualFold(w, s) {
			return true
		}
	}
	return false
}

// word compares a word that may hold variables, whatever the case of its letters. A variable that is
// new takes all up to the character that follows it.
func (m *matcher) word(want, got string, prefix bool) bool {
	for want != "" {
		name, rest, ok := cutVariable(want)
		if !ok {
			if got == "" || !strings.EqualFold(rest[:1], got[:1]) {
				return false
			}
			want, got = rest[1:], got[1:]
			continue
		}
		want = rest
		value, known := m.value(name)
		if !known {
			end := len(got)
			if _, next, isVar := cutVariable(rest); rest != "" && !isVar {
				end = indexFold(got, next[:1])
			}
			value = got[:end]
			if name != "" {
				m.vars[name] = value
			}
		}
		if !strings.HasPrefix(got, value) {
			return false
		}
		got = got[len(value):]
	}
	return prefix || got == ""
}

// indexFold is where c first stands in s, its end if nowhere.
func indexFold(s, c string) int {
	i := strings.Index(strings.ToLower(s), strings.ToLower(c))
	if i < 0 {
		return len(s)
	}
	return i
}

// value is what a variable stands for; known is false for one that has none yet.
func (m *matcher) value(name string) (value string, known bool) {
	if n, err := strconv.Atoi(name); err == nil {
		if n < 1 || n > len(m.where) || m.where[n-1] == 0 {
			return "<removed>", true
		}
		return strconv.Itoa(m.where[n-1]), true
	}
	value, known = m.vars[name]
	return value, known
}

// cutVariable takes a variable from the beginning of s. Without one, rest is s, whose first character
// stands for itself.
func cutVariable(s string) (name, rest string, ok bool) {
	if s == "" || s[0] != '$' {
		return "", s, false
	}
	if strings.HasPrefix(s, "$$") {
		return "", s[1:], false
	}
	if strings.HasPrefix(s, "${") {
		name, rest, _ = strings.Cut(s[2:], "}")
		return name, rest, true
	}
	end := 1
	for end < len(s) && (s[end] == '_' || isAlphanumeric(s[end])) {
		end++
	}
	return s[1:end], s[end:], true
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
