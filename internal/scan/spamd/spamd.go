// Package spamd answers "what does SpamAssassin say of a message?", by the protocol of spamc 1.5:
// SYMBOLS, which gives the score and the names of the rules that matched.
//
// What must never happen: an answer that is cut short or makes no sense counts as "no spam".
package spamd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"tram/internal/scan/filter"
)

// Result is an answer.
type Result struct {
	Spam     bool
	Score    float64
	Required float64 // the score from which it says spam
	Rules    []string
}

// ErrProtocol is wrapped by errors about answers that make no sense.
var ErrProtocol = errors.New("spamd: unexpected answer")

// Options say who is asked and how.
type Options struct {
	Address filter.Address
	User    string // whose preferences; "" for spamd's own
	Answer  int    // bytes of an answer at most
	Rules   int    // names that are kept
}

// Client asks one spamd. Each question has a connection of its own, as the protocol has it.
type Client struct{ o Options }

// New returns a Client.
func New(o Options) *Client { return &Client{o} }

// Ping asks whether spamd answers and returns how it calls itself.
func (c *Client) Ping(ctx context.Context) (string, error) {
	answer, err := c.ask(ctx, "PING SPAMC/1.5\r\n\r\n", nil)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(answer, "\r\n")
	version, rest, _ := strings.Cut(line, " ")
	if !strings.HasPrefix(version, "SPAMD/") || strings.TrimSpace(rest) != "0 PONG" {
		return "", fmt.Errorf("%w: %q to PING", ErrProtocol, filter.Clean(line))
	}
	return version, nil
}

// Check asks about a message.
func (c *Client) Check(ctx context.Context, m *filter.Message) (Result, error) {
	// SYMBOLS and not REPORT: the report is prose for people, several kilobytes of it.
	head := "SYMBOLS SPAMC/1.5\r\n"
	if c.o.User != "" {
		head += "User: " + c.o.User + "\r\n"
	}
	head += "Content-length: " + strconv.FormatInt(m.Size, 10) + "\r\n\r\n"
	answer, err := c.ask(ctx, head, m)
	if err != nil {
		return Result{}, err
	}
	return c.parse(answer)
}

// ask sends a question, with the message if there is one, and reads until spamd ends the connection, which
// is how an answer ends.
func (c *Client) ask(ctx context.Context, head string, m *filter.Message) (string, error) {
	conn, err := c.o.Address.Dial(ctx)
	if err != nil {
		return "", fmt.Errorf("spamd: %w", filter.Cause(ctx, err))
	}
	defer conn.Close()
	defer filter.Bind(ctx, conn)()
	out := bufio.NewWriterSize(conn, 32<<10)
	_, err = out.WriteString(head)
	if err == nil && m != nil {
		err = send(out, m)
	}
	if err == nil {
		err = out.Flush()
	}
	// Before the answer is looked at: to what was not the message, spamd may well say that it is fine.
	var own *readError
	if errors.As(err, &own) {
		return "", err
	}
	// A spamd that refuses early has answered: what it says is better than that writing failed.
	b, readErr := io.ReadAll(io.LimitReader(conn, int64(c.o.Answer)+1))
	switch {
	case len(b) > c.o.Answer:
		return "", fmt.Errorf("%w: longer than %d bytes", ErrProtocol, c.o.Answer)
	case len(b) > 0 && readErr == nil: // whether it is whole, parse will see
		return string(b), nil
	case err == nil:
		if err = readErr; err == nil {
			err = io.ErrUnexpectedEOF
		}
	}
	return "", fmt.Errorf("spamd: %w", filter.Cause(ctx, err))
}

// readError is an error of our own storage.
type readError struct{ err error }

func (e *readError) Error() string { return "read message: " + e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

// send copies the message; the length was announced, so it must be what Size says.
func send(w io.Writer, m *filter.Message) error {
	r := m.Open()
	defer r.Close()
	in := &noting{r: r}
	n, err := io.Copy(w, in)
	switch {
	case in.err != nil:
		return &readError{in.err}
	case err == nil && n != m.Size:
		return &readError{fmt.Errorf("%d bytes instead of %d", n, m.Size)}
	}
	return err
}

// noting tells errors of reading from those of writing.
type noting struct {
	r   io.Reader
	err error
}

func (n *noting) Read(p []byte) (int, error) {
	k, err := n.r.Read(p)
	if err != nil && err != io.EOF {
		n.err = err
	}
	return k, err
}

// parse reads "SPAMD/1.1 0 EX_OK", the fields Spam and Content-length, and the names.
func (c *Client) parse(answer string) (Result, error) {
	head, body, whole := strings.Cut(answer, "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	words := strings.SplitN(lines[0], " ", 3)
	if len(words) < 2 || !strings.HasPrefix(words[0], "SPAMD/1.") {
		return Result{}, fmt.Errorf("%w: %q", ErrProtocol, filter.Clean(lines[0]))
	}
	if words[1] == "65" || words[1] == "98" { // EX_DATAERR, EX_TOOBIG
		return Result{}, fmt.Errorf("spamd: %w: %q", filter.ErrMessage, filter.Clean(lines[0]))
	}
	if words[1] != "0" {
		return Result{}, fmt.Errorf("spamd: it says %q", filter.Clean(lines[0]))
	}
	var (
		result Result
		judged bool
		length = -1
	)
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		var err error
		switch value = strings.TrimSpace(value); strings.ToLower(name) {
		case "spam":
			result, err = parseSpam(value)
			judged = err == nil
		case "content-length":
			length, err = strconv.Atoi(value)
		}
		if err != nil {
			return Result{}, fmt.Errorf("%w: %q", ErrProtocol, filter.Clean(line))
		}
	}
	// A length that is not told is no fault; one that is must be there, or rules are missing.
	if !whole || !judged || length > len(body) {
		return Result{}, fmt.Errorf("%w: cut short", ErrProtocol)
	}
	// The rules' names are for people and lists; versions separate them by commas or by lines.
	for rule := range strings.FieldsFuncSeq(body, func(r rune) bool { return r <= ' ' || r == ',' }) {
		if len(result.Rules) == c.o.Rules {
			break
		}
		result.Rules = append(result.Rules, filter.SignName("", rule))
	}
	return result, nil
}

// parseSpam reads "True ; 15.0 / 5.0".
func parseSpam(value string) (Result, error) {
	verdict, numbers, _ := strings.Cut(value, ";")
	score, required, _ := strings.Cut(numbers, "/")
	var r Result
	switch strings.ToLower(strings.TrimSpace(verdict)) {
	case "true", "yes":
		r.Spam = true
	case "false", "no":
	default:
		return r, ErrProtocol
	}
	var errs [2]error
	r.Score, errs[0] = strconv.ParseFloat(strings.TrimSpace(score), 64)
	r.Required, errs[1] = strconv.ParseFloat(strings.TrimSpace(required), 64)
	// ParseFloat reads "NaN", too, which is neither above nor below any threshold.
	if math.IsNaN(r.Score+r.Required) || math.IsInf(r.Score+r.Required, 0) {
		return r, ErrProtocol
	}
	return r, errors.Join(errs[:]...)
}
