package certs

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mholt/acmez/v3"

	"tram/internal/clock"
)

// The protocols that TLSConfig knows. SMTP is port 25, Submission 587 and 465.
const (
	SMTP        = "smtp"
	Submission  = "submission"
	IMAP        = "imap"
	POP3        = "pop3"
	ManageSieve = "managesieve"
	HTTPS       = "https"
)

// foreign are the application protocols of others that a mail client has no reason to offer; a
// browser that was led here offers them (ALPACA, P17).
var foreign = []string{"h2", "h3", "http/1.1", "http/1.0", "spdy/3.1", "imap", "pop3",
	"managesieve", "ftp", "xmpp-client", "xmpp-server", "irc", "dot"}

// nobodysProtocol makes a handshake end with no_application_protocol (RFC 7301 §3.2).
const nobodysProtocol = "tram-refuses"

// TLSConfig returns the configuration for a protocol's listeners; another protocol than the above
// is taken for its own ALPN name. It may be cloned.
//
// TLS 1.2 has forward secrecy and AEAD only, there is no renegotiation and no early data (Go's
// server has neither), and ALPN is strict: a client that offers protocols must offer this one. SMTP
// has no ALPN name; there, clients that offer another protocol's are refused.
func (m *Manager) TLSConfig(protocol string) *tls.Config {
	c := &tls.Config{
		MinVersion: tls.VersionTLS12,
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
			tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		CurvePreferences: []tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP256},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return m.certificate(hello, protocol)
		},
	}
	switch protocol {
	case SMTP, "", Submission:
		refuse := c.Clone()
		refuse.NextProtos = []string{nobodysProtocol}
		c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if slices.ContainsFunc(hello.SupportedProtos, isForeign) {
				return refuse, nil
			}
			return nil, nil
		}
	case HTTPS:
		c.NextProtos = []string{"h2", "http/1.1"}
		if m.acme != nil {
			c.NextProtos = append(c.NextProtos, acmez.ACMETLS1Protocol)
		}
	default:
		c.NextProtos = []string{protocol}
	}
	if protocol == SMTP || protocol == "" {
		// Go's tickets upset some of the big senders (golang/go#70232), and a mail server that
		// delivers now and then has little use for them.
		c.SessionTicketsDisabled = true
		return c
	}
	t := &tickets{clock: m.clock}
	c.WrapSession = func(s tls.ConnectionState, state *tls.SessionState) ([]byte, error) {
		return t.keys().EncryptTicket(s, state)
	}
	c.UnwrapSession = func(id []byte, s tls.ConnectionState) (*tls.SessionState, error) {
		return t.keys().DecryptTicket(id, s)
	}
	return c
}

func isForeign(proto string) bool { return slices.Contains(foreign, strings.ToLower(proto)) }

// certificate chooses what to show. No certificate and no error makes the handshake end with
// unrecognized_name (RFC 6066 §3).
func (m *Manager) certificate(
	hello *tls.ClientHelloInfo, protocol string,
) (*tls.Certificate, error) {
	if m.acme != nil && protocol == HTTPS && len(hello.SupportedProtos) == 1 &&
		hello.SupportedProtos[0] == acmez.ACMETLS1Protocol {
		return m.acme.config.GetCertificate(hello) // TLS-ALPN-01, RFC 8737 §3
	}
	c := m.find(hello.ServerName)
	if c == nil && (protocol == SMTP || protocol == "") {
		c = m.find("")
	}
	return c, nil
}

// find returns the certificate for a host, the default one for "", nil when there is none.
func (m *Manager) find(host string) *tls.Certificate {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host != "" {
		return m.named(host)
	}
	if m.o.Default != "" {
		if c := m.named(strings.ToLower(m.o.Default)); c != nil {
			return c
		}
	}
	s := m.shown.Load()
	if c := s.files.first; c != nil {
		return c
	}
	if m.acme != nil {
		if c := m.acme.certificate(""); c != nil {
			return c
		}
	}
	return s.selfMade.first
}

// named asks the sources in their order.
func (m *Manager) named(host string) *tls.Certificate {
	s := m.shown.Load()
	if c := s.files.find(host); c != nil {
		return c
	}
	if m.acme != nil {
		if c := m.acme.certificate(host); c != nil {
			return c
		}
	}
	return s.selfMade.find(host)
}

// index is certificates by name.
type index struct {
	byName map[string]*tls.Certificate
	first  *tls.Certificate
}

func (x *index) add(c *tls.Certificate) {
	if x.byName == nil {
		x.byName, x.first = map[string]*tls.Certificate{}, c
	}
	for _, name := range namesOf(c.Leaf) {
		if x.byName[name] == nil {
			x.byName[name] = c
		}
	}
}

// find looks a name up, and then the wildcard of its first label (RFC 9525 §6.3).
func (x *index) find(host string) *tls.Certificate {
	if c := x.byName[host]; c != nil {
		return c
	}
	_, rest, ok := strings.Cut(host, ".")
	if !ok {
		return nil
	}
	return x.byName["*."+rest]
}

// ServerCertificate is the leaf that was shown on a connection, for channel bindings (RFC 5929
// §4.1); nil when there is none.
func (m *Manager) ServerCertificate(state *tls.ConnectionState) *x509.Certificate {
	c := m.find(state.ServerName)
	if c == nil {
		c = m.find("")
	}
	if c == nil {
		return nil
	}
	return c.Leaf
}

// ticketLife is how long a ticket key makes tickets, and how much longer it takes them: together a
// day.
const ticketLife = 12 * time.Hour

// tickets are the keys of a listener's session tickets. They live in memory only, so that what a
// thief of the disk recorded stays closed to him.
type tickets struct {
	clock clock.Clock

	mu     sync.Mutex
	config *tls.Config
	made   time.Time
	all    [][32]byte // the present key and the one before
}

// keys returns a configuration that holds the present keys, making new ones when it is time.
func (t *tickets) keys() *tls.Config {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock.Now()
	age := now.Sub(t.made)
	if t.config != nil && age >= 0 && age < ticketLife {
		return t.config
	}
	var key [32]byte
	// crypto/rand.Read never returns an error: it ends the process instead.
	_, _ = rand.Read(key[:])
	if age < 0 || age >= 2*ticketLife {
		t.all = nil
	}
	t.all = append([][32]byte{key}, t.all...)
	t.all = t.all[:min(len(t.all), 2)]
	t.made = now
	t.config = &tls.Config{}
	t.config.SetSessionTicketKeys(t.all)
	return t.config
}
