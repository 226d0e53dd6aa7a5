package message

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestDecodeHeader(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want string }{
		// RFC 2047 §8.
		{"=?US-ASCII?Q?Keith_Moore?= <moore@cs.utk.edu>", "Keith Moore <moore@cs.utk.edu>"},
		{"=?ISO-8859-1?Q?Keld_J=F8rn_Simonsen?= <keld@dkuug.dk>", "Keld Jørn Simonsen <keld@dkuug.dk>"},
		{"=?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?=\r\n" +
			" =?ISO-8859-2?B?dSB1bmRlcnN0YW5kIHRoZSBleGFtcGxlLg==?=",
			"If you can read this you understand the example."},
		{"(=?ISO-8859-1?Q?a?=)", "(a)"},
		{"(=?ISO-8859-1?Q?a?= b)", "(a b)"},
		{"(=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=)", "(ab)"},
		{"(=?ISO-8859-1?Q?a?=  =?ISO-8859-1?Q?b?=)", "(ab)"},
		{"(=?ISO-8859-1?Q?a?=\r\n    =?ISO-8859-1?Q?b?=)", "(ab)"},
		{"(=?ISO-8859-1?Q?a_b?=)", "(a b)"},
		{"(=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=)", "(a b)"},
		// RFC 2231 §5: a language.
		{"=?US-ASCII*EN?Q?Keith_Moore?=", "Keith Moore"},
		// The wild.
		{"plain", "plain"},
		{"", ""},
		{"a\r\n\tb\r\n c", "a b c"},
		{"=?utf-8?q?Vi=E1=BB?= =?utf-8?q?=87t?=", "Việt"},                       // a character cut in two
		{"=?UTF-8?b?xJA=?==?UTF-8?b?xJE=?=", "Đđ"},                              // no space between
		{"x=?utf-8?q?=C4=91?=y", "xđy"},                                         // nor around
		{"=?utf-8?Q?b=C3=A1o c=C3=A1o?=", "báo cáo"},                            // a space inside
		{"=?utf-8?Q?sao?=20kh=C3=B4ng??=", "sao? không?"},                       // question marks inside
		{"=?utf-8?Q?a=?=", "a="},                                                // an escape cut off
		{"=?utf-8?Q?=zz?=", "=zz"},                                              // or none
		{"=?utf-8?b?xJE?= z", "đ z"},                                            // no padding
		{"=?utf-8?b?xJ E=?=", "đ"},                                              // white space in base64
		{"=?utf-8?x?abc?=", "=?utf-8?x?abc?="},                                  // no such encoding
		{"=?utf-8?q?abc", "=?utf-8?q?abc"},                                      // no end
		{"=?utf-8?q??= a", " a"},                                                // nothing in it
		{"=?iso-8859-1?q?fr\xc3\xb6h?=", "fröh"},                                // raw UTF-8 in it
		{"=?x-nobody?q?=E9?=", "é"},                                             // unknown charset
		{"=?x-nobody?q?=C4=91?=", "đ"},                                          // that is UTF-8
		{"=?us-ascii?q?=C4=91?=", "đ"},                                          // and so is this
		{"=?utf-8?q?a=0D=0AX-Forged:_1?=", "a  X-Forged: 1"},                    // no new line
		{"a\x00b\x07c", "ab c"},                                                 // controls
		{"T\xc3\xb4i", "Tôi"},                                                   // RFC 6532
		{"d\xe9j\xe0", "déjà"},                                                  // latin-1
		{"\"=?utf-8?q?in_quotes?=\"", "\"in quotes\""},                          // forbidden, common
		{"=?=?utf-8?q?a?=", "=?a"},                                              // a beginning before it
		{"=?utf-8?q?a?= =?utf-8?q?b?= c =?utf-8?q?d?=", "ab c d"},               //
		{"=?gb2312?B?1tA=?= =?gb2312?B?zsQ=?=", "中文"},                           //
		{"=?ISO-2022-JP?B?GyRCOzMbKEI=?= =?ISO-2022-JP?B?GyRCRUQbKEI=?=", "山田"}, //
		{"=?unicode-1-1-utf-7?Q?+AOk-?=", "é"},
		{"=?viscii?Q?Vi=AEt?=", "Việt"},
	} {
		if got := DecodeHeader(tt.in); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestEncodedWordsAreReadBack(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"Báo cáo tuần này", strings.Repeat("Việt Nam ", 60), "日本語" + strings.Repeat("日", 200),
		"=?utf-8?q?no?=", "a\x01b", strings.Repeat("x", 300), "?", "  two  spaces  ", "🙂🙂",
		"mostly ascii text with one é in it",
	} {
		words := encodedWords(s)
		for _, w := range words {
			if len(w) > wordLimit || strings.ContainsAny(w, " ()<>@,;:\\\"[]\r\n") {
				t.Errorf("%q: word %q", s, w)
			}
			if c, text := w[:len("=?utf-8?q?")], w[len("=?utf-8?q?"):len(w)-2]; c == "=?utf-8?q?" {
				if !utf8.Valid(appendQ(nil, text)) {
					t.Errorf("%q: %q cuts a character", s, w)
				}
			} else if !utf8.Valid(appendBase64(nil, text)) {
				t.Errorf("%q: %q cuts a character", s, w)
			}
		}
		if got := decodeWords(strings.Join(words, " "), ""); got != cleanControls(s) {
			t.Errorf("%q came back as %q", s, got)
		}
	}
}
