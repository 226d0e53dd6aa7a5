package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"tram/bench/wire"
)

const (
	sessions = 10
	stranger = "sender@load.test"
)

// smtpLoad is a number of messages sent over ten sessions.
type smtpLoad struct {
	messages int
	mix      []int
	perConn  bool // a connection for each message
	startTLS bool
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
	for w := range sessions {
		wg.Go(func() {
			user, password, from := login(w)
			err := l.session(t, user, password, &next, func(s *wire.SMTP, seq int) error {
				size := l.mix[seq%len(l.mix)]
				msg := wire.Stuff(parcel(run, seq, size, from, rcpt(seq)))
				_, took, err := s.Send(from, rcpt(seq), msg)
				if err != nil {
					return err
				}
				ack.add(took)
				bytes.Add(int64(len(msg)))
				mu.Lock()
				acked[seq] = sent{user: seq, size: size}
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
}

func openInboxes(s *Server) ([]inbox, error) {
	all := make([]inbox, s.Users)
	for u := range all {
		c, err := s.imap(u)
		if err != nil {
			return nil, err
		}
		box, err := c.Select("INBOX", "")
		if err != nil {
			return nil, err
		}
		all[u] = inbox{conn: c, box: box}
	}
	return all, nil
}

func smtpIn(s *Server, l smtpLoad) (Result, error) {
	security := wire.Clear
	if l.startTLS {
		security = wire.StartTLS
	}
	boxes, err := openInboxes(s)
	if err != nil {
		return nil, err
	}
	for _, size := range l.mix {
		bodyOf(size)
	}
	run := "r" + strconv.FormatInt(time.Now().UnixNano(), 36)
	var ack latency
	cpu, start := s.cpu(), time.Now()
	anybody := func(int) (string, string, string) { return "", "", stranger }
	acked, sentBytes, err := l.inject(s.target(s.SMTP, security), anybody, s.user, run, &ack)
	if err != nil {
		return nil, err
	}
	accepted := time.Since(start)
	if err := waitDelivered(s, boxes, acked); err != nil {
		return nil, err
	}
	delivered := time.Since(start)
	r := Result{
		"accepted":          float64(len(acked)),
		"accepted_per_s":    float64(len(acked)) / accepted.Seconds(),
		"accepted_mb_per_s": float64(sentBytes) / 1e6 / accepted.Seconds(),
		"delivered_per_s":   float64(len(acked)) / delivered.Seconds(),
		"cpu_s_per_1k":      (s.cpu() - cpu) / float64(len(acked)) * 1000,
	}
	ack.into(r, "ack")
	return r, verify(s, boxes, acked, run, r)
}

func waitDelivered(s *Server, boxes []inbox, acked map[int]sent) error {
	want := make([]int, s.Users)
	for _, m := range acked {
		want[m.user%s.Users]++
	}
	for u, b := range boxes {
		err := until(2*time.Minute, func() (bool, error) {
			now, err := b.conn.Select("INBOX", "")
			return now.Exists-b.box.Exists >= want[u], err
		})
		if err != nil {
			return fmt.Errorf("wait for the mail of %s: %w", s.user(u), err)
		}
	}
	return nil
}

// verify reads what arrived, compares it, and removes it.
func verify(s *Server, boxes []inbox, acked map[int]sent, run string, r Result) error {
	seen := map[int]int{}
	altered, strange := 0, 0
	for u, b := range boxes {
		err := b.conn.Do(func(resp wire.Response) {
			if len(resp.Literals) == 0 || wire.Number(resp.Text, "UID ") < b.box.UIDNext {
				return // n:* names the last message even when it is older
			}
			raw := resp.Literals[0]
			seq, ok := idOf(raw, run)
			m, sent := acked[seq]
			if !ok || !sent || m.user%s.Users != u {
				strange++
				return
			}
			seen[seq]++
			// Servers put trace fields on top: the message must end in ours.
			if !bytes.HasSuffix(raw, parcel(run, seq, m.size, stranger, s.user(seq))) {
				altered++
			}
		}, fmt.Sprintf("UID FETCH %d:* (BODY.PEEK[])", max(b.box.UIDNext, 1)))
		if err != nil {
			return err
		}
		if err := b.conn.Do(nil, `STORE 1:* +FLAGS.SILENT (\Deleted)`); err == nil {
			err = b.conn.Do(nil, "EXPUNGE")
		}
		if err != nil {
			return err
		}
		b.conn.Logout()
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
