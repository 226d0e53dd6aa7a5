package store

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"tram/internal/blob"
	"tram/internal/kv"
	"tram/internal/limits"
	"tram/internal/message"
)

// rows are one valid row of each kind, with the function that decodes it and encodes it again.
var rows = []struct {
	name  string
	key   []byte
	value func() []byte // without checksum
	again func(key, value []byte) ([]byte, error)
}{
	{"account", appendKey(nil, 7, kindAccount), func() []byte {
		a := accountRow{
			ModSeq: 70000, LogFloor: 3, NextMailbox: 9, NextEmail: 1 << 40, NextThread: 5,
			UIDValidity: 1 << 31, Mailboxes: 6, Usage: Usage{1, 2, 3, 4}, Quota: Quota{1 << 50, 6},
			Domain: "example.test", Limited: true, Grant: grant{1, 2, 3},
			Roles: []roleEntry{{RoleInbox, 1}, {RoleTrash, 6}},
		}
		return a.append(nil)
	}, func(key, value []byte) ([]byte, error) {
		a, err := decodeAccount(key, value)
		return a.append(nil), err
	}},
	{"keywords", appendKey(nil, 7, kindKeywords), func() []byte {
		return (&KeywordTable{names: []string{"$Junk", "$Forwarded"}}).append(nil)
	}, func(key, value []byte) ([]byte, error) {
		t, err := decodeKeywords(key, value)
		if err != nil {
			return nil, err
		}
		return t.append(nil), nil
	}},
	{"mailbox", key32(nil, 7, kindMailbox, 3), func() []byte {
		m := mailboxRow{
			Parent: 2, Leaf: "Tiếng Việt", Role: RoleSent, UIDValidity: 5, UIDNext: 1000,
			Created: -5, Messages: 7, Unseen: 6, Deleted: 5, Size: 1 << 40, RecentFrom: 990,
			Recent: 3, CreatedAt: 1, ChangedAt: 2, Highest: 3, Generation: 4, TailFirst: 513,
			TailLoose: 6, Segments: 3, ExpungedFloor: 2, Expunged: 9, Height: 2, Below: 20,
		}
		return m.append(nil)
	}, func(key, value []byte) ([]byte, error) {
		m, err := decodeMailbox(3, key, value)
		return m.append(nil), err
	}},
	{"name", nameKey(nil, 7, 1, "leaf"), func() []byte { return appendNameRow(nil, 8) },
		func(key, value []byte) ([]byte, error) {
			id, err := decodeName(key, value)
			return appendNameRow(nil, id), err
		}},
	{"state", key64(nil, 7, kindState, 3), func() []byte {
		s := stateRow{
			Thread: 9, ModSeq: 8, Flags: Seen | 1<<63, More: []uint32{57, 60},
			Places: []place{{1, 2, 1 << 31}, {4, 5, -6}}, Removed: 0, Last: 0,
		}
		return s.append(nil)
	}, func(key, value []byte) ([]byte, error) {
		var s stateRow
		err := s.decode(key, value)
		return s.append(nil), err
	}},
	{"segment", listKey(nil, 7, 1, 10, 0), func() []byte {
		return appendSegment(nil, &chunk{first: 10, entries: []Entry{
			{Email: 5, ModSeq: 9, Flags: Seen, Received: 1 << 31, UID: 10, Size: 1 << 31},
			{Email: 3, ModSeq: 7, Flags: 1 << 63, Received: -9, UID: 4000000000, Size: 0},
		}})
	}, func(key, value []byte) ([]byte, error) {
		entries, err := decodeSegment(key, value, 10)
		return appendSegment(nil, &chunk{first: 10, entries: entries}), err
	}},
	{"loose", listKey(nil, 7, 1, 10, 12), func() []byte {
		return appendLoose(nil, &edit{Entry: Entry{Email: 5, ModSeq: 9, Flags: 3, UID: 12, Size: 8}})
	}, func(key, value []byte) ([]byte, error) {
		ed, err := decodeLoose(key, value, 12)
		return appendLoose(nil, &ed), err
	}},
	{"change", key64(nil, 7, kindChange, 99), func() []byte {
		c := changeRow{
			Mailboxes: []mailboxChange{{
				Mailbox: 1, What: mailboxList, Added: []UIDRange{{1, 3}, {9, 9}},
				Removed: []UIDRange{{7, 7}},
			}},
			Emails:  [3][]uint64{{1, 5}, nil, {1 << 50}},
			Threads: [3][]uint64{nil, {3}, nil},
		}
		return c.append(nil)
	}, func(key, value []byte) ([]byte, error) {
		_, c, err := decodeChange(key, value)
		if err != nil {
			return nil, err
		}
		return c.append(nil), nil
	}},
	{"vanished", vanishedKey(nil, 7, 1, 99), func() []byte {
		return appendVanished(nil, []UID{1, 2, 5, 1<<32 - 1})
	}, func(key, value []byte) ([]byte, error) {
		r, err := decodeVanished(key, value)
		return appendRanges([]byte{version1}, r), err
	}},
	{"thread", key64(nil, 7, kindThread, 4), func() []byte {
		t := threadRow{
			Members: []member{{1, false, 5}, {9, true, -5}}, Hashes: []uint64{1, 1<<64 - 1},
		}
		return t.append(nil)
	}, func(key, value []byte) ([]byte, error) {
		t, err := decodeThread(key, value)
		if err != nil {
			return nil, err
		}
		return t.append(nil), nil
	}},
	{"dedupe", dedupeKey(nil, 7, []byte("k")), func() []byte {
		return appendDedupe(nil, epoch, Appended{
			Email: 3, Thread: 4, Entries: []MailboxEntry{{1, 2, epoch}},
		})
	}, func(key, value []byte) ([]byte, error) {
		at, a, err := decodeDedupe(key, value)
		if err != nil {
			return nil, err
		}
		return appendDedupe(nil, at, a), nil
	}},
	{"recoverable", recoverKey(nil, 7, 1<<31, 5), func() []byte {
		return appendRecoverable(nil, 3, 1<<40)
	}, func(key, value []byte) ([]byte, error) {
		r, err := decodeRecoverable(key, value)
		return appendRecoverable(nil, r.Mailbox, r.Size), err
	}},
	{"annotation", (&Tx{id: 7, s: &Store{}}).annotations(3).key("/private/comment"), func() []byte {
		a := Annotation{Name: "/private/Comment", Value: []byte("a\x00b"), ModSeq: 1 << 40}
		return a.append(nil)
	}, func(key, value []byte) ([]byte, error) {
		_, name, _ := metadataKey(key)
		a, err := decodeAnnotation(key, name, value)
		return a.append(nil), err
	}},
	{"head of annotations", appendKey(nil, 7, kindMetadata), func() []byte {
		return (&metadataHead{ModSeq: 1 << 40, Entries: 3, Bytes: 1 << 33}).append(nil)
	}, func(key, value []byte) ([]byte, error) {
		h, err := decodeMetadataHead(key, value)
		return h.append(nil), err
	}},
	{"domain", domainKey("example.test"), func() []byte {
		return (&domainRow{Quota: Quota{1, 2}, Granted: Usage{Bytes: 3, Messages: 4}}).append(nil)
	}, func(key, value []byte) ([]byte, error) {
		d, err := decodeDomain(key, value)
		return d.append(nil), err
	}},
	{"rights", aclKey(nil, 7, 3), func() []byte {
		return (&aclRow{"example.test", []ACLEntry{{Anyone, RightLookup}, {9, AllRights}}}).append(nil)
	}, func(key, value []byte) ([]byte, error) {
		a, err := decodeACL(key, value)
		if err != nil {
			return nil, err
		}
		return a.append(nil), nil
	}},
	{"own seen", ownBlockKey(nil, 7, 3, 9, 2), func() []byte {
		b := seenBlock{number: 2, runs: []seenRun{
			{UIDRange{2 * ownBlock, 2*ownBlock + 9}, 70, true}, {UIDRange{2*ownBlock + 12, 3*ownBlock - 1}, 69, false},
		}}
		return b.append(nil)
	}, func(key, value []byte) ([]byte, error) {
		b, err := decodeOwnBlock(key, value, 2)
		if err != nil {
			return nil, err
		}
		return b.append(nil), nil
	}},
	{"head of own seen", ownHeadKey(nil, 7, 3, 9), func() []byte { return appendOwnHead(nil, 1<<40) },
		func(key, value []byte) ([]byte, error) {
			at, err := decodeOwnHead(key, value)
			return appendOwnHead(nil, at), err
		}},
	{"share", kv.AppendUint64(shareKey(9, ""), 7), func() []byte { return appendShare(nil, epoch) },
		func(key, value []byte) ([]byte, error) {
			noted, err := decodeShare(key, value)
			return appendShare(nil, noted), err
		}},
	{"shared mailbox", key32(nil, 7, kindMailbox, 4), func() []byte {
		m := mailboxRow{Leaf: "Team", UIDNext: 1, Sharing: sharingACL | sharingSeen}
		return m.append(nil)
	}, func(key, value []byte) ([]byte, error) {
		m, err := decodeMailbox(4, key, value)
		return m.append(nil), err
	}},
	{"shared folders", appendKey(nil, 8, kindAccount), func() []byte {
		a := accountRow{ModSeq: 7, NextMailbox: 1, NextEmail: 1, NextThread: 1, Domain: "example.test", Folders: true}
		return a.append(nil)
	}, func(key, value []byte) ([]byte, error) {
		a, err := decodeAccount(key, value)
		return a.append(nil), err
	}},
	{"grant", memberKey("example.test", 7), func() []byte { return grant{1, 2, 3}.append(nil) },
		func(key, value []byte) ([]byte, error) {
			g, err := decodeGrant(key, value)
			return g.append(nil), err
		}},
	{"email", key64(nil, 7, kindEmail, 3), emailRow, func(key, value []byte) ([]byte, error) {
		var e Email
		if err := e.decode(key, value); err != nil {
			return nil, err
		}
		useEmail(&e)
		return value[:len(value)-4], nil
	}},
}

func emailRow() []byte {
	text := strings.ReplaceAll(mail(1, "Cc: \"Bình\" <binh@example.test>",
		"References: <a@x> <b@x>", "In-Reply-To: <b@x>"), "\n", "\r\n")
	m := message.Parse([]byte(text), limits.Default().Message)
	return (&Tx{}).appendEmail(nil, 4, blob.Ref{Size: 9}, epoch, m)
}

// useEmail looks at everything that is decoded late.
func useEmail(e *Email) {
	_, _, _ = e.Subject(), e.References(), e.InReplyTo()
	for f := From; f <= ReplyTo; f++ {
		e.Addresses(f)
	}
	_, _ = e.Structure()
	_ = e.Sent().Format(time.RFC3339)
}

func TestRowsRoundTrip(t *testing.T) {
	t.Parallel()
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			want := r.value()
			got, err := r.again(r.key, seal(r.key, bytes.Clone(want)))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("encoded again: %x, %v; want %x", got, err, want)
			}
		})
	}
}

// TestRowsDamaged flips every bit of every row and cuts it everywhere: the checksum finds each.
func TestRowsDamaged(t *testing.T) {
	t.Parallel()
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			good := seal(r.key, r.value())
			check := func(key, value []byte) {
				if _, err := r.again(key, value); !errors.Is(err, ErrDamaged) {
					t.Errorf("damaged row %x: error %v, want ErrDamaged", value, err)
				} else if !strings.Contains(err.Error(), "key") {
					t.Errorf("error does not name the key: %v", err)
				}
			}
			for i := range good {
				bad := bytes.Clone(good)
				bad[i] ^= 1 << (i % 8)
				check(r.key, bad)
				check(r.key, good[:i])
			}
			other := bytes.Clone(r.key)
			other[len(other)-1] ^= 1
			check(other, good) // in a wrong place
		})
	}
}

// FuzzRows gives each decoder fields that no encoder wrote, under a checksum that is right: nothing
// may panic or take memory without bound.
func FuzzRows(f *testing.F) {
	for i, r := range rows {
		f.Add(byte(i), r.value())
	}
	f.Add(byte(5), []byte{1, 255, 255, 255, 255, 15})
	f.Add(byte(8), []byte{1, 1, 1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, which byte, value []byte) {
		r := rows[int(which)%len(rows)]
		again, err := r.again(r.key, seal(r.key, bytes.Clone(value)))
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("error is not ErrDamaged: %v", err)
		}
		if err == nil && len(again) > 1<<20 && len(again) > 64*len(value) {
			t.Errorf("%d bytes became %d", len(value), len(again))
		}
		// The same without checksum, as a row cut short.
		if _, err := r.again(r.key, value); err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("error is not ErrDamaged: %v", err)
		}
	})
}

func FuzzName(f *testing.F) {
	for _, s := range []string{"INBOX", "a/b", "inbox/é", "\u1ebf", "a//b", "x\x00", "//", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		levels, err := splitName(s, 1000, 32)
		if err != nil {
			if !errors.Is(err, ErrInvalidName) {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		name := strings.Join(levels, separator)
		again, err := splitName(name, 1000, 32)
		if diff := gocmp.Diff(levels, again); err != nil || diff != "" {
			t.Errorf("%q is not stable: %v %s", s, err, diff)
		}
	})
}

// TestSegmentsRandom encodes random lists and edits, and compares merge with a map.
func TestSegmentsRandom(t *testing.T) {
	t.Parallel()
	rng := seeded(t, 3)
	for range 300 {
		want := map[UID]Entry{}
		var entries []Entry
		uid := UID(rng.IntN(5))
		for range rng.IntN(40) {
			uid += 1 + UID(rng.IntN(1<<rng.IntN(20)))
			e := randomEntry(rng, uid)
			entries = append(entries, e)
			want[uid] = e
		}
		c := &chunk{first: 1, entries: entries}
		if len(entries) > 0 {
			c.first = entries[0].UID - min(entries[0].UID, UID(rng.IntN(3)))
		}
		key := listKey(nil, 1, 1, c.first, 0)
		got, err := decodeSegment(key, seal(key, appendSegment(nil, c)), c.first)
		if diff := gocmp.Diff(entries, got); err != nil || diff != "" && len(got) > 0 {
			t.Fatalf("segment: %v\n%s", err, diff)
		}
		var edits []edit
		for range rng.IntN(10) {
			ed := edit{Entry: randomEntry(rng, UID(rng.IntN(int(uid)+5)+1)), gone: rng.IntN(2) == 0}
			edits = append(edits, ed)
			if delete(want, ed.UID); !ed.gone {
				want[ed.UID] = ed.Entry
			}
		}
		merged := merge(entries, normal(edits))
		if len(merged) != len(want) {
			t.Fatalf("merged to %d entries, want %d", len(merged), len(want))
		}
		for i, e := range merged {
			if want[e.UID] != e || i > 0 && merged[i-1].UID >= e.UID {
				t.Fatalf("entry %d is %+v, want %+v", i, e, want[e.UID])
			}
		}
	}
}

func randomEntry(rng *rand.Rand, uid UID) Entry {
	return Entry{
		UID: uid, Email: EmailID(rng.Uint64() >> rng.IntN(64)), ModSeq: ModSeq(rng.Uint64N(1 << 40)),
		Flags: Flags(rng.Uint64() >> rng.IntN(64)), Size: rng.Uint32(), Received: rng.Int64N(1 << 40),
	}
}

func TestRanges(t *testing.T) {
	t.Parallel()
	rng := seeded(t, 4)
	random := func() (ranges []UIDRange, set [70]bool) {
		for range rng.IntN(6) {
			first := UID(rng.IntN(60) + 1)
			last := first + UID(rng.IntN(10)) - 1 // sometimes empty
			ranges = append(ranges, UIDRange{first, last})
			for u := first; u <= last; u++ {
				set[u] = true
			}
		}
		return normalRanges(ranges), set
	}
	for range 2000 {
		a, inA := random()
		b, inB := random()
		both, only := intersect(a, b), subtract(a, b)
		for u := UID(1); u < 70; u++ {
			if inRanges(a, u) != inA[u] || inRanges(both, u) != (inA[u] && inB[u]) ||
				inRanges(only, u) != (inA[u] && !inB[u]) {
				t.Fatalf("UID %d of %v and %v: both %v, only %v", u, a, b, both, only)
			}
		}
	}
	full := []UIDRange{{1, 1<<32 - 1}}
	if got := subtract(full, []UIDRange{{1, 1<<32 - 1}}); len(got) != 0 {
		t.Errorf("all without all is %v", got)
	}
	if got := normalRanges([]UIDRange{{5, 1<<32 - 1}, {7, 9}}); len(got) != 1 {
		t.Errorf("ranges at the end: %v", got)
	}
}
