package main

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"

	"tram/internal/clock"
	"tram/internal/dns"
	"tram/internal/envelope"
	"tram/internal/kv/memkv"
	"tram/internal/limits"
	"tram/internal/mailauth"
	"tram/internal/mailauth/authres"
	"tram/internal/mailauth/check"
	"tram/internal/message"
	"tram/internal/smtp"
	"tram/internal/spam"
	"tram/internal/spam/content"
	spamwords "tram/internal/spam/words"
)

// checkTimes is the CPU that all built-in checks of one message take, in milliseconds.
type checkTimes struct {
	Size  int
	Kinds []checkTime
}

// checkTime is that of one kind of message. Content is a part of Examine, Words of Decide.
type checkTime struct {
	Name, What              string
	Origin, Examine, Decide float64
	Content, Words          float64
}

// total is what all of them take together.
func (c checkTime) total() float64 { return c.Origin + c.Examine + c.Decide }

// size20k is the size that the aim speaks of.
const size20k = 20_000

// checker is everything that looks at a message from outside, without doors and storage.
type checker struct {
	checks *check.Checker
	judge  *spam.Judge
	words  *spamwords.Classifier
	from   *signer
	close  func()
}

// strangerAddr is where the messages come from: what is local is not looked at in full.
var strangerAddr = netip.MustParseAddr("192.0.2.10")

const checkedAccount = 1

// newChecker makes one that has been taught, by an account and by all.
func newChecker(from *signer) (*checker, error) {
	addr, closeNames, err := from.names()
	if err != nil {
		return nil, err
	}
	l := limits.Default()
	names := dns.New(dns.Options{Servers: []netip.AddrPort{addr}, Clock: clock.System, Limits: l.DNS})
	db := memkv.New()
	c := &checker{from: from, words: spamwords.Open(spamwords.Options{DB: db}), close: func() {
		closeNames()
		db.Close()
	}}
	c.checks = check.New(check.Options{Resolver: names, Hostname: "mail." + domain, Limits: l.MailAuth})
	own := content.NewDomains(domain)
	c.judge = spam.New(spam.Options{
		DB: db, Resolver: names, Words: c.words, Config: spam.DefaultConfig(),
		Own: func(context.Context) (*content.Domains, map[string]bool) { return own, nil },
	})
	var lessons []spamwords.Lesson
	for i, m := range vietnameseMail(3, 1000) {
		lessons = append(lessons, spamwords.Lesson{Text: m.text, Junk: m.junk, ID: fmt.Sprint("v", i)})
	}
	for i := range 500 {
		raw := letter(i)
		t, err := spamwords.TextOf(bytes.NewReader(raw), message.Parse(raw, l.Message), l.Words.Text)
		if err != nil {
			return nil, err
		}
		lessons = append(lessons, spamwords.Lesson{Text: t, ID: fmt.Sprint("l", i)})
	}
	for _, owner := range []spamwords.Owner{checkedAccount, spamwords.Shared} {
		if err := c.words.LearnAll(context.Background(), owner, lessons); err != nil {
			c.close()
			return nil, err
		}
	}
	return c, nil
}

// looked is a message on its way through the checks.
type looked struct {
	raw      []byte
	parsed   *message.Message
	env      *envelope.Envelope
	evidence *spam.Evidence
}

// sent makes message seq as it arrives, parsed: that is done in any case.
func (c *checker) sent(seq int, raw []byte) (*looked, error) {
	field, err := c.from.sign(seq, raw)
	if err != nil {
		return nil, err
	}
	m := &looked{raw: append([]byte(field), raw...)}
	m.parsed = message.Parse(m.raw, limits.Default().Message)
	_, host, _ := strings.Cut(stranger, "@")
	m.env = &envelope.Envelope{
		ID: fmt.Sprint("m", seq), Origin: envelope.Inbound, Message: m.parsed,
		From:   smtp.Address{Local: "sender", Domain: host},
		Client: envelope.Client{Addr: strangerAddr, HELO: host},
	}
	return m, nil
}

// origin finds out who vouches for a message, and writes it down.
func (c *checker) origin(m *looked) error {
	head := bytes.Index(m.raw, []byte("\r\n\r\n")) + 2
	look := c.checks.Begin(m.raw[:head])
	if _, err := look.Write(m.raw[head+2:]); err != nil {
		return err
	}
	author, err := check.Author(look.Header())
	if err != nil {
		return err
	}
	m.env.Auth = look.Finish(context.Background(), check.Session{
		Addr: m.env.Client.Addr, HELO: m.env.Client.HELO, From: m.env.From, Author: author,
	})
	client := authres.Client{Addr: m.env.Client.Addr, From: m.env.From.String()}
	_ = authres.Of("mail."+domain, m.env.Auth, client).Append(nil)
	if d := m.env.Auth.DMARC; d.Status != mailauth.Pass {
		return fmt.Errorf("DMARC %s: %s", d.Status, d.Reason)
	}
	return nil
}

// examine gathers what speaks for and against a message.
func (c *checker) examine(m *looked) error {
	m.evidence = c.judge.Examine(context.Background(), spam.Source{Env: m.env, Body: bytes.NewReader(m.raw)})
	_ = c.judge.Status(m.evidence)
	return nil
}

// decide decides for one person.
func (c *checker) decide(m *looked) error {
	to := spam.Person{Account: checkedAccount, Address: smtp.Address{Local: "user1", Domain: domain}}
	d, err := c.judge.Decide(context.Background(), m.evidence, to)
	if err != nil {
		return err
	}
	c.judge.Concluded(m.evidence, to, d, d.Verdict)
	if d.Verdict != spam.Accept {
		return fmt.Errorf("%s, score %.1f: %s", d.Verdict, d.Score, d.Record())
	}
	return nil
}

// look does all of it.
func (c *checker) look(m *looked) error {
	for _, step := range []func(*looked) error{c.origin, c.examine, c.decide} {
		if err := step(m); err != nil {
			return err
		}
	}
	return nil
}

// checkKinds are the kinds of messages of 20 kB that are looked at.
var checkKinds = []struct {
	name, what string
	make       func(seq, size int) []byte
}{
	{"text", "a plain text, English and Vietnamese", checkedText},
	{"page", "a short text, and the same as a page with 40 links", checkedPage},
	{"archive", "a short text, and an archive with a text in it, opened in the same process", checkedArchive},
}

func checkedHead(seq int, subject string) string {
	return fmt.Sprintf("From: Load Test <%s>\r\nTo: user1@%s\r\nSubject: %s %d\r\nMessage-ID: <c%d@load.test>\r\n"+
		"Date: Mon, 05 Jan 2026 10:00:00 +0700\r\nMIME-Version: 1.0\r\n", stranger, domain, subject, seq, seq)
}

func checkedWords(seq, size int) string {
	rnd := rand.New(rand.NewPCG(77, uint64(seq)))
	var b strings.Builder
	words(rnd, english, &b, size/2)
	words(rnd, vietnamese, &b, size-b.Len())
	return b.String()
}

const textPart = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"

func checkedText(seq, size int) []byte {
	return []byte(checkedHead(seq, "meeting report") + textPart + checkedWords(seq, size-400))
}

func checkedPage(seq, size int) []byte {
	var b strings.Builder
	b.WriteString(checkedHead(seq, "project update") + "Content-Type: multipart/alternative; boundary=bound\r\n\r\n")
	b.WriteString("--bound\r\n" + textPart + checkedWords(seq, 3000) + "--bound\r\nContent-Type: text/html; " +
		"charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n<html><head><style>p { margin: 8px; color: #222 }" +
		"</style></head><body>\r\n")
	const links = 40
	for i := range links {
		fmt.Fprintf(&b, "<table width=\"600\"><tr><td><p style=\"font-size:14px\">%s"+
			"<a href=\"https://www.load.test/p/%d\">read more</a></p></td></tr></table>\r\n",
			checkedWords(seq+i, (size-4200)/links-130), i)
	}
	b.WriteString("</body></html>\r\n--bound--\r\n")
	return []byte(b.String())
}

func checkedArchive(seq, size int) []byte {
	var packed bytes.Buffer
	z := zip.NewWriter(&packed)
	w, err := z.CreateHeader(&zip.FileHeader{Name: "report.txt", Method: zip.Deflate})
	if err == nil {
		// A third of this text is left, and four thirds of that in base64.
		_, err = w.Write([]byte(checkedWords(seq, 36_000)))
	}
	if err != nil || z.Close() != nil {
		return nil // a buffer in memory takes everything
	}
	return []byte(checkedHead(seq, "documents attached") + "Content-Type: multipart/mixed; boundary=bound\r\n\r\n" +
		"--bound\r\n" + textPart + checkedWords(seq, 3000) + "--bound\r\nContent-Type: application/zip; " +
		"name=report.zip\r\nContent-Disposition: attachment; filename=report.zip\r\n" +
		"Content-Transfer-Encoding: base64\r\n\r\n" + base64Lines(packed.Bytes()) + "--bound--\r\n")
}

// checkRounds is how many messages of a kind are looked at.
const checkRounds = 400

// measureCheckTime measures the CPU of each kind of message, step by step.
func measureCheckTime(from *signer) (*checkTimes, error) {
	c, err := newChecker(from)
	if err != nil {
		return nil, err
	}
	defer c.close()
	all := &checkTimes{Size: size20k}
	for _, kind := range checkKinds {
		var mails []*looked
		for seq := range checkRounds {
			m, err := c.sent(seq, kind.make(seq, size20k))
			if err != nil {
				return nil, err
			}
			mails = append(mails, m)
		}
		t := checkTime{Name: kind.name, What: kind.what}
		for _, step := range []struct {
			into *float64
			do   func(*looked) error
		}{
			{&t.Origin, c.origin}, {&t.Examine, c.examine}, {&t.Content, c.contentAlone}, {&t.Decide, c.decide},
			{&t.Words, c.wordsAlone},
		} {
			if *step.into, err = eachMessage(mails, step.do); err != nil {
				return nil, fmt.Errorf("checks of a %s: %w", kind.name, err)
			}
		}
		fmt.Printf("%-12s %.2f ms of CPU for all checks of %d bytes\n", t.Name, t.total(), len(mails[0].raw))
		all.Kinds = append(all.Kinds, t)
	}
	return all, nil
}

func (c *checker) contentAlone(m *looked) error {
	_ = content.Examine(context.Background(), bytes.NewReader(m.raw), m.parsed,
		content.Options{Limits: limits.Default().Content, Now: clock.System.Now()})
	return nil
}

func (c *checker) wordsAlone(m *looked) error {
	t := spamwords.Text{Subject: m.parsed.Subject, From: stranger, Body: m.evidence.Report.Text}
	_, err := c.words.Judge(context.Background(), checkedAccount, t)
	return err
}

// eachMessage returns the milliseconds of CPU that a step takes for a message.
func eachMessage(mails []*looked, do func(*looked) error) (float64, error) {
	before := cpuTime()
	for _, m := range mails {
		if err := do(m); err != nil {
			return 0, err
		}
	}
	return float64(cpuTime()-before) / 1e6 / float64(len(mails)), nil
}

// section tells of the times in Markdown.
func (c *checkTimes) section(b *strings.Builder) {
	fmt.Fprintf(b, "\nAll built-in checks of one message of %d kB, in one process without doors and storage, "+
		"milliseconds of CPU; the\nDNS answers from the resolver's memory. An account and all accounts together "+
		"have learnt 1,500 messages.\n\n"+
		"| message | all | who vouches for it | what is in it, its sender's name | of which content "+
		"| decision for one person | of which words |\n"+
		"| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n", c.Size/1000)
	for _, k := range c.Kinds {
		fmt.Fprintf(b, "| %s | %.2f | %.2f | %.2f | %.2f | %.2f | %.2f |\n", k.What, k.total(), k.Origin, k.Examine,
			k.Content, k.Decide, k.Words)
	}
}
