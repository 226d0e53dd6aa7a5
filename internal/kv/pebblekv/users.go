package pebblekv

import "sync/atomic"

// users counts running transactions, so that Close can wait for them. A transaction may begin
// another one while Close waits: it is refused and the first one ends.
type users struct {
	state atomic.Int64 // twice the number of users, plus 1 when closing
	gone  chan struct{}
}

func newUsers() users { return users{gone: make(chan struct{}, 1)} }

func (u *users) enter() bool {
	if u.state.Add(2)&1 == 0 {
		return true
	}
	u.leave()
	return false
}

func (u *users) leave() {
	if u.state.Add(-2) == 1 {
		// Nobody is in and nobody gets in any more, but enter may count up and down once more.
		select {
		case u.gone <- struct{}{}:
		default:
		}
	}
}

// close lets nobody in any more, waits for those inside, and reports false if it was called before.
func (u *users) close() bool {
	for {
		n := u.state.Load()
		if n&1 == 1 {
			return false
		}
		if u.state.CompareAndSwap(n, n+1) {
			break
		}
	}
	for u.state.Load() != 1 {
		<-u.gone
	}
	return true
}
