// Package words answers "how much does this message read like what people call junk?": a classifier
// that learns words and pairs of words, in Vietnamese, English and whatever else is written, for
// each account and for all of them together.
//
// It promises: what was learnt from a message can be taken back exactly as long as it is remembered;
// learning the same message twice changes nothing; memory, rows and time per message are bounded by
// limits.Words, whatever a message holds; a classifier that has seen too little has no opinion.
//
// What must never happen: a message's text can be read out of what is stored (words are kept as hashes
// with a secret key); words that one account alone has taught decide about the mail of another.
//
// # How it judges
//
// What was measured with bench spam decided: at one false alarm in a thousand, Robinson's probabilities
// combined by Fisher's method find more junk than sums of logarithms do where little was learnt, and as
// much where more was. Pairs of neighbours help where
// little was learnt; pairs with a gap do not. Of a pair and its words the strongest alone is counted, or
// a message becomes surer than it should. In Vietnamese, where a syllable says little, pairs are the words; they are
// learnt with their marks and without.
//
// # What is stored
//
// All keys begin with 'p' 'w', then the owner (8 bytes, 0 for what is shared), then a letter; keys
// of rows.go tell them to the byte. Each owner has a table of words, packed into rows of some thousand
// each, and a list of lessons: the words of each message that was learnt. Learning adds one lesson and
// changes no table; when enough of them have come together they are added to the table. A process keeps the
// tables it uses in memory, and brings them up to date with the lessons that have come since: judging
// a message reads two small rows.
package words

import (
	"cmp"
	"log/slog"
	"sync"

	"tram/internal/clock"
	"tram/internal/kv"
	"tram/internal/limits"
)

// Owner is whose words they are: an account's number.
type Owner uint64

// Shared owns what all accounts have taught together, and what the server's operator teaches.
const Shared Owner = 0

// Text is what of a message is looked at. All strings are decoded; what is not valid UTF-8 separates
// words.
type Text struct {
	Subject string
	From    string // the From field: the name that is shown, and the address
	To      string // the name that is shown there; "Dear Jane.doe" is a sign
	// Body is the text that a person sees, of all text parts, HTML made plain.
	Body string
	// Hosts are the hosts that links lead to.
	Hosts []string
	// Files are the types and name endings of attachments: "application/zip", ".exe".
	Files []string
	// Signs are names of other things that were found, such as of a header's oddities. Each is learnt as a word.
	Signs []string
}

// Clue is a word that speaks for or against a message.
type Clue struct {
	// Word is as it was read: "vay tiền", "subject:winner", "from:example.com", "link:example.com".
	Word string
	// Probability is how sure this word alone is of junk, from 0 to 1.
	Probability float64
	// Own says that the account's own lessons know the word.
	Own bool
}

// Verdict is what the words say.
type Verdict struct {
	// Probability is how sure the words are that it is junk, from 0 to 1; 0.5 is no opinion. Above Junk
	// they speak against the message, below Good for it.
	Probability float64
	// Known says that enough was learnt to have an opinion. Without it Probability is 0.5.
	Known bool
	// Clues are the strongest of the words that were counted, the strongest first; 15 at most.
	Clues []Clue
	// Words is how many different words and pairs the message has, Used how many of them were counted.
	Words, Used int
	// Junk and Good are how many messages were learnt as each: the account's own and all of the
	// shared ones.
	Junk, Good int64
}

// Junk and Good are the probabilities from which on words alone are a strong sign. With Junk fewer
// than one good message in a thousand is called junk; bench/RESULTS.md has the measurements.
const (
	Junk = 0.999
	Good = 0.10
)

// Options are what a Classifier needs.
type Options struct {
	DB     kv.Database
	Limits limits.Words // zero: the defaults
	Clock  clock.Clock  // nil: the system's
	Log    *slog.Logger // nil: nothing is logged
	// Secret makes the stored hashes of words useless to whoever has a copy of the database alone. It must
	// be the same on every machine and on every start: with another one everything learnt is lost. nil
	// is allowed.
	Secret []byte
	// Memory is how many bytes of tables of accounts are kept; 0 is 64 MiB. The shared table comes on top.
	Memory int64
}

// Classifier learns and judges. It is safe for concurrent use, and any number of them may share a
// database.
type Classifier struct {
	db     kv.Database
	limits limits.Words
	clock  clock.Clock
	log    *slog.Logger
	secret []byte

	keyLock sync.Mutex
	key     *sipKey // nil until it was read

	tables tables
	always bool // write tables however little is new, in tests
}

// Open returns a Classifier over what is in the database. It reads nothing yet.
func Open(o Options) *Classifier {
	if o.Limits == (limits.Words{}) {
		o.Limits = limits.Default().Words
	}
	if o.Clock == nil {
		o.Clock = clock.System
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Classifier{
		db: o.DB, limits: o.Limits, clock: o.Clock, log: o.Log, secret: o.Secret,
		tables: tables{room: cmp.Or(o.Memory, 64<<20)},
	}
}
