package queue

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"tram/internal/blob"
	"tram/internal/clock"
	"tram/internal/dns"
	"tram/internal/envelope"
	"tram/internal/kv"
	"tram/internal/limits"
	"tram/internal/smtp"
	"tram/internal/tlspolicy"
	"tram/internal/trace"
)

// Errors of the operations, wrapped with what was tried.
var (
	ErrNotFound = errors.New("no such queue item")
	ErrEmpty    = errors.New("no recipients")
	ErrLoop     = errors.New("too many hops")
)

// ID names a queue item: 1 to 64 printable ASCII characters. It is the message's trail where the
// message came with one.
type ID string

// LocalDeliverer brings mail to local people. deliver implements it.
type LocalDeliverer interface {
	// IsLocal reports whether mail for domain (A-labels or an address literal) stays in this house.
	IsLocal(domain string) bool
	// Deliver brings e to each of its recipients: one outcome each, in order, durable on return.
	Deliver(ctx context.Context, e *envelope.Envelope) []envelope.Outcome
}

// TLSMode says how a smarthost is spoken to.
type TLSMode string

// The ways to speak to a smarthost.
const (
	TLSOpportunistic TLSMode = ""         // STARTTLS when offered, whoever answers
	TLSRequired      TLSMode = "starttls" // STARTTLS with a valid certificate, or nothing
	TLSImplicit      TLSMode = "tls"      // TLS from the first octet with a valid certificate
	TLSNone          TLSMode = "none"     // in the clear
)

// Smarthost takes everything that is not local, when Host is set.
type Smarthost struct {
	Host     string // "host:port"
	User     string // "" for no AUTH
	Password string
	TLS      TLSMode
}

// Options are what a queue stands on. DB, Blobs, Local and Hostname are required.
type Options struct {
	DB       kv.Database
	Blobs    *blob.Store
	Clock    clock.Clock // nil: clock.System
	Rand     io.Reader   // nil: crypto/rand
	Logger   *slog.Logger
	Local    LocalDeliverer
	Hostname string // our name in EHLO and DSNs

	// Resolver finds the way to other domains. Without one and without a smarthost their mail
	// waits.
	Resolver  dns.Resolver
	Dialer    smtp.Dialer // nil: the system's
	Smarthost Smarthost
	// TLS is the client's configuration: certificate authorities above all. nil: the default.
	TLS  *tls.Config
	Port int // of other servers; 0: 25
	// Policies finds out how other domains want to be spoken to. nil: TLS where it is offered.
	Policies *tlspolicy.Finder
	// TLSReports hears of each connection that came as far as TLS; nil: nobody does.
	TLSReports tlspolicy.Reporter
	// AllowPrivate lets mail go to loopback and private addresses that the DNS names. For the demo
	// and for tests: elsewhere it would let strangers reach inner servers.
	AllowPrivate bool
	// Own are addresses never dialled, beside those of the machine's interfaces.
	Own []netip.Addr

	Limits  limits.Queue
	Client  limits.Client
	Message limits.Message
	// Held hears of items that are held for an administrator when they come; Failed of recipients that
	// another server has refused for good. Both must return soon; nil: nobody hears of it.
	Held   func(Item)
	Failed func(ctx context.Context, origin envelope.Origin, to smtp.Address, reply smtp.Reply)

	// Sender tells whose return address an address of ours is, or returns it as it is; nil: none is one.
	Sender func(smtp.Address) smtp.Address
	// Keys finds the keys that sign what leaves; nil: nothing is signed. The zero Signing means
	// limits.Default().Signing.
	Keys    KeyFinder
	Signing limits.Signing

	Hops  int // Received fields a message may have before it is a loop; 0: 50
	Trace *trace.Log
	// Drain is how long Run waits for running transactions when it is told to end; 0: 4 s.
	Drain time.Duration
	// Shards is how many parts a new queue has; 0: 4. An existing one keeps what it has.
	Shards int

	interfaces func() ([]net.Addr, error) // nil: the machine's
	looked     int                        // of a listing, see lookedAtMost
}

// Queue is everything owed to others, and to local people for those who are not waited for.
type Queue struct {
	o       Options
	shards  int
	time    *timeline
	own     ownAddrs
	signing *signing
	tls     *tls.Config
	log     *slog.Logger

	rand sync.Mutex // guards o.Rand

	engine
}

// Open returns the queue that is stored in o.DB. It counts what an unclean end has left: attempts
// that were started and not finished, each perhaps a duplicate to come (RFC 1047).
func Open(ctx context.Context, o Options) (*Queue, error) {
	o.defaults()
	q := &Queue{o: o, log: o.Logger, own: ownAddrs{told: o.Own, list: o.interfaces}}
	q.engine.init()
	var err error
	if q.shards, err = loadShards(ctx, &o); err != nil {
		return nil, fmt.Errorf("open queue: %w", err)
	}
	if q.time, err = loadTimeline(ctx, &o); err != nil {
		return nil, fmt.Errorf("open queue: %w", err)
	}
	if err := q.own.refresh(o.Clock.Now()); err != nil {
		return nil, fmt.Errorf("open queue: %w", err)
	}
	q.tls = clientTLS(o.TLS)
	q.signing = newSigning(o)
	if err := q.countMarks(ctx); err != nil {
		return nil, fmt.Errorf("open queue: %w", err)
	}
	return q, q.gauge(ctx)
}

func (o *Options) defaults() {
	if o.Clock == nil {
		o.Clock = clock.System
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.looked == 0 {
		o.looked = lookedAtMost
	}
	if o.Dialer == nil {
		o.Dialer = &net.Dialer{}
	}
	if o.interfaces == nil {
		o.interfaces = net.InterfaceAddrs
	}
	if o.Signing == (limits.Signing{}) {
		o.Signing = limits.Default().Signing
	}
	if o.Port == 0 {
		o.Port = 25
	}
	if o.Hops == 0 {
		o.Hops = 50
	}
	if o.Drain == 0 {
		o.Drain = 4 * time.Second
	}
	if o.Shards == 0 {
		o.Shards = 4
	}
	o.Shards = min(o.Shards, maxShards)
}

// loadShards returns the number of shards, and fixes it for a new queue.
func loadShards(ctx context.Context, o *Options) (int, error) {
	shards := 0
	// Whatever state the disk is in, a queue must open to drain: its meta row is a few octets.
	err := o.DB.Update(kv.Freeing(ctx), metaScope, func(txn kv.Txn) error {
		b, err := txn.Get(metaKey)
		if errors.Is(err, kv.ErrNotFound) {
			shards = o.Shards
			return txn.Set(metaKey, []byte{version, byte(shards)})
		}
		if err != nil {
			return err
		}
		if len(b) > 0 && b[0] > version {
			return fmt.Errorf("queue of version %d: %w", b[0], kv.ErrNewer)
		}
		if len(b) != 2 || b[1] == 0 || b[1] > maxShards {
			return fmt.Errorf("queue meta row %x: %w", b, kv.ErrCorrupt)
		}
		shards = int(b[1])
		return nil
	})
	return shards, err
}

// eachShard iterates over the shards.
func (q *Queue) eachShard() func(func(shard) bool) {
	return func(yield func(shard) bool) {
		for s := range q.shards {
			if !yield(shard(s)) {
				return
			}
		}
	}
}

// shardFor returns the shard of a new item. All items of an account are in one, where its counters
// are.
func (q *Queue) shardFor(id ID, account uint64) shard {
	h := fnv.New32a()
	if account != 0 {
		binary.Write(h, binary.BigEndian, account)
	} else {
		h.Write([]byte(id))
	}
	return shard(h.Sum32() % uint32(q.shards))
}

// find returns the shard that holds an item, and the item.
func (q *Queue) find(ctx context.Context, id ID) (shard, *record, error) {
	for s := range q.eachShard() {
		var rec *record
		err := q.o.DB.View(ctx, s.scope(), func(r kv.Reader) (err error) {
			rec, err = readItem(r, s, id)
			return err
		})
		if !errors.Is(err, ErrNotFound) {
			return s, rec, err
		}
	}
	return 0, nil, fmt.Errorf("%w: %s", ErrNotFound, id)
}

var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// newID makes an ID: the time in milliseconds and 5 random octets, so that listings are in order.
func (q *Queue) newID() (ID, error) {
	var b [8 + 5]byte
	binary.BigEndian.PutUint64(b[:], uint64(q.o.Clock.Now().UnixMilli()))
	q.rand.Lock()
	defer q.rand.Unlock()
	if _, err := io.ReadFull(q.o.Rand, b[8:]); err != nil {
		return "", fmt.Errorf("read randomness: %w", err)
	}
	return ID(idEncoding.EncodeToString(b[2:])), nil
}

// valid reports whether an ID that came from outside may name an item.
func (id ID) valid() bool {
	clean := strings.IndexFunc(string(id), func(r rune) bool { return r <= ' ' || r > '~' }) < 0
	return clean && id != "" && len(id) <= 64
}
