package imap

import "slices"

// maxPatterns bounds the patterns of one LIST.
const maxPatterns = 200

// ListCommand is a LIST command, RFC 9051 §6.3.9.
type ListCommand struct {
	Select    []string // selection options, in upper case
	Reference string
	Patterns  []string
	Return    []string // return options, in upper case
	Status    []string // items of RETURN (STATUS (...)), RFC 5819
	Metadata  []string // entries of RETURN (METADATA (...)), RFC 9590
	Extended  bool     // any of the extended syntax was used
}

// ListCommand reads the arguments of LIST. Option names are not checked.
func (d *Decoder) ListCommand() ListCommand {
	var l ListCommand
	if d.peek() == '(' {
		l.Extended = true
		d.List(func() { l.Select = append(l.Select, d.Label()) })
		d.SP()
	}
	l.Reference = d.Reference()
	d.SP()
	if d.peek() == '(' {
		l.Extended = true
		d.List(func() { l.Patterns = append(l.Patterns, d.Pattern()) })
		if len(l.Patterns) > maxPatterns {
			d.Fail(&Error{Code: "LIMIT", Text: "Too many patterns"})
		}
		if len(l.Patterns) == 0 {
			d.Bad("Expected a pattern")
		}
	} else {
		l.Patterns = []string{d.Pattern()}
	}
	if d.TrySP() {
		l.Extended = true
		if d.Label() != "RETURN" {
			d.Bad("Expected RETURN%s", d.found())
		}
		d.SP()
		d.List(func() {
			option := d.Label()
			l.Return = append(l.Return, option)
			if option == "STATUS" {
				d.SP()
				l.Status = d.StatusItems()
			}
			if option == "METADATA" {
				d.SP()
				l.Metadata = d.listEntries()
			}
		})
	}
	return l
}

// Reference reads the reference name of LIST: a mailbox name that may be no name at all.
func (d *Decoder) Reference() string {
	name := d.AString()
	if d.UTF8 || d.err != nil {
		return name
	}
	if decoded, ok := DecodeName(name); ok {
		return decoded
	}
	return name
}

// Wants reports whether the command has a return option.
func (l *ListCommand) Wants(option string) bool { return slices.Contains(l.Return, option) }

// Selects reports whether the command has a selection option.
func (l *ListCommand) Selects(option string) bool { return slices.Contains(l.Select, option) }

// StatusItems reads the parenthesised list of STATUS, in upper case. Names are not checked.
func (d *Decoder) StatusItems() []string {
	var items []string
	d.List(func() {
		if item := d.Label(); !slices.Contains(items, item) {
			items = append(items, item)
		}
	})
	if len(items) == 0 {
		d.Bad("Expected status items%s", d.found())
	}
	return items
}
