package imapd

import (
	"errors"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"tram/internal/imap"
	"tram/internal/store"
)

// NOTIFY, RFC 5465: the client says once what it wants to hear of, and hears it at any time, between
// commands and in IDLE. As with IDLE, nothing is polled and no goroutine waits: a watch of the store
// interrupts the session's wait for input, and the session looks what there is to tell. What happened
// is found by comparing two states of the account, the one that the client knows and the newest:
// several events of one kind thus become one, and a slow client costs no queue.

// events is a set of events, RFC 5465 §5.
type events uint8

const (
	messageNew events = 1 << iota
	messageExpunge
	flagChange
	mailboxName
	subscriptionChange
	mailboxMetadata
	serverMetadata

	metadataEvents = mailboxMetadata | serverMetadata
	messageEvents  = messageNew | messageExpunge | flagChange
)

// notifyEvents is every event that can be asked for, in the order in which BADEVENT lists them.
var notifyEvents = []struct {
	name string
	bit  events
}{
	{"MessageNew", messageNew},
	{"MessageExpunge", messageExpunge},
	{"FlagChange", flagChange},
	{"MailboxName", mailboxName},
	{"SubscriptionChange", subscriptionChange},
	{"MailboxMetadataChange", mailboxMetadata}, // RFC 5464
	{"ServerMetadataChange", serverMetadata},
}

// badEvent names the supported events to a client that asks for another (RFC 5465 §3.1).
func badEvent() error {
	names := make([]string, len(notifyEvents))
	for i, e := range notifyEvents {
		names[i] = e.name
	}
	return &no{"BADEVENT (" + strings.Join(names, " ") + ")", "This event is not supported"}
}

// notifying is what a session that used NOTIFY wants to hear. Without a watch that is nothing.
type notifying struct {
	watching // the own account
	wishes
	annotations bool        // it asked for annotations
	theirs      []*watching // others' accounts, see notifyothers.go
}

// watching is an account that NOTIFY watches.
type watching struct {
	account *account
	watch   *store.Watch
	known   *boxes // the state that the client knows; nil: it asked for no other mailboxes
	// own is the state that the session's own changes have brought the account to, when nobody else
	// changed it since known: of these the client is not told (RFC 5465 §5).
	own store.ModSeq
	// made is the state after the session's last transaction: messages of that mod-sequence are its
	// own.
	made store.ModSeq
}

// wishes are the event groups of a NOTIFY SET, made ready: groups that apply to the same mailbox
// add up (RFC 5465 §6).
type wishes struct {
	selected events // of the selected mailbox, whatever the others say
	delayed  bool   // SELECTED-DELAYED
	fetch    *fetchPlan

	personal   events // of all mailboxes
	subscribed events
	names      map[string]events
	trees      map[string]events
}

// others are the events that are wanted of any mailbox but the selected one.
func (w *wishes) others() events {
	all := w.personal | w.subscribed
	for _, m := range []map[string]events{w.names, w.trees} {
		for _, e := range m {
			all |= e
		}
	}
	return all
}

// of returns the events that are wanted of a name.
func (w *wishes) of(name string, subscribed bool) events {
	return w.personal | w.named(name, subscribed)
}

// named returns the events that are wanted of a name wherever it is.
func (w *wishes) named(name string, subscribed bool) events {
	all := w.names[name]
	if subscribed {
		all |= w.subscribed
	}
	if len(w.trees) == 0 {
		return all
	}
	for i := range len(name) {
		if name[i] == '/' {
			all |= w.trees[name[:i]]
		}
	}
	return all | w.trees[name]
}

// notify is NOTIFY, RFC 5465 §3.1.
func (s *session) notifyCommand() error {
	s.dec.SP()
	cmd := s.dec.NotifyCommand()
	w := &wishes{}
	selected := 0
	for i := range cmd.Groups {
		if strings.HasPrefix(cmd.Groups[i].Filter, "SELECTED") {
			selected++
		}
		s.notifyGroup(w, &cmd.Groups[i])
	}
	if selected > 1 {
		s.dec.Bad("The selected mailbox is named twice") // RFC 5465 §6.1
	}
	if err := s.args(); err != nil {
		return err
	}
	for i := range cmd.Groups {
		if _, ok := knownEvents(&cmd.Groups[i]); !ok {
			return badEvent()
		}
	}
	if cmd.None {
		s.notifyNone()
		return nil
	}
	return s.startNotifying(w, cmd.Status)
}

// knownEvents returns the events of a group, and whether all are supported.
func knownEvents(g *imap.NotifyGroup) (all events, ok bool) {
	for _, name := range g.Events {
		i := slices.IndexFunc(notifyEvents, func(e struct {
			name string
			bit  events
		}) bool {
			return strings.EqualFold(e.name, name)
		})
		if i < 0 {
			return 0, false
		}
		all |= notifyEvents[i].bit
	}
	return all, true
}

// notifyGroup adds a group to the wishes. What may not go together is a syntax error (RFC 5465 §5,
// §6.1 and §8).
func (s *session) notifyGroup(w *wishes, g *imap.NotifyGroup) {
	all, _ := knownEvents(g)
	const both = messageNew | messageExpunge
	if all&messageEvents != 0 && all&both != both {
		s.dec.Bad("MessageNew and MessageExpunge go together, and with FlagChange")
	}
	selected := strings.HasPrefix(g.Filter, "SELECTED")
	if selected && all&^messageEvents != 0 {
		s.dec.Bad("Only events of messages are for the selected mailbox")
	}
	if !selected && g.Fetch != nil {
		s.dec.Bad("Items to fetch are for the selected mailbox")
	}
	switch g.Filter {
	case "SELECTED", "SELECTED-DELAYED":
		w.selected, w.delayed = all, g.Filter == "SELECTED-DELAYED"
		if g.Fetch != nil {
			s.uid = true // UID is in each reply, so that it is no item
			w.fetch = s.fetchPlan(g.Fetch)
			s.uid = false
		}
	case "INBOXES", "PERSONAL":
		// Filters may deliver into any mailbox, so that both are the same (RFC 5465 §6.3).
		w.personal |= all
	case "SUBSCRIBED":
		w.subscribed |= all
	case "SUBTREE":
		w.trees = addNames(w.trees, g.Names, all)
	case "MAILBOXES":
		w.names = addNames(w.names, g.Names, all)
	}
}

// addNames notes events of names as the store writes them.
func addNames(m map[string]events, names []string, all events) map[string]events {
	if m == nil {
		m = make(map[string]events, len(names))
	}
	for _, name := range names {
		name = norm.NFC.String(name)
		if len(name) > 6 && strings.EqualFold(name[:6], "INBOX/") {
			name = "INBOX/" + name[6:]
		}
		m[name] |= all
	}
	return m
}

// startNotifying is NOTIFY SET. Until all that can fail is done, the wishes of before hold.
func (s *session) startNotifying(w *wishes, status bool) error {
	n := &notifying{wishes: *w}
	n.account = s.account
	if old := s.notify; old != nil && old.watch != nil {
		n.watch, n.made = old.watch, old.made
	}
	began := n.watch == nil
	if began {
		// The watch begins before the first look: no change falls between the two.
		n.watch = s.account.OnChange(s.c.Interrupt)
	}
	if n.others() != 0 {
		var err error
		n.known, err = s.lookAt(s.account, latestState)
		if err == nil {
			err = s.follow(n)
		}
		if err != nil {
			n.leaveTheirs()
			if began {
				n.watch.Close()
			}
			if errors.Is(err, errManyBoxes) {
				return &no{"NOTIFICATIONOVERFLOW", "Too many mailboxes to watch"}
			}
			return err
		}
	}
	s.notify.leaveTheirs()
	s.notify = n
	s.attend()
	s.watchMetadata()
	if err := s.catchUp(mayExpunge); err != nil { // RFC 5465 §3.1: an implicit NOOP
		return err
	}
	s.tellNoAccess()
	if status && n.known != nil {
		for _, w := range append([]*watching{&n.watching}, n.theirs...) {
			if err := s.notifyStatus(w); err != nil {
				return err
			}
		}
	}
	return nil
}

// notifyStatus sends STATUS for each mailbox of which message events are wanted, but for the selected
// one (RFC 5465 §3.1).
func (s *session) notifyStatus(w *watching) error {
	if w.known == nil {
		return nil
	}
	for _, m := range w.known.list {
		if s.sees(w.account) && s.sel.id == m.ID {
			continue
		}
		e := s.notify.events(w, m) & messageEvents
		if e == 0 {
			continue
		}
		items := []string{"MESSAGES", "UIDNEXT", "UIDVALIDITY"}
		if e&flagChange != 0 {
			items = append(items, "UNSEEN")
		}
		if e&flagChange != 0 || s.mode.condstore {
			items = append(items, "HIGHESTMODSEQ")
		}
		if err := (statusQuestion{s: s, a: w.account}).reply(m, items); err != nil {
			return err
		}
		if err := s.spill(); err != nil {
			return err
		}
	}
	return nil
}

// lookAt returns a state of an account's mailboxes that is not older than announced.
func (s *session) lookAt(a *account, announced store.ModSeq) (*boxes, error) {
	limit := s.srv.o.Limits.NotifyMailboxes
	return a.boxes.look(s.ctx, a.Account, announced, limit)
}

// watchMetadata has annotations told as the wishes are, unless the client enabled METADATA and hears of
// all of them anyway.
func (s *session) watchMetadata() {
	n := s.notify
	switch n.annotations = n.others()&metadataEvents != 0; {
	case s.metadata != nil && s.metadata.only == nil:
	case !n.annotations:
		s.metadata = nil
	case s.metadata == nil:
		s.metadata = &metadataNews{only: &n.wishes}
	default:
		s.metadata.only = &n.wishes
	}
}

// notifyNone is NOTIFY NONE.
func (s *session) notifyNone() {
	s.stopNotifying()
	s.notify = &notifying{}
	s.watchMetadata()
}

// stopNotifying ends the watch.
func (s *session) stopNotifying() {
	if s.notify != nil && s.notify.watch != nil {
		s.notify.watch.Close()
		s.notify.watch = nil
		s.notify.leaveTheirs()
	}
}

// did notes that a transaction of the session's own has brought the account from one state to
// another.
func (n *notifying) did(a *account, from, to store.ModSeq) {
	if n == nil || from == to {
		return
	}
	w := n.at(a)
	if w == nil {
		return
	}
	w.made = to
	if w.known != nil && (from == w.known.at || from == w.own) {
		w.own = to
	}
}
