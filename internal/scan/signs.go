package scan

import "strings"

// What stands before a rule's own name in the name of its sign.
const (
	prefixRspamd   = "RSPAMD_"
	prefixAssassin = "SPAMASSASSIN_"
)

// The names of the signs that this room gives by itself.
const (
	SignSuspect     = "CLAMAV_SUSPECT"
	SignEncrypted   = "CLAMAV_ENCRYPTED"
	SignUnscannable = "CLAMAV_UNSCANNABLE"
	SignAssassin    = "SPAMASSASSIN"
)

// Entry is a row of the table of signs.
type Entry struct {
	Name       string
	Score      float64
	English    string
	Vietnamese string
}

// Table lists them, in the order of the documentation.
var Table = []Entry{
	{SignSuspect, 3, "ClamAV finds it suspicious, though it is no known virus",
		"ClamAV thấy đáng ngờ, tuy không phải vi-rút đã biết"},
	{SignEncrypted, 1.5, "An attachment is encrypted, so that it could not be checked for viruses",
		"Tệp đính kèm được mã hoá nên không kiểm tra vi-rút được"},
	{SignUnscannable, 4, "An attachment could not be checked for viruses",
		"Tệp đính kèm không kiểm tra vi-rút được"},
	{SignAssassin, 0, "SpamAssassin's score, so that 5 is what it calls spam",
		"Điểm của SpamAssassin, quy về 5 là mức nó coi là thư rác"},
}

// rules are the sentences for signs whose names the filters' operator, not this room, knows; the rule's
// own name follows.
var rules = []Entry{
	{Name: prefixRspamd, English: "A rule of rspamd matched: ", Vietnamese: "Khớp một quy tắc của rspamd: "},
	{Name: prefixAssassin, English: "A rule of SpamAssassin matched: ",
		Vietnamese: "Khớp một quy tắc của SpamAssassin: "},
}

// Sentence says what a sign of this room means, in English or, for "vi", in Vietnamese; "" for a name that
// is none of its.
func Sentence(name, language string) string {
	in := func(e Entry) string {
		if language == "vi" {
			return e.Vietnamese
		}
		return e.English
	}
	for _, e := range Table {
		if e.Name == name {
			return in(e)
		}
	}
	for _, e := range rules {
		if rule, ok := strings.CutPrefix(name, e.Name); ok && rule != "" {
			return in(e) + rule
		}
	}
	return ""
}

// scoreOf is the table's score, 0 for a sign whose filter gives it.
func scoreOf(name string) float64 {
	for _, e := range Table {
		if e.Name == name {
			return e.Score
		}
	}
	return 0
}
