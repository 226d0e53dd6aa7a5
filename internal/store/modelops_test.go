package store

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"tram/internal/kv"
	"tram/internal/kv/memkv"
	"tram/internal/kv/pebblekv"
)

// run is a model test under way: a house, what it must be, and clients that follow along.
type run struct {
	*house
	rng    *rand.Rand
	m      *model
	crash  func() kv.Database // pulls the plug and returns what is left
	letter int
	sync   map[MailboxID]*follower
	own    map[MailboxID]*List // as bea saw it last
	feed   feedReader
	node   *Store // another node on the same database, with a cache of its own
	ops    []string
}

// follower is a client that keeps a mailbox up to date by asking for what has changed.
type follower struct {
	list   *List
	modseq ModSeq
	seen   map[UID]Flags
}

// feedReader is a client of Changes: it knows which objects there are.
type feedReader struct {
	at        ModSeq
	mailboxes map[MailboxID]bool
	emails    map[EmailID]bool
	threads   map[ThreadID]bool
}

var (
	seeds     = flag.Uint64("seeds", 12, "random histories that the model test plays")
	firstSeed = flag.Uint64("first-seed", 0, "seed of the first")
)

func TestModel(t *testing.T) {
	t.Parallel()
	for seed := *firstSeed; seed < *firstSeed+*seeds; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			steps := 250
			if testing.Short() {
				steps = 80
			}
			r := newRun(t, seed)
			db := memkv.New()
			db.SetTwice(seed%2 == 0)
			r.crash = func() kv.Database {
				db = db.CrashKeeping(r.rng.IntN(3))
				return db
			}
			r.begin(t, db, seed)
			r.play(steps)
		})
	}
}

// TestModelPebble plays on the real engine, over a file system that loses what was not synced.
func TestModelPebble(t *testing.T) {
	t.Parallel()
	for seed := *firstSeed; seed < *firstSeed+max(1, *seeds/6); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := newRun(t, seed)
			fs := vfs.NewCrashableMem()
			db := openPebble(t, fs)
			r.crash = func() kv.Database {
				old := db
				fs = fs.CrashClone(vfs.CrashCloneCfg{
					UnsyncedDataPercent: r.rng.IntN(101), RNG: r.rng,
				})
				db = openPebble(t, fs)
				if err := old.Close(); err != nil {
					t.Error(err)
				}
				return db
			}
			r.begin(t, db, seed)
			r.play(120)
		})
	}
}

func openPebble(t testing.TB, fs vfs.FS) *pebblekv.DB {
	t.Helper()
	db, err := pebblekv.Open("db", pebblekv.Options{
		FS: fs, MemTableBytes: 256 << 10, // so that logs and tables come and go
		Free:    func() (pebblekv.Space, error) { return pebblekv.Space{Endless: true}, nil },
		OnFatal: func(err error) { t.Errorf("storage failed: %v", err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func newRun(t *testing.T, seed uint64) *run {
	return &run{rng: seeded(t, seed), m: newModel()}
}

// begin opens the store on db with limits that are easily reached.
func (r *run) begin(t *testing.T, db kv.Database, seed uint64) {
	t.Cleanup(func() { r.db.Close() }) // after the house was checked
	r.house = openHouse(t, db)
	r.limit.Mailboxes, r.limit.NameDepth, r.limit.Keywords = 24, 5, 80
	r.limit.ChangeLog, r.limit.Expunged, r.limit.RecoverableBytes = 40, 60, 0
	if seed%3 == 0 {
		r.limit.RecoverableBytes = 20 << 10
	}
	r.reopen(db)
	r.feed = feedReader{
		mailboxes: map[MailboxID]bool{}, emails: map[EmailID]bool{}, threads: map[ThreadID]bool{},
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(strings.Join(r.ops[max(0, len(r.ops)-12):], "\n"))
		}
	})
	r.adopt()
}

// reopen starts the store on db, as after a crash.
func (r *run) reopen(db kv.Database) {
	r.db = db
	r.open()
	node, err := Open(context.Background(), Options{
		DB: db, Blobs: r.blobs, Clock: r.clock, Limits: r.limit,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.node = node
	r.sync, r.own = map[MailboxID]*follower{}, map[MailboxID]*List{}
}

// adopt takes the provisioned mailboxes into the model.
func (r *run) adopt() {
	r.view(func(tx *Tx) error {
		all, err := tx.Mailboxes()
		for _, mb := range all {
			r.m.boxes[mb.ID] = &modelBox{
				name: mb.Name, role: mb.Role, validity: mb.UIDValidity, next: 1, recent: 1,
				entries: map[UID]*modelEntry{}, acl: map[AccountID]Rights{}, seen: map[UID]bool{},
			}
			r.m.subs[mb.Name] = true
			r.m.used[mb.UIDValidity] = true
		}
		return err
	})
}

func (r *run) play(steps int) {
	ops := []struct {
		weight int
		do     func() string
	}{
		{30, r.opAppend}, {20, r.opFlags}, {8, r.opCopy}, {8, r.opMove}, {8, r.opExpunge},
		{4, r.opCreate}, {3, r.opRename}, {2, r.opDelete}, {2, r.opSubscribe}, {2, r.opClaim},
		{3, r.opSetMailboxes}, {3, r.opRecover}, {1, r.opPurge}, {2, r.opMaintain}, {2, r.opCrash},
		{1, r.opQuota}, {2, r.opAbort}, {1, r.opRole}, {2, r.opBulk}, {5, r.opRights}, {14, r.opOwnSeen},
	}
	total := 0
	for _, op := range ops {
		total += op.weight
	}
	for range steps {
		n := r.rng.IntN(total)
		for _, op := range ops {
			if n -= op.weight; n < 0 {
				r.ops = append(r.ops, op.do())
				break
			}
		}
		if r.t.Failed() {
			return
		}
		r.clock.Advance(time.Duration(r.rng.IntN(3)) * time.Second)
		if r.rng.IntN(4) == 0 {
			r.verify()
		}
		if r.rng.IntN(40) == 0 {
			r.check()
		}
	}
	r.verify()
}

// do runs fn in a transaction; wanted errors leave everything as it was.
func (r *run) do(fn func(tx *Tx) error) error {
	return r.store.Account(1).Update(context.Background(), fn)
}

func (r *run) expect(err, want error) bool {
	r.t.Helper()
	if !errors.Is(err, want) || want == nil && err != nil {
		r.t.Errorf("error %v, want %v", err, want)
		return false
	}
	return true
}

func (r *run) box() MailboxID {
	ids := r.m.ids()
	if r.rng.IntN(3) > 0 {
		return ids[r.rng.IntN(min(3, len(ids)))]
	}
	return ids[r.rng.IntN(len(ids))]
}

// pick returns some UIDs of a mailbox, and sometimes one that is not there.
func (r *run) pick(id MailboxID) []UID {
	b := r.m.boxes[id]
	var out []UID
	if r.rng.IntN(6) == 0 {
		out = append(out, b.next+UID(r.rng.IntN(3)))
	}
	uids := b.uids()
	if len(uids) == 0 {
		return out
	}
	if r.rng.IntN(12) == 0 {
		return append(out, uids...)
	}
	for range 1 + r.rng.IntN(4) {
		out = append(out, uids[r.rng.IntN(len(uids))])
	}
	return out
}

// here returns those of uids that are in a mailbox, sorted, each once.
func (m *model) here(id MailboxID, uids []UID) []UID {
	out := slices.DeleteFunc(slices.Clone(uids), func(u UID) bool {
		return m.boxes[id].entries[u] == nil
	})
	return tidy(out)
}

// verify compares everything, through both nodes, and lets the followers catch up.
func (r *run) verify() {
	r.t.Helper()
	for _, s := range []*Store{r.store, r.node} {
		err := s.Account(1).View(context.Background(), func(tx *Tx) error {
			return r.m.compare(r.t, tx)
		})
		if err == nil {
			err = r.compareOwn(s)
		}
		if err != nil {
			r.t.Fatal(err)
		}
	}
	r.view(func(tx *Tx) error {
		for _, id := range r.m.ids() {
			if r.rng.IntN(2) == 0 {
				if err := r.follow(tx, id); err != nil {
					return err
				}
			}
		}
		return r.readFeed(tx)
	})
}

// follow brings a follower up to date in both ways there are, and compares.
func (r *run) follow(tx *Tx, id MailboxID) error {
	f := r.sync[id]
	if f == nil {
		f = &follower{seen: map[UID]Flags{}}
		r.sync[id] = f
	}
	list, err := tx.List(id)
	if err != nil {
		return err
	}
	want := map[UID]Flags{}
	for _, e := range list.Entries(0, list.Len()) {
		want[e.UID] = e.Flags
	}
	// By differences of lists.
	got := maps.Clone(f.seen)
	d := list.Delta(f.list)
	for _, e := range d.Removed {
		if _, ok := got[e.UID]; !ok {
			return fmt.Errorf("delta of %d removes UID %d, which was not there", id, e.UID)
		}
		delete(got, e.UID)
	}
	for _, e := range d.Added {
		if _, ok := got[e.UID]; ok {
			return fmt.Errorf("delta of %d adds UID %d, which was there", id, e.UID)
		}
		got[e.UID] = e.Flags
	}
	for _, e := range d.Changed {
		got[e.UID] = e.Flags
	}
	if !maps.Equal(got, want) {
		return fmt.Errorf("mailbox %d by delta %v, want %v", id, got, want)
	}
	// As QRESYNC does, RFC 7162 §3.2.5: what vanished, and what has a higher ModSeq.
	got = maps.Clone(f.seen)
	gone, complete, err := tx.Vanished(id, f.modseq, nil)
	if err != nil {
		return err
	}
	for uid := range f.seen {
		if inRanges(gone, uid) {
			delete(got, uid)
		}
	}
	for uid := range want {
		if inRanges(gone, uid) {
			return fmt.Errorf("mailbox %d: UID %d vanished and is there (%t)", id, uid, complete)
		}
	}
	for _, e := range list.Entries(0, list.Len()) {
		if e.ModSeq > f.modseq {
			got[e.UID] = e.Flags
		}
	}
	if !maps.Equal(got, want) {
		return fmt.Errorf("mailbox %d by ModSeq %d: %v, want %v", id, f.modseq, got, want)
	}
	f.list, f.modseq, f.seen = list, list.HighestModSeq(), want
	return nil
}

// readFeed follows Changes, in steps, and compares what it knows to be there.
func (r *run) readFeed(tx *Tx) error {
	if r.rng.IntN(3) == 0 {
		return nil
	}
	f := &r.feed
	for {
		c, err := tx.Changes(f.at, r.rng.IntN(20))
		if errors.Is(err, ErrTooOld) {
			*f = feedReader{
				at: tx.ModSeq(), mailboxes: map[MailboxID]bool{}, emails: map[EmailID]bool{},
				threads: map[ThreadID]bool{},
			}
			r.m.known(f)
			return nil
		}
		if err == nil {
			err = errors.Join(applyFeed(f.mailboxes, c.Mailboxes), applyFeed(f.emails, c.Emails),
				applyFeed(f.threads, c.Threads))
		}
		if err != nil {
			return err
		}
		f.at = c.To
		if !c.More {
			break
		}
	}
	want := feedReader{
		at: tx.ModSeq(), mailboxes: map[MailboxID]bool{}, emails: map[EmailID]bool{},
		threads: map[ThreadID]bool{},
	}
	r.m.known(&want)
	if f.at != want.at || !maps.Equal(f.mailboxes, want.mailboxes) ||
		!maps.Equal(f.emails, want.emails) || !maps.Equal(f.threads, want.threads) {
		return fmt.Errorf("feed knows %+v, want %+v", *f, want)
	}
	return nil
}

func (m *model) known(f *feedReader) {
	for id := range m.boxes {
		f.mailboxes[id] = true
	}
	for id, e := range m.emails {
		if len(e.places) > 0 {
			f.emails[id] = true
			f.threads[e.thread] = true
		}
	}
}

func applyFeed[ID ~uint32 | ~uint64](known map[ID]bool, c ChangeSet[ID]) error {
	for _, id := range c.Created {
		if known[id] {
			return fmt.Errorf("feed: %T %d is created twice", id, id)
		}
		known[id] = true
	}
	for _, id := range c.Updated {
		if !known[id] {
			return fmt.Errorf("feed: %T %d is updated and not known", id, id)
		}
	}
	for _, id := range c.Destroyed {
		if !known[id] {
			return fmt.Errorf("feed: %T %d is destroyed and not known", id, id)
		}
		delete(known, id)
	}
	return nil
}
