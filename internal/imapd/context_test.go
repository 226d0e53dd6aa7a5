package imapd

import (
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tram/internal/clock"
	"tram/internal/imap"
	"tram/internal/limits"
)

// watcher is a client with contexts (RFC 5267): it believes what ADDTO and REMOVEFROM tell it.
type watcher struct {
	t       *testing.T
	w       *wire
	results map[string]*watched
	count   int
}

type watched struct {
	search string // the command without RETURN
	uid    bool
	sorted bool
	list   []uint32
}

var (
	updateLine = regexp.MustCompile(`^\* ESEARCH \(TAG "([^"]+)"\)( UID)?(.*)$`)
	updateItem = regexp.MustCompile(`^ (ADDTO|REMOVEFROM) \(([0-9:, ]+)\)`)
	allItem    = regexp.MustCompile(` ALL ([0-9:,]+)`)
)

// expand lists the numbers of a set in the order in which they stand.
func expandSet(t *testing.T, set string) []uint32 {
	t.Helper()
	parsed, ok := imap.ParseNumSet(set)
	if !ok {
		t.Fatalf("set %q", set)
	}
	var out []uint32
	for _, r := range parsed.Ranges {
		for n := r.Start; n <= r.Stop; n++ {
			out = append(out, n)
		}
	}
	return out
}

// run sends a command and takes in the replies.
func (c *watcher) run(format string, args ...any) (lines []string) {
	c.t.Helper()
	c.count++
	tag := fmt.Sprint("t", c.count)
	c.w.say(c.t, tag+" "+format, args...)
	for {
		line, err := c.w.r.ReadString('\n')
		if err != nil {
			c.t.Fatal(err)
		}
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, tag+" ") {
			if !strings.HasPrefix(line, tag+" OK") {
				c.t.Fatalf(format+": "+line, args...)
			}
			return lines
		}
		lines = append(lines, line)
		c.hear(line)
	}
}

// hear applies an untagged reply.
func (c *watcher) hear(line string) {
	c.t.Helper()
	var n uint32
	if k, _ := fmt.Sscanf(line, "* %d EXPUNGE", &n); k == 1 && strings.HasSuffix(line, "EXPUNGE") {
		for tag, r := range c.results {
			for i, have := range r.list {
				switch {
				case r.uid:
				case have == n:
					c.t.Fatalf("%s: %d is expunged and still in the result", tag, n)
				case have > n:
					r.list[i]--
				}
			}
		}
		return
	}
	m := updateLine.FindStringSubmatch(line)
	if m == nil || c.results[m[1]] == nil {
		return
	}
	r := c.results[m[1]]
	for rest := m[3]; rest != ""; {
		item := updateItem.FindStringSubmatch(rest)
		if item == nil {
			return // the answer to the search itself
		}
		rest = rest[len(item[0]):]
		words := strings.Fields(item[2])
		for i := 0; i < len(words); i += 2 {
			at, err := strconv.Atoi(words[i])
			if err != nil || r.sorted != (at > 0) {
				c.t.Fatalf("%q: position %q", line, words[i])
			}
			c.apply(r, item[1] == "ADDTO", at, expandSet(c.t, words[i+1]), line)
		}
	}
}

func (c *watcher) apply(r *watched, add bool, at int, set []uint32, line string) {
	c.t.Helper()
	switch {
	case add && r.sorted:
		r.list = slices.Insert(r.list, at-1, set...)
	case add:
		r.list = append(r.list, set...)
		slices.Sort(r.list)
	case r.sorted:
		if !slices.Equal(r.list[at-1:at-1+len(set)], set) {
			c.t.Fatalf("%q does not fit %v", line, r.list)
		}
		r.list = slices.Delete(r.list, at-1, at-1+len(set))
	default:
		for _, n := range set {
			i := slices.Index(r.list, n)
			if i < 0 {
				c.t.Fatalf("%q: %d is not in the result %v", line, n, r.list)
			}
			r.list = slices.Delete(r.list, i, i+1)
		}
	}
}

// search runs a search of a context and returns its result.
func (c *watcher) search(r *watched, options string) []uint32 {
	c.t.Helper()
	name, rest, _ := strings.Cut(strings.TrimPrefix(r.search, "UID "), " ")
	if r.uid {
		name = "UID " + name
	}
	for _, line := range c.run("%s RETURN (%s) %s", name, options, rest) {
		if m := allItem.FindStringSubmatch(line); m != nil && strings.Contains(line, fmt.Sprintf(`"t%d"`, c.count)) {
			return expandSet(c.t, m[1])
		}
	}
	return nil
}

// watch begins a context.
func (c *watcher) watch(search string) {
	c.t.Helper()
	r := &watched{
		search: search, uid: strings.HasPrefix(search, "UID "), sorted: strings.Contains(search, "SORT "),
	}
	r.list = c.search(r, "UPDATE ALL")
	c.results[fmt.Sprint("t", c.count)] = r
}

// TestContextModel has two clients change a mailbox at random, while one of them keeps results by what
// it is told of changes; they must always be those of a new search (RFC 5267 §4.3).
func TestContextModel(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 4))
	t.Logf("seed %d", seed)
	h := build(t, options{})
	var messages []sortable
	for n := range 60 {
		messages = append(messages, randomSortable(rng, n))
	}
	h.keep(messages)
	c := &watcher{t: t, w: h.loggedIn(), results: map[string]*watched{}}
	other := &watcher{t: t, w: h.loggedIn()}
	c.run("SELECT INBOX")
	other.run("SELECT INBOX")
	for _, search := range []string{
		"SEARCH ALL", "SEARCH UNSEEN", "UID SEARCH FLAGGED", "SEARCH OR SUBJECT apple KEYWORD $x",
		"SORT (SUBJECT REVERSE DATE) UTF-8 UNDELETED", "UID SORT (FROM) UTF-8 OR SEEN FLAGGED",
		"UID SORT (REVERSE ARRIVAL) UTF-8 ALL", "SORT (SIZE) UTF-8 SUBJECT banana", "UID SEARCH UID 30:*",
	} {
		c.watch(search)
	}
	count := func() int {
		return len(c.search(&watched{search: "SEARCH ALL"}, "ALL"))
	}
	for range 120 {
		who := []*watcher{c, other}[rng.IntN(2)]
		other.run("NOOP")
		c.run("NOOP")
		n := count()
		flag := []string{`\Seen`, `\Flagged`, `\Deleted`, "$x"}[rng.IntN(4)]
		switch k := rng.IntN(10); {
		case n == 0 || k < 2:
			var more []sortable
			for i := range 1 + rng.IntN(3)*rng.IntN(25) {
				more = append(more, randomSortable(rng, i))
			}
			h.keep(more)
		case k < 8:
			from := 1 + rng.IntN(n)
			who.run("STORE %d:%d %sFLAGS (%s)", from, min(n, from+rng.IntN(4)), []string{"+", "-"}[rng.IntN(2)], flag)
		case k < 9:
			c.run("FETCH 1 (FLAGS)")
		default:
			who.run("EXPUNGE")
		}
		if rng.IntN(2) == 0 {
			c.run("CHECK")
		}
		c.run("NOOP")
		for tag, r := range c.results {
			fresh := *r
			want := c.search(&fresh, "ALL")
			if r.search == "UID SEARCH UID 30:*" {
				continue // its "*" is never below what it was
			}
			if !slices.Equal(r.list, want) {
				t.Fatalf("%s %s:\n told %v\nfound %v", tag, r.search, r.list, want)
			}
		}
	}
}

// TestContextLimits: a client that asks for too much is told so, and has the rest of its answer
// (RFC 5267 §4.3.1).
func TestContextLimits(t *testing.T) {
	t.Parallel()
	h := build(t, options{limits: func(l *limits.IMAP) { l.Contexts, l.ContextMessages = 2, 20 }})
	h.fill("INBOX", 1, 15)
	w := h.loggedIn()
	w.say(t, "a SELECT INBOX")
	w.want(t, "a OK")
	for _, step := range []struct{ say, want string }{
		{"b1 SEARCH RETURN (UPDATE COUNT) ALL", `* ESEARCH (TAG "b1") COUNT 15`},
		{"b2 SORT RETURN (UPDATE COUNT) (DATE) UTF-8 ALL", `* ESEARCH (TAG "b2") COUNT 15`},
		{"b3 UID SEARCH RETURN (UPDATE COUNT) ALL", `* NO [NOUPDATE "b3"] Too many contexts`},
	} {
		w.say(t, "%s", step.say)
		w.want(t, step.want)
		w.want(t, step.say[:2]+" OK")
	}
	// It grows beyond what may be held, and the largest goes.
	h.fill("INBOX", 16, 10)
	w.say(t, "c NOOP")
	w.want(t, `* ESEARCH (TAG "b2") ADDTO (16 16:25)`)
	w.want(t, `* NO [NOUPDATE "b2"] Contexts with too many messages`)
	w.want(t, "c OK")
	w.say(t, "d SORT RETURN (UPDATE MIN) (DATE) UTF-8 ALL")
	w.want(t, `* ESEARCH (TAG "d") MIN 1`)
	w.want(t, `* NO [NOUPDATE "d"]`)
	w.want(t, "d OK")
	h.fill("INBOX", 26, 1)
	w.say(t, "e NOOP")
	w.want(t, `* ESEARCH (TAG "b1") ADDTO (0 26)`)
	w.want(t, "e OK")
}

// TestSubtract compares with sets.
func TestSubtract(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 5))
	for range 2000 {
		var a, b imap.SetBuilder
		want := map[uint32]bool{}
		for n := uint32(1); n < 20; n++ {
			in, out := rng.IntN(2) == 0, rng.IntN(3) == 0
			if in {
				a.Add(n)
			}
			if out {
				b.Add(n)
			}
			want[n] = in && !out
		}
		got := subtract(a.Ranges, b.Ranges)
		for n := uint32(1); n < 20; n++ {
			if imap.ContainsNum(got, n) != want[n] {
				t.Fatalf("%v without %v: %v", a.Ranges, b.Ranges, got)
			}
		}
	}
	last := []imap.Range{{Start: 5, Stop: 1<<32 - 1}}
	got := subtract(last, []imap.Range{{Start: 1<<32 - 1, Stop: 1<<32 - 1}})
	if len(got) != 1 || got[0].Stop != 1<<32-2 {
		t.Errorf("the last UID: %v", got)
	}
}

// TestContextByClock: what grows too old leaves a result, once somebody looks (RFC 5032 §2).
func TestContextByClock(t *testing.T) {
	t.Parallel()
	// Messages 1 to 3 came at 15:00:01 to 15:00:03.
	c := clock.NewFake(time.Date(2026, 2, 7, 15, 0, 10, 0, time.UTC))
	h := build(t, options{clock: c})
	h.fill("INBOX", 1, 3)
	w := h.enter()
	w.say(t, "a SEARCH RETURN (UPDATE ALL) YOUNGER 89")
	w.want(t, `* ESEARCH (TAG "a") ALL 1:3`)
	w.want(t, "a OK")
	c.Advance(59 * time.Second)
	if got := w.untagged(t, "NOOP"); got != "" {
		t.Errorf("before a minute: %q", got)
	}
	c.Advance(22 * time.Second) // it is 15:01:31
	if got := w.untagged(t, "NOOP"); got != `* ESEARCH (TAG "a") REMOVEFROM (0 1)` {
		t.Errorf("after it: %q", got)
	}
}

// TestContextsGivenUp: when a result cannot be kept up to date, the client is told.
func TestContextsGivenUp(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	s := &session{srv: h.srv, ctx: context.Background()}
	s.sel = &view{}
	s.sel.contexts = []*searchContext{{tag: "a"}, {tag: "b"}}
	s.giveUpContexts(context.DeadlineExceeded)
	got := string(*s.buf())
	if !strings.HasPrefix(got, `* NO [NOUPDATE "a"] `) || !strings.Contains(got, "\n* NO [NOUPDATE \"b\"] ") ||
		s.sel.contexts != nil {
		t.Errorf("%q", got)
	}
	s.sel.contexts = []*searchContext{{tag: "a"}}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	*s.out, s.ctx = (*s.out)[:0], ctx
	s.giveUpContexts(context.Canceled)
	if len(*s.out) > 0 {
		t.Errorf("to a client that has left: %q", *s.out)
	}
}
