package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"tram/bench/wire"
)

var poison = Fault{
	ID: "D19", Name: "poison messages", Rounds: rounds{60, 500, 5000}, Run: runPoison,
	Target: "the process lives, what was taken is readable as it came, others wait at most 1 s",
}

// runPoison delivers malformed messages, has each indexed, parsed and fetched in every way, while
// somebody else's mail is timed.
func runPoison(ctx context.Context, t *Trial) error {
	w, err := t.started(ctx)
	if err != nil {
		return err
	}
	t.Recovery = 0
	pid := w.pid()
	var others latency
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	wait := parallel(work, 1, func(ctx context.Context) {
		msg := wire.Stuff([]byte("Subject: an honest one\r\n\r\nHello.\r\n"))
		for pause(ctx, 20*time.Millisecond) {
			if s, err := wire.DialSMTP(w.smtp(), "", ""); err == nil {
				if ack, took, _ := s.Send("honest@load.test", bob, msg); ack == wire.Acked {
					others.add(took)
				}
				s.Quit()
			}
		}
	})
	sent := map[string][32]byte{}
	refused := 0
	for ; t.Done < t.Count; t.Done++ {
		msg := poisoned(t.Rnd, t.Done)
		s, err := wire.DialSMTP(w.smtp(), "", "")
		if err != nil {
			return err
		}
		ack, _, err := s.Send("poison@load.test", alice, wire.Stuff(msg))
		s.Close()
		switch ack {
		case wire.Acked:
			sent[fmt.Sprint(t.Done)] = sha256.Sum256(msg)
		case wire.Refused:
			refused++
		case wire.Unknown:
			return fmt.Errorf("message %d broke the session: %w", t.Done, err)
		}
	}
	read, err := w.readPoison(sent)
	cancel()
	wait()
	if err != nil {
		return err
	}
	t.Note("%d taken and %d read back, %d refused; others' 250 p99 %.0f ms", len(sent), read, refused,
		ms(others.p(0.99)))
	if read != len(sent) || w.pid() != pid || !w.alive() {
		t.Miss("%d of %d are readable as they came", read, len(sent))
	}
	if others.p(0.99) > time.Second || others.count() == 0 {
		t.Late("others waited %v at p99, of %d", others.p(0.99), others.count())
	}
	if err := w.Stop(); err != nil {
		return err
	}
	return w.Check()
}

// readPoison asks for everything a mail program may ask for, and counts the bodies that are right.
func (w *World) readPoison(sent map[string][32]byte) (int, error) {
	c, err := w.read(alice)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	right := 0
	for _, mailbox := range []string{"INBOX", "Junk"} { // what is malformed enough is junk, too
		n, err := readPoisoned(c, mailbox, sent)
		right += n
		if err != nil {
			return right, err
		}
	}
	return right, nil
}

// readPoisoned is readPoison for one mailbox.
func readPoisoned(c *wire.IMAP, mailbox string, sent map[string][32]byte) (right int, err error) {
	box, err := c.Select(mailbox, "")
	if err != nil {
		return 0, err
	}
	for i := range box.Exists {
		for _, items := range []string{"(ENVELOPE BODYSTRUCTURE RFC822.SIZE PREVIEW)",
			"(BODY.PEEK[HEADER.FIELDS (Subject)] BODY.PEEK[1] BODY.PEEK[TEXT])", "(BINARY.PEEK[1])"} {
			err := c.Do(nil, fmt.Sprintf("FETCH %d %s", i+1, items))
			if failure := (*wire.Failure)(nil); err != nil && !errors.As(err, &failure) {
				return right, fmt.Errorf("FETCH %d %s: %w", i+1, items, err)
			}
		}
		err := c.Do(func(r wire.Response) {
			if len(r.Literals) == 0 {
				return
			}
			_, rest, _ := bytes.Cut(r.Literals[0], []byte("X-Poison: "))
			number, _, _ := strings.Cut(string(rest[:min(len(rest), 20)]), "\r\n")
			at := bytes.Index(r.Literals[0], []byte("X-Poison: "))
			if at >= 0 && sha256.Sum256(r.Literals[0][at:]) == sent[number] {
				right++
			}
		}, fmt.Sprintf("FETCH %d BODY.PEEK[]", i+1))
		if err != nil {
			return right, err
		}
	}
	for _, search := range []string{"SEARCH TEXT poison", "SEARCH SUBJECT x", "SEARCH BODY boundary",
		"SORT (SUBJECT) UTF-8 ALL", "THREAD REFERENCES UTF-8 ALL"} {
		err := c.Do(nil, search)
		if failure := (*wire.Failure)(nil); err != nil && !errors.As(err, &failure) {
			return right, fmt.Errorf("%s: %w", search, err)
		}
	}
	return right, nil
}

// poisons are the ways of being malformed; each gets how bad it shall be.
var poisons = []func(rnd *rand.Rand, n int) string{
	func(_ *rand.Rand, n int) string { // parts in parts
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
		}
		return b.String()
	},
	func(_ *rand.Rand, n int) string { // messages in messages
		return strings.Repeat("Content-Type: message/rfc822\r\n\r\n", n)
	},
	func(_ *rand.Rand, n int) string { // many parts, one boundary inside another's name
		return "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n--bb\r\n\r\nx\r\n", n)
	},
	func(_ *rand.Rand, n int) string { // encoded words without end
		return "Subject: " + strings.Repeat("=?utf-8?q?=C3=28?= =?x?b?!?=\r\n ", n) + "\r\n\r\nx\r\n"
	},
	func(_ *rand.Rand, n int) string { // comments in comments, addresses without end
		return "From: " + strings.Repeat("(", min(n, 900)) + "\r\nTo: " + strings.Repeat("a@b,\r\n ", n) +
			"c\r\n\r\nx\r\n"
	},
	func(_ *rand.Rand, n int) string { // parameters that contradict each other
		var b strings.Builder
		b.WriteString("Content-Type: text/plain; charset*0*=utf-8''%C3")
		for i := range n {
			fmt.Fprintf(&b, ";\r\n name*%d*=%%E1%%BA%%A%d", n-i, i%10)
		}
		return b.String() + "\r\n\r\nx\r\n"
	},
	func(rnd *rand.Rand, n int) string { // bytes by chance, as a header and a body
		b := make([]byte, 20*n)
		for i := range b {
			b[i] = byte(1 + rnd.IntN(255))
			if b[i] == '\r' || b[i] == '\n' {
				b[i] = ':'
			}
			if i%70 == 0 && i > 0 {
				b[i-1], b[i] = '\r', '\n'
			}
		}
		return string(b) + "\r\n"
	},
	func(_ *rand.Rand, n int) string { // encodings that lie
		return "Content-Transfer-Encoding: base64\r\nContent-Type: text/html; charset=\"utf-7\"\r\n\r\n" +
			strings.Repeat("=====\x00\xff+AGE-\r\n", n)
	},
	func(_ *rand.Rand, n int) string { // references to everything, dates of nowhere
		return "Date: Thu, 99 Foo 99999 99:99:99 +9999\r\nReferences: " + strings.Repeat("<a@b>\r\n <@>\r\n ", n) +
			"\r\nIn-Reply-To: <\r\n\r\nx\r\n"
	},
}

func poisoned(rnd *rand.Rand, number int) []byte {
	how := poisons[number%len(poisons)]
	msg := fmt.Appendf(nil, "X-Poison: %d\r\n", number)
	msg = append(msg, how(rnd, 1+rnd.IntN(1<<(1+number%11)))...)
	if rnd.IntN(3) == 0 { // some with bits that fell over, line ends aside
		for range 1 + len(msg)/500 {
			i := 20 + rnd.IntN(max(1, len(msg)-20))
			if i < len(msg) && msg[i] != '\r' && msg[i] != '\n' {
				if b := msg[i] ^ 1<<rnd.IntN(8); b != '\r' && b != '\n' && b != 0 {
					msg[i] = b
				}
			}
		}
	}
	if !bytes.HasSuffix(msg, []byte("\r\n")) {
		msg = append(msg, "\r\n"...)
	}
	return msg
}
