package store

import "tram/internal/kv"

// What a person has seen of a mailbox has a head row, under the mailbox and the person:
//
//	modseq
//
// of the last change, and for each block of 4,096 UIDs in which he has marked any a row, under the
// block's number too:
//
//	n { skipped*2+seen length-1 modseq(signed) }
//
// where skipped are the UIDs between the run and the one before (for the first: from the block's first
// UID), and modseq is the difference to that of the run before (for the first: to 0).

func ownSeenKey(dst []byte, id AccountID, m MailboxID) []byte {
	return key32(dst, id, kindOwnSeen, uint32(m))
}

func ownHeadKey(dst []byte, id AccountID, m MailboxID, person AccountID) []byte {
	return kv.AppendUint64(ownSeenKey(dst, id, m), uint64(person))
}

func ownBlockKey(dst []byte, id AccountID, m MailboxID, person AccountID, number uint32) []byte {
	return kv.AppendUint32(ownHeadKey(dst, id, m, person), number)
}

// ownRowKey is the key of a row of own \Seen, taken apart.
type ownRowKey struct {
	mailbox MailboxID
	person  AccountID
	head    bool
	number  uint32
}

func splitOwnKey(key []byte) (k ownRowKey, err error) {
	const head = 1 + 8 + 1
	if len(key) != head+4+8 && len(key) != head+4+8+4 {
		return k, damaged(key, "key of the wrong length")
	}
	m, rest, _ := kv.TakeUint32(key[head:])
	person, rest, _ := kv.TakeUint64(rest)
	k = ownRowKey{mailbox: MailboxID(m), person: AccountID(person), head: len(rest) == 0}
	if !k.head {
		k.number, _, err = kv.TakeUint32(rest)
	}
	if err == nil && (k.person == 0 || k.number > (1<<32-1)/ownBlock) {
		err = damaged(key, "of nobody, or beyond all UIDs")
	}
	return k, err
}

func appendOwnHead(dst []byte, at ModSeq) []byte { return appendUint(append(dst, version1), at) }

func decodeOwnHead(key, value []byte) (ModSeq, error) {
	d, err := unseal(key, value)
	if err != nil {
		return 0, err
	}
	at := ModSeq(d.uint())
	return at, d.done(key)
}

func (b *seenBlock) append(dst []byte) []byte {
	dst = appendUint(append(dst, version1), uint64(len(b.runs)))
	next, prev := UID(b.number*ownBlock), ModSeq(0)
	for _, r := range b.runs {
		seen := uint64(0)
		if r.Seen {
			seen = 1
		}
		dst = appendUint(dst, uint64(r.First-next)<<1|seen)
		dst = appendInt(appendUint(dst, r.Last-r.First), int64(r.ModSeq-prev))
		next, prev = r.Last+1, r.ModSeq
	}
	return dst
}

func decodeOwnBlock(key, value []byte, number uint32) (*seenBlock, error) {
	d, err := unseal(key, value)
	if err != nil {
		return nil, err
	}
	b := &seenBlock{number: number}
	first := uint64(number) * ownBlock
	next, prev := first, ModSeq(0)
	for range d.count(3) {
		skipped := d.uint()
		from := next + skipped>>1
		to := from + d.uint()
		prev += ModSeq(d.int())
		if from < next || to < from || to >= first+ownBlock || to == 0 || from == 0 {
			d.fail()
			break
		}
		b.runs = append(b.runs, seenRun{UIDRange{UID(from), UID(to)}, prev, skipped&1 != 0})
		b.newest = max(b.newest, prev)
		next = to + 1
	}
	if len(b.runs) == 0 {
		d.fail()
	}
	return b, d.done(key)
}
