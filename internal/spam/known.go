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
)

// correspondents are whom our people write to. A row: the day when that was last, as days:4.
type correspondents struct {
	mu      sync.Mutex
	pending map[correspondent]uint32
}

type correspondent struct {
	account uint64
	address uint64 // hash
}

func (c correspondent) key() []byte {
	return kv.AppendUint64(accountKey(knownSub, c.account), c.address)
}

func correspondentOf(account uint64, address string) correspondent {
	return correspondent{account, hash64(strings.ToLower(address))}
}

// WroteTo notes that an account has written to some addresses.
func (j *Judge) WroteTo(account uint64, addresses ...string) {
	k := &j.known
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.pending == nil {
		k.pending = map[correspondent]uint32{}
	}
	for _, a := range addresses {
		if len(k.pending) >= j.o.Limits.Pending {
			factsLost.WithLabelValues("correspondents").Inc()
			return
		}
		k.pending[correspondentOf(account, a)] = days(j.o.Clock.Now())
	}
}

// writesTo reports whether a person writes to the author of a message.
func (j *Judge) writesTo(ctx context.Context, account uint64, ev *Evidence) (bool, error) {
	if ev.author == "" {
		return false, nil
	}
	c := correspondentOf(account, ev.author)
	j.known.mu.Lock()
	_, ok := j.known.pending[c]
	j.known.mu.Unlock()
	if ok {
		return true, nil
	}
	err := j.o.DB.View(ctx, scopeFacts, func(r kv.Reader) error {
		_, err := r.Get(c.key())
		return err
	})
	if errors.Is(err, kv.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read correspondents: %w", err)
	}
	return true, nil
}

func (j *Judge) flushKnown(ctx context.Context) error {
	k := &j.known
	k.mu.Lock()
	pending := k.pending
	k.pending = nil
	k.mu.Unlock()
	rows := make([]row, 0, len(pending))
	for c, day := range pending {
		rows = append(rows, row{c.key(), binary.BigEndian.AppendUint32(nil, day)})
	}
	if err := j.write(ctx, "correspondents", rows); err != nil {
		return fmt.Errorf("write correspondents: %w", err)
	}
	return nil
}

func (j *Judge) sweepKnown(ctx context.Context) error {
	now := days(j.o.Clock.Now())
	_, err := j.sweep(ctx, knownSub, func(_, value []byte) bool {
		return len(value) != 4 ||
			now > binary.BigEndian.Uint32(value)+uint32(j.o.Limits.ForgetAfter/(24*time.Hour))
	})
	return err
}
