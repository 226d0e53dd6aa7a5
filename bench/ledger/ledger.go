// Package ledger answers "is everything there that was acknowledged, once, with its bytes?". It
// sends messages that each carry a token, writes down what the server said of each, and later
// reads all mailboxes and compares.
//
//	lost  acknowledged, and not there
//	dup   acknowledged, and there more than once
//	torn  there with other bytes than were sent
//
// A message whose reply never came may be there or not: both are right, twice is not.
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
}

// Ledger remembers what was sent.
type Ledger struct {
	server Server
	seed   uint64

	mu      sync.Mutex
	next    int
	entries map[string]*entry
	seen    chan struct{} // one value for each acknowledgement, as long as somebody listens
}

type entry struct {
	user string
	size int
	hash [32]byte
	ack  wire.Ack
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

// message makes the next message, of 1 to 40 kB, and enters it as refused.
func (l *Ledger) message() (token, user string, msg []byte) {
	l.mu.Lock()
	n := l.next
	l.next++
	l.mu.Unlock()
	rnd := rand.New(rand.NewPCG(l.seed, uint64(n)))
	token = fmt.Sprintf("%08x.%d", l.seed, n)
	user = l.server.Users[n%len(l.server.Users)]
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: ledger@load.test\r\nTo: %s\r\nSubject: entry %d\r\n", user, n)
	fmt.Fprintf(&b, "Message-ID: <%s@load.test>\r\nX-Ledger: %s\r\n\r\n", token, token)
	for size := 1<<10 + rnd.IntN(40<<10); b.Len() < size; {
		var raw [36]byte
		for i := range raw {
			raw[i] = byte(rnd.Uint32())
		}
		b.WriteString(hex.EncodeToString(raw[:]) + "\r\n")
	}
	msg = b.Bytes()
	l.mu.Lock()
	l.entries[token] = &entry{user: user, size: len(msg), hash: sha256.Sum256(msg)}
	l.mu.Unlock()
	return token, user, msg
}

func (l *Ledger) enter(token string, ack wire.Ack) {
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
func (l *Ledger) RunSMTP(ctx context.Context) {
	for ctx.Err() == nil {
		s, err := wire.DialSMTP(l.server.SMTP, "", "")
		if err != nil {
			pause(ctx)
			continue
		}
		for ctx.Err() == nil {
			token, user, msg := l.message()
			ack, _, err := s.Send("ledger@load.test", user, wire.Stuff(msg))
			l.enter(token, ack)
			if err != nil {
				break
			}
		}
		s.Close()
	}
}

// RunAppend stores messages over IMAP, each worker as one user, until ctx is done.
func (l *Ledger) RunAppend(ctx context.Context) {
	for ctx.Err() == nil {
		token, user, msg := l.message()
		c, err := wire.DialIMAP(l.server.IMAP, user, l.server.Password)
		if err != nil {
			pause(ctx)
			continue
		}
		for ctx.Err() == nil {
			ack, _, err := c.Append("INBOX", "()", msg)
			l.enter(token, ack)
			if err != nil {
				break
			}
			for next := ""; next != user; { // messages of other users are never sent
				token, next, msg = l.message()
			}
		}
		c.Close()
	}
}

// Report is what a comparison found.
type Report struct {
	Acked, Unknown, Refused int
	Lost, Dup, Torn         []string // tokens
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
	for token, e := range l.entries {
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
		// Servers put trace fields on top: the message must end in ours.
		if len(raw) < e.size || sha256.Sum256(raw[len(raw)-e.size:]) != e.hash {
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
