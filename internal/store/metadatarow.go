package store

import "tram/internal/kv"

// An annotation's row, under its mailbox's identifier, 0 for the account itself, or under a domain,
// and its name in lower case:
//
//	modseq name(string, as it was set) value(bytes)
//
// The head row, of all annotations of an account or of a domain:
//
//	modseq entries bytes
//
// modseq is that of the last change; bytes has for each entry the length of its name and value, and
// annotationCost.
type metadataHead struct {
	ModSeq  ModSeq
	Entries uint64
	Bytes   int64
}

// annotationCost is what an entry counts beside its name and its value, so that many small ones are
// bounded too.
const annotationCost = 64

// maxAnnotationName is the longest name of an annotation.
const maxAnnotationName = 512

// count adds an entry (by 1) or takes it off (by -1).
func (h *metadataHead) count(e Annotation, by int64) {
	h.Entries = uint64(max(0, int64(h.Entries)+by))
	h.Bytes = max(0, h.Bytes+by*int64(len(e.Name)+len(e.Value)+annotationCost))
}

func (h *metadataHead) append(dst []byte) []byte {
	dst = appendUint(append(dst, version1), h.ModSeq)
	return appendUint(appendUint(dst, h.Entries), uint64(h.Bytes))
}

func decodeMetadataHead(key, value []byte) (metadataHead, error) {
	d, err := unseal(key, value)
	if err != nil {
		return metadataHead{}, err
	}
	h := metadataHead{ModSeq: ModSeq(d.uint()), Entries: d.uint(), Bytes: int64(d.uint())}
	if h.Bytes < 0 {
		d.fail()
	}
	return h, d.done(key)
}

func (e *Annotation) append(dst []byte) []byte {
	dst = appendUint(append(dst, version1), e.ModSeq)
	return appendBytes(appendBytes(dst, e.Name), e.Value)
}

// decodeAnnotation reads a row whose key ends with name.
func decodeAnnotation(key []byte, name string, value []byte) (Annotation, error) {
	d, err := unseal(key, value)
	if err != nil {
		return Annotation{}, err
	}
	e := Annotation{ModSeq: ModSeq(d.uint()), Name: d.string(), Value: d.bytes()}
	if e.Value == nil {
		e.Value = []byte{}
	}
	if err := d.done(key); err != nil {
		return Annotation{}, err
	}
	if !validAnnotation(name) || lowerASCII(e.Name) != name {
		return Annotation{}, damaged(key, "is of another name")
	}
	return e, nil
}

// validAnnotation reports whether a name in lower case may be stored: a path of printable ASCII.
// RFC 5464 §3.2 has more rules, which the doors keep.
func validAnnotation(name string) bool {
	if len(name) < 2 || len(name) > maxAnnotationName || name[0] != '/' {
		return false
	}
	for i := 0; i < len(name); i++ {
		if c := name[i]; c < 0x20 || c >= 0x7f || 'A' <= c && c <= 'Z' {
			return false
		}
	}
	return true
}

// lowerASCII is strings.ToLower for ASCII alone: what is none stays what it is, and is refused.
func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// metadataKey takes the key of a row of an account apart; name is "" for the head row.
func metadataKey(key []byte) (id MailboxID, name string, ok bool) {
	if len(key) == 10 {
		return 0, "", true
	}
	n, rest, err := kv.TakeUint32(key[min(10, len(key)):])
	return MailboxID(n), string(rest), err == nil && len(rest) > 0
}
