package queue

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"strconv"
	"time"

	"tram/internal/kv"
)

// The queue's rows. A shard is a number below the queue's shard count and one scope, "queue/N";
// integers in keys are big-endian, queue times are in milliseconds (see qtime.go).
//
//	'q' 'M'                                -> meta: version, shard count
//	'q' 'T'                                -> queue time
//	'q' shard:1 'i' id                     -> item: the envelope and each recipient's state
//	'q' shard:1 'o' unix-ms:8 id           -> empty: the item came at that time
//	'q' shard:1 't' dest prio:1 due:8 id   -> empty: the item waits for this destination
//	'q' shard:1 'S' dest                   -> destination: its count and state
//	'q' shard:1 'D' wake:8 dest            -> empty: when to look at the destination next
//	'q' shard:1 'w' due:8 id               -> empty: the item's sender is to be told of the delay
//	'q' shard:1 'x' due:8 id               -> empty: the item expires
//	'q' shard:1 'h' unix:8 id              -> empty: a hold or a deadline by the wall clock ends
//	'q' shard:1 'a' id 00 dest             -> an attempt was started (unsynced at first)
//	'q' shard:1 'c'                        -> how many items wait and are held
//	'q' shard:1 'n' account:8              -> what an account has sent
//	'q' shard:1 'k' account:8 hash:8       -> the account has written to this address
//	'q' shard:1 'r' key:16 address         -> a message was taken for this recipient (handing.go)
//	'q' shard:1 'e' until:8 key:16 address -> empty: when that is forgotten
//
// dest is escaped and terminated by kv.AppendString where something follows it. prio is 9 minus
// the MT-PRIORITY, so that urgent items come first. Item, destination and account rows start with a
// version byte; they are told next to their codecs.
//
// An item is in 't' once for each destination it still owes; held items are in no index but 'h'. For
// each destination in 't' there is one 'S' and one 'D'. So the cost of finding work follows the
// number of destinations with work, never the number of items that wait.
const (
	space = 'q'

	metaSub  = 'M'
	timeSub  = 'T'
	itemSub  = 'i'
	cameSub  = 'o'
	legSub   = 't'
	destSub  = 'S'
	wakeSub  = 'D'
	warnSub  = 'w'
	endSub   = 'x'
	wallSub  = 'h'
	markSub  = 'a'
	countSub = 'c'
	sentSub  = 'n'
	knownSub = 'k'
	handSub  = 'r'
	overSub  = 'e'

	version = 1 // first byte of meta, item, destination and account rows
)

var (
	metaKey = []byte{space, metaSub}
	timeKey = []byte{space, timeSub}
)

// metaScope is the scope of what belongs to no shard.
const metaScope = kv.Scope("queue/meta")

// shard is one part of the queue.
type shard uint8

// maxShards keeps shard bytes apart from the keys of metaKey and timeKey.
const maxShards = 64

func (s shard) scope() kv.Scope { return kv.Scope("queue/" + strconv.Itoa(int(s))) }

func (s shard) prefix(sub byte) []byte { return []byte{space, byte(s), sub} }

func (s shard) itemKey(id ID) []byte { return append(s.prefix(itemSub), id...) }

func (s shard) markKey(id ID, dest string) []byte {
	return append(append(append(s.prefix(markSub), id...), 0), dest...)
}

func (s shard) destKey(dest string) []byte { return append(s.prefix(destSub), dest...) }

func (s shard) wakeKey(wake qtime, dest string) []byte {
	return append(kv.AppendUint64(s.prefix(wakeSub), uint64(wake)), dest...)
}

// legPrefix is before every item that waits for dest; with a priority, every one of that priority.
func (s shard) legPrefix(dest string) []byte { return kv.AppendString(s.prefix(legSub), dest) }

func (s shard) legKey(dest string, prio int, due qtime, id ID) []byte {
	k := append(s.legPrefix(dest), prioByte(prio))
	return append(kv.AppendUint64(k, uint64(due)), id...)
}

func prioByte(prio int) byte { return byte(9 - min(max(prio, -9), 9)) }

// cameKey is where an item stands in the order of arrival.
func (s shard) cameKey(r *record) []byte { return s.timedKey(cameSub, r.created.UnixMilli(), r.id) }

// timedKey is a key of one of the time indexes cameSub, warnSub, endSub and wallSub.
func (s shard) timedKey(sub byte, at int64, id ID) []byte {
	return append(kv.AppendUint64(s.prefix(sub), uint64(max(at, 0))), id...)
}

func (s shard) sentKey(account uint64) []byte { return kv.AppendUint64(s.prefix(sentSub), account) }

func (s shard) knownKey(account uint64, address string) []byte {
	h := fnv.New64a()
	h.Write([]byte(address))
	return kv.AppendUint64(kv.AppendUint64(s.prefix(knownSub), account), h.Sum64())
}

// parseTimed takes a key of the form prefix time:8 name apart; prefix is three octets.
func parseTimed(key []byte) (at int64, name string, err error) {
	if len(key) < 3+8 {
		return 0, "", fmt.Errorf("queue key %x: %w", key, kv.ErrCorrupt)
	}
	return int64(binary.BigEndian.Uint64(key[3:])), string(key[11:]), nil
}

// parseLeg takes the part of a leg key after legPrefix apart.
func parseLeg(s shard, rest []byte) (legRef, error) {
	if len(rest) < 10 {
		return legRef{}, fmt.Errorf("queue key %x: %w", rest, kv.ErrCorrupt)
	}
	due := qtime(binary.BigEndian.Uint64(rest[1:]))
	return legRef{s: s, prio: rest[0], due: due, id: ID(rest[9:])}, nil
}

// owner is the name under which an item refers to its body.
func owner(id ID) []byte { return append([]byte("queue/"), id...) }

// unixSeconds keeps a wall time as a key holds it; the zero time is 0.
func unixSeconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return min(max(t.Unix(), 1), math.MaxInt32*100)
}

func fromUnix(s int64) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(s, 0).UTC()
}
