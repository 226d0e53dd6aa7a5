package store

import (
	"context"
	"sync/atomic"
)

// Progress tells whoever waits for a transaction how far its running call has come: Copy, Move,
// SetFlags, Expunge, and the part of Query that reads messages. Any goroutine may ask.
type Progress struct{ done, goal atomic.Int64 }

// WithProgress makes the transactions of ctx tell p.
func WithProgress(ctx context.Context, p *Progress) context.Context {
	return context.WithValue(ctx, progressKey{}, p)
}

type progressKey struct{}

// Now returns how many messages the call has dealt with, of how many; 0, 0 while none has begun.
func (p *Progress) Now() (done, goal int64) { return p.done.Load(), p.goal.Load() }

// At notes that done of goal messages are dealt with: for callers that make many calls. On nil it
// does nothing.
func (p *Progress) At(done, goal int) {
	if p == nil {
		return
	}
	p.done.Store(int64(done))
	p.goal.Store(int64(goal))
}

// Progress returns the transaction's Progress, nil when nobody wants to know.
func (tx *Tx) Progress() *Progress { return tx.progress }

// progressOf returns what WithProgress gave, nil without.
func progressOf(ctx context.Context) *Progress {
	p, _ := ctx.Value(progressKey{}).(*Progress)
	return p
}
