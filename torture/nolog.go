package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"
)

var betweenLogs = Fault{
	ID: "D2L", Name: "kill -9 between the old log and the new one", Needs: []need{strace},
	Target: "starts again by itself, for nothing is missing", Rounds: rounds{1, 4, 50}, Run: runBetweenLogs,
}

// runBetweenLogs kills the server at the moment of its start when the log it has read is removed,
// for its content is in tables, and the next one is not there yet. A tracer makes that moment longer.
func runBetweenLogs(ctx context.Context, t *Trial) error {
	w, err := t.started(ctx)
	if err != nil {
		return err
	}
	l, err := w.ledger()
	if err != nil {
		return err
	}
	hits := 0
	for ; t.Done < t.Count; t.Done++ {
		w.oneOfEach(l)
		w.Kill()
		hit, err := w.killedWithoutLog(ctx)
		if err != nil {
			return err
		}
		if hit {
			hits++
		}
		if err := w.Start(ctx); err != nil {
			return err
		}
	}
	t.Note("%d kills met the moment", hits)
	return w.Verify(ctx, l)
}

// killedWithoutLog starts the server with every opening of a file delayed, and kills it when there is
// no log. A start that does not have that moment ends ready, and is killed too.
func (w *World) killedWithoutLog(ctx context.Context) (bool, error) {
	w.wrap = []string{"strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=openat", "-e",
		"inject=openat:delay_enter=40000"}
	err := w.launch()
	w.wrap = nil
	if err != nil {
		return false, err
	}
	defer w.Kill()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	late := time.After(time.Minute)
	for {
		select {
		case <-tick.C:
			logs, err := filepath.Glob(filepath.Join(w.data, "db", "*.log"))
			if err != nil || len(logs) == 0 {
				return true, err
			}
		case <-w.proc.ready:
			return false, nil
		case <-w.proc.done:
			return false, fmt.Errorf("the server ended: %s", lastLine(w.said.String()))
		case <-late:
			return false, fmt.Errorf("not ready after a minute: %s", lastLine(w.said.String()))
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}
