package mailtest

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tram/internal/admin"
	"tram/internal/config"
	"tram/internal/limits"
	"tram/internal/message"
	"tram/internal/smtp"
	"tram/internal/spam"
)

// thresholds gives a house's people thresholds by which mail that nobody vouches for is junk, or whatever
// the test wants: none of its letters is bad by itself.
func (h *House) thresholds(of string, junk, quarantine, reject float64) {
	h.t.Helper()
	err := h.Admin.SpamSetPolicy(h.t.Context(), of, admin.SpamPolicyChange{
		Set: spam.PolicyChange{Junk: &junk, Quarantine: &quarantine, Reject: &reject}})
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *House) rule(of, do, value string) {
	h.t.Helper()
	err := h.Admin.SpamAddRules(h.t.Context(), of, admin.SpamRules{Rules: []admin.SpamRule{{Do: do, Value: value}}})
	if err != nil {
		h.t.Fatal(err)
	}
}

// mailbox reads one of a person's mailboxes.
func (p *Person) mailbox(name string) []string {
	p.House.t.Helper()
	c := p.IMAP()
	defer c.Logout()
	return p.House.read(c, name)
}

// TestSpamVerdicts goes through the doors: accepted, junk, held and refused; what several people who
// want different things get; and that nothing is ever sent back (P22).
func TestSpamVerdicts(t *testing.T) {
	t.Parallel()
	w := New(t)
	a, b := w.House("a.test", Options{}), w.House("b.test", Options{})
	victim := b.Person("victim", 0)
	easy, strict, hard := a.Person("easy", 0), a.Person("strict", 0), a.Person("hard", 0)
	a.thresholds(strict.Address, 0.1, 0, 0)
	a.thresholds(hard.Address, 0.1, 0, 0.2)
	send := func(name string, to ...string) string {
		t.Helper()
		s := a.Stranger()
		defer s.Close()
		return s.Mail(victim.Address, Letter(victim.Address, to[0], name), to...)[0].String()
	}
	if r := send("one", easy.Address, strict.Address); !strings.HasPrefix(r, "250") {
		t.Errorf("one: %s", r)
	}
	if n, m := len(easy.Inbox()), len(strict.mailbox("Junk")); n != 1 || m != 1 {
		t.Errorf("easy has %d in the inbox, strict %d in the junk", n, m)
	}
	if text := easy.Inbox()[0]; !strings.Contains(text, "X-Spam-Status: No,") {
		t.Errorf("no status:\n%s", text)
	}
	// All want it refused: so it is. One does not: then the other gets it as junk.
	r := send("two", hard.Address)
	if !strings.HasPrefix(r, "550 5.7.1") {
		t.Errorf("two: %s", r)
	}
	if r := send("three", hard.Address, easy.Address); !strings.HasPrefix(r, "250") {
		t.Errorf("three: %s", r)
	}
	if n, m := len(hard.mailbox("Junk")), len(easy.Inbox()); n != 1 || m != 2 {
		t.Errorf("hard has %d in the junk, easy %d in the inbox", n, m)
	}
	// The refusal can be looked up, explained and taken back.
	rejects, err := a.Admin.SpamRejects(t.Context(), hard.Address, 0)
	if err != nil || len(rejects) != 1 || !strings.Contains(r, rejects[0].ID) {
		t.Fatalf("rejects are %+v, %v after %s", rejects, err, r)
	}
	for _, lang := range []string{"en", "vi"} {
		why, err := a.Admin.SpamExplain(t.Context(), rejects[0].ID, lang)
		if err != nil || len(why) != 1 || why[0].Result != "refused" || len(why[0].Reasons) == 0 ||
			why[0].Reasons[0].Sentence == "" {
			t.Errorf("explained in %s: %+v, %v", lang, why, err)
		}
	}
	if _, err := a.Admin.SpamLetIn(t.Context(), rejects[0].ID); err != nil {
		t.Error(err)
	}
	// Nobody proves to be the victim, so the entry alone is not enough; that of a network is.
	if r := send("four", hard.Address); !strings.HasPrefix(r, "550") {
		t.Errorf("four: %s", r)
	}
	a.rule(hard.Address, "allow", "127.0.0.0/8")
	if r := send("five", hard.Address); !strings.HasPrefix(r, "250") || len(hard.Inbox()) != 1 {
		t.Errorf("five: %s", r)
	}
	a.rule("", "deny", "b.test")
	if r := send("six", easy.Address); !strings.HasPrefix(r, "550") {
		t.Errorf("six: %s", r)
	}
	w.Pass(48*time.Hour, time.Hour, a)
	a.Emptied()
	if n, m := w.Dialled(b.Address), len(victim.Inbox()); n != 0 || m != 0 {
		t.Errorf("the victim's house was called %d times and has %d messages", n, m)
	}
}

// TestQuarantine: what is held is seen, released into the inbox, or goes to the junk mail when nobody
// has looked for two weeks. Its sender never hears of it.
func TestQuarantine(t *testing.T) {
	t.Parallel()
	w := New(t)
	a := w.House("a.test", Options{})
	alice, bob := a.Person("alice", 0), a.Person("bob", 0)
	a.thresholds("a.test", 0.1, 0.2, 0)
	s := a.Stranger()
	if r := s.Mail("x@b.test", Letter("x@b.test", alice.Address, "held"), alice.Address, bob.Address); !r[0].OK() {
		t.Fatal(r)
	}
	items := a.Queued()
	if len(items) != 2 || items[0].State != "held" || !strings.Contains(items[0].Reason, "quarantine: score") {
		t.Fatalf("the queue holds %+v", items)
	}
	if n := len(alice.Inbox()) + len(alice.mailbox("Junk")); n != 0 {
		t.Errorf("alice has %d already", n)
	}
	for _, it := range items {
		if it.Recipients[0].Address == alice.Address {
			if err := a.Admin.QueueDo(t.Context(), it.ID, admin.QueueAction{Do: admin.QueueRelease}); err != nil {
				t.Fatal(err)
			}
		}
	}
	alice.WaitInbox(1)
	w.until("nothing is held", 6*time.Hour, func() bool { return len(a.Queued()) == 0 })
	if n, m := len(bob.Inbox()), len(bob.mailbox("Junk")); n != 0 || m != 1 {
		t.Errorf("bob has %d in the inbox and %d in the junk", n, m)
	}
	if n := len(alice.Inbox()); n != 1 {
		t.Errorf("alice has %d", n)
	}
}

// foreigner connects from an address outside, by the word of a load balancer.
func (h *House) foreigner(addr string) *Sender {
	h.t.Helper()
	c, err := smtp.Dial(h.t.Context(), balancer(addr), h.Addr("smtp").String(),
		smtp.ClientOptions{Hostname: "client.test", Limits: limits.Default().Client})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close() })
	return &Sender{c, h.World}
}

// balancer is a dialer that says for whom it calls.
type balancer string

// DialContext implements smtp.Dialer.
func (b balancer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(c, "PROXY TCP4 %s 127.0.0.1 40000 25\r\n", string(b))
	return c, err
}

// TestGreylisting: a doubtful unknown sender comes again after minutes; who brings a code need not.
func TestGreylisting(t *testing.T) {
	t.Parallel()
	w := New(t)
	a := w.House("a.test", Options{Edit: func(c *config.Config) {
		c.Proxy.Networks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}})
	alice, bob := a.Person("alice", 0), a.Person("bob", 0)
	a.thresholds("a.test", 0.5, 0, 0) // everything is doubtful
	send := func(from, text string, to ...string) string {
		t.Helper()
		s := a.foreigner("192.0.2.7")
		defer s.Close()
		return s.Mail(from, text, to...)[0].String()
	}
	letter := Letter("x@b.test", alice.Address, "doubtful")
	for i, want := range []string{"451 4.7.1", "451 4.7.1", "250"} {
		if r := send("x@b.test", letter, alice.Address); !strings.HasPrefix(r, want) {
			t.Errorf("try %d: %s", i, r)
		}
		w.Clock.Advance(3 * time.Minute)
	}
	account, err := a.Admin.Account(t.Context(), alice.Address)
	if err != nil || account.Used.Messages != 1 {
		t.Errorf("alice has %+v, %v", account.Used, err)
	}
	code := strings.Replace(Letter("y@b.test", alice.Address, "Your verification code"), "Hello.", "Your code is 482913.", 1)
	if r := send("y@b.test", code, alice.Address); !strings.HasPrefix(r, "250") {
		t.Errorf("a code: %s", r)
	}
	// A correspondent of one of two recipients: nobody waits.
	found, err := a.Directory.AccountByAddress(t.Context(), w.Addresses(alice.Address)[0])
	if err != nil {
		t.Fatal(err)
	}
	a.Spam.WroteTo(uint64(found.ID), "z@b.test")
	if r := send("z@b.test", Letter("z@b.test", alice.Address, "answer"), alice.Address, bob.Address); !strings.HasPrefix(r, "250") {
		t.Errorf("a correspondent: %s", r)
	}
}

// TestTarpit: an address that has sent much junk waits for every reply, its neighbour does not.
func TestTarpit(t *testing.T) {
	t.Parallel()
	w := New(t)
	a := w.House("a.test", Options{Edit: func(c *config.Config) {
		c.Proxy.Networks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}})
	alice := a.Person("alice", 0)
	text := Letter("x@b.test", alice.Address, "junk")
	stored := "X-Spam-Status: Yes, score=9 client=192.0.2.7\r\nReceived: from x by y\r\n" + text
	m := message.Parse([]byte(stored), limits.Default().Message)
	for i := range 20 {
		lesson := a.Spam.Lesson(t.Context(), strings.NewReader(stored), m)
		if err := a.Spam.Learn(t.Context(), spam.Person{}, lesson, fmt.Sprint(i), true); err != nil {
			t.Fatal(err)
		}
	}
	s := a.foreigner("192.0.2.8")
	if r := s.Mail("x@b.test", text, alice.Address); r[0].Code == 0 {
		t.Error(r)
	}
	s.Close()
	before := w.Clock.Now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s := a.foreigner("192.0.2.7")
		defer s.Close()
		s.Mail("x@b.test", text, alice.Address)
	}()
	w.Until("the bad source is through", func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	})
	if d := w.Clock.Now().Sub(before); d < 6*time.Second {
		t.Errorf("the bad source waited %v", d)
	}
}

// TestLearningByMoving: what is moved to Junk teaches, and what is moved back is taken back. It moves
// over IMAP, as people's programs do.
func TestLearningByMoving(t *testing.T) {
	t.Parallel()
	w := New(t)
	a := w.House("a.test", Options{})
	alice := a.Person("alice", 0)
	repute := func() (bad float64) {
		t.Helper()
		list, err := a.Admin.SpamReputation(context.Background(), "x@b.test 127.0.0.0/24", alice.Address)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			bad += r.Bad
		}
		return bad
	}
	const letters = 12
	for i := range letters {
		s := a.Stranger()
		text := Letter("x@b.test", alice.Address, fmt.Sprint("offer", i)) + "Cheap watches and lottery prizes\r\n"
		if r := s.Mail("x@b.test", text, alice.Address); !r[0].OK() {
			t.Fatal(r)
		}
		s.Close()
	}
	w.Pass(2*time.Minute, 10*time.Second, a)
	if bad := repute(); bad != 0 {
		t.Errorf("before anything was moved: %v", bad)
	}
	c := alice.IMAP()
	do := func(format string, args ...any) {
		t.Helper()
		if _, err := c.Do(fmt.Sprintf(format, args...)); err != nil {
			t.Fatal(err)
		}
	}
	do("SELECT INBOX")
	do("MOVE 1:* Junk")
	w.Until("the lesson is learned", func() bool { return repute() >= letters-1 })
	s := a.Stranger()
	if r := s.Mail("x@b.test", Letter("x@b.test", alice.Address, "next")+"Cheap watches and lottery prizes\r\n",
		alice.Address); !r[0].OK() {
		t.Fatal(r)
	}
	why, err := a.Admin.SpamExplain(t.Context(), "<next@mail.test>", "en")
	if err != nil || len(why) != 1 {
		t.Fatalf("explained: %+v, %v", why, err)
	}
	found := false
	for _, r := range why[0].Reasons {
		found = found || r.Name == "BAD_REPUTE_HERE" && r.Score >= 2
	}
	if !found {
		t.Errorf("the next one: %+v", why[0])
	}
	do("SELECT Junk")
	do("MOVE 1:%d INBOX", letters)
	w.Until("the lesson is taken back", func() bool { return repute() < 1 })
}

// TestListBombing is O8 through the door: the burst is put together in Junk, known senders stay on
// top, the person and the administrator are told once.
func TestListBombing(t *testing.T) {
	t.Parallel()
	w := New(t)
	a := w.House("a.test", Options{})
	alice, admin := a.Person("alice", 0), a.Person("postmaster", 0)
	alice.Submit(Letter(alice.Address, "friend@b.test", "hello"), "friend@b.test")
	s := a.Stranger()
	for i := range 60 {
		from := fmt.Sprintf("no-reply@shop%d.test", i)
		text := "List-Unsubscribe: <mailto:" + from + ">\r\n" + Letter(from, alice.Address, fmt.Sprint("Confirm", i))
		if r := s.Mail(from, text, alice.Address); !r[0].OK() {
			t.Fatal(r)
		}
		w.Clock.Advance(time.Second)
	}
	if r := s.Mail("bank@c.test", Letter("bank@c.test", alice.Address, "A transfer was made"), alice.Address); !r[0].OK() {
		t.Fatal(r)
	}
	inbox, junk := alice.Inbox(), alice.mailbox("Junk")
	if len(inbox) > 25 || len(inbox)+len(junk) < 61 || !strings.Contains(strings.Join(inbox, ""), "A transfer was made") {
		t.Errorf("%d in the inbox, %d in the junk", len(inbox), len(junk))
	}
	c := alice.IMAP()
	w.Until("alice is told", func() bool {
		return strings.Contains(strings.Join(a.read(c, "INBOX"), ""), "Very many sign-ups")
	})
	admin.WaitInbox(1)
	if n := strings.Count(strings.Join(alice.Inbox(), ""), "Very many sign-ups"); n != 1 {
		t.Errorf("alice was told %d times", n)
	}
	if _, err := c.Do("SELECT Junk"); err != nil {
		t.Fatal(err)
	}
	r, err := c.Do("SEARCH KEYWORD $ListBomb NOT KEYWORD $Junk")
	if err != nil || len(r.Data) == 0 {
		t.Errorf("searched: %+v, %v", r, err)
	}
}

// TestStolenAccount is A17: what a thief of a password sends is held after 200 new recipients a day,
// and the administrator is told once.
func TestStolenAccount(t *testing.T) {
	t.Parallel()
	w, a, b, alice, _ := two(t)
	_ = b
	admin := a.Person("postmaster", 0)
	var to []string
	for i := range 50 {
		to = append(to, fmt.Sprintf("n%d@b.test", i))
	}
	s := alice.Submitter()
	for i := range 8 {
		var some []string
		for _, t := range to {
			some = append(some, fmt.Sprintf("m%d-%s", i, t))
		}
		if r := s.Mail(alice.Address, Letter(alice.Address, some[0], fmt.Sprint("mass", i)), some...); !r[0].OK() {
			t.Fatal(r)
		}
	}
	held := 0
	for _, it := range a.Queued() {
		if it.State == "held" && strings.Contains(it.Reason, "200 new recipients") {
			held++
		}
	}
	if held != 4 {
		t.Errorf("%d of 8 messages are held", held)
	}
	notice := admin.WaitInbox(1)[0]
	if !strings.Contains(notice, "alice@a.test") || !strings.Contains(notice, "200 new recipients") {
		t.Errorf("the notice:\n%s", notice)
	}
	for range 60 {
		w.Clock.Advance(time.Minute)
	}
	if n := len(admin.Inbox()); n != 1 {
		t.Errorf("%d notices", n)
	}
}

// TestSuppression: an address that its own server says does not exist is not tried again.
func TestSuppression(t *testing.T) {
	t.Parallel()
	_, a, _, alice, _ := two(t)
	alice.Submit(Letter(alice.Address, "nobody@b.test", "first"), "nobody@b.test")
	alice.WaitInbox(1) // the failure notice
	s := alice.Submitter()
	r := s.Mail(alice.Address, Letter(alice.Address, "nobody@b.test", "second"), "nobody@b.test")
	if !strings.HasPrefix(r[0].String(), "550") || !strings.Contains(r[0].String(), "tram spam suppressed remove") {
		t.Errorf("the second is answered %v", r)
	}
	if err := a.Admin.SpamUnsuppress(t.Context(), "nobody@b.test"); err != nil {
		t.Error(err)
	}
	if r := s.Mail(alice.Address, Letter(alice.Address, "nobody@b.test", "third"), "nobody@b.test"); !r[0].OK() {
		t.Errorf("the third is answered %v", r)
	}
}
