package directory

import (
	"encoding/base64"
	"errors"
	"log/slog"
)

// What a client can do wrong in the lines of a SASL dialogue; neither counts against it.
var (
	// ErrCancelled says that the client took its log-in back.
	ErrCancelled = errors.New("log-in was cancelled")
	// ErrBase64 says that what the client sent is not base64.
	ErrBase64 = errors.New("response is not base64")
)

// SASLLine is how long the line of a response may be, RFC 4954 §4: an implementation need not take
// longer ones.
const SASLLine = 12288

// Converse runs an exchange to its end in the lines that SMTP, IMAP and POP3 have in common
// (RFC 4954 §4, RFC 5034 §4, RFC 9051 §6.2.2): base64 both ways, "*" to cancel, and in the command
// itself "" for no initial response, "=" for an empty one. ask sends a challenge, already in base64
// and good until it returns, and reads the client's line.
//
// The door carries lines and keeps none: neither a response nor what was decoded of it outlives the
// call. Errors are those of Exchange.Next, ErrCancelled, ErrBase64, and what ask returns.
func Converse(x Exchange, initial string, ask func(challenge []byte) (line []byte, err error)) (
	Account, error) {
	var response []byte
	var err error
	switch initial {
	case "":
	case "=":
		response = []byte{}
	default:
		response, err = decodeResponse([]byte(initial))
	}
	for err == nil {
		challenge, done, failed := x.Next(response)
		if failed != nil || done {
			return x.Account(), failed
		}
		var line []byte
		if line, err = ask(base64.StdEncoding.AppendEncode(nil, challenge)); err == nil {
			response, err = decodeResponse(line)
		}
	}
	return Account{}, err
}

// decodeResponse decodes a line, into memory of its own: the line's buffer is used again.
func decodeResponse(line []byte) ([]byte, error) {
	if string(line) == "*" {
		return nil, ErrCancelled
	}
	out := make([]byte, base64.StdEncoding.DecodedLen(len(line)))
	n, err := base64.StdEncoding.Strict().Decode(out, line)
	if err != nil {
		return nil, ErrBase64
	}
	return out[:n], nil
}

// LogFailure tells the log of a log-in that the client has failed at, in the same words at every door.
// Other errors are the server's, and are told of where they are answered.
func LogFailure(log *slog.Logger, p Protocol, mechanism string, err error) {
	var throttled ErrThrottled
	switch {
	case errors.Is(err, ErrBadCredentials), errors.Is(err, ErrDisabled):
		log.Info(string(p)+" log-in refused", "mechanism", mechanism)
	case errors.As(err, &throttled):
		log.Info(string(p)+" log-in throttled", "mechanism", mechanism)
	}
}
