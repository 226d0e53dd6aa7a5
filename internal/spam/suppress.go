package spam

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"tram/internal/kv"
	"tram/internal/smtp"
)

// ErrNotSuppressed is returned for an address that is not on the list.
var ErrNotSuppressed = errors.New("this address is not suppressed")

// Suppressed is an address elsewhere that does not exist: its server said so for good. Who goes on
// writing to such addresses is soon refused everywhere.
type Suppressed struct {
	Address string    `json:"address"`
	Reason  string    `json:"reason"` // the other server's words
	Since   time.Time `json:"since"`
	Until   time.Time `json:"until"`
}

func suppressKey(address string) []byte { return append(prefix(suppressSub), address...) }

// NoSuchAddress reports whether a reply says that an address does not exist: RFC 3463 §3.2, and RFC
// 7505 §4.2 for a domain that takes no mail. A full or a disabled mailbox may be another one tomorrow.
func NoSuchAddress(r smtp.Reply) bool {
	if !r.Permanent() {
		return false
	}
	switch r.Enhanced {
	case smtp.Enhanced{5, 1, 1}, smtp.Enhanced{5, 1, 3}, smtp.Enhanced{5, 1, 6}, smtp.Enhanced{5, 1, 10}:
		return true
	}
	return false
}

// Suppress puts an address on the list.
func (j *Judge) Suppress(ctx context.Context, to smtp.Address, reason string) error {
	now := j.o.Clock.Now().UTC().Truncate(time.Second)
	s := Suppressed{Address: strings.ToLower(to.String()), Since: now,
		Until: now.Add(j.o.Limits.SuppressFor), Reason: clip(reason, 300)}
	v, err := encode(s)
	if err != nil {
		return fmt.Errorf("suppress: %w", err)
	}
	err = j.o.DB.Update(ctx, scopeFacts, func(tx kv.Txn) error {
		n := 0
		rng := kv.Prefix(prefix(suppressSub))
		rng.KeysOnly, rng.Limit = true, j.o.Limits.Suppressed
		if err := tx.Scan(rng, func([]byte, []byte) error { n++; return nil }); err != nil {
			return err
		}
		if n >= j.o.Limits.Suppressed {
			factsLost.WithLabelValues("suppressed").Inc()
			return nil
		}
		return tx.Set(suppressKey(s.Address), v)
	})
	if err != nil {
		return fmt.Errorf("suppress %s: %w", s.Address, err)
	}
	j.o.Logger.Info("address is not tried any more", "to", s.Address, "until", s.Until, "reason", s.Reason)
	return nil
}

// CheckOutgoing says why mail of our own people to an address is not taken; a reply without Code: it is.
func (j *Judge) CheckOutgoing(ctx context.Context, to smtp.Address) smtp.Reply {
	s, err := j.suppressed(ctx, to)
	if err != nil || s.Address == "" || !within(j.o.Clock.Now(), s.Since, j.o.Limits.SuppressFor) {
		if err != nil {
			j.o.Logger.Warn("suppression list cannot be read", "err", err)
		}
		return smtp.Reply{}
	}
	return smtp.NewReply(550, smtp.Enhanced{5, 1, 1},
		fmt.Sprintf("No such address: its server said so on %s. It is not tried again before %s,\n"+
			"unless the administrator lifts that: tram spam suppressed remove %s",
			s.Since.Format("2 January 2006"), s.Until.Format("2 January 2006"), s.Address))
}

func (j *Judge) suppressed(ctx context.Context, to smtp.Address) (Suppressed, error) {
	var s Suppressed
	err := j.o.DB.View(ctx, scopeFacts, func(r kv.Reader) error {
		b, err := r.Get(suppressKey(strings.ToLower(to.String())))
		if err != nil {
			return err
		}
		return decode("suppressed address", b, &s)
	})
	if errors.Is(err, kv.ErrNotFound) {
		err = nil
	}
	return s, err
}

// SuppressedList lists the addresses, at most limit, those after one.
func (j *Judge) SuppressedList(ctx context.Context, after string, limit int) ([]Suppressed, error) {
	var out []Suppressed
	rng := kv.Prefix(prefix(suppressSub))
	rng.Limit = limit
	if after != "" {
		rng.Start = append(suppressKey(strings.ToLower(after)), 0)
	}
	err := j.o.DB.View(ctx, scopeFacts, func(r kv.Reader) error {
		return r.Scan(rng, func(_, value []byte) error {
			var s Suppressed
			if err := decode("suppressed address", value, &s); err != nil {
				return err
			}
			out = append(out, s)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list suppressed addresses: %w", err)
	}
	return out, nil
}

// Unsuppress takes an address off the list.
func (j *Judge) Unsuppress(ctx context.Context, to smtp.Address) error {
	s, err := j.suppressed(ctx, to)
	if err != nil {
		return fmt.Errorf("read suppressed addresses: %w", err)
	}
	if s.Address == "" {
		return fmt.Errorf("%w: %s", ErrNotSuppressed, to)
	}
	return j.remove(ctx, []row{{key: suppressKey(s.Address)}})
}

func (j *Judge) sweepSuppressed(ctx context.Context) error {
	now := j.o.Clock.Now()
	_, err := j.sweep(ctx, suppressSub, func(_, value []byte) bool {
		var s Suppressed
		return decode("suppressed address", value, &s) != nil || !within(now, s.Since, j.o.Limits.SuppressFor)
	})
	return err
}
