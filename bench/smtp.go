package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"tram/bench/wire"
)

const stranger = "sender@load.test"

// smtpLoad is a number of messages sent over ten sessions.
type smtpLoad struct {
	messages int
	mix      []int
	sessions int           // 0: ten
	perConn  bool          // a connection for each message
	startTLS bool          //
	curves   []tls.CurveID // key exchanges that are offered; nil: all
	users    []int         // the recipients in turn; nil: all
	keep     bool          // what was delivered stays in the mailboxes
	signed   *signer       // makes a DKIM signature for each message, before the time counts; nil: none
	done     func()        // is called when all is delivered, before anything else is asked of the server
}

func (l smtpLoad) user(s *Server, seq int) int {
	if l.users == nil {
		return seq % s.Users
	}
	return l.users[seq%len(l.users)]
}

// sent is what was acknowledged: message number to recipient and size.
type sent struct {
	user, size int
}

// inject sends the load and returns what was acknowledged.
func (l smtpLoad) inject(
	t wire.Target, login func(worker int) (user, password, from string),
	rcpt func(seq int) string, run string, ack *latency,
) (map[int]sent, int, error) {
	var next, bytes atomic.Int64
	var mu sync.Mutex
	acked := map[int]sent{}
	var errs []error
	var wg sync.WaitGroup
	if l.sessions == 0 {
		l.sessions = 10
	}
	for w := range l.sessions {
		wg.Go(func() {
			user, password, from := login(w)
			err := l.session(t, user, password, &next, func(s *wire.SMTP, seq int) error {
				size := l.mix[seq%len(l.mix)]
				msg := wire.Stuff(append(l.signed.field(seq), parcel(run, seq, size, from, rcpt(seq))...))
				_, took, err := s.Send(from, rcpt(seq), msg)
				if err != nil {
					return err
				}
				ack.add(took)
				bytes.Add(int64(len(msg)))
				mu.Lock()
				acked[seq] = sent{size: size}
				mu.Unlock()
				return nil
			})
			if err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return acked, int(bytes.Load()), errors.Join(errs...)
}

func (l smtpLoad) session(
	t wire.Target, user, password string, next *atomic.Int64, send func(*wire.SMTP, int) error,
) error {
	var s *wire.SMTP
	for {
		seq := int(next.Add(1)) - 1
		if seq >= l.messages {
			if s != nil {
				s.Quit()
			}
			return nil
		}
		if s == nil {
			var err error
			if s, err = wire.DialSMTP(t, user, password); err != nil {
				return fmt.Errorf("connect: %w", err)
			}
		}
		err := send(s, seq)
		if reply := (*wire.Reply)(nil); errors.As(err, &reply) && reply.Code == 421 {
			s.Close() // enough for one session, says the server: come again
			if s, err = wire.DialSMTP(t, user, password); err == nil {
				err = send(s, seq)
			}
		}
		if err != nil {
			return err
		}
		if l.perConn {
			s.Quit()
			s = nil
		}
	}
}

// inbox remembers where a user's INBOX stood before a load.
type inbox struct {
	conn *wire.IMAP
	box  wire.Box
	want int // messages that were acknowledged for it
}

// openInboxes opens those that the load goes to.
func openInboxes(s *Server, l smtpLoad) (map[int]*inbox, error) {
	all := map[int]*inbox{}
	for seq := range max(s.Users, len(l.users)) {
		u := l.user(s, seq)
		if all[u] != nil {
			continue
		}
		c, err := s.imap(u)
		if err != nil {
			return all, fmt.Errorf("log in as %s: %w", s.user(u), err)
		}
		all[u] = &inbox{conn: c}
		if all[u].box, err = c.Select("INBOX", ""); err != nil {
			return all, err
		}
	}
	return all, nil
}

func closeInboxes(all map[int]*inbox) {
	for _, b := range all {
		b.conn.Close()
	}
}

// smtpIn sends a load, waits until it is in the mailboxes, and reads it back.
func smtpIn(s *Server, l smtpLoad) (Result, error) {
	security := wire.Clear
	if l.startTLS {
		security = wire.StartTLS
	}
	boxes, err := openInboxes(s, l)
	defer closeInboxes(boxes)
	if err != nil {
		return nil, err
	}
	for _, size := range l.mix {
		bodyOf(size)
	}
	run := "r" + strconv.FormatInt(time.Now().UnixNano(), 36)
	var ack latency
	anybody := func(int) (string, string, string) { return "", "", stranger }
	rcpt := func(seq int) string { return s.user(l.user(s, seq)) }
	if err := l.signed.signAll(l, run, rcpt); err != nil {
		return nil, err
	}
	cpu, start := s.cpu(), time.Now()
	target := s.target(s.SMTP, security)
	if l.curves != nil { // loopback, and the server is under test
		target.Config = &tls.Config{InsecureSkipVerify: true, CurvePreferences: l.curves}
	}
	acked, sentBytes, err := l.inject(target, anybody, rcpt, run, &ack)
	if err != nil {
		return nil, err
	}
	accepted := time.Since(start)
	for seq, m := range acked {
		m.user = l.user(s, seq)
		acked[seq] = m
		boxes[m.user].want++
	}
	if err := waitDelivered(s, boxes); err != nil {
		return nil, err
	}
	delivered := time.Since(start)
	if l.done != nil {
		l.done()
	}
	r := Result{
		"messages": float64(len(acked)), "bytes": float64(sentBytes),
		"accepted_per_s":     float64(len(acked)) / accepted.Seconds(),
		"delivered_per_s":    float64(len(acked)) / delivered.Seconds(),
		"delivered_mb_per_s": float64(sentBytes) / 1e6 / delivered.Seconds(),
		"cpu_s_per_1k":       (s.cpu() - cpu) / float64(len(acked)) * 1000,
	}
	ack.into(r, "ack")
	if !l.keep {
		if err := s.settle(r, cpu, len(acked)); err != nil {
			return nil, err
		}
	}
	return r, verify(s, l, boxes, acked, run, r)
}

func waitDelivered(s *Server, boxes map[int]*inbox) error {
	for u, b := range boxes {
		err := until(3*time.Minute, func() (bool, error) {
			now, err := b.conn.Select("INBOX", "")
			return now.Exists-b.box.Exists >= b.want, err
		})
		if err != nil {
			return fmt.Errorf("wait for the mail of %s: %w", s.user(u), err)
		}
	}
	return nil
}

// verify reads what arrived and compares it. What is not to stay is removed.
func verify(s *Server, l smtpLoad, boxes map[int]*inbox, acked map[int]sent, run string, r Result) error {
	seen := map[int]int{}
	altered, strange, unproved := 0, 0, 0
	for u, b := range boxes {
		if b.want == 0 {
			continue
		}
		err := b.conn.Do(func(resp wire.Response) {
			if len(resp.Literals) == 0 || wire.Number(resp.Text, "UID ") < b.box.UIDNext {
				return // n:* names the last message even when it is older
			}
			raw := resp.Literals[0]
			seq, ok := idOf(raw, run)
			m, sent := acked[seq]
			if !ok || !sent || m.user != u {
				strange++
				return
			}
			seen[seq]++
			// Servers put trace fields on top: the message must end in ours.
			if !bytes.HasSuffix(raw, parcel(run, seq, m.size, stranger, s.user(u))) {
				altered++
			}
			if s.checks && l.signed != nil && !proved(raw) {
				unproved++
			}
		}, fmt.Sprintf("UID FETCH %d:* (BODY.PEEK[])", max(b.box.UIDNext, 1)))
		if err == nil && !l.keep {
			err = errors.Join(
				b.conn.Do(nil, fmt.Sprintf(`UID STORE %d:* +FLAGS.SILENT (\Deleted)`, max(b.box.UIDNext, 1))),
				b.conn.Do(nil, "EXPUNGE"))
		}
		if err != nil {
			return err
		}
	}
	lost, doubled := 0, 0
	for seq := range acked {
		if seen[seq] == 0 {
			lost++
		}
		if seen[seq] > 1 {
			doubled++
		}
	}
	r["lost"], r["doubled"] = float64(lost), float64(doubled)
	r["altered"], r["strange"] = float64(altered), float64(strange)
	if unproved > 0 {
		return fmt.Errorf("of %d messages %d were not found to be genuine", len(acked), unproved)
	}
	if lost+doubled+altered+strange > 0 {
		return fmt.Errorf("of %d messages %d are lost, %d there more than once, %d altered; %d are strange",
			len(acked), lost, doubled, altered, strange)
	}
	return nil
}

func idOf(raw []byte, run string) (int, bool) {
	_, rest, ok := bytes.Cut(raw, []byte("\r\nX-Bench-Id: "+run+"."))
	if !ok {
		return 0, false
	}
	id, _, _ := bytes.Cut(rest, []byte("\r\n"))
	seq, err := strconv.Atoi(string(id))
	return seq, err == nil
}
