package directory

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/argon2"

	"tram/internal/limits"
)

// A password is kept as a string in the form of the Password Hashing Competition:
//
//	$argon2id$v=19$m=65536,t=2,p=1,keyid=cDE$<salt>$<tag>
//
// Salt (16 bytes) and tag (32 bytes) are base64 without padding. What is hashed is not the password
// but its HMAC-SHA-256 under a key derived from the pepper, which keyid "p1" says.
type phc struct {
	memory  uint32 // KiB
	time    uint32
	threads uint8
	salt    []byte
	tag     []byte
}

const (
	saltBytes = 16
	tagBytes  = 32
	pepperID  = "cDE" // base64 of "p1"
)

// The most that a stored hash may ask of this machine; what asks for more is not one of ours.
const (
	maxArgonMemory  = 4 << 20 // KiB
	maxArgonTime    = 100
	maxArgonThreads = 16
)

var errPHC = errors.New("not an Argon2id hash of this server")

func (p phc) String() string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d,keyid=%s$%s$%s", argon2.Version,
		p.memory, p.time, p.threads, pepperID,
		b64.EncodeToString(p.salt), b64.EncodeToString(p.tag))
}

// parsePHC reads the form that String writes, and nothing else.
func parsePHC(s string) (phc, error) {
	f := strings.Split(s, "$")
	if len(f) != 6 || f[0] != "" || f[1] != "argon2id" || f[2] != "v=19" {
		return phc{}, errPHC
	}
	params := strings.Split(f[3], ",")
	if len(params) != 4 || params[3] != "keyid="+pepperID {
		return phc{}, errPHC
	}
	memory, err1 := phcNumber(params[0], "m=", maxArgonMemory)
	time, err2 := phcNumber(params[1], "t=", maxArgonTime)
	threads, err3 := phcNumber(params[2], "p=", maxArgonThreads)
	salt, err4 := base64.RawStdEncoding.Strict().DecodeString(f[4])
	tag, err5 := base64.RawStdEncoding.Strict().DecodeString(f[5])
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return phc{}, errPHC
	}
	if len(salt) != saltBytes || len(tag) != tagBytes || strings.ContainsAny(f[4]+f[5], "\r\n") {
		return phc{}, errPHC
	}
	return phc{memory, time, uint8(threads), salt, tag}, nil
}

func phcNumber(s, prefix string, most uint64) (uint32, error) {
	digits, ok := strings.CutPrefix(s, prefix)
	n, err := strconv.ParseUint(digits, 10, 32)
	if !ok || err != nil || n == 0 || n > most || digits[0] == '0' || digits[0] == '+' {
		return 0, errPHC
	}
	return uint32(n), nil
}

// hasher runs Argon2id, on as many processors as there are and no more, so that a flood of log-ins
// costs bounded memory (64 MiB each) and leaves its excess in a short queue.
type hasher struct {
	limits limits.Auth
	pepper []byte
	slots  chan struct{}
	queued atomic.Int64
	hashes atomic.Int64 // begun so far
	left   atomic.Int64 // ended since sweep collected last
	broom  sync.Mutex   // of sweep: whoever comes meanwhile waits until there is room again
	ran    func()       // tests count the work: called for each hash
}

func newHasher(l limits.Auth, pepper []byte) *hasher {
	return &hasher{
		limits: l, pepper: pepper, slots: make(chan struct{}, runtime.NumCPU()), ran: func() {},
	}
}

// slot waits for a processor. ErrBusy when too many wait already.
func (h *hasher) slot(ctx context.Context) (release func(), err error) {
	release = func() { <-h.slots }
	select {
	case h.slots <- struct{}{}:
		return release, nil
	default:
	}
	defer h.queued.Add(-1)
	if h.queued.Add(1) > int64(h.limits.HashQueue) {
		return nil, ErrBusy
	}
	select {
	case h.slots <- struct{}{}:
		return release, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// tag computes the Argon2id tag of a password with a hash's parameters and salt.
func (h *hasher) tag(ctx context.Context, password string, p phc) ([]byte, error) {
	release, err := h.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	defer h.left.Add(1)
	h.sweep()
	h.hashes.Add(1)
	h.ran()
	mac := hmac.New(sha256.New, h.pepper)
	mac.Write([]byte(password))
	return argon2.IDKey(mac.Sum(nil), p.salt, p.time, p.memory, p.threads, tagBytes), nil
}

// smallHeap is up to which size of what lives the memory of hashes that are done is collected before
// the next one takes as much: in a larger heap it matters less, and collecting costs more.
const smallHeap = 512 << 20

// sweep collects what hashes that have ended left lying, so that their memory is one for each
// processor, however many wrong passwords come.
func (h *hasher) sweep() {
	h.broom.Lock()
	defer h.broom.Unlock()
	if h.left.Swap(0) == 0 {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	if live[0].Value.Kind() == metrics.KindUint64 && live[0].Value.Uint64() < smallHeap {
		runtime.GC()
	}
}

// current is a hash with the parameters that new passwords get.
func (h *hasher) current() phc {
	return phc{memory: h.limits.ArgonMemoryKiB, time: h.limits.ArgonTime, threads: 1}
}

// hash makes the string to store for a password that was prepared.
func (h *hasher) hash(ctx context.Context, rand io.Reader, password string) (string, error) {
	p := h.current()
	p.salt = make([]byte, saltBytes)
	if _, err := io.ReadFull(rand, p.salt); err != nil {
		return "", fmt.Errorf("make salt: %w", err)
	}
	var err error
	if p.tag, err = h.tag(ctx, password, p); err != nil {
		return "", err
	}
	return p.String(), nil
}

// verify compares a password with what is stored. It does the same work when nothing is stored or
// the account may not log in: who is asked about is not to be told from the time it takes (A3).
// stale says that the parameters have changed since it was stored.
func (h *hasher) verify(ctx context.Context, password, stored string) (ok, stale bool, err error) {
	p, err := parsePHC(stored)
	known := err == nil
	if !known {
		p = h.current()
		p.salt, p.tag = make([]byte, saltBytes), make([]byte, tagBytes)
	}
	tag, err := h.tag(ctx, password, p)
	if err != nil {
		return false, false, err
	}
	same := subtle.ConstantTimeCompare(tag, p.tag) == 1
	now := h.current()
	stale = p.memory != now.memory || p.time != now.time || p.threads != now.threads
	return known && same, stale, nil
}
