// Package milter answers "what does a milter say of a message?": the mail server's side of the milter
// protocol, versions 2 to 6.
//
// All stages of a session are told in one pass after the message has come: what a milter says about
// the client or the sender holds for the message. It may refuse (for now or for good), have the message
// held, and add header fields, which stand on top of it. It is not offered to change or delete fields, the
// body or the recipients: the message is stored as it was received, under the hash it was received with. A
// milter that cannot do without says so when the connection begins, and is an error.
//
// What must never happen: a message is dropped because a milter said "discard" (it is held); a milter
// that is gone or talks nonsense counts as "accept"; something of one message is told with another.
package milter

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"tram/internal/clock"
	"tram/internal/scan/filter"
	"tram/internal/smtp"
)

// Result is what a milter decided. The zero Result lets the message pass as it is.
type Result struct {
	Refuse smtp.Reply // with a Code: what the sender is told
	Hold   string     // why the message is to be held; "": it is not
	Fields []string   // header fields for the top, in their order, each ending in CRLF
}

// Options say who is asked and how. Address is required.
type Options struct {
	Address    filter.Address
	Answer     int // bytes of an answer at most
	Fields     int // that one message may get
	FieldBytes int // of them all
	Header     int // bytes of a message's header at most

	// Idle is how long a connection is kept for the next message of the same client, Messages how many go
	// over one, Conns how many there are. With 0 in one of them none is kept.
	Idle     time.Duration
	Messages int
	Conns    int
	Clock    clock.Clock // nil: clock.System
}

// Client asks one milter. It is safe for concurrent use.
//
// The next message of the same client goes over the connection of the one before, as in a session of that
// client; each other client has a connection of its own, for it has a greeting to be told. SMFIC_QUIT_NC,
// which was made to tell of another client on the same connection, is passed over by libmilter (8.17),
// which nearly all milters are made with.
type Client struct {
	o    Options
	pool *pool
}

// New returns a Client. Close ends its connections.
func New(o Options) *Client {
	if o.Clock == nil {
		o.Clock = clock.System
	}
	p := &pool{idle: o.Idle, most: o.Conns, clock: o.Clock}
	p.closed = o.Idle <= 0 || o.Messages <= 1
	return &Client{o, p}
}

// Close ends the connections that are kept. Messages that are being asked about are not disturbed.
func (c *Client) Close() { c.pool.close() }

// session is a connection whose options have been agreed upon.
type session struct {
	*wire
	c     *Client
	skip  uint32      // what the milter does not want
	who   caller      // whom the milter was told of
	count int         // messages that were told
	timer clock.Timer // ends it while it is kept
}

// Ping connects and agrees upon options.
func (c *Client) Ping(ctx context.Context) error {
	c.pool.enter()
	defer c.pool.leave()
	_, err := c.on(ctx, nil, nil)
	return err
}

// Check asks about a message.
func (c *Client) Check(ctx context.Context, m *filter.Message) (Result, error) {
	s := c.pool.take(callerOf(m))
	var t *talk
	defer func() {
		if t.reusable() {
			c.pool.keep(t.session)
		}
		c.pool.leave()
	}()
	t, err := c.on(ctx, s, m)
	if err != nil && s != nil && !s.heard && ctx.Err() == nil && !ours(err) {
		// It ended while nobody used it. The milter has said nothing of this message, and a milter's work has
		// no effect before it does: being told again does no harm.
		t, err = c.on(ctx, nil, m)
	}
	if err != nil {
		return Result{}, err
	}
	return t.result, nil
}

// on tells m over s, or over a new connection if s is nil; without m it only agrees upon options. The
// connection is closed afterwards unless the talk is reusable.
func (c *Client) on(ctx context.Context, s *session, m *filter.Message) (t *talk, err error) {
	t = &talk{session: s, m: m}
	if s == nil {
		conn, err := c.o.Address.Dial(ctx)
		if err != nil {
			return nil, fmt.Errorf("milter: %w", filter.Cause(ctx, err))
		}
		t.session = &session{wire: newWire(conn, c.o.Answer), c: c}
	}
	release := filter.Bind(ctx, t.conn)
	defer func() {
		// A connection that the context ended, or a bug, is in nobody knows what state.
		if !release() || !t.reusable() {
			t.whole = false
			_ = t.conn.Close()
		}
	}()
	if s == nil {
		err = t.negotiate()
	}
	if err == nil && m != nil {
		err = t.run()
	}
	if err != nil {
		return t, fmt.Errorf("milter: %w", filter.Cause(ctx, err))
	}
	if !t.reusable() {
		t.quit()
	}
	return t, nil
}

// errWants is how libmilter ends a negotiation that does not give it what it needs.
var errWants = errors.New("it closed the connection at the negotiation: it may want to change fields or " +
	"bodies, which this server does not offer")

// negotiate agrees upon what the milter may do and wants to be told.
func (s *session) negotiate() error {
	var offer [12]byte
	binary.BigEndian.PutUint32(offer[0:], version)
	binary.BigEndian.PutUint32(offer[4:], offered)
	binary.BigEndian.PutUint32(offer[8:], omittable)
	if err := s.put(cmdOptions, offer[:]); err != nil {
		return err
	}
	code, data, err := s.next()
	if err != nil {
		// libmilter says nothing of its reasons, so that the likeliest is named beside the error.
		return errors.Join(errWants, err)
	}
	if code != cmdOptions || len(data) < 12 {
		return fmt.Errorf("%w: %q to the negotiation", ErrProtocol, code)
	}
	got := binary.BigEndian.Uint32(data)
	actions, skip := binary.BigEndian.Uint32(data[4:]), binary.BigEndian.Uint32(data[8:])
	switch {
	case got < minVersion || got > version:
		return fmt.Errorf("%w: version %d", ErrProtocol, got)
	case actions&^offered != 0:
		return fmt.Errorf("it wants to do what was not offered (%#x)", actions&^uint32(offered))
	case skip&^omittable != 0:
		return fmt.Errorf("%w: protocol options %#x", ErrProtocol, skip)
	}
	// Of the lists of macros that may follow (version 6) nothing is needed: it gets all that we have.
	s.skip = skip
	if got < hasData {
		s.skip |= noData // it would take an unknown command for a broken connection
	}
	return nil
}
