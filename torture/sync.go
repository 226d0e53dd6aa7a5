package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"tram/bench/ledger"
	"tram/bench/wire"
)

var ackAfterSync = Fault{
	ID: "D3", Name: "acknowledgement before the sync", Target: "every 250 and OK leaves after the log was synced",
	Needs: []need{strace}, Rounds: rounds{60, 1000, 1000}, Run: runAckAfterSync,
}

// runAckAfterSync sends one message after the other by SMTP, APPEND and submission, and reads in the
// trace whether a sync of the log returned between the message's last byte and its acknowledgement.
func runAckAfterSync(ctx context.Context, t *Trial) error {
	w, err := t.started(ctx)
	if err != nil {
		return err
	}
	l, err := w.ledger()
	if err != nil {
		return err
	}
	log := filepath.Join(t.Dir, "trace")
	tr, err := w.traceTo(ctx, log, "trace=fsync,fdatasync,sync_file_range,write,writev,sendto")
	if err != nil {
		return err
	}
	for t.Done < t.Count && ctx.Err() == nil {
		w.oneOfEach(l)
		t.Done += 3
	}
	tr.end()
	acks, early, err := readSyncs(log)
	if err != nil {
		return err
	}
	t.Note("%d acknowledgements seen, %d of them early", acks, early)
	if early > 0 || acks < t.Done {
		t.Miss("%d of %d acknowledgements left before a sync; %d were sent", early, acks, t.Done)
	}
	return w.Verify(ctx, l)
}

var (
	logSync = regexp.MustCompile(`^(\d+) +[\d.]+ (?:fsync|fdatasync)\(\d+<[^>]*\.log>(\) += 0| <unfinished)`)
	resumed = regexp.MustCompile(`^(\d+) +[\d.]+ <\.\.\. (?:fsync|fdatasync) resumed>\) += 0`)
	said    = regexp.MustCompile(`^\d+ +[\d.]+ write\(\d+<(?:TCP|socket)[^"]*"(?:[^"]*\\n)?(354 |250 2\.0\.0 |a2 OK |a\d+ OK \[APPENDUID )`)
)

// readSyncs counts the acknowledgements in a trace, and those with no sync of the log between them
// and the word that asked for the message.
func readSyncs(path string) (acks, early int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	under := map[string]bool{} // threads in a sync of the log
	open, synced := false, false
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		line := sc.Text()
		if m := logSync.FindStringSubmatch(line); m != nil {
			if strings.HasPrefix(m[2], ")") {
				synced = true
			} else {
				under[m[1]] = true
			}
			continue
		}
		if m := resumed.FindStringSubmatch(line); m != nil {
			synced = synced || under[m[1]]
			delete(under, m[1])
			continue
		}
		m := said.FindStringSubmatch(line)
		switch {
		case m == nil:
		case m[1] == "354 " || m[1] == "a2 OK ": // to CAPABILITY, before APPEND
			open, synced = true, false
		case open:
			acks++
			if !synced {
				early++
			}
			open = false
		}
	}
	return acks, early, sc.Err()
}

var syncFails = Fault{
	ID: "D6", Name: "a sync that fails, then a power cut",
	Target: "the process ends within 1 s and acknowledges nothing that the disk has not got",
	Needs:  []need{root, strace, loopDevices}, Rounds: rounds{3, 24, 100}, Run: runSyncFails,
}

// runSyncFails makes the n-th sync of the log fail once: the kernel would have dropped the pages and
// have the next sync succeed. Had the server tried again, the power cut that follows would show it.
func runSyncFails(ctx context.Context, t *Trial) error {
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
	t.Recovery = 0
	l, err := w.ledger()
	if err != nil {
		return err
	}
	slowest := 0.0
	for ; t.Done < t.Count; t.Done++ {
		call := "fdatasync"
		if t.Done%3 == 2 {
			call = "fsync" // of a table or a folder: in the background, and free to be repeated
		}
		log := filepath.Join(t.Dir, fmt.Sprint("trace", t.Done))
		tr, err := w.traceTo(ctx, log, "trace="+call, fmt.Sprintf("inject=%s:error=EIO:when=%d", call,
			1+t.Rnd.IntN(30)))
		if err != nil {
			return err
		}
		stop := load(ctx, l, 3, 2, 1)
		if call == "fdatasync" {
			err = until(ctx, 30*time.Second, "the server ends after a failed sync", func() bool { return !w.alive() })
		} else {
			pause(ctx, 2*time.Second)
		}
		stop()
		if err != nil {
			t.Miss("%v", err)
		}
		if err := m.cut(w); err != nil {
			return err
		}
		tr.end()
		if call == "fdatasync" {
			took, err := failedFor(log)
			if err != nil {
				return err
			}
			slowest = max(slowest, took)
		}
		os.Remove(log)
		if err := w.Start(ctx); err != nil {
			return err
		}
	}
	t.Note("it ended within %.3f s of the failure", slowest)
	if slowest > 1 {
		t.Late("the server went on for %.1f s after a failed sync", slowest)
	}
	return w.Verify(ctx, l)
}

// failedFor is the time in a trace between the call that was made to fail and the end.
func failedFor(path string) (float64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	failed, ended := 0.0, 0.0
	for line := range strings.SplitSeq(string(text), "\n") {
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		at, _ := strconv.ParseFloat(f[1], 64)
		if strings.Contains(line, "(INJECTED)") {
			failed = at
		}
		if strings.Contains(line, "+++ ") {
			ended = at
		}
	}
	if failed == 0 || ended == 0 {
		return 0, fmt.Errorf("%s shows no failed call and no end", path)
	}
	return ended - failed, nil
}

var slowDisk = Fault{
	ID: "D20", Name: "a disk whose syncs take long",
	Target: "no answer above 60 s, reading goes on, at once as before when the disk is",
	Needs:  []need{strace}, Rounds: rounds{1, 3, 5}, Run: runSlowDisk,
}

// syncDelays are how long a sync takes in each round.
var syncDelays = []time.Duration{
	500 * time.Millisecond, 2 * time.Second, 5 * time.Second, 10 * time.Second, 20 * time.Second,
}

func runSlowDisk(ctx context.Context, t *Trial) error {
	w, err := t.started(ctx)
	if err != nil {
		return err
	}
	l, err := w.ledger()
	if err != nil {
		return err
	}
	for ; t.Done < t.Count; t.Done++ {
		if err := w.slowRound(ctx, t, l, syncDelays[t.Done%len(syncDelays)]); err != nil {
			return err
		}
	}
	return w.Verify(ctx, l)
}

func (w *World) slowRound(ctx context.Context, t *Trial, l *ledger.Ledger, delay time.Duration) error {
	reader, err := w.read(alice)
	if err != nil {
		return err
	}
	defer reader.Close()
	tr, err := w.trace(ctx, "trace=fdatasync", fmt.Sprintf("inject=fdatasync:delay_enter=%d", delay.Microseconds()))
	if err != nil {
		return err
	}
	var writes, reads latency
	work, cancel := context.WithTimeout(ctx, 4*delay+2*time.Second)
	defer cancel()
	done := parallel(work, 8, func(ctx context.Context) {
		s, err := wire.DialSMTP(w.smtp(), "", "")
		for err == nil && ctx.Err() == nil {
			var took time.Duration
			if _, took, err = l.Send(s, bob); err == nil {
				writes.add(took)
			}
		}
	})
	for work.Err() == nil {
		start := time.Now()
		if _, err := reader.Select("INBOX", ""); err != nil {
			t.Miss("reading with syncs of %v: %v", delay, err)
			break
		}
		if err := reader.Do(nil, "FETCH 1:* (FLAGS ENVELOPE)"); err != nil && !strings.Contains(err.Error(), "imap:") {
			t.Miss("reading with syncs of %v: %v", delay, err)
			break
		}
		reads.add(time.Since(start))
		pause(work, 50*time.Millisecond)
	}
	done()
	tr.end()
	t.Note("syncs of %v: 250 p99 %.1f s, reading p99 %.0f ms", delay, writes.p(0.99).Seconds(), ms(reads.p(0.99)))
	if writes.p(1) > 60*time.Second || writes.count() == 0 {
		t.Late("syncs of %v: %d messages, the slowest answer after %v", delay, writes.count(), writes.p(1))
	}
	if reads.p(0.99) > max(time.Second, delay) {
		t.Late("syncs of %v: reading took %v at p99", delay, reads.p(0.99))
	}
	start := time.Now()
	s, err := wire.DialSMTP(w.smtp(), "", "")
	if err != nil {
		return err
	}
	defer s.Close()
	if ack, _, err := l.Send(s, bob); ack != wire.Acked {
		return err
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Late("a message took %v when the disk was quick again", took)
	}
	return nil
}
