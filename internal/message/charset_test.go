package message

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// charsetTests are one text per charset, as iconv and the charsets' own documents have it.
var charsetTests = []struct{ name, in, want string }{
	{"utf-8", "Ti\xe1\xba\xbfng Vi\xe1\xbb\x87t", "Tiếng Việt"},
	{"UTF8", "\xef\xbb\xbfbom", "bom"},
	{"utf-8", "bad \xff end", "bad \ufffd end"},
	{"us-ascii", "Ti\xe1\xba\xbfng", "Tiếng"},
	{"", "d\xe9j\xe0", "déjà"},
	{"x-nonsense", "d\xe9j\xe0", "déjà"},
	{"iso-8859-1", "\x93q\x94 \x80", "“q” €"},
	{"ISO_8859-2", "\xb3\xf3d\xbc", "łódź"},
	{"windows-1251", "\xcf\xf0\xe8\xe2\xe5\xf2", "Привет"},
	{"koi8-r", "\xf0\xd2\xc9\xd7\xc5\xd4", "Привет"},
	{"cp437", "\x81\x84", "üä"},
	{"ibm850", "\x81\x84", "üä"},
	{"cp858", "\xd5", "€"},
	{"windows-1258", "Ti\xea\xecng Vi\xea\xf2t", "Tiếng Việt"},
	{"viscii", "Ti\xaang Vi\xaet \xd0\xf0 \x02", "Tiếng Việt Đđ Ẳ"},
	{"VISCII1.1-1", "\xfe", "ợ"},
	{"TCVN-5712", "Ti\xd5ng Vi\xd6t \xa7\xae", "Tiếng Việt Đđ"},
	{"tcvn3", "e\xb3 \xb8", "é á"},              // a combining mark, and a letter that has it
	{"utf-7", "Hi Mom -+Jjo--!", "Hi Mom -☺-!"}, // RFC 2152
	{"utf-7", "A+ImIDkQ.", "A≢Α."},
	{"utf-7", "+ZeVnLIqe-", "日本語"},
	{"utf-7", "Item 3 is +AKM-1. 1 +- 1", "Item 3 is £1. 1 + 1"},
	{"utf-7", "+2D3eAA-", "😀"},
	{"utf-7", "+2D0-x \xff", "\ufffdx \ufffd"}, // half a surrogate, and a byte that is none
	{"utf-16", "\xfe\xff\x00a\x1e\xbf", "aế"},
	{"utf-16le", "a\x00\xbf\x1e", "aế"},
	{"utf-32", "\x00\x00\x00a\x00\x01\xf6\x00", "a😀"},
	{"iso-2022-jp", "\x1b$B;3ED\x1b(B x", "山田 x"},
	{"shift_jis", "\x8eR\x93c", "山田"},
	{"cp932", "\x87\x40", "①"},
	{"euc-jp", "\xbb\xb3\xc5\xc4", "山田"},
	{"iso-2022-kr", "\x1b$)C\x0eGQ19>n\x0f x\n\x0eGQ\n", "한국어 x\n한\n"},
	{"euc-kr", "\xc7\xd1\xb1\xb9\xbe\xee", "한국어"},
	{"ks_c_5601-1987", "\xc7\xd1", "한"},
	{"gb2312", "\xd6\xd0\xce\xc4", "中文"},
	{"gb18030", "\x81\x30\x84\x36", "¥"},
	{"hz-gb-2312", "~{VPND~} x ~~", "中文 x ~"},
	{"big5", "\xa4\xa4\xa4\xe5", "中文"},
	{"iso-2022-cn", "\x1b$)A\x0eVPND\x0f x\n", "中文 x\n"},
	// RFC 1922: CNS planes 1 (SO) and 2 (SS2).
	{"iso-2022-cn", "\x1b$)G\x0eDcEF\x0f \x1b$*H\x1bN!!.", "中文 乂."},
	{"iso-2022-cn", "\x1b$)A\x0eV", "\ufffd"},
	{"iso-2022-cn", "\x1b$)A\x0eV\n", "\ufffd\n"},
	{"iso-2022-cn", "\x1bQ", "\ufffdQ"},
}

func TestCharsets(t *testing.T) {
	t.Parallel()
	for _, tt := range charsetTests {
		want := tt.want
		if got := strings.TrimPrefix(decodeCharset(tt.name, []byte(tt.in)), "\ufeff"); got != want {
			t.Errorf("%s %q: got %q, want %q", tt.name, tt.in, got, want)
		}
		raw := "Content-Type: text/plain; charset=\"" + tt.name + "\"\r\n\r\n" + tt.in
		m := Parse([]byte(raw), testLimits)
		text, err := io.ReadAll(iotest.OneByteReader(Text(bytes.NewReader([]byte(raw)), m.Root)))
		if err != nil || string(text) != want {
			t.Errorf("%s %q as a stream: got %q, %v; want %q", tt.name, tt.in, text, err, want)
		}
	}
}

// TestNoCharsetIsLost: each name of the alias table leads to a decoder, and none of them to the one
// that turns a text into a single U+FFFD.
func TestNoCharsetIsLost(t *testing.T) {
	t.Parallel()
	for name := range charsetAliases {
		if _, _, known := lookupCharset(strings.ToUpper(name)); !known {
			t.Errorf("%q is unknown", name)
		}
		c, enc, _ := lookupCharset(name)
		text := "plain ascii text"
		if strings.Contains(name, "16") || strings.Contains(name, "32") || strings.Contains(name, "ucs") {
			continue
		}
		if got := decodeAs(c, enc, []byte(text)); got != text {
			t.Errorf("%q: got %q", name, got)
		}
	}
}

// TestVietnameseTables: every letter of the alphabet is in VISCII (RFC 1456) and TCVN,
// once.
func TestVietnameseTables(t *testing.T) {
	t.Parallel()
	const letters = "ÀÁÂÃÈÉÊÌÍÒÓÔÕÙÚÝàáâãèéêìíòóôõùúýĂăĐđĨĩŨũƠơƯưẠạẢảẤấẦầẨẩẪẫẬậẮắẰằẲẳẴẵẶặẸẹẺẻẼẽẾếỀềỂểỄễỆệ" +
		"ỈỉỊịỌọỎỏỐốỒồỔổỖỗỘộỚớỜờỞởỠỡỢợỤụỦủỨứỪừỬửỮữỰựỲỳỴỵỶỷỸỹ"
	for name, s := range map[string]tableStep{
		"viscii": {high: visciiHigh, low: visciiLow}, "tcvn": {high: tcvnHigh, low: tcvnLow},
	} {
		count := map[rune]int{}
		for i := range 256 {
			r, _ := s.next([]byte{byte(i)}, true)
			count[r]++
		}
		for _, r := range letters {
			if count[r] != 1 {
				t.Errorf("%s: %q stands %d times", name, r, count[r])
			}
		}
	}
}

// TestHTMLCharset: HTML may name its charset itself.
func TestHTMLCharset(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ header, body, want string }{
		{"text/html", "<meta charset=windows-1251><p>\xcf\xf0", "Пр"},
		{"text/html", `<meta http-equiv="Content-Type" content="text/html; charset=viscii">Vi` + "\xaet", "Việt"},
		{"text/html; charset=utf-8", "<meta charset=windows-1251><p>\xc3\xa9", "é"},
		{"text/html", "<p>\xc3\xa9", "é"},
		{"text/html", "\xef\xbb\xbf<p>\xc3\xa9", "é"},
		{"text/html", "<p>\xe9", "é"},
	} {
		raw := []byte("Content-Type: " + tt.header + "\r\n\r\n" + tt.body)
		m := Parse(raw, testLimits)
		got, err := io.ReadAll(Text(bytes.NewReader(raw), m.Root))
		if err != nil || strings.TrimPrefix(string(got), "\ufeff") != tt.want || m.Preview != tt.want {
			t.Errorf("%s %q: got %q, preview %q, %v", tt.header, tt.body, got, m.Preview, err)
		}
	}
}
