package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"tram/internal/kv"
)

// Layout of the key space 's'. Numbers in keys are big endian, so that keys sort by them.
//
//	's' account:8 'a'                          account row                  rowaccount.go
//	's' account:8 'b'                          keyword table                rowaccount.go
//	's' account:8 'c' modseq:8                 change log, one a transaction rowchange.go
//	's' account:8 'd' key:1-255                deliveries not acknowledged  dedupe.go
//	's' account:8 'e' email:8                  email row, never changed     rowemail.go
//	's' account:8 'f' email:8                  state row of an email        rowstate.go
//	's' account:8 'g' email:8                  not sent as it lies there    lineform.go
//	's' account:8 'h' mailbox:4                rights of others             acl.go
//	's' account:8 'i' hash:8                   thread of a message id       thread.go
//	's' account:8 'l' mailbox:4 first:4 slot:4 hot list                     segment.go
//	's' account:8 'm' mailbox:4                mailbox row                  rowmailbox.go
//	's' account:8 'n' parent:4 leaf            mailbox by name              rowmailbox.go
//	's' account:8 'o' mailbox:4 person:8       head of a person's own \Seen ownseenrow.go
//	's' account:8 'o' mailbox:4 person:8 no:4  own \Seen of 4,096 UIDs
//	's' account:8 'p'                          head of all annotations      metadatarow.go
//	's' account:8 'p' mailbox:4 name           annotation (mailbox 0: of the account)
//	's' account:8 'r' removed:8 email:8        recoverable emails by time   recover.go
//	's' account:8 's' name                     subscriptions                mailboxname.go
//	's' account:8 't' thread:8                 thread row                   thread.go
//	's' account:8 'v' mailbox:4 modseq:8       expunged UIDs                rowchange.go
//	's' 0:8       'p' domain 0 1               head of a domain's annotations
//	's' 0:8       'p' domain 0 1 name          annotation of a domain
//	's' 0:8       'q' domain 0 1               domain quota                 domain.go
//	's' 0:8       'q' domain 0 1 account:8     member of a domain           domain.go
//	's' 0:8       'w' 0 person:8 owner:8       owner shares with a person   share.go
//	's' 0:8       'w' 1 domain 0 1 owner:8     owner shares with a domain
//
// A value is a version byte, the fields, and the CRC-32C of key, version and fields in 4 bytes,
// little endian. Fields are, unless said otherwise, unsigned varints (encoding/binary); "signed"
// ones are zigzag varints; strings and byte slices have their length before them. The only empty
// value is that of an acknowledged dedupe row.
const space = 's'

// Kinds of rows, the byte after the account.
const (
	kindAccount   = 'a'
	kindKeywords  = 'b'
	kindChange    = 'c'
	kindDedupe    = 'd'
	kindEmail     = 'e'
	kindState     = 'f'
	kindLineForm  = 'g'
	kindACL       = 'h'
	kindThreadOf  = 'i'
	kindList      = 'l'
	kindMailbox   = 'm'
	kindName      = 'n'
	kindOwnSeen   = 'o'
	kindMetadata  = 'p'
	kindDomain    = 'q'
	kindRecover   = 'r'
	kindSubscribe = 's'
	kindThread    = 't'
	kindVanished  = 'v'
	kindShare     = 'w'
)

var kindNames = map[byte]string{
	kindAccount: "account", kindKeywords: "keywords", kindChange: "change", kindDedupe: "dedupe",
	kindEmail: "email", kindState: "state of email", kindThreadOf: "thread index",
	kindList: "list of mailbox", kindMailbox: "mailbox", kindName: "name in mailbox",
	kindLineForm: "line form of email", kindMetadata: "annotation", kindACL: "rights to mailbox",
	kindOwnSeen: "own \\Seen in mailbox", kindShare: "share",
	kindDomain: "domain", kindRecover: "recoverable email", kindSubscribe: "subscription",
	kindThread: "thread", kindVanished: "expunged of mailbox",
}

// version1 is the first version of every row. A row with a higher one is not guessed at.
const version1 = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendKey(dst []byte, id AccountID, kind byte) []byte {
	dst = append(dst, space)
	dst = kv.AppendUint64(dst, uint64(id))
	return append(dst, kind)
}

func key64(dst []byte, id AccountID, kind byte, n uint64) []byte {
	return kv.AppendUint64(appendKey(dst, id, kind), n)
}

func key32(dst []byte, id AccountID, kind byte, n uint32) []byte {
	return kv.AppendUint32(appendKey(dst, id, kind), n)
}

// listKey is the key of a segment's base (slot 0) or of what overrides the entry with UID slot.
func listKey(dst []byte, id AccountID, m MailboxID, first, slot UID) []byte {
	dst = key32(dst, id, kindList, uint32(m))
	return kv.AppendUint32(kv.AppendUint32(dst, uint32(first)), uint32(slot))
}

func vanishedKey(dst []byte, id AccountID, m MailboxID, at ModSeq) []byte {
	return kv.AppendUint64(key32(dst, id, kindVanished, uint32(m)), uint64(at))
}

func nameKey(dst []byte, id AccountID, parent MailboxID, leaf string) []byte {
	return append(key32(dst, id, kindName, uint32(parent)), leaf...)
}

func recoverKey(dst []byte, id AccountID, removed int64, email EmailID) []byte {
	return kv.AppendUint64(key64(dst, id, kindRecover, uint64(max(removed, 0))), uint64(email))
}

// seal ends a value that was built as version byte and fields.
func seal(key, value []byte) []byte {
	sum := crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
	return binary.LittleEndian.AppendUint32(value, sum)
}

// unseal checks a value that seal made, and returns a decoder that stands at the first field.
func unseal(key, value []byte) (decoder, error) {
	n := len(value) - 4
	if n < 1 {
		return decoder{}, damaged(key, "too short")
	}
	sum := crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value[:n])
	if sum != binary.LittleEndian.Uint32(value[n:]) {
		return decoder{}, damaged(key, "checksum does not match")
	}
	if value[0] != version1 {
		return decoder{}, damaged(key, "unknown version")
	}
	return decoder{b: value[1:n]}, nil
}

// damaged makes the error for a row that cannot be understood.
func damaged(key []byte, why string) error {
	return fmt.Errorf("read %s: %s: %w", describeKey(key), why, ErrDamaged)
}

// describeKey tells what a key is of, and the key itself for those who must find it.
func describeKey(key []byte) string {
	if len(key) < 10 || key[0] != space {
		return fmt.Sprintf("key %x", key)
	}
	id, kind, rest := binary.BigEndian.Uint64(key[1:]), key[9], key[10:]
	name := kindNames[kind]
	if name == "" {
		name = fmt.Sprintf("row %q", kind)
	}
	switch kind {
	case kindName, kindSubscribe, kindDedupe, kindDomain, kindThreadOf, kindMetadata, kindOwnSeen,
		kindShare:
		return fmt.Sprintf("%s of account %d (key %x)", name, id, key)
	}
	for ; len(rest) >= 8 && kind != kindList; rest = rest[8:] {
		if kind == kindVanished {
			name = fmt.Sprintf("%s %d", name, binary.BigEndian.Uint32(rest))
			rest = rest[4:]
		}
		name = fmt.Sprintf("%s %d", name, binary.BigEndian.Uint64(rest))
	}
	for ; len(rest) >= 4; rest = rest[4:] {
		name = fmt.Sprintf("%s %d", name, binary.BigEndian.Uint32(rest))
	}
	return fmt.Sprintf("%s of account %d (key %x)", name, id, key)
}

// decoder reads the fields of a row. After the first that cannot be read it is bad, and returns
// zeros.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) uint() uint64 {
	if len(d.b) > 0 && d.b[0] < 0x80 {
		v := d.b[0]
		d.b = d.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) int() int64 {
	u := d.uint()
	return int64(u>>1) ^ -int64(u&1)
}

func (d *decoder) uint32() uint32 {
	v := d.uint()
	if v > 1<<32-1 {
		d.fail()
		return 0
	}
	return uint32(v)
}

// count reads the number of things to come, each of at least size bytes: a damaged row must not
// make the reader reserve memory for what cannot be there.
func (d *decoder) count(size int) int {
	n := d.uint()
	if n > uint64(len(d.b)/size) {
		d.fail()
		return 0
	}
	return int(n)
}

// bytes returns a slice of the row.
func (d *decoder) bytes() []byte {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) string() string { return string(d.bytes()) }

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail()
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) raw(n int) []byte {
	if len(d.b) < n {
		d.fail()
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) fail() { d.bad, d.b = true, nil }

// done returns ErrDamaged when a field was missing or bytes are left over.
func (d *decoder) done(key []byte) error {
	if d.bad {
		return damaged(key, "a field is missing or out of range")
	}
	if len(d.b) > 0 {
		return damaged(key, "bytes after the last field")
	}
	return nil
}

func appendUint[T ~uint8 | ~uint32 | ~uint64](dst []byte, v T) []byte {
	return binary.AppendUvarint(dst, uint64(v))
}

func appendInt(dst []byte, v int64) []byte {
	return binary.AppendUvarint(dst, uint64(v)<<1^uint64(v>>63))
}

func appendBytes[T string | []byte](dst []byte, v T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(v))), v...)
}

func appendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}
