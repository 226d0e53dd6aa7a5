package spam

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tram/internal/envelope"
	"tram/internal/mailauth"
	"tram/internal/smtp"
	"tram/internal/spam/sign"
)

// TestReplay is fault M5: one signed message goes to very many people from ever new addresses.
func TestReplay(t *testing.T) {
	t.Parallel()
	r := newRoom(t, nil)
	signed := []mailauth.DKIM{{Status: mailauth.Pass, Domain: "big.test", Signature: "abcdef"}}
	flagged := 0
	for i := range 80 {
		l := letter{from: fmt.Sprintf("x%d@evil.test", i), author: "news@big.test", dmarc: mailauth.Pass, dkim: signed,
			client: fmt.Sprintf("198.51.%d.9", i), to: []string{fmt.Sprintf("p%d@house.test", i)}}
		for _, s := range r.examine(l).Signs {
			if s.Name == signReplay && s.Score >= 5 {
				flagged++
			}
		}
	}
	if flagged != 30 {
		t.Errorf("%d of 80 were flagged, want 30", flagged)
	}
	// The same person ten times, and another signature, are no replays.
	l := letter{from: "a@list.test", dkim: []mailauth.DKIM{{Status: mailauth.Pass, Domain: "list.test", Signature: "other"}}}
	for range 80 {
		if ev := r.examine(l); has(ev.Signs, signReplay) {
			t.Fatal("80 messages to one person are a replay")
		}
	}
	r.clock.Advance(2 * time.Hour)
	if ev := r.examine(letter{from: "x@big.test", dkim: signed, to: []string{"new@house.test"}}); has(ev.Signs, signReplay) {
		t.Error("an hour later it is flagged still")
	}
}

// TestListBomb is fault O8.
func TestListBomb(t *testing.T) {
	t.Parallel()
	r := newRoom(t, nil)
	r.WroteTo(1, "carol@friend.test")
	first, told, inbox := 0, 0, 0
	for i := range 2000 {
		r.clock.Advance(300 * time.Millisecond) // 2,000 in 10 minutes
		l := letter{from: fmt.Sprintf("no-reply@shop%d.test", i%500), dmarc: mailauth.Pass, spf: mailauth.Pass,
			subject: "Please confirm your subscription"}
		d := r.decide(r.examine(l), 1)
		switch {
		case d.Bomb && first == 0:
			first = i
			fallthrough
		case d.Bomb:
			if d.Verdict != Junk {
				t.Fatalf("part of the bomb: %+v", d)
			}
		case d.Verdict == Accept:
			inbox++
		}
		if d.BombBegins {
			told++
		}
		if i == 1000 {
			for _, real := range []letter{
				{from: "carol@friend.test", dmarc: mailauth.Pass, subject: "Welcome to the party"},
				{from: "alerts@bank.test", dmarc: mailauth.Pass, subject: "Large transfer from your savings"},
				{from: "no-reply@bank.test", dmarc: mailauth.Pass, subject: "Verify your sign up", body: "Your code is 482913"},
			} {
				if d := r.decide(r.examine(real), 1); d.Verdict != Accept {
					t.Errorf("%s: %+v", real.subject, d)
				}
			}
			if d := r.decide(r.examine(l), 2); d.Bomb {
				t.Error("another person's mail is taken for a bomb")
			}
		}
	}
	if at := time.Duration(first) * 300 * time.Millisecond; first == 0 || at > 2*time.Minute {
		t.Errorf("noticed after %v", at)
	}
	if told != 1 || inbox > 25 {
		t.Errorf("told %d times, %d came to the inbox", told, inbox)
	}
	r.clock.Advance(time.Hour)
	if d := r.decide(r.examine(letter{from: "a@new.test", dmarc: mailauth.Pass, subject: "Please confirm"}), 1); d.Bomb {
		t.Error("an hour later it goes on")
	}
}

func TestLearning(t *testing.T) {
	t.Parallel()
	r := newRoom(t, nil)
	ctx := context.Background()
	bad := letter{from: "win@lottery.test", dmarc: mailauth.None, subject: "You have won a prize",
		body: "Claim your lottery prize money now, dear winner, send your bank details"}
	lesson := func(l letter) Lesson {
		s := r.source(l)
		raw := new(bytes.Buffer)
		_, err := raw.ReadFrom(bytes.NewReader(fullOf(s)))
		must(t, err)
		top := r.Status(r.Examine(ctx, s))
		s.Env.Message.Header = append([]byte(top), s.Env.Message.Header...)
		return r.Lesson(ctx, s.Body, s.Env.Message)
	}
	before := r.decide(r.examine(bad), 1).Score
	for i := range 10 {
		must(t, r.Learn(ctx, person(1), lesson(bad), fmt.Sprint("bad", i), true))
		good := letter{from: "bob@work.test", dmarc: mailauth.Pass, subject: "Meeting notes", client: "192.0.9.9",
			body: fmt.Sprint("Agenda of the meeting on project number ", i)}
		must(t, r.Learn(ctx, person(1), lesson(good), fmt.Sprint("good", i), false))
	}
	after := r.decide(r.examine(bad), 1)
	if after.Score < before+3 || !has(after.Signs, signBadName) || !has(after.Signs, signOwnBad) {
		t.Errorf("before %v, after %+v", before, after)
	}
	for i := range 10 {
		must(t, r.Unlearn(ctx, person(1), lesson(bad), fmt.Sprint("bad", i), true))
	}
	must(t, r.Flush(ctx))
	if d := r.decide(r.examine(bad), 1); has(d.Signs, signOwnBad) || d.Score > before+0.5 {
		t.Errorf("after it was taken back: %v, %+v", before, d)
	}
	must(t, r.Forget(ctx, 1))
}

func fullOf(s Source) []byte {
	b := make([]byte, s.Env.Message.Size)
	n, _ := s.Body.ReadAt(b, 0)
	return b[:n]
}

// TestStatusTeachesNothingFromBelow proves that what a sender wrote into his header is not taken for
// ours.
func TestStatusTeachesNothingFromBelow(t *testing.T) {
	t.Parallel()
	r := newRoom(t, nil)
	l := letter{from: "bob@away.test", dmarc: mailauth.Pass, spf: mailauth.Pass,
		dkim: []mailauth.DKIM{{Status: mailauth.Pass, Domain: "away.test", Signature: "s"}}}
	ev := r.examine(l)
	top := r.Status(ev)
	for _, line := range strings.Split(strings.TrimSuffix(top, "\r\n"), "\r\n") {
		if len(line) > 78 {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
	got := r.source2(top)
	if fmt.Sprint(got) != fmt.Sprint(ev.names) {
		t.Errorf("read back %v, want %v\n%s", got, ev.names, top)
	}
	forged := "Received: from x by y\r\n" + top + "\r\n"
	if v := headerField([]byte(forged), "X-Spam-Status"); v != "" {
		t.Errorf("believed %q", v)
	}
}

func (r *room) source2(top string) []name {
	return r.Judge.source(headerField([]byte(top+"Received: x\r\n\r\n"), "X-Spam-Status"))
}

func TestExplain(t *testing.T) {
	t.Parallel()
	d := Decision{Score: 6.2, Required: 5, Signs: []sign.Sign{
		{Name: signDKIM, Score: -0.3, Detail: "away.test"},
		{Name: signListed, Score: 3, Detail: `a "b" in; c`}, {Name: signUnproved},
	}}
	for range 40 {
		d.Signs = append(d.Signs, sign.Sign{Name: "RULE_OF_SOMEBODY", Score: 0.1, Detail: "with many words"})
	}
	record := d.Record()
	if len(record) > 1000 {
		t.Errorf("%d bytes", len(record))
	}
	back, ok := ParseRecord(record)
	if !ok || back.Score != 6.2 || back.Required != 5 || len(back.Signs) < 10 || back.Signs[0] != d.Signs[1] ||
		back.Signs[1] != d.Signs[0] {
		t.Errorf("%q reads %+v", record, back)
	}
	for _, bad := range []string{"", "score", "score x of y: A 1", "score 1 of 2: A"} {
		if back, ok := ParseRecord(bad); ok && len(back.Signs) > 0 {
			t.Errorf("%q reads %+v", bad, back)
		}
	}
	en, vi := Explain(back.Signs, English, nil), Explain(back.Signs, Vietnamese, nil)
	if !strings.Contains(en[0].Sentence, "public list") || !strings.Contains(vi[0].Sentence, "danh sách công khai") {
		t.Errorf("%+v %+v", en[0], vi[0])
	}
	for id, s := range sentences {
		if s[0] == "" || s[1] == "" || strings.HasSuffix(s[0], ".") {
			t.Errorf("%s: %q", id, s)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	r := newRoom(t, func(o *Options) { o.Limits.RejectHeader = 100 })
	ctx := context.Background()
	ev := r.examine(letter{from: "bob@away.test", subject: "Wanted after all"}, heavy, heavy, heavy)
	d := r.decide(ev, 1)
	r.Refuse(ev, []Person{person(1), person(2)}, d)
	list, err := r.Refusals(ctx, "P2@House", 10)
	must(t, err)
	if len(list) != 1 || list[0].Subject != "Wanted after all" || len(list[0].Header) > 100 || list[0].Client != "192.0.2.7" {
		t.Fatalf("the list is %+v", list)
	}
	if reply := ev.Reply(Reject); reply.Code != 550 || !strings.Contains(reply.Text(), "trail") {
		t.Errorf("the reply is %v", reply)
	}
	if list, _ := r.Refusals(ctx, "nobody", 10); len(list) != 0 {
		t.Errorf("somebody else's list is %+v", list)
	}
	if _, _, err := r.LetIn(ctx, "other"); !errors.Is(err, ErrNoRefused) {
		t.Errorf("another id: %v", err)
	}
	if _, rules, err := r.LetIn(ctx, "trail"); err != nil || len(rules) != 1 {
		t.Errorf("let in: %v %v", rules, err)
	}
	proved := r.examine(letter{from: "bob@away.test", dmarc: mailauth.Pass}, heavy, heavy, heavy)
	if a, b := r.decide(proved, 2), r.decide(proved, 3); a.Verdict != Accept || b.Verdict != Reject {
		t.Errorf("the next one: %s for him, %s for another", a.Verdict, b.Verdict)
	}
	r.clock.Advance(15 * 24 * time.Hour)
	must(t, r.Maintain(ctx))
	if list, _ := r.Refusals(ctx, "", 10); len(list) != 0 {
		t.Errorf("after 15 days: %+v", list)
	}
}

func TestSuppress(t *testing.T) {
	t.Parallel()
	r := newRoom(t, func(o *Options) { o.Limits.Suppressed = 2 })
	ctx := context.Background()
	gone := address(t, "Gone@away.test")
	no := smtp.NewReply(550, smtp.Enhanced{5, 1, 1}, "No such user")
	if !NoSuchAddress(no) || NoSuchAddress(smtp.NewReply(550, smtp.Enhanced{5, 7, 1}, "spam")) ||
		NoSuchAddress(smtp.NewReply(450, smtp.Enhanced{4, 1, 1}, "later")) {
		t.Error("replies are told apart wrongly")
	}
	must(t, r.Suppress(ctx, gone, no.String()))
	if reply := r.CheckOutgoing(ctx, gone); reply.Code != 550 || !strings.Contains(reply.String(), "suppressed remove gone@away.test") {
		t.Errorf("the reply is %v", reply)
	}
	if reply := r.CheckOutgoing(ctx, address(t, "other@away.test")); reply.Code != 0 {
		t.Errorf("another address: %v", reply)
	}
	must(t, r.Suppress(ctx, address(t, "b@away.test"), ""))
	must(t, r.Suppress(ctx, address(t, "c@away.test"), "")) // one too many
	if list, err := r.SuppressedList(ctx, "", 10); err != nil || len(list) != 2 || list[1].Address != "gone@away.test" {
		t.Errorf("the list is %+v, %v", list, err)
	}
	must(t, r.Unsuppress(ctx, gone))
	if err := r.Unsuppress(ctx, gone); !errors.Is(err, ErrNotSuppressed) {
		t.Errorf("twice: %v", err)
	}
	r.clock.Advance(31 * 24 * time.Hour)
	if reply := r.CheckOutgoing(ctx, address(t, "b@away.test")); reply.Code != 0 {
		t.Errorf("after a month: %v", reply)
	}
	must(t, r.Maintain(ctx))
	if list, _ := r.SuppressedList(ctx, "", 10); len(list) != 0 {
		t.Errorf("after a month: %+v", list)
	}
}

// TestSuddenChange is a part of fault A17: an account that sends far more than it ever did.
func TestSuddenChange(t *testing.T) {
	t.Parallel()
	r := newRoom(t, nil)
	ctx := context.Background()
	send := func(n int) string {
		t.Helper()
		s := r.source(letter{from: "p1@house.test"})
		s.Env.Origin, s.Env.Account = envelope.Submission, 1
		for i := range n - 1 {
			s.Env.Recipients = append(s.Env.Recipients, envelope.Recipient{Address: address(t, fmt.Sprintf("x%d@away.test", i))})
		}
		why, err := r.Outgoing(ctx, s.Env, s.Body, nil)
		must(t, err)
		return why
	}
	if why := send(60); why != "" {
		t.Errorf("on the first day: %s", why)
	}
	for day := range 20 {
		r.clock.Advance(24 * time.Hour)
		if why := send(5); why != "" {
			t.Fatalf("day %d: %s", day, why)
		}
		must(t, r.Flush(ctx))
	}
	r.habits.seen = nil // another process
	r.clock.Advance(24 * time.Hour)
	if why := send(300); !strings.Contains(why, "sudden change") {
		t.Errorf("300 recipients: %q", why)
	}
	if known, err := r.writesTo(ctx, 1, &Evidence{author: "x3@away.test"}); err != nil || !known {
		t.Errorf("correspondents are not known: %v", err)
	}
}

// TestOutgoingFound: what the filters outside found weighs with what is found here.
func TestOutgoingFound(t *testing.T) {
	t.Parallel()
	r := newRoom(t, func(o *Options) { o.Config.Outgoing = 8 })
	for score, held := range map[float64]bool{2: false, 30: true} {
		s := r.source(letter{from: "p1@house.test"})
		s.Env.Origin, s.Env.Account = envelope.Submission, 1
		found := []sign.Sign{{Name: "RSPAMD_OWN", Score: score}}
		why, err := r.Outgoing(context.Background(), s.Env, s.Body, found)
		must(t, err)
		if held != strings.Contains(why, "RSPAMD_OWN") || !held && why != "" {
			t.Errorf("score %v: %q", score, why)
		}
	}
}

func TestOnce(t *testing.T) {
	t.Parallel()
	r := newRoom(t, nil)
	for i, want := range []bool{true, false, false, true} {
		if i == 3 {
			r.clock.Advance(25 * time.Hour)
		}
		if got, err := r.Once(context.Background(), "held 7", 24*time.Hour); err != nil || got != want {
			t.Errorf("%d: told %t, %v", i, got, err)
		}
	}
}

func TestNetworks(t *testing.T) {
	t.Parallel()
	table, err := ReadNetworks(strings.NewReader("# table\n10.0.0.0/8\t1\tWide\n10.1.0.0/16\tAS2\tNarrow\n" +
		"10.1.2.0/24\t3\tNarrower\n2001:db8::/32\t4\tSix\n"))
	must(t, err)
	for addr, want := range map[string]uint32{"10.1.2.3": 3, "10.1.3.1": 2, "10.9.0.1": 1, "11.0.0.1": 0,
		"2001:db8::5": 4, "::ffff:10.1.2.3": 3} {
		if got, _, _ := table.Find(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s is in %d, want %d", addr, got, want)
		}
	}
	for _, bad := range []string{"10.0.0.0/8 1 x", "x\t1", "10.0.0.0/8\tmany\tx"} {
		if _, err := ReadNetworks(strings.NewReader(bad)); !errors.Is(err, ErrNetworks) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestGreetings(t *testing.T) {
	t.Parallel()
	r := newRoom(t, nil)
	for helo, want := range map[string]string{
		"mail.away.test": "", "[192.0.2.7]": signHELOLiteral, "[192.0.2.8]": signHELOFalse,
		"192.0.2.7": signHELOFalse, "localhost": signHELOBare,
	} {
		s := r.source(letter{from: "bob@away.test"})
		s.Env.Client.HELO = helo
		got := ""
		for _, s := range r.Examine(context.Background(), s).Signs {
			if strings.HasPrefix(s.Name, "HELO") {
				got = s.Name
			}
		}
		if got != want {
			t.Errorf("%s is %q, want %q", helo, got, want)
		}
	}
	a := netip.MustParseAddr("192.0.2.17")
	for host, want := range map[string]bool{"192-0-2-17.pool.isp.test": true, "17.2.0.192.isp.test": true,
		"mail17.away.test": false, "mx2.away.test": false} {
		if genericName(host, a) != want {
			t.Errorf("%s: not %t", host, want)
		}
	}
}

// BenchmarkJudge is the whole judgement of a message of 20 kB for one person, without the DNS.
func BenchmarkJudge(b *testing.B) {
	r := newRoom(b, func(o *Options) { o.Resolver = nil })
	body := strings.Repeat("The quick brown fox meets https://fox.example.test/den and the lazy dog again.\r\n", 250)
	s := r.source(letter{from: "bob@away.test", subject: "A long letter", body: body, spf: mailauth.Pass,
		dkim: []mailauth.DKIM{{Status: mailauth.Pass, Domain: "away.test", Signature: "x"}}})
	for i := range 50 {
		l := r.source(letter{from: "bob@away.test", body: body[:2000+i]})
		lesson := r.Lesson(context.Background(), l.Body, l.Env.Message)
		must(b, r.Learn(context.Background(), person(1), lesson, fmt.Sprint(i), i%2 == 0))
	}
	b.SetBytes(s.Env.Message.Size)
	b.ReportAllocs()
	for b.Loop() {
		ev := r.Examine(context.Background(), s)
		d, err := r.Decide(context.Background(), ev, person(1))
		if err != nil {
			b.Fatal(err)
		}
		r.Concluded(ev, person(1), d, d.Verdict)
	}
}
