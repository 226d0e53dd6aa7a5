package spam

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"time"

	"tram/internal/kv"
)

// The room's rows, all below 'p'. Integers are big-endian, text in keys is escaped and terminated by
// kv.AppendString where something follows it. Values begin with a version byte, then JSON unless told
// otherwise. The lower-case letters after 'p' belong to the inner room words.
//
//	'p' 'A' scope kind:1 value      -> a rule of an allow or deny list
//	'p' 'T' scope                   -> thresholds
//	'p' 'R' scope kind:1 name       -> good and bad of a name: two float32, hours:4 (see reputation.go)
//	'p' 'G' hash:16                 -> a sender who was asked to come again (see grey.go)
//	'p' 'J' unix-ms:8 id            -> a message that was refused at the door
//	'p' 'S' address                 -> an address elsewhere that does not exist
//	'p' 'K' account:8 hash:8        -> the account has written to this address: days:4
//	'p' 'H' account:8               -> how much the account sends (see outgoing.go)
//	'p' 'L' account:8 email:8       -> what was learned from this email (see learned.go)
//	'p' 'C' account:8               -> up to which change that was looked for: modseq:8
//	'p' 'N' name                    -> somebody was told of this: unix:8
//
// A scope is "" for the server, a domain, or "#" and the number of an account.
const (
	space = 'p'

	ruleSub     = 'A'
	policySub   = 'T'
	nameSub     = 'R'
	greySub     = 'G'
	refusedSub  = 'J'
	suppressSub = 'S'
	knownSub    = 'K'
	habitSub    = 'H'
	learnedSub  = 'L'
	cursorSub   = 'C'
	toldSub     = 'N'

	version = 1
)

// The kv scopes of the room's rows. What comes from every message is written by one job only.
const (
	scopeRules = kv.Scope("spam/rules")
	scopeFacts = kv.Scope("spam/facts")
)

// learnScope is that of what was learned from one account's mail.
func learnScope(account uint64) kv.Scope { return kv.Scope(fmt.Sprintf("spam/learn/%d", account)) }

func prefix(sub byte) []byte { return []byte{space, sub} }

func scopedKey(sub byte, scope Scope) []byte { return kv.AppendString(prefix(sub), string(scope)) }

func accountKey(sub byte, account uint64) []byte { return kv.AppendUint64(prefix(sub), account) }

func hash64(s string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s)) // a hash takes everything
	return h.Sum64()
}

// encode is the version byte and v as JSON.
func encode(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	return append([]byte{version}, b...), err
}

// decode reads what encode wrote.
func decode(what string, b []byte, v any) error {
	if len(b) > 0 && b[0] > version {
		return fmt.Errorf("%s of version %d: %w", what, b[0], kv.ErrNewer)
	}
	if len(b) == 0 || b[0] != version {
		return fmt.Errorf("%s: %w", what, kv.ErrCorrupt)
	}
	if err := json.Unmarshal(b[1:], v); err != nil {
		return fmt.Errorf("%s: %w: %w", what, kv.ErrCorrupt, err)
	}
	return nil
}

// hours and days keep times in few bytes.
func hours(t time.Time) uint32 { return uint32(max(t.Unix(), 0) / 3600) }
func days(t time.Time) uint32  { return uint32(max(t.Unix(), 0) / 86400) }
