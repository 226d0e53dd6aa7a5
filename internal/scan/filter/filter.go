// Package filter holds what the clients of all filters share: what a filter is told about a message,
// connections that end with a context, and how foreign names become signs.
//
// It decides nothing. What must never happen: a filter that hangs holds a goroutine after its context
// is done, or what it says reaches a log or a reply with control characters in it.
package filter

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"time"
)

// Message is what filters are told.
type Message struct {
	ID         string   // its trail
	From       string   // the reverse-path without angle brackets; "" for the null sender
	Recipients []string // the forward-paths
	User       string   // the account that submits it, "" for mail from elsewhere
	Addr       netip.Addr
	HELO       string
	Name       string // reverse name of Addr, "" when there is none
	TLS        string // version and cipher, "" in the clear
	Hostname   string // our own
	Size       int64  // bytes that Open gives
	// Open reads the message as it is stored, without our own Return-Path field. Each reader is for one
	// goroutine.
	Open func() io.ReadCloser
}

// Address is where a filter listens.
type Address struct{ Network, Name string }

// ParseAddress reads "host:port" or the path of a unix socket.
func ParseAddress(s string) Address {
	if filepath.IsAbs(s) {
		return Address{"unix", s}
	}
	return Address{"tcp", s}
}

func (a Address) String() string { return a.Name }

// past is a deadline that is over.
var past = time.Unix(1, 0)

// Dial connects.
func (a Address) Dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, a.Network, a.Name)
}

// Bind makes reads and writes on c fail once ctx is done. release ends that and reports whether c may be
// used on: it may not when ctx was done before.
func Bind(ctx context.Context, c net.Conn) (release func() bool) {
	// Should setting a deadline fail, the connection is closed already.
	_ = c.SetDeadline(time.Time{})
	return context.AfterFunc(ctx, func() { _ = c.SetDeadline(past) })
}

// Cause returns ctx's error in place of one that it led to.
func Cause(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// ErrMessage is wrapped by the errors of a filter that answers, and that this one message is too much for.
var ErrMessage = errors.New("it cannot check this message")

// ErrHeader says that the header is longer than a filter is told.
var ErrHeader = errors.New("header is too long for a filter")

// Split reads a header of at most limit bytes, blank line included, and returns it with what follows.
func Split(r io.Reader, limit int) (header []byte, body io.Reader, err error) {
	in := bufio.NewReaderSize(r, 32<<10)
	for {
		// ReadSlice gives a line that is longer than its buffer in pieces: an empty piece is no blank line.
		line, err := in.ReadSlice('\n')
		header = append(header, line...)
		whole := len(header) == len(line) || len(line) < len(header) && header[len(header)-len(line)-1] == '\n'
		switch {
		case len(header) > limit:
			return nil, nil, ErrHeader
		case err == io.EOF:
			return header, in, nil
		case err == bufio.ErrBufferFull:
		case err != nil:
			return nil, nil, err
		case whole && len(bytes.TrimRight(line, "\r\n")) == 0:
			return header, in, nil
		}
	}
}

// SignName makes a sign's name of a filter's: prefix and upper case with underscores.
func SignName(prefix, name string) string {
	const most = 80
	name = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z' || r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, name)
	return prefix + name[:min(len(name), most)]
}

// Clean makes a detail of what a filter says: printable, at most 200 bytes.
func Clean(s string) string {
	const most = 200
	var b strings.Builder
	for _, r := range s {
		if r < ' ' || r >= 0x7f && r <= 0x9f || r == '\u2028' || r == '\u2029' || r == 0xfffd {
			r = ' '
		}
		if b.Len()+4 > most { // a rune has at most four bytes
			break
		}
		b.WriteRune(r)
	}
	return strings.TrimSpace(b.String())
}
