package spam

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"tram/internal/kv"
)

// greylist remembers who was asked to come again. A program that only sends never does; a mail server
// does so within minutes.
//
// A row: version:1, when he first came as unix:4, when he last came as unix:4, 1 once he has waited
// long enough.
type greylist struct {
	mu      sync.Mutex
	pending map[greyKey]greyRow
	full    bool // storage holds as many as it may: nobody new is asked
}

type greyKey [16]byte

type greyRow struct {
	first, last uint32
	passed      bool
}

func (r greyRow) encode() []byte {
	b := binary.BigEndian.AppendUint32([]byte{version}, r.first)
	b = binary.BigEndian.AppendUint32(b, r.last)
	if r.passed {
		return append(b, 1)
	}
	return append(b, 0)
}

func decodeGrey(b []byte) (greyRow, error) {
	if len(b) != 10 || b[0] != version {
		return greyRow{}, fmt.Errorf("greylist row %x: %w", b, kv.ErrCorrupt)
	}
	return greyRow{binary.BigEndian.Uint32(b[1:]), binary.BigEndian.Uint32(b[5:]), b[9] == 1}, nil
}

// greyOf names who writes from where to whom: a network, for large senders come again from another
// address of theirs.
func greyOf(ev *Evidence, to Person) greyKey {
	h := sha256.Sum256([]byte(strings.Join([]string{network(ev.client).String(),
		strings.ToLower(ev.from.String()), strings.ToLower(to.Address.String())}, "\x00")))
	return greyKey(h[:16])
}

// Grey reports whether the sender of a message is to come again later. It is to be asked only for
// messages whose Decision says Doubtful.
func (j *Judge) Grey(ctx context.Context, ev *Evidence, to Person) (bool, error) {
	key, now := greyOf(ev, to), uint32(j.o.Clock.Now().Unix())
	g := &j.grey
	g.mu.Lock()
	row, ok := g.pending[key]
	g.mu.Unlock()
	if !ok {
		err := j.o.DB.View(ctx, scopeFacts, func(r kv.Reader) error {
			b, err := r.Get(append(prefix(greySub), key[:]...))
			if err == nil {
				row, err = decodeGrey(b)
				ok = err == nil
			}
			if errors.Is(err, kv.ErrNotFound) {
				err = nil
			}
			return err
		})
		if err != nil {
			return false, fmt.Errorf("read greylist: %w", err)
		}
	}
	was := row
	row, wait := row.visit(now, ok, j.o)
	if ok && row == was {
		return wait, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pending == nil {
		g.pending = map[greyKey]greyRow{}
	}
	if _, there := g.pending[key]; !there && (len(g.pending) >= j.o.Limits.Pending || g.full && !ok) {
		factsLost.WithLabelValues("greylist").Inc()
		return false, nil // what cannot be remembered cannot be asked for
	}
	g.pending[key] = row
	return wait, nil
}

// visit is what one more visit makes of a row.
func (r greyRow) visit(now uint32, known bool, o Options) (greyRow, bool) {
	first, last := time.Unix(int64(r.first), 0), time.Unix(int64(r.last), 0)
	at, l := time.Unix(int64(now), 0), o.Limits
	switch {
	case known && r.passed && within(at, last, l.GreyKept):
		if !within(at, last, 24*time.Hour) {
			r.last = now
		}
		return r, false
	case known && !r.passed && within(at, first, l.GreyWait):
		return r, true
	case known && !r.passed && within(at, first, l.GreyRetry):
		return greyRow{r.first, now, true}, false
	}
	return greyRow{now, now, false}, true
}

func (j *Judge) flushGrey(ctx context.Context) error {
	g := &j.grey
	g.mu.Lock()
	pending := g.pending
	g.pending = nil
	g.mu.Unlock()
	rows := make([]row, 0, len(pending))
	for k, r := range pending {
		rows = append(rows, row{append(prefix(greySub), k[:]...), r.encode()})
	}
	if err := j.write(ctx, "greylist", rows); err != nil {
		return fmt.Errorf("write greylist: %w", err)
	}
	return nil
}

func (j *Judge) sweepGrey(ctx context.Context) error {
	now := j.o.Clock.Now()
	left, err := j.sweep(ctx, greySub, func(_, value []byte) bool {
		r, err := decodeGrey(value)
		kept := j.o.Limits.GreyRetry
		if r.passed {
			kept = j.o.Limits.GreyKept
		}
		return err != nil || !within(now, time.Unix(int64(r.last), 0), kept)
	})
	j.grey.mu.Lock()
	j.grey.full = left >= j.o.Limits.GreyRows
	j.grey.mu.Unlock()
	return err
}
