package imapd

import (
	"slices"

	"tram/internal/imap"
	"tram/internal/store"
)

// storeCommand is the arguments of STORE.
type storeCommand struct {
	change store.FlagChange
	silent bool
}

// storeModes are the message data items of STORE.
var storeModes = map[string]store.FlagMode{
	"+": store.AddFlags, "-": store.RemoveFlags, "": store.ReplaceFlags,
}

// store is STORE and UID STORE, RFC 9051 §6.4.6, with UNCHANGEDSINCE of RFC 7162 §3.1.3.
func (s *session) store() error {
	s.dec.SP()
	set := s.dec.NumSet()
	s.dec.SP()
	cmd := s.storeArguments()
	if err := s.args(); err != nil {
		return err
	}
	if s.sel.readOnly {
		return &no{"CANNOT", "Mailbox is open read-only"}
	}
	if cmd.change.Conditional {
		s.condstoreAware()
	}
	nums, err := s.resolve(set)
	if err != nil {
		return err
	}
	return s.runStore(s.within(nums), cmd)
}

// storeArguments reads the modifier, the item and the flags.
func (s *session) storeArguments() storeCommand {
	var cmd storeCommand
	if s.dec.Peek() == '(' {
		s.dec.List(func() {
			if s.dec.Label() != "UNCHANGEDSINCE" || cmd.change.Conditional {
				s.dec.Bad("Unknown STORE modifier")
			}
			s.dec.SP()
			cmd.change.Conditional = true
			cmd.change.UnchangedSince = store.ModSeq(s.dec.Number64())
		})
		s.dec.SP()
	}
	sign := ""
	if s.dec.Try('+') {
		sign = "+"
	} else if s.dec.Try('-') {
		sign = "-"
	}
	cmd.change.Mode = storeModes[sign]
	switch s.dec.Label() {
	case "FLAGS":
	case "FLAGS.SILENT":
		cmd.silent = true
	default:
		s.dec.Bad("Unknown item to store")
	}
	s.dec.SP()
	cmd.change.Flags, cmd.change.Keywords = splitFlags(s.dec.StoreFlags())
	return cmd
}

// runStore changes the flags in one transaction and tells the results.
func (s *session) runStore(nums numbers, cmd storeCommand) error {
	v := s.sel
	spans, ghosts := v.spans(nums)
	uids := v.uids(spans)
	var n *news
	var changed []store.Entry
	var refused []store.UID
	update := s.updateSelected
	if cmd.change.Mode == store.RemoveFlags || cmd.change.Flags&store.Deleted != 0 {
		update = s.freeingSelected // people must be able to clear up on a full disk
	}
	err := update(func(tx *store.Tx) (err error) {
		if changed, refused, err = tx.SetFlags(v.id, uids, cmd.change); err != nil {
			return err
		}
		if n, err = s.learn(tx); err != nil {
			return err
		}
		return n.extraOf(tx, uids)
	})
	if err != nil {
		return s.gone(err)
	}
	if err := s.tell(n, s.byNumber(), s.storeTelling(cmd, changed)); err != nil {
		return err
	}
	gone, err := s.tellUnchanged(n, uids, changed, cmd)
	if err != nil {
		return err
	}
	if len(refused) > 0 {
		s.modified(refused)
	}
	if ghosts || gone && !s.uid {
		return s.storeGhosts()
	}
	return nil
}

// storeTelling decides what is told of the messages that changed: all flags of those that were not
// asked for silently, and of those that came out otherwise than the client can expect, because
// somebody else changed them too (RFC 9051 §6.4.6).
func (s *session) storeTelling(cmd storeCommand, changed []store.Entry) telling {
	if !cmd.silent {
		return nil
	}
	return func(old, now store.Entry) tellWhat {
		_, own := slices.BinarySearchFunc(changed, now.UID, func(e store.Entry, uid store.UID) int {
			return int(int64(e.UID) - int64(uid))
		})
		if own && s.expected(cmd, old.Flags) == now.Flags {
			return tellModSeq
		}
		return tellFlags
	}
}

// expected returns what the client believes the flags to be after its own change.
func (s *session) expected(cmd storeCommand, flags store.Flags) store.Flags {
	bits := cmd.change.Flags
	for _, k := range cmd.change.Keywords {
		bit, ok := s.sel.keywords.Bit(k)
		if !ok {
			return store.Flags(store.Recent) // among those without a bit: tell it all
		}
		bits |= bit
	}
	switch cmd.change.Mode {
	case store.AddFlags:
		return flags | bits
	case store.RemoveFlags:
		return flags &^ bits
	}
	return bits
}

// tellUnchanged answers for the messages whose flags were as wanted already, with their flags, and
// for CONDSTORE's refusals, with what they were refused for (RFC 7162 §3.1.3, example 10). It
// reports whether some of the messages are gone.
func (s *session) tellUnchanged(n *news, uids []store.UID, changed []store.Entry,
	cmd storeCommand) (gone bool, err error) {
	flags := s.newFlags(n.extra)
	next := 0
	for _, uid := range uids {
		for next < len(changed) && changed[next].UID < uid {
			next++
		}
		if next < len(changed) && changed[next].UID == uid {
			continue // told already
		}
		i, ok := s.sel.list.Find(uid)
		if !ok {
			gone = true
			continue
		}
		if cmd.silent && !cmd.change.Conditional {
			continue
		}
		e := s.sel.list.At(i)
		refused := cmd.change.Conditional && e.ModSeq > cmd.change.UnchangedSince
		s.tellOne(flags, i, e, !cmd.silent || refused)
		if err := s.spill(); err != nil {
			return gone, err
		}
	}
	return gone, nil
}

// modified names the refused messages in the tagged reply.
func (s *session) modified(refused []store.UID) {
	var set imap.SetBuilder
	for _, uid := range refused {
		if s.uid {
			set.Add(uint32(uid))
		} else if i, ok := s.sel.list.Find(uid); ok {
			set.Add(s.sel.seq(i))
		}
	}
	s.code = "MODIFIED " + string(imap.AppendSet(nil, set.Ranges))
	s.text = "Conditional STORE failed for some"
}

// storeGhosts answers for messages that are gone: NO, unless there is a MODIFIED to tell, which fits
// into one reply with it (RFC 7162 example 11).
func (s *session) storeGhosts() error {
	code := s.code
	if code == "" {
		code = "EXPUNGEISSUED"
	}
	return &no{code, "Some of the messages are gone"}
}
