package imapd

// Steps 2 to 6 of REFERENCES, RFC 5256 §3. Messages are looked at in the order of their dates, so
// that what is gathered from them is sorted already.

// threadMerger holds the threads while those of one subject are put together.
type threadMerger struct {
	g      *threadGatherer
	parent []int32 // of each message; -1: at the top
	// into is for each dummy another one whose children its own became, or itself.
	into map[int32]int32
	next int32 // the next new dummy
}

// byReferences is REFERENCES.
func (g *threadGatherer) byReferences() *threads {
	order := g.byDate()
	n := int32(len(g.messages))
	m := &threadMerger{
		g: g, parent: g.links.prune(), into: map[int32]int32{}, next: n + int32(len(g.links.nodes)),
	}
	top, first := m.tops(order)
	m.merge(top, first)
	return m.build(order)
}

// tops is steps 2 to 4: it returns the messages and dummies at the top by date, and each dummy's first
// child. A dummy with one child gives it its place.
func (m *threadMerger) tops(order []int32) (top []int32, first map[int32]int32) {
	n := int32(len(m.parent))
	children := map[int32]int{}
	for _, p := range m.parent {
		if p >= n {
			children[p]++
		}
	}
	first = map[int32]int32{}
	for _, v := range order {
		d := m.parent[v]
		switch {
		case d >= 0 && d < n:
			continue
		case d < 0 || children[d] == 1:
			m.parent[v] = -1
			top = append(top, v)
			continue
		}
		if _, seen := first[d]; !seen {
			first[d] = v
			m.into[d] = d
			top = append(top, d)
		}
	}
	return top, first
}

// isDummy reports whether a node at the top is one that has no message.
func (m *threadMerger) isDummy(v int32) bool { return v >= int32(len(m.parent)) }

// reply reports whether a message's subject says that it is a reply; a dummy's does not.
func (m *threadMerger) reply(v int32) bool { return !m.isDummy(v) && m.g.messages[v].reply }

// merge is step 5.
func (m *threadMerger) merge(top []int32, first map[int32]int32) {
	subject := func(v int32) uint64 {
		if m.isDummy(v) {
			v = first[v]
		}
		return m.g.messages[v].subject
	}
	table := map[uint64]int32{}
	for _, v := range top { // (B)
		s := subject(v)
		if s == 0 {
			continue
		}
		have, ok := table[s]
		if !ok || !m.isDummy(have) && (m.isDummy(v) || m.reply(have) && !m.reply(v)) {
			table[s] = v
		}
	}
	for _, v := range top { // (C)
		s := subject(v)
		if s == 0 || table[s] == v || !m.isDummy(v) && m.parent[v] >= 0 {
			continue
		}
		have := table[s]
		switch {
		case m.isDummy(have) && m.isDummy(v):
			m.into[v] = have
		case m.isDummy(have), m.reply(v) && !m.reply(have):
			m.parent[v] = have
		default:
			d := m.next
			m.next++
			m.into[d] = d
			m.parent[v], m.parent[have] = d, d
			table[s] = d
		}
	}
}

// build is step 6: with the parents known, messages by date make sorted siblings.
func (m *threadMerger) build(order []int32) *threads {
	n := int32(len(m.parent))
	t := newThreads(m.g.messages, len(m.into))
	place := map[int32]int32{} // of dummies in t
	for _, v := range order {
		p := m.parent[v]
		switch {
		case p < 0:
			t.top = append(t.top, v)
			continue
		case p >= n:
			d := m.into[p]
			at, seen := place[d]
			if !seen {
				at = n + int32(len(place))
				place[d] = at
				t.top = append(t.top, at)
			}
			p = at
		}
		t.addChild(p, v)
	}
	return t
}
