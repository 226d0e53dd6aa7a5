package mailtest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"tram/internal/imap"
)

// screen is what a mail program shows of a mailbox: what it was told, and nothing it looked up.
type screen struct {
	p     *Person
	c     *imap.Client
	uids  []uint32 // by sequence number
	flags map[uint32]string
	err   error
}

// open selects the INBOX and looks at all of it once.
func (p *Person) open() *screen {
	p.House.t.Helper()
	s := &screen{p: p, c: p.IMAP(), flags: map[uint32]string{}}
	s.c.OnUntagged = s.told
	s.do("SELECT INBOX")
	s.do("FETCH 1:* (UID FLAGS)")
	return s
}

// do sends a command; a NO is an answer too: another client was quicker.
func (s *screen) do(parts ...any) {
	_, err := s.c.Do(parts...)
	if _, no := err.(*imap.StatusError); err != nil && !no && s.err == nil {
		s.err = fmt.Errorf("%.60v: %w", parts, err)
	}
}

// told is how a client learns of anything.
func (s *screen) told(r imap.Response) {
	switch r.Name {
	case "EXISTS":
		if int(r.Num) < len(s.uids) && s.err == nil {
			s.err = fmt.Errorf("EXISTS %d after %d", r.Num, len(s.uids))
		}
		for len(s.uids) < int(r.Num) {
			s.uids = append(s.uids, 0) // its UID is not known yet
		}
	case "EXPUNGE":
		if r.Num == 0 || int(r.Num) > len(s.uids) {
			s.err = fmt.Errorf("EXPUNGE %d of %d", r.Num, len(s.uids))
			return
		}
		delete(s.flags, s.uids[r.Num-1])
		s.uids = slices.Delete(s.uids, int(r.Num)-1, int(r.Num))
	case "FETCH":
		s.fetched(r.Fetch)
	}
}

func (s *screen) fetched(f *imap.Fetched) {
	if f.Seq == 0 || int(f.Seq) > len(s.uids) {
		s.err = fmt.Errorf("FETCH of %d with %d messages", f.Seq, len(s.uids))
		return
	}
	known := &s.uids[f.Seq-1]
	if f.UID != 0 {
		if *known != 0 && *known != f.UID {
			s.err = fmt.Errorf("message %d was UID %d and is %d", f.Seq, *known, f.UID)
		}
		*known = f.UID
	}
	if f.HasFlags && *known != 0 {
		shown := slices.DeleteFunc(slices.Clone(f.Flags), func(f string) bool { return f == `\Recent` })
		slices.Sort(shown)
		s.flags[*known] = strings.Join(shown, " ")
	}
}

// look asks for news, and for the UIDs of what came since.
func (s *screen) look() {
	s.do("NOOP")
	if first := slices.Index(s.uids, 0); first >= 0 {
		s.do(fmt.Sprintf("FETCH %d:* (UID FLAGS)", first+1))
	}
}

// work does what people do, some of it to messages that others are about to take away.
func (s *screen) work(rng *rand.Rand, n int) {
	for i := range n {
		s.look()
		uid := uint32(0)
		if len(s.uids) > 0 {
			uid = s.uids[rng.IntN(len(s.uids))]
		}
		flag := []string{`\Seen`, `\Flagged`, `\Answered`, "work", "$Forwarded"}[rng.IntN(5)]
		deed := rng.IntN(9)
		if uid == 0 {
			deed = 8 // nothing is there
		}
		switch deed {
		case 0, 1, 2:
			s.do(fmt.Sprintf("UID STORE %d +FLAGS (%s)", uid, flag))
		case 3:
			s.do(fmt.Sprintf("UID STORE %d -FLAGS (%s)", uid, flag))
		case 4:
			s.do(fmt.Sprintf("UID MOVE %d Archive", uid))
		case 5:
			s.do(fmt.Sprintf(`UID STORE %d +FLAGS (\Deleted)`, uid))
			s.do(fmt.Sprintf("UID EXPUNGE %d", uid))
		default:
			text := Letter("a@elsewhere.test", s.p.Address, fmt.Sprint("appended", i))
			s.do("APPEND INBOX (work) ", []byte(text))
		}
	}
}

// watch shows what IDLE tells until a message has the flag that ends the test.
func (s *screen) watch(tag string) {
	for s.err == nil {
		r, err := s.c.Next()
		if err != nil {
			s.err = err
			return
		}
		s.told(r)
		if r.Name == "FETCH" && slices.Contains(r.Fetch.Flags, "$Last") {
			break
		}
	}
	if _, err := s.c.Done(tag); err != nil {
		s.err = err
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// TestManyClients is several mail programs on one mailbox, while mail comes in: each is told of all
// that the others do, in such an order that what it shows in the end is what is there.
func TestManyClients(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	w := New(t)
	h := w.House("a.test", Options{})
	alice := h.Person("alice", 0)
	first := alice.IMAP()
	const clients, deeds = 6, 40
	screens := make([]*screen, clients)
	for i := range screens {
		screens[i] = alice.open()
	}
	idler := alice.open()
	tag, err := idler.c.Idle()
	if err != nil {
		t.Fatal(err)
	}
	var sent atomic.Int32
	var all, idle sync.WaitGroup
	idle.Go(func() { idler.watch(tag) })
	stranger := h.Stranger()
	all.Go(func() {
		for i := range deeds {
			r := stranger.Mail("a@elsewhere.test", Letter("a@elsewhere.test", alice.Address, fmt.Sprint("mail", i)), alice.Address)
			if r[0].OK() {
				sent.Add(1)
			}
		}
	})
	for i, s := range screens {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		all.Go(func() { s.work(rng, deeds) })
	}
	all.Wait()
	// What nobody else does ends the watch.
	if _, err := first.Do("APPEND INBOX ", []byte(Letter("a@b.test", "c@d.test", "last"))); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Do("SELECT INBOX"); err != nil {
		t.Fatal(err)
	}
	// Who hears of the message and of its flag at once need not be told of the flag: again, then.
	watched := make(chan struct{})
	go func() { idle.Wait(); close(watched) }()
	for n := 0; !closed(watched); n++ {
		if _, err := first.Do(fmt.Sprintf("STORE * FLAGS ($Last $n%d)", n%2)); err != nil {
			t.Fatal(err)
		}
	}
	truth := alice.open()
	for i, s := range append(screens, idler) {
		s.look()
		if s.err != nil {
			t.Errorf("client %d: %v", i, s.err)
		}
		if !slices.Equal(s.uids, truth.uids) {
			t.Errorf("client %d shows %v, there are %v", i, s.uids, truth.uids)
		}
		if !maps.Equal(s.flags, truth.flags) {
			t.Errorf("client %d shows %v, true is %v", i, s.flags, truth.flags)
		}
	}
	if len(truth.uids) == 0 || sent.Load() != deeds {
		t.Errorf("%d messages are left, %d were taken", len(truth.uids), sent.Load())
	}
}
