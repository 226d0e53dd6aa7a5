package message

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"
	"golang.org/x/text/transform"
	"golang.org/x/text/unicode/norm"
)

// charset is how the text of one part or encoded word turns into UTF-8.
type charset uint8

// The charsets that need code of ours. All others are coded, with the x/text encoding beside it.
const (
	charsetGuess  charset = iota // nothing usable was said: UTF-8 where valid, else another
	charsetUTF8                  // UTF-8, or ASCII that may hold more
	charsetCoded                 // an encoding of x/text as it is
	charsetMarks                 // the same, with combining marks that need composing (NFC)
	charsetUTF7                  // RFC 2152
	charsetKR                    // RFC 1557, iso-2022-kr
	charsetCN                    // RFC 1922, iso-2022-cn
	charsetVISCII                // RFC 1456
	charsetTCVN                  // TCVN 5712:1993 (VN1, and VN3 which it holds)
)

// charsetAliases maps names that mail uses to names of htmlindex, or to those of ownCharset. It
// is asked first: htmlindex maps iso-2022-kr, iso-2022-cn and hz to a decoder that turns any text
// into one U+FFFD, which is right for a browser and wrong for mail.
var charsetAliases = map[string]string{
	"": "guess", "us-ascii": "guess", "ascii": "guess", "ansi_x3.4-1968": "guess", "us": "guess",
	"646": "guess", "iso646-us": "guess", "iso_646.irv:1991": "guess", "cp367": "guess",
	"unknown-8bit": "guess", "unknown": "guess", "x-unknown": "guess", "8bit": "guess",
	"7bit": "guess", "binary": "guess", "default": "guess", "default_charset": "guess",
	"x-user-defined": "guess", "none": "guess", "replacement": "guess", "_autodetect": "guess",

	"utf-8": "utf-8", "utf8": "utf-8", "utf_8": "utf-8", "unicode-1-1-utf-8": "utf-8",
	"utf-8mb4": "utf-8", "utf8mb4": "utf-8", "cp65001": "utf-8", "utf-8-sig": "utf-8",
	"csutf8": "utf-8", "unicode": "utf-8",

	"utf-7": "utf-7", "utf7": "utf-7", "unicode-1-1-utf-7": "utf-7", "csutf7": "utf-7",
	"csunicode11utf7": "utf-7", "cp65000": "utf-7", "x-unicode-2-0-utf-7": "utf-7",
	"utf-16": "utf-16", "utf16": "utf-16", "csutf16": "utf-16", "ucs-2": "utf-16",
	"iso-10646-ucs-2": "utf-16", "utf-16be": "utf-16be", "utf-16le": "utf-16le",
	"utf-32": "utf-32", "utf32": "utf-32", "utf-32be": "utf-32", "ucs-4": "utf-32",
	"iso-10646-ucs-4": "utf-32", "utf-32le": "utf-32le",

	"iso-2022-kr": "iso-2022-kr", "csiso2022kr": "iso-2022-kr", "iso2022kr": "iso-2022-kr",
	"iso-2022-cn": "iso-2022-cn", "iso-2022-cn-ext": "iso-2022-cn", "csiso2022cn": "iso-2022-cn",
	"hz": "hz", "hz-gb-2312": "hz", "hz-gb2312": "hz", "x-hz-gb-2312": "hz",
	"iso-2022-jp-1": "iso-2022-jp", "iso-2022-jp-2": "iso-2022-jp",
	"iso-2022-jp-3": "iso-2022-jp", "iso-2022-jp-2004": "iso-2022-jp",
	"iso-2022-jp-ms": "iso-2022-jp", "cp50220": "iso-2022-jp", "cp50221": "iso-2022-jp",
	"cp932": "shift_jis", "ms932": "shift_jis", "sjis": "shift_jis", "windows-932": "shift_jis",
	"eucjp": "euc-jp", "eucjp-ms": "euc-jp", "cp51932": "euc-jp",
	"gb2312": "gb18030", "gb_2312-80": "gb18030", "gbk": "gb18030", "cp936": "gb18030",
	"x-gbk": "gb18030", "euc-cn": "gb18030", "euccn": "gb18030", "csgb2312": "gb18030",
	"gb_2312": "gb18030", "windows-936": "gb18030", "ms936": "gb18030", "gb-18030": "gb18030",
	"cp950": "big5", "big5-hkscs": "big5", "ms950": "big5", "windows-950": "big5",
	"cp949": "euc-kr", "uhc": "euc-kr", "ms949": "euc-kr", "ks_c_5601-1987": "euc-kr",
	"ks_c_5601": "euc-kr", "euckr": "euc-kr", "ksc5601": "euc-kr", "ks_c_5601-1989": "euc-kr",

	"windows-1258": "windows-1258", "cp1258": "windows-1258", "x-cp1258": "windows-1258",
	"viscii": "viscii", "csviscii": "viscii", "viscii1.1-1": "viscii", "x-viscii": "viscii",
	"vn-viscii": "viscii", "x-viet-viscii": "viscii",
	"tcvn": "tcvn", "tcvn3": "tcvn", "tcvn-5712": "tcvn", "tcvn5712-1": "tcvn",
	"tcvn5712": "tcvn", "tcvn5712-1:1993": "tcvn", "x-viet-tcvn5712": "tcvn",
	"x-viet-tcvn": "tcvn", "x-tcvn": "tcvn", "tcvn-3": "tcvn", "abc": "tcvn",

	"cp1250": "windows-1250", "cp1251": "windows-1251", "cp1252": "windows-1252",
	"cp1253": "windows-1253", "cp1254": "windows-1254", "cp1255": "windows-1255",
	"cp1256": "windows-1256", "cp1257": "windows-1257", "cp874": "windows-874",
	"win-1251": "windows-1251", "ansi": "windows-1252", "latin1": "windows-1252",
	"latin-1": "windows-1252", "iso8859-1": "windows-1252", "iso_8859-1": "windows-1252",
	"cp819": "windows-1252", "8859_1": "windows-1252", "iso-8859-11": "windows-874",
	"tis-620": "windows-874", "koi8r": "koi8-r", "koi8u": "koi8-u", "koi8-ru": "koi8-u",
	"iso-8859-8-e": "iso-8859-8", "iso-8859-6-e": "iso-8859-6", "iso-8859-6-i": "iso-8859-6",
	"macroman": "macintosh", "x-mac-roman": "macintosh", "macos-roman": "macintosh",
}

// ownCharset knows the names that charsetAliases uses and htmlindex does not have, or has wrong.
func ownCharset(name string) (charset, encoding.Encoding) {
	switch name {
	case "guess":
		return charsetGuess, nil
	case "utf-8":
		return charsetUTF8, nil
	case "utf-7":
		return charsetUTF7, nil
	case "utf-16":
		return charsetCoded, unicode.UTF16(unicode.BigEndian, unicode.UseBOM)
	case "utf-32":
		return charsetCoded, utf32.UTF32(utf32.BigEndian, utf32.UseBOM)
	case "utf-32le":
		return charsetCoded, utf32.UTF32(utf32.LittleEndian, utf32.UseBOM)
	case "iso-2022-kr":
		return charsetKR, nil
	case "iso-2022-cn":
		return charsetCN, nil
	case "iso-2022-jp":
		return charsetCoded, japanese.ISO2022JP
	case "hz":
		return charsetCoded, simplifiedchinese.HZGB2312
	case "windows-1258":
		return charsetMarks, charmap.Windows1258
	case "viscii":
		return charsetVISCII, nil
	case "tcvn":
		return charsetTCVN, nil
	}
	return dosCharset(name)
}

// dosCharset knows the code pages of old PCs, which browsers never learned.
func dosCharset(name string) (charset, encoding.Encoding) {
	name = strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(name, "cs"), "ibm"), "cp")
	var m *charmap.Charmap
	switch name {
	case "437", "pc8codepage437":
		m = charmap.CodePage437
	case "850", "pc850multilingual":
		m = charmap.CodePage850
	case "852":
		m = charmap.CodePage852
	case "855":
		m = charmap.CodePage855
	case "858", "00858":
		m = charmap.CodePage858
	case "860":
		m = charmap.CodePage860
	case "862":
		m = charmap.CodePage862
	case "863":
		m = charmap.CodePage863
	case "865":
		m = charmap.CodePage865
	case "866":
		m = charmap.CodePage866
	case "037":
		m = charmap.CodePage037
	case "1047":
		m = charmap.CodePage1047
	default:
		return charsetGuess, nil
	}
	return charsetCoded, m
}

// lookupCharset finds the charset called name. known is false for a name nobody has heard of.
func lookupCharset(name string) (c charset, enc encoding.Encoding, known bool) {
	name = strings.Trim(lower(name), " \t\r\n\"'")
	if i := strings.IndexByte(name, '*'); i >= 0 {
		name = name[:i] // RFC 2231 §5: charset*language
	}
	if len(name) > 40 {
		return charsetGuess, nil, false
	}
	if alias, ok := charsetAliases[name]; ok {
		name = alias
	}
	if c, enc = ownCharset(name); c != charsetGuess || name == "guess" {
		return c, enc, true
	}
	enc, err := htmlindex.Get(name)
	if err != nil || enc == encoding.Replacement {
		return charsetGuess, nil, false
	}
	if enc == unicode.UTF8 {
		return charsetUTF8, nil, true
	}
	return charsetCoded, enc, true
}

// decoder returns a transformer to UTF-8 for every charset but guess and UTF-8.
func (c charset) decoder(enc encoding.Encoding) transform.Transformer {
	switch c {
	case charsetMarks:
		return transform.Chain(enc.NewDecoder(), norm.NFC)
	case charsetUTF7:
		return &runeDecoder{step: new(utf7)}
	case charsetKR:
		return &runeDecoder{step: newISO2022KR()}
	case charsetCN:
		return &runeDecoder{step: newISO2022CN()}
	case charsetVISCII:
		return &runeDecoder{step: tableStep{high: visciiHigh, low: visciiLow}}
	case charsetTCVN:
		t := &runeDecoder{step: tableStep{high: tcvnHigh, low: tcvnLow}}
		return transform.Chain(t, norm.NFC)
	}
	return enc.NewDecoder()
}

// decodeCharset turns b, said to be in the charset called name, into valid UTF-8.
func decodeCharset(name string, b []byte) string {
	c, enc, _ := lookupCharset(name)
	return decodeAs(c, enc, b)
}

// orWindows is the encoding of text that is 8-bit, not UTF-8, and does not say what it is.
func orWindows(enc encoding.Encoding) encoding.Encoding {
	if enc == nil {
		return charmap.Windows1252
	}
	return enc
}

// decodeAs is decodeCharset for a charset that was looked up. With charsetGuess, enc is what to try
// after UTF-8, nil for windows-1252.
func decodeAs(c charset, enc encoding.Encoding, b []byte) string {
	switch {
	case (c == charsetUTF8 || c == charsetGuess) && utf8.Valid(b):
		return string(b)
	case c == charsetUTF8:
		return strings.ToValidUTF8(string(b), "\ufffd")
	case c == charsetGuess:
		c, enc = charsetCoded, orWindows(enc)
	}
	out, _, _ := transform.Bytes(c.decoder(enc), b)
	return strings.ToValidUTF8(string(out), "\ufffd")
}

// legacyText makes valid UTF-8 of header text that is 8-bit without saying how: UTF-8 if it is
// that (RFC 6532), else the charset the message names for its body, else windows-1252.
func legacyText(s, hint string) string {
	if utf8.ValidString(s) {
		return s
	}
	c, enc, _ := lookupCharset(hint)
	if c == charsetUTF8 || c == charsetUTF7 || c == charsetKR || c == charsetCN {
		c = charsetGuess
	}
	return decodeAs(c, enc, []byte(s))
}
