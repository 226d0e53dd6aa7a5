package smtp

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// peer is a scripted SMTP server for one connection. It knows the protocol well enough to stay in
// step, and says at each stage what the test tells it to.
type peer struct {
	greeting string   // "" is "220 peer.test ESMTP"
	ehlo     []string // extensions
	tls      *tls.Config
	afterTLS []string // extensions after STARTTLS; nil: as before
	// reply overrides what is said: stage is a verb in upper case, DOT after a message's end, n
	// counts the stage's occurrences from 0. "" keeps the default, "CUT" closes the connection.
	reply func(stage string, n int) string
	chop  int // write replies in pieces of this many octets

	conn  net.Conn
	r     *bufio.Reader
	seen  map[string]int
	rcpts int // accepted in this transaction

	mu       sync.Mutex
	commands []string // as they came
	bodies   []string // messages taken
	secured  bool
}

// defaults are the replies of a server that likes everything.
var defaults = map[string]string{
	"MAIL": "250 2.1.0 Ok", "RCPT": "250 2.1.5 Ok", "DATA": "354 Go ahead",
	"DOT": "250 2.0.0 Queued", "BDAT": "250 2.0.0 Chunk", "RSET": "250 2.0.0 Ok",
	"NOOP": "250 Ok", "QUIT": "221 Bye", "STARTTLS": "220 Go ahead", "HELO": "250 peer.test",
	"AUTH": "235 2.7.0 Welcome", "greeting": "220 peer.test ESMTP",
}

// start runs the peer on one end of a pipe and returns the other.
func (p *peer) start(t *testing.T) net.Conn {
	t.Helper()
	client, server := net.Pipe()
	p.serve(t, server)
	return client
}

// serve runs the peer on conn until the test ends.
func (p *peer) serve(t *testing.T, conn net.Conn) {
	p.conn, p.r, p.seen = conn, bufio.NewReader(conn), map[string]int{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer conn.Close()
		p.run()
	}()
	t.Cleanup(func() { conn.Close(); <-done })
}

func (p *peer) run() {
	if !p.say("greeting") {
		return
	}
	for {
		line, err := p.r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\r\n")
		p.mu.Lock()
		p.commands = append(p.commands, line)
		p.mu.Unlock()
		verb, _, _ := strings.Cut(line, " ")
		if !p.handle(strings.ToUpper(verb), line) {
			return
		}
	}
}

// handle answers one command and reports whether the session goes on.
func (p *peer) handle(verb, line string) bool {
	switch verb {
	case "EHLO", "LHLO":
		return p.hello(verb)
	case "MAIL":
		p.rcpts = 0
		return p.say("MAIL")
	case "RCPT":
		code := p.choose("RCPT")
		if strings.HasPrefix(code, "2") {
			p.rcpts++
		}
		return p.write(code)
	case "DATA":
		reply := p.choose("DATA")
		return p.write(reply) && (!strings.HasPrefix(reply, "354") || p.message())
	case "BDAT":
		return p.chunk(strings.Fields(line))
	case "STARTTLS":
		reply := p.choose("STARTTLS")
		return p.write(reply) && (!strings.HasPrefix(reply, "220") || p.secure())
	case "QUIT":
		p.say("QUIT")
		return false
	}
	if _, ok := defaults[verb]; !ok {
		if over := p.override(line); over != "" {
			return p.write(over)
		}
		return p.write("500 5.5.2 What?")
	}
	return p.say(verb)
}

func (p *peer) hello(verb string) bool {
	if over := p.override(verb); over != "" {
		return p.write(over)
	}
	lines := append([]string{"peer.test hello"}, p.ehlo...)
	return p.write(string(Reply{Code: 250, Lines: lines}.AppendWire(nil)))
}

func (p *peer) secure() bool {
	t := tls.Server(p.conn, p.tls)
	if t.Handshake() != nil {
		return false
	}
	p.conn, p.r = t, bufio.NewReader(t)
	p.mu.Lock()
	p.secured = true
	p.mu.Unlock()
	if p.afterTLS != nil {
		p.ehlo = p.afterTLS
	}
	return true
}

func (p *peer) message() bool {
	var b strings.Builder
	if _, err := NewDataReader(p.r, 0).WriteTo(&b); err != nil {
		return false
	}
	p.take(b.String())
	return p.finals()
}

func (p *peer) chunk(words []string) bool {
	n, err := strconv.Atoi(words[1])
	if err != nil {
		return false
	}
	buf := make([]byte, n)
	for read := 0; read < n; {
		k, err := p.r.Read(buf[read:])
		if err != nil {
			return false
		}
		read += k
	}
	last := len(words) == 3
	if p.rcpts == 0 {
		return p.write("503 5.5.1 No recipients")
	}
	if !last {
		p.part(string(buf))
		return p.say("BDAT")
	}
	p.part(string(buf))
	p.mu.Lock()
	p.bodies = append(p.bodies, "")
	p.mu.Unlock()
	return p.finals()
}

// part appends to the message under way; take ends one.
func (p *peer) part(s string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.bodies) == 0 {
		p.bodies = append(p.bodies, "")
	}
	p.bodies[len(p.bodies)-1] += s
}

func (p *peer) take(s string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bodies = append(p.bodies, s)
}

// finals says DOT once, or in LMTP once per recipient.
func (p *peer) finals() bool {
	n := 1
	if strings.HasPrefix(p.commands[0], "LHLO") {
		n = p.rcpts
	}
	for range n {
		if !p.say("DOT") {
			return false
		}
	}
	return true
}

func (p *peer) override(stage string) string {
	n := p.seen[stage]
	p.seen[stage]++
	if p.reply == nil {
		return ""
	}
	return p.reply(stage, n)
}

func (p *peer) choose(stage string) string {
	if over := p.override(stage); over != "" {
		return over
	}
	if stage == "greeting" && p.greeting != "" {
		return p.greeting
	}
	return defaults[stage]
}

func (p *peer) say(stage string) bool { return p.write(p.choose(stage)) }

// write sends a reply, whole or chopped; "CUT" ends the session.
func (p *peer) write(reply string) bool {
	if reply == "CUT" {
		return false
	}
	if reply == "SILENCE" {
		return true
	}
	if !strings.HasSuffix(reply, "\r\n") {
		reply += "\r\n"
	}
	for len(reply) > 0 {
		n := len(reply)
		if p.chop > 0 {
			n = min(n, p.chop)
		}
		if _, err := p.conn.Write([]byte(reply[:n])); err != nil {
			return false
		}
		reply = reply[n:]
	}
	return true
}

// said returns the commands so far without EHLO.
func (p *peer) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	for _, c := range p.commands {
		if !strings.HasPrefix(c, "EHLO") {
			b.WriteString(c + "\n")
		}
	}
	return b.String()
}

// options are a client's for tests.
func options() ClientOptions {
	return ClientOptions{Hostname: "us.test", Limits: testLimits}
}

// open connects a client to p.
func (p *peer) open(t *testing.T) *Client {
	t.Helper()
	c, err := NewClient(context.Background(), p.start(t), options())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// certificate makes a self-signed certificate for peer.test and a pool that trusts it.
func certificate(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"peer.test"}, IsCA: true,
		BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	server := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return &tls.Config{Certificates: []tls.Certificate{server}}, pool
}
