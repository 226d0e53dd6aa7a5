// Package ledger answers "is everything there that was acknowledged, once, with its bytes?". It
// sends messages that each carry a token, writes down what the server said of each, and later
// reads all mailboxes and compares.
//
//	lost  acknowledged, and not there
//	dup   acknowledged, and there more than once
//	torn  there with other bytes than were sent
//
// A message whose reply never came may be there or not: both are right, twice is not. One that left
// for another host may arrive there twice when the server dies between that host's 250 and its own
// record of it: nobody can prevent that (RFC 1047), so it is counted by itself.
//
// With a journal the outcomes are on disk before the next step is taken, and the comparison can be
// made from that file alone; see [Ledger.Record] and [Load].
package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"tram/bench/wire"
)

// Server is where the ledger's clients go.
type Server struct {
	SMTP, IMAP wire.Target
	Users      []string
	Password   string
	// Submit is where people hand in mail for elsewhere, and Outside the domain it is for: only
	// RunSubmit needs them. What arrives there is given to Arrived.
	Submit  wire.Target
	Outside string
}

// Ledger remembers what was sent.
type Ledger struct {
	server Server
	seed   uint64

	mu      sync.Mutex
	next    int
	entries map[string]*entry
	journal *journal
	broken  error         // of the journal
	seen    chan struct{} // one value for each acknowledgement, as long as somebody listens
}

type entry struct {
	user    string // "" for one that goes outside
	size    int
	hash    [32]byte
	ack     wire.Ack
	arrived int // outside
	torn    bool
}

// New returns an empty ledger; messages are made from seed.
func New(s Server, seed uint64) *Ledger {
	return &Ledger{
		server: s, seed: seed, entries: map[string]*entry{}, seen: make(chan struct{}, 1),
	}
}

// Acked is the number of acknowledged messages.
func (l *Ledger) Acked() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, e := range l.entries {
		if e.ack == wire.Acked {
			n++
		}
	}
	return n
}

// WaitAcked waits until n more messages are acknowledged or ctx is done.
func (l *Ledger) WaitAcked(ctx context.Context, n int) error {
	for want := l.Acked() + n; l.Acked() < want; {
		select {
		case <-l.seen:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// parcel is a message on its way.
type parcel struct {
	token, from, to string
	body            []byte
}

const stranger = "ledger@load.test"

// message makes the next message, of 1 to 40 kB, and enters it as refused. It is for the person to,
// or for the next one when that is "".
func (l *Ledger) message(to string) parcel {
	return l.make(func(n int) (from, user, rcpt string) {
		if to == "" {
			to = l.server.Users[n%len(l.server.Users)]
		}
		return stranger, to, to
	})
}

// outside makes a message from a person to nobody in particular elsewhere.
func (l *Ledger) outside(from string) parcel {
	return l.make(func(n int) (string, string, string) {
		return from, "", fmt.Sprintf("r%d@%s", n, l.server.Outside)
	})
}

func (l *Ledger) make(address func(n int) (from, user, rcpt string)) parcel {
	l.mu.Lock()
	n := l.next
	l.next++
	l.mu.Unlock()
	rnd := rand.New(rand.NewPCG(l.seed, uint64(n)))
	token := fmt.Sprintf("%08x.%d", l.seed, n)
	from, user, rcpt := address(n)
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: %s\r\nTo: %s\r\nSubject: entry %d\r\n", from, rcpt, n)
	fmt.Fprintf(&b, "Date: Mon, 02 Jan 2006 15:04:05 +0000\r\n")
	fmt.Fprintf(&b, "Message-ID: <%s@load.test>\r\nX-Ledger: %s\r\n\r\n", token, token)
	for size := 1<<10 + rnd.IntN(40<<10); b.Len() < size; {
		var raw [36]byte
		for i := range raw {
			raw[i] = byte(rnd.Uint32())
		}
		b.WriteString(hex.EncodeToString(raw[:]) + "\r\n")
	}
	e := &entry{user: user, size: b.Len(), hash: sha256.Sum256(b.Bytes())}
	l.mu.Lock()
	l.entries[token] = e
	l.mu.Unlock()
	l.record(sentLine(token, e))
	return parcel{token, from, rcpt, b.Bytes()}
}

func (l *Ledger) enter(token string, ack wire.Ack) {
	l.record(ack.String() + " " + token + "\n")
	l.mu.Lock()
	l.entries[token].ack = ack
	l.mu.Unlock()
	if ack == wire.Acked {
		select {
		case l.seen <- struct{}{}:
		default:
		}
	}
}

// retry is how long a client waits before it dials a server that is down.
const retry = 20 * time.Millisecond

func pause(ctx context.Context) {
	t := time.NewTimer(retry)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// RunSMTP delivers messages over one connection after the other until ctx is done.
func (l *Ledger) RunSMTP(ctx context.Context) { l.RunSMTPAs(ctx, "", l.server.SMTP) }

// RunSMTPAs is RunSMTP to one person through a port of the caller's choice.
func (l *Ledger) RunSMTPAs(ctx context.Context, user string, at wire.Target) {
	for ctx.Err() == nil {
		s, err := wire.DialSMTP(at, "", "")
		if err != nil {
			pause(ctx)
			continue
		}
		for ctx.Err() == nil && l.send(s, l.message(user)) == nil {
		}
		s.Close()
	}
}

// RunSubmit hands in mail for elsewhere, each worker as one person, until ctx is done.
func (l *Ledger) RunSubmit(ctx context.Context, worker int) {
	user := l.server.Users[worker%len(l.server.Users)]
	for ctx.Err() == nil {
		s, err := wire.DialSMTP(l.server.Submit, user, l.server.Password)
		if err != nil {
			pause(ctx)
			continue
		}
		for ctx.Err() == nil && l.send(s, l.outside(user)) == nil {
		}
		s.Close()
	}
}

func (l *Ledger) send(s *wire.SMTP, p parcel) error {
	ack, _, err := s.Send(p.from, p.to, wire.Stuff(p.body))
	l.enter(p.token, ack)
	return err
}

// RunAppend stores messages over IMAP, each session as one user, until ctx is done.
func (l *Ledger) RunAppend(ctx context.Context) {
	for worker := l.worker(); ctx.Err() == nil; worker = l.worker() {
		user := l.server.Users[worker%len(l.server.Users)]
		c, err := wire.DialIMAP(l.server.IMAP, user, l.server.Password)
		if err != nil {
			pause(ctx)
			continue
		}
		for ctx.Err() == nil {
			p := l.message(user)
			ack, _, err := c.Append("INBOX", "()", p.body)
			l.enter(p.token, ack)
			if err != nil {
				break
			}
		}
		c.Close()
	}
}

// worker is a number that differs from call to call.
func (l *Ledger) worker() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	return l.next
}

// Send delivers one message to a user over a session that is open, and tells what became of it.
func (l *Ledger) Send(s *wire.SMTP, user string) (wire.Ack, time.Duration, error) {
	p := l.message(user)
	ack, took, err := s.Send(p.from, p.to, wire.Stuff(p.body))
	l.enter(p.token, ack)
	return ack, took, err
}

// Submit hands in one message for elsewhere over a session that is logged in as user.
func (l *Ledger) Submit(s *wire.SMTP, user string) (wire.Ack, time.Duration, error) {
	p := l.outside(user)
	ack, took, err := s.Send(p.from, p.to, wire.Stuff(p.body))
	l.enter(p.token, ack)
	return ack, took, err
}

// Append stores one message in the INBOX of user over a session of his; text is the tagged reply.
func (l *Ledger) Append(c *wire.IMAP, user string) (ack wire.Ack, text string, err error) {
	p := l.message(user)
	ack, text, err = c.Append("INBOX", "()", p.body)
	l.enter(p.token, ack)
	return ack, text, err
}

// Resend delivers a message until it is acknowledged, as a sender does who lost the reply to the
// final dot: the same bytes again, over a new connection to the next of ports. It returns the number
// of attempts.
func (l *Ledger) Resend(user string, ports ...wire.Target) (int, error) {
	p := l.message(user)
	var last error
	for i, at := range ports {
		s, err := wire.DialSMTP(at, "", "")
		if err != nil {
			last = err
			continue
		}
		ack, _, err := s.Send(p.from, p.to, wire.Stuff(p.body))
		s.Close()
		l.enter(p.token, ack)
		if ack == wire.Acked {
			return i + 1, nil
		}
		last = err
	}
	return len(ports), last
}

// Arrived is given what reached the next hop outside.
func (l *Ledger) Arrived(raw []byte) {
	token, _ := tokenOf(raw)
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entries[token]
	if e == nil {
		return // a notice, or of another ledger
	}
	e.arrived++
	e.torn = e.torn || !e.same(raw)
}

// Waiting is the number of acknowledged messages that have not arrived outside.
func (l *Ledger) Waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, e := range l.entries {
		if e.user == "" && e.ack == wire.Acked && e.arrived == 0 {
			n++
		}
	}
	return n
}

// same reports whether raw ends in the message: servers put trace fields on top.
func (e *entry) same(raw []byte) bool {
	return len(raw) >= e.size && sha256.Sum256(raw[len(raw)-e.size:]) == e.hash
}

// Report is what a comparison found.
type Report struct {
	Acked, Unknown, Refused int
	Lost, Dup, Torn         []string // tokens
	Twice                   []string // arrived outside more than once
}

// Err is nil when nothing was lost, doubled or torn.
func (r Report) Err() error {
	if len(r.Lost)+len(r.Dup)+len(r.Torn) == 0 {
		return nil
	}
	return fmt.Errorf("of %d acknowledged: %d lost %v, %d doubled %v, %d torn %v", r.Acked,
		len(r.Lost), first(r.Lost), len(r.Dup), first(r.Dup), len(r.Torn), first(r.Torn))
}

func first(tokens []string) []string { return tokens[:min(len(tokens), 5)] }

// Compare reads every user's INBOX over IMAP.
func (l *Ledger) Compare() (Report, error) {
	found := map[string]int{}
	var r Report
	for _, user := range l.server.Users {
		if err := l.read(user, found, &r); err != nil {
			return r, fmt.Errorf("read the INBOX of %s: %w", user, err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return r, fmt.Errorf("the journal: %w", l.broken)
	}
	for token, e := range l.entries {
		if e.user == "" {
			found[token] = min(e.arrived, 1)
			if e.arrived > 1 {
				r.Twice = append(r.Twice, token)
			}
			if e.torn {
				r.Torn = append(r.Torn, token)
			}
		}
		switch e.ack {
		case wire.Acked:
			r.Acked++
			if found[token] == 0 {
				r.Lost = append(r.Lost, token)
			}
		case wire.Unknown:
			r.Unknown++
		case wire.Refused:
			r.Refused++
		}
		if found[token] > 1 {
			r.Dup = append(r.Dup, token)
		}
	}
	return r, nil
}

func (l *Ledger) read(user string, found map[string]int, r *Report) error {
	c, err := wire.DialIMAP(l.server.IMAP, user, l.server.Password)
	if err != nil {
		return err
	}
	defer c.Close()
	box, err := c.Select("INBOX", "")
	if err != nil || box.Exists == 0 {
		return err
	}
	strange := 0
	err = c.Do(func(resp wire.Response) {
		if len(resp.Literals) == 0 {
			return
		}
		raw := resp.Literals[0]
		token, ok := tokenOf(raw)
		l.mu.Lock()
		e := l.entries[token]
		l.mu.Unlock()
		if !ok || e == nil {
			strange++
			return
		}
		found[token]++
		if !e.same(raw) {
			r.Torn = append(r.Torn, token)
		}
	}, "FETCH 1:* (BODY.PEEK[])")
	if err == nil && strange > 0 {
		err = errors.New(fmt.Sprint(strange, " messages that this ledger did not send"))
	}
	return err
}

func tokenOf(raw []byte) (string, bool) {
	_, rest, ok := strings.Cut(string(raw[:min(len(raw), 8<<10)]), "\r\nX-Ledger: ")
	token, _, _ := strings.Cut(rest, "\r\n")
	return token, ok
}

// Look tells which message raw is, "" for none, and whether it has the bytes that were sent.
func (l *Ledger) Look(raw []byte) (token string, same bool) {
	token, _ = tokenOf(raw)
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entries[token]
	if e == nil {
		return "", false
	}
	return token, e.same(raw)
}

// Bound lists the messages that the server must have in a mailbox: acknowledged, for people here.
func (l *Ledger) Bound() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var tokens []string
	for token, e := range l.entries {
		if e.ack == wire.Acked && e.user != "" {
			tokens = append(tokens, token)
		}
	}
	return tokens
}
