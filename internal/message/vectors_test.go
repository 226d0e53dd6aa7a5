package message

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// vectors reads a file of header vectors of the mail-parser project: headers and what they mean.
func vectors(t *testing.T, name string) []vector {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(corpus, "mime/mail-parser", name))
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("the corpus is missing: %v", err)
		}
		t.Logf("nothing to do: %v", err)
		return nil
	}
	var list []vector
	if err := json.Unmarshal(b, &list); err != nil || len(list) < 5 {
		t.Fatalf("%s: %d vectors, %v", name, len(list), err)
	}
	return list
}

type vector struct {
	Header   string
	Expected json.RawMessage
}

// value is the field's body: the vectors have the beginning of the next field behind it.
func (v vector) value() string {
	f, _ := nextField([]byte("X:"+v.Header), 0)
	return trim(v.Header[:f.end-2])
}

// differ are the vectors on which this parser and mail-parser differ: what is found here, and why.
var differ = map[string]string{
	// White space beside an encoded word is part of the text (RFC 2047 §6.2), none is none.
	"[SUSPECTED SPAM]=?utf-8?B?VGhpcyBpcyB0aGUgb3JpZ2luYWwgc3ViamVjdA==?=": "[SUSPECTED SPAM]" +
		"This is the original subject",
	"[SUSPECTED SPAM]=?utf-8?B?VGhpcyBpcyB0aGUgb\n 3JpZ2luYWwgc3ViamVjdA==?=": "[SUSPECTED SPAM]" +
		"This is the original subject",
	"[SUSPECTED SPAM]=?utf-8?B?VGhpcyBpcyB0aGUgb\r\n 3JpZ2luYWwgc3ViamVjdA==?=": "[SUSPECTED SPAM]" +
		"This is the original subject",
	// Between encoded words white space is nothing, whatever their charsets.
	"image/jpeg;\n   name=\"=?iso-8859-1?B?4Q==?= =?utf-8?B?w6k=?= =?iso-8859-1?q?=ED?=.jpeg\"": "" +
		"image/jpeg\nname=áéí.jpeg",

	// Identifiers lose white space; a word without @ and brackets is none.
	"<1234   @   local(blah)  .machine .example>": "[<1234@local(blah).machine.example>]",
	"m": "[]",

	// A comment is no part of a name (RFC 5322 §3.4), and only a name where there is no other;
	// white space in an address is none of it; routes are kept apart.
	"Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>":            "Pete|pete@silly.test",
	"Pete(A nice \n \\\n ) chap) <pete(his\n account)@silly\n .test(his host)>": "Pete chap)|pete@silly.test",
	"(Empty list)(start)Hidden recipients  :(nobody(that I know))  ;":           "Hidden recipients:",
	"John Doe <jdoe@machine(comment).  example>":                                "John Doe|jdoe@machine.example",
	"Name (comment) =?utf-8?q?Doe?= <a@b.com>":                                  "Name Doe|a@b.com",
	"Mary Smith <@node.test:mary@example.net>, , jdoe@test  . example": "" +
		"Mary Smith|mary@example.net\n|jdoe@test.example",
	"Nathaniel Borenstein <nsb@thumper.bellcore.com>\n    (=?iso-8859-8?b?7eXs+SDv4SDp7Oj08A==?=)": "" +
		"Nathaniel Borenstein|nsb@thumper.bellcore.com",
	"A Group(Some people)\n        :Chris Jones <c@(Chris's host.)public.example>,\n" +
		"            joe@example.org,\n     John <jdoe@one.test> (my dear friend); " +
		"(the end of the group)": "A Group:\nChris Jones|c@public.example\n|joe@example.org\n" +
		"John|jdoe@one.test",
	"\"  James Smythe\" <james@example.com>, Friends:\n  jane@example.com, " +
		"=?UTF-8?Q?John_Sm=C3=AEth?=\n   <john@example.com>;": "James Smythe|james@example.com\n" +
		"Friends:\n|jane@example.com\nJohn Smîth|john@example.com",

	// The language of a parameter (RFC 2231 §5) is not kept.
	"application/x-stuff;\n     title*=us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A": "" +
		"application/x-stuff\ntitle=This is ***fun***",
	"application/x-stuff\n   title*0*=us-ascii'en'This%20is%20even%20more%20\n" +
		"   title*1*=%2A%2A%2Afun%2A%2A%2A%20\n   title*2=\"isn't it!\"": "application/x-stuff\n" +
		"title=This is even more ***fun*** isn't it!",
	// A backslash in a file name is one (Windows paths).
	"application/pdf\n   filename*0*=iso-8859-1'es'%D1and%FA\n" +
		"   filename*1*=iso-8859-1'%20r%E1pido\n" +
		"   filename*2*=\"iso-8859-1' (versi%F3n \\'99 \\\"oficial\\\").pdf\"": "application/pdf\n" +
		"filename=Ñandú rápido (versión \\'99 \"oficial\").pdf",
	// An empty value is a value; a string that is not closed ends with the field; NUL is nothing.
	"text/plain; name=":        "name=\ntext/plain",
	"inva/lid; name=\"":        "inva/lid\nname=",
	"/ ; name=value":           "\nname=value",
	";charset=us-ascii":        "\ncharset=us-ascii",
	"/;charset=us-ascii":       "\ncharset=us-ascii",
	"/ ;charset=us-ascii":      "\ncharset=us-ascii",
	"/plain;charset=us-ascii":  "\ncharset=us-ascii",
	"/plain ;charset=us-ascii": "\ncharset=us-ascii",
	"=":                        "",
	"name=value":               "name",
	"test/encoded; key4*=us-ascii''foo; key*9999=ba%; key2*0=a; key3*0*=us-ascii'en'xyz; " +
		"key*0=\"f\x00oo\"; key2*1*=b%25; key3*1=plop%; key*1=baz; *=test; =test2;": "key2=ab%\n" +
		"key3=xyzplop%\nkey4=foo\nkey=foobazba%\ntest/encoded",
	"malicious/attempt; 1*2*=a; 3**=b; 4***=c; *5**6*=d;*****7*8*=e; 9*10*11*12*13*14=f; " +
		"15*x***fff*===g;1 * 999999999999999999 *= h; 18 *=*=*=*=*==i;": "15===g\n1=a\n3=b\n4=c\n" +
		"9=f\nmalicious/attempt",
	// What is no token is no type (RFC 2045 §5.1), and a subtype ends at the slash.
	"á/é; á=é":                            "text/plain",
	"text/plain/format":                   "text/plain",
	"text/plain/format;charset=us-ascii":  "charset=us-ascii\ntext/plain",
	"text/plain/format ;charset=us-ascii": "charset=us-ascii\ntext/plain",

	// Months have names; a time may be missing; Received is another parser's field.
	"20 11 (some \n 44 comments(more comments\n )) 79 05:34:27 -0300": "none",
	"4 8 15 16 23 42, 4 8 15 16 23 42, 4 8 15 16 23 42,":              "none",
	"Tue, 1 Jul 2003 ((invalid)":                                      "2003-07-01T00:00:00+00:00",
	"by 2002:aa7:cd10:0:b0:45c:2c83:1208 with SMTP id b16-20020aa7cd10000000b0045c2c831208mr" +
		"4220805edw.81.1665423075119;\n\tMon, 10 Oct 2022 10:31:15 -0700 (PDT)": "none",
}

// check compares, with the table of known differences between.
func (v vector) check(t *testing.T, got, want string) {
	t.Helper()
	if known, ok := differ[v.value()]; got != want && (!ok || got != known) {
		t.Errorf("%q:\n got %s\nwant %s", v.value(), got, want)
	}
}

func TestVectorsUnstructured(t *testing.T) {
	t.Parallel()
	for _, v := range vectors(t, "unstructured.json") {
		var want string
		json.Unmarshal(v.Expected, &want)
		got := strings.Join(strings.Fields(DecodeHeader(v.value())), " ")
		v.check(t, got, strings.Join(strings.Fields(want), " "))
	}
}

func TestVectorsID(t *testing.T) {
	t.Parallel()
	for _, v := range vectors(t, "id.json") {
		var want []string
		json.Unmarshal(v.Expected, &want)
		for i := range want {
			want[i] = "<" + want[i] + ">"
		}
		v.check(t, fmt.Sprint(MessageIDs(v.value())), fmt.Sprint(want))
	}
}

func TestVectorsAddress(t *testing.T) {
	t.Parallel()
	type mailbox struct{ Name, Address string }
	for _, v := range vectors(t, "address.json") {
		var e struct {
			List  []mailbox
			Group []struct {
				Name      string
				Addresses []mailbox
			}
		}
		json.Unmarshal(v.Expected, &e)
		var want, got []string
		for _, m := range e.List {
			want = append(want, m.Name+"|"+m.Address)
		}
		for _, g := range e.Group {
			if g.Name != "" {
				want = append(want, g.Name+":")
			}
			for _, m := range g.Addresses {
				want = append(want, m.Name+"|"+m.Address)
			}
		}
		for _, a := range ParseAddressList(v.value()) {
			switch a.Group {
			case NoGroup:
				got = append(got, a.Name+"|"+a.String())
			case GroupStart:
				got = append(got, a.Mailbox+":")
			}
		}
		v.check(t, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestVectorsContentType(t *testing.T) {
	t.Parallel()
	for _, v := range vectors(t, "content_type.json") {
		var e struct {
			Type       string `json:"c_type"`
			Subtype    string `json:"c_subtype"`
			Attributes [][2]string
		}
		json.Unmarshal(v.Expected, &e)
		var want, got []string
		for _, a := range e.Attributes {
			want = append(want, lower(a[0])+"="+a[1])
		}
		var params []Param
		typ := ""
		if e.Subtype == "" {
			typ, params = DecodeParams(v.value())
			want = append(want, lower(e.Type))
		} else {
			ct := parseContentType(v.value(), maxParams, "")
			typ, params = ct.typ+"/"+ct.subtype, ct.params
			want = append(want, lower(e.Type+"/"+e.Subtype))
		}
		for _, p := range params {
			got = append(got, p.Name+"="+p.Value)
		}
		got = append(got, typ)
		slices.Sort(got)
		slices.Sort(want)
		v.check(t, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestVectorsDate(t *testing.T) {
	t.Parallel()
	for _, v := range vectors(t, "date.json") {
		var e struct {
			Year, Month, Day, Hour, Minute, Second int
			Before                                 bool `json:"tz_before_gmt"`
			TZHour                                 int  `json:"tz_hour"`
			TZMinute                               int  `json:"tz_minute"`
		}
		want := "none"
		if json.Unmarshal(v.Expected, &e); e.Year != 0 {
			zone := e.TZHour*3600 + e.TZMinute*60
			if e.Before {
				zone = -zone
			}
			want = time.Date(e.Year, time.Month(e.Month), e.Day, e.Hour, e.Minute, e.Second, 0,
				time.FixedZone("", zone)).Format(time.RFC3339)
		}
		got := "none"
		if d, ok := ParseDate(v.value()); ok {
			got = d.Format(time.RFC3339)
		}
		v.check(t, strings.Replace(got, "Z", "+00:00", 1), strings.Replace(want, "Z", "+00:00", 1))
	}
}
