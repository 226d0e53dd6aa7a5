package imapd

import (
	"context"
	"sync"
	"time"

	"tram/internal/store"
)

// recentClaims remembers, for the mailboxes of an account, up to which UID some IMAP4rev1 session
// was told of a message first: the later ones are \Recent to the session that hears of them next
// (RFC 3501 §2.3.2). The store learns of it when the account's last session ends, so that opening a
// mailbox writes nothing. A crash, or another node, may show a message as recent twice: the RFC
// wants doubt to be settled that way.
//
// In another's mailbox the flag is its owner's: to others those messages are recent that come while
// they have the mailbox open. That is written down nowhere.
type recentClaims struct {
	theirs bool
	mu     sync.Mutex
	until  map[store.MailboxID]store.UID
}

// from returns the first UID that is nobody's yet.
func (r *recentClaims) from(m *store.Mailbox) store.UID {
	if until := r.until[m.ID]; r.theirs && until != 0 {
		return until
	}
	return max(r.until[m.ID], m.RecentFrom) // which is UIDNext in another's mailbox
}

// next returns the first UID that is nobody's yet.
func (r *recentClaims) next(m *store.Mailbox) store.UID {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.from(m)
}

// claim takes all UIDs up to uidNext for a session; keep leaves them to the next one (EXAMINE).
func (r *recentClaims) claim(m *store.Mailbox, keep bool) store.UIDRange {
	r.mu.Lock()
	defer r.mu.Unlock()
	from := r.from(m)
	if from >= m.UIDNext && !r.theirs {
		return store.UIDRange{}
	}
	if !keep {
		if r.until == nil {
			r.until = map[store.MailboxID]store.UID{}
		}
		r.until[m.ID] = m.UIDNext
	}
	if from >= m.UIDNext {
		return store.UIDRange{}
	}
	return store.UIDRange{First: from, Last: m.UIDNext - 1}
}

// keepTime bounds keepRecent.
const keepTime = 5 * time.Second

// keepRecent writes the claims down once nobody of the account is there any more.
func (s *session) keepRecent() {
	r := &s.account.recent
	r.mu.Lock()
	until := r.until
	r.until = nil
	r.mu.Unlock()
	if len(until) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), keepTime)
	defer cancel()
	err := s.account.Update(ctx, func(tx *store.Tx) error {
		for id := range until {
			if _, err := tx.Mailbox(id); err != nil {
				continue // deleted meanwhile
			}
			if _, err := tx.ClaimRecent(id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && !isAny(err, store.ErrFull, store.ErrNotFound) {
		s.log("imap recent messages not noted", err)
	}
}

// claimRecent makes what is new in the mailbox \Recent to this session, if it knows the flag.
func (s *session) claimRecent(v *view, m *store.Mailbox) {
	if s.mode.rev2 {
		return
	}
	r := v.account.recent.claim(m, v.readOnly)
	switch n := len(v.recent); {
	case r.First == 0:
	case n > 0 && v.recent[n-1].Last >= r.First:
		v.recent[n-1].Last = r.Last // EXAMINE took nothing, and hears of the same again
	default:
		v.recent = append(v.recent, r)
	}
}

// isRecent reports whether a message is \Recent to the session.
func (v *view) isRecent(uid store.UID) bool {
	for _, r := range v.recent {
		if r.First <= uid && uid <= r.Last {
			return true
		}
	}
	return false
}

// recentCount counts the messages that are \Recent to the session.
func (v *view) recentCount() int {
	n := 0
	for _, r := range v.recent {
		from, _ := v.list.Find(r.First)
		to, found := v.list.Find(r.Last)
		if found {
			to++
		}
		n += to - from
	}
	return n
}
