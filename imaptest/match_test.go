package imaptest

import (
	"maps"
	"strings"
	"testing"
)

// TestFits compares expected replies with what servers may send.
func TestFits(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		want, got string
		fits      bool
	}{
		{`1 fetch (flags (\seen))`, `1 FETCH (FLAGS (\Seen))`, true},
		{`1 fetch (flags (\seen))`, `1 FETCH (UID 5 FLAGS (\Recent \Seen))`, true},
		{`1 fetch (flags (\seen))`, `1 FETCH (FLAGS (\Seen \Flagged))`, false},
		{`1 fetch (flags (\seen))`, `1 FETCH (FLAGS ())`, false},
		{`1 fetch (flags (\seen))`, `2 FETCH (FLAGS (\Seen))`, false},
		{`1 fetch (uid 5 flags ())`, `1 FETCH (FLAGS () UID 5)`, true},
		{`1 fetch (uid 5 flags ())`, `1 FETCH (FLAGS ())`, false},
		{`$2 expunge`, `1 EXPUNGE`, true}, // the first was removed
		{`$1 expunge`, `1 EXPUNGE`, false},
		{`search 1 2`, `SEARCH 1 2`, true},
		{`search 1 2`, `SEARCH 2 1`, false},
		{`search 1 2`, `SEARCH 1 2 3`, false},
		{`search`, `SEARCH 1`, false},
		{`list (\noselect) $s a${s}b`, `LIST (\HasChildren \Noselect) "/" "a/b"`, true},
		{`list (\noselect) $s a${s}b`, `LIST (\Noselect) "/" "a.b"`, false},
		{`list ($!unordered $!ban=\noselect) $ a`, `LIST (\Noselect) "/" a`, false},
		{`list ($!unordered $!ban=\noselect) $ a`, `LIST (\HasNoChildren) NIL a`, true},
		{`status box (messages 1)`, `STATUS box (UIDNEXT 9 MESSAGES 1)`, true},
		{`status box (messages 1)`, `STATUS box (UIDNEXT 1 MESSAGES 9)`, false},
		{`1 fetch (envelope ($!unordered))`, `1 FETCH (ENVELOPE ("x" NIL))`, true},
		{`1 fetch (x $)`, `1 FETCH (X ((a) b))`, true},
		{`1 fetch (x nil)`, `1 FETCH (X "nil")`, false},
		{"1 fetch (body[] {3}\r\nabc)", "1 FETCH (BODY[] {3}\r\nabc)", true},
		{"1 fetch (body[] {3}\r\nabc)", `1 FETCH (BODY[] "abc")`, true},
		{"1 fetch (body[] {3}\r\nabc)", "1 FETCH (BODY[] {3}\r\naBc)", false},
		{"1 fetch (body[header.fields (to)] $h)", "1 FETCH (BODY[HEADER.FIELDS (TO)] {2}\r\n\r\n)", true},
		{`flags ($!unordered $!noextra $!ignore=\a $$x)`, `FLAGS (\A $X)`, true},
		{`flags ($!unordered $!noextra $!ignore=\a $$x)`, `FLAGS (\B $X)`, false},
		{`known $known`, `KNOWN 7`, true},
		{`known $known`, `KNOWN 8`, false},
		{`twice $n $n`, `TWICE 3 3`, true},
		{`twice $n $n`, `TWICE 3 4`, false},
	} {
		want, err := parseArgs(tc.want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseReply(tc.got)
		if err != nil {
			t.Fatal(err)
		}
		m := matcher{vars: map[string]string{"known": "7"}, where: []int{0, 1}}
		if fits := m.fits(directed(want), got, false); fits != tc.fits {
			t.Errorf("%s fits %s: %v", tc.got, tc.want, fits)
		}
		if !tc.fits && len(m.vars) != 1 {
			t.Errorf("%s does not fit %s, and left %v", tc.got, tc.want, maps.Collect(maps.All(m.vars)))
		}
	}
}

// TestStatusReplies matches the beginning of replies that end with words for people.
func TestStatusReplies(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		want, got string
		fits      bool
	}{
		{`ok`, `OK done (at last`, true},
		{`ok`, `NO done`, false},
		{`ok [uidnext $n]`, `OK [UIDNEXT 4] Predicted`, true},
		{`ok [uidnext 5]`, `OK [UIDNEXT 4] Predicted`, false},
		{`ok [read-write]`, `OK Done [READ-WRITE]`, false},
		{`ok [capability $] ready`, `OK [CAPABILITY A B C] ready now`, true},
		{`ok [permanentflags (\seen)]`, `OK [PERMANENTFLAGS (\Seen)] "quoted`, true},
	} {
		want, err := parseArgs(tc.want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseReply(tc.got)
		if err != nil {
			t.Fatal(err)
		}
		m := matcher{vars: map[string]string{}}
		if fits := m.fits(want, got, true); fits != tc.fits {
			t.Errorf("%s fits %s: %v", tc.got, tc.want, fits)
		}
	}
}

// TestBrokenScripts has each fault of a script told with its line.
func TestBrokenScripts(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ script, want string }{
		{"state: asleep\n\nok noop\n", "line 1: no such state"},
		{"colour: red\n\nok noop\n", `unknown header "colour"`},
		{"no colon\n\nok noop\n", "not a header"},
		{"state: auth\n", "no command"},
		{"state: auth\n\n* 1 exists\n", "before the first command"},
		{"state: auth\n\nnoop\n", "without its answer"},
		{"state: auth\n\nnoop\nnoop\n", "line 4: the command above has no answer"},
		{"connections: 2\n\nok noop\n", "no connection"},
		{"connections: 2\n\n3 ok noop\n", "no connection"},
		{"state: auth\n\nok append {{{\nnever ends\n", "without its }}}"},
		{"state: auth\n\nok noop\n* list (\n", "ends inside a list"},
	} {
		_, err := parse(tc.script)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: %v, want %q", tc.script, err, tc.want)
		}
	}
}
