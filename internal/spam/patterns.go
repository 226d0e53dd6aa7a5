package spam

import (
	"regexp"
	"strings"

	"tram/internal/envelope"
	"tram/internal/message"
)

// codeLength is how long a message with a one-time code is at most, in bytes of text.
const codeLength = 3000

var (
	// codeNumber is what such a code looks like: 4 to 8 digits, perhaps in two groups, or a few capital
	// letters and digits.
	codeNumber = regexp.MustCompile(`(?:^|[^\p{L}\d.,/:-])(?:[A-Z]-)?(\d{4,8}|\d{3}[ -]\d{3}|[A-Z0-9]{3}-[A-Z0-9]{3})(?:$|[^\p{L}\d/:-])`)
	// codeWords is what stands around it, without marks.
	codeWords = regexp.MustCompile(`(?i)\b(?:one[- ]?time|otp|2fa|passcode|pass ?code|pin|` +
		`(?:verification|security|confirmation|access|login|log-in|sign-in|authentication|activation|` +
		`single-use|auth) (?:code|number|pin)|code is|your code|verify your|` +
		`ma (?:xac (?:thuc|minh|nhan)|bao mat|dang nhap|kich hoat|otp|pin|so|kiem tra|mot lan)|` +
		`mat khau (?:mot lan|dung mot lan|tam thoi)|ma cua ban)\b`)
	// confirmation is what the mail of lists and shops says to somebody who has just signed up.
	confirmation = regexp.MustCompile(`(?i)\b(?:confirm|verify|activate|validate|subscri|welcome|sign(?:ed)? ?up|` +
		`registration|register(?:ed)?|newsletter|your (?:new )?account|opt[- ]?in|thank(?:s| you) for|` +
		`xac nhan|dang ky|kich hoat|chao mung|cam on ban|ban tin|tai khoan moi)`)
)

// fold makes text comparable: no marks, lower case stays what it was.
func fold(s string) string { return string(message.Fold(nil, []byte(s), true)) }

// looksLikeCode reports whether a message is a code that somebody is waiting for at this moment: it
// must not be made to come again later. In English and Vietnamese.
func looksLikeCode(subject, body string, attachment bool) bool {
	if attachment || len(body) > codeLength {
		return false
	}
	all := subject + "\n" + body
	return codeNumber.MatchString(all) && codeWords.MatchString(fold(all))
}

// looksBulk reports whether a program wrote a message, to many or to somebody who has signed up.
func looksBulk(env *envelope.Envelope, subject string) bool {
	for f := range message.Header(env.Message.Header) {
		switch {
		case f.Is("List-Unsubscribe"), f.Is("List-Id"), f.Is("List-Help"):
			return true
		case f.Is("Auto-Submitted"):
			if !strings.EqualFold(f.Value(), "no") {
				return true
			}
		case f.Is("Precedence"):
			if v := strings.ToLower(f.Value()); v == "bulk" || v == "list" || v == "junk" {
				return true
			}
		}
	}
	return confirmation.MatchString(fold(subject))
}
