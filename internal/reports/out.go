package reports

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"tram/internal/kv"
	"tram/internal/reports/aggregate"
	"tram/internal/reports/tlsrpt"
)

// The rule of sending once. The report of a domain and a day (UTC) is composed after the day's end and
// a delay of its own (limits.Reports.Spread). Before it is handed to the queue it is marked "sending",
// durably; afterwards "done". Whoever finds the mark "sending" (after a crash, or on another machine of
// the same database) never hands it over again: the report was sent, or is lost. So a crash in those
// milliseconds may cost a report, and nothing is sent twice. If the queue says that it has not taken
// the message, the mark is taken back and the report tried again an hour later, for as long as
// limits.Reports.Days allow. HTTPS has no such hand-over: a report whose answer got lost is posted
// again, with the same identifier, by which RFC 8460 §4.4 lets the other side see that. Of several
// machines one has a report in hand at a time: see claim.

// late is how long after a day's end its last counts may still be written.
const late = 10 * time.Minute

// retryAfter is when something that did not work is tried again.
const retryAfter = time.Hour

// Send sends what is due. It may be cut at any point and run on several machines.
func (s *Reports) Send(ctx context.Context) error {
	if s.o.Queue == nil || s.o.Resolver == nil {
		return nil
	}
	own, err := s.o.Directory.OwnDomain(ctx, s.o.Hostname)
	if err != nil || own == "" {
		return err
	}
	var errs []error
	for k, wanted := range map[Kind]bool{DMARC: s.o.SendDMARC, TLS: s.o.SendTLS} {
		errs = append(errs, s.forget(ctx, k))
		if wanted {
			errs = append(errs, s.sendKind(ctx, k, own))
		}
	}
	return errors.Join(errs...)
}

// forget removes days that are past, with what was not sent.
func (s *Reports) forget(ctx context.Context, k Kind) error {
	today := dayOf(s.o.Clock.Now())
	if today <= uint32(s.limits.Days) {
		return nil
	}
	start, end := dayKey(k, 0), dayKey(k, today-uint32(s.limits.Days))
	some := false
	err := s.o.DB.View(ctx, scopeOut, func(r kv.Reader) error {
		return r.Scan(kv.Range{Start: start, End: end, Limit: 1, KeysOnly: true}, func(_, _ []byte) error {
			some = true
			return nil
		})
	})
	if err != nil || !some {
		return err
	}
	return s.o.DB.Update(kv.Freeing(ctx), scopeOut, func(t kv.Txn) error { return t.DeleteRange(start, end) })
}

// parcel is the report of a domain and a day that is to be sent.
type parcel struct {
	kind   Kind
	day    uint32
	domain string
	own    string // the domain we speak for
	head   domainRow
}

func (p *parcel) begin() time.Time { return startOf(p.day) }
func (p *parcel) end() time.Time   { return startOf(p.day + 1).Add(-time.Second) }

// hash is the same for the same report whenever it is composed, and differs between servers.
func (p *parcel) hash(hostname string) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %d %s %s %s", p.kind, p.day, p.domain, p.own, hostname)
	return h.Sum64()
}

// reportID is what the other side knows a report by, RFC 9990 and RFC 8460 §4.4.
func (s *Reports) reportID(p *parcel) string {
	return fmt.Sprintf("%s.%016x@%s", p.begin().Format("20060102"), p.hash(s.o.Hostname), p.own)
}

// trail is the identifier of the message in the queue.
func (s *Reports) trail(p *parcel) string {
	return fmt.Sprintf("report-%s-%s-%016x", p.kind, p.begin().Format("20060102"), p.hash(s.o.Hostname))
}

// due is when a report may be sent.
func (s *Reports) due(p *parcel) time.Time {
	wait := time.Duration(0)
	if s.limits.Spread > 0 {
		wait = time.Duration(p.hash(s.o.Hostname) % uint64(s.limits.Spread))
	}
	return startOf(p.day + 1).Add(late + wait)
}

func (s *Reports) sendKind(ctx context.Context, k Kind, own string) error {
	parcels, err := s.parcels(ctx, k, own)
	if err != nil {
		return fmt.Errorf("list reports to send: %w", err)
	}
	var errs []error
	for i := range parcels {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := s.sendOne(ctx, &parcels[i]); err != nil {
			errs = append(errs, fmt.Errorf("report to %s: %w", parcels[i].domain, err))
		}
	}
	return errors.Join(errs...)
}

// parcels lists the reports that are due, at most as many as one run sends.
func (s *Reports) parcels(ctx context.Context, k Kind, own string) (list []parcel, err error) {
	now := s.o.Clock.Now()
	err = s.o.DB.View(ctx, scopeOut, func(r kv.Reader) error {
		from, end := dayKey(k, 0), dayKey(k, dayOf(now))
		for len(list) < s.limits.PerRun {
			var key, value []byte
			next := kv.Range{Start: from, End: end, Limit: 1}
			if err := r.Scan(next, func(k, v []byte) error {
				key, value = append(key, k...), append(value, v...)
				return nil
			}); err != nil || key == nil {
				return err
			}
			p, err := takeParcel(k, key)
			if err != nil {
				return err
			}
			if p.domain == "" { // the day's own row
				from = append(key, 0)
				continue
			}
			// Behind the head come its counts, which are not looked at here.
			head := domainKey(k, p.day, p.domain)
			from = kv.PrefixEnd(head)
			if err := decode(value, &p.head); err != nil || !bytes.Equal(key, head) {
				// One domain's damage must not keep the others' reports back.
				s.o.Logger.Error("what was counted for a report cannot be read", "kind", k, "domain", p.domain,
					"error", err)
				continue
			}
			p.own = own
			if p.head.State == open && !now.Before(p.head.Next) && !now.Before(s.due(&p)) {
				list = append(list, p)
			}
		}
		return nil
	})
	return list, err
}

// takeParcel reads the key of a day's or a domain's head.
func takeParcel(k Kind, key []byte) (parcel, error) {
	day, rest, err := kv.TakeUint32(key[min(len(key), 3):])
	if err != nil || len(rest) == 0 {
		return parcel{kind: k, day: day}, err
	}
	domain, _, err := kv.TakeString(rest)
	return parcel{kind: k, day: day, domain: domain}, err
}

// content is what one report says.
type content struct {
	dmarc *aggregate.Report
	tls   *tlsrpt.Report
	about about // of a DMARC report
}

// claim puts off the next try, durably, before anything is asked or sent: another machine of the same
// database that has the report on its list as well leaves it alone, and does not post it a second time.
func (s *Reports) claim(ctx context.Context, p *parcel) (bool, error) {
	now := s.o.Clock.Now()
	return s.move(ctx, p, func(d *domainRow) bool {
		if d.State != open || now.Before(d.Next) {
			return false
		}
		d.Next = now.Add(retryAfter).UTC()
		p.head.Posted, p.head.Tries = d.Posted, d.Tries
		return true
	})
}

// sendOne composes and sends one report.
func (s *Reports) sendOne(ctx context.Context, p *parcel) error {
	if ours, err := s.claim(ctx, p); err != nil || !ours {
		return err
	}
	c, err := s.gather(ctx, p)
	if err != nil {
		return err
	}
	where, err := s.where(ctx, p, &c)
	switch {
	case err != nil:
		return s.later(ctx, p, err)
	case len(where.mail)+len(where.web) == 0:
		return s.finish(ctx, p, "unwanted")
	}
	if p.kind == TLS && c.nothingButOurs(p) {
		return s.finish(ctx, p, "own")
	}
	file, err := s.compose(p, &c)
	if err != nil {
		return err
	}
	webErr := s.post(ctx, p, file, where.web)
	if len(where.mail) > 0 {
		return errors.Join(webErr, s.mail(ctx, p, file, where.mail))
	}
	if webErr != nil {
		return s.later(ctx, p, webErr)
	}
	return s.finish(ctx, p, "sent")
}

// later notes that a report is tried again after a while.
func (s *Reports) later(ctx context.Context, p *parcel, why error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	sent.WithLabelValues(string(p.kind), "retried").Inc()
	s.o.Logger.Info("report waits", "kind", p.kind, "domain", p.domain, "error", why)
	_, err := s.move(ctx, p, func(d *domainRow) bool {
		d.State, d.Tries, d.Next = open, d.Tries+1, s.o.Clock.Now().Add(retryAfter).UTC()
		d.Posted = p.head.Posted
		return true
	})
	return err
}

// finish notes that nothing is left to do for a domain and a day, and removes what was counted.
func (s *Reports) finish(ctx context.Context, p *parcel, result string) error {
	sent.WithLabelValues(string(p.kind), result).Inc()
	s.o.Logger.Info("report done", "kind", p.kind, "domain", p.domain, "day", p.begin().Format("2006-01-02"),
		"result", result)
	head := domainKey(p.kind, p.day, p.domain)
	err := s.o.DB.Update(kv.Freeing(ctx), scopeOut, func(t kv.Txn) error {
		if err := t.DeleteRange(head, kv.PrefixEnd(head)); err != nil {
			return err
		}
		return set(t, head, domainRow{State: done})
	})
	if err != nil {
		return fmt.Errorf("note that a report is done: %w", err)
	}
	return nil
}

// move changes the head of a report if change says so of what is stored now.
func (s *Reports) move(ctx context.Context, p *parcel, change func(*domainRow) bool) (moved bool, err error) {
	key := domainKey(p.kind, p.day, p.domain)
	err = s.o.DB.Update(kv.Freeing(ctx), scopeOut, func(t kv.Txn) error {
		var d domainRow
		moved = false
		err := get(t, key, &d)
		if errors.Is(err, kv.ErrNotFound) {
			return nil
		}
		if err != nil || !change(&d) {
			return err
		}
		moved = true
		return set(t, key, d)
	})
	if err != nil {
		return false, fmt.Errorf("note how far a report has come: %w", err)
	}
	return moved, nil
}

// gather reads what was counted into a report.
func (s *Reports) gather(ctx context.Context, p *parcel) (content, error) {
	var c content
	err := s.o.DB.View(ctx, scopeOut, func(r kv.Reader) error {
		var err error
		c = content{}
		if p.kind == DMARC {
			c.dmarc, err = s.gatherDMARC(r, p, &c.about)
			return err
		}
		c.tls, err = s.gatherTLS(r, p)
		return err
	})
	if err != nil {
		return c, fmt.Errorf("gather what was counted: %w", err)
	}
	return c, nil
}

func (s *Reports) contact(p *parcel) string {
	if s.o.Contact != "" {
		return s.o.Contact
	}
	return "postmaster@" + p.own
}

func (s *Reports) org(p *parcel) string {
	if s.o.Org != "" {
		return s.o.Org
	}
	return p.own
}

func (s *Reports) gatherDMARC(r kv.Reader, p *parcel, a *about) (*aggregate.Report, error) {
	if err := json.Unmarshal(p.head.About, a); err != nil || a.Published == nil {
		return nil, fmt.Errorf("what %s publishes: %w: %w", p.domain, kv.ErrCorrupt, err)
	}
	pub := a.Published
	testing := "n"
	if pub.Testing {
		testing = "y"
	}
	report := &aggregate.Report{
		Version: "1.0", Org: s.org(p), Email: s.contact(p), ID: s.reportID(p), Begin: p.begin(), End: p.end(),
		Generator: "tram",
		Policy: aggregate.Policy{Domain: p.domain, Discovery: "treewalk", P: pub.P, SP: pub.SP, NP: pub.NP,
			FO: pub.FO, ADKIM: pub.ADKIM, ASPF: pub.ASPF, Testing: testing},
	}
	err := eachCount(r, DMARC, p.day, p.domain, func(row []byte, n uint64) error {
		var rec aggregate.Record
		if err := json.Unmarshal(row, &rec); err != nil {
			return fmt.Errorf("%w: %w", kv.ErrCorrupt, err)
		}
		rec.Count = int64(n)
		report.Records = append(report.Records, rec)
		return nil
	})
	return report, err
}

func (s *Reports) gatherTLS(r kv.Reader, p *parcel) (*tlsrpt.Report, error) {
	report := &tlsrpt.Report{Org: s.org(p), Contact: s.contact(p), ID: s.reportID(p),
		Range: tlsrpt.DateRange{Start: p.begin(), End: p.end()}}
	at := map[string]int{} // the policies, by what they say
	err := eachCount(r, TLS, p.day, p.domain, func(b []byte, n uint64) error {
		var row tlsRow
		if err := json.Unmarshal(b, &row); err != nil {
			return fmt.Errorf("%w: %w", kv.ErrCorrupt, err)
		}
		key := fmt.Sprintf("%q", row.Policy)
		i, there := at[key]
		if !there {
			i = len(report.Policies)
			at[key] = i
			report.Policies = append(report.Policies, tlsrpt.Policy{Policy: row.Policy})
		}
		policy := &report.Policies[i]
		if row.Failure.Type == "" {
			policy.Summary.Successes += int64(n)
			return nil
		}
		row.Failure.Count = int64(n)
		policy.Summary.Failures += int64(n)
		policy.Failures = append(policy.Failures, row.Failure)
		return nil
	})
	return report, err
}
