package doctor

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// strangers are recipients that a server must not take from somebody who has not logged in. The
// names are reserved (RFC 2606): should one be taken, nobody gets a message.
func strangers(host string, local bool) []string {
	all := []string{"relay-test@example.com", "@" + host + ":relay-test@example.com"}
	if local { // mail for whatever name in it may be wanted here, which is no relaying
		return all
	}
	return append(all, `"relay-test@example.com"@`+host, "relay-test%example.com@"+host)
}

// relay tries to send mail through the server's own port 25 as a stranger would, up to RCPT.
func (x *exam) relay(ctx context.Context) []Line {
	l := Line{Check: "relay", About: x.Server.Hostname}
	if x.Door == "" || x.Dialer == nil {
		return nil
	}
	taken, err := x.tryRelay(ctx)
	switch {
	case err != nil:
		l.say(Unknown, fmt.Sprintf("the server's own port 25 could not be tried: %v", err), "see that the server runs")
	case len(taken) > 0:
		l.say(Error, "takes mail of strangers for strangers: "+strings.Join(taken, ", "),
			"stop the server and report this: it must not happen")
	default:
		l.say(OK, "strangers cannot send mail to others through the server", "")
	}
	return []Line{l}
}

func (x *exam) tryRelay(ctx context.Context) (taken []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, perCheck/2)
	defer cancel()
	c, err := x.Dialer.DialContext(ctx, "tcp", x.Door)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	t := &talk{c: c, r: bufio.NewReaderSize(c, 1024)}
	t.deadline(ctx)
	if code, text, err := t.reply(); err != nil {
		return nil, fmt.Errorf("it does not greet: %w", err)
	} else if code != 220 {
		return nil, fmt.Errorf("it greets with %d %s", code, text)
	}
	for _, line := range []string{"EHLO doctor.invalid", "MAIL FROM:<doctor@example.net>"} {
		if code, text, err := t.command(line); err != nil {
			return nil, fmt.Errorf("it does not answer %s: %w", line, err)
		} else if code != 250 {
			return nil, fmt.Errorf("it answers %d %s to %s", code, text, line)
		}
	}
	local := x.Local != nil && x.Local(x.Server.Hostname)
	for _, to := range strangers(x.Server.Hostname, local) {
		code, _, err := t.command("RCPT TO:<" + to + ">")
		if err != nil {
			return taken, fmt.Errorf("it does not answer about %s: %w", to, err)
		}
		if code/100 == 2 {
			taken = append(taken, to)
		}
	}
	_ = t.write("QUIT\r\n") // what was found out does not depend on it
	return taken, nil
}

// talk is a line conversation that the doctor has to bound itself, for it is with anybody.
type talk struct {
	c net.Conn
	r *bufio.Reader
}

func (t *talk) deadline(ctx context.Context) {
	if end, ok := ctx.Deadline(); ok {
		_ = t.c.SetDeadline(end) // a connection that cannot have one fails at the next read
		return
	}
	_ = t.c.SetDeadline(time.Now().Add(perCheck))
}

func (t *talk) write(line string) error {
	_, err := t.c.Write([]byte(line))
	return err
}

func (t *talk) command(line string) (int, string, error) {
	if err := t.write(line + "\r\n"); err != nil {
		return 0, "", err
	}
	return t.reply()
}

// replyLines bounds one reply.
const replyLines = 64

// reply reads one reply and returns its code and the text of its last line, printable.
func (t *talk) reply() (code int, text string, err error) {
	for range replyLines {
		line, err := t.r.ReadSlice('\n')
		if err != nil {
			return 0, "", err
		}
		s := strings.TrimRight(string(line), "\r\n")
		if len(s) < 3 {
			return 0, "", fmt.Errorf("reply %q is none", s)
		}
		if code, err = strconv.Atoi(s[:3]); err != nil {
			return 0, "", fmt.Errorf("reply %q is none", s)
		}
		if len(s) == 3 || s[3] != '-' {
			return code, strings.Map(printable, strings.TrimSpace(s[3:])), nil
		}
	}
	return 0, "", fmt.Errorf("reply has more than %d lines", replyLines)
}

func printable(r rune) rune {
	if r < ' ' || r > '~' {
		return '?'
	}
	return r
}
