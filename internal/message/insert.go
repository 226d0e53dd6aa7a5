package message

import "slices"

// Insert returns what the parser would find if text, whole fields that it takes no notice of (trace
// fields such as Authentication-Results, in ASCII, no line of them too long), stood at an offset of the
// header where a field begins. It spares a second pass over a message that gets such fields when the
// pass is over. m is not changed.
func (m *Message) Insert(at int, text []byte) *Message {
	n := int64(len(text))
	out := *m
	out.Size += n
	out.HeaderSize += n
	out.Header = slices.Concat(m.Header[:at], text, m.Header[at:])
	out.Root = m.Root.shifted(n)
	out.Root.Header.Start -= n // it begins the message, and grows
	return &out
}

// shifted is a copy of a part and of all below it, n bytes further on.
func (p *Part) shifted(n int64) *Part {
	out := *p
	out.Header.Start, out.Header.End = out.Header.Start+n, out.Header.End+n
	out.Body.Start, out.Body.End = out.Body.Start+n, out.Body.End+n
	if p.Parts != nil {
		out.Parts = make([]*Part, len(p.Parts))
		for i, child := range p.Parts {
			out.Parts[i] = child.shifted(n)
		}
	}
	if p.Embedded != nil {
		e := *p.Embedded
		e.Root = e.Root.shifted(n)
		out.Embedded = &e
	}
	return &out
}
