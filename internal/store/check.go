package store

import (
	"context"
	"errors"
	"fmt"

	"tram/internal/blob"
	"tram/internal/kv"
)

// CheckOptions say how far Check goes.
type CheckOptions struct {
	Account AccountID // 0: all, and what is between them
	Deep    bool      // also read every body, verify its hash and parse it again
	// Progress, when not nil, is called now and then; total is 0 while it is not known.
	Progress func(done, total int64, what string)
}

// Finding is something that is not as it must be.
type Finding struct {
	Account    AccountID
	Kind       string // short and stable: "counter", "uidnext", "list-state", "blob-missing"
	Where      string // mailbox, email or key
	What       string // a sentence
	Repairable bool   // what is wrong can be made anew from what is there, without losing mail
}

// Check verifies every invariant of what is stored, each account in one snapshot, while the server
// runs. It reports what it finds and changes nothing. Damage never ends it: an account that cannot
// be read to its end is a finding, and the next one is looked at. An error means that the check
// could not be made.
func (s *Store) Check(ctx context.Context, o CheckOptions, report func(Finding)) error {
	c := &checker{s: s, ctx: ctx, o: o, report: report}
	ids, err := c.accounts()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := c.account(id); err != nil {
			return fmt.Errorf("check account %d: %w", id, err)
		}
	}
	if o.Account != 0 {
		return nil
	}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"references to bodies", c.links}, {"unreferenced bodies", c.leaks}, {"domains", c.domains},
		{"annotations of domains", c.domainAnnotations}, {"shares", c.shares},
	} {
		if err := c.bear(step.what, step.do()); err != nil {
			return wrap(err, "check "+step.what)
		}
	}
	return nil
}

// accounts returns the accounts to look at, and counts the emails that they say they have.
func (c *checker) accounts() ([]AccountID, error) {
	var ids []AccountID
	err := c.s.eachAccount(c.ctx, func(id AccountID, row *accountRow) error {
		if c.o.Account != 0 && c.o.Account != id {
			return nil
		}
		ids = append(ids, id)
		if row != nil {
			c.total += row.Usage.Messages + row.Usage.RecoverableMessages
		}
		return nil
	})
	if err == nil && len(ids) == 0 && c.o.Account != 0 {
		ids = []AccountID{c.o.Account}
	}
	return ids, err
}

// bear makes a finding of an error that tells of damage; any other it returns.
func (c *checker) bear(what string, err error) error {
	if err == nil || c.ctx.Err() != nil ||
		!errors.Is(err, kv.ErrCorrupt) && !errors.Is(err, ErrDamaged) {
		return err
	}
	c.find("damaged", what, true, "cannot be read any further: %v", err)
	return nil
}

// checker is one run of Check; the fields below are of the account that is being checked.
type checker struct {
	s      *Store
	ctx    context.Context
	o      CheckOptions
	report func(Finding)

	id    AccountID
	tx    *Tx
	boxes map[MailboxID]*boxCheck
	words *KeywordTable

	usage   Usage
	threads map[ThreadID]int // emails by thread
	hurt    hurt

	done, total int64 // emails, of all accounts
}

// hurt is what a repair of the account wants to know beside that something is wrong.
type hurt struct {
	found   bool              // something that a repair can put right
	emails  map[EmailID]bool  // whose row is to be made again from the body
	bodies  map[EmailID]bool  // whose body cannot be read
	links   map[EmailID]bool  // whose body does not know of them
	threads map[ThreadID]bool // whose row is to be made again
	index   bool              // the text index is to be made again
}

func newHurt() hurt {
	return hurt{
		emails: map[EmailID]bool{}, bodies: map[EmailID]bool{}, links: map[EmailID]bool{},
		threads: map[ThreadID]bool{},
	}
}

// boxCheck is a mailbox with its list as the rows have it.
type boxCheck struct {
	row  mailboxRow
	name string
	list *List
	// claimed has a bit for each entry that an email's state row names.
	claimed []uint64
}

func (c *checker) find(kind, where string, repairable bool, format string, args ...any) {
	c.hurt.found = c.hurt.found || repairable
	c.report(Finding{
		Account: c.id, Kind: kind, Where: where, What: fmt.Sprintf(format, args...),
		Repairable: repairable,
	})
}

// bad reports a row that cannot be decoded.
func (c *checker) bad(key []byte, err error, repairable bool) {
	c.find("damaged", describeKey(key), repairable, "%v", err)
}

// step counts one email. What an account says of itself may be wrong: the end never comes early.
func (c *checker) step(what string) {
	c.done++
	c.total = max(c.total, c.done)
	if c.o.Progress != nil && (c.done%64 == 0 || c.done == c.total) {
		c.o.Progress(c.done, c.total, what)
	}
}

func (c *checker) account(id AccountID) error {
	a := c.s.Account(id)
	c.id, c.hurt = id, newHurt()
	err := c.s.db.View(c.ctx, a.scope(), func(r kv.Reader) error {
		c.tx = a.newTx(c.ctx, r, nil)
		defer c.tx.end()
		c.boxes, c.threads = map[MailboxID]*boxCheck{}, map[ThreadID]int{}
		c.usage = Usage{}
		err := c.tx.begin()
		switch {
		case errors.Is(err, ErrDamaged):
			c.find("damaged", "account row", true, "%v", err)
			return nil
		case errors.Is(err, errUnprovisioned):
			c.find("account-row", "account row", true, "rows of an account without account row")
			return nil
		case errors.Is(err, ErrNotFound):
			return nil // removed since it was listed
		case err != nil:
			return err
		}
		for _, step := range []func() error{
			c.keywords, c.mailboxes, c.names, c.lists, c.emailRows, c.stateRows, c.claims,
			c.threadRows, c.threadIndex, c.recoverables, c.log, c.expunged, c.annotations, c.sharing,
			c.rest, c.sums, c.index,
		} {
			if err := step(); err != nil {
				return err
			}
		}
		return nil
	})
	return c.bear("account", err)
}

// scan goes over the rows of one kind of the account.
func (c *checker) scan(kind byte, fn func(key, value []byte) error) error {
	return c.tx.r.Scan(kv.Prefix(appendKey(nil, c.id, kind)), func(key, value []byte) error {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		return fn(key, value)
	})
}

func (c *checker) keywords() error {
	words, err := c.tx.Keywords()
	if errors.Is(err, ErrDamaged) {
		c.find("damaged", "keyword table", true, "the keywords' names are lost: %v", err)
		words, c.tx.words, err = noKeywords, noKeywords, nil
	}
	if err != nil {
		return err
	}
	c.words = words
	for i, name := range words.names {
		if checkKeyword(name) != nil {
			c.find("keyword", "keyword table", true, "keyword %d is %q", i, name)
		}
		if words.index(name) != i {
			c.find("keyword", "keyword table", true, "keyword %q is there twice", name)
		}
	}
	return nil
}

// sums compares the account row with what was counted.
func (c *checker) sums() error {
	row := &c.tx.row
	if row.Usage != c.usage {
		c.find("usage", "account row", true, "has usage %+v, counted %+v", row.Usage, c.usage)
	}
	if int(row.Mailboxes) != len(c.boxes) {
		c.find("counter", "account row", true, "has %d mailboxes, counted %d",
			row.Mailboxes, len(c.boxes))
	}
	if row.Limited && row.Domain == "" {
		c.find("domain", "account row", true, "limited by a domain that has no name")
	}
	return nil
}

// rest looks at the small rows that stand by themselves, and for rows of no known kind.
func (c *checker) rest() error {
	err := c.scan(kindDedupe, func(key, value []byte) error {
		if _, _, err := decodeDedupe(key, value); len(value) > 0 && err != nil {
			c.bad(key, err, true)
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = c.scan(kindSubscribe, func(key, value []byte) error {
		if _, err := unseal(key, value); err != nil {
			c.bad(key, err, true)
		}
		return nil
	})
	if err == nil {
		err = c.lineForms()
	}
	for kind := 0; kind < 256 && err == nil; kind++ {
		if _, known := kindNames[byte(kind)]; known && kind != kindDomain && kind != kindShare {
			continue
		}
		r := kv.Prefix(appendKey(nil, c.id, byte(kind)))
		r.Limit, r.KeysOnly = 1, true
		err = c.tx.r.Scan(r, func(key, _ []byte) error {
			c.find("unknown", describeKey(key), true, "a row of a kind that is not known")
			return nil
		})
	}
	return err
}

// links looks for references to bodies that no email has: they would keep the bodies for ever. It
// may be that the email's rows are lost and its body is not.
func (c *checker) links() error {
	c.hurt = newHurt()
	return c.s.blobs.EachReference(c.ctx, func(ref blob.Reference) error {
		account, email, ours := ownerOf(ref.Owner)
		if err := c.ctx.Err(); err != nil || !ours && ref.Err == nil {
			return err
		}
		if c.id = account; ref.Err != nil {
			c.find("blob-link", fmt.Sprintf("body %s", ref.ID), true,
				"whether it is referred to cannot be read: %v", ref.Err)
			return nil
		}
		if !ref.Live {
			return nil
		}
		a := c.s.Account(account)
		// A later snapshot: what is missing in it must be missing together with the reference.
		return c.s.db.View(c.ctx, a.scope(), func(r kv.Reader) error {
			_, err := r.Get(key64(nil, a.id, kindEmail, uint64(email)))
			if !errors.Is(err, kv.ErrNotFound) {
				return err
			}
			stands, err := c.s.blobs.Linked(r, blob.Ref{ID: ref.ID}, ref.Owner)
			if stands {
				c.find("blob-orphan", fmt.Sprintf("body %s", ref.ID), true,
					"referred to by email %d, which does not exist", email)
			}
			return err
		})
	})
}

// ownerOf takes what an email is to the blob store apart, see Tx.owner.
func ownerOf(owner []byte) (id AccountID, email EmailID, ours bool) {
	if len(owner) != 17 || owner[0] != space {
		return 0, 0, false
	}
	account, rest, err := kv.TakeUint64(owner[1:])
	return AccountID(account), emailOfKey(rest), err == nil
}

// leaks looks for bodies that nobody refers to and nobody will ever remove.
func (c *checker) leaks() error {
	c.id, c.hurt = 0, newHurt()
	return c.s.blobs.Unreachable(c.ctx, func(id blob.ID) error {
		c.find("blob-leak", fmt.Sprintf("body %s", id), true,
			"nothing refers to it, and nothing says that it may go")
		return nil
	})
}

// domains compares what domains have granted with what accounts have taken.
func (c *checker) domains() error {
	return c.s.db.View(c.ctx, "", func(r kv.Reader) error {
		c.id, c.hurt = 0, newHurt()
		prefix := appendKey(nil, 0, kindDomain)
		sums := map[string]Usage{}
		rows := map[string]domainRow{}
		err := r.Scan(kv.Prefix(prefix), func(key, value []byte) error {
			domain, rest, err := kv.TakeString(key[len(prefix):])
			switch {
			case err == nil && len(rest) == 0:
				rows[domain], err = decodeDomain(key, value)
			case err == nil && len(rest) == 8:
				var g grant
				if g, err = decodeGrant(key, value); err == nil {
					u := sums[domain]
					u.Bytes += g.Bytes
					u.Messages += g.Messages
					sums[domain] = u
					return c.member(r, domain, AccountID(emailOfKey(rest)), g)
				}
			case err == nil:
				err = damaged(key, "key of the wrong length")
			}
			if err != nil {
				c.bad(key, err, true)
			}
			return nil
		})
		for domain, sum := range sums {
			if rows[domain].Granted != sum {
				c.find("domain", "domain "+domain, true, "has granted %+v, its members have %+v",
					rows[domain].Granted, sum)
			}
		}
		return err
	})
}

// member compares the two sides of a grant: the account's is never more, in the same epoch.
func (c *checker) member(r kv.Reader, domain string, id AccountID, g grant) error {
	tx := c.s.Account(id).newTx(c.ctx, r, nil)
	if err := tx.begin(); err != nil || tx.row.Domain != domain || tx.row.Grant.Epoch != g.Epoch {
		return nil // a change that was cut short: Maintain settles it
	}
	if own := tx.row.Grant; own.Bytes > g.Bytes || own.Messages > g.Messages {
		c.find("domain", fmt.Sprintf("account %d of domain %s", id, domain), true,
			"the account has the grant %+v, its domain gave %+v", own, g)
	}
	return nil
}
