package spam

import (
	"context"
	"slices"

	"tram/internal/smtp"
	"tram/internal/spam/sign"
)

// Verdict is what becomes of a message.
type Verdict string

// The verdicts.
const (
	Accept     Verdict = "accepted"
	Junk       Verdict = "junk"
	Quarantine Verdict = "quarantined"
	Reject     Verdict = "refused"
	ComeAgain  Verdict = "deferred"
)

// Person is for whom a message is judged. Account 0 stands for whoever is behind the address: a
// forward.
type Person struct {
	Account uint64
	Address smtp.Address
}

// scopes are those of a person, the narrowest first.
func (p Person) scopes() []Scope {
	s := []Scope{Server}
	if p.Address.Domain != "" {
		s = []Scope{Scope(p.Address.Domain), Server}
	}
	if p.Account != 0 {
		s = append([]Scope{AccountScope(p.Account)}, s...)
	}
	return s
}

// Decision is what a message is to one person.
type Decision struct {
	Verdict Verdict
	Score   float64
	// Required is the score from which on the message would have been junk.
	Required float64
	// Signs are all that were counted.
	Signs []sign.Sign
	// Doubtful: the sender is nobody we know and may be asked to come again (see Grey).
	Doubtful bool
	// Bomb: it is one of very many that somebody has signed this person up for. It is filed apart, and
	// is not junk to learn from.
	Bomb bool
	// BombBegins is set once for a list bomb: the person and the administrator are to be told.
	BombBegins bool
}

// listed outweighs every other sign.
const listed = 100

// Decide judges a message for one person.
func (j *Judge) Decide(ctx context.Context, ev *Evidence, to Person) (Decision, error) {
	books, err := j.booksOf(ctx, to.scopes())
	if err != nil {
		return Decision{}, err
	}
	d := Decision{Signs: slices.Clone(ev.Signs)}
	policy := j.policy(books)
	d.Required = policy.Junk
	rule := d.obey(books, ev)
	known := false
	if to.Account != 0 {
		scope := AccountScope(to.Account)
		d.Signs = append(d.Signs, j.words(ctx, ev.text, to.Account)...)
		d.Signs = append(d.Signs, j.repute(ctx, ev, scope, mostAccount)...)
		if known, err = j.writesTo(ctx, to.Account, ev); err != nil {
			return Decision{}, err
		}
		if known {
			d.Signs = append(d.Signs, sign.Sign{Name: signKnown, Score: knownScore(ev), Detail: ev.author})
		}
	}
	if domain := Scope(to.Address.Domain); domain != Server {
		d.Signs = append(d.Signs, j.repute(ctx, ev, domain, mostDomain)...)
	}
	d.Score = round(sign.Total(d.Signs))
	d.Verdict = policy.verdict(d.Score)
	trusted := known && ev.authorProved() || rule != nil && rule.Allow
	d.Doubtful = j.doubtful(ev, policy, d) && !known && rule == nil
	if to.Account != 0 && !trusted && ev.bulk && d.Verdict == Accept {
		d.Bomb, d.BombBegins = j.bombed(ev, to.Account)
		if d.Bomb {
			d.Verdict = Junk
			d.Signs = append(d.Signs, sign.Sign{Name: signBomb, Detail: ev.author})
		}
	}
	return d, nil
}

// obey applies the first list, from the person's own to the server's, that has something to say.
func (d *Decision) obey(books []*book, ev *Evidence) *Rule {
	for _, b := range books {
		found, unproved := b.match(ev.parties, ev.client)
		if unproved != nil {
			d.Signs = append(d.Signs, sign.Sign{Name: signUnproved, Detail: unproved.Value})
		}
		if found == nil {
			continue
		}
		s := sign.Sign{Name: signDenied, Score: listed, Detail: found.Value}
		if found.Allow {
			s.Name, s.Score = signAllowed, -listed
		}
		d.Signs = append(d.Signs, s)
		return found
	}
	return nil
}

func (p Policy) verdict(score float64) Verdict {
	switch {
	case p.Reject > 0 && score >= p.Reject:
		return Reject
	case p.Quarantine > 0 && score >= p.Quarantine:
		return Quarantine
	case p.Junk > 0 && score >= p.Junk:
		return Junk
	}
	return Accept
}

// doubtful reports whether a message is worth a second visit of its sender: it looks somewhat like
// junk, nobody vouches for it, and nobody waits for it at this moment.
func (j *Judge) doubtful(ev *Evidence, p Policy, d Decision) bool {
	return j.o.Config.Greylist && ev.outside() && p.Junk > 0 && d.Score >= p.Junk/2 &&
		(d.Verdict == Accept || d.Verdict == Junk) && !ev.auth.Passed() && !ev.code
}

// outside reports whether the client is somewhere in the Internet. Programs of this machine and of
// inner networks often cannot come again, and are known to somebody.
func (ev *Evidence) outside() bool {
	return ev.client.IsGlobalUnicast() && !ev.client.IsPrivate()
}

// knownScore is how much it says for a message that its author is somebody whom the person writes to:
// little, when anybody could have written that name there.
func knownScore(ev *Evidence) float64 {
	if ev.authorProved() {
		return -4
	}
	return -0.5
}

// Concluded tells what was done with a message for one person in the end, which a reply for several
// people may change. It counts it, and lets names learn from what is beyond doubt.
func (j *Judge) Concluded(ev *Evidence, to Person, d Decision, done Verdict) {
	verdicts.WithLabelValues(string(done)).Inc()
	if done == ComeAgain || d.Bomb {
		return
	}
	// A name must not get worse because it is bad already: its own past, and what people have listed, do
	// not count here.
	score := 0.0
	for _, s := range d.Signs {
		switch s.Name {
		case signBadName, signGoodName, signOwnBad, signOwnGood, signAllowed, signDenied:
		default:
			score += s.Score
		}
	}
	switch {
	case score >= sureJunk:
		j.experience(ev.names, to, change{bad: verdictWeight})
	case score <= sureGood:
		j.experience(ev.names, to, change{unopposed: verdictWeight})
	}
}

const (
	sureJunk      = 8
	sureGood      = 0
	verdictWeight = 0.2 // what a verdict teaches; a person's act is 1
)

// experience adds to the repute of names with a person, his domain and the server.
func (j *Judge) experience(all []name, to Person, c change) {
	for _, scope := range to.scopes() {
		list := all
		if scope != Server {
			list = own(all)
		}
		keys := make([]string, len(list))
		for i, n := range list {
			keys[i] = nameKey(scope, n)
		}
		j.remember(keys, c)
	}
}
