package imap

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// clientLimits bound what a server may make the client hold.
var clientLimits = Limits{
	Line: 4 << 20, Literals: 256 << 20, Quoted: 1 << 20, Depth: 200, Ranges: 1 << 20, Keyword: 1000,
}

// ErrTLS is returned when a server does not protect a connection that has to be.
var ErrTLS = errors.New("server offers no TLS")

// StatusError is a NO, BAD or BYE.
type StatusError struct{ Response }

// Error implements error.
func (e *StatusError) Error() string {
	if e.Code != "" {
		return fmt.Sprintf("%s [%s] %s", e.Name, strings.TrimSpace(e.Code+" "+e.Args), e.Text)
	}
	return e.Name + " " + e.Text
}

// Client speaks to an IMAP server: for tests, load generators and the import of accounts. It runs
// one command at a time and is not safe for concurrent use.
type Client struct {
	// Caps are the server's capabilities as last told, in upper case.
	Caps map[string]bool
	// OnUntagged is called for each untagged reply while a command runs, nil for none.
	OnUntagged func(Response)
	// OnBody takes message bodies while they stream in; nil: they are held.
	OnBody BodyFunc

	conn    net.Conn
	in      *reader
	dec     *Decoder
	out     *bufio.Writer
	tags    int
	preauth bool // the greeting said that no log-in is needed
}

// ClientOptions configures Dial.
type ClientOptions struct {
	TLS      *tls.Config // nil: in the clear
	StartTLS bool        // begin in the clear; needs TLS
	Dial     func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Dial connects and reads the greeting. ErrTLS when StartTLS is wanted and not offered: nothing a
// server says before TLS is believed, RFC 9051 §11.1.
func Dial(ctx context.Context, addr string, o ClientOptions) (*Client, error) {
	dial := o.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	nc, err := dial(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	if o.TLS != nil && !o.StartTLS {
		nc = tls.Client(nc, o.TLS)
	}
	c, err := NewClient(nc)
	if err == nil && o.TLS != nil && o.StartTLS {
		if c.preauth {
			err = fmt.Errorf("%w: logged in before TLS", ErrTLS) // RFC 9051 §11.1
		} else {
			err = c.startTLS(ctx, o.TLS)
		}
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

// NewClient reads the greeting from a connection.
func NewClient(nc net.Conn) (*Client, error) {
	c := &Client{conn: nc}
	c.use(nc)
	r, err := c.read()
	if err != nil {
		return nil, fmt.Errorf("read greeting: %w", err)
	}
	if r.Tag != "*" || r.Name != "OK" && r.Name != "PREAUTH" {
		return nil, &StatusError{r}
	}
	c.preauth = r.Name == "PREAUTH"
	return c, nil
}

// use makes nc the connection; what was buffered of another one is forgotten.
func (c *Client) use(nc net.Conn) {
	c.conn = nc
	c.in = newReader(nc)
	c.out = bufio.NewWriterSize(nc, 32<<10)
	c.dec = NewDecoder(c.in, clientLimits)
}

// startTLS begins TLS and drops all that was learned before it, RFC 9051 §6.2.1.
func (c *Client) startTLS(ctx context.Context, config *tls.Config) error {
	if _, err := c.Do("STARTTLS"); err != nil {
		return fmt.Errorf("%w: %w", ErrTLS, err)
	}
	if c.in.Buffered() > 0 {
		return fmt.Errorf("%w: plaintext after STARTTLS", ErrTLS)
	}
	tc := tls.Client(c.conn, config)
	if err := tc.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("shake hands: %w", err)
	}
	c.use(tc)
	c.Caps = nil
	return nil
}

// SetUTF8 tells the client that UTF8=ACCEPT or IMAP4rev2 is enabled.
func (c *Client) SetUTF8() { c.dec.UTF8 = true }

// Conn returns the network connection.
func (c *Client) Conn() net.Conn { return c.conn }

// Close ends the connection without a word.
func (c *Client) Close() error { return c.conn.Close() }

// Logout says goodbye and closes.
func (c *Client) Logout() error {
	_, err := c.Do("LOGOUT")
	return errors.Join(err, c.conn.Close())
}

// Login logs in with LOGIN and asks for the capabilities where the server did not tell.
func (c *Client) Login(user, password string) error {
	c.Caps = nil
	cmd := AppendString([]byte("LOGIN "), user, false)
	cmd = AppendString(append(cmd, ' '), password, false)
	if _, err := c.Do(string(cmd)); err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	if c.Caps == nil {
		if _, err := c.Do("CAPABILITY"); err != nil {
			return fmt.Errorf("ask for capabilities: %w", err)
		}
	}
	return nil
}

// Has reports whether the server has a capability, asking it when it has not said yet.
func (c *Client) Has(capability string) bool {
	if c.Caps == nil {
		if _, err := c.Do("CAPABILITY"); err != nil {
			return false
		}
	}
	return c.Caps[capability]
}

// Reply is what a server answered to a command.
type Reply struct {
	Response            // the tagged one
	Data     []Response // the untagged ones, empty where OnUntagged took them
}

// Do sends a command, without a tag, and reads the replies to it. Parts are strings, sent as they
// are, []byte, sent as literals, and Body values. The error is a *StatusError for NO and BAD.
func (c *Client) Do(parts ...any) (*Reply, error) {
	tag, early, err := c.send(parts)
	if err != nil {
		return nil, err
	}
	return c.wait(tag, early)
}

// Body is a literal that is streamed from a reader.
type Body struct {
	Size int64
	io.Reader
}

// send writes a command; early are the replies that came while it waited to send a literal.
func (c *Client) send(parts []any) (tag string, early *Reply, err error) {
	c.tags++
	tag = "t" + strconv.Itoa(c.tags)
	early = &Reply{}
	c.out.WriteString(tag + " ")
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			c.out.WriteString(p)
		case []byte:
			err = c.sendLiteral(tag, early, int64(len(p)), strings.NewReader(string(p)))
		case Body:
			err = c.sendLiteral(tag, early, p.Size, p.Reader)
		default:
			err = fmt.Errorf("command part of type %T", p)
		}
		if err != nil || early.Tag == tag {
			return tag, early, err
		}
	}
	c.out.WriteString("\r\n")
	if err := c.out.Flush(); err != nil {
		return "", nil, fmt.Errorf("send command: %w", err)
	}
	return tag, early, nil
}

// sendLiteral announces a literal and sends it, at once where the server allows that (RFC 7888), else
// when it asks. A server that refuses answers with the tagged reply, left in early.
func (c *Client) sendLiteral(tag string, early *Reply, size int64, r io.Reader) error {
	nonSync := c.Caps["LITERAL+"] || c.Caps["LITERAL-"] && size <= 4096
	plus := ""
	if nonSync {
		plus = "+"
	}
	fmt.Fprintf(c.out, "{%d%s}\r\n", size, plus)
	if !nonSync {
		if err := c.out.Flush(); err != nil {
			return fmt.Errorf("announce literal: %w", err)
		}
		if err := c.until(tag, early, true); err != nil || early.Tag == tag {
			return err
		}
	}
	if _, err := io.CopyN(c.out, r, size); err != nil {
		return fmt.Errorf("send literal: %w", err)
	}
	return nil
}

// wait reads up to the tagged reply.
func (c *Client) wait(tag string, reply *Reply) (*Reply, error) {
	if reply.Tag != tag {
		if err := c.until(tag, reply, false); err != nil {
			return nil, err
		}
	}
	if reply.Name != "OK" {
		return reply, &StatusError{reply.Response}
	}
	return reply, nil
}

// until reads up to the tagged reply or, if asked, a continuation request.
func (c *Client) until(tag string, reply *Reply, plus bool) error {
	for {
		r, err := c.read()
		switch {
		case err != nil:
			return err
		case r.Tag == tag:
			reply.Response = r
			return nil
		case r.Tag == "+" && plus:
			return nil
		case r.Tag != "*":
			return fmt.Errorf("reply with tag %q to %q", r.Tag, tag)
		case c.OnUntagged != nil:
			c.OnUntagged(r)
		default:
			reply.Data = append(reply.Data, r)
		}
	}
}

// read reads one reply and takes note of capabilities.
func (c *Client) read() (Response, error) {
	if err := c.dec.Next(); err != nil {
		return Response{}, err
	}
	r := c.dec.Response(c.OnBody)
	if err := c.dec.Err(); err != nil {
		return r, fmt.Errorf("read reply: %w", err)
	}
	switch {
	case r.Name == "CAPABILITY":
		c.Caps = map[string]bool{}
		for _, v := range r.Values {
			c.Caps[upper(v.Text)] = true
		}
	case r.Code == "CAPABILITY":
		c.Caps = map[string]bool{}
		for _, name := range strings.Fields(upper(r.Args)) {
			c.Caps[name] = true
		}
	}
	return r, nil
}

// Idle sends IDLE and waits until the server accepted it; then Next reads what comes and Done ends.
func (c *Client) Idle() (tag string, err error) {
	tag, reply, err := c.send([]any{"IDLE"})
	if err != nil {
		return "", err
	}
	if err := c.until(tag, reply, true); err != nil {
		return "", err
	}
	if reply.Tag == tag {
		return "", &StatusError{reply.Response}
	}
	return tag, nil
}

// Next reads one untagged reply, while idle.
func (c *Client) Next() (Response, error) { return c.read() }

// Done ends IDLE.
func (c *Client) Done(tag string) (*Reply, error) {
	if _, err := c.conn.Write([]byte("DONE\r\n")); err != nil {
		return nil, fmt.Errorf("send DONE: %w", err)
	}
	return c.wait(tag, &Reply{})
}
