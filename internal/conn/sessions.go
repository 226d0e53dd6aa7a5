package conn

import (
	"net/netip"
	"sync"

	"tram/internal/limits"
)

// Sessions counts the sessions of each account over all the doors that share it: a program that opens
// connections without end finds the same bound on every door.
type Sessions struct {
	perUser, perUserIP int

	mu sync.Mutex
	n  map[holder]int
}

// holder is who a session is counted for: an account, and an account from one address.
type holder struct {
	account uint64
	addr    netip.Addr // zero: from anywhere
}

// NewSessions returns a Sessions with the bounds PerUser and PerUserIP; 0 is no bound.
func NewSessions(l limits.Conn) *Sessions {
	return &Sessions{perUser: l.PerUser, perUserIP: l.PerUserIP, n: map[holder]int{}}
}

// Join counts a session of an account, and reports whether it may have one more.
func (s *Sessions) Join(account uint64, addr netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, here := holder{account: account}, holder{account, addr}
	if reached(s.n[all], s.perUser) || addr.IsValid() && reached(s.n[here], s.perUserIP) {
		return false
	}
	s.n[all]++
	if addr.IsValid() {
		s.n[here]++
	}
	return true
}

func reached(n, limit int) bool { return limit > 0 && n >= limit }

// Leave undoes Join.
func (s *Sessions) Leave(account uint64, addr netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.less(holder{account: account})
	if addr.IsValid() {
		s.less(holder{account, addr})
	}
}

func (s *Sessions) less(h holder) {
	if s.n[h]--; s.n[h] <= 0 {
		delete(s.n, h)
	}
}
