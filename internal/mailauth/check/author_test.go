package check

import (
	"errors"
	"strings"
	"testing"

	"tram/internal/limits"
	"tram/internal/message"
)

// TestAuthor: one From field with one address, else nobody is the author (M2, and the header cases of
// M1: those of espoofer are marked with their names).
func TestAuthor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		header, want string
		err          error
	}{
		{"From: a@example.com", "a@example.com", nil},
		{"fRoM:a@example.com", "a@example.com", nil},
		{"From: <a@Example.COM>", "a@example.com", nil},
		{"From: A Person <a@example.com>", "a@example.com", nil},
		{"From: \"A, Person\" <a@example.com>", "a@example.com", nil},
		{"From: A. Person (the first) <a@example.com> (and last)", "a@example.com", nil},
		{"From: (x) a@example.com (Her Name)", "a@example.com", nil},
		{"From: =?utf-8?B?xJDhu6lj?= <a@example.com>", "a@example.com", nil},
		{"From: Đức <đ@thú.vn>", "đ@xn--th-ska.vn", nil},
		{"From:\r\n A\r\n\t<a@example.com>", "a@example.com", nil},
		{"From: Doe, John <a@example.com>", "a@example.com", nil},
		{"From: a@example.com <a@example.com>", "a@example.com", nil},
		{"From: [Shop] A <a@example.com>", "a@example.com", nil},
		{"From: A <a@example.com>, ", "a@example.com", nil},
		{"From: A <a@example.com>, <b@example.net>", "", ErrManyAddress},
		{"From: [b@example.net] <a@example.com>", "", ErrManyAddress},
		{"From: [a@example.com]", "", ErrAddress},
		{"From: \"b@other.com\" <a@example.com>", "a@example.com", nil},
		{"From: \"a b\"@example.com", `"a b"@example.com`, nil},
		{"From: <\"a b\"@example.com>", `"a b"@example.com`, nil},
		{"From: a..b.@docomo.example", `"a..b."@docomo.example`, nil},
		{"From: a@my_host.example.com", "a@my_host.example.com", nil},
		{"From: a@[192.0.2.1]", "a@[192.0.2.1]", nil},
		{"From: " + strings.Repeat("x", 70) + "@example.com", strings.Repeat("x", 70) + "@example.com", nil},
		{"DKIM-Signature: h=To:\r\n From2:Subject\r\nFrom: a@example.com", "a@example.com", nil},
		{"From me Sat Jan 1 00:00:00 2026\r\nFrom: a@example.com", "a@example.com", nil},

		{"To: b@example.com", "", ErrNoFrom},
		{"", "", ErrNoFrom},
		{"Sender: <a@example.com>\r\nTo: b", "", ErrNoFrom},                                        // server_a12
		{"Resent-From: <a@example.com>\r\nTo: b", "", ErrNoFrom},                                   // server_a13
		{"From: <first@attack.com>\r\nFrom: <admin@legitimate.com>", "", ErrManyFrom},              // server_a8
		{" From: <first@attack.com>\r\nFrom: <admin@legitimate.com>", "", ErrHiddenFrom},           // server_a9
		{"From : <first@attack.com>\r\nFrom: <admin@legitimate.com>", "", ErrHiddenFrom},           // server_a10
		{"From\r\n : <first@attack.com>\r\nFrom: <admin@legitimate.com>", "", ErrHiddenFrom},       // server_a11
		{"From: <first@attack.com>, <admin@legitimate.com>", "", ErrManyAddress},                   // server_a14
		{"From: =?utf-8?B?PGFkbWluQGxlZ2l0aW1hdGUuY29tPg==?=, <s@attack.com>", "", ErrManyAddress}, // server_a15
		{"From: =?utf-8?B?PGFkbWluQGxlZ2l0aW1hdGUuY29tPg==?=", "", ErrNoAddress},                   // server_a15
		{"From: <@attack.com,@any.com:admin@legitimate.com>", "", ErrManyAddress},                  // server_a16
		{"From: <any@attack.com>\\,<admin@legitimate.com>", "", ErrManyAddress},                    // server_a17
		{"From: <any@attack.com\\>,<admin@legitimate.com>", "", ErrManyAddress},                    // server_a17
		{"From: admin@legitimate.com,<second@attack.com>", "", ErrManyAddress},                     // server_a18
		{"From: <first@attack.com>admin@legitimate.com", "", ErrManyAddress},                       // server_a19
		{"From: admin@legitimate.com <first@attack.com>", "", ErrManyAddress},                      // server_a19
		{"From: a@legitimate.com, b@legitimate.com", "", ErrManyAddress},
		{"From: a@legitimate.com b@legitimate.com", "", ErrManyAddress},
		{"From: friends: a@example.com, b@example.com;", "", ErrAddress},
		{"From: friends: a@example.com;", "", ErrAddress},
		{"From: undisclosed:;", "", ErrAddress},
		{"From:", "", ErrNoAddress},
		{"From: <>", "", ErrNoAddress},
		{"From: nobody", "", ErrNoAddress},
		{"From: A Person", "", ErrNoAddress},
		{"From: Her Name a@example.com", "", ErrAddress},
		{"From: \"a@example.com", "", ErrAddress},
		{"From: (a@example.com", "", ErrAddress},
		{"From: <a@example.com", "", ErrAddress},
		{"From: a@example.com>", "", ErrAddress},
		{"From: <<a@example.com>>", "", ErrAddress},
		{"From: a@b@example.com", "", ErrManyAddress},
		{"From: \"a@b\"@example.com", "", ErrManyAddress},
		{"From: =?utf-8?Q?a?=@example.com", "", ErrAddress},
		{"From: <x=?utf-8?Q?=3Ceo=40legitimate.com=3E?=@attack.com>", "", ErrAddress},
		{"From: a@example.com,<b@example.com>", "", ErrManyAddress},
		{"From: A a@example.com, B <b@example.com>", "", ErrManyAddress},
		{"From: <first@attack.com> (<admin@legitimate.com>)", "", ErrManyAddress},
		{"From: (<admin@legitimate.com>) first@attack.com", "", ErrManyAddress},
		{"From: a@example.com (I <3 mail)", "a@example.com", nil},
		{"From: a@exam ple.com", "", ErrAddress},
		{"From: a@-example.com", "", ErrAddress},
		{"From: a\x00@example.com", "", ErrAddress},
		{"From\x00: x@attack.com\r\nFrom: a@example.com", "", ErrHiddenFrom},
		{"\u200bFrom: x@attack.com\r\nFrom: a@example.com", "", ErrHiddenFrom},
		{"Fr\tom: x@attack.com\r\nFrom: a@example.com", "", ErrHiddenFrom},
	} {
		a, err := Author([]byte(c.header + "\r\n"))
		if !errors.Is(err, c.err) || (c.err == nil) != (err == nil) || err == nil && a.String() != c.want {
			t.Errorf("%q: %q, %v; want %q, %v", c.header, a.String(), err, c.want, c.err)
		}
	}
}

// FuzzAuthor: whom this reader takes for the author, the parser of everything else does too.
func FuzzAuthor(f *testing.F) {
	for _, s := range []string{
		"a@example.com", "A <a@example.com>", "\"x\" <a@example.com> (y)", "a: b@c.d;", "<@x:a@b.c>", "a@b.c,d@e.f",
		"\"a\"@b.c", "x@y.z <a@y.z>", "=?utf-8?q?x?= <a@b.c>",
	} {
		f.Add(s)
	}
	l := limits.Default().Message
	f.Fuzz(func(t *testing.T, s string) {
		header := "From: " + s + "\r\n"
		a, err := Author([]byte(header))
		if err != nil || strings.ContainsAny(s, "\r\n") {
			return
		}
		m := message.Parse([]byte(header+"\r\n"), l)
		if m.FromCount == 1 && !Agrees(m, a) {
			t.Errorf("%q is from %v to the parser, and from %s here", s, m.Envelope.From, a)
		}
	})
}
