package message

// Section says which bytes of a part are meant, RFC 9051 §6.4.5.
type Section uint8

// The sections. HEADER.FIELDS and HEADER.FIELDS.NOT are AppendHeaderFields of SectionHeader.
const (
	SectionAll    Section = iota // BODY[] is the whole message, BODY[1.2] the part's body
	SectionHeader                // HEADER: of the message, or of a message inside a part
	SectionText                  // TEXT: what follows that header
	SectionMIME                  // MIME: the part's own header
)

// Part finds a part by its number in IMAP's way, RFC 9051 §6.4.5: children of multiparts count from
// 1, part 1 of a message that is no multipart is its body, and the numbers below a message/rfc822
// are those of the message inside. An empty path is the message itself. It is nil when there is no
// such part.
func (m *Message) Part(path []int) *Part {
	part := m.Root
	message := true // part is the root of a message, whose body may count as part 1
	for _, n := range path {
		if part.Embedded != nil && !message {
			part, message = part.Embedded.Root, true
		}
		if len(part.Parts) > 0 {
			if n < 1 || n > len(part.Parts) {
				return nil
			}
			part, message = part.Parts[n-1], false
			continue
		}
		if !message || n != 1 {
			return nil
		}
		message = false
	}
	return part
}

// Section finds the bytes that a FETCH of BODY[path.s] is about. ok is false when the message has
// no such part or the part no such section; IMAP answers NIL then.
func (m *Message) Section(path []int, s Section) (span Span, ok bool) {
	part := m.Part(path)
	if part == nil {
		return Span{}, false
	}
	if len(path) == 0 {
		switch s {
		case SectionAll:
			return Span{0, m.Size}, true
		case SectionHeader:
			return part.Header, true
		case SectionText:
			return part.Body, true
		}
		return Span{}, false // MIME needs a part number
	}
	switch {
	case s == SectionAll:
		return part.Body, true
	case s == SectionMIME:
		return part.Header, true
	case part.Embedded == nil:
		return Span{}, false
	case s == SectionHeader:
		return part.Embedded.Root.Header, true
	case s == SectionText:
		return part.Embedded.Root.Body, true
	}
	return Span{}, false
}
