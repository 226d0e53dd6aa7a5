package pebblekv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"tram/internal/kv"
)

// The mark is a small file beside the log that says how far the log was acknowledged. Damage at the
// end of a log looks like a log that ends there; with the mark it does not.
//
// It is written after each sync of the log and before anybody is told that his commit is durable,
// but never synced for it: a process that is killed leaves it exact, a machine that loses power
// leaves it behind the log, and nothing can bring it ahead of the log.
//
// It also says how much of the manifest was synced, written after that sync in the same way.
//
// On disk (file ACKED, 2,560 bytes, numbers big endian; 1,536 before the manifest was noted):
//
//	0     "tram kv 1\n", the version of everything under the directory, then zeros
//	512   slot    seq(8)    the last Pebble sequence number that was acknowledged
//	              log(8)    the number of the log file that has it
//	              turn(8)   counts the writes of the mark; the intact slot with the higher one holds
//	              crc(4)    CRC-32C of the 24 bytes before
//	1024  slot    the other one: they are written in turn, each in a disk sector of its own
//	1536  slot    the same for the manifest: its synced length in bytes, its number, turn, crc
//	2048  slot    the other one
const (
	markName    = "ACKED"
	markSector  = 512
	markSize    = 3 * markSector
	markFull    = 5 * markSector
	slotSize    = 28
	dataVersion = 1
	markTitle   = "tram kv "
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// position is a place in the log: the last sequence number acknowledged and the log it is in.
type position struct{ seq, log uint64 }

type mark struct {
	file vfs.File
	// newest is the highest sequence number known to be durable; whoever holds mu writes it for all
	// that wait.
	newest atomic.Pointer[position]

	mu       sync.Mutex
	at       position
	turn     uint64
	list     listing
	listTurn uint64
}

// createMark makes the file for a database that is about to be made, durably.
func createMark(fs vfs.FS, dir string, at position) error {
	tmp := fs.PathJoin(dir, markName+".tmp")
	f, err := fs.Create(tmp, "tram-mark")
	if err != nil {
		return fmt.Errorf("create %s: %w", tmp, err)
	}
	b := make([]byte, markSize)
	copy(b, markTitle+strconv.Itoa(dataVersion)+"\n")
	putSlot(b[markSector:], at, 1)
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", tmp, err)
	}
	if err := fs.Rename(tmp, fs.PathJoin(dir, markName)); err != nil {
		return fmt.Errorf("create %s: %w", markName, err)
	}
	return syncDir(fs, dir)
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}

// openMark reads the file. It fails with kv.ErrNewer for data of a newer program and with
// kv.ErrCorrupt if the file is not one of ours or both slots are damaged.
func openMark(fs vfs.FS, dir string) (*mark, error) {
	path := fs.PathJoin(dir, markName)
	if _, err := fs.Stat(path); err != nil { // OpenReadWrite would make the file
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	f, err := fs.OpenReadWrite(path, "tram-mark")
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	m := &mark{file: f}
	if err := m.read(path); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return m, nil
}

func (m *mark) read(path string) error {
	b := make([]byte, markFull)
	if _, err := m.file.ReadAt(b, 0); err != nil && err != io.EOF {
		return fmt.Errorf("read %s: %w", path, err)
	}
	title, _, _ := strings.Cut(string(b[:markSector]), "\n")
	version, err := strconv.Atoi(strings.TrimPrefix(title, markTitle))
	if !strings.HasPrefix(title, markTitle) || err != nil {
		return fmt.Errorf("read %s: does not begin with %q: %w", path, markTitle, kv.ErrCorrupt)
	}
	if version > dataVersion {
		return fmt.Errorf("read %s: data has version %d, this program knows %d: %w",
			path, version, dataVersion, kv.ErrNewer)
	}
	for _, slot := range [][]byte{b[markSector:], b[2*markSector:]} {
		at, turn, ok := readSlot(slot)
		if ok && turn > m.turn {
			m.at, m.turn = at, turn
		}
	}
	for _, slot := range [][]byte{b[markSize:], b[markSize+markSector:]} {
		at, turn, ok := readSlot(slot)
		if ok && turn > m.listTurn {
			m.list, m.listTurn = listing{num: at.log, bytes: int64(at.seq)}, turn
		}
	}
	if m.turn == 0 {
		return fmt.Errorf("read %s: both records are damaged: %w", path, kv.ErrCorrupt)
	}
	at := m.at
	m.newest.Store(&at)
	return nil
}

func putSlot(b []byte, at position, turn uint64) {
	binary.BigEndian.PutUint64(b, at.seq)
	binary.BigEndian.PutUint64(b[8:], at.log)
	binary.BigEndian.PutUint64(b[16:], turn)
	binary.BigEndian.PutUint32(b[24:], crc32.Checksum(b[:24], castagnoli))
}

func readSlot(b []byte) (at position, turn uint64, ok bool) {
	if binary.BigEndian.Uint32(b[24:]) != crc32.Checksum(b[:24], castagnoli) {
		return position{}, 0, false
	}
	return position{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])},
		binary.BigEndian.Uint64(b[16:]), true
}

// raise returns when the file says that everything up to at is acknowledged. Of many that come at
// the same time, one writes for all.
func (m *mark) raise(at position) error {
	for {
		newest := m.newest.Load()
		if newest.seq >= at.seq || m.newest.CompareAndSwap(newest, &at) {
			break
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.at.seq >= at.seq {
		return nil
	}
	return m.write(*m.newest.Load())
}

// letGo notes, durably, that everything acknowledged is in tables, when the log is removed that the
// mark speaks of. Opening a database Pebble removes the old log before it makes the new one: a process
// that dies in between leaves no log at all, and nothing is missing.
func (m *mark) letGo(log uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.at.log == 0 || m.at.log > log {
		return nil
	}
	if err := m.write(position{seq: m.at.seq}); err != nil {
		return err
	}
	if err := m.file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", markName, err)
	}
	return nil
}

// write writes the slot whose turn it is.
func (m *mark) write(at position) error {
	var b [slotSize]byte
	putSlot(b[:], at, m.turn+1)
	if _, err := m.file.WriteAt(b[:], markSector*int64(1+m.turn%2)); err != nil {
		return fmt.Errorf("write %s: %w", markName, err)
	}
	m.at, m.turn = at, m.turn+1
	return nil
}

// setListing notes how much of the manifest is durable.
func (m *mark) setListing(l listing) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var b [slotSize]byte
	putSlot(b[:], position{seq: uint64(l.bytes), log: l.num}, m.listTurn+1)
	at := markSize + markSector*int64(m.listTurn%2)
	if _, err := m.file.WriteAt(b[:], at); err != nil {
		return fmt.Errorf("write %s: %w", markName, err)
	}
	m.list, m.listTurn = l, m.listTurn+1
	return nil
}

// listing returns how much of which manifest is durable, as far as that is known.
func (m *mark) listing() listing {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.list
}

func (m *mark) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return errors.Join(m.file.Sync(), m.file.Close())
}
