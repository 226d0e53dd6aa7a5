package directory

import (
	"context"
	"fmt"
	"slices"
)

// MaildropPolicy says what becomes of mail that a POP3 program has fetched and not deleted.
type MaildropPolicy uint8

// The policies, as RFC 2449 §6.7 tells them.
const (
	POP3Keep   MaildropPolicy = iota // it stays: EXPIRE NEVER
	POP3Delete                       // it goes when the session ends with QUIT: EXPIRE 0
	POP3Days                         // it goes so many days after it came: EXPIRE days
)

// maildropPolicies are the policies' names, in rows and for people.
var maildropPolicies = []string{POP3Keep: "keep", POP3Delete: "delete", POP3Days: "days"}

// String returns the policy's name.
func (p MaildropPolicy) String() string {
	if int(p) < len(maildropPolicies) {
		return maildropPolicies[p]
	}
	return fmt.Sprintf("policy %d", uint8(p))
}

// ParseMaildropPolicy is the inverse of String.
func ParseMaildropPolicy(s string) (MaildropPolicy, bool) {
	i := slices.Index(maildropPolicies, s)
	return MaildropPolicy(max(i, 0)), i >= 0
}

// Maildrop is what an account's POP3 programs see, and what becomes of it. The zero value shows the
// Inbox and touches nothing that programs do not delete.
type Maildrop struct {
	// Folders are the mailboxes that are shown, by the store's identifiers, which stay when a
	// mailbox is renamed and never become another's. None: the Inbox alone.
	Folders []uint32
	Policy  MaildropPolicy
	Days    int  // of POP3Days
	Seen    bool // what was fetched is marked as seen
}

// Bounds of the settings: every folder is read at each log-in, and a message's days are counted
// in whole ones.
const (
	MaxPOP3Folders = 50
	MaxPOP3Days    = 3650
)

// check says what is wrong with the settings; ErrInvalid.
func (p Maildrop) check() error {
	if len(p.Folders) > MaxPOP3Folders {
		return fmt.Errorf("%d folders, at most %d: %w", len(p.Folders), MaxPOP3Folders, ErrInvalid)
	}
	for i, f := range p.Folders {
		if f == 0 || slices.Contains(p.Folders[:i], f) {
			return fmt.Errorf("folder %d is none, or named twice: %w", f, ErrInvalid)
		}
	}
	if int(p.Policy) >= len(maildropPolicies) {
		return fmt.Errorf("%s: %w", p.Policy, ErrInvalid)
	}
	if p.Policy == POP3Days && (p.Days < 1 || p.Days > MaxPOP3Days) {
		return fmt.Errorf("%d days, from 1 to %d are possible: %w", p.Days, MaxPOP3Days, ErrInvalid)
	}
	if p.Policy != POP3Days && p.Days != 0 {
		return fmt.Errorf("%d days with policy %s: %w", p.Days, p.Policy, ErrInvalid)
	}
	return nil
}

// pop3Record is the settings in an account's row, which has none while they are the usual ones.
type pop3Record struct {
	Version int      `json:"v"` // pop3Version; others are not guessed at
	Folders []uint32 `json:"folders,omitempty"`
	Policy  string   `json:"policy,omitempty"`
	Days    int      `json:"days,omitempty"`
	Seen    bool     `json:"seen,omitempty"`
}

const pop3Version = 1

func newPOP3Record(p Maildrop) *pop3Record {
	if len(p.Folders) == 0 && p.Policy == POP3Keep && !p.Seen {
		return nil
	}
	r := &pop3Record{Version: pop3Version, Folders: p.Folders, Days: p.Days, Seen: p.Seen}
	if p.Policy != POP3Keep {
		r.Policy = p.Policy.String()
	}
	return r
}

// settings reads the record.
func (r *pop3Record) settings() (Maildrop, error) {
	if r == nil {
		return Maildrop{}, nil
	}
	if r.Version != pop3Version {
		return Maildrop{}, fmt.Errorf("version %d is not known: %w", r.Version, ErrInvalid)
	}
	p := Maildrop{Folders: r.Folders, Days: r.Days, Seen: r.Seen}
	var known bool
	if p.Policy, known = ParseMaildropPolicy(r.Policy); !known && r.Policy != "" {
		return Maildrop{}, fmt.Errorf("policy %q is not known: %w", r.Policy, ErrInvalid)
	}
	return p, p.check()
}

// orUsual reads the record, and takes one that makes no sense for the usual settings, with which
// nothing is deleted. Check tells the administrator.
func (r *pop3Record) orUsual() Maildrop {
	p, err := r.settings()
	if err != nil {
		return Maildrop{}
	}
	return p
}

// SetMaildrop changes what an account's POP3 programs see. Sessions that are open go on as they began.
// ErrNotFound, ErrInvalid.
func (d *Directory) SetMaildrop(ctx context.Context, id AccountID, p Maildrop) error {
	if err := p.check(); err != nil {
		return fmt.Errorf("set POP3 of account %d: %w", id, err)
	}
	return d.change(ctx, id, func(rec *accountRecord, _ *credentialRecord) error {
		rec.POP3 = newPOP3Record(p)
		return nil
	})
}

// checkPOP3 wants each account's POP3 settings to be such as SetMaildrop makes.
func (c *dirCheck) checkPOP3() error {
	for _, id := range c.accountIDs() {
		rec := c.accounts[id]
		_, bad := rec.POP3.settings()
		if bad == nil {
			continue
		}
		where := rec.Local + "@" + rec.Domain
		c.find("directory", where, true, "its POP3 settings make no sense: %v", bad)
		rec.POP3 = nil
		err := c.mend(where, "POP3 shows the Inbox again, and keeps what is fetched", func() error {
			c.accounts[id] = rec
			return write(c.fix, accountRow(id), rec)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
