// Package rspamd answers "what does rspamd say of a message?", by HTTP: POST /checkv2 with the envelope
// in header fields, and an answer in JSON.
//
// What must never happen: an answer that is not whole, not rspamd's or larger than the limit counts as
// "no action".
package rspamd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"tram/internal/scan/filter"
	"tram/internal/spam/sign"
)

// The actions of rspamd.
const (
	NoAction       = "no action"
	Greylist       = "greylist"
	SoftReject     = "soft reject"
	AddHeader      = "add header"
	RewriteSubject = "rewrite subject"
	Reject         = "reject"
)

// Result is an answer.
type Result struct {
	Action   string
	Score    float64 // as rspamd counts
	Required float64 // the score from which it rejects
	Message  string  // what it wants the sender to be told; "" for nothing of its own
	// Signs are the rules that matched, the weightiest first, in our measure: what rspamd marks as spam
	// comes to 5 together.
	Signs []sign.Sign
}

// ErrProtocol is wrapped by errors about answers that make no sense.
var ErrProtocol = errors.New("rspamd: unexpected answer")

// Options say who is asked and how.
type Options struct {
	Address  filter.Address
	Password string
	Conns    int // at the same time
	Answer   int // bytes of an answer at most
	Signs    int // rules that are kept
}

// Client asks one rspamd and keeps connections alive between questions.
type Client struct {
	o    Options
	http *http.Client
}

// New returns a Client. Close ends its connections.
func New(o Options) *Client {
	t := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return o.Address.Dial(ctx)
		},
		MaxConnsPerHost: o.Conns, MaxIdleConnsPerHost: o.Conns, IdleConnTimeout: 30 * time.Second,
		DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
	}
	return &Client{o: o, http: &http.Client{
		Transport: t,
		// A filter has no reason to send us elsewhere, with somebody's mail in hand.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Ping asks whether rspamd answers and returns how it calls itself.
func (c *Client) Ping(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://rspamd/ping", nil)
	if err != nil {
		return "", fmt.Errorf("rspamd: %w", err)
	}
	body, resp, err := c.do(req)
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(string(body), "pong") {
		return "", fmt.Errorf("%w: %s to a ping", ErrProtocol, filter.Clean(resp.Status))
	}
	return filter.Clean(resp.Header.Get("Server")), nil
}

// Check asks about a message.
func (c *Client) Check(ctx context.Context, m *filter.Message) (Result, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://rspamd/checkv2", m.Open())
	if err != nil {
		return Result{}, fmt.Errorf("rspamd: %w", err)
	}
	// A connection that rspamd has closed meanwhile is noticed by the next question, which then goes again:
	// asking twice does no harm, and net/http is told so by a field that is not sent.
	req.Header["Idempotency-Key"] = nil
	req.GetBody = func() (io.ReadCloser, error) { return m.Open(), nil }
	req.ContentLength = m.Size
	c.describe(req.Header, m)
	body, resp, err := c.do(req)
	if err != nil {
		return Result{}, err
	}
	return c.parse(resp, body)
}

// do sends a question and reads the answer to its end, so that the connection can be used again.
func (c *Client) do(req *http.Request) ([]byte, *http.Response, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, nil, fmt.Errorf("rspamd: %w", filter.Cause(req.Context(), err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, int64(c.o.Answer)+1))
	if err != nil {
		return nil, nil, fmt.Errorf("rspamd: %w", filter.Cause(req.Context(), err))
	}
	if len(body) > c.o.Answer {
		// Cut off, it could still be good JSON that says something else.
		return nil, nil, fmt.Errorf("%w: longer than %d bytes", ErrProtocol, c.o.Answer)
	}
	return body, resp, nil
}

// describe writes the envelope as rspamd's protocol has it. What cannot stand in a field of HTTP (an
// address with line breaks in quotes) is left out.
func (c *Client) describe(h http.Header, m *filter.Message) {
	set := func(name, value string) {
		if value != "" && !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			h.Add(name, value)
		}
	}
	h.Set("User-Agent", "tram")
	if m.Addr.IsValid() {
		set("IP", m.Addr.Unmap().WithZone("").String())
	}
	set("Helo", m.HELO)
	set("Hostname", cmp.Or(m.Name, "unknown"))
	set("From", "<"+m.From+">")
	for _, to := range m.Recipients {
		set("Rcpt", "<"+to+">")
	}
	set("User", m.User)
	set("Queue-Id", m.ID)
	set("MTA-Name", m.Hostname)
	version, cipher, _ := strings.Cut(m.TLS, " ")
	set("TLS-Version", version)
	set("TLS-Cipher", cipher)
	set("Password", c.o.Password)
	// Every rule is asked for, whatever the first ones come to.
	set("Pass", "all")
}

// answer is the part of /checkv2's JSON that matters.
type answer struct {
	Action     string             `json:"action"`
	Score      *float64           `json:"score"`
	Required   float64            `json:"required_score"`
	Thresholds map[string]float64 `json:"thresholds"`
	Symbols    map[string]struct {
		Score   float64  `json:"score"`
		Options []string `json:"options"`
	} `json:"symbols"`
	Messages map[string]string `json:"messages"`
	Error    string            `json:"error"`
}

var actions = []string{NoAction, Greylist, SoftReject, AddHeader, RewriteSubject, Reject}

// parse reads an answer. Nothing in it is believed to be there: rspamd answers errors in JSON, too, and a
// proxy before it answers as it likes.
func (c *Client) parse(resp *http.Response, body []byte) (Result, error) {
	var a answer
	err := json.Unmarshal(body, &a)
	switch {
	case (resp.StatusCode == 400 || resp.StatusCode == 413) && err == nil:
		return Result{}, fmt.Errorf("rspamd: %w: %s", filter.ErrMessage, filter.Clean(resp.Status+" "+a.Error))
	case resp.StatusCode != http.StatusOK || a.Error != "":
		return Result{}, fmt.Errorf("rspamd: it says %q", filter.Clean(resp.Status+" "+a.Error))
	case err != nil:
		return Result{}, fmt.Errorf("%w: %w", ErrProtocol, err)
	case a.Score == nil || !slices.Contains(actions, a.Action):
		return Result{}, fmt.Errorf("%w: action %q", ErrProtocol, filter.Clean(a.Action))
	}
	r := Result{
		Action: a.Action, Score: *a.Score, Required: a.Required,
		Message: filter.Clean(a.Messages["smtp_message"]),
	}
	measure := measureOf(a)
	for name, s := range a.Symbols {
		if s.Score == 0 {
			continue // it only informs
		}
		r.Signs = append(r.Signs, sign.Sign{
			Name: filter.SignName("RSPAMD_", name), Score: s.Score * measure,
			Detail: filter.Clean(strings.Join(s.Options, ", ")),
		})
	}
	slices.SortFunc(r.Signs, func(a, b sign.Sign) int {
		return cmp.Or(cmp.Compare(abs(b.Score), abs(a.Score)), cmp.Compare(a.Name, b.Name))
	})
	// Those that weigh least are left out, so that the sum stays about what rspamd meant.
	r.Signs = r.Signs[:min(len(r.Signs), c.o.Signs)]
	return r, nil
}

// measureOf is what rspamd's scores are multiplied with. It tells the threshold of "add header" only in
// newer versions; in its own configuration that stands at 6 of the 15 that reject.
func measureOf(a answer) float64 {
	const ours, share = 5, 0.4
	if t := a.Thresholds[AddHeader]; t > 0 {
		return ours / t
	}
	if a.Required > 0 {
		return ours / (a.Required * share)
	}
	return 1
}

func abs(f float64) float64 { return max(f, -f) }
