package main

import (
	"errors"
	"fmt"

	"tram/bench/wire"
)

// logins measures the first log-in of each user on a fresh process, which hashes a password, and
// those that follow, which a server may remember.
func logins(s *Server, n int) (Result, error) {
	login := func(k int) error {
		c, err := wire.DialIMAP(s.target(s.IMAPS, wire.TLS), s.user(k), s.Password)
		if err != nil {
			return fmt.Errorf("log in as %s: %w", s.user(k), err)
		}
		c.Logout()
		return nil
	}
	r := Result{}
	var errs [2]error
	cpu := s.cpu()
	r["first_ms"], errs[0] = timed(s.Users, login)
	r["first_cpu_ms"] = (s.cpu() - cpu) / float64(s.Users) * 1000
	cpu = s.cpu()
	r["again_ms"], errs[1] = timed(n, login)
	r["again_cpu_ms"] = (s.cpu() - cpu) / float64(n) * 1000
	return r, errors.Join(errs[:]...)
}
