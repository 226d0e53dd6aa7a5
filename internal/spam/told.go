package spam

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"tram/internal/kv"
)

// told keeps notices from becoming a flood themselves.
type told struct{ mu sync.Mutex }

// toldKept is longer than any time that Once is asked for.
const toldKept = 30 * 24 * time.Hour

// Once reports whether somebody is to be told of something now: true the first time, and again when
// every has passed. It is one small durable write for each true.
func (j *Judge) Once(ctx context.Context, what string, every time.Duration) (bool, error) {
	key := append(prefix(toldSub), clip(what, 200)...)
	now := j.o.Clock.Now()
	j.told.mu.Lock()
	defer j.told.mu.Unlock()
	seen := func(r kv.Reader) (bool, error) {
		b, err := r.Get(key)
		if errors.Is(err, kv.ErrNotFound) || err == nil && len(b) != 8 {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		return within(now, time.Unix(int64(binary.BigEndian.Uint64(b)), 0), every), nil
	}
	known := false
	err := j.o.DB.View(ctx, scopeFacts, func(r kv.Reader) (err error) {
		known, err = seen(r)
		return err
	})
	if err == nil && !known {
		err = j.o.DB.Update(ctx, scopeFacts, func(tx kv.Txn) (err error) {
			if known, err = seen(tx); known || err != nil {
				return err // another machine was quicker
			}
			return tx.Set(key, binary.BigEndian.AppendUint64(nil, uint64(max(now.Unix(), 0))))
		})
	}
	if err != nil {
		return false, fmt.Errorf("read what was told: %w", err)
	}
	return !known, nil
}

func (j *Judge) sweepTold(ctx context.Context) error {
	now := j.o.Clock.Now()
	_, err := j.sweep(ctx, toldSub, func(_, value []byte) bool {
		return len(value) != 8 || !within(now, time.Unix(int64(binary.BigEndian.Uint64(value)), 0), toldKept)
	})
	return err
}
