package smtp

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"tram/internal/limits"
)

// Errors of the client beside a server's refusals, which are of type Reply.
var (
	// ErrInjected: the server's plaintext went on after it had agreed to STARTTLS, so somebody on
	// the way may have put it there (CVE-2021-38371 and its kin).
	ErrInjected = errors.New("plaintext after STARTTLS")
	// ErrHandshake is wrapped by what went wrong in a TLS handshake.
	ErrHandshake = errors.New("TLS handshake failed")
	// ErrUnsolicited: the server spoke when nothing was asked, as it does before it hangs up.
	ErrUnsolicited = errors.New("unsolicited reply")
	// ErrBody is wrapped by the error of a message that could not be read.
	ErrBody = errors.New("read message")
)

// Dialer opens connections; *net.Dialer is one.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// ClientOptions are what a Client needs to know before it greets.
type ClientOptions struct {
	Hostname string // our name for EHLO: a domain or an address literal
	Limits   limits.Client
	LMTP     bool // LHLO, and a reply per recipient after the message (RFC 2033 §4)
	// TLS, if set, makes the connection start with a TLS handshake (RFC 8314 §3).
	TLS *tls.Config
}

// Extensions are what a server offered in its answer to EHLO.
type Extensions struct {
	ESMTP        bool // it knew EHLO
	StartTLS     bool
	Pipelining   bool
	EightBit     bool
	UTF8         bool
	DSN          bool
	Chunking     bool
	Binary       bool
	RequireTLS   bool
	DeliverBy    bool
	Priority     bool  // MT-PRIORITY
	SizeOffered  bool  // SIZE
	Size         int64 // its greatest message in octets, 0 when it did not say
	MaxRcpt      int   // LIMITS RCPTMAX (RFC 9422 §4.2), 0 when it did not say
	MaxMail      int   // LIMITS MAILMAX (RFC 9422 §4.1), 0 when it did not say
	Auth         []string
	DeliverByMin time.Duration // the shortest BY it takes (RFC 2852 §4), 0 when it did not say
}

// Client is one connection to a server. It is not safe for concurrent use.
type Client struct {
	o     ClientOptions
	conn  net.Conn
	r     *bufio.Reader
	w     *bufio.Writer
	ctx   context.Context // of the running call
	ext   Extensions
	name  string // what the server calls itself
	tls   bool
	dirty bool  // a transaction was begun and not ended
	err   error // the connection cannot be used any more
}

// Dial connects to address ("host:port") within the limits' time and greets.
func Dial(ctx context.Context, d Dialer, address string, o ClientOptions) (*Client, error) {
	dialing, cancel := context.WithTimeout(ctx, o.Limits.Connect)
	defer cancel()
	conn, err := d.DialContext(dialing, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return NewClient(ctx, conn, o)
}

// NewClient takes over a fresh connection: it reads the greeting and says EHLO, or HELO to a server
// that does not know it. On error the connection is closed. A refusal in the greeting comes back
// as a Reply in the error.
func NewClient(ctx context.Context, conn net.Conn, o ClientOptions) (*Client, error) {
	c := &Client{o: o, conn: conn}
	defer c.begin(ctx)()
	err := c.open()
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Client) open() error {
	if c.o.TLS != nil {
		if err := c.handshake(c.o.TLS); err != nil {
			return err
		}
	}
	c.buffers()
	reply, err := c.read(c.o.Limits.Greeting)
	switch {
	case err != nil:
		return fmt.Errorf("greeting: %w", err)
	case reply.Code != 220:
		return fmt.Errorf("greeting: %w", c.refusal(reply))
	}
	c.name = firstWord(reply)
	return c.hello()
}

// buffers puts buffers onto c.conn. The reader's holds a reply line, the writer's a few commands:
// bodies come in runs that pass it by.
func (c *Client) buffers() {
	c.r = bufio.NewReaderSize(c.conn, max(c.o.Limits.ReplyLine, 512))
	c.w = bufio.NewWriterSize(blockWriter{c}, 8<<10)
}

// blockWriter gives each write to the connection its own deadline, RFC 5321 §4.5.3.2.5.
type blockWriter struct{ c *Client }

func (b blockWriter) Write(p []byte) (int, error) {
	b.c.deadline(b.c.o.Limits.Block)
	return b.c.conn.Write(p)
}

// begin ties the connection to ctx for the length of a call; the function it returns ends that.
func (c *Client) begin(ctx context.Context) func() {
	c.ctx = ctx
	raw := c.conn // a handshake may wrap it meanwhile
	stop := context.AfterFunc(ctx, func() { raw.SetDeadline(time.Unix(1, 0)) })
	return func() { stop() }
}

// deadline limits the next reads and writes on the socket. It is the socket's own clock that
// counts, so no other clock will do.
func (c *Client) deadline(d time.Duration) {
	c.conn.SetDeadline(time.Now().Add(d))
	if c.ctx.Err() != nil { // it may have ended before the line above
		c.conn.SetDeadline(time.Unix(1, 0))
	}
}

// fail makes err sticky, with the context's reason if that is the cause.
func (c *Client) fail(err error) error {
	if c.err == nil {
		if c.ctx.Err() != nil {
			err = context.Cause(c.ctx)
		}
		c.err = err
	}
	return c.err
}

// read reads one reply within d.
func (c *Client) read(d time.Duration) (Reply, error) {
	if c.err != nil {
		return Reply{}, c.err
	}
	c.deadline(d)
	reply, err := ReadReply(c.r, c.o.Limits)
	if err != nil {
		return Reply{}, c.fail(err)
	}
	if reply.Code == 421 {
		c.fail(reply) // RFC 5321 §3.8: it hangs up now
	}
	return reply, nil
}

// refusal notes that the server will not go on, and returns its reply as an error.
func (c *Client) refusal(r Reply) error {
	if r.Code/100 == 2 || r.Code/100 == 3 {
		return c.fail(fmt.Errorf("%w: unexpected %s", ErrReply, r))
	}
	return r
}

// command sends one line and reads its reply within d.
func (c *Client) command(line string, d time.Duration) (Reply, error) {
	if err := c.quiet(); err != nil {
		return Reply{}, err
	}
	c.w.WriteString(line)
	c.w.WriteString("\r\n")
	if err := c.w.Flush(); err != nil {
		return Reply{}, c.fail(err)
	}
	return c.read(d)
}

// quiet checks that the server said nothing that was not asked for.
func (c *Client) quiet() error {
	if c.err == nil && c.r.Buffered() > 0 {
		c.fail(ErrUnsolicited)
	}
	return c.err
}

// hello says EHLO, LHLO or HELO and notes what is offered.
func (c *Client) hello() error {
	verb := "EHLO "
	if c.o.LMTP {
		verb = "LHLO "
	}
	c.ext = Extensions{}
	reply, err := c.command(verb+c.o.Hostname, c.o.Limits.Mail)
	if err == nil && reply.Permanent() && !c.o.LMTP && !c.tls {
		// RFC 5321 §3.2: an old server, or one that pretends to be.
		reply, err = c.command("HELO "+c.o.Hostname, c.o.Limits.Mail)
	} else {
		c.ext.ESMTP = true
	}
	switch {
	case err != nil:
		return fmt.Errorf("hello: %w", err)
	case reply.Code != 250:
		return fmt.Errorf("hello: %w", c.refusal(reply))
	}
	if name := firstWord(reply); name != "" {
		c.name = name
	}
	if c.ext.ESMTP {
		for _, line := range reply.Lines[1:] {
			c.ext.add(strings.Fields(line))
		}
	}
	return nil
}

func firstWord(r Reply) string {
	word, _, _ := strings.Cut(r.Lines[0], " ")
	return strings.ToLower(word)
}

// add notes one line of an EHLO reply.
func (e *Extensions) add(words []string) {
	if len(words) == 0 {
		return
	}
	switch strings.ToUpper(words[0]) {
	case "STARTTLS":
		e.StartTLS = true
	case "PIPELINING":
		e.Pipelining = true
	case "8BITMIME":
		e.EightBit = true
	case "SMTPUTF8":
		e.UTF8 = true
	case "DSN":
		e.DSN = true
	case "CHUNKING":
		e.Chunking = true
	case "BINARYMIME":
		e.Binary = true
	case "REQUIRETLS":
		e.RequireTLS = true
	case "DELIVERBY":
		e.DeliverBy = true
		if len(words) > 1 {
			e.DeliverByMin, _ = parseSeconds(words[1])
		}
	case "MT-PRIORITY":
		e.Priority = true
	case "SIZE":
		e.SizeOffered = true
		if len(words) > 1 {
			e.Size, _ = parseSize(words[1])
		}
	case "AUTH":
		for _, mech := range words[1:] {
			e.Auth = append(e.Auth, strings.ToUpper(mech))
		}
	case "LIMITS":
		e.addLimits(words[1:])
	}
}

func (e *Extensions) addLimits(words []string) {
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 {
			continue
		}
		switch strings.ToUpper(key) {
		case "RCPTMAX":
			e.MaxRcpt = n
		case "MAILMAX":
			e.MaxMail = n
		}
	}
}

// offers reports whether the server offered an authentication mechanism.
func (e *Extensions) offers(mech string) bool { return slices.Contains(e.Auth, mech) }

// Extensions returns what the server offered last.
func (c *Client) Extensions() Extensions { return c.ext }

// Name returns what the server calls itself, in lower case; it is a claim.
func (c *Client) Name() string { return c.name }

// TLS returns the state of the TLS connection, nil in the clear.
func (c *Client) TLS() *tls.ConnectionState {
	t, ok := c.conn.(*tls.Conn)
	if !ok {
		return nil
	}
	s := t.ConnectionState()
	return &s
}

// Remote returns the server's network address.
func (c *Client) Remote() net.Addr { return c.conn.RemoteAddr() }

// Err returns why the connection cannot be used any more, nil while it can.
func (c *Client) Err() error { return c.err }

// Noop asks whether the server is still there.
func (c *Client) Noop(ctx context.Context) error {
	defer c.begin(ctx)()
	reply, err := c.command("NOOP", c.o.Limits.Mail)
	if err == nil && !reply.OK() {
		err = c.refusal(reply)
	}
	return err
}

// Reset ends an open transaction.
func (c *Client) Reset(ctx context.Context) error {
	defer c.begin(ctx)()
	reply, err := c.command("RSET", c.o.Limits.Mail)
	if err == nil && !reply.OK() {
		err = c.refusal(reply)
	}
	c.dirty = c.dirty && err != nil
	return err
}

// Quit says goodbye, waits for the answer within the limit, and closes. Nothing depends on its
// outcome.
func (c *Client) Quit(ctx context.Context) {
	defer c.Close()
	defer c.begin(ctx)()
	if c.quiet() != nil {
		return
	}
	c.deadline(c.o.Limits.Quit)
	c.w.WriteString("QUIT\r\n")
	if c.w.Flush() == nil {
		c.read(c.o.Limits.Quit)
	}
}

// Close closes the connection without a word.
func (c *Client) Close() error {
	if c.err == nil {
		c.err = net.ErrClosed
	}
	return c.conn.Close()
}
