package imapd

import (
	"io"
	"iter"
	"slices"

	"tram/internal/imap"
	"tram/internal/store"
)

const (
	// windowRows and windowBytes end a window of FETCH: so much is read in one snapshot and then
	// sent without it.
	windowRows  = 500
	windowBytes = 256 << 10
	// inlineBody is the size up to which a body is read into the window; longer ones stream after
	// the snapshot is given back.
	inlineBody = 32 << 10
)

// window writes the replies of a FETCH, a stretch of messages at a time: rows and short bodies are
// read in one snapshot into the reply buffer, then everything is sent, long bodies as they are read.
// A slow client thus holds no snapshot, and memory is bounded whatever it asks for.
type window struct {
	s     *session
	plan  *fetchPlan
	fresh map[store.UID]bool // messages whose \Seen this command has set

	downwards  bool // their order is seen to, see runDownwards
	damaged    bool // a message could not be read
	gone       bool // a message went while the command ran
	unknownCTE bool
	wide       bool // it is a full window now, see room.go
}

// run writes the messages of the spans.
func (w *window) run(spans []span) error {
	if w.s.cut > 0 && !w.downwards {
		return w.runDownwards(spans)
	}
	for len(spans) > 0 {
		rest, err := w.step(spans)
		if err != nil {
			return err
		}
		if err := w.s.ctx.Err(); err != nil {
			return err
		}
		spans = rest
	}
	return nil
}

// step writes one window and returns what is left to do.
func (w *window) step(spans []span) (rest []span, err error) {
	w.widen()
	defer w.narrow()
	rest, streams, err := w.fill(spans)
	if err != nil {
		return nil, err
	}
	return rest, w.send(streams)
}

// runDownwards is run from the highest UID to the lowest, as RFC 9738 §3.1 has it for a command that
// comes to a part of its messages only.
func (w *window) runDownwards(spans []span) error {
	w.downwards = true
	single := make([]span, 0, windowRows)
	for k := len(spans) - 1; k >= 0; k-- {
		for i := spans[k].to - 1; i >= spans[k].from; i-- {
			single = append(single, span{i, i + 1})
			if len(single) < windowRows && (k > 0 || i > spans[k].from) {
				continue
			}
			if err := w.run(single); err != nil {
				return err
			}
			single = single[:0]
		}
	}
	return nil
}

// fill reads one window and returns what is left to do.
func (w *window) fill(spans []span) (rest []span, streams []stream, err error) {
	s := w.s
	start := len(*s.buf())
	if !w.plan.needsRow && !w.anyExtra(spans) {
		r := w.row(nil)
		return w.rows(r, spans), nil, nil
	}
	err = s.viewSelected(func(tx *store.Tx) (err error) {
		*s.buf() = (*s.buf())[:start]
		rest, streams, err = w.read(tx, slices.Clone(spans))
		return err
	})
	return rest, streams, err
}

// read writes as much of the spans, which it takes over, as a window has.
func (w *window) read(tx *store.Tx, spans []span) (rest []span, streams []stream, err error) {
	r := w.row(tx)
	for rest = spans; len(rest) > 0 && !r.full(); {
		if rest, err = w.emails(r, rest); err != nil {
			return nil, nil, err
		}
	}
	return rest, r.streams, nil
}

func (w *window) row(tx *store.Tx) *row {
	return &row{
		w: w, s: w.s, tx: tx, flags: w.s.newFlags(nil), out: w.s.buf(),
		utf8: w.s.mode.utf8, plan: w.plan,
	}
}

// anyExtra reports whether the next window has entries whose flags need the store.
func (w *window) anyExtra(spans []span) bool {
	if !w.plan.flags && len(w.fresh) == 0 || w.s.sel.keywords.Len() < 50 {
		return false
	}
	for _, sp := range spans {
		for _, e := range w.entries(sp) {
			if e.Flags&store.MoreKeywords != 0 {
				return true
			}
		}
	}
	return false
}

// rows writes entries from the list alone: what classic Outlook, mutt and Gmail's importer ask for at each
// visit, the flags of "1:*", touches no disk.
func (w *window) rows(r *row, spans []span) (rest []span) {
	for i, sp := range spans {
		for k, e := range w.entries(sp) {
			if r.full() {
				rest = slices.Clone(spans[i:])
				rest[0].from = k
				return rest
			}
			r.write(k, *e, nil)
		}
	}
	return nil
}

// emails writes entries of the first span with their rows, and returns what is left.
func (w *window) emails(r *row, spans []span) ([]span, error) {
	sp := spans[0]
	i := w.nextChanged(sp.from, sp.to)
	to := sp.to
	if w.plan.changed > 0 && i < to {
		to = i + 1 // CHANGEDSINCE leaves few: read no row in vain
	}
	err := r.tx.EachEmail(w.s.sel.list, i, to, func(e store.Entry, m *store.Email) error {
		if m == nil && w.plan.needsRow {
			w.lost(r.tx, e)
		} else {
			r.write(i, e, m)
		}
		i++
		if r.full() {
			return store.Stop
		}
		return r.err
	})
	if err != nil {
		return nil, err
	}
	if i >= sp.to {
		return spans[1:], nil
	}
	spans[0].from = i
	return spans, nil
}

// nextChanged returns the first entry from i on that CHANGEDSINCE lets through.
func (w *window) nextChanged(i, to int) int {
	if w.plan.changed == 0 {
		return i
	}
	for k := range w.s.sel.list.Changed(w.plan.changed, i, to) {
		return k
	}
	return to
}

// entries iterates over a span, or over what CHANGEDSINCE lets through of it.
func (w *window) entries(sp span) iter.Seq2[int, *store.Entry] {
	if w.plan.changed > 0 {
		return w.s.sel.list.Changed(w.plan.changed, sp.from, sp.to)
	}
	return w.s.sel.list.Entries(sp.from, sp.to)
}

// lost finds out why a message has no row: it was removed since the view was taken, or is damaged.
func (w *window) lost(tx *store.Tx, e store.Entry) {
	list, err := tx.List(w.s.sel.id)
	if err == nil {
		if _, ok := list.Find(e.UID); ok {
			w.damaged = true
			return
		}
	}
	w.gone = true
}

// send writes the window to the client, with the long bodies in their places.
func (w *window) send(streams []stream) error {
	s := w.s
	if len(streams) == 0 {
		return w.spill()
	}
	out := *s.buf()
	done := 0
	for _, st := range streams {
		if _, err := s.c.Write(out[done:st.at]); err != nil {
			return err
		}
		done = st.at
		if err := st.copy(s.c); err != nil {
			// The literal was announced and cannot be completed: nothing that could be said now
			// would be understood.
			s.log("imap body not readable", err)
			s.end("stored message not readable")
			_ = s.c.Close()
			return err
		}
	}
	*s.out = append(out[:0], out[done:]...)
	return w.spill()
}

// spill writes the replies out once they are many, as session.spill does, and those of a small window
// once there is no room for more of them.
func (w *window) spill() error {
	if !w.wide && len(*w.s.buf()) >= narrowBytes {
		return w.s.write()
	}
	return w.s.spill()
}

// stream is a long body that goes out after the snapshot: its place in the reply buffer and how to
// write it.
type stream struct {
	at   int
	copy func(w io.Writer) error
}

// row writes the messages of one window.
type row struct {
	w       *window
	s       *session
	tx      *store.Tx
	plan    *fetchPlan
	flags   *flagWriter
	out     *[]byte
	utf8    bool
	rows    int
	first   bool // no item of the message is written yet
	streams []stream
	err     error // ends the command
}

// full reports whether it is time to send.
func (r *row) full() bool {
	return r.rows >= windowRows || len(*r.out) >= r.w.limit() || len(r.streams) >= windowRows
}

// tight reports whether n bytes more are too many for the window: of one message a client may ask for
// more than there is room for, and they are sent as they are read.
func (r *row) tight(n int64) bool { return int64(len(*r.out))+n > int64(r.w.limit())+inlineBinary }

// write writes one message.
func (r *row) write(i int, e store.Entry, m *store.Email) {
	start, streams := len(*r.out), len(r.streams)
	fresh := r.w.fresh[e.UID]
	if e.Flags&store.MoreKeywords != 0 && (r.plan.flags || fresh) && r.tx != nil {
		if r.err = r.flags.extra.read(r.tx, e); r.err != nil {
			return
		}
	}
	*r.out = r.s.openFetch(*r.out, i, e.UID)
	r.first = true
	r.rows++
	if err := r.items(e, m, fresh); err != nil {
		*r.out, r.streams = (*r.out)[:start], r.streams[:streams]
		r.err = r.dropped(err)
		return
	}
	*r.out = append(*r.out, ")\r\n"...)
}

// items writes UID first and MODSEQ last, and between them what was asked for. Flags that this command
// changed are told with the rest (RFC 9051 §6.4.5), with UID and MODSEQ to clients that know
// mod-sequences (RFC 7162 §3.2.4).
func (r *row) items(e store.Entry, m *store.Email, fresh bool) error {
	if (r.s.uid || fresh && r.s.mode.condstore) && !r.s.mode.uidOnly {
		r.uid(e, m)
	}
	for _, item := range r.plan.items {
		if err := item(r, e, m); err != nil {
			return err
		}
	}
	if fresh && !r.plan.flags {
		r.flagList(e, m)
	}
	if r.plan.modseq || fresh && r.s.mode.condstore {
		r.s.toldModSeq = true
		r.label("MODSEQ (")
		*r.out = append(imap.AppendNumber(*r.out, e.ModSeq), ')')
	}
	return nil
}

// label begins an item.
func (r *row) label(s string) {
	if r.first {
		r.first = false
	} else {
		*r.out = append(*r.out, ' ')
	}
	*r.out = append(*r.out, s...)
}
