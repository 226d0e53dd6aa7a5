package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// long makes the fault tests of this package run as long as a release asks for, which takes hours
// (TRAM_LONG=1 go test -timeout 0 ./e2e). Without it they make a part of the same faults.
func long() bool { return os.Getenv("TRAM_LONG") == "1" }

// damage is something that a disk did to the log.
type damage struct {
	what string
	do   func(b []byte) []byte
}

// damages are one wrong byte at the places, the log cut off at half as many, and half as many pages
// of zeros. A quarter of each is at the log's end, where nothing behind it betrays the damage.
func damages(rnd *rand.Rand, size, places int) []damage {
	var all []damage
	at := func(i, of int) int {
		if i < of/4 {
			return size - 1 - rnd.IntN(200)
		}
		return rnd.IntN(size)
	}
	for i := range places {
		n, bit := at(i, places), byte(1)<<rnd.IntN(8)
		all = append(all, damage{fmt.Sprintf("bit %08b of byte %d", bit, n), func(b []byte) []byte {
			b[n] ^= bit
			return b
		}})
	}
	for i := range places / 2 {
		n := at(i, places/2)
		all = append(all, damage{fmt.Sprint("cut at ", n), func(b []byte) []byte { return b[:n] }})
	}
	for i := range places / 2 {
		n := at(i, places/2) &^ 4095
		all = append(all, damage{fmt.Sprint("zeros at ", n), func(b []byte) []byte {
			clear(b[n:min(n+4096, len(b))])
			return b
		}})
	}
	return all
}

// TestDamagedLog is D9 through the real binary: the server was killed, and meanwhile the disk has
// spoilt the log. Either the server refuses to start and says where the damage is and what to do, or
// every message that was acknowledged is there. Nothing is ever gone without a word.
func TestDamagedLog(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 9))
	s := start(t, "--measure")
	l := s.ledger(seed)
	stop := load(l, 3, 1)
	s.waitAcked(l, 60)
	stop()
	s.kill(syscall.SIGKILL)
	whole, log := s.dir, newestLog(t, s.dir)
	good, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	// A log is made longer than it is; behind its last record there are zeros, or nothing.
	size := len(bytes.TrimRight(good, "\x00"))
	places := 20
	if long() {
		places = 200
	}
	refused, started := 0, 0
	for _, d := range damages(rnd, size, places) {
		s.dir = filepath.Join(t.TempDir(), "data")
		run(t, "", "cp", "-a", whole, s.dir)
		bad := filepath.Join(s.dir, "db", filepath.Base(log))
		write(t, bad, string(d.do(bytes.Clone(good))))
		s.out = nil
		if err := s.tryStart(); err != nil {
			refused++
			namesDamage(t, d.what, err.Error(), bad)
		} else {
			started++
			r, err := l.Compare()
			if err != nil || r.Err() != nil {
				t.Errorf("%s: it started, and: %v, %v", d.what, err, r.Err())
			}
			s.kill(syscall.SIGKILL)
		}
		os.RemoveAll(s.dir)
	}
	t.Logf("%d of %d kinds of damage refused, %d harmless", refused, refused+started, started)
	if refused == 0 {
		t.Error("no damage was refused: the test does not hit the log")
	}
	// The control: without damage it starts, and all is there.
	s.dir = whole
	s.start()
	s.compare(l)
}

// newestLog is the log that the database wrote to last.
func newestLog(t *testing.T, dir string) string {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(dir, "db", "*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("no log in %s: %v", dir, err)
	}
	return logs[len(logs)-1] // their numbers have leading zeros
}

// namesDamage checks the sentence of a refusal: the file, the place, and what to run.
func namesDamage(t *testing.T, what, said, file string) {
	t.Helper()
	for _, want := range []string{regexp.QuoteMeta(file), `offset \d+`, "`tram check --repair`"} {
		if !regexp.MustCompile(want).MatchString(said) {
			t.Errorf("%s: the refusal does not name %s:\n%s", what, want, said)
		}
	}
	if strings.Contains(said, "goroutine ") {
		t.Errorf("%s: it broke instead of refusing:\n%s", what, said)
	}
}
