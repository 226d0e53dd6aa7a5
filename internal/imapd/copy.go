package imapd

import (
	"errors"

	"tram/internal/imap"
	"tram/internal/store"
)

// copy is COPY and UID COPY, RFC 9051 §6.4.7.
func (s *session) copy() error { return s.transfer(false) }

// move is MOVE and UID MOVE, RFC 9051 §6.4.8 and RFC 6851.
func (s *session) move() error { return s.transfer(true) }

// movingRights are what it takes to remove messages from a mailbox at once, RFC 6851 §4.2: the rights
// of STORE +FLAGS (\Deleted) and of EXPUNGE.
const movingRights = store.RightTrash | store.RightExpunge

// transfer copies or moves messages in one transaction: all or none.
func (s *session) transfer(move bool) error {
	s.dec.SP()
	set := s.dec.NumSet()
	s.dec.SP()
	name := s.dec.Mailbox()
	if err := s.args(); err != nil {
		return err
	}
	if move && s.sel.readOnly {
		return &no{"CANNOT", "Mailbox is open read-only"}
	}
	if move {
		if err := s.sel.may(movingRights); err != nil {
			return err
		}
	}
	nums, err := s.resolve(set)
	if err != nil {
		return err
	}
	spans, ghosts := s.sel.spans(nums)
	if ghosts {
		return s.someGone()
	}
	if move {
		spans, _ = s.sel.spans(s.within(nums))
	} else if err := s.copyLimit(nums); err != nil {
		return err
	}
	t, err := s.runTransfer(s.sel.uids(spans), name, move)
	if errors.Is(err, errSomeGone) {
		return s.someGone()
	}
	if err != nil {
		return s.gone(err)
	}
	if move && len(t.pairs) > 0 {
		// RFC 6851 §4.3: COPYUID comes before the EXPUNGEs.
		s.untagged("OK [%s] Moved", copyUID(t))
	}
	if err := s.tell(t.news, mayExpunge, nil); err != nil {
		return err
	}
	if !move && len(t.pairs) > 0 {
		s.code = copyUID(t)
	}
	return nil
}

// errSomeGone: some of the messages of a COPY or MOVE by number are there no more.
var errSomeGone = errors.New("messages are gone")

// someGone refuses a COPY or MOVE, of which nothing was done, and tells the client right away what is
// gone (RFC 2180 §4.4.2).
func (s *session) someGone() error {
	if err := s.catchUp(mayExpunge); err != nil {
		return err
	}
	return &no{"EXPUNGEISSUED", "Some of the messages are gone"}
}

// transferred is what a COPY or MOVE did.
type transferred struct {
	pairs       []store.UIDPair
	uidValidity uint32
	news        *news
}

// runTransfer does the work in one transaction, with the news that come of it.
func (s *session) runTransfer(uids []store.UID, name string, move bool) (t transferred, err error) {
	at, err := s.place(name)
	if err != nil {
		return t, tryCreate(err)
	}
	if !s.sees(at.account) {
		return s.transferAcross(uids, at, move)
	}
	update := s.updateSelected
	if move {
		update = s.freeingSelected
	}
	err = update(func(tx *store.Tx) error {
		id, validity, err := tx.FindMailbox(at.name)
		if err != nil {
			return tryCreate(err)
		}
		t.uidValidity = validity
		if err := s.allThere(tx, uids); err != nil {
			return err
		}
		act := tx.Copy
		if move {
			act = tx.Move
		}
		if t.pairs, err = act(s.sel.id, uids, id); err != nil {
			return err
		}
		t.news, err = s.learn(tx)
		return err
	})
	return t, err
}

// allThere returns errSomeGone if a command by message numbers names one that is not there; by UID
// such are left out (RFC 9051 §6.4.9).
func (s *session) allThere(tx *store.Tx, uids []store.UID) error {
	if s.uid {
		return nil
	}
	list, err := tx.List(s.sel.id)
	if err != nil || list == s.sel.list {
		return err
	}
	for _, uid := range uids {
		if _, ok := list.Find(uid); !ok {
			return errSomeGone
		}
	}
	return nil
}

// tryCreate tells the client that the target is missing and could be made (RFC 9051 §7.1).
func tryCreate(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return &no{"TRYCREATE", "No such mailbox"}
	}
	return err
}

// copyUID is the COPYUID code, RFC 4315 §3: the two sets run in step.
func copyUID(t transferred) string {
	b := imap.AppendNumber([]byte("COPYUID "), t.uidValidity)
	var from, to imap.SetBuilder
	for _, p := range t.pairs {
		from.Add(uint32(p.From))
		to.Add(uint32(p.To))
	}
	b = imap.AppendSet(append(b, ' '), from.Ranges)
	return string(imap.AppendSet(append(b, ' '), to.Ranges))
}
