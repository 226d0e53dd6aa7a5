package dkim

import (
	"crypto/sha256"
	"hash"
	"io"
)

// Bodies hashes one body in every way that the signatures of its message ask for: once for each.
// The body is written in pieces; Close ends it.
type Bodies struct {
	canons [2]*canon // simple, relaxed
	hashes []*BodyHash
	closed bool
}

// BodyHash is the SHA-256 of a body in one canonical form, or of its first octets.
type BodyHash struct {
	relaxed bool
	length  int64 // of l=; -1 for all
	seen    int64 // octets of the whole canonical body
	hash    hash.Hash
	sum     []byte
}

// NewBodies makes one without hashes.
func NewBodies() *Bodies { return &Bodies{} }

// Add asks for a hash of the body, before it is written: of all of it with length -1.
func (b *Bodies) Add(relaxed bool, length int64) *BodyHash {
	for _, h := range b.hashes {
		if h.relaxed == relaxed && h.length == length {
			return h
		}
	}
	h := &BodyHash{relaxed: relaxed, length: length, hash: sha256.New()}
	b.hashes = append(b.hashes, h)
	at := 0
	if relaxed {
		at = 1
	}
	if b.canons[at] == nil {
		b.canons[at] = &canon{relaxed: relaxed}
	}
	b.canons[at].sinks = append(b.canons[at].sinks, io.Writer(h))
	return h
}

// Write implements io.Writer. It never fails.
func (b *Bodies) Write(p []byte) (int, error) {
	if b.closed {
		return len(p), nil
	}
	for _, c := range b.canons {
		if c != nil {
			c.write(p)
		}
	}
	return len(p), nil
}

// Close ends the body. Later calls do nothing.
func (b *Bodies) Close() {
	if b.closed {
		return
	}
	b.closed = true
	for _, c := range b.canons {
		if c != nil {
			c.end()
		}
	}
	for _, h := range b.hashes {
		h.sum = h.hash.Sum(nil)
	}
}

// Sum is the hash, once the Bodies are closed.
func (h *BodyHash) Sum() []byte { return h.sum }

// Short reports that the body was shorter than l= says: there was no such body to sign.
func (h *BodyHash) Short() bool { return h.length > h.seen }

// Write implements io.Writer for the canonical octets.
func (h *BodyHash) Write(p []byte) (int, error) {
	n := int64(len(p))
	take := n
	if h.length >= 0 {
		take = min(n, max(h.length-h.seen, 0))
	}
	h.seen += n
	return h.hash.Write(p[:take])
}
