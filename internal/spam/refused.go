package spam

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"tram/internal/kv"
	"tram/internal/message"
	"tram/internal/smtp"
	"tram/internal/spam/sign"
)

// ErrNoRefused is returned for an ID under which nothing was refused.
var ErrNoRefused = errors.New("no refused message with this id")

// Refused is a message that was refused at the door: what is needed to explain it, and to let its
// sender in. The message itself was never taken.
type Refused struct {
	ID         string      `json:"id"`
	Time       time.Time   `json:"time"`
	From       string      `json:"from"`   // reverse-path
	Author     string      `json:"author"` // of the From field
	Subject    string      `json:"subject"`
	Recipients []string    `json:"recipients"`
	Accounts   []uint64    `json:"accounts"`
	Client     string      `json:"client"`
	HELO       string      `json:"helo"`
	Score      float64     `json:"score"`
	Signs      []sign.Sign `json:"signs"`
	Header     string      `json:"header"` // its beginning
}

// refusedLog are those that are not yet written.
type refusedLog struct {
	mu      sync.Mutex
	pending []Refused
}

// refusedPending bounds them, with what each may hold it is a few megabytes.
const refusedPending = 2000

// maxRefusedRecipients bounds the list in one Refused.
const maxRefusedRecipients = 20

// Refuse notes that a message was refused at the door for some people.
func (j *Judge) Refuse(ev *Evidence, people []Person, d Decision) {
	r := Refused{
		ID: ev.ID, Time: j.o.Clock.Now().UTC(), From: ev.from.String(), Author: ev.author,
		Subject: clip(ev.text.Subject, 200), HELO: clip(ev.env.Client.HELO, 255), Score: d.Score,
		Signs: d.Signs[:min(len(d.Signs), 50)],
	}
	if ev.client.IsValid() {
		r.Client = ev.client.String()
	}
	header := ev.header[:min(len(ev.header), j.o.Limits.RejectHeader)]
	r.Header = strings.ToValidUTF8(string(header), "\uFFFD")
	for _, p := range people[:min(len(people), maxRefusedRecipients)] {
		r.Recipients = append(r.Recipients, p.Address.String())
		r.Accounts = append(r.Accounts, p.Account)
	}
	l := &j.refused
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending) >= refusedPending {
		factsLost.WithLabelValues("refused").Inc()
		return
	}
	l.pending = append(l.pending, r)
}

func refusedKey(r *Refused) []byte {
	return append(kv.AppendUint64(prefix(refusedSub), uint64(max(r.Time.UnixMilli(), 0))), r.ID...)
}

func (j *Judge) flushRefused(ctx context.Context) error {
	l := &j.refused
	l.mu.Lock()
	pending := l.pending
	l.pending = nil
	l.mu.Unlock()
	rows := make([]row, 0, len(pending))
	for i := range pending {
		v, err := encode(&pending[i])
		if err != nil {
			return fmt.Errorf("write refused messages: %w", err)
		}
		rows = append(rows, row{refusedKey(&pending[i]), v})
	}
	if err := j.write(ctx, "refused", rows); err != nil {
		return fmt.Errorf("write refused messages: %w", err)
	}
	return nil
}

// Refusals lists what was refused, the latest first, at most limit. about, if it is not "", is a part
// of the sender's or a recipient's address.
func (j *Judge) Refusals(ctx context.Context, about string, limit int) ([]Refused, error) {
	var out []Refused
	about = strings.ToLower(about)
	err := j.eachRefused(ctx, func(r *Refused) bool {
		all := strings.ToLower(r.From + " " + r.Author + " " + strings.Join(r.Recipients, " "))
		if strings.Contains(all, about) {
			out = append(out, *r)
		}
		return len(out) < limit
	})
	return out, err
}

// Refusal returns what was refused under an ID, or ErrNoRefused.
func (j *Judge) Refusal(ctx context.Context, id string) (Refused, error) {
	var found *Refused
	err := j.eachRefused(ctx, func(r *Refused) bool {
		if r.ID == id {
			found = r
		}
		return found == nil
	})
	if err == nil && found == nil {
		err = fmt.Errorf("%w: %s", ErrNoRefused, id)
	}
	if err != nil {
		return Refused{}, err
	}
	return *found, nil
}

func (j *Judge) eachRefused(ctx context.Context, fn func(*Refused) bool) error {
	if err := j.flushRefused(ctx); err != nil {
		return err
	}
	rng := kv.Prefix(prefix(refusedSub))
	rng.Reverse = true
	err := j.o.DB.View(ctx, scopeFacts, func(r kv.Reader) error {
		return r.Scan(rng, func(_, value []byte) error {
			one := &Refused{}
			if err := decode("refused message", value, one); err != nil {
				return err
			}
			if !fn(one) {
				return kv.Stop
			}
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("read refused messages: %w", err)
	}
	return nil
}

// LetIn allows the sender of a refused message for the people it was for. When there is no author, or
// nothing proves who he is, it says so: then the entry alone will not let the next message in.
func (j *Judge) LetIn(ctx context.Context, id string) (Refused, []Rule, error) {
	r, err := j.Refusal(ctx, id)
	if err != nil {
		return r, nil, err
	}
	sender := r.Author
	if sender == "" {
		sender = r.From
	}
	rule, err := ParseRule(true, sender)
	if err != nil {
		return r, nil, err
	}
	rule.Note = "let in after " + id
	rules := []Rule{rule}
	for i, account := range r.Accounts {
		scope := AccountScope(account)
		if account == 0 {
			a, err := smtp.ParseAddress(r.Recipients[i])
			if err != nil {
				continue
			}
			scope = Scope(a.Domain)
		}
		if err := j.AddRules(ctx, scope, rules...); err != nil {
			return r, nil, err
		}
	}
	return r, rules, nil
}

// sweepRefused removes what is old, and the oldest of what is too much.
func (j *Judge) sweepRefused(ctx context.Context) error {
	now := j.o.Clock.Now()
	at := func(key []byte) time.Time {
		if len(key) < 10 {
			return time.Time{}
		}
		return time.UnixMilli(int64(binary.BigEndian.Uint64(key[2:])))
	}
	left, err := j.sweep(ctx, refusedSub, func(key, _ []byte) bool {
		return !within(now, at(key), j.o.Limits.RejectsKept)
	})
	if extra := left - j.o.Limits.Rejects; err == nil && extra > 0 {
		_, err = j.sweep(ctx, refusedSub, func([]byte, []byte) bool { extra--; return extra >= 0 })
	}
	return err
}

// Source tells a message's ID for people: it stands in the reply to the sender.
func refusal(id string) smtp.Reply {
	return smtp.NewReply(550, smtp.Enhanced{5, 7, 1},
		"Message refused, it looks like spam; ask the postmaster about "+id)
}

// Replies of this room.
var replyComeAgain = smtp.NewReply(451, smtp.Enhanced{4, 7, 1}, "Please come again in a few minutes")

// Reply is what the sender of a message is told; a reply without Code when it is taken.
func (ev *Evidence) Reply(v Verdict) smtp.Reply {
	switch v {
	case Reject:
		return refusal(ev.ID)
	case ComeAgain:
		return replyComeAgain
	}
	return smtp.Reply{}
}

// headerField returns the value of a field in the part of a stored message's header that this server
// has written: what stands above its own Received field.
func headerField(header []byte, name string) string {
	for f := range message.Header(header) {
		if f.Is("Received") {
			return ""
		}
		if f.Is(name) {
			return f.Value()
		}
	}
	return ""
}
