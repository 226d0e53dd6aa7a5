package dmarc

import (
	"net/url"
	"strings"

	"tram/internal/mailauth"
)

// maxURIs bounds the report addresses that are kept of one record.
const maxURIs = 20

// parse reads a record, RFC 9989 §4.7 and §4.8. ok is false for what is no DMARC record at all: its
// first tag must be the version. usable is false for a record that asks for nothing that can be
// followed (§4.10.1): DMARC is not applied then. Unknown tags are ignored, and with them pct, rf and
// ri of RFC 7489, which RFC 9989 took away; a tag whose value cannot be read has its default.
func parse(text string) (r *mailauth.DMARCRecord, ok, usable bool) {
	version, rest, _ := strings.Cut(text, ";")
	name, value, found := strings.Cut(version, "=")
	if !found || trim(name) != "v" || trim(value) != "DMARC1" {
		return nil, false, false
	}
	r = &mailauth.DMARCRecord{ADKIM: "r", ASPF: "r", PSD: "u", FO: "0"}
	bad := false
	seen := map[string]bool{}
	for tag := range strings.SplitSeq(rest, ";") {
		name, value, found := strings.Cut(tag, "=")
		name, value = strings.ToLower(trim(name)), trim(value)
		if !found || name == "" || seen[name] {
			continue // the first of a tag that stands twice holds
		}
		seen[name] = true
		bad = !set(r, name, value) || bad
	}
	if bad || r.P == "" {
		// RFC 9989 §4.10.1: what the domain wants cannot be read. With somebody to report to, it is a domain
		// that watches; without, it says nothing. Its psd tag holds in both cases.
		r.P, r.SP, r.NP = mailauth.PolicyNone, "", ""
		return r, true, len(r.RUA) > 0
	}
	return r, true, true
}

func trim(s string) string { return strings.Trim(s, " \t\r\n") }

// set puts a tag's value into the record; false for a policy that cannot be read.
func set(r *mailauth.DMARCRecord, name, value string) bool {
	switch name {
	case "p":
		return policy(&r.P, value)
	case "sp":
		return policy(&r.SP, value)
	case "np":
		return policy(&r.NP, value)
	case "adkim":
		oneOf(&r.ADKIM, value, "r", "s")
	case "aspf":
		oneOf(&r.ASPF, value, "r", "s")
	case "psd":
		oneOf(&r.PSD, value, "y", "n", "u")
	case "t":
		r.Testing = strings.EqualFold(value, "y")
	case "fo":
		r.FO = failureOptions(value)
	case "rua":
		r.RUA = uris(value)
	case "ruf":
		r.RUF = uris(value)
	}
	return true
}

func policy(dst *string, value string) bool {
	return oneOf(dst, value, mailauth.PolicyNone, mailauth.PolicyQuarantine, mailauth.PolicyReject)
}

// oneOf sets dst to value if it is one of the words; the words of the grammar are case-insensitive.
func oneOf(dst *string, value string, words ...string) bool {
	for _, w := range words {
		if strings.EqualFold(value, w) {
			*dst = w
			return true
		}
	}
	return false
}

// failureOptions keeps what the tag fo may hold, "0" when nothing of it can be read.
func failureOptions(value string) string {
	var keep []string
	for o := range strings.SplitSeq(value, ":") {
		if o = strings.ToLower(trim(o)); len(o) == 1 && strings.Contains("01ds", o) {
			keep = append(keep, o)
		}
	}
	if len(keep) == 0 {
		return "0"
	}
	return strings.Join(keep[:min(len(keep), 4)], ":")
}

// uris reads a list of report addresses. The size after an exclamation mark is of RFC 7489 and is
// dropped.
func uris(value string) []string {
	var all []string
	for s := range strings.SplitSeq(value, ",") {
		s, _, _ = strings.Cut(trim(s), "!")
		u, err := url.Parse(s)
		if err != nil || u.Scheme == "" || u.Opaque == "" && u.Host == "" || len(all) == maxURIs {
			continue
		}
		all = append(all, s)
	}
	return all
}
