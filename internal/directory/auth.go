package directory

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"log/slog"
	"net/netip"
	"strings"

	"tram/internal/clock"
	"tram/internal/metrics"
)

// Protocol is what a client logs in to; app passwords are limited to some.
type Protocol string

// The protocols.
const (
	SMTP  Protocol = "smtp"
	IMAP  Protocol = "imap"
	POP3  Protocol = "pop3"
	Sieve Protocol = "sieve"
	JMAP  Protocol = "jmap"
	DAV   Protocol = "dav"
	Web   Protocol = "web"
	Admin Protocol = "admin"
)

var logins = metrics.CounterVec("logins_total",
	"Log-ins by protocol and result (ok, bad, throttled, busy, error).", "protocol", "result")

// Attempt is one try to log in with a name and a password.
type Attempt struct {
	Protocol Protocol
	Remote   netip.Addr // the true client: after PROXY, never the proxy
	// User is the account's address in any case; the local part alone will do while the server has
	// only one domain.
	User     string
	Password string // the account's password or an app password
}

// Authenticate checks a name and a password. A failure takes a second longer than the check
// (limits.Auth.Tarpit, by the directory's clock), and strangers at an account that many fail at
// wait for their turn: the caller's deadline should allow for 40 seconds.
//
// It does not know whether the connection has TLS: the caller must not ask for a password without.
//
// Errors: ErrBadCredentials; ErrThrottled and ErrBusy when nothing was compared. Any other error is
// the database's or ctx's: try again later.
func (d *Directory) Authenticate(ctx context.Context, a Attempt) (Account, error) {
	l := d.login(a.Protocol, a.Remote)
	err := l.identify(ctx, a.User)
	if err == nil {
		err = l.check(ctx, func() (bool, error) { return d.compare(ctx, l, a.Password) })
	}
	return l.end(ctx, err)
}

// login is one log-in on its way.
type login struct {
	d        *Directory
	protocol Protocol
	remote   netip.Addr
	account  Account // ID 0: nobody has this name
	who      who
}

func (d *Directory) login(p Protocol, remote netip.Addr) *login {
	return &login{d: d, protocol: p, remote: remote.Unmap()}
}

// perAddress tells whether failures count against the client's address.
func (l *login) perAddress() bool { return !l.d.o.Measure || !l.remote.IsLoopback() }

// identify finds the account of a login name. A name that is nobody's is no error: the same work
// follows.
func (l *login) identify(ctx context.Context, user string) error {
	var domain, local string
	err := l.d.cache.fresh(ctx)
	if err != nil {
		return err
	}
	if only, ok := l.d.cache.only(); ok && !strings.Contains(user, "@") {
		domain = only
		local, err = localKey(user)
	} else {
		domain, local, err = addressKey(user)
	}
	if err != nil || local == "" {
		l.who = l.d.whoIs(user[:min(len(user), 256)], "")
		return nil
	}
	l.who = l.d.whoIs(local, domain)
	e, err := l.d.cache.name(ctx, domain, local)
	if err != nil || e.account == 0 {
		return err
	}
	l.account, err = l.d.cache.account(ctx, e.account)
	if errors.Is(err, ErrNotFound) { // removed a moment ago
		l.account = Account{}
		return nil
	}
	return err
}

// whoIs names a login name without telling it.
func (d *Directory) whoIs(local, domain string) who {
	mac := hmac.New(sha256.New, d.keys.who)
	mac.Write([]byte(local))
	mac.Write([]byte{0})
	mac.Write([]byte(domain))
	return who(binary.BigEndian.Uint64(mac.Sum(nil)))
}

// check runs a comparison when the throttle allows it and tells the throttle what came out.
func (l *login) check(ctx context.Context, compare func() (bool, error)) error {
	p, err := l.d.throttle.acquire(ctx, l.remote, l.who, l.perAddress())
	if err != nil {
		return err
	}
	ok, err := compare()
	switch {
	case err != nil:
		p.cancel()
		return err
	case ok:
		p.success()
		return nil
	}
	if p.failure() {
		own, _ := sources(l.remote)
		l.d.log.Warn("log-ins banned", "network", own.prefix(), "protocol", l.protocol)
	}
	return ErrBadCredentials
}

// end counts, logs and slows down what came out of a log-in.
func (l *login) end(ctx context.Context, err error) (Account, error) {
	result := "ok"
	level := slog.LevelInfo
	var throttled ErrThrottled
	switch {
	case err == nil:
	case errors.Is(err, ErrBadCredentials):
		result = "bad"
	case errors.As(err, &throttled):
		result = "throttled"
	case errors.Is(err, ErrBusy):
		result = "busy"
	default:
		result, level = "error", slog.LevelError
	}
	logins.WithLabelValues(l.protocol.label(), result).Inc()
	attrs := []any{"protocol", l.protocol, "remote", l.remote, "result", result}
	if l.account.ID != 0 { // what is nobody's name may be somebody's password
		attrs = append(attrs, "account", l.account.Address.String())
	}
	if level == slog.LevelError {
		attrs = append(attrs, "error", err)
	}
	if result != "throttled" { // one line for the ban is enough
		l.d.log.Log(ctx, level, "log-in", attrs...)
	}
	if err == nil {
		return l.account, nil
	}
	if result == "bad" {
		if slept := clock.Sleep(ctx, l.d.clock, l.d.limits.Tarpit); slept != nil {
			return Account{}, slept
		}
	}
	return Account{}, err
}

// label keeps the variety of a metric bounded.
func (p Protocol) label() string {
	switch p {
	case SMTP, IMAP, POP3, Sieve, JMAP, DAV, Web, Admin:
		return string(p)
	}
	return "other"
}
