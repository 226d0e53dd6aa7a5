package store

import (
	"slices"
	"strings"
)

// accountRow is what is true of the account as a whole; every transaction that changes anything
// writes it.
//
//	removed:1 modseq logFloor nextMailbox nextEmail nextThread uidValidity mailboxes
//	bytes messages recoverableBytes recoverableMessages quotaBytes quotaMessages
//	domain(string) limited:1 grantEpoch grantBytes grantMessages
//	n { role mailbox } [ folders:1 ]
//
// folders is there when it is not 0.
type accountRow struct {
	Removed  bool   // nothing is left but this row: the account cannot come back by accident
	ModSeq   ModSeq // of the last transaction
	LogFloor ModSeq // the change log holds what came after it

	NextMailbox MailboxID
	NextEmail   EmailID
	NextThread  ThreadID
	UIDValidity uint32 // the last one given out
	Mailboxes   uint32 // how many there are

	Usage Usage
	Quota Quota

	Domain  string // whose quota counts, "" for none
	Limited bool   // the domain has a quota: the account may use no more than Grant
	Grant   grant

	Roles []roleEntry // by role

	// Folders says that these are the shared folders of Domain, which have no owner and no INBOX.
	Folders bool
}

type roleEntry struct {
	Role    Role
	Mailbox MailboxID
}

// grant is the part of the domain's quota that is the account's to use. See domain.go.
type grant struct {
	Epoch           uint64
	Bytes, Messages int64
}

func (a *accountRow) append(dst []byte) []byte {
	dst = appendBool(append(dst, version1), a.Removed)
	dst = appendUint(appendUint(dst, a.ModSeq), a.LogFloor)
	dst = appendUint(appendUint(appendUint(dst, a.NextMailbox), a.NextEmail), a.NextThread)
	dst = appendUint(appendUint(dst, a.UIDValidity), a.Mailboxes)
	u := a.Usage
	dst = appendUint(appendUint(dst, uint64(u.Bytes)), uint64(u.Messages))
	dst = appendUint(appendUint(dst, uint64(u.RecoverableBytes)), uint64(u.RecoverableMessages))
	dst = appendUint(appendUint(dst, uint64(a.Quota.Bytes)), uint64(a.Quota.Messages))
	dst = appendBool(appendBytes(dst, a.Domain), a.Limited)
	dst = appendUint(dst, a.Grant.Epoch)
	dst = appendUint(appendUint(dst, uint64(a.Grant.Bytes)), uint64(a.Grant.Messages))
	dst = appendUint(dst, uint64(len(a.Roles)))
	for _, r := range a.Roles {
		dst = appendUint(appendUint(dst, r.Role), r.Mailbox)
	}
	if a.Folders {
		dst = append(dst, 1)
	}
	return dst
}

func decodeAccount(key, value []byte) (accountRow, error) {
	d, err := unseal(key, value)
	if err != nil {
		return accountRow{}, err
	}
	a := accountRow{
		Removed: d.byte() != 0, ModSeq: ModSeq(d.uint()), LogFloor: ModSeq(d.uint()),
		NextMailbox: MailboxID(d.uint32()), NextEmail: EmailID(d.uint()),
		NextThread: ThreadID(d.uint()), UIDValidity: d.uint32(), Mailboxes: d.uint32(),
	}
	a.Usage = Usage{
		Bytes: int64(d.uint()), Messages: int64(d.uint()),
		RecoverableBytes: int64(d.uint()), RecoverableMessages: int64(d.uint()),
	}
	a.Quota = Quota{Bytes: int64(d.uint()), Messages: int64(d.uint())}
	a.Domain, a.Limited = d.string(), d.byte() != 0
	a.Grant = grant{Epoch: d.uint(), Bytes: int64(d.uint()), Messages: int64(d.uint())}
	if n := d.count(2); n > 0 {
		a.Roles = make([]roleEntry, n)
	}
	for i := range a.Roles {
		a.Roles[i] = roleEntry{Role: Role(d.uint()), Mailbox: MailboxID(d.uint32())}
	}
	if len(d.b) > 0 {
		if a.Folders = d.byte() == 1; !a.Folders {
			d.fail()
		}
	}
	return a, d.done(key)
}

// role returns the mailbox with role r, or 0.
func (a *accountRow) role(r Role) MailboxID {
	for _, e := range a.Roles {
		if e.Role == r {
			return e.Mailbox
		}
	}
	return 0
}

// setRole gives r to m; m 0 takes it away.
func (a *accountRow) setRole(r Role, m MailboxID) {
	i, found := slices.BinarySearchFunc(a.Roles, r, func(e roleEntry, r Role) int {
		return int(e.Role) - int(r)
	})
	switch {
	case r == NoRole:
	case m == 0 && found:
		a.Roles = slices.Delete(slices.Clone(a.Roles), i, i+1)
	case found:
		a.Roles = slices.Clone(a.Roles)
		a.Roles[i].Mailbox = m
	case m != 0:
		a.Roles = slices.Insert(slices.Clone(a.Roles), i, roleEntry{r, m})
	}
}

// append encodes the keyword table:
//
//	n { name(string) }
func (t *KeywordTable) append(dst []byte) []byte {
	dst = appendUint(append(dst, version1), uint64(len(t.names)))
	for _, n := range t.names {
		dst = appendBytes(dst, n)
	}
	return dst
}

func decodeKeywords(key, value []byte) (*KeywordTable, error) {
	d, err := unseal(key, value)
	if err != nil {
		return nil, err
	}
	t := &KeywordTable{names: make([]string, d.count(1))}
	for i := range t.names {
		t.names[i] = d.string()
	}
	return t, d.done(key)
}

// index returns the place of a keyword, or -1.
func (t *KeywordTable) index(name string) int {
	return slices.IndexFunc(t.names, func(n string) bool { return strings.EqualFold(n, name) })
}
