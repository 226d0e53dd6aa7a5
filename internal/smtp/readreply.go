package smtp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"tram/internal/limits"
)

// ErrReply is wrapped by ReadReply's error when the peer did not speak SMTP. The connection cannot
// be used any more: the next reply could belong to anything.
var ErrReply = errors.New("malformed reply")

// ReadReply reads one reply, RFC 5321 §4.2. It is strict about the line end, because a bare LF in
// text that a server repeats would shift every reply after it by one; it is bounded by l.ReplyLine
// octets a line and l.ReplyLines lines. Text is made printable. r's buffer must hold l.ReplyLine.
func ReadReply(r *bufio.Reader, l limits.Client) (Reply, error) {
	var reply Reply
	for {
		line, err := readReplyLine(r, l.ReplyLine)
		if err != nil {
			return Reply{}, err
		}
		code, more, text, ok := splitReplyLine(line)
		switch {
		case !ok:
			return Reply{}, fmt.Errorf("%w: %q", ErrReply, printable(clip(line, 80)))
		case len(reply.Lines) > 0 && code != reply.Code:
			return Reply{}, fmt.Errorf("%w: code %d within %d", ErrReply, code, reply.Code)
		case len(reply.Lines) >= l.ReplyLines:
			return Reply{}, fmt.Errorf("%w: more than %d lines", ErrReply, l.ReplyLines)
		}
		reply.Code = code
		reply.add(printable(text))
		if !more {
			return reply, nil
		}
	}
}

// add takes the enhanced code off a line of text, if its class is the reply's.
func (r *Reply) add(text string) {
	if e, rest, ok := ParseEnhanced(text); ok && e[0] == r.Code/100 {
		if r.Enhanced == (Enhanced{}) {
			r.Enhanced = e
		}
		text = rest
	}
	r.Lines = append(r.Lines, text)
}

// readReplyLine returns a line without CRLF, valid until the next read.
func readReplyLine(r *bufio.Reader, max int) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull) || len(line) > max:
		return nil, fmt.Errorf("%w: line over %d octets", ErrReply, max)
	case errors.Is(err, io.EOF) && len(line) > 0:
		return nil, io.ErrUnexpectedEOF
	case err != nil:
		return nil, err
	}
	line, ok := bytes.CutSuffix(line, []byte("\r\n"))
	if !ok || bytes.IndexByte(line, '\r') >= 0 {
		return nil, fmt.Errorf("%w: bare CR or LF", ErrReply)
	}
	return line, nil
}

// splitReplyLine takes a line apart: three digits from 200 to 599, a space or a hyphen, text.
func splitReplyLine(line []byte) (code int, more bool, text []byte, ok bool) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' {
		return 0, false, nil, false
	}
	for _, c := range line[:3] {
		if c < '0' || c > '9' {
			return 0, false, nil, false
		}
		code = code*10 + int(c-'0')
	}
	if len(line) == 3 {
		return code, false, nil, true
	}
	if line[3] != ' ' && line[3] != '-' {
		return 0, false, nil, false
	}
	return code, line[3] == '-', line[4:], true
}

// printable makes text from outside safe to log, store and repeat.
func printable(text []byte) string {
	clean := func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return '?'
		}
		return r
	}
	return strings.Map(clean, string(text))
}

func clip(b []byte, n int) []byte { return b[:min(n, len(b))] }
