package directory

import (
	"context"
	"crypto/rand"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"

	"tram/internal/limits"
)

func TestHash(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := newHasher(cheap(), []byte("one pepper"))
	stored, err := h.hash(ctx, rand.Reader, "right")
	if err != nil || !strings.HasPrefix(stored, "$argon2id$v=19$m=64,t=1,p=1,keyid=cDE$") {
		t.Fatalf("hash = %q, %v", stored, err)
	}
	other, err := h.hash(ctx, rand.Reader, "right")
	if err != nil || other == stored {
		t.Errorf("the same salt twice: %q, %v", other, err)
	}
	for _, tt := range []struct {
		password, stored string
		h                *hasher
		ok, stale        bool
	}{
		{"right", stored, h, true, false},
		{"wrong", stored, h, false, false},
		{"", stored, h, false, false},
		{"right", "", h, false, false},
		{"right", "plain:right", h, false, false},
		{"right", stored, newHasher(cheap(), []byte("another pepper")), false, false},
		{"right", stored, newHasher(limits.Auth{ArgonMemoryKiB: 128, ArgonTime: 1}, []byte("one pepper")),
			true, true},
	} {
		ran := 0
		tt.h.ran = func() { ran++ }
		ok, stale, err := tt.h.verify(ctx, tt.password, tt.stored)
		if ok != tt.ok || stale != tt.stale || err != nil || ran != 1 {
			t.Errorf("verify(%q, %q) = %v, %v, %v after %d hashes", tt.password, tt.stored, ok, stale,
				err, ran)
		}
	}
}

// TestHashQueue proves that hashes run on as many processors as there are, that some wait, and
// that the rest are turned away at once (O6).
func TestHashQueue(t *testing.T) {
	t.Parallel()
	l := cheap()
	l.HashQueue = 3
	h := newHasher(l, nil)
	var mu sync.Mutex
	running, most := 0, 0
	gate := make(chan struct{})
	h.ran = func() {
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		<-gate
		mu.Lock()
		running--
		mu.Unlock()
	}
	const tries = 50
	results := make(chan error, tries)
	for range tries {
		go func() {
			_, _, err := h.verify(context.Background(), "x", "")
			results <- err
		}()
	}
	busy := 0
	for busy < tries-runtime.NumCPU()-l.HashQueue {
		if err := <-results; !errors.Is(err, ErrBusy) {
			t.Fatalf("while all processors are taken: %v", err)
		}
		busy++
	}
	close(gate)
	for range tries - busy {
		if err := <-results; err != nil {
			t.Errorf("one that waited its turn: %v", err)
		}
	}
	if most > runtime.NumCPU() {
		t.Errorf("%d hashes at once on %d processors", most, runtime.NumCPU())
	}
	if h.queued.Load() != 0 {
		t.Errorf("%d still wait", h.queued.Load())
	}
}

func TestHashGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	h := newHasher(cheap(), nil)
	for range cap(h.slots) {
		h.slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := h.verify(ctx, "x", ""); !errors.Is(err, context.Canceled) {
		t.Errorf("verify = %v", err)
	}
}

const (
	goodSalt = "AAAAAAAAAAAAAAAAAAAAAA"
	goodTag  = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)

func TestParsePHC(t *testing.T) {
	t.Parallel()
	good := "$argon2id$v=19$m=65536,t=2,p=1,keyid=cDE$" + goodSalt + "$" + goodTag
	p, err := parsePHC(good)
	if err != nil || p.memory != 65536 || p.time != 2 || p.threads != 1 || p.String() != good {
		t.Fatalf("parsePHC = %+v, %v", p, err)
	}
	most := strings.Replace(good, "m=65536,t=2,p=1", "m=4194304,t=100,p=16", 1)
	if p, err := parsePHC(most); err != nil || p.String() != most {
		t.Errorf("the most that is ours: %+v, %v", p, err)
	}
	for _, bad := range []string{
		"", "$", "plain", good + "$", good[1:], " " + good,
		strings.Replace(good, "argon2id", "argon2i", 1),
		strings.Replace(good, "v=19", "v=16", 1),
		strings.Replace(good, "m=65536", "m=0", 1),
		strings.Replace(good, "m=65536", "m=065536", 1),
		strings.Replace(good, "m=65536", "m=+65536", 1),
		strings.Replace(good, "m=65536", "m=4294967296", 1),
		strings.Replace(good, "m=65536", "m=99999999", 1), // 95 GiB
		strings.Replace(good, "m=65536", "m=4194305", 1),  // one more than the most
		strings.Replace(good, "t=2", "t=101", 1),
		strings.Replace(good, "p=1", "p=17", 1),
		strings.Replace(good, "p=1", "p=257", 1),
		strings.Replace(good, "m=65536,t=2", "t=2,m=65536", 1),
		strings.Replace(good, ",keyid=cDE", "", 1),
		strings.Replace(good, "cDE", "cDI", 1),
		strings.Replace(good, goodSalt, goodSalt+"A", 1),
		strings.Replace(good, goodSalt, "AAAA\nAAAAAAAAAAAAAAAAAA", 1),
		strings.Replace(good, goodSalt, "", 1),
		strings.Replace(good, goodTag, goodTag[:42]+"B", 1), // bits beyond the end
		strings.Replace(good, goodTag, "AAAA", 1),
	} {
		if p, err := parsePHC(bad); err == nil {
			t.Errorf("parsePHC(%q) = %+v", bad, p)
		}
	}
}

func FuzzPHC(f *testing.F) {
	f.Add("$argon2id$v=19$m=65536,t=2,p=1,keyid=cDE$" + goodSalt + "$" + goodTag)
	f.Add("$argon2id$v=19$m=1,t=1,p=1$AA$AA")
	f.Add("$$$$$")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePHC(s)
		if err != nil {
			return
		}
		if p.String() != s || p.memory > maxArgonMemory || p.time > maxArgonTime || p.threads > maxArgonThreads {
			t.Fatalf("parsePHC(%q) = %+v, which is %q", s, p, p)
		}
	})
}
