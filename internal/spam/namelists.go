package spam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"tram/internal/dns"
	"tram/internal/metrics"
	"tram/internal/spam/sign"
)

// What a list in the DNS is about.
const (
	ListAddress = "address" // of clients, RFC 5782 §2
	ListDomain  = "domain"  // of links and senders, RFC 5782 §3
)

// NameList is a list in the DNS, RFC 5782.
type NameList struct {
	Zone string
	Kind string // ListAddress or ListDomain
	// Test is an entry that is always listed; "": 127.0.0.2, or TEST of a list of domains (RFC 5782 §5).
	Test   string
	Weight float64 // of an answer that Codes does not name
	// Codes are the weights of answers: "127.0.0.2" or "127.0.0.10/31". An answer of weight 0 counts not.
	Codes map[netip.Prefix]float64
}

// SetCode gives an answer a weight of its own.
func (l *NameList) SetCode(answer netip.Prefix, weight float64) {
	if l.Codes == nil {
		l.Codes = map[netip.Prefix]float64{}
	}
	l.Codes[answer] = weight
}

var (
	listAnswers = metrics.CounterVec("spam_list_answers_total",
		"Questions to lists in the DNS, by list and outcome.", "list", "outcome")
	listsOff = metrics.GaugeVec("spam_list_off",
		"1 while a list in the DNS is not asked because it failed its test.", "list")
)

// nameLists asks lists, and keeps those out that answer everything, nothing, or with a complaint.
type nameLists struct {
	resolver dns.Resolver
	all      []*nameList
}

type nameList struct {
	NameList
	mu     sync.Mutex
	tested time.Time // zero: not yet
	off    string    // why it is not asked
}

func (l *nameLists) init(o Options) {
	l.resolver = o.Resolver
	for _, c := range o.Config.Lists[:min(len(o.Config.Lists), o.Limits.Lists)] {
		l.all = append(l.all, &nameList{NameList: c})
	}
}

// What every list of addresses has, and what none has, RFC 5782 §5.
var (
	testPresent = netip.AddrFrom4([4]byte{127, 0, 0, 2})
	testAbsent  = netip.AddrFrom4([4]byte{127, 0, 0, 1})
)

const (
	testEvery = time.Hour
	testTime  = 10 * time.Second
)

// errRefused is a list that does not want to be asked by us.
var errRefused = errors.New("the list answers with an error code")

// TestLists tests the lists whose test is due: one that has not its test entry, or has everything, is
// not asked until it passes (RFC 5782 §5).
func (j *Judge) TestLists(ctx context.Context) {
	if j.lists.resolver == nil {
		return
	}
	var wg sync.WaitGroup
	for _, l := range j.lists.all {
		l.mu.Lock()
		due := l.tested.IsZero() || !within(j.o.Clock.Now(), l.tested, testEvery)
		l.mu.Unlock()
		if due {
			wg.Go(func() { j.testList(ctx, l) })
		}
	}
	wg.Wait()
}

func (j *Judge) testList(ctx context.Context, l *nameList) {
	ctx, cancel := context.WithTimeout(ctx, testTime)
	defer cancel()
	present, absent := dns.ListName(testPresent, l.Zone), dns.ListName(testAbsent, l.Zone)
	if l.Kind == ListDomain {
		present, absent = "test."+l.Zone, "invalid."+l.Zone
	}
	if a, err := netip.ParseAddr(l.Test); err == nil {
		present = dns.ListName(a, l.Zone)
	} else if l.Test != "" {
		present = l.Test + "." + l.Zone
	}
	off := ""
	if codes, err := l.ask(ctx, j.lists.resolver, present); err != nil {
		off = "the test entry cannot be looked up: " + err.Error()
	} else if len(codes) == 0 {
		off = "the test entry is not listed"
	} else if codes, err := l.ask(ctx, j.lists.resolver, absent); err != nil {
		off = "what must not be listed cannot be looked up: " + err.Error()
	} else if len(codes) > 0 {
		off = "what must not be listed is"
	}
	j.setOff(l, off)
}

// setOff switches a list off for a reason, or on.
func (j *Judge) setOff(l *nameList, off string) {
	l.mu.Lock()
	was := l.off
	l.off, l.tested = off, j.o.Clock.Now()
	l.mu.Unlock()
	gauge := 0.0
	switch {
	case off != "":
		gauge = 1
		if was != off {
			j.o.Logger.Warn("list in the DNS is not asked any more until it passes its test",
				"list", l.Zone, "reason", off)
		}
	case was != "":
		j.o.Logger.Info("list in the DNS is asked again", "list", l.Zone)
	}
	listsOff.WithLabelValues(l.Zone).Set(gauge)
}

// usable reports whether a list passed its last test.
func (l *nameList) usable() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.off == "" && !l.tested.IsZero()
}

var (
	answers    = netip.MustParsePrefix("127.0.0.0/8")      // RFC 5782 §2.1
	complaints = netip.MustParsePrefix("127.255.255.0/24") // by convention of the large lists
)

// ask returns the answers to one name in a list; none when it is not listed.
func (l *nameList) ask(ctx context.Context, r dns.Resolver, name string) ([]netip.Addr, error) {
	addrs, _, err := r.Family(ctx, name, false) // RFC 5782 §2.1: A records only, of IPv6 lists too
	switch {
	case errors.Is(err, dns.ErrNoDomain), errors.Is(err, dns.ErrNoRecord):
		return nil, nil
	case err != nil:
		return nil, err
	}
	var codes []netip.Addr
	for _, a := range addrs {
		switch a = a.Unmap(); {
		case complaints.Contains(a):
			return nil, fmt.Errorf("%w %s", errRefused, a)
		case answers.Contains(a):
			codes = append(codes, a)
		case a.Is4(): // a provider that answers for names that do not exist
			return nil, fmt.Errorf("%w %s, which no list gives", errRefused, a)
		}
	}
	return codes, nil
}

// weight is what the answers come to: the heaviest.
func (l *nameList) weight(codes []netip.Addr) float64 {
	best := 0.0
	for i, a := range codes {
		w, bits := l.Weight, -1
		for p, weight := range l.Codes {
			if p.Contains(a) && p.Bits() > bits {
				w, bits = weight, p.Bits()
			}
		}
		if i == 0 || w > best && best >= 0 || w < 0 && w < best {
			best = w
		}
	}
	return best
}

// question is one name for one list.
type question struct {
	list *nameList
	name string // in the DNS
	of   string // for people
}

// askLists asks all usable lists about a client and the domains of a message, at once and within one
// budget. A list that fails says nothing.
func (j *Judge) askLists(ctx context.Context, client netip.Addr, domains []string) []sign.Sign {
	var all []question
	for _, l := range j.lists.all {
		if j.lists.resolver == nil || !l.usable() {
			continue
		}
		if l.Kind == ListDomain {
			for _, d := range domains {
				all = append(all, question{l, d + "." + l.Zone, d})
			}
		} else if client.IsValid() {
			all = append(all, question{l, dns.ListName(client, l.Zone), client.Unmap().String()})
		}
	}
	if len(all) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, j.o.Limits.LookUps)
	defer cancel()
	found := make([]sign.Sign, len(all))
	var wg sync.WaitGroup
	for i, q := range all {
		wg.Go(func() { found[i] = j.askOne(ctx, q) })
	}
	wg.Wait()
	return worst(found)
}

func (j *Judge) askOne(ctx context.Context, q question) sign.Sign {
	codes, err := q.list.ask(ctx, j.lists.resolver, q.name)
	outcome := "unlisted"
	switch {
	case errors.Is(err, errRefused):
		outcome = "refused"
		j.setOff(q.list, err.Error())
	case err != nil:
		outcome = "failed"
	case len(codes) > 0:
		outcome = "listed"
	}
	listAnswers.WithLabelValues(q.list.Zone, outcome).Inc()
	if outcome != "listed" {
		return sign.Sign{}
	}
	s := sign.Sign{Name: signListed, Score: q.list.weight(codes), Detail: q.of + " in " + q.list.Zone}
	switch {
	case q.list.Kind == ListDomain && s.Score > 0:
		s.Name = signListedDomain
	case s.Score < 0:
		s.Name = signVouched
	case s.Score == 0:
		return sign.Sign{}
	}
	return s
}

// worst keeps one sign for each list of domains: a message with ten bad links is as bad as with one.
func worst(found []sign.Sign) []sign.Sign {
	slices.SortStableFunc(found, func(a, b sign.Sign) int {
		switch {
		case a.Score > b.Score:
			return -1
		case a.Score < b.Score:
			return 1
		}
		return 0
	})
	var out []sign.Sign
	seen := map[string]bool{}
	for _, s := range found {
		_, zone, _ := strings.Cut(s.Detail, " in ")
		if s.Name == "" || seen[s.Name+zone] {
			continue
		}
		seen[s.Name+zone] = true
		out = append(out, s)
	}
	return out
}
