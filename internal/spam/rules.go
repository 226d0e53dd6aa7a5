package spam

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"tram/internal/kv"
	"tram/internal/smtp"
)

// Scope is whose rules, thresholds and experience something is: "" the server's, "example.test" a
// domain's, "#17" an account's.
type Scope string

// Server is the scope of everybody.
const Server Scope = ""

// AccountScope is that of one person.
func AccountScope(id uint64) Scope { return Scope("#" + strconv.FormatUint(id, 10)) }

// Errors of the lists, for people.
var (
	ErrRule    = errors.New("not an address, a domain or a network")
	ErrTooMany = errors.New("the list is full")
	ErrNoRule  = errors.New("no such entry")
)

// RuleKind says what a Rule names. The order is that of precedence within one list.
type RuleKind byte

// The kinds.
const (
	RuleAddress RuleKind = 'a'
	RuleDomain  RuleKind = 'd' // with all below it
	RuleNetwork RuleKind = 'n'
)

// Rule is an entry of an allow or deny list.
type Rule struct {
	Allow   bool      `json:"allow"`
	Kind    RuleKind  `json:"kind"`
	Value   string    `json:"value"`
	Note    string    `json:"note,omitempty"`
	Created time.Time `json:"created"`
}

// maxNote bounds what an entry says about itself, in bytes.
const maxNote = 200

// ParseRule reads what a person writes: "someone@example.test", "example.test", "192.0.2.0/24" or
// "192.0.2.1".
func ParseRule(allow bool, text string) (Rule, error) {
	text = strings.TrimSpace(text)
	r := Rule{Allow: allow}
	if p, err := netip.ParsePrefix(text); err == nil {
		r.Kind, r.Value = RuleNetwork, p.Masked().String()
		return r, nil
	}
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		a = a.Unmap()
		r.Kind, r.Value = RuleNetwork, netip.PrefixFrom(a, a.BitLen()).String()
		return r, nil
	}
	if strings.Contains(text, "@") && !strings.HasPrefix(text, "@") {
		a, err := smtp.ParseAddress(text)
		if err != nil {
			return r, fmt.Errorf("%w: %q", ErrRule, text)
		}
		r.Kind, r.Value = RuleAddress, strings.ToLower(a.String())
		return r, nil
	}
	d, err := smtp.ParseDomain(strings.TrimPrefix(strings.TrimPrefix(text, "@"), "*."))
	if err != nil || strings.HasPrefix(d, "[") || !strings.Contains(d, ".") {
		return r, fmt.Errorf("%w: %q", ErrRule, text)
	}
	r.Kind, r.Value = RuleDomain, d
	return r, nil
}

// String is the entry as a list writes it.
func (r Rule) String() string {
	word := "deny"
	if r.Allow {
		word = "allow"
	}
	line := word + " " + r.Value
	if r.Note != "" {
		line += " # " + r.Note
	}
	return line
}

func (r Rule) key(scope Scope) []byte {
	return append(append(scopedKey(ruleSub, scope), byte(r.Kind)), r.Value...)
}

// Policy is which score has which consequence. 0: never.
type Policy struct {
	Junk       float64 `json:"junk"`
	Quarantine float64 `json:"quarantine"`
	Reject     float64 `json:"reject"`
}

// PolicyChange sets what is not nil in the thresholds of a scope.
type PolicyChange struct {
	Junk       *float64 `json:"junk,omitempty"`
	Quarantine *float64 `json:"quarantine,omitempty"`
	Reject     *float64 `json:"reject,omitempty"`
}

func (c PolicyChange) apply(p Policy) Policy {
	for _, f := range []struct{ to, from *float64 }{
		{&p.Junk, c.Junk}, {&p.Quarantine, c.Quarantine}, {&p.Reject, c.Reject},
	} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	return p
}

// book is what one scope has set, as it was read.
type book struct {
	read   time.Time
	rules  map[string]Rule // kind and value
	nets   []netip.Prefix  // of the rules, longest first
	policy PolicyChange
}

// ruleBooks are those that were read a moment ago. Lists are read whole: they are bounded, small as a
// rule, and a network can only be looked for in all of them.
type ruleBooks struct {
	mu    sync.Mutex
	books map[Scope]*book
}

const (
	booksKept = 4096
	bookTime  = 10 * time.Second
)

func ruleName(kind RuleKind, value string) string { return string(rune(kind)) + value }

// book returns the rules of a scope.
func (j *Judge) book(ctx context.Context, scope Scope) (*book, error) {
	now := j.o.Clock.Now()
	j.rules.mu.Lock()
	b := j.rules.books[scope]
	j.rules.mu.Unlock()
	if b != nil && within(now, b.read, bookTime) {
		return b, nil
	}
	b = &book{read: now}
	err := j.o.DB.View(ctx, scopeRules, func(r kv.Reader) error {
		if err := b.readPolicy(r, scope); err != nil {
			return err
		}
		return scanRules(r, scope, func(rule Rule) {
			if b.rules == nil {
				b.rules = map[string]Rule{}
			}
			b.rules[ruleName(rule.Kind, rule.Value)] = rule
			if p, err := netip.ParsePrefix(rule.Value); err == nil {
				b.nets = append(b.nets, p)
			}
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read rules of %q: %w", scope, err)
	}
	slices.SortFunc(b.nets, func(a, b netip.Prefix) int { return b.Bits() - a.Bits() })
	j.rules.mu.Lock()
	defer j.rules.mu.Unlock()
	if j.rules.books == nil || len(j.rules.books) >= booksKept {
		j.rules.books = map[Scope]*book{}
	}
	j.rules.books[scope] = b
	return b, nil
}

func (j *Judge) forgetBook(scope Scope) {
	j.rules.mu.Lock()
	defer j.rules.mu.Unlock()
	delete(j.rules.books, scope)
}

func (b *book) readPolicy(r kv.Reader, scope Scope) error {
	v, err := r.Get(scopedKey(policySub, scope))
	if errors.Is(err, kv.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return decode("thresholds", v, &b.policy)
}

func scanRules(r kv.Reader, scope Scope, fn func(Rule)) error {
	return r.Scan(kv.Prefix(scopedKey(ruleSub, scope)), func(_, value []byte) error {
		var rule Rule
		if err := decode("rule", value, &rule); err != nil {
			return err
		}
		fn(rule)
		return nil
	})
}

// party is somebody who a message says, or proves, has sent it.
type party struct {
	address string // lower case
	proved  bool
}

// match finds the rule of a book that says most exactly what to do with a message: an address before
// a domain, a longer domain before a shorter one, these before a network. unproved is a rule that
// would have allowed it, had the sender been who he says.
func (b *book) match(parties []party, addr netip.Addr) (found, unproved *Rule) {
	if len(b.rules) == 0 {
		return nil, nil
	}
	try := func(kind RuleKind, value string, proved bool) bool {
		r, ok := b.rules[ruleName(kind, value)]
		switch {
		case !ok:
		case r.Allow && !proved:
			unproved = &r
		case found == nil || !r.Allow: // of two equals the one that denies
			found = &r
		}
		return found != nil
	}
	for _, p := range parties {
		try(RuleAddress, p.address, p.proved)
	}
	if found != nil {
		return found, nil
	}
	for n := 0; n < 10 && found == nil; n++ {
		for _, p := range parties {
			if d := parent(p.address, n); d != "" {
				try(RuleDomain, d, p.proved)
			}
		}
	}
	if found != nil {
		return found, nil
	}
	for _, net := range b.nets {
		if net.Contains(addr.Unmap()) && try(RuleNetwork, net.String(), true) {
			return found, nil
		}
	}
	return nil, unproved
}

// parent is the domain of an address without its first n labels.
func parent(address string, n int) string {
	d := address[strings.LastIndexByte(address, '@')+1:]
	for range n {
		_, rest, ok := strings.Cut(d, ".")
		if !ok {
			return ""
		}
		d = rest
	}
	return d
}

// Policy returns the thresholds that hold in a list of scopes, the widest first.
func (j *Judge) policy(books []*book) Policy {
	p := j.o.Config.Policy
	for i := len(books) - 1; i >= 0; i-- {
		p = books[i].policy.apply(p)
	}
	return p
}

// Policy tells what a scope has set, and with what it is of the scopes above.
func (j *Judge) Policy(ctx context.Context, scopes ...Scope) (set PolicyChange, holds Policy, err error) {
	books, err := j.booksOf(ctx, scopes)
	if err != nil {
		return set, holds, err
	}
	return books[0].policy, j.policy(books), nil
}

// SetPolicy changes the thresholds of a scope. reset forgets what it had set.
func (j *Judge) SetPolicy(ctx context.Context, scope Scope, c PolicyChange, reset bool) error {
	err := j.o.DB.Update(ctx, scopeRules, func(tx kv.Txn) error {
		var b book
		if !reset {
			if err := b.readPolicy(tx, scope); err != nil {
				return err
			}
		}
		for _, f := range []struct {
			to   **float64
			from *float64
		}{{&b.policy.Junk, c.Junk}, {&b.policy.Quarantine, c.Quarantine}, {&b.policy.Reject, c.Reject}} {
			if f.from != nil {
				*f.to = f.from
			}
		}
		if b.policy == (PolicyChange{}) {
			return tx.Delete(scopedKey(policySub, scope))
		}
		v, err := encode(b.policy)
		if err != nil {
			return err
		}
		return tx.Set(scopedKey(policySub, scope), v)
	})
	j.forgetBook(scope)
	if err != nil {
		return fmt.Errorf("set thresholds: %w", err)
	}
	return nil
}

func (j *Judge) booksOf(ctx context.Context, scopes []Scope) ([]*book, error) {
	books := make([]*book, len(scopes))
	for i, s := range scopes {
		var err error
		if books[i], err = j.book(ctx, s); err != nil {
			return nil, err
		}
	}
	return books, nil
}

// Rules lists the entries of a scope, by kind and value.
func (j *Judge) Rules(ctx context.Context, scope Scope) ([]Rule, error) {
	j.forgetBook(scope)
	b, err := j.book(ctx, scope)
	if err != nil {
		return nil, err
	}
	var all []Rule
	for _, k := range slices.Sorted(maps.Keys(b.rules)) {
		all = append(all, b.rules[k])
	}
	return all, nil
}

// AddRules adds entries to a scope, or changes those that are there. All are added, or none.
func (j *Judge) AddRules(ctx context.Context, scope Scope, rules ...Rule) error {
	now := j.o.Clock.Now().UTC().Truncate(time.Second)
	err := j.o.DB.Update(ctx, scopeRules, func(tx kv.Txn) error {
		all := map[string]bool{}
		if err := scanRules(tx, scope, func(r Rule) { all[ruleName(r.Kind, r.Value)] = true }); err != nil {
			return err
		}
		for _, r := range rules {
			if r.Created.IsZero() {
				r.Created = now
			}
			r.Note = clip(strings.Join(strings.Fields(r.Note), " "), maxNote)
			all[ruleName(r.Kind, r.Value)] = true
			v, err := encode(r)
			if err != nil {
				return err
			}
			if err := tx.Set(r.key(scope), v); err != nil {
				return err
			}
		}
		if len(all) > j.o.Limits.Rules {
			return fmt.Errorf("%w: it may have %d entries (limits.spam.rules)", ErrTooMany, j.o.Limits.Rules)
		}
		return nil
	})
	j.forgetBook(scope)
	if err != nil {
		return fmt.Errorf("add to list: %w", err)
	}
	return nil
}

// RemoveRule takes an entry off the list of a scope, whichever way it decides.
func (j *Judge) RemoveRule(ctx context.Context, scope Scope, text string) error {
	rule, err := ParseRule(false, text)
	if err != nil {
		return err
	}
	err = j.o.DB.Update(kv.Freeing(ctx), scopeRules, func(tx kv.Txn) error {
		if _, err := tx.Get(rule.key(scope)); errors.Is(err, kv.ErrNotFound) {
			return fmt.Errorf("%w: %s", ErrNoRule, rule.Value)
		} else if err != nil {
			return err
		}
		return tx.Delete(rule.key(scope))
	})
	j.forgetBook(scope)
	return err
}

// maxImport bounds the lines of a list that is read.
const maxImport = 1000

// WriteRules writes a list as text, one entry a line: "allow someone@example.test # note".
func WriteRules(w io.Writer, rules []Rule) error {
	for _, r := range rules {
		if _, err := fmt.Fprintln(w, r); err != nil {
			return err
		}
	}
	return nil
}

// ReadRules reads what WriteRules writes. A line that begins with # is a comment. The error names the
// line.
func ReadRules(in io.Reader) ([]Rule, error) {
	var rules []Rule
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxImport)
	for n := 1; lines.Scan(); n++ {
		text, note, _ := strings.Cut(lines.Text(), "#")
		word, value, _ := strings.Cut(strings.TrimSpace(text), " ")
		switch word {
		case "":
			continue
		case "allow", "deny":
		default:
			return nil, fmt.Errorf("line %d: %q is neither allow nor deny", n, word)
		}
		r, err := ParseRule(word == "allow", value)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		r.Note = strings.TrimSpace(note)
		rules = append(rules, r)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read list: %w", err)
	}
	return rules, nil
}

// clip cuts s to n bytes, between characters.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}
