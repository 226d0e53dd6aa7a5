package reports

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"tram/internal/kv"
	"tram/internal/reports/aggregate"
	"tram/internal/reports/tlsrpt"
)

// Received is a report about a domain of ours, without its rows.
type Received struct {
	Kind   Kind   `json:"kind"`
	Domain string `json:"domain"` // the one of ours that it is filed under
	Org    string `json:"org"`
	ID     string `json:"id"` // the reporter's
	// Sender is the domain of the message's author; Known says that he was authenticated.
	Sender string    `json:"sender"`
	Known  bool      `json:"known"`
	Begin  time.Time `json:"begin"`
	End    time.Time `json:"end"`
	// Received is when the message came.
	Received time.Time `json:"received"`
	// Total and Good count messages that passed DMARC, or sessions that were as the policy asks.
	Total int64 `json:"total"`
	Good  int64 `json:"good"`

	DMARC *aggregate.Report `json:"dmarc,omitempty"` // Records are not kept in it
	Size  int64             `json:"size"`            // of the stored content
	Parts int               `json:"parts"`
}

// tally counts the reports of one kind and domain whose senders are, or are not, known.
type tally struct {
	Reports int   `json:"reports"`
	Bytes   int64 `json:"bytes"`
}

// unknownShare is the part of a domain's room that reports of unauthenticated senders may take.
const unknownShare = 4

// pieceSize is how much of a report's content is in one row.
const pieceSize = 48 << 10

// keep stores a report with its content once. It reports whether it was there before.
func (s *Reports) keep(ctx context.Context, h *Received, id reportID, content any) (again bool, err error) {
	packed, err := pack(content)
	if err != nil {
		return false, err
	}
	h.Size, h.Parts = int64(len(packed)), (len(packed)+pieceSize-1)/pieceSize
	err = s.o.DB.Update(ctx, scopeIn, func(t kv.Txn) error {
		again = false
		_, err := t.Get(indexKey(id))
		if err == nil {
			again = true
			return nil
		}
		if !errors.Is(err, kv.ErrNotFound) {
			return err
		}
		if err := s.makeRoom(t, h); err != nil {
			return err
		}
		return insert(t, h, id, packed)
	})
	if err != nil {
		return false, fmt.Errorf("keep report: %w", err)
	}
	return again, nil
}

func pack(content any) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := json.NewEncoder(z).Encode(content); err != nil {
		return nil, fmt.Errorf("pack report: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("pack report: %w", err)
	}
	return b.Bytes(), nil
}

func insert(t kv.Txn, h *Received, id reportID, packed []byte) error {
	key := h.key(id)
	if err := set(t, key, h); err != nil {
		return err
	}
	if err := t.Set(indexKey(id), key); err != nil {
		return err
	}
	if err := t.Set(expiryKey(h.Received, id), nil); err != nil {
		return err
	}
	for n := 0; len(packed) > 0; n++ {
		piece := packed[:min(pieceSize, len(packed))]
		packed = packed[len(piece):]
		if err := t.Set(pieceKey(id, n), append([]byte{version}, piece...)); err != nil {
			return err
		}
	}
	return addTally(t, h, 1)
}

// addTally counts a report in (1) or out (-1).
func addTally(t kv.Txn, h *Received, n int) error {
	key := tallyKey(h.Kind, h.Domain, h.Known)
	c, err := readTally(t, h.Kind, h.Domain, h.Known)
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return err
	}
	c.Reports, c.Bytes = c.Reports+n, c.Bytes+int64(n)*h.Size
	if c.Reports <= 0 {
		return t.Delete(key)
	}
	return set(t, key, c)
}

// readTally reads a tally. One that is damaged is counted anew, or the domain could neither get reports
// any more nor lose them.
func readTally(r kv.Reader, k Kind, domain string, known bool) (tally, error) {
	var c tally
	err := get(r, tallyKey(k, domain, known), &c)
	if errors.Is(err, kv.ErrCorrupt) {
		return countTally(r, k, domain, known)
	}
	return c, err
}

// countTally counts the heads of one sort.
func countTally(r kv.Reader, k Kind, domain string, known bool) (c tally, err error) {
	err = r.Scan(kv.Prefix(headsKey(k, domain, known)), func(_, value []byte) error {
		c.Reports++
		var h Received
		if decode(value, &h) == nil { // the size of a damaged one is not known
			c.Bytes += h.Size
		}
		return nil
	})
	return c, err
}

// makeRoom removes the oldest reports of h's sort until h fits in.
func (s *Reports) makeRoom(t kv.Txn, h *Received) error {
	most, size := s.limits.PerDomain, s.limits.DomainSize
	if !h.Known {
		most, size = max(most/unknownShare, 1), size/unknownShare
	}
	for {
		c, err := readTally(t, h.Kind, h.Domain, h.Known)
		if errors.Is(err, kv.ErrNotFound) || err == nil && c.Reports < most && c.Bytes+h.Size <= size {
			return nil
		}
		if err != nil {
			return err
		}
		oldest := kv.Prefix(headsKey(h.Kind, h.Domain, h.Known))
		oldest.Limit, oldest.KeysOnly = 1, true
		var key []byte
		if err := t.Scan(oldest, func(k, _ []byte) error {
			key = append(key, k...)
			return nil
		}); err != nil {
			return err
		}
		if key == nil {
			return nil
		}
		if err := remove(t, key); err != nil {
			return err
		}
		received.WithLabelValues(string(h.Kind), "displaced").Inc()
	}
}

// remove takes a report out whose head has this key. A head that is damaged goes too, or it would keep
// its place for ever; then only its size stays in the tally.
func remove(t kv.Txn, key []byte) error {
	var h Received
	at, err := takeHead(key)
	if err != nil {
		return err
	}
	if err := get(t, key, &h); errors.Is(err, kv.ErrCorrupt) {
		h = Received{Kind: at.kind, Domain: at.domain, Known: at.known}
	} else if err != nil {
		return err
	}
	id := at.id
	if err := addTally(t, &h, -1); err != nil {
		return err
	}
	if err := removeRest(t, id); err != nil {
		return err
	}
	for _, k := range [][]byte{key, expiryKey(h.Received, id)} {
		if err := t.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// expireBatch is how many reports one transaction removes.
const expireBatch = 100

// Expire removes received reports that were kept for long enough, and icons that nobody has asked for
// in that time. It may be cut at any point.
func (s *Reports) Expire(ctx context.Context) error {
	return errors.Join(s.expireReports(ctx), s.expireIcons(ctx))
}

func (s *Reports) expireReports(ctx context.Context) error {
	cutoff := s.o.Clock.Now().Add(-s.limits.Keep)
	for {
		removed := 0
		err := s.o.DB.Update(kv.Freeing(ctx), scopeIn, func(t kv.Txn) error {
			removed = 0
			due := kv.Range{Start: []byte{space, rowExpiry}, End: expiryKey(cutoff, 0), Limit: expireBatch,
				KeysOnly: true}
			return t.Scan(due, func(k, _ []byte) error {
				removed++
				return expireOne(t, k)
			})
		})
		if err != nil {
			return fmt.Errorf("expire reports: %w", err)
		}
		if removed < expireBatch {
			return nil
		}
	}
}

func expireOne(t kv.Txn, expiry []byte) error {
	n, _, err := kv.TakeUint64(expiry[min(len(expiry), 10):])
	if err != nil { // it names no report
		return t.Delete(expiry)
	}
	id := reportID(n)
	key, err := t.Get(indexKey(id))
	if err == nil {
		err = remove(t, key)
	}
	// An index that is damaged, or leads nowhere, must not keep the reports behind it for ever.
	if errors.Is(err, kv.ErrNotFound) || errors.Is(err, kv.ErrCorrupt) {
		err = removeRest(t, id)
	}
	if err != nil {
		return err
	}
	return t.Delete(expiry)
}

// removeRest removes what there is of a report beside its head.
func removeRest(t kv.Txn, id reportID) error {
	pieces := pieceKey(id, 0)
	if err := t.DeleteRange(pieces, kv.PrefixEnd(pieces[:len(pieces)-4])); err != nil {
		return err
	}
	return t.Delete(indexKey(id))
}

// errNoReport is what look-ups of one report end with.
var errNoReport = fmt.Errorf("there is no such report: %w", kv.ErrNotFound)

// load reads a report's head and content.
func (s *Reports) load(r kv.Reader, key []byte, content any) (Received, error) {
	var h Received
	if err := get(r, key, &h); err != nil {
		return h, err
	}
	n, _, err := kv.TakeUint64(key[len(key)-8:])
	if err != nil {
		return h, err
	}
	z, err := unpackPieces(r, reportID(n), h.Parts)
	if err != nil {
		return h, err
	}
	if err := json.NewDecoder(io.LimitReader(z, s.limits.Unpacked)).Decode(content); err != nil {
		return h, fmt.Errorf("read report %s: %w: %w", reportID(n), kv.ErrCorrupt, err)
	}
	return h, nil
}

// unpackPieces reads the content of a report.
func unpackPieces(r kv.Reader, id reportID, parts int) (io.Reader, error) {
	var packed []byte
	for i := range parts {
		b, err := r.Get(pieceKey(id, i))
		if err != nil {
			return nil, fmt.Errorf("read report %s: %w", id, err)
		}
		packed = append(packed, b[min(len(b), 1):]...)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("read report %s: %w: %w", id, kv.ErrCorrupt, err)
	}
	return z, nil
}

// Listed is a received report with the name it has here.
type Listed struct {
	Name string `json:"name"` // 16 hexadecimal digits
	Received
}

// Whole is a received report with its rows; one of the two is set.
type Whole struct {
	Listed
	Records  []aggregate.Record `json:"records,omitempty"`
	Policies []tlsrpt.Policy    `json:"policies,omitempty"`
}

// Report returns a received report by the name it has here. An error that wraps kv.ErrNotFound: there
// is none.
func (s *Reports) Report(ctx context.Context, name string) (Whole, error) {
	id, ok := parseID(name)
	if !ok {
		return Whole{}, errNoReport
	}
	var w Whole
	err := s.o.DB.View(ctx, scopeIn, func(r kv.Reader) error {
		key, err := r.Get(indexKey(id))
		if errors.Is(err, kv.ErrNotFound) {
			return errNoReport
		}
		if err != nil {
			return err
		}
		w.Name = name
		if len(key) > 2 && key[2] == TLS.letter() {
			w.Received, err = s.load(r, key, &w.Policies)
		} else {
			w.Received, err = s.load(r, key, &w.Records)
		}
		return err
	})
	return w, err
}

// each calls fn for the reports about a domain that end after since, the oldest first. It returns how many
// are damaged, and so left out.
func (s *Reports) each(
	ctx context.Context, k Kind, domain string, known bool, since time.Time,
	fn func(kv.Reader, []byte, Listed) error,
) (damaged int, err error) {
	prefix := headsKey(k, domain, known)
	err = s.o.DB.View(ctx, scopeIn, func(r kv.Reader) error {
		from := kv.AppendUint64(prefix[:len(prefix):len(prefix)], uint64(max(since.Unix(), 0)))
		all := kv.Range{Start: from, End: kv.PrefixEnd(prefix)}
		return r.Scan(all, func(key, value []byte) error {
			var l Listed
			n, _, err := kv.TakeUint64(key[max(len(key)-8, 0):])
			if err == nil {
				err = decode(value, &l.Received)
			}
			if err == nil {
				l.Name = reportID(n).String()
				err = fn(r, key, l)
			}
			if errors.Is(err, kv.ErrCorrupt) || errors.Is(err, kv.ErrNotFound) {
				s.o.Logger.Error("report is damaged", "name", reportID(n).String(), "error", err)
				damaged++
				return nil
			}
			return err
		})
	})
	return damaged, err
}
