package spam

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"tram/internal/clock"
	"tram/internal/dns"
	"tram/internal/envelope"
	"tram/internal/kv/memkv"
	"tram/internal/limits"
	"tram/internal/mailauth"
	"tram/internal/message"
	"tram/internal/smtp"
	"tram/internal/spam/sign"
	"tram/internal/spam/words"
)

// bench is a Judge over memory, with a clock and a DNS of the test's.
type room struct {
	*Judge
	t     testing.TB
	db    *memkv.DB
	clock *clock.Fake
	dns   *dns.Fake
}

var start = time.Date(2026, 5, 4, 9, 0, 0, 0, time.UTC)

func newRoom(t testing.TB, edit func(*Options)) *room {
	t.Helper()
	r := &room{t: t, db: memkv.New(), clock: clock.NewFake(start), dns: dns.NewFake("")}
	o := Options{DB: r.db, Clock: r.clock, Resolver: r.dns, Limits: limits.Default().Spam, Config: DefaultConfig(),
		Words: words.Open(words.Options{DB: r.db, Clock: r.clock})}
	if edit != nil {
		edit(&o)
	}
	r.Judge = New(o)
	return r
}

// letter is a message as it comes from outside.
type letter struct {
	from, author, subject, body, client, extra string
	dmarc, spf                                 mailauth.Status
	network                                    string // that SPF passed from
	dkim                                       []mailauth.DKIM
	to                                         []string
}

func (r *room) source(l letter) Source {
	if l.author == "" {
		l.author = l.from
	}
	if l.client == "" {
		l.client = "192.0.2.7"
	}
	if l.to == nil {
		l.to = []string{"alice@house.test"}
	}
	raw := fmt.Sprintf("Received: from x by y\r\nFrom: <%s>\r\nTo: <%s>\r\nSubject: %s\r\n"+
		"Date: Mon, 4 May 2026 09:00:00 +0000\r\nMessage-ID: <m@x.test>\r\n%s\r\n%s\r\n",
		l.author, l.to[0], l.subject, l.extra, l.body)
	env := &envelope.Envelope{
		ID: "trail", Origin: envelope.Inbound, From: address(r.t, l.from), Received: r.clock.Now(),
		Message: message.Parse([]byte(raw), limits.Default().Message),
		Client:  envelope.Client{Addr: netip.MustParseAddr(l.client), HELO: "mail.sender.test"},
		Auth: &mailauth.Results{
			SPF: mailauth.SPF{Status: l.spf, Domain: address(r.t, l.from).Domain}, DKIM: l.dkim,
			DMARC: mailauth.DMARC{Status: l.dmarc, Domain: address(r.t, l.author).Domain,
				SPF: l.dmarc == mailauth.Pass},
		},
	}
	env.Auth.From = l.author
	env.Auth.FromDomain = env.Auth.DMARC.Domain
	if l.network != "" {
		env.Auth.SPF.Range = netip.MustParsePrefix(l.network)
	}
	for _, to := range l.to {
		env.Recipients = append(env.Recipients, envelope.Recipient{Address: address(r.t, to)})
	}
	return Source{Env: env, Body: bytes.NewReader([]byte(raw))}
}

func address(t testing.TB, s string) smtp.Address {
	t.Helper()
	if s == "" {
		return smtp.Address{}
	}
	a, err := smtp.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (r *room) examine(l letter, extra ...sign.Sign) *Evidence {
	r.t.Helper()
	s := r.source(l)
	s.Signs = extra
	return r.Examine(context.Background(), s)
}

func (r *room) decide(ev *Evidence, account uint64) Decision {
	r.t.Helper()
	d, err := r.Decide(context.Background(), ev, person(account))
	if err != nil {
		r.t.Fatal(err)
	}
	return d
}

func person(account uint64) Person {
	return Person{account, smtp.Address{Local: fmt.Sprint("p", account), Domain: "house.test"}}
}

func has(signs []sign.Sign, id string) bool {
	return slices.ContainsFunc(signs, func(s sign.Sign) bool { return s.Name == id })
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var heavy = sign.Sign{Name: "TEST", Score: 6}

func TestThresholds(t *testing.T) {
	t.Parallel()
	r := newRoom(t, nil)
	ctx := context.Background()
	honest := letter{from: "bob@away.test", subject: "Lunch", body: "Shall we meet at noon?",
		dmarc: mailauth.Pass, spf: mailauth.Pass}
	if d := r.decide(r.examine(honest), 1); d.Verdict != Accept || d.Required != 5 {
		t.Errorf("an honest letter: %+v", d)
	}
	six, twenty := r.examine(honest, heavy), r.examine(honest, heavy, heavy, heavy)
	if d := r.decide(six, 1); d.Verdict != Junk {
		t.Errorf("six points: %+v", d)
	}
	if d := r.decide(twenty, 1); d.Verdict != Reject {
		t.Errorf("eighteen points: %+v", d)
	}
	// A domain's thresholds hold for its people, a person's for himself.
	f := func(x float64) *float64 { return &x }
	must(t, r.SetPolicy(ctx, "house.test", PolicyChange{Junk: f(8), Quarantine: f(9)}, false))
	must(t, r.SetPolicy(ctx, AccountScope(2), PolicyChange{Junk: f(2), Quarantine: f(5)}, false))
	if d := r.decide(six, 1); d.Verdict != Accept || d.Required != 8 {
		t.Errorf("with the domain's threshold: %+v", d)
	}
	if d := r.decide(six, 2); d.Verdict != Quarantine {
		t.Errorf("with the person's threshold: %+v", d)
	}
	_, holds, err := r.Policy(ctx, AccountScope(2), "house.test", Server)
	if err != nil || holds != (Policy{Junk: 2, Quarantine: 5, Reject: 15}) {
		t.Errorf("the person's policy is %+v, %v", holds, err)
	}
	must(t, r.SetPolicy(ctx, AccountScope(2), PolicyChange{}, true))
	if d := r.decide(six, 2); d.Verdict != Accept {
		t.Errorf("after the reset: %+v", d)
	}
}

func TestLists(t *testing.T) {
	t.Parallel()
	proved := letter{from: "bob@mail.away.test", dmarc: mailauth.Pass, spf: mailauth.Pass}
	forged := letter{from: "bob@mail.away.test", dmarc: mailauth.Fail}
	// Half of the Internet has this pass.
	wide := letter{from: "bob@mail.away.test", dmarc: mailauth.Pass, spf: mailauth.Pass, network: "128.0.0.0/1"}
	noPolicy := wide
	noPolicy.dmarc = mailauth.None
	// Another customer of a provider has brought a message that he wrote himself.
	replayed := letter{from: "bob@big.test", author: "mallory@big.test", dmarc: mailauth.Pass,
		dkim: []mailauth.DKIM{{Status: mailauth.Pass, Domain: "big.test"}}}
	for _, tc := range []struct {
		name   string
		rules  map[Scope][]string
		letter letter
		want   Verdict
		sign   string
	}{
		{"allow with proof", map[Scope][]string{"#1": {"allow bob@mail.away.test"}}, proved, Accept, signAllowed},
		{"allow without", map[Scope][]string{"#1": {"allow bob@mail.away.test"}}, forged, Reject, signUnproved},
		{"allow a network", map[Scope][]string{"#1": {"allow 192.0.2.0/24"}}, forged, Accept, signAllowed},
		{"allow the domain above", map[Scope][]string{"house.test": {"allow away.test"}}, proved, Accept, signAllowed},
		{"address before domain", map[Scope][]string{"": {"deny away.test", "allow bob@mail.away.test"}},
			proved, Accept, signAllowed},
		{"longer domain before shorter", map[Scope][]string{"": {"allow away.test", "deny mail.away.test"}},
			proved, Reject, signDenied},
		{"domain before network", map[Scope][]string{"": {"deny 192.0.2.7", "allow away.test"}},
			proved, Accept, signAllowed},
		{"person before domain", map[Scope][]string{"#1": {"allow away.test"}, "house.test": {"deny away.test"}},
			proved, Accept, signAllowed},
		{"domain before server", map[Scope][]string{"house.test": {"deny away.test"}, "": {"allow away.test"}},
			proved, Reject, signDenied},
		{"allow, wide SPF", map[Scope][]string{"#1": {"allow away.test"}}, wide, Reject, signUnproved},
		{"allow, wide SPF and no policy", map[Scope][]string{"#1": {"allow away.test"}}, noPolicy, Reject, signUnproved},
		{"allow, replayed", map[Scope][]string{"#1": {"allow bob@big.test"}}, replayed, Reject, signUnproved},
		{"deny needs no proof", map[Scope][]string{"#1": {"deny away.test"}}, forged, Reject, signDenied},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRoom(t, nil)
			for scope, lines := range tc.rules {
				rules, err := ReadRules(strings.NewReader(strings.Join(lines, "\n")))
				must(t, err)
				must(t, r.AddRules(context.Background(), scope, rules...))
			}
			d := r.decide(r.examine(tc.letter, heavy, heavy, heavy), 1)
			if d.Verdict != tc.want || !has(d.Signs, tc.sign) {
				t.Errorf("%s %v, want %s with %s", d.Verdict, d.Signs, tc.want, tc.sign)
			}
		})
	}
}

// TestWidePass is M8: an SPF pass that very many could have costs a point, saves nobody from coming again
// and adds to no repute that must be earned. With a signature beside it, as large providers send, it is as
// good as any other.
func TestWidePass(t *testing.T) {
	t.Parallel()
	r := newRoom(t, nil)
	narrow := letter{from: "bob@away.test", dmarc: mailauth.Pass, spf: mailauth.Pass, network: "192.0.2.0/24"}
	wide := narrow
	wide.network = "64.0.0.0/14"
	signed := wide
	signed.dkim = []mailauth.DKIM{{Status: mailauth.Pass, Domain: "away.test"}}
	unknown := wide
	unknown.dmarc = mailauth.None
	for _, c := range []struct {
		name   string
		letter letter
		aligns bool
		wide   bool
	}{{"narrow", narrow, false, false}, {"wide", wide, false, true},
		{"wide without a policy", unknown, false, true}, {"wide and signed", signed, true, false}} {
		s := r.source(c.letter)
		s.Env.Auth.DMARC.DKIM = c.aligns
		s.Signs = []sign.Sign{{Name: "TEST", Score: 3}}
		ev := r.Examine(context.Background(), s)
		if has(ev.Signs, signSPFWide) != c.wide || has(ev.Signs, signDMARCPass) == c.wide {
			t.Errorf("%s: %v", c.name, ev.Signs)
		}
		if d := r.decide(ev, 1); d.Doubtful != c.wide {
			t.Errorf("%s: doubtful %t", c.name, d.Doubtful)
		}
		if slices.Contains(ev.names, name{nameDomain, "away.test"}) == c.wide {
			t.Errorf("%s: names %v", c.name, ev.names)
		}
	}
}

func TestRulesReadBack(t *testing.T) {
	t.Parallel()
	r := newRoom(t, func(o *Options) { o.Limits.Rules = 4 })
	ctx := context.Background()
	text := "# a comment\nallow Bob@Away.TEST # a friend\n\ndeny *.bad.test\ndeny 2001:db8::/32\nallow 192.0.2.1\n"
	rules, err := ReadRules(strings.NewReader(text))
	must(t, err)
	must(t, r.AddRules(ctx, "#1", rules...))
	all, err := r.Rules(ctx, "#1")
	must(t, err)
	var b bytes.Buffer
	must(t, WriteRules(&b, all))
	want := "allow bob@away.test # a friend\ndeny bad.test\nallow 192.0.2.1/32\ndeny 2001:db8::/32\n"
	if b.String() != want {
		t.Errorf("the list reads\n%s, want\n%s", b.String(), want)
	}
	if err := r.AddRules(ctx, "#1", Rule{Kind: RuleDomain, Value: "one.more.test"}); err == nil {
		t.Error("a fifth entry was taken")
	}
	must(t, r.RemoveRule(ctx, "#1", "bad.test"))
	if err := r.RemoveRule(ctx, "#1", "bad.test"); err == nil {
		t.Error("an entry was removed twice")
	}
	for _, bad := range []string{"perhaps a@b.test", "allow", "deny nothing", "allow a b@c"} {
		if _, err := ReadRules(strings.NewReader(bad)); err == nil || !strings.Contains(err.Error(), "line 1") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestNameLists follows RFC 5782 §2 and §5.
func TestNameLists(t *testing.T) {
	t.Parallel()
	code := netip.MustParsePrefix("127.0.0.10/31")
	lists := []NameList{
		{Zone: "good.list.test", Kind: ListAddress, Weight: 3, Codes: map[netip.Prefix]float64{code: 1.5}},
		{Zone: "all.list.test", Kind: ListAddress, Weight: 3},
		{Zone: "none.list.test", Kind: ListAddress, Weight: 3},
		{Zone: "rude.list.test", Kind: ListAddress, Weight: 3},
		{Zone: "dom.list.test", Kind: ListDomain, Weight: 2},
	}
	r := newRoom(t, func(o *Options) { o.Config.Lists = lists })
	r.dns.Add(`2.0.0.127.good.list.test. IN A 127.0.0.2
7.2.0.192.good.list.test. IN A 127.0.0.2
8.2.0.192.good.list.test. IN A 127.0.0.11
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.good.list.test. IN A 127.0.0.2
*.all.list.test. IN A 127.0.0.2
2.0.0.127.rude.list.test. IN A 127.0.0.2
7.2.0.192.rude.list.test. IN A 127.255.255.254
test.dom.list.test. IN A 127.0.0.2
bad.test.dom.list.test. IN A 127.0.0.2
`)
	l := letter{from: "bob@bad.test", client: "192.0.2.7"}
	if ev := r.examine(l); has(ev.Signs, signListed) {
		t.Error("a list was believed before it was tested")
	}
	r.TestLists(context.Background())
	find := func(ev *Evidence) (out []string) {
		for _, s := range ev.Signs {
			if s.Name == signListed || s.Name == signListedDomain {
				out = append(out, fmt.Sprintf("%s %.1f %s", s.Name, s.Score, s.Detail))
			}
		}
		slices.Sort(out)
		return out
	}
	want := []string{"LISTED 3.0 192.0.2.7 in good.list.test", "LISTED_DOMAIN 2.0 bad.test in dom.list.test"}
	for range 2 { // the second time without the one that complained
		if got := find(r.examine(l)); !slices.Equal(got, want) {
			t.Errorf("found %v, want %v", got, want)
		}
	}
	l.from, l.client = "bob@fair.test", "192.0.2.8"
	if got := find(r.examine(l)); !slices.Equal(got, []string{"LISTED 1.5 192.0.2.8 in good.list.test"}) {
		t.Errorf("by its code: %v", got)
	}
	l.client = "2001:db8::1"
	if got := find(r.examine(l)); !slices.Equal(got, []string{"LISTED 3.0 2001:db8::1 in good.list.test"}) {
		t.Errorf("by nibbles: %v", got)
	}
	off := map[string]bool{}
	for _, l := range r.lists.all {
		off[l.Zone] = !l.usable()
	}
	if !off["all.list.test"] || !off["none.list.test"] || !off["rude.list.test"] || off["good.list.test"] || off["dom.list.test"] {
		t.Errorf("off are %v", off)
	}
	// A list that fails says nothing, and comes back after the next test.
	r.dns.Fail("7.2.0.192.good.list.test", dns.ErrTemporary)
	l.client = "192.0.2.7"
	if got := find(r.examine(l)); len(got) != 0 {
		t.Errorf("a list that failed: %v", got)
	}
	r.dns.Add("2.0.0.127.none.list.test. IN A 127.0.0.2\n7.2.0.192.none.list.test. IN A 127.0.0.2\n")
	r.clock.Advance(2 * time.Hour)
	r.TestLists(context.Background())
	if got := find(r.examine(l)); !slices.Equal(got, []string{"LISTED 3.0 192.0.2.7 in none.list.test"}) {
		t.Errorf("a list that came back: %v", got)
	}
}

func TestReputation(t *testing.T) {
	t.Parallel()
	r := newRoom(t, nil)
	ctx := context.Background()
	proved := letter{from: "bob@away.test", dmarc: mailauth.Pass, spf: mailauth.Pass}
	forged := letter{from: "bob@away.test", dmarc: mailauth.Fail, client: "198.51.100.9"}
	for range 20 {
		r.experience(r.examine(forged).names, person(1), change{bad: 1})
	}
	if ev := r.examine(proved); has(ev.Signs, signBadName) {
		t.Errorf("a forger ruined a name: %v", ev.Signs)
	}
	if ev := r.examine(forged); !has(ev.Signs, signBadName) {
		t.Errorf("a forger is forgotten: %v", ev.Signs)
	}
	must(t, r.Flush(ctx))
	ev := r.examine(forged)
	if !has(ev.Signs, signBadName) {
		t.Errorf("after the flush: %v", ev.Signs)
	}
	if d := r.decide(ev, 1); !has(d.Signs, signOwnBad) {
		t.Errorf("the person's own experience is missing: %v", d.Signs)
	}
	if d := r.decide(ev, 2); d.Score >= r.decide(ev, 1).Score {
		t.Error("one person's experience counts as much for another")
	}
	if delay, release := r.Tarpit(ctx, netip.MustParseAddr("198.51.100.9")); delay != r.o.Limits.TarpitDelay {
		t.Errorf("a bad source waits %v", delay)
	} else {
		release()
	}
	if delay, _ := r.Tarpit(ctx, netip.MustParseAddr("198.51.100.10")); delay != 0 {
		t.Errorf("its neighbour waits %v", delay)
	}
	// What is halved often enough is forgotten, and its rows go.
	r.clock.Advance(400 * 24 * time.Hour)
	if ev := r.examine(forged); has(ev.Signs, signBadName) {
		t.Errorf("after a year: %v", ev.Signs)
	}
	must(t, r.Maintain(ctx))
	if n, err := r.sweep(ctx, nameSub, func(_, _ []byte) bool { return false }); n != 0 || err != nil {
		t.Errorf("%d rows are left, %v", n, err)
	}
}

// TestBoughtName: thousands of harmless messages that nobody looks at do not buy a good name; what people
// say of it does count in full.
func TestBoughtName(t *testing.T) {
	t.Parallel()
	r := newRoom(t, nil)
	ctx := context.Background()
	l := letter{from: "shop@away.test", dmarc: mailauth.Pass, spf: mailauth.Pass}
	good := func() float64 {
		t.Helper()
		records, err := r.lookUp(ctx, []string{nameKey(Server, name{nameSender, "shop@away.test"})})
		must(t, err)
		return records[0].good
	}
	pleasant := sign.Sign{Name: "PLEASANT", Score: -1}
	for i := range 1000 {
		ev := r.examine(l, pleasant)
		d := r.decide(ev, 1)
		if d.Verdict != Accept {
			t.Fatalf("message %d: %+v", i, d)
		}
		r.Concluded(ev, person(1), d, Accept)
		if i%100 == 0 {
			must(t, r.Flush(ctx))
		}
	}
	must(t, r.Flush(ctx))
	if g := good(); g < unopposedMost-0.1 || g > unopposedMost {
		t.Errorf("a thousand messages nobody read are worth %g, want %d", g, unopposedMost)
	}
	for range 10 {
		r.experience(r.examine(l).names, person(1), change{good: 1})
	}
	if g := good(); g < 10 {
		t.Errorf("ten people's word is worth %g", g)
	}
}

// TestOneWriteForMany proves that a message costs no write of its own.
func TestOneWriteForMany(t *testing.T) {
	t.Parallel()
	r := newRoom(t, nil)
	before := r.db.Stats().Commits
	for i := range 300 {
		ev := r.examine(letter{from: fmt.Sprintf("b%d@away.test", i), spf: mailauth.Fail, dmarc: mailauth.Fail,
			client: fmt.Sprintf("198.51.100.%d", i%250)}, heavy)
		r.Concluded(ev, person(1), r.decide(ev, 1), Junk)
	}
	if n := r.db.Stats().Commits - before; n != 0 {
		t.Errorf("300 messages made %d transactions", n)
	}
	must(t, r.Flush(context.Background()))
	if n := r.db.Stats().Commits - before; n == 0 || n > 20 {
		t.Errorf("writing them down took %d transactions", n)
	}
}

func TestGreylist(t *testing.T) {
	t.Parallel()
	r := newRoom(t, nil)
	ctx := context.Background()
	doubtful := letter{from: "bob@away.test", spf: mailauth.SoftFail, dmarc: mailauth.None, body: "Hello"}
	suspicion := sign.Sign{Name: "TEST", Score: 3}
	grey := func(l letter) bool {
		t.Helper()
		ev := r.examine(l, suspicion)
		if d := r.decide(ev, 1); !d.Doubtful {
			t.Fatalf("not doubtful: %+v", d)
		}
		wait, err := r.Grey(ctx, ev, person(1))
		must(t, err)
		return wait
	}
	if !grey(doubtful) {
		t.Error("an unknown sender was taken at once")
	}
	r.clock.Advance(time.Minute)
	if !grey(doubtful) {
		t.Error("who came again after a minute was taken")
	}
	must(t, r.Flush(ctx))
	r.clock.Advance(5 * time.Minute)
	doubtful.client = "192.0.2.99" // another server of the same network
	if grey(doubtful) {
		t.Error("who came again after six minutes was not taken")
	}
	must(t, r.Maintain(ctx))
	r.clock.Advance(30 * 24 * time.Hour)
	if grey(doubtful) {
		t.Error("he was forgotten after 30 days")
	}
	must(t, r.Maintain(ctx))
	r.clock.Advance(34 * 24 * time.Hour)
	if grey(doubtful) {
		t.Error("a visit did not renew his pass")
	}
	must(t, r.Maintain(ctx))
	r.clock.Advance(36 * 24 * time.Hour)
	must(t, r.Maintain(ctx))
	if !grey(doubtful) {
		t.Error("he was remembered after 36 days without a visit")
	}
	// Who waits too long begins again.
	r.clock.Advance(3 * 24 * time.Hour)
	if !grey(doubtful) {
		t.Error("who came again after three days was taken")
	}
}

func TestNobodyWaitsForACode(t *testing.T) {
	t.Parallel()
	suspicion := sign.Sign{Name: "TEST", Score: 3}
	for _, tc := range []struct {
		name   string
		letter letter
		doubt  bool
	}{
		{"plain", letter{body: "Buy now"}, true},
		{"English code", letter{subject: "Your verification code", body: "482913 is your code. It expires soon."}, false},
		{"English code in two groups", letter{body: "Your one-time passcode: 482 913"}, false},
		{"Vietnamese code", letter{subject: "=?utf-8?q?M=C3=A3_x=C3=A1c_th=E1=BB=B1c?=", body: "Mã xác thực của bạn là 739201."}, false},
		{"Vietnamese without marks", letter{body: "Ma OTP: 5512. Khong chia se voi ai."}, false},
		{"a number and no code", letter{body: "Invoice 482913 is due"}, true},
		{"a long text with a code", letter{body: "Your code is 482913.\r\n" + strings.Repeat("word word word word\r\n", 300)}, true},
		{"vouched for", letter{body: "Buy now", dmarc: mailauth.Pass, spf: mailauth.Pass}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRoom(t, nil)
			tc.letter.from = "bob@away.test"
			tc.letter.extra = "Content-Type: text/plain; charset=utf-8\r\n"
			if d := r.decide(r.examine(tc.letter, suspicion), 1); d.Doubtful != tc.doubt {
				t.Errorf("doubtful is %t: %+v", d.Doubtful, d)
			}
		})
	}
	// Nor is a correspondent asked to come again.
	r := newRoom(t, nil)
	r.WroteTo(1, "Bob@away.test")
	if d := r.decide(r.examine(letter{from: "bob@away.test"}, suspicion), 1); d.Doubtful || !has(d.Signs, signKnown) {
		t.Errorf("a correspondent: %+v", d)
	}
	must(t, r.Flush(context.Background()))
	if d := r.decide(r.examine(letter{from: "bob@away.test", dmarc: mailauth.Pass}, suspicion), 1); d.Score > 0 {
		t.Errorf("a correspondent who is vouched for: %+v", d)
	}
	if d := r.decide(r.examine(letter{from: "bob@away.test"}, suspicion), 2); has(d.Signs, signKnown) {
		t.Errorf("somebody else's correspondent: %+v", d)
	}
}
