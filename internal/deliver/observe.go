package deliver

import "tram/internal/envelope"

// Fate is what became of a message as a whole, for those who keep count of it.
type Fate int

// The fates.
const (
	FateDelivered Fate = iota
	FateJunked         // wherever it was filed, it was filed as junk or held back
	FateRefused        // nobody has it, and nobody will
)

// observe tells whoever keeps count what became of the message. One that its sender is to send again
// is not counted yet.
func (r *delivery) observe() {
	if r.o.Observe == nil || r.env.Origin != envelope.Inbound || r.env.Auth == nil {
		return
	}
	if fate, settled := r.fate(); settled {
		r.o.Observe(r.env, fate)
	}
}

func (r *delivery) fate() (fate Fate, settled bool) {
	_, replies := gather(r.routes)
	decided, reply := settle(replies)
	if decided == refuse {
		return FateRefused, reply.Permanent()
	}
	junked := 0
	for _, l := range r.legs {
		if l.duplicate {
			return FateDelivered, false // it was counted when it came first
		}
		if l.verdict.Junk || l.verdict.Quarantine {
			junked++
		}
	}
	if junked > 0 && junked == len(r.legs) {
		return FateJunked, true
	}
	return FateDelivered, true
}
