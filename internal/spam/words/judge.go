package words

import (
	"context"
	"math"
	"slices"

	"tram/internal/kv"
)

const (
	// doubt is how many times a word that was seen once is taken to have been seen before without
	// saying anything.
	doubt = 0.45
	// trust is how many of an account's own lessons what the others have taught is worth, for a word
	// that they know.
	trust = 1.0
	// pad is how many messages of each kind are borrowed from the others where an account has taught
	// little, so that one that has only ever reported junk does not find everything junk.
	pad = 10
	// telling is how far from 0.5 a word must be to be counted.
	telling = 0.2
	// clues is how many words a verdict names.
	clues = 15
)

// Judge says how much a message reads like junk to an owner. On an error there is no opinion, and the
// message should be judged by other things.
func (c *Classifier) Judge(ctx context.Context, owner Owner, text Text) (Verdict, error) {
	none := Verdict{Probability: 0.5}
	key, err := c.hashing(ctx)
	if err != nil || key == nil {
		return none, err
	}
	r := newReader(*key, c.limits.Tokens)
	defer r.free()
	r.read(&text, &c.limits)
	v := none
	err = c.db.View(ctx, scope, func(kr kv.Reader) error {
		var e evidence
		var err error
		if owner != Shared {
			if e.own, e.ownMeta, err = c.current(kr, owner); err != nil {
				return err
			}
			if e.own != nil {
				defer e.own.mu.RUnlock()
			}
		}
		if e.shared, e.sharedMeta, err = c.current(kr, Shared); err != nil {
			return err
		}
		if e.shared != nil {
			defer e.shared.mu.RUnlock()
		}
		v = e.judge(r, int64(c.limits.Least))
		return nil
	})
	if err != nil {
		return none, err
	}
	return v, nil
}

// evidence is what the tables know.
type evidence struct {
	own, shared         *table // nil: nothing
	ownMeta, sharedMeta meta

	useOwn, useShared bool
}

// clue is a token that says something.
type clue struct {
	p     float64
	own   bool
	token *token
}

func (e *evidence) judge(r *reader, least int64) Verdict {
	v := Verdict{Probability: 0.5, Words: len(r.list), Junk: e.ownMeta.junk + e.sharedMeta.junk,
		Good: e.ownMeta.good + e.sharedMeta.good}
	e.useShared = e.shared != nil && min(e.sharedMeta.junk, e.sharedMeta.good) >= least
	enough := e.own != nil && min(e.ownMeta.junk, e.ownMeta.good) >= least
	e.useOwn = enough || e.own != nil && e.useShared
	v.Known = enough || e.useShared
	if !v.Known {
		return v
	}
	found := r.found[:0]
	for i := range r.list {
		t := &r.list[i]
		if p, own, ok := e.word(t.hash); ok && math.Abs(p-0.5) >= telling {
			found = append(found, clue{p, own, t})
		}
	}
	r.found = found
	list := r.tile(r.strongest(found))
	v.Used = len(list)
	v.Probability = combine(list)
	for _, c := range list[:min(len(list), clues)] {
		v.Clues = append(v.Clues, Clue{Word: r.shown(*c.token), Probability: c.p, Own: c.own})
	}
	return v
}

// word says how sure a word is of junk. What the others have taught is where the account's own lessons
// begin, and weighs the less the more there are of these.
func (e *evidence) word(hash uint64) (p float64, own, ok bool) {
	p, weight := 0.5, doubt
	var jOthers, gOthers float64 // of pad messages
	if e.useShared {
		if c := e.shared.count(hash); c.who >= witnesses && c.junk+c.good > 0 {
			jOthers, gOthers = float64(c.junk)/float64(e.sharedMeta.junk), float64(c.good)/float64(e.sharedMeta.good)
			n := float64(c.junk) + float64(c.good)
			p = (doubt*0.5 + n*jOthers/(jOthers+gOthers)) / (doubt + n)
			weight = trust
			ok = true
		}
	}
	if !e.useOwn {
		return p, false, ok
	}
	c := e.own.count(hash)
	n := float64(c.junk) + float64(c.good)
	if n == 0 {
		return p, false, ok
	}
	padding := 0.0
	if e.useShared {
		padding = pad
	}
	j := (float64(c.junk) + padding*jOthers) / (float64(e.ownMeta.junk) + padding)
	g := (float64(c.good) + padding*gOthers) / (float64(e.ownMeta.good) + padding)
	return (weight*p + n*j/(j+g)) / (weight + n), true, true
}

// strongest returns clues with the strongest first; equal ones stay as they stand in the message. What is
// sorted are numbers that say strength and place: clues themselves take four times as long.
func (r *reader) strongest(found []clue) []clue {
	r.order = r.order[:0]
	for i, c := range found {
		// Bits of floats that are not negative are in the order of the floats.
		weakness := ^math.Float32bits(float32(math.Abs(c.p - 0.5)))
		r.order = append(r.order, uint64(weakness)<<32|uint64(i))
	}
	slices.Sort(r.order)
	r.sorted = r.sorted[:0]
	for _, o := range r.order {
		r.sorted = append(r.sorted, found[uint32(o)])
	}
	return r.sorted
}

// tile keeps of clues, the strongest first, those that share no word with a stronger one: a pair and its
// words are one thing said, and counting it three times would make the verdict surer than it may be.
func (r *reader) tile(list []clue) []clue {
	size := (len(r.arena) + 63) / 64
	if cap(r.taken) < size {
		r.taken = make([]uint64, size)
	}
	r.taken = r.taken[:size]
	clear(r.taken)
	kept := list[:0]
next:
	for _, c := range list {
		if !c.token.aside {
			// The first byte of each word of the token stands for all of it: words do not overlap.
			for at := c.token.start; at < c.token.end; at++ {
				if at == c.token.start || r.arena[at-1] == ' ' {
					if r.taken[at/64]>>(at%64)&1 != 0 {
						continue next
					}
				}
			}
			for at := c.token.start; at < c.token.end; at++ {
				if at == c.token.start || r.arena[at-1] == ' ' {
					r.taken[at/64] |= 1 << (at % 64)
				}
			}
		}
		kept = append(kept, c)
	}
	return kept
}

// combine is Fisher's method as Robinson uses it: how unlikely it is that words that say nothing would all
// together speak so much for junk, and how unlikely that they would speak so much against it. Where both
// are unlikely it stays near 0.5.
func combine(list []clue) float64 {
	if len(list) == 0 {
		return 0.5
	}
	var junk, good float64
	for _, c := range list {
		junk -= math.Log(c.p)
		good -= math.Log(1 - c.p)
	}
	return (1 + chance(junk, len(list)) - chance(good, len(list))) / 2
}

// chance is the probability that a chi-squared sum with 2n degrees of freedom is above 2m: a Poisson
// sum, exp(-m) m^i / i! for i below n.
func chance(m float64, n int) float64 {
	log, sum := -m, math.Exp(-m)
	if m < 600 {
		for i, term := 1, sum; i < n; i++ {
			term *= m / float64(i)
			sum += term
		}
		return min(sum, 1)
	}
	step := math.Log(m) // exp(-m) is too small for a number: the terms are made from their logarithms
	for i := 1; i < n; i++ {
		log += step - math.Log(float64(i))
		sum += math.Exp(log)
	}
	return min(sum, 1)
}
