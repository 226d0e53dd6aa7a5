package smtp

import (
	"context"
	"fmt"
	"io"
)

// Mail is the envelope of one transaction.
type Mail struct {
	From       Address
	Recipients []Rcpt
	// Size is the message's size in octets with CRLF line ends, as far as it is known.
	Size int64
	// Body is what the message holds. The server must offer the extension for 8BITMIME and
	// BINARYMIME; see Check.
	Body        BodyType
	UTF8        bool
	RequireTLS  bool
	Ret, EnvID  string // passed on to a server with DSN only
	By          By     // passed on to a server with DELIVERBY only
	Priority    int    // passed on to a server with MT-PRIORITY only
	HasPriority bool
}

// Rcpt is one recipient of a Mail. NOTIFY and ORCPT go to a server with DSN only.
type Rcpt struct {
	Address Address
	Notify  Notify
	ORCPT   string // decoded
}

// Stage is how far a transaction got.
type Stage int

// The stages of a transaction.
const (
	StageMail Stage = iota // the sender was refused, or nothing was answered
	StageRcpt              // no recipient was taken
	StageData              // the message was refused, or not sent whole
	StageDone              // the message was taken, for one recipient at least
)

// Result is what a server said in one transaction.
type Result struct {
	// Replies are the last words on each recipient, in the order of Mail.Recipients. Code is 0
	// where the connection broke before anything was said.
	Replies []Reply
	Stage   Stage
	// Unknown: the whole message was handed to the network and the connection broke before the
	// reply. It may have been delivered (RFC 1047).
	Unknown bool
}

// Unsupported is the error of a Mail that this server cannot take, for want of an extension. It
// carries the reply that RFC asks for on the server's behalf; nothing was sent.
type Unsupported struct{ Reply Reply }

// Error says what is missing.
func (u Unsupported) Error() string { return "server lacks an extension: " + u.Reply.String() }

// Check reports, as an Unsupported, what keeps this server from taking m: it is asked before a
// message is converted or given up.
func (c *Client) Check(m *Mail) error {
	utf8 := m.UTF8 || m.From.NeedsUTF8()
	for _, r := range m.Recipients {
		utf8 = utf8 || r.Address.NeedsUTF8()
	}
	e := &c.ext
	switch {
	case m.RequireTLS && !c.tls: // RFC 8689 §4.2.1
		return Unsupported{NewReply(550, Enhanced{5, 7, 10}, "Encryption needed")}
	case m.RequireTLS && !e.RequireTLS:
		return Unsupported{NewReply(550, Enhanced{5, 7, 30}, "REQUIRETLS support required")}
	case utf8 && !e.UTF8: // RFC 6531 §3.5
		return Unsupported{NewReply(553, Enhanced{5, 6, 7}, "SMTPUTF8 support required")}
	case m.Body == Body8Bit && !e.EightBit: // RFC 6152 §3
		return Unsupported{NewReply(554, Enhanced{5, 6, 3}, "8BITMIME support required")}
	case m.Body == BodyBinary && !(e.Binary && e.Chunking): // RFC 3030 §3
		return Unsupported{NewReply(554, Enhanced{5, 6, 3}, "BINARYMIME support required")}
	case e.Size > 0 && m.Size > e.Size: // RFC 1870 §6.1
		return Unsupported{NewReply(552, Enhanced{5, 3, 4}, "Message too big for the server")}
	}
	return nil
}

// Usable reports whether another transaction may be tried on this connection.
func (c *Client) Usable() bool { return c.err == nil }

// Send runs one transaction: MAIL, RCPT for each recipient, and the message from body. With
// PIPELINING the commands go out together (RFC 2920 §3.1), and a small message to a server with
// CHUNKING goes along with them: one round trip in all. A transaction left open by the last one is
// reset on the way.
//
// Refusals are in the Result. An error says that the connection cannot be used any more, with the
// Result as far as it got, or (Unsupported) that nothing was sent. If body fails, the connection is
// cut before the end of the message, so that the server keeps no part of it.
func (c *Client) Send(ctx context.Context, m *Mail, body io.Reader) (Result, error) {
	t := &transaction{c: c, m: m, body: body, replies: make([]Reply, len(m.Recipients))}
	if err := c.Check(m); err != nil {
		return t.result(), err
	}
	if err := m.valid(); err != nil {
		return t.result(), err
	}
	defer c.begin(ctx)()
	if err := c.quiet(); err != nil {
		return t.result(), err
	}
	err := t.run()
	if err == nil {
		err = c.err // a 421 was somebody's last word
	}
	if c.err != nil {
		c.conn.Close()
	}
	return t.result(), err
}

// valid checks that no address holds what would break out of its command. Parsed ones never do.
func (m *Mail) valid() error {
	for i := -1; i < len(m.Recipients); i++ {
		a := m.From
		if i >= 0 {
			a = m.Recipients[i].Address
		}
		if b, rest, err := ParsePath(a.Path()); err != nil || rest != "" || b != a {
			return fmt.Errorf("%w: %q", ErrAddress, a.Path())
		}
	}
	return nil
}

// What a reply in the pipeline answers to: a recipient's index, or one of these.
const (
	toReset = -1 - iota
	toMail
	toData
	toChunk
)

// pipelined is how many replies may be outstanding: as many fit into the smallest socket buffers,
// so that neither side ever waits for the other to read (RFC 2920 §3.1).
const pipelined = 100

// transaction is one run of Send.
type transaction struct {
	c       *Client
	m       *Mail
	body    io.Reader
	replies []Reply
	stage   Stage

	pending   []int // what outstanding replies answer to, in order
	mail      Reply // to MAIL
	data      Reply // to DATA
	chunk     Reply // the first refusal of a chunk
	accepted  int   // recipients taken
	sent      bool  // the whole message was handed to the network
	concluded bool  // the replies are final
}

func (t *transaction) result() Result {
	r := Result{Replies: t.replies, Stage: t.stage}
	if t.concluded {
		return r
	}
	r.Unknown = t.sent && t.mail.Code/100 <= 2
	for i := range r.Replies {
		if r.Replies[i].OK() { // of RCPT: a promise without the message
			r.Replies[i] = Reply{}
		}
	}
	return r
}

// run is the transaction as a list of steps; each may end it.
func (t *transaction) run() error {
	if t.c.dirty {
		if err := t.queue("RSET", toReset); err != nil {
			return err
		}
		// A whole message that goes along with its commands may have been taken, whatever becomes of
		// the connection: behind a RSET that may be refused it waits for the answer.
		if t.useChunks() {
			if err := t.flush(); err != nil {
				return err
			}
		}
	}
	t.c.dirty = true
	if err := t.queue(t.mailCommand(), toMail); err != nil {
		return err
	}
	for i := range t.m.Recipients {
		if t.mail.Code/100 > 3 {
			break // seen only without a pipeline, or behind a full one
		}
		if err := t.queue(t.rcptCommand(i), i); err != nil {
			return err
		}
	}
	if t.useChunks() {
		return t.sendChunks()
	}
	return t.sendData()
}

// queue writes a command. Its reply is read at once without PIPELINING, else at the next flush.
func (t *transaction) queue(line string, to int) error {
	t.c.w.WriteString(line)
	t.c.w.WriteString("\r\n")
	t.pending = append(t.pending, to)
	if t.c.ext.Pipelining && len(t.pending) < pipelined {
		return nil
	}
	return t.flush()
}

// flush sends what is buffered and reads every outstanding reply.
func (t *transaction) flush() error {
	if err := t.c.w.Flush(); err != nil {
		return t.c.fail(err)
	}
	for len(t.pending) > 0 {
		if err := t.readOne(); err != nil {
			return err
		}
	}
	return nil
}

// readOne reads the reply to the oldest outstanding command and notes it.
func (t *transaction) readOne() error {
	to := t.pending[0]
	t.pending = t.pending[1:]
	l := &t.c.o.Limits
	wait := l.Rcpt
	switch to {
	case toReset, toMail:
		wait = l.Mail
	case toData:
		wait = l.Data
	case toChunk:
		wait = l.Dot
	}
	reply, err := t.c.read(wait)
	if err != nil {
		return err
	}
	if class := reply.Code / 100; class == 3 && to != toData || class == 2 && to == toData {
		return t.c.fail(fmt.Errorf("%w: %s", ErrReply, reply))
	}
	switch to {
	case toReset:
		if !reply.OK() {
			return t.c.fail(reply)
		}
	case toMail:
		t.noteMail(reply)
	case toData:
		t.data = reply
	case toChunk:
		if !reply.OK() && t.chunk.Code == 0 {
			t.chunk = reply
		}
	default:
		t.noteRcpt(to, reply)
	}
	return nil
}

func (t *transaction) noteMail(reply Reply) {
	t.mail = reply
	if reply.OK() {
		t.stage = StageRcpt
		return
	}
	for i := range t.replies {
		t.replies[i] = reply
	}
}

func (t *transaction) noteRcpt(i int, reply Reply) {
	if !t.mail.OK() {
		return // 503 follows the refused MAIL; that refusal is what counts
	}
	t.replies[i] = reply
	if reply.OK() {
		t.accepted++
		t.stage = StageData
	}
}

// conclude gives the accepted recipients the final reply: one for all, or in LMTP one for each
// (RFC 2033 §4.2).
func (t *transaction) conclude(finals ...Reply) {
	k := 0
	for i := range t.replies {
		if !t.replies[i].OK() {
			continue
		}
		t.replies[i] = finals[min(k, len(finals)-1)]
		k++
		if t.replies[i].OK() {
			t.stage = StageDone
		}
	}
	t.concluded = true
}
