package smtp

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/xdg-go/scram"
)

// Errors of Auth beside a Reply.
var (
	ErrNoMechanism = errors.New("no common authentication mechanism")
	ErrAuthServer  = errors.New("server failed to prove that it knows the password")
)

// Credentials are what Auth logs in with.
type Credentials struct {
	User, Password string
	// AllowClear lets PLAIN and LOGIN show the password on a connection without TLS.
	AllowClear bool
}

// step answers one challenge of the server.
type step func(challenge []byte) ([]byte, error)

// Auth logs in, RFC 4954, with the best mechanism that both know: SCRAM-SHA-256 (RFC 7677), which
// does not show the password, then PLAIN (RFC 4616), then LOGIN. The error is a Reply when the
// server refused.
func (c *Client) Auth(ctx context.Context, cred Credentials) error {
	defer c.begin(ctx)()
	clear := c.tls || cred.AllowClear
	switch {
	case c.ext.offers("SCRAM-SHA-256"):
		return c.authSCRAM(cred)
	case c.ext.offers("PLAIN") && clear:
		first := []byte("\x00" + cred.User + "\x00" + cred.Password)
		return c.exchange("PLAIN", first, func([]byte) ([]byte, error) { return nil, ErrReply })
	case c.ext.offers("LOGIN") && clear:
		answers := [][]byte{[]byte(cred.User), []byte(cred.Password)}
		return c.exchange("LOGIN", nil, func([]byte) ([]byte, error) {
			if len(answers) == 0 {
				return nil, ErrReply
			}
			a := answers[0]
			answers = answers[1:]
			return a, nil
		})
	}
	return ErrNoMechanism
}

// authSCRAM logs in and checks that the server knew the password too.
func (c *Client) authSCRAM(cred Credentials) error {
	client, err := scram.SHA256.NewClient(cred.User, cred.Password, "")
	if err != nil {
		return fmt.Errorf("prepare SCRAM: %w", err)
	}
	conv := client.NewConversation()
	first, err := conv.Step("")
	if err != nil {
		return fmt.Errorf("prepare SCRAM: %w", err)
	}
	err = c.exchange("SCRAM-SHA-256", []byte(first), func(challenge []byte) ([]byte, error) {
		if tooManyIterations(challenge) {
			return nil, ErrReply
		}
		answer, err := conv.Step(string(challenge))
		return []byte(answer), err
	})
	if err == nil && !conv.Valid() {
		c.conn.Close()
		return c.fail(ErrAuthServer)
	}
	return err
}

// maxIterations bounds the work a server can make us do; RFC 7677 §4 asks for 4096 or more.
const maxIterations = 1 << 20

// tooManyIterations looks at the iteration count of a server's first message, RFC 5802 §5.1.
func tooManyIterations(challenge []byte) bool {
	for attr := range strings.SplitSeq(string(challenge), ",") {
		if v, ok := strings.CutPrefix(attr, "i="); ok {
			n, err := strconv.Atoi(v)
			return err != nil || n > maxIterations
		}
	}
	return false
}

// exchange runs a mechanism: initial response, challenges, outcome.
func (c *Client) exchange(mech string, first []byte, next step) error {
	line := "AUTH " + mech
	if first != nil {
		line += " " + base64.StdEncoding.EncodeToString(first)
	}
	reply, err := c.command(line, c.o.Limits.Mail)
	for err == nil && reply.Code == 334 {
		reply, err = c.respond(reply, next)
	}
	switch {
	case err != nil:
		return fmt.Errorf("AUTH: %w", err)
	case reply.Code != 235:
		return fmt.Errorf("AUTH: %w", c.refusal(reply))
	}
	return nil
}

// respond answers one challenge, or cancels with "*" when it makes no sense (RFC 4954 §4).
func (c *Client) respond(challenge Reply, next step) (Reply, error) {
	raw, err := base64.StdEncoding.DecodeString(challenge.Text())
	var answer []byte
	if err == nil {
		answer, err = next(raw)
	}
	if err == nil {
		return c.command(base64.StdEncoding.EncodeToString(answer), c.o.Limits.Mail)
	}
	if _, cancel := c.command("*", c.o.Limits.Mail); cancel != nil {
		return Reply{}, cancel
	}
	return Reply{}, err
}
