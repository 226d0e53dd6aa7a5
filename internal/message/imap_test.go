package message

import (
	"strings"
	"testing"
)

func envelopeOf(t *testing.T, header string, utf8 bool) string {
	t.Helper()
	m := Parse([]byte(crlf(header)+"\r\n"), testLimits)
	return string(m.Envelope.AppendIMAP(nil, utf8))
}

// TestEnvelope has the cases of RFC 9051 §7.5.2 and of imaptest's fetch-envelope.
func TestEnvelope(t *testing.T) {
	t.Parallel()
	const u = `((NIL NIL "u" "d"))`
	for _, tt := range []struct{ header, want string }{
		{"", "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"},
		{"Message-ID: <msg@id>\nIn-Reply-To: <reply@to.id>\nDate: Thu, 15 Feb 2007 01:02:03 +0200\n" +
			"Subject: subject header\nFrom: From Real <fromuser@fromdomain.org>\n" +
			"To: To Real <touser@todomain.org>\nCc: Cc Real <ccuser@ccdomain.org>\n" +
			"Bcc: Bcc Real <bccuser@bccdomain.org>\nSender: Sender Real <senderuser@senderdomain.org>\n" +
			"Reply-To: ReplyTo Real <replytouser@replytodomain.org>\n",
			`("Thu, 15 Feb 2007 01:02:03 +0200" "subject header" ` +
				`(("From Real" NIL "fromuser" "fromdomain.org")) ` +
				`(("Sender Real" NIL "senderuser" "senderdomain.org")) ` +
				`(("ReplyTo Real" NIL "replytouser" "replytodomain.org")) ` +
				`(("To Real" NIL "touser" "todomain.org")) (("Cc Real" NIL "ccuser" "ccdomain.org")) ` +
				`(("Bcc Real" NIL "bccuser" "bccdomain.org")) "<reply@to.id>" "<msg@id>")`},
		{"From: u@d\n", "(NIL NIL " + u + " " + u + " " + u + " NIL NIL NIL NIL NIL)"},
		{"From: u@d\nSender:\nReply-To: \nTo: \n", "(NIL NIL " + u + " " + u + " " + u + " NIL NIL NIL NIL NIL)"},
		{"Date:\nSubject: \nIn-Reply-To:\nMessage-ID:\n", `("" "" NIL NIL NIL NIL NIL NIL "" "")`},
		{"To: group: g1@d1.org, g2@d2.org;, group2: g3@d3.org;\nCc: group:;, group2: (foo) ;\n",
			`(NIL NIL NIL NIL NIL ((NIL NIL "group" NIL)(NIL NIL "g1" "d1.org")(NIL NIL "g2" "d2.org")` +
				`(NIL NIL NIL NIL)(NIL NIL "group2" NIL)(NIL NIL "g3" "d3.org")(NIL NIL NIL NIL)) ` +
				`((NIL NIL "group" NIL)(NIL NIL NIL NIL)(NIL NIL "group2" NIL)(NIL NIL NIL NIL)) NIL NIL NIL)`},
		{"To: <@route:user@domain>\n", `(NIL NIL NIL NIL NIL ((NIL "@route" "user" "domain")) NIL NIL NIL NIL)`},
		{"To: root, \"John Doe\"\n", `(NIL NIL NIL NIL NIL ((NIL NIL "root" "")("John Doe" NIL "" "")) NIL NIL NIL NIL)`},
		{`Subject: a "quoted" \ one` + "\n", `(NIL "a \"quoted\" \\ one" NIL NIL NIL NIL NIL NIL NIL NIL)`},
		{"Subject: a\n b\n\tc\n", "(NIL \"a b\tc\" NIL NIL NIL NIL NIL NIL NIL NIL)"},
		{"Subject: " + strings.Repeat("x", 1001) + "\n",
			"(NIL {1001}\r\n" + strings.Repeat("x", 1001) + " NIL NIL NIL NIL NIL NIL NIL NIL)"},
		{"Subject: =?utf-8?q?=C4=91?=\nTo: =?utf-8?q?=C4=91?= <a@b>\n",
			`(NIL "=?utf-8?q?=C4=91?=" NIL NIL NIL (("=?utf-8?q?=C4=91?=" NIL "a" "b")) NIL NIL NIL NIL)`},
	} {
		for _, utf8 := range []bool{false, true} {
			if got := envelopeOf(t, tt.header, utf8); got != tt.want {
				t.Errorf("%q: got %s\nwant %s", tt.header, got, tt.want)
			}
		}
	}
}

// TestEightBitEnvelope: RFC 6855 §3: a client that has not asked for UTF-8 gets none.
func TestEightBitEnvelope(t *testing.T) {
	t.Parallel()
	const header = "Subject: Thư\nFrom: Đỗ <đỗ@ví-dụ.vn>\n"
	from := `((%N NIL %B %H))`
	fill := func(name, box, host string) string {
		return strings.NewReplacer("%N", name, "%B", box, "%H", host).Replace(from)
	}
	seven := fill(`"=?utf-8?b?xJDhu5c=?="`, `"=?utf-8?b?xJHhu5c=?="`, `"xn--v-d-rma6749a.vn"`)
	if got := envelopeOf(t, header, false); got != `(NIL "=?utf-8?q?Th=C6=B0?=" `+seven+" "+seven+" "+seven+
		" NIL NIL NIL NIL NIL)" {
		t.Errorf("7-bit: %s", got)
	}
	eight := fill(`"Đỗ"`, `"đỗ"`, `"ví-dụ.vn"`)
	if got := envelopeOf(t, header, true); got != `(NIL "Thư" `+eight+" "+eight+" "+eight+" NIL NIL NIL NIL NIL)" {
		t.Errorf("8-bit: %s", got)
	}
}

// TestBodyStructure has the examples of RFC 9051 §7.5.2 and of imaptest's fetch-bodystructure.
func TestBodyStructure(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ raw, body, structure string }{
		{"\nx", `("text" "plain" NIL NIL NIL "7bit" 1 0)`,
			`("text" "plain" NIL NIL NIL "7bit" 1 0 NIL NIL NIL NIL)`},
		{"From: user@domain.org\nMime-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"foo\n bar\"\n\n" +
			"--foo bar\nContent-Type: text/x-myown; charset=us-ascii\n\nhello\n\n--foo bar--\n",
			`(("text" "x-myown" ("charset" "us-ascii") NIL NIL "7bit" 7 1) "mixed")`,
			`(("text" "x-myown" ("charset" "us-ascii") NIL NIL "7bit" 7 1 NIL NIL NIL NIL) ` +
				`"mixed" ("boundary" "foo bar") NIL NIL NIL)`},
		{"Content-Type: application/pdf; name*0=a; name*1=b\nContent-Disposition: attachment; filename=ab\n" +
			"Content-Language: en\nContent-Location: http://x/\nContent-MD5: Q==\nContent-ID: <i>\n" +
			"Content-Description: d\nContent-Transfer-Encoding: BASE64\n\nxx",
			`("application" "pdf" ("name" "ab") "<i>" "d" "base64" 2)`,
			`("application" "pdf" ("name" "ab") "<i>" "d" "base64" 2 "Q==" ` +
				`("attachment" ("filename" "ab")) "en" "http://x/")`},
		{"Content-Type: message/rfc822\n\nSubject: s\n\na\nb\n",
			`("message" "rfc822" NIL NIL NIL "7bit" 20 (NIL "s" NIL NIL NIL NIL NIL NIL NIL NIL) ` +
				`("text" "plain" NIL NIL NIL "7bit" 6 2) 4)`,
			`("message" "rfc822" NIL NIL NIL "7bit" 20 (NIL "s" NIL NIL NIL NIL NIL NIL NIL NIL) ` +
				`("text" "plain" NIL NIL NIL "7bit" 6 2 NIL NIL NIL NIL) 4 NIL NIL NIL NIL)`},
		{"Content-Type: multipart/mixed\n\n", `(("text" "plain" NIL NIL NIL "7bit" 0 0) "mixed")`,
			`(("text" "plain" NIL NIL NIL "7bit" 0 0 NIL NIL NIL NIL) "mixed" NIL NIL NIL NIL)`},
		{"Content-Type: message/delivery-status\n\nx", `("message" "delivery-status" NIL NIL NIL "7bit" 1)`,
			`("message" "delivery-status" NIL NIL NIL "7bit" 1 NIL NIL NIL NIL)`},
	} {
		m := Parse([]byte(crlf(tt.raw)), testLimits)
		if got := string(m.Root.AppendIMAP(nil, false, false)); got != tt.body {
			t.Errorf("%q: got %s\nwant %s", tt.raw, got, tt.body)
		}
		if got := string(m.Root.AppendIMAP(nil, true, true)); got != tt.structure {
			t.Errorf("%q: got %s\nwant %s", tt.raw, got, tt.structure)
		}
	}
}
