package imap

// maxNotifyNames bounds the mailbox names of one NOTIFY, and maxNotifyGroups its groups: they are
// kept for as long as the session lasts.
const (
	maxNotifyNames  = 500
	maxNotifyGroups = 100
)

// NotifyCommand is a NOTIFY command, RFC 5465 §8.
type NotifyCommand struct {
	None   bool // NOTIFY NONE
	Status bool // SET STATUS
	Groups []NotifyGroup
}

// NotifyGroup is one event group: which mailboxes, and what of them.
type NotifyGroup struct {
	Filter string      // in upper case: SELECTED, SELECTED-DELAYED, INBOXES, PERSONAL, ...
	Names  []string    // of SUBTREE and MAILBOXES
	Events []string    // in upper case; empty for NONE. Names are not checked.
	Fetch  []FetchItem // of MessageNew
}

// errManyNames is the refusal of RFC 5465 §3.1 for what would cost too much.
var errManyNames = &Error{
	Code: "NOTIFICATIONOVERFLOW", Text: "Too many mailboxes are named", No: true,
}

// NotifyCommand reads the arguments of NOTIFY.
func (d *Decoder) NotifyCommand() NotifyCommand {
	var n NotifyCommand
	switch d.Label() {
	case "NONE":
		n.None = true
		return n
	case "SET":
	default:
		d.Bad("Expected SET or NONE")
		return n
	}
	d.SP()
	if d.peek() != '(' {
		if d.Label() != "STATUS" {
			d.Bad("Expected STATUS or event groups")
		}
		n.Status = true
		d.SP()
	}
	names := 0
	for d.err == nil {
		g := d.notifyGroup()
		if names += len(g.Names); names > maxNotifyNames || len(n.Groups) >= maxNotifyGroups {
			d.Fail(errManyNames)
		}
		n.Groups = append(n.Groups, g)
		if !d.TrySP() {
			break
		}
	}
	return n
}

// notifyGroup reads "(" filter-mailboxes SP events ")".
func (d *Decoder) notifyGroup() NotifyGroup {
	var g NotifyGroup
	d.Expect('(')
	g.Filter = d.Label()
	switch g.Filter {
	case "SELECTED", "SELECTED-DELAYED", "INBOXES", "PERSONAL", "SUBSCRIBED":
	case "SUBTREE", "MAILBOXES":
		d.SP()
		d.notifyNames(&g)
	default:
		d.Bad("Unknown mailbox filter")
	}
	d.SP()
	if d.peek() == '(' {
		d.notifyEvents(&g)
	} else if d.Label() != "NONE" {
		d.Bad("Expected events or NONE")
	}
	d.Expect(')')
	return g
}

// notifyNames reads one name or a list of them.
func (d *Decoder) notifyNames(g *NotifyGroup) {
	if d.peek() != '(' {
		g.Names = append(g.Names, d.Mailbox())
		return
	}
	d.List(func() {
		if len(g.Names) > maxNotifyNames {
			d.Fail(errManyNames)
		}
		g.Names = append(g.Names, d.Mailbox())
	})
	if len(g.Names) == 0 {
		d.Bad("Expected mailbox names%s", d.found())
	}
}

// notifyEvents reads the events. What follows MessageNew may be the items to fetch of each new
// message.
func (d *Decoder) notifyEvents(g *NotifyGroup) {
	d.Expect('(')
	for more := true; more && d.err == nil; {
		event := upper(d.Atom())
		g.Events = append(g.Events, event)
		more = d.Try(' ')
		if event == "MESSAGENEW" && more && d.peek() == '(' {
			g.Fetch = nil
			d.List(func() { g.Fetch = append(g.Fetch, d.FetchItem()) })
			if len(g.Fetch) == 0 {
				d.Bad("Expected items to fetch")
			}
			more = d.Try(' ')
		}
		if len(g.Events) > maxNotifyGroups {
			d.Bad("Too many events")
		}
	}
	d.Expect(')')
}
