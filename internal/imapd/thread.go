package imapd

import (
	"hash/maphash"
	"runtime"
	"slices"
	"strings"

	"tram/internal/imap"
	"tram/internal/message"
	"tram/internal/store"
)

// THREAD takes one pass over the rows of the messages found, in the snapshot of the search, and keeps
// some forty bytes of each, more where many are referred to that are not there. Message identifiers
// and subjects are kept as 64-bit hashes with a seed of their own for each command, so that nobody can
// make two of them the same on purpose. Nothing recurses, and no chain of replies costs more than
// n log n.

// threadAlgorithms are those of RFC 5256 §3.
var threadAlgorithms = map[string]func(g *threadGatherer) *threads{
	"ORDEREDSUBJECT": (*threadGatherer).bySubject,
	"REFERENCES":     (*threadGatherer).byReferences,
}

// thread is THREAD and UID THREAD, RFC 5256 §3.
func (s *session) thread() error {
	s.dec.SP()
	cmd := searchCommand{thread: strings.ToUpper(s.dec.Atom())}
	if s.dec.Err() == nil && threadAlgorithms[cmd.thread] == nil {
		return &imap.Error{Text: "Unknown threading algorithm"}
	}
	s.dec.SP()
	if err := s.mandatoryCharset(); err != nil {
		return err
	}
	cmd.key = s.dec.SearchKeys()
	if err := s.args(); err != nil {
		return err
	}
	if err := s.expandFilters(&cmd.key); err != nil {
		return err
	}
	if cmd.key.Uses("MODSEQ") {
		s.condstoreAware()
	}
	may := s.byNumber()
	if cmd.key.Uses("SEQ") {
		may = noExpunge // RFC 7162 §3.2.10.2
	}
	found, err := s.find(cmd, may)
	if err != nil {
		return s.gone(err)
	}
	*s.buf() = append(found.threads.append(append(*s.buf(), "* THREAD"...), s.sel, s.uid), "\r\n"...)
	return nil
}

// threadMessage is what threading needs of a message; messages are known by their place among those
// found, which is the order of the mailbox.
type threadMessage struct {
	index   int32  // in the view's list
	sent    int64  // sent date, RFC 5256 §2.2
	subject uint64 // hash of the base subject, 0 for an empty one
	reply   bool   // the subject says that it is a reply or forward
}

// threadGatherer reads what the algorithms need.
type threadGatherer struct {
	seed     maphash.Seed
	messages []threadMessage
	links    *threadLinks // nil: no references are asked for
	folded   []byte
	refs     []uint64
}

// threads threads the messages found.
func (s *session) threads(tx *store.Tx, algorithm string, hits []store.Hit) (*threads, error) {
	g := &threadGatherer{seed: maphash.MakeSeed(), messages: make([]threadMessage, len(hits))}
	if algorithm == "REFERENCES" {
		g.links = newThreadLinks(len(hits))
	}
	const batch = 1024
	entries := make([]store.Entry, 0, min(batch, len(hits)))
	for begin := 0; begin < len(hits); begin += batch {
		entries = entries[:0]
		for _, h := range hits[begin:min(begin+batch, len(hits))] {
			entries = append(entries, h.Entry)
		}
		err := tx.EachHit(entries, func(i int, e *store.Email) error {
			if i%32 == 31 {
				runtime.Gosched() // as searches do
			}
			at := begin + i
			g.messages[at] = threadMessage{index: int32(hits[at].Index), sent: entries[i].Received}
			g.read(at, e)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return threadAlgorithms[algorithm](g), nil
}

// read takes what counts of an email; one that cannot be read stands alone.
func (g *threadGatherer) read(at int, e *store.Email) {
	if e == nil {
		if g.links != nil {
			g.links.add(at, 0, nil)
		}
		return
	}
	m := &g.messages[at]
	m.sent = e.Sent().Unix()
	g.folded = message.Casemap(g.folded[:0], []byte(e.BaseSubject()))
	if len(g.folded) > 0 {
		m.subject = g.hash(g.folded)
	}
	if g.links == nil {
		return
	}
	_, m.reply = message.BaseSubject(e.Subject())
	g.refs = g.refs[:0]
	for _, id := range e.References() {
		g.refs = append(g.refs, g.id(id))
	}
	// Without References the first identifier of In-Reply-To is the parent's.
	if len(g.refs) == 0 {
		for _, id := range e.InReplyTo() {
			g.refs = append(g.refs, g.id(id))
			break
		}
	}
	own := uint64(0)
	if id := e.MessageID(); id != "" {
		own = g.id(id)
	}
	g.links.add(at, own, g.refs)
}

// id is the hash of a message identifier.
func (g *threadGatherer) id(id string) uint64 { return g.hash([]byte(normalID(id))) }

// hash is never 0.
func (g *threadGatherer) hash(b []byte) uint64 { return max(1, maphash.Bytes(g.seed, b)) }

// normalID takes the quoting out of a message identifier: <"a\b"@c> is <ab@c> (RFC 5256 §3).
func normalID(id string) string {
	if !strings.ContainsAny(id, `"\`) {
		return id
	}
	b := make([]byte, 0, len(id))
	for i := 0; i < len(id); i++ {
		switch {
		case id[i] == '\\' && i+1 < len(id):
			i++
			b = append(b, id[i])
		case id[i] != '"':
			b = append(b, id[i])
		}
	}
	return string(b)
}

// byDate returns the messages in the order of their sent dates; equal ones as in the mailbox.
func (g *threadGatherer) byDate() []int32 {
	order := make([]int32, len(g.messages))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		x, y := g.messages[a].sent, g.messages[b].sent
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return int(a) - int(b)
	})
	return order
}

// bySubject is ORDEREDSUBJECT: the messages of one base subject are one thread, the first by date its
// root and the others the root's children; threads come by the dates of their roots.
func (g *threadGatherer) bySubject() *threads {
	t := newThreads(g.messages, 0)
	first := map[uint64]int32{}
	for _, m := range g.byDate() {
		subject := g.messages[m].subject
		if root, ok := first[subject]; ok {
			t.addChild(root, m)
		} else {
			first[subject] = m
			t.top = append(t.top, m)
		}
	}
	return t
}
