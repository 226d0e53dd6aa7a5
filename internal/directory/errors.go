package directory

import (
	"errors"
	"time"
)

// What the directory answers when it cannot do as asked. Errors that a person sees wrap these and
// name the thing concerned.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("already exists")
	// ErrNotEmpty refuses to remove a domain with accounts or aliases.
	ErrNotEmpty = errors.New("domain still has accounts or aliases")
	// ErrInvalid refuses a name that cannot be one: a domain, a local part, an alias without
	// targets.
	ErrInvalid = errors.New("not a valid name")
	// ErrPassword refuses a new password; the error that wraps it says why.
	ErrPassword = errors.New("password is not acceptable")
)

// What Resolve answers when mail for an address goes nowhere.
var (
	ErrNoUser   = errors.New("no such user")
	ErrNotLocal = errors.New("not a domain of this server")
	ErrLoop     = errors.New("alias leads back to itself or too far")
	ErrDisabled = errors.New("account is disabled")
)

// What a log-in ends with. The text never tells an unknown user from a wrong password.
var (
	ErrBadCredentials = errors.New("invalid user name or password")
	// ErrBusy says that too many log-ins are being checked; the client may try again.
	ErrBusy = errors.New("too many log-ins at once")
	// ErrTLSRequired says that nobody logs in on a connection without TLS.
	ErrTLSRequired = errors.New("log-in needs TLS")
	// ErrMechanism says that the SASL mechanism is not known here.
	ErrMechanism = errors.New("unknown authentication mechanism")
	// ErrMalformed says that the client's message is not one of the mechanism; no secret was
	// looked at and nothing is counted against the client.
	ErrMalformed = errors.New("malformed authentication exchange")
)

// ErrThrottled says that the source or the account has failed too often: the credentials were not
// looked at. Find it with errors.As.
type ErrThrottled struct{ RetryAfter time.Duration }

// Error implements error. The text is the same for every reason and every name.
func (e ErrThrottled) Error() string { return "too many failed log-ins; try again later" }
