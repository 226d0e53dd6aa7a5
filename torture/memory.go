package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"tram/bench/wire"
)

var smallMemory = Fault{
	ID: "O4", Name: "512 MiB and large messages in parallel", Needs: []need{root, cgroups},
	Rounds: rounds{12, 200, 200},
	Target: "no kill by the kernel, at most 400 MiB, what is too much is told 421, 451 or 452", Run: runSmallMemory,
}

const memoryLimit = 512 << 20

// memoryGroups is where groups of processes with a bound on their memory are made, in either version
// of the kernel's interface.
func memoryGroups() (dir, limit, peak string, err error) {
	const v1, v2 = "/sys/fs/cgroup/memory", "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(v1, "memory.limit_in_bytes")); err == nil {
		return v1, "memory.limit_in_bytes", "memory.oom_control", nil
	}
	text, err := os.ReadFile(filepath.Join(v2, "cgroup.subtree_control"))
	if err == nil && strings.Contains(string(text), "memory") {
		return v2, "memory.max", "memory.events", nil
	}
	return "", "", "", errors.New("it needs the kernel's memory groups")
}

func cgroups() error {
	_, _, _, err := memoryGroups()
	return err
}

// runSmallMemory sends and fetches as many large messages at once as there are rounds.
func runSmallMemory(ctx context.Context, t *Trial) error {
	size := pick(t, 6<<20, 12<<20, 50<<20-64<<10)
	w, err := t.demo()
	if err != nil {
		return err
	}
	group, kills, err := w.inGroup()
	if err != nil {
		return err
	}
	w.wrap = []string{"sh", "-c", `echo $$ > "$0/cgroup.procs" && exec "$@"`, group}
	if err := w.Start(ctx); err != nil {
		return err
	}
	t.Recovery = 0
	peak := w.peak(ctx)
	var taken, refused, broken atomic.Int64
	block := base64Block(t.Rnd)
	var n atomic.Int64
	parallel(ctx, t.Count, func(ctx context.Context) {
		switch code, err := w.sendLarge(int(n.Add(1)), size, block); {
		case err != nil:
			broken.Add(1)
		case code == 250:
			taken.Add(1)
		case code == 421 || code == 451 || code == 452:
			refused.Add(1)
		default:
			t.Miss("a large message was answered with %d", code)
		}
	})()
	if taken.Load() == 0 || broken.Load() > 0 {
		t.Miss("%d large messages were taken, %d broke off: %s", taken.Load(), broken.Load(), lastLine(w.said.String()))
	}
	var fetched, unread atomic.Int64
	parallel(ctx, pick(t, 6, 50, 50), func(ctx context.Context) {
		if bytes, err := w.fetchLarge(int(taken.Load())); err != nil {
			unread.Add(1)
		} else if bytes >= size {
			fetched.Add(1)
		}
	})()
	most := peak()
	t.Done = t.Count
	t.Note("%d of %d MiB taken, %d put off, %d fetched at once, %d fetches failed; %d MiB at the peak", taken.Load(),
		mib(size), refused.Load(), fetched.Load(), unread.Load(), mib(most))
	if most > 400<<20 {
		t.Miss("%d MiB at the peak", mib(most))
	}
	if n, err := kills(); err != nil || n > 0 || !w.alive() {
		t.Miss("the kernel killed %d times: %v", n, err)
	}
	if err := w.Stop(); err != nil {
		return err
	}
	return w.Check()
}

// inGroup makes a memory group for the server, and tells how to count what the kernel killed in it.
func (w *World) inGroup() (dir string, kills func() (int, error), err error) {
	root, limit, events, err := memoryGroups()
	if err != nil {
		return "", nil, err
	}
	dir = filepath.Join(root, fmt.Sprintf("tram-torture-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", nil, err
	}
	w.t.OnEnd(func() { w.Kill(); os.Remove(dir) })
	kills = func() (int, error) {
		text, err := os.ReadFile(filepath.Join(dir, events))
		_, rest, _ := strings.Cut(string(text), "oom_kill ")
		n, _, _ := strings.Cut(rest, "\n")
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(n)
	}
	return dir, kills, os.WriteFile(filepath.Join(dir, limit), []byte(strconv.Itoa(memoryLimit)), 0o644)
}

// base64Block is a piece of text that does not compress well.
func base64Block(rnd *rand.Rand) []byte {
	raw := make([]byte, 57)
	var b strings.Builder
	for b.Len() < 256<<10 {
		for i := range raw {
			raw[i] = byte(rnd.Uint32())
		}
		b.WriteString(base64.StdEncoding.EncodeToString(raw) + "\r\n")
	}
	return []byte(b.String())
}

// sendLarge streams one message; nobody here holds it in memory either.
func (w *World) sendLarge(i, size int, block []byte) (code int, err error) {
	c, err := net.Dial("tcp", w.addr(25))
	if err != nil {
		return 0, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Minute))
	r := bufio.NewReader(c)
	const envelope = "\nEHLO load.test\nMAIL FROM:<large@load.test>\nRCPT TO:<" + bob + ">\nDATA"
	for line := range strings.SplitSeq(envelope, "\n") { // the first is the greeting, which asks nothing
		if line != "" {
			if _, err := io.WriteString(c, line+"\r\n"); err != nil {
				return 0, err
			}
		}
		if code, err = reply(r); err != nil || code >= 400 {
			return code, err
		}
	}
	fmt.Fprintf(c, "Subject: large %d\r\nX-Number: %d\r\n\r\nnumber %d\r\n", i, i, i)
	for sent := 0; sent < size; sent += len(block) {
		if _, err := c.Write(block); err != nil {
			break // it may have said why
		}
	}
	io.WriteString(c, ".\r\n")
	return reply(r)
}

// reply reads a reply of SMTP.
func reply(r *bufio.Reader) (int, error) {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return 0, err
		}
		if len(line) > 3 && line[3] == ' ' {
			return strconv.Atoi(line[:3])
		}
	}
}

// fetchLarge reads one message and counts its bytes.
func (w *World) fetchLarge(exists int) (int, error) {
	c, err := w.read(bob)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if _, err := c.Select("INBOX", ""); err != nil {
		return 0, err
	}
	bytes := 0
	err = c.Do(func(r wire.Response) {
		for _, literal := range r.Literals {
			bytes += len(literal)
		}
	}, fmt.Sprintf("FETCH %d BODY.PEEK[]", 1+rand.IntN(max(1, exists))))
	return bytes, err
}
