package words

import (
	"cmp"
	"container/list"
	"errors"
	"math/bits"
	"slices"
	"sync"

	"tram/internal/kv"
)

// entry is a word in a table.
type entry struct {
	hash uint64
	count
}

// count is how often a word was learnt.
type count struct {
	junk, good uint32 // messages
	// who is, of the shared table, how many accounts have taught the word; of an account's, how many of
	// its lessons with the word count for all accounts.
	who uint32
	day uint16 // when it was learnt last, in days since 1970 of which only the last 65,536 matter
}

// witnesses is how many accounts must have taught a word before it is used for others.
const witnesses = 2

// delta is a change of a count.
type delta struct {
	junk, good, who int32
	day             uint16
}

func (c count) plus(d delta) count {
	add := func(a uint32, b int32) uint32 { return uint32(max(int64(a)+int64(b), 0)) }
	return count{add(c.junk, d.junk), add(c.good, d.good), add(c.who, d.who), max(c.day, d.day)}
}

// table is what an owner has learnt, in memory: the entries of the rows, and what the lessons since
// have changed.
type table struct {
	mu      sync.RWMutex
	loaded  bool
	meta    meta // as of which it is
	entries []entry
	index   []uint32 // where the entries begin whose hash has these first bits
	shift   uint
	fresh   map[uint64]delta

	owner Owner
	size  int64         // as counted by tables
	place *list.Element // there; nil when it has been let go
}

// setEntries takes sorted entries and makes the index: about four entries share a place in it.
func (t *table) setEntries(all []entry) {
	t.entries = all
	width := uint(max(bits.Len(uint(len(all)/4)), 1))
	t.shift = 64 - width
	t.index = make([]uint32, 1<<width+1)
	at := 0
	for i := range t.index {
		for at < len(all) && all[at].hash>>t.shift < uint64(i) {
			at++
		}
		t.index[i] = uint32(at)
	}
	t.fresh = map[uint64]delta{}
}

// at returns the place of a hash in entries, or -1.
func (t *table) at(hash uint64) int {
	if len(t.entries) == 0 {
		return -1
	}
	i := hash >> t.shift
	for k := t.index[i]; k < t.index[i+1]; k++ {
		if t.entries[k].hash == hash {
			return int(k)
		}
	}
	return -1
}

// count returns what is known of a word.
func (t *table) count(hash uint64) count {
	var c count
	if k := t.at(hash); k >= 0 {
		c = t.entries[k].count
	}
	if len(t.fresh) > 0 {
		if d, ok := t.fresh[hash]; ok {
			return c.plus(d)
		}
	}
	return c
}

// learn adds a lesson.
func (t *table) learn(l *lesson) {
	for i, w := range l.words {
		d, e := t.fresh[w], l.effect(i)
		d = delta{d.junk + e.junk, d.good + e.good, d.who + e.who, l.day}
		if l.back { // a count that has left the table meanwhile must not become a debt
			d = t.bounded(w, d)
		}
		t.fresh[w] = d
	}
}

// bounded keeps a change from making less than nothing of the table's count of a word.
func (t *table) bounded(w uint64, d delta) delta {
	var c count
	if k := t.at(w); k >= 0 {
		c = t.entries[k].count
	}
	least := func(v int32, has uint32) int32 { return int32(max(int64(v), -int64(has))) }
	return delta{least(d.junk, c.junk), least(d.good, c.good), least(d.who, c.who), d.day}
}

// bytes is about what the table takes.
func (t *table) bytes() int64 {
	return int64(cap(t.entries))*24 + int64(len(t.index))*4 + int64(len(t.fresh))*56 + 256
}

// covers reports whether the table is as m says, or newer: another may have read a newer state.
func (t *table) covers(m meta) bool {
	return t.loaded && t.meta.era == m.era && t.meta.seq >= m.seq && t.meta.merged >= m.merged
}

// catchUp makes the table one of meta m, which r has just read. mu is held for writing.
func (t *table) catchUp(r kv.Reader, m meta) error {
	if t.covers(m) {
		return nil
	}
	if !t.loaded || m.era != t.meta.era || m.merged != t.meta.merged {
		if err := t.load(r, m); err != nil {
			return err
		}
	}
	from, to := lessonKey(t.owner, t.meta.seq+1), lessonKey(t.owner, m.seq+1)
	err := r.Scan(kv.Range{Start: from, End: to}, func(_, value []byte) error {
		l, err := readLesson(value)
		if err != nil {
			return err
		}
		t.learn(&l)
		return nil
	})
	t.loaded, t.meta = err == nil, m
	return err
}

// load reads the rows of the table.
func (t *table) load(r kv.Reader, m meta) error {
	t.loaded = false
	// The number is of a row that may be damaged: it is a hint, and the list grows if it must.
	all := make([]entry, 0, min(max(m.words, 0), 1<<21))
	err := r.Scan(kv.Prefix(rowKey(tableRow, t.owner)), func(_, value []byte) error {
		var err error
		all, err = readRow(all, value)
		return err
	})
	if err != nil {
		return err
	}
	t.setEntries(all)
	t.meta = meta{era: m.era, seq: m.merged}
	return nil
}

// merged returns the entries with all that came since, sorted, without those that are zero.
func (t *table) merged() []entry {
	fresh := make([]entry, 0, len(t.fresh))
	for hash, d := range t.fresh {
		if t.at(hash) < 0 {
			fresh = append(fresh, entry{hash, count{}.plus(d)})
		}
	}
	slices.SortFunc(fresh, func(a, b entry) int { return cmp.Compare(a.hash, b.hash) })
	out := make([]entry, 0, len(t.entries)+len(fresh))
	add := func(e entry) {
		if e.junk > 0 || e.good > 0 || e.who > 0 {
			out = append(out, e)
		}
	}
	for _, e := range t.entries {
		for len(fresh) > 0 && fresh[0].hash < e.hash {
			add(fresh[0])
			fresh = fresh[1:]
		}
		if d, ok := t.fresh[e.hash]; ok {
			e.count = e.plus(d)
		}
		add(e)
	}
	for _, e := range fresh {
		add(e)
	}
	return out
}

// tables are those in memory. The ones that were used longest ago leave when there is no room; the shared
// one stays.
type tables struct {
	room int64

	mu   sync.Mutex
	all  map[Owner]*table
	used int64
	by   list.List // of *table, the one used last in front
}

// of returns the table of an owner, which may have to catch up.
func (s *tables) of(owner Owner) *table {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.all[owner]
	if t == nil {
		if s.all == nil {
			s.all = map[Owner]*table{}
		}
		t = &table{owner: owner, fresh: map[uint64]delta{}}
		s.all[owner] = t
		t.place = s.by.PushFront(t)
		return t
	}
	s.by.MoveToFront(t.place)
	return t
}

// weigh counts a table that has changed, and lets others go.
func (s *tables) weigh(t *table, size int64) {
	if t.owner == Shared {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.place == nil {
		return
	}
	s.used += size - t.size
	t.size = size
	for back := s.by.Back(); s.used > s.room && back != nil; {
		old := back.Value.(*table)
		back = back.Prev()
		if old != t && old.owner != Shared {
			s.remove(old)
		}
	}
}

func (s *tables) remove(t *table) {
	s.used -= t.size
	s.by.Remove(t.place)
	t.place = nil
	delete(s.all, t.owner)
}

// drop lets a table go.
func (s *tables) drop(owner Owner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.all[owner]; t != nil {
		s.remove(t)
	}
}

// current returns the table of an owner as it is in r or newer, locked for reading; mu.RUnlock must be
// called. Where nothing was learnt it returns nil. The shared table is asked for after an account's.
func (c *Classifier) current(r kv.Reader, owner Owner) (*table, meta, error) {
	m, err := readMeta(r, owner)
	if err != nil || m.seq == 0 {
		return nil, m, err
	}
	t := c.tables.of(owner)
	for range 10 {
		t.mu.RLock()
		if t.covers(m) {
			return t, t.meta, nil
		}
		t.mu.RUnlock()
		t.mu.Lock()
		err = t.catchUp(r, m)
		size := t.bytes()
		t.mu.Unlock()
		if err != nil {
			return nil, m, err
		}
		c.tables.weigh(t, size)
	}
	return nil, m, errors.New("the table of words changed faster than it could be read")
}
