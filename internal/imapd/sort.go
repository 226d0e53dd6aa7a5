package imapd

import (
	"slices"
	"strings"

	"tram/internal/imap"
	"tram/internal/store"
)

// sortKeys says what the criteria of SORT are in the store (RFC 5256 §3, RFC 5957 §4). ARRIVAL and
// SIZE are in the hot list; the others take one pass over the rows of the messages found.
var sortKeys = map[string]store.SortKey{
	"ARRIVAL":     store.ByReceived,
	"CC":          store.ByCc,
	"DATE":        store.BySent,
	"FROM":        store.ByFrom,
	"SIZE":        store.BySize,
	"SUBJECT":     store.BySubject,
	"TO":          store.ByTo,
	"DISPLAYFROM": store.ByDisplayFrom,
	"DISPLAYTO":   store.ByDisplayTo,
	"RELEVANCY":   store.ByRelevance, // RFC 6203 §6
}

// sort is SORT and UID SORT, RFC 5256 §3, with RETURN as RFC 5267 §3 has it (ESORT).
func (s *session) sort() error {
	s.dec.SP()
	cmd, err := s.sortArguments()
	if err != nil {
		return s.searchFailed(cmd, err)
	}
	if err := s.args(); err != nil {
		return err
	}
	return s.runSearch(cmd)
}

// sortArguments reads RETURN, the criteria, the charset and the keys.
func (s *session) sortArguments() (searchCommand, error) {
	cmd := s.searchReturn()
	cmd.sort = comparators(s.dec.SortKeys())
	s.dec.SP()
	if err := s.mandatoryCharset(); err != nil {
		return cmd, err
	}
	cmd.key = s.dec.SearchKeys()
	s.relevancyNeedsFuzzy(cmd.options["RELEVANCY"] || cmd.byRelevance(), &cmd.key)
	return cmd, nil
}

// byRelevance reports whether the order asks for scores.
func (cmd searchCommand) byRelevance() bool {
	return slices.ContainsFunc(cmd.sort, func(c store.Comparator) bool {
		return c.Key == store.ByRelevance
	})
}

// comparators turns sort criteria into the store's. Texts have the order that RFC 5256 §7 demands.
func comparators(keys []imap.SortKey) []store.Comparator {
	out := make([]store.Comparator, len(keys))
	for i, k := range keys {
		out[i] = store.Comparator{Key: sortKeys[k.Name], Reverse: k.Reverse, Casemap: true}
	}
	return out
}

// mandatoryCharset reads the charset that SORT and THREAD cannot do without, and the space after it.
// It is for the strings in the keys.
func (s *session) mandatoryCharset() error {
	charset := strings.ToUpper(s.dec.AString())
	if s.dec.Err() == nil && !knownCharset(charset) {
		return s.charsetRefusal()
	}
	s.dec.SP()
	return nil
}
