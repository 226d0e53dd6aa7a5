package imap

import (
	"slices"
	"strings"
	"testing"
)

func FuzzNumSet(f *testing.F) {
	for _, s := range []string{"1", "1:*", "*", "*:4,5:7", "3,2,1", "4294967295", "0", "$", "1:", ",", "2:4,4:2"} {
		f.Add(s, uint32(10))
	}
	f.Fuzz(func(t *testing.T, s string, largest uint32) {
		set, ok := ParseNumSet(s)
		if !ok {
			return
		}
		again, ok := ParseNumSet(set.String())
		if !ok || !slices.Equal(again.Ranges, set.Ranges) || again.Saved != set.Saved {
			t.Fatalf("%q prints as %q", s, set.String())
		}
		rs := set.Resolve(largest)
		for i, r := range rs {
			if r.Start == 0 || r.Start > r.Stop || i > 0 && uint64(r.Start) <= uint64(rs[i-1].Stop)+1 {
				t.Fatalf("%q resolves to %v", s, rs)
			}
		}
		for _, r := range set.Ranges {
			if r.Start != 0 && (r.Stop != 0 || largest > 0) && !ContainsNum(rs, r.Start) {
				t.Fatalf("%q resolves to %v, without %d", s, rs, r.Start)
			}
		}
	})
}

func FuzzSearch(f *testing.F) {
	for _, s := range []string{
		"ALL", "UNSEEN SINCE 1-Feb-1994 NOT FROM \"Smith\"", "OR (1:5 UID 7:*) NOT (TEXT {3+}\r\nabc SEEN)",
		"MODSEQ \"/flags/\\\\draft\" all 620162338", "HEADER \"\" x", "KEYWORD $Junk LARGER 10",
		"(((", "NOT NOT NOT ALL", "$", "EMAILID M123", "ON \"1-Feb-1994\"",
		"OR FILTER x (NOT FILTER x-1)", "FILTER a/b",
		"FUZZY (OLDER 1 SAVEDON 1-Feb-1994) YOUNGER 4294967295 NOT FUZZY FUZZY TEXT x SAVEDATESUPPORTED",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d := NewDecoder(newReader(strings.NewReader(s+"\r\n")), after())
		if d.Next() != nil {
			return
		}
		key := d.SearchKeys()
		if d.End(); d.Err() != nil {
			return
		}
		if key.Name == "" || depth(key) > 40 {
			t.Fatalf("%q gives %+v", s, key)
		}
	})
}

// FuzzSearchSources: what is read names few mailboxes and leaves the input where the search goes on.
func FuzzSearchSources(f *testing.F) {
	for _, s := range []string{
		"(selected)", "(personal inboxes subscribed)", "(mailboxes INBOX subtree (a \"b\" {1+}\r\nc))",
		"(subtree-one x (scope 1))", "()", "(mailboxes ())", "(selected-delayed)",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d := NewDecoder(newReader(strings.NewReader(s+"\r\n")), after())
		if d.Next() != nil {
			return
		}
		sources := d.SearchSources()
		if d.End(); d.Err() != nil {
			return
		}
		names := 0
		for _, source := range sources {
			names += len(source.Names)
			named := source.Filter == "MAILBOXES" || strings.HasPrefix(source.Filter, "SUBTREE")
			if named != (len(source.Names) > 0) {
				t.Fatalf("%q gives %+v", s, sources)
			}
		}
		if len(sources) == 0 || names > maxSourceNames {
			t.Fatalf("%q gives %d sources, %d names", s, len(sources), names)
		}
	})
}

// FuzzGetMetadata: what is read as names of annotations keeps to RFC 5464 §3.2.
func FuzzGetMetadata(f *testing.F) {
	for _, s := range []string{
		"(MAXSIZE 9 DEPTH infinity) INBOX (/private/a /shared)", "\"\" (DEPTH 1) (\"/private/x y\" {9+}\r\n/shared/x)",
		"a /private/a /shared/b", "a ()", "(DEPTH 0) a /shared/vendor/a/b", "{1+}\r\na /private//x",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d := NewDecoder(newReader(strings.NewReader(s+"\r\n")), after())
		if d.Next() != nil {
			return
		}
		g := d.GetMetadata()
		if d.End(); d.Err() != nil {
			return
		}
		for _, name := range g.Entries {
			if !strings.HasPrefix(strings.ToLower(name), "/private") &&
				!strings.HasPrefix(strings.ToLower(name), "/shared") ||
				strings.HasSuffix(name, "/") || strings.Contains(name, "//") || strings.ContainsAny(name, "*%") {
				t.Fatalf("%q gives %+v", s, g)
			}
		}
		if len(g.Entries) == 0 || g.Depth < Infinity || g.Depth > 1 {
			t.Fatalf("%q gives %+v", s, g)
		}
	})
}

func depth(k SearchKey) int {
	deepest := 0
	for _, sub := range k.Keys {
		deepest = max(deepest, depth(sub))
	}
	return deepest + 1
}

// FuzzDecoder reads arbitrary bytes as commands the way a server does, and as replies. Whatever
// they are, every command is finished or the session ends.
func FuzzDecoder(f *testing.F) {
	for _, s := range []string{
		"a LOGIN {5}\r\nalice {3+}\r\npwd\r\nb NOOP\r\n",
		"a FETCH 1:* (UID BODY.PEEK[1.2.HEADER.FIELDS (To {2+}\r\nCc)]<0.100> BINARY[1])\r\n",
		"a FETCH 1 (PREVIEW (LAZY) UID)\r\nb FETCH 1 PREVIEW (LAZY)\r\nc FETCH 1 preview (lazy\r\n",
		"a LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (INBOX % \"&AOE-\") RETURN (CHILDREN STATUS (MESSAGES))\r\n",
		"a APPEND x (\\Seen) \" 1-Feb-2026 10:00:00 +0000\" ~{3+}\r\nabc\r\n",
		"a STORE 1 +FLAGS \\Seen \\Deleted\r\n",
		"* 1 FETCH (FLAGS (\\Seen) UID 3 BODY[] {3}\r\nabc ENVELOPE (NIL \"x\" ((NIL NIL \"a\" \"b\")) NIL))\r\n",
		"* OK [CAPABILITY IMAP4rev2] hi\r\n+ go on\r\n",
		"* LIST (\\HasChildren) \"/\" a (\"CHILDINFO\" (\"SUBSCRIBED\"))\r\n",
		"a {3+}\r\n\r\n\r\n", "a \"\\", "\x00\r\n", "a\n", "~{1+}\r\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, command := range []func(d *Decoder){readCommand, func(d *Decoder) { d.Response(nil) }} {
			src := newReader(strings.NewReader(s))
			d := NewDecoder(src, before())
			for n := 0; d.Next() == nil; n++ {
				if n > len(s) {
					t.Fatal("more commands than bytes")
				}
				command(d)
				if d.Finish() != nil {
					break
				}
			}
		}
	})
}

func readCommand(d *Decoder) {
	d.Tag()
	d.SP()
	name := d.Label()
	if d.TrySP() {
		switch name {
		case "LOGIN":
			d.AString()
			d.SP()
			d.AString()
		case "FETCH":
			d.NumSet()
			d.SP()
			d.FetchItems()
		case "LIST":
			d.ListCommand()
		case "STORE":
			d.NumSet()
			d.SP()
			d.Value()
			d.SP()
			d.StoreFlags()
		case "APPEND":
			d.Mailbox()
			d.SP()
			d.Flags()
			d.SP()
			d.DateTime()
			d.SP()
			if l := d.Literal(100); l != nil {
				l.Read(make([]byte, 2))
				l.Close()
			}
		default:
			d.SearchKeys()
		}
	}
	d.End()
}
