// Package treap answers "what did the keys look like a moment ago?": a sorted map of byte strings
// that is never changed, so that every version of it can be kept and read for nothing.
//
// A write returns a new map that shares all but the path to the changed key with the old one. What
// must never happen: a map that somebody holds changes.
package treap

import "bytes"

// Map is a sorted map from keys to values of type V; nil is the empty one. A node's priority is a
// hash of its key, which makes the shape depend on the set of keys only.
type Map[V any] struct {
	Key         []byte
	Value       V
	priority    uint64
	left, right *Map[V]
}

// priority mixes a key into 64 bits (FNV-1a, then a multiplication that spreads it): a shape that
// is the same in every run makes tests repeatable.
func priority(key []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range key {
		h = (h ^ uint64(c)) * 1099511628211
	}
	h ^= h >> 32
	return h * 0x9e3779b97f4a7c15
}

// split divides n into the keys before key and those from key on.
func split[V any](n *Map[V], key []byte) (before, from *Map[V]) {
	if n == nil {
		return nil, nil
	}
	c := *n
	if bytes.Compare(n.Key, key) < 0 {
		c.right, from = split(n.right, key)
		return &c, from
	}
	before, c.left = split(n.left, key)
	return before, &c
}

// join unites two trees; every key of a is before every key of b.
func join[V any](a, b *Map[V]) *Map[V] {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.priority > b.priority:
		c := *a
		c.right = join(a.right, b)
		return &c
	default:
		c := *b
		c.left = join(a, b.left)
		return &c
	}
}

// Get returns the node of key, or nil.
func (n *Map[V]) Get(key []byte) *Map[V] {
	for n != nil {
		switch d := bytes.Compare(key, n.Key); {
		case d == 0:
			return n
		case d < 0:
			n = n.left
		default:
			n = n.right
		}
	}
	return nil
}

// Set returns the map with key set to value; it keeps both.
func (n *Map[V]) Set(key []byte, value V) *Map[V] {
	before, after := cut(n, key)
	one := &Map[V]{Key: key, Value: value, priority: priority(key)}
	return join(join(before, one), after)
}

// Delete returns the map without key.
func (n *Map[V]) Delete(key []byte) *Map[V] {
	if n.Get(key) == nil {
		return n
	}
	return join(cut(n, key))
}

// cut returns what is before and what is after key.
func cut[V any](n *Map[V], key []byte) (before, after *Map[V]) {
	before, from := split(n, key)
	_, after = split(from, append(bytes.Clone(key), 0))
	return before, after
}

// DeleteRange returns the map without the keys from start up to and without end; nil is open.
func (n *Map[V]) DeleteRange(start, end []byte) *Map[V] {
	before, from := split(n, start)
	if end == nil {
		return before
	}
	_, after := split(from, end)
	return join(before, after)
}

// Ascend calls fn for the nodes from start up to and without end until fn returns false, and
// returns false then.
func (n *Map[V]) Ascend(start, end []byte, fn func(*Map[V]) bool) bool {
	if n == nil {
		return true
	}
	atLeast := bytes.Compare(n.Key, start) >= 0
	below := end == nil || bytes.Compare(n.Key, end) < 0
	if atLeast && !n.left.Ascend(start, end, fn) {
		return false
	}
	if atLeast && below && !fn(n) {
		return false
	}
	return !below || n.right.Ascend(start, end, fn)
}

// Descend is Ascend in the opposite order.
func (n *Map[V]) Descend(start, end []byte, fn func(*Map[V]) bool) bool {
	if n == nil {
		return true
	}
	atLeast := bytes.Compare(n.Key, start) >= 0
	below := end == nil || bytes.Compare(n.Key, end) < 0
	if below && !n.right.Descend(start, end, fn) {
		return false
	}
	if atLeast && below && !fn(n) {
		return false
	}
	return !atLeast || n.left.Descend(start, end, fn)
}
