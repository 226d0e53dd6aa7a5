package imapd

import (
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"tram/internal/imap"
	"tram/internal/store"
)

// listed is a name on its way into a LIST or LSUB reply.
type listed struct {
	name      string
	mailbox   *store.Mailbox // nil: there is none of this name
	meets     bool           // the selection criteria
	childInfo bool           // has a descendant that meets them and is not listed itself
	level     bool           // no mailbox, but others' mailboxes are below it
	noAccess  bool           // of NOTIFY: there is one, but it may not be read
	oldName   string         // of NOTIFY: the name until now, "" for none
}

// The options of LIST, RFC 9051 §6.3.9, RFC 5258 §3, RFC 6154 §2 and RFC 5819.
var (
	listSelections = map[string]bool{
		"SUBSCRIBED": true, "REMOTE": true, "RECURSIVEMATCH": true, "SPECIAL-USE": true,
	}
	listReturns = map[string]bool{
		"SUBSCRIBED": true, "CHILDREN": true, "STATUS": true, "SPECIAL-USE": true,
		"METADATA": true, "MYRIGHTS": true,
	}
)

// list is LIST.
func (s *session) list() error {
	s.dec.SP()
	cmd := s.dec.ListCommand()
	s.checkList(&cmd)
	if err := s.args(); err != nil {
		return err
	}
	if !cmd.Extended && cmd.Patterns[0] == "" {
		// RFC 9051 §6.3.9: a question for the hierarchy separator.
		s.untagged(`LIST (\Noselect) "/" ""`)
		return nil
	}
	ls := &lister{s: s, cmd: &cmd, patterns: newPatterns(cmd.Reference, cmd.Patterns), flush: s.write}
	return ls.pages()
}

// checkList refuses options that are not known, and RECURSIVEMATCH alone.
func (s *session) checkList(cmd *imap.ListCommand) {
	base := false
	for _, o := range cmd.Select {
		if !listSelections[o] {
			s.dec.Bad("Unknown LIST selection option")
		}
		base = base || o == "SUBSCRIBED" || o == "SPECIAL-USE"
	}
	for _, o := range cmd.Return {
		if !listReturns[o] {
			s.dec.Bad("Unknown LIST return option")
		}
	}
	if cmd.Selects("RECURSIVEMATCH") && !base {
		s.dec.Bad("RECURSIVEMATCH needs another option") // RFC 5258 §3.1
	}
	s.checkStatus(cmd.Status)
}

// patterns are those of one LIST. The name INBOX matches in any case.
type patterns struct{ as, upper, levels []*imap.Pattern }

// newPatterns joins each pattern to the reference name, which is its plain prefix (RFC 9051 §6.3.9).
func newPatterns(reference string, list []string) *patterns {
	p := &patterns{}
	for _, text := range list {
		text = norm.NFC.String(reference + text) // the store's names are NFC
		if len(text) >= 5 && strings.EqualFold(text[:5], "INBOX") {
			text = "INBOX" + text[5:]
		}
		pattern := imap.NewPattern(text)
		p.as = append(p.as, pattern)
		if pattern.Levels() {
			p.levels = append(p.levels, pattern)
		}
		p.upper = append(p.upper, imap.NewPattern(strings.ToUpper(text)))
	}
	return p
}

// match reports whether a name of the store matches one of the patterns.
func (p *patterns) match(name string) bool {
	list := p.as
	if name == "INBOX" {
		list = p.upper
	}
	for _, pattern := range list {
		if pattern.Match(name) {
			return true
		}
	}
	return false
}

// gather finds the names of a LIST that does not go through all mailboxes.
func (l *lister) gather(tx *store.Tx) error {
	if l.cmd.Selects("SUBSCRIBED") {
		return l.subscribed(tx)
	}
	return l.special(tx)
}

// subscribed lists subscribed names, whether their mailboxes exist or not (RFC 5258 §3.1).
func (l *lister) subscribed(tx *store.Tx) error {
	names, err := tx.Subscriptions()
	if err != nil {
		return err
	}
	if l.cmd.Selects("SPECIAL-USE") {
		kept := names[:0]
		for _, name := range names {
			m, err := find(tx, name)
			if err != nil {
				return err
			}
			if m != nil && specialUses[m.Role] != "" {
				kept = append(kept, name)
			}
		}
		names = kept
	}
	l.names, err = l.apart(tx, expand(names, l.patterns, l.cmd.Selects("RECURSIVEMATCH")))
	return err
}

// apart leaves names of others' mailboxes for later: they are not in the own account.
func (l *lister) apart(tx *store.Tx, names []*listed) (own []*listed, err error) {
	l.theirs = nil
	for _, n := range names {
		if inNamespace(n.name) {
			switch m, err := find(tx, n.name); {
			case err != nil:
				return nil, err
			case m == nil:
				l.theirs = append(l.theirs, n)
				continue
			}
		}
		own = append(own, n)
	}
	return own, nil
}

// special lists mailboxes with a special use, and those above them.
func (l *lister) special(tx *store.Tx) error {
	var names []string
	err := tx.EachMailbox(func(m *store.Mailbox) error {
		if specialUses[m.Role] != "" {
			names = append(names, m.Name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	l.names = expand(names, l.patterns, true)
	return nil
}

// expand picks the names that match and, with above, those above names that do not (RFC 5258 §3.5).
// names meet the criteria and stand in the order of a tree: so does the result.
func expand(names []string, p *patterns, above bool) []*listed {
	var out []*listed
	at := map[string]*listed{}
	entry := func(name string) *listed {
		if at[name] == nil {
			at[name] = &listed{name: name}
			out = append(out, at[name])
		}
		return at[name]
	}
	for _, name := range names {
		if p.match(name) {
			entry(name).meets = true
			continue
		}
		for i := 0; above && i < len(name); i++ {
			if name[i] == '/' && p.match(name[:i]) {
				entry(name[:i]).childInfo = true
			}
		}
	}
	return out
}

// find returns the mailbox of a name, nil when there is none.
func find(tx *store.Tx, name string) (*store.Mailbox, error) {
	m, err := tx.MailboxByName(name)
	if isAny(err, store.ErrNotFound, store.ErrInvalidName) {
		return nil, nil
	}
	return m, err
}

// write writes the LIST reply for one name, and its STATUS where that is wanted (RFC 5819).
func (l *lister) write(tx *store.Tx, n *listed) error {
	n, err := l.complete(n)
	if err != nil {
		return err
	}
	l.s.listReply(n, "LIST", l.cmd)
	if n.mailbox == nil || !n.meets {
		return nil // RFC 5819 §2, RFC 9590 §3: not for a name that is listed for its children
	}
	if l.cmd.Wants("MYRIGHTS") { // RFC 8440 §3
		l.s.myRightsReply(n.name, n.mailbox.Rights)
	}
	if len(l.cmd.Metadata) > 0 {
		if err := l.s.listMetadata(tx, n, l.cmd.Metadata); err != nil {
			return err
		}
	}
	if len(l.cmd.Status) == 0 || !n.mailbox.Rights.Has(store.RightRead) {
		return nil
	}
	return statusQuestion{l.s, l.at, tx}.reply(n.mailbox, l.cmd.Status)
}

// complete adds what the account that a mailbox is in does not know: whether another's is subscribed
// to, and whether others' are below one's own.
func (l *lister) complete(n *listed) (*listed, error) {
	switch {
	case n.mailbox == nil:
	case l.at.prefix != "" && l.subscriptions[n.name]:
		m := *n.mailbox
		m.Subscribed = true
		n.mailbox = &m
	case slices.Contains(namespaceRoots[:], n.name) && !n.mailbox.HasChildren:
		all, err := l.s.sharedWith()
		if err != nil {
			return n, err
		}
		m := *n.mailbox
		for _, a := range all {
			m.HasChildren = m.HasChildren || strings.HasPrefix(a.prefix, n.name+"/")
		}
		n.mailbox = &m
	}
	return n, nil
}

// specialUses are the attributes of mailboxes with a role, RFC 6154 §2.
var specialUses = map[store.Role]string{
	store.RoleDrafts: imap.UseDrafts, store.RoleSent: imap.UseSent,
	store.RoleArchive: imap.UseArchive, store.RoleJunk: imap.UseJunk,
	store.RoleTrash: imap.UseTrash, store.RoleAll: imap.UseAll,
	store.RoleFlagged: imap.UseFlagged, store.RoleImportant: `\Important`, // RFC 8457 §4
}

// listReply writes "* LIST (...) "/" name". Special uses and children are always told: Apple Mail
// and Outlook look for them without asking.
func (s *session) listReply(n *listed, word string, cmd *imap.ListCommand) {
	var attributes []string
	if n.noAccess { // RFC 5465 §5.9
		attributes = append(attributes, imap.AttrNoAccess)
	}
	subscribed := cmd != nil && (cmd.Wants("SUBSCRIBED") || cmd.Selects("SUBSCRIBED"))
	switch m := n.mailbox; {
	case m == nil && n.noAccess:
	case m == nil:
		attributes = append(attributes, imap.AttrNonExistent)
		if n.level { // who does not know LIST-EXTENDED knows \Noselect
			attributes = append(attributes, imap.AttrNoSelect, imap.AttrHasChildren)
		}
		if subscribed && n.meets {
			attributes = append(attributes, imap.AttrSubscribed)
		}
	default:
		children := imap.AttrHasNoChildren // RFC 3348 §3: exactly one of the two
		if m.HasChildren {
			children = imap.AttrHasChildren
		}
		attributes = append(attributes, children)
		if !m.Rights.Has(store.RightRead) { // RFC 9051 §6.3.9.2
			attributes = append(attributes, imap.AttrNoSelect)
		}
		if subscribed && m.Subscribed {
			attributes = append(attributes, imap.AttrSubscribed)
		}
		if use := specialUses[m.Role]; use != "" {
			attributes = append(attributes, use)
		}
	}
	b := append(append(append(*s.buf(), "* "...), word...), ' ')
	b = append(imap.AppendFlags(b, attributes), ` "/" `...)
	b = imap.AppendMailbox(b, n.name, s.mode.utf8)
	if n.childInfo {
		b = append(b, ` ("CHILDINFO" (`...)
		b = append(append(b, criteria(cmd)...), "))"...)
	}
	if n.oldName != "" { // RFC 5465 §5.4
		b = append(b, ` ("OLDNAME" (`...)
		b = append(imap.AppendMailbox(b, n.oldName, s.mode.utf8), "))"...)
	}
	*s.buf() = append(b, "\r\n"...)
}

// criteria names the selection options that CHILDINFO is about.
func criteria(cmd *imap.ListCommand) string {
	var names []string
	for _, o := range []string{"SUBSCRIBED", "SPECIAL-USE"} {
		if cmd.Selects(o) {
			names = append(names, `"`+o+`"`)
		}
	}
	return strings.Join(names, " ")
}
