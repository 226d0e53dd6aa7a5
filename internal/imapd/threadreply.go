package imapd

import "tram/internal/imap"

// maxThreadNesting is how deep the parentheses of a THREAD reply go: RFC 5256 §4 sets no bound, and
// clients read them with a stack. Below it all descendants of a message are shown as its children.
const maxThreadNesting = 100

// threads is a forest: messages by their place among those found, then dummies.
type threads struct {
	messages []threadMessage
	top      []int32
	// Of each node: its first and last child and its next sibling, -1 for none.
	first, last, next []int32
}

// newThreads makes room for the messages and some dummies.
func newThreads(messages []threadMessage, dummies int) *threads {
	n := len(messages) + dummies
	t := &threads{messages: messages}
	all := make([]int32, 3*n)
	for i := range all {
		all[i] = -1
	}
	t.first, t.last, t.next = all[:n], all[n:2*n], all[2*n:]
	return t
}

// addChild puts v after the children that parent has.
func (t *threads) addChild(parent, v int32) {
	if t.first[parent] < 0 {
		t.first[parent] = v
	} else {
		t.next[t.last[parent]] = v
	}
	t.last[parent] = v
}

// append writes the thread lists of a THREAD reply, RFC 5256 §4.
func (t *threads) append(b []byte, v *view, uid bool) []byte {
	if len(t.top) > 0 {
		b = append(b, ' ')
	}
	w := threadWriter{t: t, b: b, number: func(i int) uint32 { return v.number(i, uid) }}
	for _, top := range t.top {
		w.thread(top)
	}
	return w.b
}

// threadWriter writes threads. For each open parenthesis that is not the last, level has the child
// that comes next, -1 when there is none.
type threadWriter struct {
	t      *threads
	b      []byte
	number func(int) uint32
	level  []int32
}

// thread writes one thread.
func (w *threadWriter) thread(top int32) {
	w.open(top)
	for len(w.level) > 0 {
		at := &w.level[len(w.level)-1]
		v := *at
		if v < 0 {
			w.level = w.level[:len(w.level)-1]
			w.b = append(w.b, ')')
			continue
		}
		*at = w.t.next[v]
		w.open(v)
	}
}

// open writes a parenthesis and the messages from v down to the one that has not one child. If it has
// several, they are the next level.
func (w *threadWriter) open(v int32) {
	t := w.t
	w.b = append(w.b, '(')
	if int(v) < len(t.messages) {
		w.message(v)
		for t.first[v] >= 0 && t.first[v] == t.last[v] {
			v = t.first[v]
			w.b = append(w.b, ' ')
			w.message(v)
		}
		if t.first[v] < 0 {
			w.b = append(w.b, ')')
			return
		}
		w.b = append(w.b, ' ')
	}
	if len(w.level)+2 < maxThreadNesting {
		w.level = append(w.level, t.first[v])
		return
	}
	w.flat(v)
	w.b = append(w.b, ')')
}

// flat writes all descendants of v as its children.
func (w *threadWriter) flat(v int32) {
	t := w.t
	stack := []int32{t.first[v]}
	for len(stack) > 0 {
		at := &stack[len(stack)-1]
		v := *at
		if v < 0 {
			stack = stack[:len(stack)-1]
			continue
		}
		*at = t.next[v]
		w.b = append(w.b, '(')
		w.message(v)
		w.b = append(w.b, ')')
		if t.first[v] >= 0 {
			stack = append(stack, t.first[v])
		}
	}
}

// message writes a message's number.
func (w *threadWriter) message(v int32) {
	w.b = imap.AppendNumber(w.b, w.number(int(w.t.messages[v].index)))
}
