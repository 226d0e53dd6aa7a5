package message

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseAddressList(t *testing.T) {
	t.Parallel()
	mailbox := func(name, box, host string) Address {
		return Address{Name: name, Mailbox: box, Host: host}
	}
	for _, tt := range []struct {
		in   string
		want []Address
	}{
		{"", nil},
		{" , ,, ", nil},
		// RFC 5322 §A.1.1 to §A.1.3, §A.5, §A.6.1.
		{"John Doe <jdoe@machine.example>", []Address{mailbox("John Doe", "jdoe", "machine.example")}},
		{"Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>", []Address{
			mailbox("Mary Smith", "mary", "x.test"), mailbox("", "jdoe", "example.org"),
			mailbox("Who?", "one", "y.test"),
		}},
		{`"Joe Q. Public" <john.q.public@example.com>`, []Address{
			mailbox("Joe Q. Public", "john.q.public", "example.com"),
		}},
		{`<boss@nil.test>, "Giant; \"Big\" Box" <sysservices@example.net>`, []Address{
			mailbox("", "boss", "nil.test"), mailbox(`Giant; "Big" Box`, "sysservices", "example.net"),
		}},
		{"A Group:Ed Jones <c@a.test>,joe@where.test,John <jdoe@one.test>;", []Address{
			{Mailbox: "A Group", Group: GroupStart}, mailbox("Ed Jones", "c", "a.test"),
			mailbox("", "joe", "where.test"), mailbox("John", "jdoe", "one.test"), {Group: GroupEnd},
		}},
		{"Undisclosed recipients:;", []Address{
			{Mailbox: "Undisclosed recipients", Group: GroupStart}, {Group: GroupEnd},
		}},
		{"Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", []Address{
			mailbox("Pete", "pete", "silly.test"),
		}},
		{"Mary Smith <@node.test:mary@example.net>, , jdoe@test  . example", []Address{
			{Name: "Mary Smith", Mailbox: "mary", Host: "example.net", Route: "@node.test"},
			mailbox("", "jdoe", "test.example"),
		}},
		// Encoded words, RFC 2047 §5 rule 3, and their misuse.
		{"=?utf-8?q?Nguy=E1=BB=85n?= An <an@x>", []Address{
			{Name: "Nguyễn An", Raw: "=?utf-8?q?Nguy=E1=BB=85n?= An", Mailbox: "an", Host: "x"},
		}},
		{`"=?utf-8?q?L=C3=AA=2C_An?=" <an@x>`, []Address{
			{Name: "Lê, An", Raw: "=?utf-8?q?L=C3=AA=2C_An?=", Mailbox: "an", Host: "x"},
		}},
		{"=?utf-8?q?L=C3=AA,_An?= <an@x>", []Address{
			{Name: "Lê, An", Raw: "=?utf-8?q?L=C3=AA,_An?=", Mailbox: "an", Host: "x"},
		}},
		{"Trần <trần@ví-dụ.example>", []Address{mailbox("Trần", "trần", "ví-dụ.example")}},
		{"Andr\xe9 <a@x>", []Address{mailbox("André", "a", "x")}},
		// The wild.
		{"john@x.org (John)", []Address{mailbox("John", "john", "x.org")}},
		{"<john@x.org> (John (the first))", []Address{mailbox("John (the first)", "john", "x.org")}},
		{"<john@x.org> John", []Address{mailbox("John", "john", "x.org")}},
		{"John Doe john@x.org", []Address{mailbox("John Doe", "john", "x.org")}},
		{"John Doe <john@x.org", []Address{mailbox("John Doe", "john", "x.org")}},
		{"a@x; b@y", []Address{mailbox("", "a", "x"), mailbox("", "b", "y")}},
		{"a@x b <c@y> <d@z>", []Address{mailbox("a@x b", "c", "y"), mailbox("", "d", "z")}},
		{"root", []Address{mailbox("", "root", "")}},
		{"John Doe", []Address{mailbox("John Doe", "", "")}},
		{`"a b"@x, <"c d"@y>`, []Address{mailbox("", "a b", "x"), mailbox("", "c d", "y")}},
		{"a@[192.0.2.1], <b@[IPv6:2001:db8::1]>", []Address{
			mailbox("", "a", "[192.0.2.1]"), mailbox("", "b", "[IPv6:2001:db8::1]"),
		}},
		{"a@b@c", []Address{mailbox("", "a@b", "c")}},
		{"mailto:a@x", []Address{mailbox("", "a", "x")}},
		{"<>", []Address{{}}},
		{"a@x\r\n\t, b\r\n @y", []Address{mailbox("", "a", "x"), mailbox("", "b", "y")}},
		{"Dr. A. B. <a@x>", []Address{mailbox("Dr. A. B.", "a", "x")}},
		{"'quoted' <a@x>", []Address{mailbox("'quoted'", "a", "x")}},
	} {
		if diff := cmp.Diff(tt.want, ParseAddressList(tt.in)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.in, diff)
		}
	}
}

func TestAddressLimits(t *testing.T) {
	t.Parallel()
	if n := len(ParseAddressList(strings.Repeat("a@b,", 5000))); n != maxAddresses {
		t.Errorf("%d addresses", n)
	}
	raw := "To: " + strings.Repeat("a@b,", 900) + "\r\nTo: g:" + strings.Repeat("a@b,", 900) + ";\r\n" +
		"Cc: " + strings.Repeat("a@b,", 1500) + "\r\nBcc: " + strings.Repeat("a@b,", 10) + "\r\n\r\n"
	m := Parse([]byte(raw), testLimits)
	e := m.Envelope
	if len(e.To) != 1001 || e.To[1000].Group != GroupEnd || len(e.Cc) != 999 || len(e.Bcc) != 0 {
		t.Errorf("%d, %d, %d addresses", len(e.To), len(e.Cc), len(e.Bcc))
	}
	if !m.Flaws.Has(FlawAddressLimit) {
		t.Error("not noted")
	}
	if m := Parse([]byte("To: "+strings.Repeat("a@b,", 999)+"c@d\r\n\r\n"), testLimits); m.Flaws.Has(FlawAddressLimit) {
		t.Error("a thousand addresses are too many")
	}
}

func TestAddressString(t *testing.T) {
	t.Parallel()
	a := Address{Name: "x", Mailbox: "a", Host: "b"}
	if a.String() != "a@b" || !a.Is() || (Address{Mailbox: "a"}).Is() || (Address{Mailbox: "a"}).String() != "a" {
		t.Error(a.String(), a.Is())
	}
	if (Address{Mailbox: "a", Host: "b", Group: GroupStart}).Is() {
		t.Error("a group is a mailbox")
	}
}
