package blob

import (
	"context"
	"fmt"
	"time"

	"tram/internal/kv"
)

// Why removal is safe. A reference that ends is not deleted: its record keeps the time of its end.
// The references of one body belong to many scopes and come and go at the same time, so that nobody
// who ends one can tell whether it was the last; each Unlink therefore leaves a candidate record,
// and so does an upload with its first staged chunk. Collect looks at candidates that are older
// than the grace period, and removes a body when no reference stands and the last one ended before
// the grace period. A new reference can only be made by somebody who has the Ref: from a Pending,
// or from a reference that stood when he read it. As long as that was, together with the time that
// an Unlink takes to its commit, less than a grace period ago, no reference can be on its way while
// Collect decides; Link looks for the body all the same.

// Stats say what one run of Collect did.
type Stats struct {
	Candidates int64 // looked at
	Removed    int64 // bodies
	Chunks     int64 // chunks of theirs
}

// collectBatch is how many candidates are decided in one transaction.
const collectBatch = 100

// Collect removes bodies that nobody has referred to for the grace period. It may run at any time,
// on any number of machines, and be broken off at any point. Its cost follows the number of bodies
// unlinked or uploaded a grace period ago, not the number stored.
func (s *Store) Collect(ctx context.Context) (Stats, error) {
	var stats Stats
	cutoff := s.clock.Now().Add(-s.grace)
	for {
		due, err := s.due(ctx, cutoff)
		if err != nil || len(due) == 0 {
			return stats, err
		}
		var batch Stats
		err = s.db.Update(kv.Freeing(ctx), "blob/collect", func(txn kv.Txn) error {
			batch = Stats{} // the function may run again
			for _, key := range due {
				if err := s.decide(txn, key, cutoff, &batch); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return stats, fmt.Errorf("collect blobs: %w", err)
		}
		stats.Candidates += batch.Candidates
		stats.Removed += batch.Removed
		stats.Chunks += batch.Chunks
	}
}

// due returns the keys of the oldest candidates from before cutoff.
func (s *Store) due(ctx context.Context, cutoff time.Time) ([][]byte, error) {
	var keys [][]byte
	r := kv.Range{
		Start: []byte{space, candidateSpace}, End: candidateKey(cutoff, ID{}),
		Limit: collectBatch, KeysOnly: true,
	}
	err := s.db.View(ctx, "", func(kr kv.Reader) error {
		keys = keys[:0]
		return kr.Scan(r, func(key, _ []byte) error {
			keys = append(keys, append([]byte(nil), key...))
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read removal candidates: %w", err)
	}
	return keys, nil
}

// decide removes the candidate's body if nothing has referred to it since cutoff, and the candidate
// in any case: whoever ended a reference later has left one of his own.
func (s *Store) decide(txn kv.Txn, key []byte, cutoff time.Time, stats *Stats) error {
	_, id, err := parseCandidate(key)
	if err != nil {
		return txn.Delete(key) // it names no body
	}
	stats.Candidates++
	used, err := usedSince(txn, id, cutoff)
	if err != nil {
		return err
	}
	if !used {
		s.known.bodies.Delete(id)
		n, err := removeBody(txn, id)
		if err != nil {
			return err
		}
		if n > 0 {
			stats.Removed++
			stats.Chunks += int64(n)
		}
	}
	return txn.Delete(key)
}

// usedSince reports whether a reference to id stands or ended at cutoff or later.
func usedSince(r kv.Reader, id ID, cutoff time.Time) (bool, error) {
	used := false
	err := r.Scan(kv.Prefix(refKey(id, nil)), func(_, value []byte) error {
		live, ended, err := parseRefState(value)
		// A row that cannot be read may be a reference that stands. It must cost no body, and it
		// must not keep the other candidates from being decided.
		if live || err != nil || !ended.Before(cutoff) {
			used = true
			return kv.Stop
		}
		return nil
	})
	return used, err
}

// removeBody deletes the chunks and the ended references of id and returns how many chunks it were.
func removeBody(txn kv.Txn, id ID) (int, error) {
	chunks, err := removeAll(txn, chunkPrefix(id))
	if err == nil {
		_, err = removeAll(txn, refKey(id, nil))
	}
	return chunks, err
}

// removeAll deletes the keys with a prefix one by one: they are few, and a range deletion would
// stay in the reader's way until it has been compacted away.
func removeAll(txn kv.Txn, prefix []byte) (int, error) {
	n := 0
	r := kv.Prefix(prefix)
	r.KeysOnly = true
	err := txn.Scan(r, func(key, _ []byte) error {
		n++
		return txn.Delete(key)
	})
	return n, err
}
