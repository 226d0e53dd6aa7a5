package popd

import (
	"errors"
	"strings"
	"time"

	"tram/internal/conn"
	"tram/internal/directory"
	"tram/internal/store"
)

// userName is USER, RFC 1939 §7. Whether there is such a user is nobody's business.
func (s *session) userName(args string) error {
	if len(s.srv.o.Directory.Mechanisms(s.c.Secure())) == 0 {
		// Refused before the secret is asked for (RFC 8314 §4.1).
		return directory.ErrTLSRequired
	}
	if args == "" {
		return errArguments
	}
	s.user = args
	s.strange-- // half of a log-in leads somewhere
	s.ok("Password, please")
	return nil
}

// password is PASS, RFC 1939 §7: everything after the space is the password.
func (s *session) password(args string) error {
	user := s.user
	s.user = ""
	if user == "" {
		return &refused{"", "USER comes first"}
	}
	acct, err := s.srv.o.Directory.Authenticate(s.ctx, directory.Attempt{
		Protocol: directory.POP3, Remote: s.addr, User: user, Password: args,
	})
	return s.enter("USER", acct, err)
}

// authenticate is AUTH, RFC 5034 §4. Without an argument it lists the mechanisms, which is older
// than the RFC and what some programs still ask.
func (s *session) authenticate(args string) error {
	mechanism, initial, _ := strings.Cut(strings.TrimSpace(args), " ")
	if mechanism == "" {
		s.ok("Mechanisms follow")
		for _, m := range s.srv.o.Directory.Mechanisms(s.c.Secure()) {
			_, _ = s.c.WriteString(m + "\r\n")
		}
		_, _ = s.c.WriteString(".\r\n")
		return nil
	}
	exchange, err := s.srv.o.Directory.Start(s.ctx, mechanism, directory.SASLOptions{
		Protocol: directory.POP3, Remote: s.addr, TLS: s.c.TLS(),
	})
	if err != nil {
		return s.enter(mechanism, directory.Account{}, err)
	}
	account, err := directory.Converse(exchange, initial, s.challenge)
	return s.enter(mechanism, account, err)
}

// challenge sends one challenge and reads the response to it.
func (s *session) challenge(challenge []byte) ([]byte, error) {
	if _, err := s.c.Write(append(append([]byte("+ "), challenge...), "\r\n"...)); err != nil {
		s.end("disconnected")
		return nil, errGone
	}
	answer, err := s.c.ReadLine(directory.SASLLine)
	switch {
	case errors.Is(err, conn.ErrLineTooLong), errors.Is(err, conn.ErrBareLF), errors.Is(err, conn.ErrBareCR):
		return nil, directory.ErrBase64
	case err != nil:
		s.end("disconnected")
		return nil, errGone
	}
	return answer, nil
}

// enter ends a log-in, successful or not.
func (s *session) enter(mechanism string, acct directory.Account, err error) error {
	if err != nil {
		directory.LogFailure(s.c.Logger(), directory.POP3, mechanism, err)
		return err
	}
	id := store.AccountID(acct.ID)
	if !s.srv.o.Sessions.Join(uint64(id), s.addr) {
		// RFC 3206 §3: SYS/TEMP. IN-USE (RFC 2449 §8.1.2) would make programs say that another one has
		// the lock: there is none.
		return &refused{"SYS/TEMP", "Too many sessions of this account"}
	}
	account := s.srv.o.Store.Account(id)
	drop, err := openMaildrop(s.ctx, account, acct.Maildrop, s.utf8)
	if err != nil {
		s.srv.o.Sessions.Leave(uint64(id), s.addr)
		return err
	}
	s.account, s.name, s.drop = account, acct.Address.String(), drop
	sessionsOpen.Inc()
	s.stopRevoke = s.srv.o.Directory.OnRevoke(acct, s.revoke)
	s.c.SetDeadline(time.Time{})
	s.c.SetIdle(s.srv.o.Limits.Idle)
	s.c.Good()
	s.c.Logger().Info("pop3 log-in", "account", s.name, "mechanism", mechanism, "tls", s.c.Secure())
	s.ok("Logged in")
	return nil
}
