package textindex

import (
	"context"
	"fmt"

	"tram/internal/kv"
	"tram/internal/kv/memkv"
)

// Sums calls fn for each segment of an account's index in the order of emails: the emails that it
// covers, and for each that has a word in it a sum of its words and their fields, the same in
// whatever order they stand. Two indexes of the same text give the same sums. sums may be kept. It
// is for consistency checks: memory follows the largest segment's emails.
func Sums(ctx context.Context, r kv.Reader, account uint64,
	fn func(first, last uint64, sums map[uint64]uint64) error) error {
	all, err := headers(r, account)
	if err != nil {
		return err
	}
	prev := uint64(0)
	for _, h := range all {
		if h.first <= prev || h.last < h.first {
			return fmt.Errorf("text index segment %d covers emails %d to %d, after %d: %w", h.id,
				h.first, h.last, prev, ErrDamaged)
		}
		prev = h.last
		sums, err := h.sums(ctx, r, account)
		if err != nil {
			return fmt.Errorf("text index segment %d: %w", h.id, err)
		}
		if err := fn(h.first, h.last, sums); err != nil {
			return err
		}
	}
	return nil
}

func (h header) sums(ctx context.Context, r kv.Reader, account uint64) (map[uint64]uint64, error) {
	sums := map[uint64]uint64{}
	terms := uint64(0)
	var outside uint64
	// A page of terms at a time: reading postings inside the scan would nest two reads.
	src := newSource(r, account, h)
	for {
		more, err := src.next()
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
		sum := wordSum(src.e.word)
		terms++
		err = h.eachPosting(src.blocks, &src.e, func(p posting) {
			if p.email < h.first || p.email > h.last {
				outside = p.email
			}
			sums[p.email] += mix(sum + uint64(p.fields))
		})
		if err != nil {
			return nil, err
		}
		if outside != 0 {
			return nil, fmt.Errorf("email %d is not of this segment: %w", outside, ErrDamaged)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	if terms != h.terms {
		return nil, fmt.Errorf("%d words where %d were expected: %w", terms, h.terms, ErrDamaged)
	}
	return sums, nil
}

// Sums returns what Sums would give for the emails of the batch. The batch is used up by it.
func (b *Batch) Sums(ctx context.Context) (map[uint64]uint64, error) {
	const account = 1
	all := map[uint64]uint64{}
	db := memkv.New()
	err := db.Update(ctx, Scope(account), func(txn kv.Txn) error {
		return b.Commit(txn, account, b.last, nil)
	})
	if err != nil {
		return nil, err
	}
	err = db.View(ctx, Scope(account), func(r kv.Reader) error {
		return Sums(ctx, r, account, func(_, _ uint64, sums map[uint64]uint64) error {
			all = sums
			return nil
		})
	})
	return all, err
}

// wordSum is 64-bit FNV-1a.
func wordSum(word []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range word {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h << 2 // room for the fields
}

// mix spreads every bit over all (the finalizer of MurmurHash3), so that sums of different words
// do not cancel each other.
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
