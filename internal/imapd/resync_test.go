package imapd

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tram/internal/imap"
	"tram/internal/store"
)

var (
	resyncSeed = flag.Uint64("resync.seed", 0, "seed of TestResync; 0: a new one")
	resyncRuns = flag.Int("resync.runs", 4, "runs of TestResync")
)

// TestResync is the property that all of sync rests on (RFC 7162, RFC 9051 §7.5.1): whatever clients
// do at once, and wherever their connections are cut, a client that applies what it is told, and
// resumes by QRESYNC from what it had, knows in the end exactly what the server has.
func TestResync(t *testing.T) {
	t.Parallel()
	seed := *resyncSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	for run := range uint64(*resyncRuns) {
		t.Run(fmt.Sprint(seed+run), func(t *testing.T) {
			t.Parallel()
			t.Logf("replay with -resync.seed %d -resync.runs 1", seed+run)
			resyncRun(t, seed+run)
		})
	}
}

func resyncRun(t *testing.T, seed uint64) {
	h := build(t, options{twice: seed%2 == 0})
	h.fill("INBOX", 1, 40)
	models := []*model{
		newModel(h, seed, 1, true), newModel(h, seed, 2, true), newModel(h, seed, 3, false),
	}
	var wg sync.WaitGroup
	for _, m := range models {
		wg.Go(func() {
			m.connect()
			for range 60 {
				if m.failed != nil {
					return
				}
				m.step()
			}
		})
	}
	wg.Wait()
	for _, m := range models {
		if m.failed == nil {
			m.do("NOOP")
			m.learnNew()
			m.compare()
		}
		if m.failed != nil {
			t.Errorf("client %d: %v\n%s", m.id, m.failed, strings.Join(m.log[max(0, len(m.log)-60):], "\n"))
		}
	}
}

// model is what a careful client knows of INBOX.
type model struct {
	h       *house
	id      int
	rnd     *rand.Rand
	qresync bool
	c       *imap.Client

	messages    []known // in the order of message numbers
	uidValidity string
	modseq      uint64 // to resume from
	seen        uint64 // highest MODSEQ since the last tagged reply
	told        uint64 // HIGHESTMODSEQ since the last tagged reply
	earlier     bool   // the SELECT that runs resumes
	exists      int

	failed error
	log    []string
}

type known struct {
	uid   uint32 // 0: not known yet
	flags string
}

func newModel(h *house, seed uint64, id int, qresync bool) *model {
	return &model{h: h, id: id, qresync: qresync, rnd: rand.New(rand.NewPCG(seed, uint64(id)))}
}

func (m *model) fail(format string, args ...any) {
	if m.failed == nil {
		m.failed = fmt.Errorf(format, args...)
	}
}

// connect opens a session and resumes.
func (m *model) connect() {
	m.c = m.h.client()
	m.c.OnUntagged = m.apply
	if m.qresync {
		m.do("ENABLE QRESYNC")
	}
	m.forget()
	command := "SELECT INBOX"
	if m.qresync && m.modseq > 0 {
		command = fmt.Sprintf("SELECT INBOX (QRESYNC (%s %d", m.uidValidity, m.modseq)
		if n := len(m.messages); n > 0 {
			command += fmt.Sprintf(" 1:%d", m.messages[n-1].uid)
			if k := m.rnd.IntN(n); m.rnd.IntN(2) == 0 {
				command += fmt.Sprintf(" (%d %d)", k+1, m.messages[k].uid)
			}
		}
		command += "))"
		m.earlier = true
	} else {
		m.messages = nil
	}
	m.do(command)
	m.earlier = false
	if len(m.messages) > m.exists {
		m.fail("knows %d messages, of which there are %d", len(m.messages), m.exists)
	}
	for len(m.messages) < m.exists {
		m.messages = append(m.messages, known{})
	}
	m.learnNew()
}

// forget drops the messages from the first one on that was counted and never seen: after a cut they
// are new again. What it says it knows must have no holes.
func (m *model) forget() {
	if i := slices.IndexFunc(m.messages, func(k known) bool { return k.uid == 0 }); i >= 0 {
		m.messages = m.messages[:i]
	}
}

// do runs a command and settles the mod-sequence as RFC 7162 §6 wants it.
func (m *model) do(command string) *imap.Reply {
	if m.failed != nil {
		return nil
	}
	m.log = append(m.log, "C: "+command)
	m.seen, m.told = 0, 0
	r, err := m.c.Do(command)
	var status *imap.StatusError
	if err != nil && !errors.As(err, &status) {
		m.fail("%s: %v", command, err)
		return nil
	}
	m.log = append(m.log, fmt.Sprintf("S: %s [%s %s]", r.Name, r.Code, r.Args))
	if r.Name == "BAD" {
		m.fail("%s: BAD %s", command, r.Text)
	}
	m.code(r.Response)
	switch {
	case m.told > 0:
		m.modseq = m.told
	case m.seen > m.modseq:
		m.modseq = m.seen
	}
	return r
}

func (m *model) code(r imap.Response) {
	switch r.Code {
	case "HIGHESTMODSEQ":
		m.told, _ = strconv.ParseUint(r.Args, 10, 64)
	case "UIDVALIDITY":
		m.uidValidity = r.Args
	}
}

// apply takes an untagged reply.
func (m *model) apply(r imap.Response) {
	m.log = append(m.log, fmt.Sprintf("S: * %d %s [%s %s] %v %+v", r.Num, r.Name, r.Code, r.Args,
		r.Values, r.Fetch))
	switch r.Name {
	case "OK":
		m.code(r)
	case "EXISTS":
		if !m.earlier && int(r.Num) < len(m.messages) {
			m.fail("EXISTS %d, knows %d", r.Num, len(m.messages))
		}
		m.exists = int(r.Num)
		for !m.earlier && len(m.messages) < m.exists {
			m.messages = append(m.messages, known{})
		}
	case "EXPUNGE":
		if m.qresync || r.Num == 0 || int(r.Num) > len(m.messages) {
			m.fail("EXPUNGE %d of %d", r.Num, len(m.messages))
			return
		}
		m.messages = slices.Delete(m.messages, int(r.Num)-1, int(r.Num))
	case "VANISHED":
		m.vanished(r)
	case "FETCH":
		m.fetched(r.Fetch)
	}
}

func (m *model) vanished(r imap.Response) {
	set, earlier := r.Values[0], len(r.Values) == 2
	if earlier {
		set = r.Values[1]
	}
	nums, ok := imap.ParseNumSet(set.Text)
	if !ok || !m.qresync || earlier != m.earlier {
		m.fail("VANISHED %v", r.Values)
		return
	}
	for _, rg := range nums.Resolve(0) {
		for uid := rg.Start; uid <= rg.Stop; uid++ {
			i := slices.IndexFunc(m.messages, func(k known) bool { return k.uid == uid })
			if i < 0 && !earlier {
				i = m.unseen(uid)
			}
			switch {
			case i >= 0:
				m.messages = slices.Delete(m.messages, i, i+1)
			case !earlier:
				m.fail("VANISHED %d, which is not there", uid)
			}
		}
	}
}

// unseen returns a message that may be the one with a UID, which was counted and never seen: it
// stands before the first known one with a larger UID.
func (m *model) unseen(uid uint32) int {
	i := slices.IndexFunc(m.messages, func(k known) bool { return k.uid > uid })
	if i < 0 {
		i = len(m.messages)
	}
	if i > 0 && m.messages[i-1].uid == 0 {
		return i - 1
	}
	return -1
}

func (m *model) fetched(f *imap.Fetched) {
	m.seen = max(m.seen, f.ModSeq)
	if m.earlier { // message numbers are not in step before the removals are applied
		i := slices.IndexFunc(m.messages, func(k known) bool { return k.uid == f.UID })
		if i >= 0 && f.HasFlags {
			m.messages[i].flags = flagText(f.Flags)
		}
		return
	}
	if f.Seq == 0 || int(f.Seq) > len(m.messages) {
		m.fail("FETCH %d of %d", f.Seq, len(m.messages))
		return
	}
	k := &m.messages[f.Seq-1]
	if f.UID != 0 && k.uid != 0 && k.uid != f.UID {
		m.fail("message %d is UID %d, was %d", f.Seq, f.UID, k.uid)
	}
	if f.UID != 0 {
		k.uid = f.UID
	}
	if f.HasFlags {
		k.flags = flagText(f.Flags)
	}
}

func flagText(flags []string) string {
	flags = slices.DeleteFunc(slices.Clone(flags), func(f string) bool { return f == imap.FlagRecent })
	sort.Strings(flags)
	return strings.Join(flags, " ")
}

// learnNew asks for what is only counted. FETCH by number tells no removals, so numbers stay.
func (m *model) learnNew() {
	for range 100 {
		i := slices.IndexFunc(m.messages, func(k known) bool { return k.uid == 0 })
		if i < 0 || m.failed != nil {
			return
		}
		items := "(UID FLAGS)"
		if m.rnd.IntN(2) == 0 {
			items = "(UID FLAGS MODSEQ)"
		}
		r := m.do(fmt.Sprintf("FETCH %d:* %s", i+1, items))
		if r != nil && r.Name == "NO" { // some are gone: hear of it
			m.do("NOOP")
		}
	}
	m.fail("never learns what is new")
}

// step does one thing at random.
func (m *model) step() {
	n := len(m.messages)
	pick := func() int { return 1 + m.rnd.IntN(max(n, 1)) }
	flag := []string{"\\Seen", "\\Flagged", "\\Deleted", "$One", "$Two"}[m.rnd.IntN(5)]
	sign := []string{"+", "-", ""}[m.rnd.IntN(3)]
	silent := []string{"", ".SILENT"}[m.rnd.IntN(2)]
	prefix, num := "", pick()
	if n > 0 && m.rnd.IntN(2) == 0 {
		prefix, num = "UID ", int(m.messages[num-1].uid)
	}
	switch op := m.rnd.IntN(12); {
	case n == 0 || op == 0:
		m.append()
	case op <= 3:
		m.store(prefix, num, sign, silent, flag)
	case op == 4:
		m.do(fmt.Sprintf("%sFETCH %d (UID FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])", prefix, num))
	case op == 5:
		m.do(fmt.Sprintf("%sFETCH %d (FLAGS BODY[TEXT])", prefix, num))
	case op == 6:
		m.do("EXPUNGE")
	case op == 7:
		m.do(fmt.Sprintf("%sCOPY %d INBOX", prefix, num))
	case op == 8 && n > 10:
		m.do(fmt.Sprintf("%sMOVE %d Archive", prefix, num))
	case op == 9:
		m.idle()
	case op == 10:
		m.cut()
	default:
		m.do(prefix + "SEARCH ALL")
	}
	m.learnNew()
}

func (m *model) append() {
	if m.failed != nil {
		return
	}
	m.log = append(m.log, "C: APPEND")
	m.seen, m.told = 0, 0
	r, err := m.c.Do("APPEND INBOX (\\Flagged) ", []byte(mail(m.rnd.IntN(1000))))
	if err != nil {
		m.fail("append: %v", err)
		return
	}
	m.code(r.Response)
	if m.told > 0 {
		m.modseq = m.told
	} else {
		m.modseq = max(m.modseq, m.seen)
	}
}

// store changes a flag. What is silent the client must work out for itself.
func (m *model) store(prefix string, num int, sign, silent, flag string) {
	i := num - 1
	if prefix != "" {
		i = slices.IndexFunc(m.messages, func(k known) bool { return k.uid == uint32(num) })
	}
	uid := m.messages[i].uid
	if silent != "" {
		// The server tells what differs from this, after it.
		set := strings.Fields(m.messages[i].flags)
		switch sign {
		case "":
			set = []string{flag}
		case "+":
			if !slices.Contains(set, flag) {
				set = append(set, flag)
			}
		case "-":
			set = slices.DeleteFunc(set, func(f string) bool { return f == flag })
		}
		sort.Strings(set)
		m.messages[i].flags = strings.Join(set, " ")
	}
	r := m.do(fmt.Sprintf("%sSTORE %d %sFLAGS%s (%s)", prefix, num, sign, silent, flag))
	if r != nil && r.Name == "NO" && r.Code != "EXPUNGEISSUED" {
		m.fail("STORE of UID %d: NO %s", uid, r.Text)
	}
}

func (m *model) idle() {
	if m.failed != nil {
		return
	}
	m.log = append(m.log, "C: IDLE")
	m.seen, m.told = 0, 0
	tag, err := m.c.Idle()
	if err == nil {
		var r *imap.Reply
		if r, err = m.c.Done(tag); err == nil {
			m.code(r.Response)
			m.modseq = max(m.modseq, m.seen)
			if m.told > 0 {
				m.modseq = m.told
			}
		}
	}
	if err != nil {
		m.fail("idle: %v", err)
	}
}

// cut ends the connection in the middle of a command, after some of its replies.
func (m *model) cut() {
	if m.failed != nil {
		return
	}
	commands := []string{"NOOP", "FETCH 1:* (UID FLAGS MODSEQ)", "EXPUNGE", "STORE 1:* +FLAGS (\\Answered)"}
	command := commands[m.rnd.IntN(len(commands))]
	m.log = append(m.log, "C: (cut) "+command)
	if _, err := m.c.Conn().Write([]byte("cut " + command + "\r\n")); err != nil {
		m.fail("cut: %v", err)
		return
	}
	for range m.rnd.IntN(5) {
		r, err := m.c.Next()
		if err != nil {
			m.fail("cut: %v", err)
			return
		}
		if r.Tag != "*" {
			break
		}
		m.apply(r)
	}
	m.c.Close()
	m.connect()
}

// compare holds the model against the store.
func (m *model) compare() {
	err := m.h.account().View(m.h.t.Context(), func(tx *store.Tx) error {
		box, err := tx.MailboxByName("INBOX")
		if err != nil {
			return err
		}
		list, err := tx.List(box.ID)
		if err != nil {
			return err
		}
		words, err := tx.Keywords()
		if err != nil {
			return err
		}
		if list.Len() != len(m.messages) {
			return fmt.Errorf("knows %d messages, the server has %d", len(m.messages), list.Len())
		}
		for i, e := range list.Entries(0, list.Len()) {
			names := words.AppendNames(nil, e.Flags)
			for _, f := range systemFlags {
				if e.Flags&f.bit != 0 {
					names = append(names, f.name)
				}
			}
			if k := m.messages[i]; k.uid != uint32(e.UID) || k.flags != flagText(names) {
				return fmt.Errorf("message %d is %d (%s), the server has %d (%s)",
					i+1, k.uid, k.flags, e.UID, flagText(names))
			}
		}
		return nil
	})
	if err != nil {
		m.fail("%v", err)
	}
}
