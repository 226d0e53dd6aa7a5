package imapd

import (
	"strings"

	"tram/internal/imap"
	"tram/internal/store"
)

// systemFlags are the flags of RFC 9051 §2.3.2 with their bits, in the order they are shown.
var systemFlags = []struct {
	name string
	bit  store.Flags
}{
	{imap.FlagAnswered, store.Answered},
	{imap.FlagFlagged, store.Flagged},
	{imap.FlagDeleted, store.Deleted},
	{imap.FlagSeen, store.Seen},
	{imap.FlagDraft, store.Draft},
}

// flagWriter renders the flags of one message after the other. Most are like the one before.
type flagWriter struct {
	view     *view
	keywords *store.KeywordTable
	extra    extraKeywords
	names    []string
	last     store.Flags
	text     []byte // of last, without the parentheses
}

func (s *session) newFlags(extra extraKeywords) *flagWriter {
	return &flagWriter{view: s.sel, keywords: s.sel.keywords, extra: extra}
}

// append appends the parenthesised flags of an entry.
func (w *flagWriter) append(b []byte, e store.Entry) []byte {
	flags := e.Flags &^ store.Recent
	if w.view.isRecent(e.UID) {
		flags |= store.Recent
	}
	if w.text == nil || flags != w.last {
		w.render(flags)
	}
	b = append(append(b, '('), w.text...)
	if flags&store.MoreKeywords != 0 {
		for _, name := range w.extra[e.Email] {
			if b[len(b)-1] != '(' {
				b = append(b, ' ')
			}
			b = append(b, name...)
		}
	}
	return append(b, ')')
}

// render makes the text of flags, without keywords beyond the bits.
func (w *flagWriter) render(flags store.Flags) {
	w.last = flags
	w.names = w.names[:0]
	for _, f := range systemFlags {
		if flags&f.bit != 0 {
			w.names = append(w.names, f.name)
		}
	}
	if flags&store.Recent != 0 {
		w.names = append(w.names, imap.FlagRecent)
	}
	w.names = w.keywords.AppendNames(w.names, flags)
	w.text = append(w.text[:0], strings.Join(w.names, " ")...)
	if w.text == nil {
		w.text = []byte{}
	}
}

// tellFlagNames sends FLAGS and PERMANENTFLAGS, RFC 9051 §7.3.5 and §7.1.
func (s *session) tellFlagNames() {
	v := s.sel
	if v.account.prefix != "" {
		s.tellTheirFlagNames()
		return
	}
	names := make([]string, 0, len(systemFlags)+v.keywords.Len()+1)
	for _, f := range systemFlags {
		names = append(names, f.name)
	}
	names = append(names, v.keywords.Names()...)
	p := s.buf()
	*p = append(*p, "* FLAGS "...)
	*p = append(imap.AppendFlags(*p, names), "\r\n* OK [PERMANENTFLAGS "...)
	if v.readOnly {
		*p = append(append(append(*p, "()] "...), s.translate("Read-only")...), "\r\n"...)
		return
	}
	*p = imap.AppendFlags(*p, append(names, imap.FlagAny))
	*p = append(append(append(*p, "] "...), s.translate("Permanent flags")...), "\r\n"...)
}

// splitFlags sorts the flags of a command into bits and keywords. \Recent cannot be set (RFC 3501
// §2.3.2) and is ignored, as are system flags nobody has defined: clients send those they read
// elsewhere. A keyword of the registry with a backslash before it is that keyword (imap-backup before
// 8.0.1 restores "\$NotJunk").
func splitFlags(names []string) (bits store.Flags, keywords []string) {
	for _, name := range names {
		bit := store.Flags(0)
		for _, f := range systemFlags {
			if f.name == name {
				bit = f.bit
			}
		}
		switch {
		case bit != 0:
			bits |= bit
		case strings.HasPrefix(name, `\$`):
			keywords = append(keywords, name[1:])
		case !strings.HasPrefix(name, `\`):
			keywords = append(keywords, name)
		}
	}
	return bits, keywords
}
