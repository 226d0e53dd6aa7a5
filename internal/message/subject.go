package message

import "strings"

// BaseSubject applies RFC 5256 §2.1 to a decoded subject: what remains when reply prefixes, list
// tags before them and "(fwd)" trailers are gone. reply says that something showed it to be a reply
// or a forward. The steps are exactly the RFC's, so that other servers and clients agree; prefixes
// of other languages ("Trả lời:", "AW:") are part of the subject, as it says. Case is kept.
func BaseSubject(subject string) (base string, reply bool) {
	b := subjectStripper{s: collapseSpace(subject), failed: -1}
	b.end = len(b.s)
	for {
		b.trailers() // (2)
		for b.leader() || b.blob() {
		} // (3) to (5)
		if !b.forward() { // (6)
			break
		}
	}
	return b.s[b.start:b.end], b.reply
}

// collapseSpace is step (1): runs of white space become one space.
func collapseSpace(s string) string {
	clean := true
	for i := 0; i < len(s) && clean; i++ {
		clean = s[i] != '\t' && s[i] != '\r' && s[i] != '\n' &&
			!(s[i] == ' ' && i+1 < len(s) && s[i+1] == ' ')
	}
	if clean {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case !isBlank(s[i]):
			b = append(b, s[i])
		case len(b) == 0 || b[len(b)-1] != ' ':
			b = append(b, ' ')
		}
	}
	return string(b)
}

// subjectStripper moves the ends of the subject inwards. Each step either takes bytes away or ends
// the loop it is in, so that the work is linear.
type subjectStripper struct {
	s          string
	start, end int
	reply      bool
	failed     int // a run of blobs that ends here has no refwd after it
}

// trailers removes subj-trailer: "(fwd)" / WSP.
func (b *subjectStripper) trailers() {
	for b.start < b.end {
		switch {
		case b.s[b.end-1] == ' ':
			b.end--
		case b.end-b.start >= 5 && equalFold(b.s[b.end-5:b.end], "(fwd)"):
			b.end -= 5
			b.reply = true
		default:
			return
		}
	}
}

// leader removes subj-leader: (*subj-blob subj-refwd) / WSP.
func (b *subjectStripper) leader() bool {
	if b.start < b.end && b.s[b.start] == ' ' {
		b.start++
		return true
	}
	pos := b.start
	if b.failed > pos {
		return false // the same blobs were tried, from further left
	}
	for {
		next := b.blobEnd(pos)
		if next == pos {
			break
		}
		pos = next
	}
	if end := b.refwdEnd(pos); end > pos {
		b.start, b.reply = end, true
		return true
	}
	b.failed = pos
	return false
}

// blob removes one subj-blob if something remains after it.
func (b *subjectStripper) blob() bool {
	end := b.blobEnd(b.start)
	if end == b.start || end >= b.end {
		return false
	}
	b.start = end
	return true
}

// blobEnd returns the position after the subj-blob at pos, or pos: "[" *BLOBCHAR "]" *WSP.
func (b *subjectStripper) blobEnd(pos int) int {
	if pos >= b.end || b.s[pos] != '[' {
		return pos
	}
	i := strings.IndexAny(b.s[pos+1:b.end], "[]")
	if i < 0 || b.s[pos+1+i] != ']' {
		return pos
	}
	end := pos + 1 + i + 1
	for end < b.end && b.s[end] == ' ' {
		end++
	}
	return end
}

// refwdEnd returns the position after the subj-refwd at pos, or pos:
// ("re" / ("fw" ["d"])) *WSP [subj-blob] ":".
func (b *subjectStripper) refwdEnd(pos int) int {
	end, s := pos, b.s[pos:b.end]
	switch {
	case hasPrefixFold(s, "fwd"):
		end += 3
	case hasPrefixFold(s, "re"), hasPrefixFold(s, "fw"):
		end += 2
	default:
		return pos
	}
	for end < b.end && b.s[end] == ' ' {
		end++
	}
	end = b.blobEnd(end)
	if end < b.end && b.s[end] == ':' {
		return end + 1
	}
	return pos
}

// forward removes a subj-fwd-hdr with its subj-fwd-trl: "[fwd:" and "]".
func (b *subjectStripper) forward() bool {
	if s := b.s[b.start:b.end]; !hasPrefixFold(s, "[fwd:") || s[len(s)-1] != ']' {
		return false
	}
	b.start, b.end, b.reply, b.failed = b.start+5, b.end-1, true, -1
	return true
}
