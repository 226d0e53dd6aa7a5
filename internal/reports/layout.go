package reports

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"tram/internal/kv"
)

// The rows, all integers big-endian; a domain is escaped and terminated by kv.AppendString. A value
// begins with a version byte (1), JSON follows unless something else is said.
//
// Received, in the scope "reports/in"; kind is 'd' (DMARC) or 't' (TLS), known 1 when the sender was
// authenticated, else 0:
//
//	'r' 'h' kind domain known:1 end:8 id:8  -> Received: a report's head; end in seconds since 1970
//	'r' 'p' id:8 n:4                        -> the n-th piece of its content: gzip of JSON
//	'r' 'i' id:8                            -> (no version) the key of the head
//	'r' 'x' received:8 id:8                 -> empty: the order in which reports are removed
//	'r' 'c' kind domain known:1             -> tally of the heads there
//
// Counted, in the scope "reports/out"; day counts from 1970 in UTC:
//
//	'r' 'o' kind day:4                      -> dayRow
//	'r' 'o' kind day:4 domain               -> domainRow: what was counted, whether it was sent
//	'r' 'o' kind day:4 domain hash:8        -> count:8, then the result that was counted (JSON)
//
// Icons, in the scope "reports/icons":
//
//	'r' 'b' domain                          -> Icon
//	'r' 'w' until:8 domain                  -> empty: the order in which icons are looked up again
const (
	space      = 'r'
	rowHead    = 'h'
	rowPiece   = 'p'
	rowIndex   = 'i'
	rowExpiry  = 'x'
	rowTally   = 'c'
	rowCounted = 'o'
	rowIcon    = 'b'
	rowRenewal = 'w'

	version = 1
)

const (
	scopeIn    kv.Scope = "reports/in"
	scopeOut   kv.Scope = "reports/out"
	scopeIcons kv.Scope = "reports/icons"
)

// reportID names a received report for people and in keys.
type reportID uint64

func (id reportID) String() string { return fmt.Sprintf("%016x", uint64(id)) }

func parseID(s string) (reportID, bool) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 8 {
		return 0, false
	}
	return reportID(binary.BigEndian.Uint64(b)), true
}

// newReportID is the same for the same report of the same sender. That of a sender who is not
// authenticated is never the one of a sender who is, so that nobody can keep a report out by sending
// another one under its name first.
func newReportID(parts ...string) reportID {
	h := sha256.New()
	for _, p := range parts {
		h.Write(kv.AppendString(nil, p))
	}
	return reportID(binary.BigEndian.Uint64(h.Sum(nil)))
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func headsKey(k Kind, domain string, known bool) []byte {
	return append(kv.AppendString([]byte{space, rowHead, k.letter()}, domain), flag(known))
}

func (h *Received) key(id reportID) []byte {
	key := kv.AppendUint64(headsKey(h.Kind, h.Domain, h.Known), uint64(max(h.End.Unix(), 0)))
	return kv.AppendUint64(key, uint64(id))
}

// headPlace is what the key of a head says.
type headPlace struct {
	kind   Kind
	domain string
	known  bool
	end    uint64
	id     reportID
}

// takeHead reads the key of a head.
func takeHead(key []byte) (headPlace, error) {
	damaged := fmt.Errorf("read the place of a report: %w", kv.ErrCorrupt)
	if len(key) < 4 || key[0] != space || key[1] != rowHead {
		return headPlace{}, damaged
	}
	p := headPlace{kind: DMARC}
	switch key[2] {
	case DMARC.letter():
	case TLS.letter():
		p.kind = TLS
	default:
		return headPlace{}, damaged
	}
	domain, rest, err := kv.TakeString(key[3:])
	if err != nil || len(rest) != 17 || rest[0] > 1 {
		return headPlace{}, damaged
	}
	p.domain, p.known = domain, rest[0] == 1
	p.end, p.id = binary.BigEndian.Uint64(rest[1:]), reportID(binary.BigEndian.Uint64(rest[9:]))
	return p, nil
}

func pieceKey(id reportID, n int) []byte {
	return kv.AppendUint32(kv.AppendUint64([]byte{space, rowPiece}, uint64(id)), uint32(n))
}

func indexKey(id reportID) []byte { return kv.AppendUint64([]byte{space, rowIndex}, uint64(id)) }

func expiryKey(at time.Time, id reportID) []byte {
	return kv.AppendUint64(kv.AppendUint64([]byte{space, rowExpiry}, uint64(max(at.Unix(), 0))), uint64(id))
}

func tallyKey(k Kind, domain string, known bool) []byte {
	return append(kv.AppendString([]byte{space, rowTally, k.letter()}, domain), flag(known))
}

// encode writes a value row.
func encode(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode report row: %w", err)
	}
	return append([]byte{version}, b...), nil
}

// decode reads what encode wrote.
func decode(b []byte, v any) error {
	if len(b) == 0 || b[0] != version {
		return fmt.Errorf("read report row: %w", kv.ErrCorrupt)
	}
	if err := json.Unmarshal(b[1:], v); err != nil {
		return fmt.Errorf("read report row: %w: %w", kv.ErrCorrupt, err)
	}
	return nil
}

func get(r kv.Reader, key []byte, v any) error {
	b, err := r.Get(key)
	if err != nil {
		return err
	}
	return decode(b, v)
}

func set(t kv.Txn, key []byte, v any) error {
	b, err := encode(v)
	if err != nil {
		return err
	}
	return t.Set(key, b)
}
