package imapd

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"tram/internal/kv"
)

// threadInput is a message as the threading sees it.
type threadInput struct {
	id      uint64 // 0: none
	refs    []uint64
	sent    int64
	subject uint64
	reply   bool
}

// gathered puts messages into a gatherer.
func gathered(in []threadInput) *threadGatherer {
	g := &threadGatherer{messages: make([]threadMessage, len(in)), links: newThreadLinks(len(in))}
	for i, m := range in {
		g.messages[i] = threadMessage{
			index: int32(i), sent: m.sent, subject: m.subject, reply: m.reply,
		}
		g.links.add(i, m.id, m.refs)
	}
	return g
}

// shown writes threads with numbers from 1.
func shown(t *threads) string {
	w := threadWriter{t: t, number: func(i int) uint32 { return uint32(i + 1) }}
	for _, v := range t.top {
		w.thread(v)
	}
	return string(w.b)
}

// naive is REFERENCES as RFC 5256 §3 tells it, word by word, with pointers and recursion.
type naive struct {
	in    []threadInput
	nodes map[uint64]*naiveNode
	all   []*naiveNode
	root  *naiveNode
}

type naiveNode struct {
	message int // -1: a dummy
	parent  *naiveNode
	kids    []*naiveNode
}

func (n *naive) node(message int) *naiveNode {
	v := &naiveNode{message: message}
	n.all = append(n.all, v)
	return v
}

func (n *naive) byID(id uint64) *naiveNode {
	if n.nodes[id] == nil {
		n.nodes[id] = n.node(-1)
	}
	return n.nodes[id]
}

func (v *naiveNode) below(a *naiveNode) bool {
	for ; v != nil; v = v.parent {
		if v == a {
			return true
		}
	}
	return false
}

func (v *naiveNode) leave() {
	if v.parent != nil {
		v.parent.kids = slices.DeleteFunc(v.parent.kids, func(k *naiveNode) bool { return k == v })
		v.parent = nil
	}
}

func (v *naiveNode) join(p *naiveNode) {
	v.leave()
	v.parent = p
	p.kids = append(p.kids, v)
}

func (n *naive) link() {
	for i, m := range n.in {
		var v *naiveNode
		if m.id == 0 || n.nodes[m.id] != nil && n.nodes[m.id].message >= 0 {
			v = n.node(i)
		} else {
			v = n.byID(m.id)
			v.message = i
		}
		var last *naiveNode
		for _, ref := range m.refs {
			r := n.byID(ref)
			if last != nil && r.parent == nil && !last.below(r) {
				r.join(last)
			}
			last = r
		}
		v.leave()
		if last != nil && !last.below(v) {
			v.join(last)
		}
	}
}

func (n *naive) prune(v *naiveNode) {
	for _, k := range slices.Clone(v.kids) {
		n.prune(k)
		if k.message >= 0 || v == n.root && len(k.kids) > 1 {
			continue
		}
		for _, promoted := range slices.Clone(k.kids) {
			promoted.join(v)
		}
		k.leave()
	}
}

func (n *naive) before(a, b *naiveNode) int {
	if a.message < 0 {
		a = a.kids[0]
	}
	if b.message < 0 {
		b = b.kids[0]
	}
	if d := n.in[a.message].sent - n.in[b.message].sent; d != 0 {
		return int(d)
	}
	return a.message - b.message
}

func (n *naive) merge() {
	subject := func(v *naiveNode) uint64 {
		if v.message < 0 {
			v = v.kids[0]
		}
		return n.in[v.message].subject
	}
	reply := func(v *naiveNode) bool { return v.message >= 0 && n.in[v.message].reply }
	table := map[uint64]*naiveNode{}
	for _, v := range n.root.kids {
		s := subject(v)
		have := table[s]
		switch {
		case s == 0:
		case have == nil:
			table[s] = v
		case have.message >= 0 && (v.message < 0 || reply(have) && !reply(v)):
			table[s] = v
		}
	}
	for _, v := range slices.Clone(n.root.kids) {
		if v.parent != n.root {
			continue
		}
		s := subject(v)
		have := table[s]
		switch {
		case s == 0 || have == v:
		case have.message < 0 && v.message < 0:
			for _, k := range slices.Clone(v.kids) {
				k.join(have)
			}
			v.leave()
		case have.message < 0, reply(v) && !reply(have):
			v.join(have)
		default:
			d := n.node(-1)
			v.join(d)
			have.join(d)
			slices.SortFunc(d.kids, n.before)
			d.join(n.root)
			table[s] = d
		}
	}
}

func (n *naive) sort(v *naiveNode) {
	for _, k := range v.kids {
		n.sort(k)
	}
	slices.SortFunc(v.kids, n.before)
}

func (n *naive) show(b *strings.Builder, v *naiveNode) {
	if v.message >= 0 {
		fmt.Fprint(b, v.message+1)
	}
	if len(v.kids) > 0 && v.message >= 0 {
		b.WriteByte(' ')
	}
	if len(v.kids) == 1 {
		n.show(b, v.kids[0])
		return
	}
	for _, k := range v.kids {
		b.WriteByte('(')
		n.show(b, k)
		b.WriteByte(')')
	}
}

func naiveReferences(in []threadInput) string {
	n := &naive{in: in, nodes: map[uint64]*naiveNode{}}
	n.link()
	n.root = &naiveNode{message: -1}
	for _, v := range n.all {
		if v.parent == nil {
			v.join(n.root)
		}
	}
	n.prune(n.root)
	for _, v := range n.root.kids {
		if v.message < 0 {
			slices.SortFunc(v.kids, n.before)
		}
	}
	slices.SortFunc(n.root.kids, n.before)
	n.merge()
	n.sort(n.root)
	var b strings.Builder
	for _, v := range n.root.kids {
		b.WriteByte('(')
		n.show(&b, v)
		b.WriteByte(')')
	}
	return b.String()
}

// TestReferencesModel compares THREAD=REFERENCES (RFC 5256 §3) with the RFC's own words on random
// mailboxes, in which identifiers are missing, double, and refer to each other in circles.
func TestReferencesModel(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 1))
	for round := range 3000 {
		in := make([]threadInput, rng.IntN(14))
		ids := 1 + rng.IntN(16)
		for i := range in {
			m := &in[i]
			m.id = uint64(rng.IntN(ids + 1))
			for range rng.IntN(4) {
				m.refs = append(m.refs, uint64(1+rng.IntN(ids)))
			}
			m.sent = int64(rng.IntN(8))
			m.subject = uint64(rng.IntN(6))
			m.reply = rng.IntN(2) == 0
		}
		want, got := naiveReferences(in), shown(gathered(in).byReferences())
		if got != want {
			t.Fatalf("seed %d, round %d: %+v\n got %s\nwant %s", seed, round, in, got, want)
		}
	}
}

// TestOrderedSubjectModel does the same with ORDEREDSUBJECT.
func TestOrderedSubjectModel(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 2))
	for range 500 {
		in := make([]threadInput, rng.IntN(20))
		order := make([]int, len(in))
		for i := range in {
			in[i].sent, in[i].subject, order[i] = int64(rng.IntN(9)), uint64(rng.IntN(5)), i
		}
		byDate := func(a, b int) int {
			if d := in[a].sent - in[b].sent; d != 0 {
				return int(d)
			}
			return a - b
		}
		// Sorted by subject and date, split, then sorted by the first of each.
		slices.SortFunc(order, func(a, b int) int {
			if d := int(in[a].subject) - int(in[b].subject); d != 0 {
				return d
			}
			return byDate(a, b)
		})
		var split [][]int
		for _, m := range order {
			if n := len(split); n > 0 && in[split[n-1][0]].subject == in[m].subject {
				split[n-1] = append(split[n-1], m)
			} else {
				split = append(split, []int{m})
			}
		}
		slices.SortFunc(split, func(a, b []int) int { return byDate(a[0], b[0]) })
		want := ""
		for _, s := range split {
			want += fmt.Sprintf("(%d", s[0]+1)
			switch {
			case len(s) == 2:
				want += fmt.Sprintf(" %d", s[1]+1)
			case len(s) > 2:
				want += " "
				for _, m := range s[1:] {
					want += fmt.Sprintf("(%d)", m+1)
				}
			}
			want += ")"
		}
		if got := shown(gathered(in).bySubject()); got != want {
			t.Fatalf("seed %d: %+v\n got %s\nwant %s", seed, in, got, want)
		}
	}
}

// TestThreadChains makes what an attacker would: chains of replies as long as the mailbox, in orders
// that are bad for whoever walks up to the root, and a tree that nests without end. None may take more
// than some log n steps for a message, and none may nest deeper than allowed.
func TestThreadChains(t *testing.T) {
	t.Parallel()
	const n = 50_000
	up, down, comb := make([]threadInput, n), make([]threadInput, n), make([]threadInput, n)
	for i := range n {
		up[i] = threadInput{id: uint64(i + 1), sent: int64(i), refs: []uint64{uint64(i)}}
		down[i] = threadInput{id: uint64(n - i), sent: int64(i), refs: []uint64{uint64(n - i - 1)}}
		comb[i] = threadInput{id: uint64(i + 1), sent: int64(i), refs: []uint64{uint64(max(i/2*2-1, 0))}}
	}
	up[0].refs, down[n-1].refs, comb[0].refs, comb[1].refs = nil, nil, nil, []uint64{1}
	for name, in := range map[string][]threadInput{"up": up, "down": down, "comb": comb} {
		in[0].reply = true
		g := gathered(in)
		if limit := 20 * n; g.links.turns > limit {
			t.Errorf("%s: %d rotations, more than %d", name, g.links.turns, limit)
		}
		got := shown(g.byReferences())
		depth, deepest, numbers := 0, 0, strings.Fields(strings.NewReplacer("(", " ", ")", " ").Replace(got))
		for _, c := range got {
			switch c {
			case '(':
				depth++
			case ')':
				depth--
			}
			deepest = max(deepest, depth)
		}
		slices.Sort(numbers)
		if depth != 0 || deepest > maxThreadNesting || len(slices.Compact(numbers)) != n {
			t.Errorf("%s: ends at depth %d, at most %d, %d messages", name, depth, deepest, len(numbers))
		}
	}
}

// TestNormalID has the example of RFC 5256 §3.
func TestNormalID(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`<"01KF8JCEOCBS0045PS"@xxx.yyy.com>`: "<01KF8JCEOCBS0045PS@xxx.yyy.com>",
		`<01KF8JCEOCBS0045PS@xxx.yyy.com>`:   "<01KF8JCEOCBS0045PS@xxx.yyy.com>",
		`<"a\b\"c"@d>`:                       `<ab"c@d>`,
		`<"\`:                                `<\`, // a backslash at the end quotes nothing
	} {
		if got := normalID(in); got != want {
			t.Errorf("%s gives %s, want %s", in, got, want)
		}
	}
}

// TestThreadDamaged: a message whose row cannot be read is sorted and threaded all the same, by what is
// in the list.
func TestThreadDamaged(t *testing.T) {
	t.Parallel()
	h := build(t, options{errors: true})
	h.fill("INBOX", 1, 3)
	err := h.db.Update(context.Background(), "test", func(txn kv.Txn) error {
		var key, value []byte
		err := txn.Scan(kv.Range{}, func(k, v []byte) error {
			if bytes.Contains(v, []byte(`"Message 2"`)) {
				key, value = bytes.Clone(k), bytes.Clone(v)
			}
			return nil
		})
		if err != nil {
			return err
		}
		value[len(value)/2] ^= 1
		return txn.Set(key, value)
	})
	if err != nil {
		t.Fatal(err)
	}
	w := h.enter()
	for command, want := range map[string]string{
		"SORT (REVERSE ARRIVAL) UTF-8 ALL": "* SORT 3 2 1",
		"SORT (SUBJECT) UTF-8 ALL":         "* SORT 2 1 3",
		"THREAD ORDEREDSUBJECT UTF-8 ALL":  "* THREAD (1)(3)(2)",
		"THREAD REFERENCES UTF-8 ALL":      "* THREAD (1)(3)(2)",
	} {
		if got := w.untagged(t, command); got != want {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
}
