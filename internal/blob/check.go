package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"tram/internal/kv"
)

// Reference is a row that says who refers to a body, as consistency checks read it. Its byte
// slices are valid until the callback that gets it returns.
type Reference struct {
	Key   []byte
	ID    ID
	Owner []byte
	Live  bool
	Err   error // the row cannot be understood; whether it stands is not known then
}

// EachReference calls fn for every reference row, standing, ended or damaged, ordered by body. It
// is for consistency checks.
func (s *Store) EachReference(ctx context.Context, fn func(Reference) error) error {
	return s.db.View(ctx, "", func(r kv.Reader) error {
		return r.Scan(kv.Prefix([]byte{space, refSpace}), func(key, value []byte) error {
			return fn(parseReference(key, value))
		})
	})
}

func parseReference(key, value []byte) Reference {
	ref := Reference{Key: key}
	if len(key) < 18 {
		ref.Err = fmt.Errorf("read reference key %x: %w", key, kv.ErrCorrupt)
		return ref
	}
	ref.ID, ref.Owner = ID(key[2:18]), key[18:]
	ref.Live, _, ref.Err = parseRefState(value)
	return ref
}

// checkPage is how many bodies are looked at between two scans over chunks.
const checkPage = 1024

// Unreachable calls fn for every body that nobody refers to and that Collect will never find: no
// reference stands, and no candidate row names it. It is for consistency checks; its memory follows
// the number of bodies that nobody refers to, its time the number of chunks.
func (s *Store) Unreachable(ctx context.Context, fn func(ID) error) error {
	return s.db.View(ctx, "", func(r kv.Reader) error {
		lone := map[ID]struct{}{}
		if err := loneReferences(r, lone); err != nil {
			return err
		}
		if err := loneChunks(ctx, r, lone); err != nil {
			return err
		}
		err := r.Scan(kv.Prefix([]byte{space, candidateSpace}), func(key, _ []byte) error {
			if _, id, err := parseCandidate(key); err == nil {
				delete(lone, id)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("read removal candidates: %w", err)
		}
		ids := make([]ID, 0, len(lone))
		for id := range lone {
			ids = append(ids, id)
		}
		slices.SortFunc(ids, func(a, b ID) int { return bytes.Compare(a[:], b[:]) })
		for _, id := range ids {
			if err := fn(id); err != nil {
				return err
			}
		}
		return nil
	})
}

// loneReferences adds the bodies of which all references have ended.
func loneReferences(r kv.Reader, lone map[ID]struct{}) error {
	var at ID
	used, any := false, false
	end := func() {
		if any && !used {
			lone[at] = struct{}{}
		}
	}
	err := r.Scan(kv.Prefix([]byte{space, refSpace}), func(key, value []byte) error {
		ref := parseReference(key, value)
		if !any || ref.ID != at {
			end()
			at, used, any = ref.ID, false, true
		}
		used = used || ref.Live || ref.Err != nil
		return nil
	})
	end()
	if err != nil {
		return fmt.Errorf("read references: %w", err)
	}
	return nil
}

// loneChunks adds the bodies that have chunks and never had a reference.
func loneChunks(ctx context.Context, r kv.Reader, lone map[ID]struct{}) error {
	rng := kv.Prefix([]byte{space, chunkSpace})
	rng.KeysOnly = true
	for rng.Start != nil {
		if err := ctx.Err(); err != nil {
			return err
		}
		var page []ID
		err := r.Scan(rng, func(key, _ []byte) error {
			if len(key) != chunkKeySize {
				return nil
			}
			id := ID(key[2:18])
			if n := len(page); n > 0 && page[n-1] == id {
				return nil
			}
			if len(page) == checkPage {
				return kv.Stop
			}
			page = append(page, id)
			return nil
		})
		if err != nil {
			return fmt.Errorf("read chunks: %w", err)
		}
		for _, id := range page {
			found := false
			refs := kv.Prefix(refKey(id, nil))
			refs.KeysOnly, refs.Limit = true, 1
			err := r.Scan(refs, func(_, _ []byte) error {
				found = true
				return nil
			})
			if err != nil {
				return fmt.Errorf("read references: %w", err)
			}
			if !found {
				lone[id] = struct{}{}
			}
		}
		if rng.Start = nil; len(page) == checkPage {
			rng.Start = kv.PrefixEnd(chunkPrefix(page[checkPage-1]))
		}
	}
	return nil
}

// Offer leaves a candidate row for a body, so that Collect looks at it when the grace period is
// over. It is for repairs.
func (s *Store) Offer(txn kv.Txn, id ID) error {
	return txn.Set(candidateKey(s.clock.Now(), id), nil)
}

// Restore makes owner's reference stand whatever its row says, also when the body is gone: whoever
// asks for the body is then told that it is damaged. It is for repairs; ordinary use is Link.
func (s *Store) Restore(txn kv.Txn, id ID, owner []byte) error {
	return txn.Set(refKey(id, owner), []byte{refLive})
}

// Forget ends owner's reference to a body of which no Ref is known any more. It is for repairs;
// ordinary use is Unlink.
func (s *Store) Forget(txn kv.Txn, id ID, owner []byte) error {
	return s.Unlink(txn, Ref{ID: id}, owner)
}

// Rebuild reads a body whose Ref is lost, writes its bytes to w, and returns the Ref that they
// make. What w has got is worth nothing after an error. A chunk that is damaged, or missing between
// others, is ErrDamaged; that the last ones are missing cannot be known here: the caller compares
// the size, if he has it.
func (s *Store) Rebuild(r kv.Reader, id ID, w io.Writer) (Ref, error) {
	ref := Ref{ID: id}
	hash := s.takeHash()
	defer s.hashes.Put(hash)
	for index := 0; ; index++ {
		body := &Reader{s: s, in: r, ref: Ref{ID: id, Size: ref.Size}}
		plain, err := body.loadAny(index, ref.Size)
		if errors.Is(err, kv.ErrNotFound) {
			if more, err := s.chunksFrom(r, id, index); err != nil || more {
				return ref, errors.Join(err, body.damaged(index, ref.Size, errMissing))
			}
			break
		}
		if err == nil {
			hash.Write(plain)
			ref.Size += int64(len(plain))
			_, err = w.Write(plain)
		}
		last := len(plain) < chunkSize(index)
		body.Close()
		if err != nil {
			return ref, err
		}
		if last {
			more, err := s.chunksFrom(r, id, index+1)
			if err != nil || more {
				return ref, errors.Join(err, body.damaged(index, ref.Size, errShort))
			}
			break
		}
	}
	hash.Sum(ref.SHA256[:0])
	return ref, nil
}

var (
	errMissing = errors.New("chunk is missing")
	errShort   = errors.New("chunk is too short")
)

// loadAny returns the plain bytes of a chunk of any length.
func (r *Reader) loadAny(index int, start int64) ([]byte, error) {
	r.buf = r.s.takeBuffer(chunkSize(index))
	err := r.fetch(index, func(record []byte) error {
		size := chunkSize(index)
		if intact(record, r.ref.ID, index) {
			size = plainSize(record, size)
		}
		return r.open(record, index, start, size)
	})
	if err != nil {
		return nil, err
	}
	return *r.buf, nil
}

// chunksFrom reports whether id has a chunk with this index or a later one.
func (s *Store) chunksFrom(r kv.Reader, id ID, index int) (found bool, err error) {
	rng := kv.Prefix(chunkPrefix(id))
	rng.Start = chunkKey(id, index)
	rng.KeysOnly, rng.Limit = true, 1
	err = r.Scan(rng, func(_, _ []byte) error {
		found = true
		return nil
	})
	return found, err
}

// OpenAnew is OpenIn for checks: what this process found out when it read the body before does not
// count, and every byte comes from the database.
func (s *Store) OpenAnew(r kv.Reader, ref Ref) *Reader {
	body := s.OpenIn(r, ref)
	body.anew = true
	return body
}

// VerifyIn is Verify within a transaction.
func (s *Store) VerifyIn(r kv.Reader, ref Ref) error {
	body := s.OpenAnew(r, ref)
	defer body.Close()
	_, err := body.WriteTo(io.Discard)
	return err
}
