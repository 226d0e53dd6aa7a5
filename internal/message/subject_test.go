package message

import "testing"

// TestBaseSubject has the examples that RFC 5256 §2.1 and §5 imply, and those of imaptest.
func TestBaseSubject(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in, want string
		reply    bool
	}{
		{"", "", false},
		{"a", "a", false},
		{"  a\t b\r\n c ", "a b c", false},
		{"Re: a", "a", true},
		{"re : a", "a", true},
		{"RE[2]: a", "a", true},
		{"Re [x] : a", "a", true},
		{"Fw: a", "a", true},
		{"FWD: a", "a", true},
		{"Re: Fwd: Re: a", "a", true},
		{"[list] Re: a", "a", true},
		{"[list] a", "a", false},
		{"[a] [b] c", "c", false},
		{"[a][b]", "[b]", false},
		{"[xyz]", "[xyz]", false},
		{"a (fwd)", "a", true},
		{"a (FWD)  (fwd) ", "a", true},
		{"[foo] Fwd: [bar] Re: fw: b (fWd)  (fwd)", "b", true},
		{"b (a)", "b (a)", false},
		{"Re: [FWD: c]", "c", true},
		{"[fwd: [fwd: re: [fwd: babylon]]]", "babylon", true},
		{"re: [fwd: [fwd: re: [fwd: babylon]]]", "babylon", true},
		{"[fwd: a", "[fwd: a", false},
		{"[fwd: a] b", "b", false},
		{"Ad: Re: Ad: Re: Ad: x", "Ad: Re: Ad: Re: Ad: x", false},
		{"Trả lời: Re: a", "Trả lời: Re: a", false}, // the RFC knows no other languages
		{"AW: a", "AW: a", false},
		{"Re:", "", true},
		{"Re: Re: ", "", true},
		{"[fwd:]", "", true},
		{"reply: a", "reply: a", false},
		{"Re: [list]", "[list]", true},
		{"[a", "[a", false},
		{"[a[b]] c", "[a[b]] c", false},
	} {
		if got, reply := BaseSubject(tt.in); got != tt.want || reply != tt.reply {
			t.Errorf("%q: got %q %v, want %q %v", tt.in, got, reply, tt.want, tt.reply)
		}
	}
}
