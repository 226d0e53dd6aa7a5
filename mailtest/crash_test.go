package mailtest

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"tram/internal/config"
	"tram/internal/imap"
	"tram/internal/kv/pebblekv"
)

var (
	crashSeeds = flag.Int("crash.seeds", 20, "houses that TestPowerLoss pulls the plug of; a release asks for 10000")
	crashFirst = flag.Uint64("crash.first", 1, "the first seed")
)

// TestPowerLoss is D4 and D13 for the whole house: while mail comes in by SMTP, is stored and moved by
// IMAP and leaves by the queue, the power goes, several times over, with none, some or all of what was
// not synced kept. What was acknowledged is there, once, with its bytes; what was handed in for another
// house arrives there; a UID that a client was told of never means another message.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	for i := range *crashSeeds {
		seed := *crashFirst + uint64(i)
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			powerLoss(t, seed)
		})
	}
}

const lives = 2

func powerLoss(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 4))
	w := New(t)
	them := w.House("them.test", Options{})
	b := &book{t: t, zoe: them.Person("zoe", 0), letters: map[string]*entry{}}
	data, fs := Folder(t), vfs.NewCrashableMem()
	var h *House
	for life := range lives {
		h = b.open(w, h, data, fs, Options{Crashed: true})
		if life == 0 {
			b.alice = h.Person("alice", 0)
		}
		b.alice.House = h
		b.verify()
		fs = b.live(h, rng, fs, seed+uint64(life))
	}
	h = b.open(w, h, data, fs, Options{})
	b.alice.House = h
	b.verify()
	h.Emptied()
	b.arrived()
}

// open opens the house on what is left of its disk.
func (b *book) open(w *World, old *House, data string, fs *vfs.MemFS, o Options) *House {
	b.t.Helper()
	db, err := pebblekv.Open("db", pebblekv.Options{
		FS: fs, MemTableBytes: 256 << 10, // so that logs come and go
		OnFatal: func(err error) { b.t.Errorf("storage failed: %v", err) },
	})
	if err != nil {
		b.t.Fatalf("the database does not open after the crash: %v", err)
	}
	b.t.Cleanup(func() { _ = db.Close() }) // after the house's end; most are closed already
	o.Data, o.DB = data, db
	o.Edit = func(c *config.Config) {
		q := &c.Limits.Queue
		q.Burst, q.PerDay, q.NewPerDay = 0, 0, 0
		c.Limits.SMTP.Transactions = 0
	}
	if old == nil {
		return w.House("us.test", o)
	}
	return old.Reopen(o)
}

// place is where a message is.
type place struct {
	mailbox       string
	validity, uid uint32
}

// entry is what is known of a message.
type entry struct {
	text   string
	remote bool  // handed in for zoe
	at     place // as a client was told, if it was
	moving bool  // a MOVE was sent and not answered
	acked  bool
}

// book is the ledger of one disk.
type book struct {
	t          testing.TB
	alice, zoe *Person

	mu      sync.Mutex
	next    int
	acks    int
	letters map[string]*entry
}

// letter makes the next message.
func (b *book) letter(remote bool) (name, text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next++
	name = fmt.Sprint("entry", b.next)
	from, to := b.zoe.Address, b.alice.Address
	if remote {
		from, to = to, from
	}
	text = Letter(from, to, name) + strings.Repeat(fmt.Sprintf("%070d\r\n", b.next), 1+b.next%40*b.next%97)
	b.letters[name] = &entry{text: text, remote: remote}
	return name, text
}

// note enters what a client was told.
func (b *book) note(name string, change func(*entry)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(b.letters[name])
}

func (b *book) ack(name string, at place) {
	b.note(name, func(e *entry) { e.acked, e.at = true, at })
	b.mu.Lock()
	b.acks++
	b.mu.Unlock()
}

// live works on the house until the power goes, and returns what is left on the disk.
func (b *book) live(h *House, rng *rand.Rand, fs *vfs.MemFS, seed uint64) *vfs.MemFS {
	b.t.Helper()
	var stop atomic.Bool
	var all sync.WaitGroup
	stranger, submitter, client := h.Stranger(), b.alice.Submitter(), b.alice.IMAP()
	from, to := b.zoe.Address, b.alice.Address
	all.Go(func() { b.sends(&stop, stranger, false, from, to) })
	all.Go(func() { b.sends(&stop, submitter, true, to, from) })
	deeds := rand.New(rand.NewPCG(seed, 5))
	all.Go(func() { b.stores(&stop, client, deeds) })
	b.mu.Lock()
	goal := b.acks + 15 + rng.IntN(120)
	b.mu.Unlock()
	h.World.Until("enough was acknowledged", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.acks >= goal || b.t.Failed()
	})
	// What is known at this moment must be on the disk that is left: it is taken later.
	known := b.known()
	percent := []int{0, 25, 50, 75, 100}[seed%5]
	left := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
	stop.Store(true)
	all.Wait()
	client.Close()
	h.Stop()
	b.mu.Lock()
	b.letters = known // what was told after the power had gone, nobody has heard
	b.mu.Unlock()
	return left
}

func (b *book) known() map[string]*entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	known := make(map[string]*entry, len(b.letters))
	for name, e := range b.letters {
		copied := *e
		known[name] = &copied
	}
	return known
}

// sends delivers or submits messages until it is told to stop.
func (b *book) sends(stop *atomic.Bool, s *Sender, remote bool, from, to string) {
	defer s.Close()
	for !stop.Load() {
		name, text := b.letter(remote)
		r := s.Mail(from, text, to)[0]
		if !r.OK() {
			b.t.Errorf("%s was answered %v", name, r)
			return
		}
		b.ack(name, place{})
	}
}

// stores appends messages, and moves some of them.
func (b *book) stores(stop *atomic.Bool, c *imap.Client, rng *rand.Rand) {
	if _, err := c.Do("SELECT INBOX"); err != nil {
		b.t.Error(err)
		return
	}
	for !stop.Load() {
		name, text := b.letter(false)
		r, err := c.Do(`APPEND INBOX (\Seen kept) `, []byte(text))
		if err != nil || r.Code != "APPENDUID" {
			b.t.Errorf("APPEND: %v, %+v", err, r)
			return
		}
		at := place{mailbox: "INBOX"}
		scan(b.t, r.Args, "%d %d", &at.validity, &at.uid)
		b.ack(name, at)
		if rng.IntN(3) > 0 {
			continue
		}
		b.note(name, func(e *entry) { e.moving = true })
		if r, err = c.Do(fmt.Sprintf("UID MOVE %d Archive", at.uid)); err != nil {
			b.t.Error(err)
			return
		}
		for _, d := range r.Data {
			if d.Code == "COPYUID" {
				at.mailbox = "Archive"
				scan(b.t, d.Args, "%d %d %d", &at.validity, new(uint32), &at.uid)
			}
		}
		b.note(name, func(e *entry) { e.moving, e.at = false, at })
	}
}

func scan(t testing.TB, text, format string, into ...any) {
	if _, err := fmt.Sscanf(text, format, into...); err != nil {
		t.Errorf("%q: %v", text, err)
	}
}

// verify compares the house with the book.
func (b *book) verify() {
	b.t.Helper()
	c := b.alice.IMAP()
	defer c.Logout()
	there := map[string][]place{}
	for _, mailbox := range []string{"INBOX", "Archive"} {
		b.look(c, mailbox, there)
	}
	for name, e := range b.letters {
		at := there[name]
		switch {
		case e.remote:
		case len(at) > 1:
			b.t.Errorf("%s is there %d times: %v", name, len(at), at)
		case len(at) == 0 && e.acked:
			b.t.Errorf("%s was acknowledged and is lost", name)
		case len(at) == 1 && e.at.uid != 0 && !e.moving && at[0] != e.at:
			b.t.Errorf("%s was said to be at %v and is at %v", name, e.at, at[0])
		}
	}
}

// look reads a mailbox. What was not acknowledged may be there too, with its own bytes.
func (b *book) look(c *imap.Client, mailbox string, there map[string][]place) {
	b.t.Helper()
	r, err := c.Do("SELECT " + mailbox)
	if err != nil {
		b.t.Fatal(err)
	}
	at, exists, next := place{mailbox: mailbox}, false, uint32(0)
	for _, d := range r.Data {
		switch {
		case d.Code == "UIDVALIDITY":
			scan(b.t, d.Args, "%d", &at.validity)
		case d.Code == "UIDNEXT":
			scan(b.t, d.Args, "%d", &next)
		case d.Name == "EXISTS":
			exists = d.Num > 0
		}
	}
	for name, e := range b.letters {
		if e.at.mailbox == mailbox && e.at.uid >= next {
			b.t.Errorf("UID %d of %s was given to %s and will be again", e.at.uid, mailbox, name)
		}
	}
	if !exists {
		return
	}
	if r, err = c.Do("FETCH 1:* (UID BODY.PEEK[])"); err != nil {
		b.t.Fatal(err)
	}
	for _, d := range r.Data {
		if d.Fetch == nil {
			continue
		}
		at.uid = d.Fetch.UID
		name, ok := b.whole(d.Fetch.Bodies["BODY[]"])
		if !ok {
			b.t.Errorf("%v holds other bytes than were sent: %.300q", at, d.Fetch.Bodies["BODY[]"])
		}
		there[name] = append(there[name], at)
	}
}

// whole finds out which message a text is, and whether it has its bytes. One that the book has
// forgotten came after the power had gone.
func (b *book) whole(text string) (name string, ok bool) {
	_, rest, _ := strings.Cut(text, "Message-ID: <")
	name, _, _ = strings.Cut(rest, "@")
	e := b.letters[name]
	return name, e == nil || strings.HasSuffix(text, e.text)
}

// arrived checks that the other house has what was handed in for it.
func (b *book) arrived() {
	b.t.Helper()
	times := map[string]int{}
	for _, text := range b.zoe.Inbox() {
		_, body, _ := strings.Cut(text, "\r\nFrom: ")
		name, ok := b.whole("From: " + body)
		if !ok {
			b.t.Errorf("%s arrived with other bytes than were sent", name)
		}
		times[name]++
	}
	for name, e := range b.letters {
		if n := times[name]; e.remote && e.acked && n == 0 || n > 1+lives {
			b.t.Errorf("%s arrived %d times", name, n)
		}
	}
}
