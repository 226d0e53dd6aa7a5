package arc

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"tram/internal/limits"
	"tram/internal/mailauth"
	"tram/internal/mailauth/dkim"
	"tram/internal/message"
)

// SealOptions say what the new set tells.
type SealOptions struct {
	Now    time.Time
	Limits limits.MailAuth
	// ID is our name in Authentication-Results fields.
	ID string
	// Results are the results to seal, as such a field has them behind the name, without the semicolon;
	// "" collects those of the fields of ours in the header.
	Results string
	// Chain is what the chain was found to be when the message came.
	Chain mailauth.Status
	// Headers are the fields that are signed; nil for those that say what a message is.
	Headers []string
}

// signed are the fields that a message signature covers once more often than they are there, as those
// of our own mail; DKIM signatures only as often as they are there, for others may add theirs (RFC
// 8617 §4.1.2). Results and the chain itself must not be covered.
var signed = []string{
	"from", "to", "cc", "subject", "date", "message-id", "reply-to", "in-reply-to", "references",
	"mime-version", "content-type", "content-transfer-encoding",
}

// Seal makes the three fields of a new set, with their line ends, which belong on top of the header.
// header is the header block without the blank line, bodyHash the Sum of dkim.Bodies.Add(true, -1).
//
// It returns "" where nothing may be added (RFC 8617 §5.1 step 2, §5.1.3): the chain was sealed as
// failed already, is as long as can be, or was not checked.
func Seal(header, bodyHash []byte, k dkim.Key, o SealOptions) (string, error) {
	h := dkim.NewHeader(header)
	if h.Count("from") == 0 {
		// Such as a header that was too long to be kept: who gets the message would find more in it.
		return "", errors.New("seal message: it has no From field")
	}
	sets, err := collect(slices.Values(h.Fields), o.Limits)
	highest := len(sets)
	switch {
	case highest > 0 && sets[highest-1].chain == string(mailauth.Fail), highest >= o.Limits.ARCSets:
		return "", nil
	case o.Chain == mailauth.Fail:
	case o.Chain == mailauth.None && highest == 0 && err == nil:
	case o.Chain == mailauth.Pass && highest > 0 && err == nil:
	default:
		return "", nil
	}
	algorithm, err := k.Algorithm()
	if err != nil {
		return "", err
	}
	if o.Results == "" {
		o.Results = Results(h, o.ID)
	}
	s := sealer{
		h: h, k: k, o: o, algorithm: algorithm,
		instance: strconv.Itoa(highest + 1), now: strconv.FormatInt(o.Now.Unix(), 10),
	}
	results := ResultsName + ": i=" + s.instance + "; " + o.ID + ";\r\n\t" + o.Results + "\r\n"
	ams, err := s.message(bodyHash)
	if err != nil {
		return "", fmt.Errorf("seal message: %w", err)
	}
	var before []byte
	if o.Chain == mailauth.Fail {
		sets = nil // RFC 8617 §5.1.2: of a broken chain only the newest set is sealed
	}
	for _, set := range sets {
		before = dkim.AppendField(before, set.results, true)
		before = dkim.AppendField(before, set.message.Field, true)
		before = dkim.AppendField(before, set.seal.Field, true)
	}
	before = dkim.AppendField(before, dkim.ReadField(results), true)
	before = dkim.AppendField(before, dkim.ReadField(ams), true)
	seal, err := s.seal(before)
	if err != nil {
		return "", fmt.Errorf("seal message: %w", err)
	}
	return seal + ams + results, nil
}

// maxNames is how many fields a message signature names: a set must not be larger than the message.
const maxNames = 500

// sealer makes the two signatures of a set. Their tags are in the order of their names.
type sealer struct {
	h                        *dkim.Header
	k                        dkim.Key
	o                        SealOptions
	algorithm, instance, now string
}

// message makes the ARC-Message-Signature.
func (s *sealer) message(bodyHash []byte) (string, error) {
	names := s.o.Headers
	if names == nil {
		for _, name := range signed {
			for range s.h.Count(name) + 1 {
				names = append(names, name)
			}
		}
		for range s.h.Count("dkim-signature") {
			names = append(names, "dkim-signature")
		}
	}
	if len(names) > maxNames {
		return "", errors.New("the header has too many fields")
	}
	if len(bodyHash) == 0 {
		return "", errors.New("the body was not hashed")
	}
	// The seal covers this field as it stands, folding in b= and all: one line is what nobody changes.
	w := dkim.Folder{Whole: true}
	w.Begin(MessageName)
	w.Tag("a", s.algorithm)
	w.Signature()
	w.Tag("bh", base64.StdEncoding.EncodeToString(bodyHash))
	w.Tag("c", "relaxed/relaxed")
	w.Tag("d", s.k.Domain)
	w.List("h", names)
	w.Tag("i", s.instance)
	w.Tag("s", s.k.Selector)
	w.Tag("t", s.now)
	return s.h.Complete(&w, names, nil, s.k)
}

// seal makes the ARC-Seal over canonical fields.
func (s *sealer) seal(before []byte) (string, error) {
	var w dkim.Folder
	w.Begin(SealName)
	w.Tag("a", s.algorithm)
	w.Signature()
	w.Tag("cv", string(s.o.Chain))
	w.Tag("d", s.k.Domain)
	w.Tag("i", s.instance)
	w.Tag("s", s.k.Selector)
	w.Tag("t", s.now)
	return s.h.Complete(&w, nil, before, s.k)
}

// Results collects the results of all Authentication-Results fields with our name, in their order, as
// RFC 8617 §4.1.1 wants them in one; "none" if there are none (RFC 8601 §2.2).
func Results(h *dkim.Header, id string) string {
	var all []string
	for _, f := range h.Fields {
		if !f.Is("Authentication-Results") {
			continue
		}
		if text := resultsOf(f, id); text != "" && text != "none" {
			all = append(all, text)
		}
	}
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ";\r\n\t")
}

// resultsOf is what a field with our name says.
func resultsOf(f message.Field, id string) string {
	rest := skipCFWS(string(f.Body))
	name, text, ok := strings.Cut(rest, ";")
	// A version may stand behind the name.
	if words := strings.Fields(name); !ok || len(words) == 0 || !strings.EqualFold(words[0], id) {
		return ""
	}
	return strings.TrimRight(strings.Trim(text, " \t\r\n"), "; \t\r\n")
}
