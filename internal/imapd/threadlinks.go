package imapd

// threadLinks is step 1 of REFERENCES (RFC 5256 §3): who is whose parent, by the message identifiers
// that messages name. Node 0 is nobody.
//
// Each link asks whether it would close a loop. Going up to the root for the answer makes a chain of
// replies that comes in a bad order quadratic, hence the link-cut tree (Sleator and Tarjan), which
// answers in some log n steps whatever the messages say.
type threadLinks struct {
	nodes []threadNode
	byID  map[uint64]int32
	maxID int
	of    []int32 // the node of each message
	turns int     // rotations made: what a test holds against the number of messages
}

// threadNode is a message, or one that is referred to only.
type threadNode struct {
	parent  int32 // 0: none
	message int32 // -1: a dummy
	// Of the link-cut tree: the splay tree of a preferred path, deeper nodes to the right; up is the
	// parent in it, or for its root the node above the path.
	left, right, up int32
}

// newThreadLinks makes room for n messages. More than three times as many identifiers, and some, are
// not remembered: references to what is not there are then left out.
func newThreadLinks(n int) *threadLinks {
	return &threadLinks{
		nodes: make([]threadNode, 1, n+n/4+1), byID: make(map[uint64]int32, n),
		maxID: 3*n + 200_000, of: make([]int32, n),
	}
}

func (l *threadLinks) node(message int) int32 {
	l.nodes = append(l.nodes, threadNode{message: int32(message)})
	return int32(len(l.nodes) - 1)
}

// find returns the node with an identifier, a new dummy if there is none, 0 if there are too many.
func (l *threadLinks) find(id uint64) int32 {
	v := l.byID[id]
	if v == 0 && len(l.byID) < l.maxID {
		v = l.node(-1)
		l.byID[id] = v
	}
	return v
}

// add links a message: id is the hash of its identifier, 0 for none, refs are those of its references.
func (l *threadLinks) add(message int, id uint64, refs []uint64) {
	var v int32
	if id != 0 {
		v = l.find(id)
	}
	// Of several messages with one identifier the first has it.
	if v == 0 || l.nodes[v].message >= 0 {
		v = l.node(message)
	}
	l.nodes[v].message = int32(message)
	l.of[message] = v
	last := int32(0)
	for _, ref := range refs {
		r := l.find(ref)
		if r == 0 {
			continue
		}
		// (A) An existing link stays, and no link makes a loop.
		if last != 0 && l.nodes[r].parent == 0 && l.root(last) != r {
			l.link(r, last)
		}
		last = r
	}
	// (B) The last reference is the parent, whatever others said before.
	if l.nodes[v].parent == last {
		return
	}
	if l.nodes[v].parent != 0 {
		l.cut(v)
	}
	if last != 0 && l.root(last) != v {
		l.link(v, last)
	}
}

// link makes parent the parent of v, which is a root.
func (l *threadLinks) link(v, parent int32) {
	l.nodes[v].parent = parent
	l.access(v)
	l.nodes[v].up = parent
}

// cut takes v from its parent.
func (l *threadLinks) cut(v int32) {
	l.access(v)
	n := &l.nodes[v]
	l.nodes[n.left].up = 0
	n.left, n.parent = 0, 0
}

// root returns the root of the tree that v is in.
func (l *threadLinks) root(v int32) int32 {
	l.access(v)
	for l.nodes[v].left != 0 {
		v = l.nodes[v].left
	}
	l.splay(v)
	return v
}

// access makes the path from v up to its root a splay tree with v on top.
func (l *threadLinks) access(v int32) {
	for below, w := int32(0), v; w != 0; below, w = w, l.nodes[w].up {
		l.splay(w)
		l.nodes[w].right = below
	}
	l.splay(v)
}

// onTop reports whether v is the root of its splay tree.
func (l *threadLinks) onTop(v int32) bool {
	u := l.nodes[v].up
	return u == 0 || l.nodes[u].left != v && l.nodes[u].right != v
}

// splay brings v to the top of its splay tree.
func (l *threadLinks) splay(v int32) {
	for !l.onTop(v) {
		u := l.nodes[v].up
		if !l.onTop(u) {
			g := l.nodes[u].up
			if (l.nodes[g].left == u) == (l.nodes[u].left == v) {
				l.rotate(u)
			} else {
				l.rotate(v)
			}
		}
		l.rotate(v)
	}
}

// rotate puts v in the place of its parent in the splay tree.
func (l *threadLinks) rotate(v int32) {
	l.turns++
	n := l.nodes
	u := n[v].up
	top := l.onTop(u)
	g := n[u].up
	var moved int32
	if n[u].left == v {
		moved = n[v].right
		n[u].left, n[v].right = moved, u
	} else {
		moved = n[v].left
		n[u].right, n[v].left = moved, u
	}
	if moved != 0 {
		n[moved].up = u
	}
	n[u].up, n[v].up = v, g
	switch {
	case top: // g, if it is anybody, is above the path
	case n[g].left == u:
		n[g].left = v
	default:
		n[g].right = v
	}
}

// prune is step 3 without its dummies: it returns for each message its parent among the messages, -1
// for none, or the dummy at the top of its tree, which is a number from len(of) on.
func (l *threadLinks) prune() []int32 {
	n := int32(len(l.of))
	// above is for each node that was looked at what its children hang from.
	above := make([]int32, len(l.nodes))
	for i := range above {
		above[i] = -1
	}
	var path []int32
	out := make([]int32, n)
	for m, v := range l.of {
		out[m] = -1
		p := l.nodes[v].parent
		if p == 0 {
			continue
		}
		// Go up over dummies to a message or the top, then note it for all of them.
		path = path[:0]
		for above[p] < 0 {
			d := &l.nodes[p]
			switch {
			case d.message >= 0:
				above[p] = d.message
			case d.parent == 0:
				above[p] = n + p
			default:
				path = append(path, p)
				p = d.parent
			}
		}
		for _, d := range path {
			above[d] = above[p]
		}
		out[m] = above[p]
	}
	return out
}
