package imapd

import (
	"strings"

	"tram/internal/conn"
)

// defaultLanguage is the name of the language that everybody can read, RFC 2277 §4.5. It is English.
const defaultLanguage = "i-default"

// language is LANGUAGE, RFC 5255 §3.2: the first language that the server has, or without an
// argument all that there are. There is no NAMESPACE response (§3.4): the one prefix is empty and
// has no translation.
func (s *session) language() error {
	var ranges []string
	for s.dec.TrySP() {
		ranges = append(ranges, s.dec.AString())
	}
	if err := s.args(); err != nil {
		return err
	}
	if len(ranges) == 0 {
		names := ""
		for _, l := range conn.Languages {
			names += strings.ToUpper(l.Tag) + " "
		}
		s.untagged("LANGUAGE (%s%s)", names, defaultLanguage)
		s.text = "Supported languages have been enumerated"
		return nil
	}
	for _, r := range ranges {
		switch strings.ToLower(r) {
		case defaultLanguage:
			s.lang = nil
			s.untagged("LANGUAGE (%s)", defaultLanguage)
		case "default", "*": // the administrator's choice, which is the one that texts are written in
			s.lang = conn.English
			s.untagged("LANGUAGE (EN)")
		default:
			l := conn.FindLanguage(r)
			if l == nil {
				continue
			}
			s.lang = l
			s.untagged("LANGUAGE (%s)", strings.ToUpper(l.Tag))
		}
		s.text = "Language changed"
		return nil
	}
	return &no{"", "None of these languages is supported"}
}

// translate returns a text of a reply in the session's language, in UTF-8 (RFC 5255 §3.5), or as it
// is. English needs no look into the table.
func (s *session) translate(text string) string {
	if s.lang != conn.Vietnamese {
		return text
	}
	if t, ok := inVietnamese(text); ok {
		return t
	}
	if name, ok := strings.CutSuffix(text, " completed"); ok {
		return "Đã xong lệnh " + name
	}
	// The grammar says what it missed and where.
	what, where := text, ""
	if before, column, ok := strings.Cut(text, " at column "); ok {
		what, where = before, " ở cột "+column
	} else if before, ok := strings.CutSuffix(text, " before the end of the command"); ok {
		what, where = before, " trước khi hết lệnh"
	}
	if missing, ok := strings.CutPrefix(what, "Expected "); ok {
		t, _ := inVietnamese(missing)
		return "Cần " + t + where
	}
	if before, detail, ok := strings.Cut(what, ": "); ok {
		t, _ := inVietnamese(before)
		return t + ": " + s.translate(detail)
	}
	t, _ := inVietnamese(what)
	return t + where
}

// inVietnamese looks a text up, as it is or with %d for the number in it.
func inVietnamese(text string) (string, bool) {
	if t := conn.Vietnamese.Translate(vietnamese, text); t != text {
		return t, true
	}
	isDigit := func(r rune) bool { return '0' <= r && r <= '9' }
	i := strings.IndexFunc(text, isDigit)
	if i < 0 {
		return text, false
	}
	rest := strings.TrimLeftFunc(text[i:], isDigit)
	number := text[i : len(text)-len(rest)]
	if t, ok := vietnamese[text[:i]+"%d"+rest]; ok {
		return strings.Replace(t, "%d", number, 1), true
	}
	return text, false
}

// translateFormat is translate for the format of an untagged status response: what stands behind the
// response code, or the word if there is none.
func (s *session) translateFormat(format string) string {
	status, text, ok := strings.Cut(format, " ")
	if s.lang != conn.Vietnamese || !ok || !statusWords[status] {
		return format
	}
	if i := strings.Index(text, "] "); strings.HasPrefix(text, "[") && i >= 0 {
		status, text = format[:len(status)+i+2], text[i+2:]
	}
	return status + " " + conn.Vietnamese.Translate(vietnamese, text)
}

// statusWords begin a status response, RFC 9051 §7.1.
var statusWords = map[string]bool{"OK": true, "NO": true, "BAD": true, "BYE": true}
