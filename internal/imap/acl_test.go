package imap

import (
	"strings"
	"testing"
)

// decodeACL reads the arguments of SETACL after the mailbox.
func decodeACL(s string) (id, given string, change RightsChange, err error) {
	d := NewDecoder(newReader(strings.NewReader(s+"\r\n")), after())
	if err := d.Next(); err != nil {
		return "", "", change, err
	}
	id, given = d.Identifier()
	d.SP()
	change = d.RightsChange()
	d.End()
	return id, given, change, d.Err()
}

// TestACLArguments: RFC 4314 §3.1 and §7.
func TestACLArguments(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in, id string
		want   RightsChange
		bad    string
	}{
		{in: "Chris +cda", id: "Chris", want: RightsChange{'+', "cda"}},
		{in: "John lrswicda", id: "John", want: RightsChange{0, "lrswicda"}},
		{in: `"a b" -x`, id: "a b", want: RightsChange{'-', "x"}},
		{in: `anyone ""`, id: "anyone", want: RightsChange{}},
		{in: `anyone "+"`, id: "anyone", want: RightsChange{Mode: '+'}},
		{in: "x {3+}\r\nlr9", id: "x", want: RightsChange{0, "lr9"}},
		{in: "\"I\u00adX\" l", id: "IX", want: RightsChange{0, "l"}}, // RFC 4013 §3
		{in: "John lrQswicda", bad: "Uppercase rights are not allowed"},
		{in: "John l+r", bad: "Rights are letters"},
		{in: `"" l`, bad: "Not a valid identifier"},
		{in: "\"a\u0007\" l", bad: "Not a valid identifier"},
		{in: "\"\u00ad\" l", bad: "Not a valid identifier"},
		{in: strings.Repeat("x", maxIdentifier+1) + " l", bad: "Identifier too long"},
	} {
		id, _, change, err := decodeACL(c.in)
		if c.bad != "" {
			if err == nil || err.Error() != c.bad {
				t.Errorf("%q: %v, want %q", c.in, err, c.bad)
			}
			continue
		}
		if err != nil || id != c.id || change != c.want {
			t.Errorf("%q: %q, %+v, %v", c.in, id, change, err)
		}
	}
}

// FuzzACL: what is read is an identifier that is prepared, and letters and digits.
func FuzzACL(f *testing.F) {
	for _, s := range []string{
		"Chris +cda", `"" lr`, "anyone \"\"", "x {3+}\r\nlr9", "-fred -wetd", "\"\u00aax\" +", "$team lrQ",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, given, change, err := decodeACL(s)
		if err != nil {
			return
		}
		if id == "" || len(given) > maxIdentifier || strings.ContainsAny(change.Rights, "+-ABCXYZ \r\n\x00") ||
			change.Mode != 0 && change.Mode != '+' && change.Mode != '-' {
			t.Fatalf("%q gives %q, %q, %+v", s, id, given, change)
		}
	})
}

// TestPatternWithin: whether a pattern can match below a level is found without the names.
func TestPatternWithin(t *testing.T) {
	t.Parallel()
	const prefix = "Other users/bob/"
	for pattern, want := range map[string]bool{
		"*": true, "%": false, "%/%": false, "%/%/%": true, "Other users/*": true, "Other users/%": false,
		"Other users/bob/INBOX": true, "Other users/bob/%": true, "Other users/ann/*": false, "O*/x": true,
		"Other": false, "": false, "INBOX": false, "*x": true, "Other users/bob": false,
	} {
		if got := NewPattern(pattern).Within(prefix); got != want {
			t.Errorf("%q: %v, want %v", pattern, got, want)
		}
	}
	for pattern, want := range map[string]bool{"%": true, "a/%": true, "*": false, "*%": false, "%*": false, "%a": false} {
		if got := NewPattern(pattern).Levels(); got != want {
			t.Errorf("%q asks for levels: %v, want %v", pattern, got, want)
		}
	}
}
