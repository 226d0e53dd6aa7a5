package imapd

import (
	"errors"
	"strings"

	"tram/internal/imap"
	"tram/internal/store"
)

// FILTERS, RFC 5466: searches that have a name. They are annotations of the server; a private one
// stands before the shared one of the same name. A filter takes part in a search as if it stood in
// parentheses, so that "NOT FILTER x" means what it says. All is put in before the search runs.

const filterValues = "filters/values/"

// filterPasses is how many filters may stand within each other; RFC 5466 §3.1 asks for 3.
const filterPasses = 10

// maxFilterKeys bounds the keys of a search with all that its filters bring.
const maxFilterKeys = 2000

// filterOf returns the name of the filter that an entry is the value of.
func filterOf(entry string) (name string, ok bool) {
	entry = strings.ToLower(entry)
	for _, scope := range []string{"/private/", "/shared/"} {
		if name, ok := strings.CutPrefix(entry, scope+filterValues); ok {
			return name, true
		}
	}
	return "", false
}

// checkFilters refuses filters that no search could use (RFC 5466 §3.2 and §4).
func checkFilters(values []imap.EntryValue) error {
	for _, v := range values {
		name, ok := filterOf(v.Name)
		if !ok || v.Nil {
			continue
		}
		if !imap.ValidFilterName(name) {
			return &no{"CANNOT", "Not a valid name for a filter"}
		}
		if _, err := imap.ParseSearch(v.Value); err != nil {
			return &no{"CANNOT", "Not valid search criteria"}
		}
	}
	return nil
}

// charsetRefusal is NO, and BAD for a search with filters, whose charset is UTF-8 (RFC 5466 §3.1).
func (s *session) charsetRefusal() error {
	if s.dec.Mentions("FILTER ") {
		return &imap.Error{Code: errCharset.code, Text: "Filters are UTF-8"}
	}
	return errCharset
}

// expander puts the filters into one search.
type expander struct {
	s     *session
	known map[string]string // criteria by name
	inUse []string          // the filters that the key stands in
	keys  int
}

// expandFilters replaces each FILTER in a search by what it stands for.
func (s *session) expandFilters(k *imap.SearchKey) error {
	if !k.Uses("FILTER") {
		return nil
	}
	return (&expander{s: s, known: map[string]string{}}).expand(k)
}

func (e *expander) expand(k *imap.SearchKey) error {
	if e.keys++; e.keys > maxFilterKeys {
		return &no{"LIMIT", "Too many search keys in filters"}
	}
	if k.Name != "FILTER" {
		for i := range k.Keys {
			if err := e.expand(&k.Keys[i]); err != nil {
				return err
			}
		}
		return nil
	}
	name := strings.ToLower(k.Text)
	undefined := &no{"UNDEFINED-FILTER " + k.Text, "No such filter"}
	if len(e.inUse) == filterPasses {
		return undefined
	}
	for _, other := range e.inUse {
		if other == name {
			return undefined // RFC 5466 §3.1: a loop is as if there were none
		}
	}
	criteria, err := e.criteria(name)
	if errors.Is(err, store.ErrNotFound) {
		return undefined
	}
	if err != nil {
		return err
	}
	inner, err := imap.ParseSearch(criteria)
	if err != nil {
		return &no{"CANNOT", "The filter is not valid search criteria"}
	}
	e.inUse = append(e.inUse, name)
	err = e.expand(&inner)
	e.inUse = e.inUse[:len(e.inUse)-1]
	*k = inner
	return err
}

// criteria reads what a filter stands for, once in a search.
func (e *expander) criteria(name string) (string, error) {
	if text, ok := e.known[name]; ok {
		return text, nil
	}
	text := ""
	read := func(a *store.Annotations, scope string) error {
		entry, err := a.Get(scope + filterValues + name)
		text = string(entry.Value)
		return err
	}
	err := e.s.view(func(tx *store.Tx) error {
		a, err := tx.Annotations(0)
		if err != nil {
			return err
		}
		return read(a, "/private/")
	})
	if errors.Is(err, store.ErrNotFound) {
		err = e.s.srv.o.Store.ViewDomainAnnotations(e.s.ctx, e.s.domain,
			func(a *store.Annotations) error { return read(a, "/shared/") })
	}
	if err == nil {
		e.known[name] = text
	}
	return text, err
}
