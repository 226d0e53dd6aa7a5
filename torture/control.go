package main

import "context"

var control = Fault{
	ID: "D0", Name: "control: syncs that do nothing, then a power cut",
	Target: "the ledger must miss messages: a test that cannot fail proves nothing",
	Needs:  []need{root, strace, loopDevices}, Rounds: rounds{1, 1, 1}, Run: runControl,
}

// runControl lets the server acknowledge what is on no disk, and expects that this is noticed.
func runControl(ctx context.Context, t *Trial) error {
	m, err := t.newMachine(false)
	if err != nil {
		return err
	}
	w, err := t.on(m)
	if err != nil {
		return err
	}
	if err := w.Start(ctx); err != nil {
		return err
	}
	l, err := w.ledger()
	if err != nil {
		return err
	}
	const liars = "fsync,fdatasync,sync_file_range"
	tr, err := w.trace(ctx, "trace="+liars, "inject="+liars+":retval=0")
	if err != nil {
		return err
	}
	stop := load(ctx, l, 2, 1, 0)
	err = acked(ctx, l, 60)
	stop()
	if err != nil {
		return err
	}
	if err := m.cut(w); err != nil {
		return err
	}
	tr.end()
	t.Done++
	if err := w.Start(ctx); err != nil {
		t.Note("the server refused what was left: %s", lastLine(w.said.String()))
		return nil
	}
	t.Recovery = 0
	missing, _, err := w.readAll(l)
	t.Note("%d of %d acknowledged messages were missed", missing, l.Acked())
	if missing == 0 {
		t.Miss("nothing was missed although nothing was synced")
	}
	return err
}
