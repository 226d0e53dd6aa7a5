package imapd

import (
	"tram/internal/imap"
	"tram/internal/store"
)

// SEARCH=FUZZY, RFC 6203. What "about" means for texts, dates and sizes is the store's knowledge
// (store.Fuzzy); here stands which keys it applies to.

// exactKeys are matched exactly inside of FUZZY, though their filters could be fuzzy: RFC 5032 §2 has
// it so.
var exactKeys = map[string]bool{"OLDER": true, "YOUNGER": true}

// compileFuzzy is FUZZY. What is inside of a NOT stays exact: what is not quite something would be
// nearly everything.
func (c *compiler) compileFuzzy(k *imap.SearchKey) (store.Filter, error) {
	outer := c.fuzzy
	c.fuzzy = true
	filter, err := c.compile(&k.Keys[0])
	c.fuzzy = outer
	return filter, err
}

// fuzzily is the filter of a key inside of FUZZY.
func fuzzily(key string, f store.Filter) store.Filter {
	if exactKeys[key] {
		return f
	}
	return store.Fuzzy{Filter: f}
}

// relevancyNeedsFuzzy refuses a search that asks for scores which nothing gives (RFC 6203 §4 and §6),
// by the RELEVANCY option or by an order.
func (s *session) relevancyNeedsFuzzy(asked bool, key *imap.SearchKey) {
	if asked && !key.Uses("FUZZY") {
		s.dec.Bad("RELEVANCY needs FUZZY")
	}
}

// appendRelevancy writes the scores of hits, in their order.
func appendRelevancy(b []byte, scores []uint8) []byte {
	b = append(b, " RELEVANCY ("...)
	for i, score := range scores {
		if i > 0 {
			b = append(b, ' ')
		}
		b = imap.AppendNumber(b, int(score))
	}
	return append(b, ')')
}

// scores returns those of the messages that the reply names: with PARTIAL, of its part.
func (cmd searchCommand) scores(f *found) []uint8 {
	if !cmd.options["PARTIAL"] {
		return f.scores
	}
	from, to := cmd.partial.Of(len(f.scores))
	return f.scores[from:to]
}
