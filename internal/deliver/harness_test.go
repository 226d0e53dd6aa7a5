package deliver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"tram/internal/blob"
	"tram/internal/clock"
	"tram/internal/directory"
	"tram/internal/envelope"
	"tram/internal/kv/memkv"
	"tram/internal/limits"
	"tram/internal/smtp"
	"tram/internal/store"
)

// house is real storage and a real directory with four people, and a queue that remembers.
type house struct {
	t     testing.TB
	db    *memkv.DB
	store *store.Store
	dir   *directory.Directory
	queue *outbox
	ids   map[string]store.AccountID
	o     Options
}

// outbox takes each message once for each recipient, until its sender has seen that it was taken.
type outbox struct {
	mu    sync.Mutex
	sent  []*envelope.Envelope
	text  []string
	taken map[[16]byte][]string
	err   error
	fails int // so many envelopes are taken before err; then it is another's turn
}

func (o *outbox) HandOver(ctx context.Context, envs ...*envelope.Envelope) error {
	sent, text, taken := o.sent, o.text, maps.Clone(o.taken)
	for _, env := range envs {
		fresh := *env
		fresh.Recipients = nil
		for _, rcpt := range env.Recipients {
			to, key := rcpt.Address.String(), env.Handing.Key
			if slices.Contains(o.taken[key], to) {
				continue
			}
			fresh.Recipients = append(fresh.Recipients, rcpt)
			if env.Handing.For > 0 {
				o.taken[key] = append(slices.Clip(o.taken[key]), to)
			}
		}
		if len(fresh.Recipients) == 0 {
			continue
		}
		if err := o.Forward(ctx, &fresh); err != nil {
			o.sent, o.text, o.taken = sent, text, taken // all or none
			return err
		}
	}
	return nil
}

func (o *outbox) HandedOver(_ context.Context, _ uint64, key [16]byte) ([]string, error) {
	return o.taken[key], nil
}

func (o *outbox) Seen(_ context.Context, _ uint64, key [16]byte, to ...smtp.Address) error {
	o.taken[key] = slices.DeleteFunc(slices.Clone(o.taken[key]), func(s string) bool {
		return slices.ContainsFunc(to, func(a smtp.Address) bool { return a.String() == s })
	})
	return nil
}

func (o *outbox) Forward(ctx context.Context, env *envelope.Envelope) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil && o.fails == 0 {
		return o.err
	}
	o.fails = max(o.fails-1, 0)
	r := env.Body.Open(ctx)
	defer r.Close()
	b, err := io.ReadAll(r)
	o.sent, o.text = append(o.sent, env), append(o.text, string(b))
	return err
}

func newHouse(t testing.TB) *house {
	t.Helper()
	h := &house{t: t, db: memkv.New(), ids: map[string]store.AccountID{},
		queue: &outbox{taken: map[[16]byte][]string{}}}
	ctx := context.Background()
	var err error
	h.store, err = store.Open(ctx, store.Options{DB: h.db, Blobs: blob.New(h.db, blob.Options{})})
	if err != nil {
		t.Fatal(err)
	}
	h.dir, err = directory.Open(ctx, directory.Options{
		DB: h.db, Pepper: bytes.Repeat([]byte("p"), 32),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(h.dir.Close(), h.store.Close()); err != nil {
			t.Error(err)
		}
	})
	if _, err := h.dir.AddDomain(ctx, "example.test"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"alice", "bob", "carol"} {
		a, err := h.dir.AddAccount(ctx, directory.AccountOptions{Address: local(name)})
		if err != nil {
			t.Fatal(err)
		}
		h.ids[name] = store.AccountID(a.ID)
	}
	h.alias("team", local("alice"), local("bob"), local("carol"))
	h.alias("mixed", local("alice"), away)
	h.o = Options{
		Store: h.store, Directory: h.dir, Forwarder: h.queue, Hostname: "mx.example.test",
		Limits: limits.Default(), Full: h.db.Full,
		Clock: clock.NewFake(time.Date(2026, 8, 1, 10, 0, 0, 0, time.UTC)),
		Rand:  bytes.NewReader(make([]byte, 1<<16)),
	}
	return h
}

var away = smtp.Address{Local: "someone", Domain: "elsewhere.test"}

func local(name string) smtp.Address { return smtp.Address{Local: name, Domain: "example.test"} }

func (h *house) alias(name string, targets ...smtp.Address) {
	h.t.Helper()
	err := h.dir.AddAlias(context.Background(), directory.Alias{
		Address: name + "@example.test", Targets: targets,
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) quota(name string, bytes int64) {
	h.t.Helper()
	err := h.store.SetQuota(context.Background(), h.ids[name], store.Quota{Bytes: bytes})
	if err != nil {
		h.t.Fatal(err)
	}
}

// mail makes an envelope as a door does.
func (h *house) mail(d *Deliverer, origin envelope.Origin, text string, to ...string) *envelope.Envelope {
	h.t.Helper()
	env := &envelope.Envelope{
		ID: "trail-1", Origin: origin, From: smtp.Address{Local: "a", Domain: "elsewhere.test"},
		Received: h.o.Clock.Now(),
	}
	for _, name := range to {
		env.Recipients = append(env.Recipients, envelope.Recipient{Address: local(name)})
	}
	b := d.NewBody(context.Background(), env, []byte("Received: by mx.example.test (tram); now\r\n"))
	b.Write([]byte(text))
	if err := b.Finish(); err != nil {
		h.t.Fatal(err)
	}
	return env
}

// box returns the messages of a person's mailbox with a role.
func (h *house) box(name string, role store.Role) []string {
	h.t.Helper()
	var all []string
	err := h.store.Account(h.ids[name]).View(context.Background(), func(tx *store.Tx) error {
		all = nil
		list, err := tx.List(tx.RoleMailbox(role))
		if err != nil {
			return err
		}
		for i := range list.Len() {
			e, err := tx.Email(list.At(i).Email)
			if err != nil {
				return err
			}
			r := tx.Open(e)
			b, err := io.ReadAll(r)
			if err := errors.Join(err, r.Close()); err != nil {
				return err
			}
			all = append(all, string(b))
		}
		return nil
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		h.t.Fatal(err)
	}
	return all
}

func (h *house) inbox(name string) []string { return h.box(name, store.RoleInbox) }

const text = "From: a@elsewhere.test\r\nMessage-ID: <1@elsewhere.test>\r\n\r\nHello.\r\n"
