package reports

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"tram/internal/kv"
)

// Finding is something in the rows of reports that is not as it must be, or what was done about it.
type Finding struct {
	Kind       string // short and stable: "report", "report-index", "report-count" or "icon"
	Where      string // report, domain or key
	What       string // a sentence
	Repairable bool
}

// Check verifies the rows of reports and icons in db: that they can be read, and that none is missing or
// left over. It changes nothing.
func Check(ctx context.Context, db kv.Database, report func(Finding)) error {
	for _, p := range checkParts {
		err := db.View(ctx, p.scope, func(r kv.Reader) error {
			return p.run(&checker{ctx: ctx, r: r, report: report})
		})
		if errors.Is(err, kv.ErrCorrupt) && ctx.Err() == nil {
			report(Finding{"report", string(p.scope), fmt.Sprintf("cannot be read any further: %v", err), true})
			err = nil
		}
		if err != nil {
			return fmt.Errorf("check reports: %w", err)
		}
	}
	return nil
}

// RepairOptions are who hears of a Repair. Each function may be nil.
type RepairOptions struct {
	Found, Did, Left func(Finding)
	// Keep is given each row that is dropped and cannot be read.
	Keep func(key, value []byte) error
}

// Repair makes the rows fit together again: what cannot be read is dropped, indexes and tallies are made
// again from what is left. It belongs on a database that nobody uses.
func Repair(ctx context.Context, db kv.Database, o RepairOptions) error {
	var found, did []Finding
	for _, p := range checkParts {
		var now, done []Finding
		err := db.Update(kv.Freeing(ctx), p.scope, func(t kv.Txn) error {
			now, done = nil, nil
			return p.run(&checker{ctx: ctx, r: t, fix: t, keep: o.Keep,
				report: func(f Finding) { now = append(now, f) },
				did:    func(f Finding) { done = append(done, f) }})
		})
		if err != nil {
			return fmt.Errorf("repair reports: %w", err)
		}
		found, did = append(found, now...), append(did, done...)
	}
	tell(o.Found, found)
	tell(o.Did, did)
	if len(found) == 0 || o.Left == nil {
		return nil
	}
	return Check(ctx, db, o.Left)
}

func tell(to func(Finding), list []Finding) {
	for _, f := range list {
		if to != nil {
			to(f)
		}
	}
}

// checkParts are what one transaction goes over each.
var checkParts = []struct {
	scope kv.Scope
	run   func(*checker) error
}{{scopeIn, (*checker).received}, {scopeOut, (*checker).counted}, {scopeIcons, (*checker).icons}}

// checker goes over the rows. With fix set it puts right what it finds, as it goes.
type checker struct {
	ctx    context.Context
	r      kv.Reader
	fix    kv.Txn
	report func(Finding)
	did    func(Finding)
	keep   func(key, value []byte) error
}

// wrong tells of a row, and takes it out when there is something to repair.
func (c *checker) wrong(kind, where string, key, value []byte, format string, args ...any) error {
	c.report(Finding{kind, where, fmt.Sprintf(format, args...), true})
	if c.fix == nil {
		return nil
	}
	c.did(Finding{Kind: kind, Where: where, What: "is taken out"})
	if c.keep != nil {
		if err := c.keep(key, value); err != nil {
			return err
		}
	}
	return c.fix.Delete(key)
}

// want makes sure that a row is there and says what it must.
func (c *checker) want(kind, where string, key, value []byte, what string) error {
	have, err := c.r.Get(key)
	if err == nil && bytes.Equal(have, value) {
		return nil
	}
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return err
	}
	c.report(Finding{kind, where, what, true})
	if c.fix == nil {
		return nil
	}
	c.did(Finding{Kind: kind, Where: where, What: "is made again"})
	return c.fix.Set(key, value)
}

func (c *checker) has(key []byte) (bool, error) {
	_, err := c.r.Get(key)
	if errors.Is(err, kv.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// scan goes over the rows of a sort; rest is the key behind it.
func (c *checker) scan(row byte, fn func(key, rest, value []byte) error) error {
	return c.r.Scan(kv.Prefix([]byte{space, row}), func(key, value []byte) error {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		return fn(key, key[2:], value)
	})
}

func (c *checker) received() error {
	for _, step := range []func() error{c.heads, c.index, c.pieces, c.expiries, c.tallies} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// heads checks the reports themselves, and that the other rows lead to them.
func (c *checker) heads() error {
	return c.scan(rowHead, func(key, _, value []byte) error {
		at, err := takeHead(key)
		if err != nil {
			return c.wrong("report", fmt.Sprintf("key %x", key), key, value, "its place cannot be read")
		}
		where := fmt.Sprintf("report %s about %s", at.id, at.domain)
		var h Received
		err = decode(value, &h)
		if err == nil && !bytes.Equal(h.key(at.id), key) {
			err = fmt.Errorf("it stands in the place of another: %w", kv.ErrCorrupt)
		}
		if err == nil {
			err = c.content(at.id, h.Parts)
		}
		if errors.Is(err, kv.ErrCorrupt) || errors.Is(err, kv.ErrNotFound) {
			return c.wrong("report", where, key, value, "it cannot be read: %v", err)
		}
		if err != nil {
			return err
		}
		if err := c.want("report-index", where, indexKey(at.id), key, "it would not be found by its name"); err != nil {
			return err
		}
		return c.want("report-index", where, expiryKey(h.Received, at.id), nil, "it would never be removed")
	})
}

// content reads what a report says.
func (c *checker) content(id reportID, parts int) error {
	z, err := unpackPieces(c.r, id, parts)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(z, unpackedMost)); err != nil {
		return fmt.Errorf("%w: %w", kv.ErrCorrupt, err)
	}
	return nil
}

// unpackedMost bounds what a check unpacks of one report.
const unpackedMost = 1 << 30

// head reports whether an index leads to a head.
func (c *checker) head(key []byte, id reportID) (bool, error) {
	if at, err := takeHead(key); err != nil || at.id != id {
		return false, nil
	}
	return c.has(key)
}

func (c *checker) index() error {
	return c.scan(rowIndex, func(key, rest, value []byte) error {
		if len(rest) == 8 {
			if ok, err := c.head(value, reportID(binary.BigEndian.Uint64(rest))); ok || err != nil {
				return err
			}
		}
		return c.wrong("report-index", fmt.Sprintf("key %x", key), key, value, "it leads to no report")
	})
}

// pieces looks for content without a report.
func (c *checker) pieces() error {
	return c.scan(rowPiece, func(key, rest, value []byte) error {
		if len(rest) == 12 {
			if ok, err := c.has(indexKey(reportID(binary.BigEndian.Uint64(rest)))); ok || err != nil {
				return err
			}
		}
		return c.wrong("report", fmt.Sprintf("key %x", key), key, value, "it is a piece of no report")
	})
}

func (c *checker) expiries() error {
	return c.scan(rowExpiry, func(key, rest, value []byte) error {
		if len(rest) == 16 {
			id := reportID(binary.BigEndian.Uint64(rest[8:]))
			head, err := c.r.Get(indexKey(id))
			var h Received
			if err == nil && get(c.r, head, &h) == nil && bytes.Equal(expiryKey(h.Received, id), key) {
				return nil
			}
			if err != nil && !errors.Is(err, kv.ErrNotFound) {
				return err
			}
		}
		return c.wrong("report-index", fmt.Sprintf("key %x", key), key, value, "no report is to be removed then")
	})
}

// tallies compares what is counted of each domain with its heads.
func (c *checker) tallies() error {
	var last headPlace
	compare := func() error {
		if last.kind == "" {
			return nil
		}
		n, err := countTally(c.r, last.kind, last.domain, last.known)
		if err != nil || n.Reports == 0 { // those that there were are taken out now
			return err
		}
		value, err := encode(n)
		if err != nil {
			return err
		}
		return c.want("report-count", "reports about "+last.domain,
			tallyKey(last.kind, last.domain, last.known), value, "they are counted wrong")
	}
	err := c.scan(rowHead, func(key, _, _ []byte) error {
		at, err := takeHead(key)
		if err != nil {
			return nil // told already
		}
		if at.kind == last.kind && at.domain == last.domain && at.known == last.known {
			return nil
		}
		err = compare()
		last = at
		return err
	})
	if err == nil {
		err = compare()
	}
	if err != nil {
		return err
	}
	return c.scan(rowTally, func(key, rest, value []byte) error {
		heads := append([]byte{space, rowHead}, rest...)
		some := false
		all := kv.Prefix(heads)
		all.Limit, all.KeysOnly = 1, true
		if err := c.r.Scan(all, func(_, _ []byte) error { some = true; return nil }); err != nil || some {
			return err
		}
		return c.wrong("report-count", fmt.Sprintf("key %x", key), key, value, "it counts no report")
	})
}

// counted checks what was counted for others.
func (c *checker) counted() error {
	return c.scan(rowCounted, func(key, rest, value []byte) error {
		err := readCounted(rest, value)
		if err == nil {
			return nil
		}
		return c.wrong("report-count", fmt.Sprintf("key %x", key), key, value, "it cannot be read: %v", err)
	})
}

// readCounted tells the three rows of what was counted apart, and reads one.
func readCounted(rest, value []byte) error {
	if len(rest) < 5 || rest[0] != DMARC.letter() && rest[0] != TLS.letter() {
		return errors.New("it is of no kind")
	}
	if rest = rest[5:]; len(rest) == 0 {
		return decode(value, &dayRow{})
	}
	_, rest, err := kv.TakeString(rest)
	switch {
	case err != nil:
		return err
	case len(rest) == 0:
		return decode(value, &domainRow{})
	case len(rest) != 8 || len(value) < 9 || value[0] != version || !json.Valid(value[9:]):
		return fmt.Errorf("read report row: %w", kv.ErrCorrupt)
	}
	return nil
}

func (c *checker) icons() error {
	err := c.scan(rowIcon, func(key, rest, value []byte) error {
		domain, rest, err := kv.TakeString(rest)
		var icon Icon
		if err == nil {
			err = decode(value, &icon)
		}
		if err != nil || len(rest) > 0 || icon.Domain != domain {
			return c.wrong("icon", fmt.Sprintf("icon of %q", domain), key, value, "it cannot be read")
		}
		return c.want("icon", "icon of "+domain, renewalKey(icon.Until, domain), nil, "it would never make room")
	})
	if err != nil {
		return err
	}
	return c.scan(rowRenewal, func(key, rest, value []byte) error {
		until, rest, err := kv.TakeUint64(rest)
		var domain string
		if err == nil {
			domain, _, err = kv.TakeString(rest)
		}
		var icon Icon
		if err == nil {
			err = get(c.r, iconKey(domain), &icon)
		}
		if err == nil && bytes.Equal(renewalKey(time.Unix(int64(until), 0), domain), key) &&
			bytes.Equal(renewalKey(icon.Until, domain), key) {
			return nil
		}
		return c.wrong("icon", fmt.Sprintf("key %x", key), key, value, "no icon is due then")
	})
}
