package imap

import "time"

// SearchKey is one node of a search program, RFC 9051 §6.4.4. Which fields are set depends on Name,
// see searchKeys.
type SearchKey struct {
	Name   string // in upper case; "AND" for a list, "SEQ" for a set of message numbers
	Keys   []SearchKey
	Set    NumSet
	Text   string
	Field  string // of HEADER
	Date   time.Time
	Number uint64
}

// searchArgs is what follows a key's name.
type searchArgs int

const (
	argsNone searchArgs = iota
	argsText
	argsFlag
	argsDate
	argsNumber
	argsSet
	argsHeader
	argsKey
	argsTwoKeys
	argsModSeq
	argsID
	argsInterval
	argsFilter
	argsUID
)

// searchKeys names every key and its arguments. An extension adds its keys here.
var searchKeys = map[string]searchArgs{
	"ALL": argsNone, "ANSWERED": argsNone, "DELETED": argsNone, "DRAFT": argsNone,
	"FLAGGED": argsNone, "SEEN": argsNone, "UNANSWERED": argsNone, "UNDELETED": argsNone,
	"UNDRAFT": argsNone, "UNFLAGGED": argsNone, "UNSEEN": argsNone,
	"NEW": argsNone, "OLD": argsNone, "RECENT": argsNone, // RFC 3501 §6.4.4
	"BCC": argsText, "BODY": argsText, "CC": argsText, "FROM": argsText, "SUBJECT": argsText,
	"TEXT": argsText, "TO": argsText,
	"HEADER": argsHeader, "KEYWORD": argsFlag, "UNKEYWORD": argsFlag,
	"BEFORE": argsDate, "ON": argsDate, "SINCE": argsDate,
	"SENTBEFORE": argsDate, "SENTON": argsDate, "SENTSINCE": argsDate,
	"LARGER": argsNumber, "SMALLER": argsNumber,
	"UID": argsSet, "NOT": argsKey, "OR": argsTwoKeys,
	"MODSEQ":  argsModSeq,                 // RFC 7162 §3.1.5
	"EMAILID": argsID, "THREADID": argsID, // RFC 8474 §6
	"OLDER": argsInterval, "YOUNGER": argsInterval, // RFC 5032 §3
	"SAVEDBEFORE": argsDate, "SAVEDON": argsDate, "SAVEDSINCE": argsDate, // RFC 8514 §5
	"SAVEDATESUPPORTED": argsNone,
	"FUZZY":             argsKey, // RFC 6203 §3
	"UIDAFTER":          argsUID, // RFC 9738 §3.2
	"UIDBEFORE":         argsUID,
	"FILTER":            argsFilter, // RFC 5466 §3.1
}

// maxSearchKeys bounds the nodes of one search program.
const maxSearchKeys = 2000

// SearchKeys reads one or more search keys up to the end of the command; several make an "AND".
func (d *Decoder) SearchKeys() SearchKey {
	nodes := 0
	keys := []SearchKey{d.searchKey(&nodes)}
	for d.err == nil && d.TrySP() {
		keys = append(keys, d.searchKey(&nodes))
	}
	if len(keys) == 1 {
		return keys[0]
	}
	return SearchKey{Name: "AND", Keys: keys}
}

// searchKey reads one key with its arguments.
func (d *Decoder) searchKey(nodes *int) SearchKey {
	if *nodes++; *nodes > maxSearchKeys {
		d.Fail(&Error{Code: "LIMIT", Text: "Too many search keys"})
	}
	switch c := d.peek(); {
	case c == '(':
		k := SearchKey{Name: "AND"}
		d.List(func() { k.Keys = append(k.Keys, d.searchKey(nodes)) })
		if len(k.Keys) == 0 {
			d.Bad("Expected a search key%s", d.found())
		}
		return k
	case c == '*' || c == '$' || '0' <= c && c <= '9':
		return SearchKey{Name: "SEQ", Set: d.NumSet()}
	}
	k := SearchKey{Name: d.Label()}
	args, known := searchKeys[k.Name]
	if !known {
		d.Bad("Unknown search key")
		return k
	}
	if args != argsNone {
		d.SP()
	}
	d.searchArgs(args, &k, nodes)
	return k
}

// searchArgs reads what follows a key's name. Keys with keys inside count as a level of nesting.
func (d *Decoder) searchArgs(args searchArgs, k *SearchKey, nodes *int) {
	switch args {
	case argsText:
		k.Text = d.AString()
	case argsFlag:
		k.Text = d.Flag()
	case argsID:
		k.Text = d.Atom()
	case argsDate:
		k.Date = d.Date()
	case argsNumber:
		k.Number = d.Number64()
	case argsFilter:
		k.Text = d.filterName()
	case argsInterval, argsUID:
		k.Number = uint64(d.NonZero())
	case argsSet:
		k.Set = d.NumSet()
	case argsHeader:
		k.Field = d.AString()
		d.SP()
		k.Text = d.AString()
	case argsModSeq:
		k.Number = d.searchModSeq()
	case argsKey, argsTwoKeys:
		d.enter()
		k.Keys = append(k.Keys, d.searchKey(nodes))
		if args == argsTwoKeys {
			d.SP()
			k.Keys = append(k.Keys, d.searchKey(nodes))
		}
		d.depth--
	}
}

// searchModSeq reads the arguments of MODSEQ. The name and type of a metadata item are ignored, as
// one mod-sequence serves all items of a message (RFC 7162 §3.1.5).
func (d *Decoder) searchModSeq() uint64 {
	if d.peek() == '"' {
		d.quoted()
		d.SP()
		switch d.Label() {
		case "PRIV", "SHARED", "ALL":
		default:
			d.Bad("Expected priv, shared or all")
		}
		d.SP()
	}
	return d.Number64()
}

// Uses reports whether the search program holds the key name anywhere.
func (k SearchKey) Uses(name string) bool {
	if k.Name == name {
		return true
	}
	for _, sub := range k.Keys {
		if sub.Uses(name) {
			return true
		}
	}
	return false
}
