package smtpd

import (
	"hash/maphash"
	"strings"
	"sync"
	"time"

	"tram/internal/smtp"
)

// maxReturns bounds the table: so many senders have notices come back in one day. For more the notices
// wait until tomorrow.
const maxReturns = 100_000

// returns counts the notices that came back through return addresses today. Whoever can make the server
// send a message on gets to see the return address of any sender he claims to be: without a bound he
// could have the server send that one as much as he likes.
type returns struct {
	mu   sync.Mutex
	seed maphash.Seed
	day  int64 // since 1970, of used
	used map[uint64]int
}

func newReturns() *returns { return &returns{seed: maphash.MakeSeed()} }

// take counts a notice for somebody, and reports whether it is one of the first max of the day; 0: any
// number is. The key is what gives it back.
func (r *returns) take(whose string, now time.Time, max int) (key uint64, ok bool) {
	key = maphash.String(r.seed, strings.ToLower(whose))
	if max <= 0 {
		return key, true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if day := now.Unix() / 86400; day != r.day || r.used == nil {
		r.day, r.used = day, map[uint64]int{}
	}
	n := r.used[key]
	if n >= max || n == 0 && len(r.used) >= maxReturns {
		return key, false
	}
	r.used[key] = n + 1
	return key, true
}

// giveBack takes back what was counted and not delivered: servers that only ask whether an address is
// there, as some do of every sender, use nothing up.
func (r *returns) giveBack(keys []uint64) {
	if len(keys) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, key := range keys {
		switch n := r.used[key]; n {
		case 0: // of yesterday
		case 1:
			delete(r.used, key)
		default:
			r.used[key] = n - 1
		}
	}
}

// takeReturn counts a recipient that is a return address of ours, and says why it is not taken. Counted
// is whom it leads to: an address can be written in many ways, and is another one every day.
func (x *session) takeReturn(to smtp.Address) smtp.Reply {
	if !smtp.IsReturnAddress(to.Local) {
		return smtp.Reply{}
	}
	whose := x.o.Directory.ReturnSender(to).String()
	key, ok := x.returns.take(whose, x.o.Clock.Now(), x.o.Limits.Signing.Returns)
	if !ok {
		return smtp.NewReply(450, smtp.Enhanced{4, 2, 1}, "Too many notices for this address today, try again tomorrow")
	}
	x.tx.returns = append(x.tx.returns, key)
	return smtp.Reply{}
}
