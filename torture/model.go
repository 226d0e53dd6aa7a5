package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"tram/bench/wire"
)

var allOrNothing = Fault{
	ID: "D11", Name: "killed inside a command of many records", Needs: []need{strace},
	Target: "all three messages with their flags, or none", Rounds: rounds{6, 60, 500}, Run: runAllOrNothing,
}

// runAllOrNothing kills at a system call of one APPEND of three messages with flags.
func runAllOrNothing(ctx context.Context, t *Trial) error {
	w, err := t.started(ctx)
	if err != nil {
		return err
	}
	msgs := make([][]byte, 3)
	for i := range msgs {
		body := bytes.Repeat([]byte("a line of a body, and more of it\r\n"), 400*(i+1))
		msgs[i] = append([]byte("Subject: part of three\r\n\r\n"), body...)
	}
	calls := []string{"write", "fdatasync", "pwrite64"}
	died, there := 0, 0
	next := 1
	for ; t.Done < t.Count; t.Done++ {
		c, err := w.read(alice)
		if err != nil {
			return err
		}
		call := calls[t.Done%len(calls)]
		tr, err := w.trace(ctx, "trace="+call, fmt.Sprintf("inject=%s:signal=KILL:when=%d", call, 1+t.Done/3%6))
		if err != nil {
			return err
		}
		ack, _, _ := c.Append("INBOX", `(\Flagged three)`, msgs...)
		c.Close()
		if ack != wire.Acked {
			died++
		}
		w.Kill()
		tr.end()
		if err := w.Start(ctx); err != nil {
			return err
		}
		n, uidNext, err := w.flaggedFrom(next)
		if err != nil {
			return err
		}
		if n != 0 && n != 3 || ack == wire.Acked && n != 3 {
			t.Miss("round %d, %s: %d of three are there whole, the answer was %v", t.Done, tr.what, n, ack)
		}
		next = uidNext
		there += n / 3
	}
	t.Note("%d died inside, %d commands are there", died, there)
	if err := w.Stop(); err != nil {
		return err
	}
	return w.Check()
}

// flaggedFrom counts the messages from a UID on; one without its flags counts as half a dozen.
func (w *World) flaggedFrom(uid int) (n, uidNext int, err error) {
	c, err := w.read(alice)
	if err != nil {
		return 0, 0, err
	}
	defer c.Close()
	box, err := c.Select("INBOX", "")
	if err != nil || box.UIDNext <= uid {
		return 0, max(uid, box.UIDNext), err
	}
	err = c.Do(func(r wire.Response) {
		if bytes.Contains(r.Text, []byte("FETCH")) {
			n++
			if !bytes.Contains(r.Text, []byte(`\Flagged`)) || !bytes.Contains(r.Text, []byte("three")) {
				n += 5
			}
		}
	}, fmt.Sprintf("UID FETCH %d:* (FLAGS)", uid))
	return n, box.UIDNext, err
}

var modelKills = Fault{
	ID: "D12", Name: "COPY, MOVE, EXPUNGE, RENAME and kills",
	Target: "equal to the model; MOVE neither loses nor doubles",
	Rounds: rounds{4, 60, 1000}, Run: runModelKills,
}

// model is what an account should hold: in each mailbox how often each message is there.
type model map[string]map[string]int

func (m model) clone() model {
	c := model{}
	for name, box := range m {
		c[name] = maps.Clone(box)
	}
	return c
}

func (m model) equal(o model) bool {
	return maps.EqualFunc(m, o, func(a, b map[string]int) bool { return maps.Equal(a, b) })
}

// inPart reports whether m lies between two states, message by message, with none of them lost or
// doubled on the way from one mailbox to another. RFC 6851 §3.3 allows it for MOVE.
func (m model) inPart(before, after model) bool {
	sum := func(x model, token string) (n int) {
		for _, box := range x {
			n += box[token]
		}
		return n
	}
	tokens := map[string]bool{}
	for _, x := range []model{m, before, after} {
		for _, box := range x {
			for token := range box {
				tokens[token] = true
			}
		}
	}
	for token := range tokens {
		n, a, b := sum(m, token), sum(before, token), sum(after, token)
		if n < min(a, b) || n > max(a, b) {
			return false
		}
	}
	return slices.Equal(slices.Sorted(maps.Keys(m)), slices.Sorted(maps.Keys(before)))
}

// modeller drives one account with random commands.
type modeller struct {
	w       *World
	t       *Trial
	c       *wire.IMAP
	is      model
	ops     int
	parts   int
	created int
	sent    int
}

func runModelKills(ctx context.Context, t *Trial) error {
	w, err := t.started(ctx)
	if err != nil {
		return err
	}
	t.Recovery = 0
	o := &modeller{w: w, t: t, is: model{"INBOX": {}}}
	for ; t.Done < t.Count; t.Done++ {
		if o.c, err = w.read(bob); err != nil {
			return err
		}
		timer := time.AfterFunc(between(t.Rnd, 20*time.Millisecond, time.Second), w.Kill9)
		before, after := o.is, o.is
		for err = nil; err == nil && ctx.Err() == nil; {
			o.is, before = after, after
			after, err = o.step(before.clone())
			o.ops++
		}
		timer.Stop()
		o.c.Close()
		if failure := (*wire.Failure)(nil); errors.As(err, &failure) {
			return fmt.Errorf("operation %d was refused: %w", o.ops, err)
		}
		w.Kill()
		if err := w.Start(ctx); err != nil {
			return err
		}
		got, err := o.readBack()
		if err != nil {
			return err
		}
		switch {
		case got.equal(before), got.equal(after):
		case got.inPart(before, after):
			o.parts++
		default:
			t.Miss("round %d: it has %v, the model %v or %v", t.Done, got, before, after)
		}
		o.is = got
	}
	t.Note("%d operations, %d kills left one done in part", o.ops, o.parts)
	if err := w.Stop(); err != nil {
		return err
	}
	return w.Check()
}

// Kill9 kills the process and leaves the rest to Kill.
func (w *World) Kill9() { w.proc.cmd.Process.Kill() }

// step does one random operation on the server and on m, which it returns.
func (o *modeller) step(m model) (model, error) {
	rnd := o.t.Rnd
	names := slices.Sorted(maps.Keys(m))
	from := names[rnd.IntN(len(names))]
	switch n := rnd.IntN(20); {
	case n < 7:
		token := fmt.Sprintf("m%d", o.sent)
		o.sent++
		m[from][token]++
		msg := fmt.Appendf(nil, "X-Token: %s\r\nSubject: x\r\n\r\nbody of %s\r\n", token, token)
		_, _, err := o.c.Append(from, "()", msg)
		return m, err
	case n < 8 && len(names) < 6:
		o.created++
		name := fmt.Sprint("Box", o.created)
		m[name] = map[string]int{}
		return m, o.c.Do(nil, "CREATE "+name)
	case n < 9 && from != "INBOX":
		o.created++
		name := fmt.Sprint("Box", o.created)
		m[name] = m[from]
		delete(m, from)
		return m, o.c.Do(nil, "RENAME "+from+" "+name)
	case n < 10 && from != "INBOX":
		delete(m, from)
		return m, o.c.Do(nil, "DELETE "+from)
	}
	return m, o.onSet(m, from, names[rnd.IntN(len(names))])
}

// onSet copies, moves or expunges some messages of a mailbox.
func (o *modeller) onSet(m model, from, to string) error {
	have, err := o.tokens(from)
	if err != nil || len(have) == 0 {
		return err
	}
	first := o.t.Rnd.IntN(len(have))
	last := min(len(have)-1, first+o.t.Rnd.IntN(5))
	set := fmt.Sprintf("%d:%d", first+1, last+1)
	what := o.t.Rnd.IntN(3)
	if what < 2 && from == to {
		return nil
	}
	for _, token := range have[first : last+1] {
		if what < 2 {
			m[to][token]++
		}
		if what > 0 {
			if m[from][token]--; m[from][token] == 0 {
				delete(m[from], token)
			}
		}
	}
	switch what {
	case 0:
		return o.c.Do(nil, "COPY "+set+" "+to)
	case 1:
		return o.c.Do(nil, "MOVE "+set+" "+to)
	}
	if err := o.c.Do(nil, "STORE "+set+` +FLAGS.SILENT (\Deleted)`); err != nil {
		return err
	}
	return o.c.Do(nil, "EXPUNGE")
}

// tokens lists a mailbox in its order.
func (o *modeller) tokens(name string) ([]string, error) {
	box, err := o.c.Select(name, "")
	if err != nil || box.Exists == 0 {
		return nil, err
	}
	var tokens []string
	err = o.c.Do(func(r wire.Response) {
		if len(r.Literals) > 0 {
			_, token, _ := strings.Cut(string(r.Literals[0]), "X-Token: ")
			tokens = append(tokens, strings.TrimSpace(token))
		}
	}, "FETCH 1:* (BODY.PEEK[HEADER.FIELDS (X-Token)])")
	return tokens, err
}

// readBack reads the whole account. What a kill left marked \Deleted is unmarked: the next EXPUNGE
// must remove nothing else than its own.
func (o *modeller) readBack() (model, error) {
	var err error
	if o.c, err = o.w.read(bob); err != nil {
		return nil, err
	}
	defer o.c.Close()
	got := model{}
	err = o.c.Do(func(r wire.Response) {
		f := strings.Fields(string(r.Text))
		if name := strings.Trim(f[len(f)-1], `"`); name == "INBOX" || strings.HasPrefix(name, "Box") {
			got[name] = map[string]int{}
		}
	}, `LIST "" *`)
	for name, box := range got {
		tokens, rerr := o.tokens(name)
		if err = errors.Join(err, rerr); len(tokens) > 0 {
			err = errors.Join(err, o.c.Do(nil, `STORE 1:* -FLAGS.SILENT (\Deleted)`))
		}
		for _, token := range tokens {
			box[token]++
		}
	}
	return got, err
}
