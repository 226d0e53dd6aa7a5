package directory

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"tram/internal/kv"
)

// sweepBatch bounds how many rows one transaction of sweep removes.
const sweepBatch = 1000

// sweep removes the rows that no longer say anything: sources quiet for a day, names that have not
// been back for as long as they are trusted.
func (t *throttle) sweep(ctx context.Context) error {
	now := t.clock.Now()
	err := t.sweepRows(ctx, key(kindSource), func(v []byte) bool {
		s, err := decodeSource(v)
		if err != nil {
			return true
		}
		s.prune(now)
		return s.quiet()
	})
	if err != nil {
		return err
	}
	return t.sweepRows(ctx, key(kindKnown), func(v []byte) bool {
		if len(v) != 8 {
			return true
		}
		at := time.Unix(int64(binary.BigEndian.Uint64(v)), 0)
		return now.Sub(at) >= t.limits.KnownFor
	})
}

func (t *throttle) sweepRows(ctx context.Context, prefix []byte, old func([]byte) bool) error {
	for from := prefix; from != nil; {
		var rows [][]byte
		r := kv.Prefix(prefix)
		r.Start = from
		from = nil
		err := t.db.View(ctx, scope, func(reader kv.Reader) error {
			return reader.Scan(r, func(k, v []byte) error {
				if len(rows) == sweepBatch {
					from = append([]byte(nil), k...)
					return kv.Stop
				}
				if old(v) {
					rows = append(rows, append([]byte(nil), k...))
				}
				return nil
			})
		})
		if err != nil {
			return fmt.Errorf("sweep throttle: %w", err)
		}
		if len(rows) == 0 {
			continue
		}
		err = t.db.Update(kv.Freeing(ctx), scope, func(txn kv.Txn) error {
			for _, row := range rows {
				// It may have been staged anew since it was read.
				if v, err := txn.Get(row); err == nil && old(v) {
					if err := txn.Delete(row); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("sweep throttle: %w", err)
		}
	}
	return nil
}

// Ban is a network that may not log in for now.
type Ban struct {
	Network  netip.Prefix
	Until    time.Time
	Failures int // in the last day
}

// Bans lists the networks that are banned.
func (d *Directory) Bans(ctx context.Context) ([]Ban, error) {
	t := d.throttle
	if err := t.flush(ctx); err != nil {
		return nil, err
	}
	now := d.clock.Now()
	var bans []Ban
	err := t.db.View(ctx, scope, func(r kv.Reader) error {
		bans = nil
		prefix := key(kindSource)
		return r.Scan(kv.Prefix(prefix), func(k, v []byte) error {
			s, err := decodeSource(v)
			if err != nil || len(k) != len(prefix)+len(sourceKey{}) {
				return fmt.Errorf("read row %x: %w", k, kv.ErrCorrupt)
			}
			if s.prune(now); s.until.After(now) {
				network := sourceKey(k[len(prefix):]).prefix()
				bans = append(bans, Ban{network, s.until, len(s.failures)})
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list bans: %w", err)
	}
	return bans, nil
}

// Unban forgets every failure of an address's network, and its wider network's.
func (d *Directory) Unban(ctx context.Context, addr netip.Addr) error {
	t := d.throttle
	own, wide := sources(addr)
	if err := t.load(ctx, own, wide, knownKey{}); err != nil {
		return err
	}
	t.mu.Lock()
	for _, k := range []sourceKey{own, wide} {
		s := t.source(k)
		s.failures, s.strikes, s.until = nil, 0, time.Time{}
		t.dirty[k] = s
	}
	t.mu.Unlock()
	return t.flush(ctx)
}
