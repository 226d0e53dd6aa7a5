package smtp

import (
	"errors"
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 64)
	domain255 := strings.Repeat("a23456789.", 25) + "a2345"
	tests := []struct {
		in, local, domain string
		err               error
	}{
		{in: "alice@example.test", local: "alice", domain: "example.test"},
		{in: "Alice@EXAMPLE.Test", local: "Alice", domain: "example.test"},
		{in: "a.b+c=d/e@x", local: "a.b+c=d/e", domain: "x"},
		{in: "!#$%&'*+-/=?^_`{|}~@x.test", local: "!#$%&'*+-/=?^_`{|}~", domain: "x.test"},
		{in: `"a b"@x.test`, local: "a b", domain: "x.test"},
		{in: `"a\"\\b"@x.test`, local: `a"\b`, domain: "x.test"},
		{in: `"plain"@x.test`, local: "plain", domain: "x.test"},
		{in: `"a..b"@x.test`, local: "a..b", domain: "x.test"},
		// Unicode, RFC 6531 §3.3: NFC in the local part, A-labels in the domain.
		{in: "tra\u0323m@x.test", local: "trạm", domain: "x.test"},
		{in: "thư@việt.test", local: "thư", domain: "xn--vit-5kz.test"},
		{in: "a@BÜCHER.example", local: "a", domain: "xn--bcher-kva.example"},
		{in: "a@例え。テスト", local: "a", domain: "xn--r8jz45g.xn--zckzah"},
		// Address literals, RFC 5321 §4.1.3.
		{in: "a@[192.0.2.1]", local: "a", domain: "[192.0.2.1]"},
		{in: "a@[ipv6:2001:DB8:0::1]", local: "a", domain: "[IPv6:2001:db8::1]"},
		{in: "a@[IPv6:::ffff:127.0.0.1]", local: "a", domain: "[IPv6:::ffff:127.0.0.1]"},
		{in: "a@[192.0.2]", err: ErrAddress},
		{in: "a@[192.0.2.01]", err: ErrAddress},
		{in: "a@[2001:db8::1]", err: ErrAddress},
		{in: "a@[IPv6:192.0.2.1]", err: ErrAddress},
		{in: "a@[IPv6:fe80::1%eth0]", err: ErrAddress},
		{in: "a@[x:y]", err: ErrAddress},
		{in: "a@[192.0.2.1", err: ErrAddress},
		{in: "a@[192.0.2.1]x", err: ErrAddress},
		// Lengths, RFC 5321 §4.5.3.1.
		{in: long + "@x", local: long, domain: "x"},
		{in: long + "a@x", err: ErrTooLong},
		{in: "a@" + domain255, err: ErrTooLong}, // fits by itself, the path does not
		{in: "a@" + domain255 + "6", err: ErrTooLong},
		{in: "a@" + strings.Repeat("b", 63), local: "a", domain: strings.Repeat("b", 63)},
		{in: "a@" + strings.Repeat("b", 64), err: ErrAddress},
		{in: strings.Repeat("ư", 32) + "@x", local: strings.Repeat("ư", 32), domain: "x"},
		{in: strings.Repeat("ư", 33) + "@x", err: ErrTooLong},
		{in: `"` + strings.Repeat(`\"`, 31) + `"@x`, local: strings.Repeat(`"`, 31), domain: "x"},
		{in: `"` + strings.Repeat(`\"`, 32) + `"@x`, err: ErrTooLong},
		// Malformed.
		{in: "", err: ErrAddress},
		{in: "alice", err: ErrAddress},
		{in: "@x.test", err: ErrAddress},
		{in: "a@", err: ErrAddress},
		{in: "a@b@c", err: ErrAddress},
		{in: ".a@x", err: ErrAddress},
		{in: "a.@x", err: ErrAddress},
		{in: "a..b@x", err: ErrAddress},
		{in: "a b@x", err: ErrAddress},
		{in: `a"b"@x`, err: ErrAddress},
		{in: `""@x`, err: ErrAddress},
		{in: `"a@x`, err: ErrAddress},
		{in: `"a\`, err: ErrAddress},
		{in: "\"a\x00\"@x", err: ErrAddress},
		{in: "a\r\n@x", err: ErrAddress},
		{in: "a\xff@x", err: ErrAddress},
		{in: "a\u0085@x", err: ErrAddress},
		{in: "a\u202Eb@x", err: ErrAddress},
		{in: "\"a\u2028\"@x", err: ErrAddress},
		{in: "a@x.", err: ErrAddress},
		{in: "a@.x", err: ErrAddress},
		{in: "a@x..y", err: ErrAddress},
		{in: "a@-x", err: ErrAddress},
		{in: "a@x-", err: ErrAddress},
		{in: "a@x_y", err: ErrAddress},
		{in: "a@x y", err: ErrAddress},
		{in: "a@x\x00", err: ErrAddress},
		{in: "a@\u00ad", err: ErrAddress},
	}
	for _, tt := range tests {
		a, err := ParseAddress(tt.in)
		if !errors.Is(err, tt.err) || a != (Address{tt.local, tt.domain}) {
			t.Errorf("ParseAddress(%q) = %+v, %v; want %q at %q, %v",
				tt.in, a, err, tt.local, tt.domain, tt.err)
		}
	}
}

// P21: forms that other servers took for relaying instructions. Each is an ordinary name at the
// domain it ends in, or an error; none is taken apart.
func TestRelayTricksAreNames(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in, local, domain string
		err               error
	}{
		{in: "<a%b.test@us.test>", local: "a%b.test", domain: "us.test"},
		{in: `<"a@b.test"@us.test>`, local: "a@b.test", domain: "us.test"},
		{in: "<b.test!a@us.test>", local: "b.test!a", domain: "us.test"},
		{in: `<"a%b.test"@us.test>`, local: "a%b.test", domain: "us.test"},
		{in: `<"b.test!a"@us.test>`, local: "b.test!a", domain: "us.test"},
		{in: `<a\@b.test@us.test>`, err: ErrAddress},
		{in: "<@us.test:a@b.test>", err: ErrSourceRoute},
		{in: "<@us.test,@c.test:a@b.test>", err: ErrSourceRoute},
		{in: "<a@b.test@us.test>", err: ErrAddress},
		{in: "<a@us.test@b.test>", err: ErrAddress},
		{in: "<a@us.test.>", err: ErrAddress},
		{in: "<a@b.test%us.test>", err: ErrAddress},
		{in: "<a@b.test >", err: ErrAddress},
		{in: "< a@b.test>", err: ErrAddress},
		{in: "<a@[127.0.0.1]>", local: "a", domain: "[127.0.0.1]"},
		{in: "<a@[IPv6:::1]>", local: "a", domain: "[IPv6:::1]"},
		{in: "<a@US.test>", local: "a", domain: "us.test"},
		{in: "<postmaster>", local: "postmaster"},
		{in: "<PostMaster>", local: "PostMaster"},
		{in: `<"postmaster">`, local: "postmaster"},
		{in: "<postmaster@b.test>", local: "postmaster", domain: "b.test"},
		{in: "<abuse>", err: ErrAddress},
		{in: "<postmaster%b.test>", err: ErrAddress},
		{in: "<a@b.test", err: ErrAddress},
		{in: "a@b.test", err: ErrAddress},
		{in: "<<a@b.test>>", err: ErrAddress},
		{in: "<>"},
	}
	for _, tt := range tests {
		a, rest, err := ParsePath(tt.in)
		ok := errors.Is(err, tt.err) && a == Address{tt.local, tt.domain}
		if !ok || err == nil && rest != "" {
			t.Errorf("ParsePath(%q) = %+v, %q, %v; want %q at %q, %v",
				tt.in, a, rest, err, tt.local, tt.domain, tt.err)
		}
	}
}

func TestAddressForms(t *testing.T) {
	t.Parallel()
	tests := []struct {
		a               Address
		wire, human     string
		utf8, isLiteral bool
	}{
		{a: Address{}},
		{a: Address{"postmaster", ""}, wire: "postmaster", human: "postmaster"},
		{a: Address{"a b", "x"}, wire: `"a b"@x`, human: `"a b"@x`},
		{a: Address{`a"\`, "x"}, wire: `"a\"\\"@x`, human: `"a\"\\"@x`},
		{a: Address{"thư", "xn--vit-5kz.test"}, wire: "thư@xn--vit-5kz.test",
			human: "thư@việt.test", utf8: true},
		// Punycode that decodes to what it is not stays as it is.
		{a: Address{"a", "xn--a.test"}, wire: "a@xn--a.test", human: "a@xn--a.test"},
		{a: Address{"a", "[IPv6:::ffff:127.0.0.1]"}, wire: "a@[IPv6:::ffff:127.0.0.1]",
			human: "a@[IPv6:::ffff:127.0.0.1]", isLiteral: true},
	}
	for _, tt := range tests {
		ip, literal := tt.a.Literal()
		if tt.a.String() != tt.wire || tt.a.Unicode() != tt.human ||
			tt.a.NeedsUTF8() != tt.utf8 || literal != tt.isLiteral ||
			tt.a.Path() != "<"+tt.wire+">" || tt.a.IsNull() != (tt.wire == "") {
			t.Errorf("%#v: %q, %q, UTF-8 %v, literal %v", tt.a, tt.a, tt.a.Unicode(),
				tt.a.NeedsUTF8(), literal)
		}
		if literal && !ip.Is4() {
			t.Errorf("mapped address came out as %v: it would pass for a foreign one", ip)
		}
	}
}

func TestParseMailAndRcpt(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   string
		want string // reply, or the address
	}{
		{"FROM:<>", "<>"},
		{"from:<a@b>", "<a@b>"},
		{"FROM: <a@b>", "<a@b>"}, // Outlook
		{"FROM:<a@b> SIZE=1", "<a@b>"},
		{"FROM:<a@b>SIZE=1", "501 5.5.4 Syntax: space before parameters"},
		{"FROM:<postmaster>", "553 5.1.7 Sender needs a domain"},
		{"FROM <a@b>", "501 5.5.4 Syntax: FROM:<address>"},
		{"TO:<a@b>", "501 5.5.4 Syntax: FROM:<address>"},
		{"", "501 5.5.4 Syntax: FROM:<address>"},
		{"FROM:a@b", "501 5.1.7 Malformed address"},
		{"FROM:<@c:a@b>", "553 5.1.7 Source routes are not accepted"},
		{"FROM:<" + strings.Repeat("a", 65) + "@b>", "553 5.1.7 Address too long"},
		{"FROM:<a@b> NOTIFY=NEVER", "555 5.5.4 Unknown parameter NOTIFY"},
	}
	for _, tt := range tests {
		a, _, err := ParseMail(tt.in)
		got := a.Path()
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("ParseMail(%q) = %s, want %s", tt.in, got, tt.want)
		}
	}
	rcpts := []struct{ in, want string }{
		{"TO:<a@b>", "<a@b>"},
		{"to: <a@b> NOTIFY=NEVER", "<a@b>"},
		{"TO:<Postmaster>", "<Postmaster>"},
		{"TO:<>", "553 5.1.3 Recipient is empty"},
		{"FROM:<a@b>", "501 5.5.4 Syntax: TO:<address>"},
		{"TO:<a@@b>", "501 5.1.3 Malformed address"},
		{"TO:<@c:a@b>", "553 5.1.3 Source routes are not accepted"},
		{"TO:<a@b> SIZE=1", "555 5.5.4 Unknown parameter SIZE"},
	}
	for _, tt := range rcpts {
		a, _, err := ParseRcpt(tt.in)
		got := a.Path()
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("ParseRcpt(%q) = %s, want %s", tt.in, got, tt.want)
		}
	}
}

func TestParseCommand(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in         string
		verb, args string
		ok         bool
	}{
		{"EHLO x.test", "EHLO", "x.test", true},
		{"quit", "QUIT", "", true},
		{"Quit  ", "QUIT", "", true},
		{"RCPT TO:<thư@x>", "RCPT", "TO:<thư@x>", true},
		{"", "", "", false},
		{" QUIT", "", "", false},
		{"QU1T", "", "", false},
		{"EHLO\tx", "", "", false},
		{"EHLO x\x00", "", "", false},
		{"EHLO x\r", "", "", false},
		{"EHLO x\u0085", "", "", false},
		{"EHLO \xff", "", "", false},
		{strings.Repeat("A", 13), "", "", false},
	}
	for _, tt := range tests {
		c, err := ParseCommand([]byte(tt.in))
		if c.Verb != tt.verb || c.Args != tt.args || (err == nil) != tt.ok {
			t.Errorf("ParseCommand(%q) = %+v, %v", tt.in, c, err)
		}
	}
}

func FuzzAddress(f *testing.F) {
	for _, s := range []string{"a@b", `"a b\""@x.test`, "thư@việt.test", "a@[IPv6:::1]",
		"a@[192.0.2.1]", "postmaster", "@r:a@b", "a@b@c", "a@xn--a", "a@例え。テスト"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			if a != (Address{}) {
				t.Fatalf("error and address %+v", a)
			}
			return
		}
		if len(a.Path()) > MaxPath || len(a.Domain) > MaxDomain {
			t.Fatalf("%q is too long", a)
		}
		for _, form := range []string{a.String(), a.Unicode()} {
			if b, err := ParseAddress(form); err != nil || b != a {
				t.Fatalf("%q gives %+v, its form %q gives %+v, %v", s, a, form, b, err)
			}
		}
		b, rest, err := ParsePath(a.Path() + " x")
		if err != nil || b != a || rest != " x" {
			t.Fatalf("ParsePath(%q) = %+v, %q, %v", a.Path(), b, rest, err)
		}
		if strings.ContainsAny(a.String(), "\r\n\x00") {
			t.Fatalf("%q holds a control character", a)
		}
	})
}
