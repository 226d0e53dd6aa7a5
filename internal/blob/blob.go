// Package blob answers "where are a message's bytes, and may they go?": bodies of any size, stored
// once however many mailboxes and queue items refer to them.
//
// Promises: a body streams in with at most one chunk of it in memory; its last bytes and its
// reference become visible in the same transaction as the mail it belongs to; what is read is what
// was written, or ErrDamaged; a body is removed when nobody has referred to it for the grace
// period, and no crash leaves one behind for ever. What must never happen: a body that somebody
// refers to is removed, or wrong bytes are handed out as right ones.
//
// A body goes through these hands:
//
//	Create → Writer → Finish → Pending → Link in the transaction that makes the mail visible
//	         Ref (kept by whoever refers to the body) → Open → Reader
//	         Link and Unlink in later transactions → Collect
//
// How bodies, references and candidates for removal are laid out is told in layout.go, why removal
// is safe in collect.go.
package blob

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
	"time"

	"tram/internal/clock"
	"tram/internal/kv"
)

// ErrDamaged marks a body that is not what was written: a chunk is missing or its checksum, or that
// of the whole, is wrong. The error that wraps it names blob, chunk and offset.
var ErrDamaged = errors.New("stored message is damaged")

// ErrGone marks a body that was collected before anybody linked it: the upload or the copy took
// longer than the grace period.
var ErrGone = errors.New("message body was removed as unreferenced")

// ErrBusy says that as many long bodies are being written as there is memory for.
var ErrBusy = errors.New("too many long messages at once")

// Options are what a Store is made with. The zero value is for production.
type Options struct {
	Clock clock.Clock // nil: clock.System
	Rand  io.Reader   // source of the random part of an ID; nil: crypto/rand
	// Grace is how long an unreferenced body is kept; 0 is 24 h. It must be longer than the longest
	// upload, and than anybody holds a Ref without referring to it.
	Grace time.Duration
	// Long bounds how many bodies of more than one chunk are written at the same time, for each
	// holds some MiB: one more waits for up to 20 s, and is ErrBusy then. 0 is no bound.
	Long int
}

// Store keeps bodies in a kv.Database. It is safe for concurrent use.
type Store struct {
	db    kv.Database
	clock clock.Clock
	grace time.Duration
	codec *codec
	known *known
	long  chan struct{} // a token for each long body that is written; nil: no bound

	randMu sync.Mutex
	rand   io.Reader

	small, medium, large sync.Pool // *[]byte of smallBuffer, mediumBuffer and largeBuffer bytes
	hashes               sync.Pool // hash.Hash, SHA-256
}

// New returns the Store of what is in db. Stores on the same database see the same bodies.
func New(db kv.Database, o Options) *Store {
	s := &Store{db: db, clock: o.Clock, rand: o.Rand, grace: o.Grace, codec: newCodec(),
		known: newKnown()}
	if o.Long > 0 {
		s.long = make(chan struct{}, o.Long)
	}
	if s.clock == nil {
		s.clock = clock.System
	}
	if s.rand == nil {
		s.rand = rand.Reader
	}
	if s.grace == 0 {
		s.grace = 24 * time.Hour
	}
	s.small.New = newBuffer(smallBuffer)
	s.medium.New = newBuffer(mediumBuffer)
	s.large.New = newBuffer(largeBuffer)
	s.hashes.New = func() any { return sha256.New() }
	return s
}

// newID returns the time in milliseconds followed by random bytes.
func (s *Store) newID() (ID, error) {
	var id ID
	ms := uint64(s.clock.Now().UnixMilli())
	for i := range 6 {
		id[i] = byte(ms >> (8 * (5 - i)))
	}
	s.randMu.Lock()
	defer s.randMu.Unlock()
	if _, err := io.ReadFull(s.rand, id[6:]); err != nil {
		return ID{}, fmt.Errorf("make blob id: %w", err)
	}
	return id, nil
}

func (s *Store) takeHash() hash.Hash {
	h := s.hashes.Get().(hash.Hash)
	h.Reset()
	return h
}

// Verify reads the whole body from the database, whatever was found of it before, and checks its
// chunks and its SHA-256. Damage is ErrDamaged.
func (s *Store) Verify(ctx context.Context, ref Ref) error {
	r := s.Open(ctx, ref)
	r.anew = true
	defer r.Close()
	_, err := r.WriteTo(io.Discard)
	return err
}
