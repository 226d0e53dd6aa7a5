package directory

import (
	"bytes"
	"context"
	"crypto/tls"
	"net/netip"
	"strings"
)

// SASLOptions say where an exchange takes place.
type SASLOptions struct {
	Protocol Protocol
	Remote   netip.Addr           // the true client: after PROXY, never the proxy
	TLS      *tls.ConnectionState // nil: the connection is in the clear
}

// Exchange is one SASL dialogue, RFC 4422. Base64, and the client's cancelling "*", are the
// protocol's business: doors decode before Next and simply drop an exchange that was cancelled.
type Exchange interface {
	// Next takes the client's response and gives the challenge to send. response is nil when the
	// client has said nothing yet (no initial response), and empty but not nil when it sent an
	// empty one ("=" in SMTP and IMAP).
	//
	// While done is false and err is nil, challenge is to be sent, also an empty one. When done,
	// Account is who logged in. Errors: those of Authenticate, and ErrMalformed. After an error the
	// exchange is over.
	Next(response []byte) (challenge []byte, done bool, err error)
	// Account is who logged in; the zero Account before Next said done.
	Account() Account
}

// The mechanisms, as they are named on the wire.
const (
	mechPlain       = "PLAIN"
	mechLogin       = "LOGIN"
	mechSCRAM       = "SCRAM-SHA-256"
	mechSCRAMPlus   = "SCRAM-SHA-256-PLUS"
	mechSCRAM1      = "SCRAM-SHA-1"
	mechSCRAM1Plus  = "SCRAM-SHA-1-PLUS"
	mechOAuthBearer = "OAUTHBEARER"
	mechXOAuth2     = "XOAUTH2"
)

// Mechanisms lists what to announce, best first. In the clear there is none (RFC 8314 §3.3, A15):
// the secret is refused before it is asked for. OAUTHBEARER and XOAUTH2 are answered but not
// announced while there is nobody who issues tokens.
func (d *Directory) Mechanisms(tls bool) []string {
	switch {
	case tls:
		return []string{
			mechSCRAMPlus, mechSCRAM, mechSCRAM1Plus, mechSCRAM1, mechPlain, mechLogin,
		}
	case d.o.Measure:
		return []string{mechSCRAM, mechSCRAM1, mechPlain, mechLogin}
	}
	return nil
}

// Start begins a dialogue that lasts no longer than ctx. ErrTLSRequired, ErrMechanism.
func (d *Directory) Start(ctx context.Context, mech string, o SASLOptions) (Exchange, error) {
	x := &exchange{d: d, ctx: ctx, l: d.login(o.Protocol, o.Remote), tls: o.TLS}
	switch strings.ToUpper(mech) {
	case mechPlain:
		x.step = x.plain
	case mechLogin:
		x.step = x.loginUser
	case mechSCRAM:
		x.step = x.scram(scramSHA256, false)
	case mechSCRAMPlus:
		x.step = x.scram(scramSHA256, true)
	case mechSCRAM1:
		x.step = x.scram(scramSHA1, false)
	case mechSCRAM1Plus:
		x.step = x.scram(scramSHA1, true)
	case mechOAuthBearer:
		x.step = x.refuseToken(`{"status":"invalid_token"}`)
	case mechXOAuth2:
		x.step = x.refuseToken(`{"status":"401","schemes":"bearer","scope":"mail"}`)
	default:
		return nil, ErrMechanism
	}
	if o.TLS == nil && (!d.o.Measure || !x.l.remote.IsLoopback()) {
		return nil, ErrTLSRequired
	}
	if o.TLS == nil && strings.HasSuffix(strings.ToUpper(mech), "-PLUS") {
		return nil, ErrMechanism
	}
	return x, nil
}

// exchange is a dialogue: the step that the next response goes to.
type exchange struct {
	d    *Directory
	ctx  context.Context
	l    *login
	tls  *tls.ConnectionState
	step step // nil: over
	done bool // and it ended well
	acct Account
	user string // LOGIN's first answer
}

// step takes a response. What it returns beside the challenge is the step after it, nil at the
// end.
type step func(response []byte) (challenge []byte, next step, err error)

func (x *exchange) Account() Account {
	if !x.done {
		return Account{}
	}
	return x.acct
}

func (x *exchange) Next(response []byte) ([]byte, bool, error) {
	if x.step == nil || len(response) > x.d.limits.SASLBytes {
		x.step = nil
		return nil, false, ErrMalformed
	}
	challenge, next, err := x.step(response)
	x.step = next
	if err != nil {
		x.step = nil
		return nil, false, err
	}
	x.done = next == nil
	return challenge, x.done, nil
}

// logIn ends the dialogue with a name and a password.
func (x *exchange) logIn(user, password string) error {
	err := x.l.identify(x.ctx, user)
	if err == nil {
		err = x.l.check(x.ctx, func() (bool, error) { return x.d.compare(x.ctx, x.l, password) })
	}
	return x.end(err)
}

func (x *exchange) end(err error) error {
	a, err := x.l.end(x.ctx, err)
	if err == nil {
		x.acct = a
	}
	return err
}

// plain is RFC 4616: authorization identity NUL authentication identity NUL password.
func (x *exchange) plain(response []byte) ([]byte, step, error) {
	if response == nil {
		return []byte{}, x.plain, nil
	}
	f := bytes.Split(response, []byte{0})
	if len(f) != 3 || len(f[1]) == 0 || len(f[2]) == 0 {
		return nil, nil, ErrMalformed
	}
	user, password := string(f[1]), string(f[2])
	if as := string(f[0]); as != "" && !x.sameUser(as, user) {
		// Nobody acts for another (RFC 4616 §2): the work is done and fails.
		user = as + "\x00" + user
	}
	return nil, nil, x.logIn(user, password)
}

// sameUser reports whether two login names are of the same user.
func (x *exchange) sameUser(a, b string) bool {
	if a == b {
		return true
	}
	da, la, err := addressKey(a)
	if err != nil {
		return false
	}
	db, lb, err := addressKey(b)
	return err == nil && da == db && la == lb
}

// loginUser is the first half of the obsolete LOGIN mechanism (draft-murchison-sasl-login-00),
// which old programs still prefer. Some send the name at once.
func (x *exchange) loginUser(response []byte) ([]byte, step, error) {
	if response == nil {
		return []byte("Username:"), x.loginUser, nil
	}
	if len(response) == 0 || bytes.IndexByte(response, 0) >= 0 {
		return nil, nil, ErrMalformed
	}
	x.user = string(response)
	return []byte("Password:"), x.loginPassword, nil
}

func (x *exchange) loginPassword(response []byte) ([]byte, step, error) {
	if len(response) == 0 || bytes.IndexByte(response, 0) >= 0 {
		return nil, nil, ErrMalformed
	}
	return nil, nil, x.logIn(x.user, string(response))
}

// refuseToken answers a bearer token with the mechanism's own failure and then fails (RFC 7628
// §3.2.3), so that a client falls back to another mechanism rather than asking for ever. No secret
// of ours was guessed, so nothing is counted.
func (x *exchange) refuseToken(failure string) step {
	last := func([]byte) ([]byte, step, error) { return nil, nil, x.end(ErrBadCredentials) }
	var first step
	first = func(response []byte) ([]byte, step, error) {
		if response == nil {
			return []byte{}, first, nil
		}
		return []byte(failure), last, nil
	}
	return first
}
