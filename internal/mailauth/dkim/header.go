package dkim

import (
	"tram/internal/message"
)

// Header is the header of a message, laid out so that any number of signatures find their fields in
// one step each.
type Header struct {
	Fields []message.Field // in their order; what is no field is left out

	byName map[string]*sameName
	round  int
}

// sameName are the fields of one name.
type sameName struct {
	at    []int // from the top
	left  int   // of at, that the signature of this round has not taken yet
	round int
}

// NewHeader reads a header block without changing or copying it.
func NewHeader(block []byte) *Header {
	h := &Header{Fields: make([]message.Field, 0, 32)}
	for f := range message.Header(block) {
		if f.Name != nil {
			h.Fields = append(h.Fields, f)
		}
	}
	return h
}

// index is made when there is a signature: most of the time of a message without one.
func (h *Header) index() {
	if h.byName != nil {
		return
	}
	h.byName = make(map[string]*sameName, len(h.Fields))
	var buf [64]byte
	for i, f := range h.Fields {
		name := appendLower(buf[:0], f.Name)
		same := h.byName[string(name)]
		if same == nil {
			same = &sameName{}
			h.byName[string(name)] = same
		}
		same.at = append(same.at, i)
	}
}

// Count returns how many fields of a name there are; name is in lower case.
func (h *Header) Count(name string) int {
	h.index()
	if same := h.byName[name]; same != nil {
		return len(same.at)
	}
	return 0
}

// begin starts the selection for another signature.
func (h *Header) begin() {
	h.index()
	h.round++
}

// take returns the field that a name in h= stands for: the lowest one not taken yet, or none, when the
// name is there more often than the field is (RFC 6376 §5.4.2).
func (h *Header) take(name []byte) (message.Field, bool) {
	var buf [64]byte
	same := h.byName[string(appendLower(buf[:0], name))]
	if same == nil {
		return message.Field{}, false
	}
	if same.round != h.round {
		same.round, same.left = h.round, len(same.at)
	}
	if same.left == 0 {
		return message.Field{}, false
	}
	same.left--
	return h.Fields[same.at[same.left]], true
}

func appendLower(dst, b []byte) []byte {
	for _, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}
