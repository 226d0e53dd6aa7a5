package pebblekv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"tram/internal/kv"
)

// The manifest is the list of the database's files, a log of its own. Pebble takes one with a damaged
// record for one that a crash has cut there: it goes on without the records behind it, and removes
// the tables that they name. verifyManifest knows better. What a crash leaves is a piece of the last
// record; and the mark tells how long the manifest was when last it was synced.

// listing is how much of which manifest is durable.
type listing struct {
	num   uint64
	bytes int64
}

const manifestPrefix = "MANIFEST-"

// manifestNum returns the number in the name of a manifest.
func manifestNum(name string) (num uint64, ok bool) {
	digits, ok := strings.CutPrefix(name, manifestPrefix)
	num, err := strconv.ParseUint(digits, 10, 64)
	return num, ok && err == nil
}

// verifyManifest returns kv.ErrCorrupt if the manifest with this name is not what was durable.
func verifyManifest(fsys vfs.FS, dir, name string, durable listing) error {
	bad, err := readManifest(fsys, fsys.PathJoin(dir, name))
	if err != nil {
		return err
	}
	num, _ := manifestNum(name)
	switch {
	case num < durable.num:
		return fmt.Errorf("the list of files is %s, and was number %d: %w", name, durable.num, kv.ErrCorrupt)
	case num == durable.num && bad.whole < durable.bytes, bad.behind:
		return fmt.Errorf("the list of files, %s, is damaged at offset %d of %d: %w",
			name, bad.at, bad.size, kv.ErrCorrupt)
	}
	return nil
}

// manifestEnd is how far a manifest can be read.
type manifestEnd struct {
	size  int64
	whole int64 // where the last whole record ends
	at    int64 // where the first chunk begins that cannot be read
	// behind: something was written in the blocks behind that place, as no crash leaves it.
	behind bool
}

// A manifest is in blocks of 32 KiB. A chunk does not cross their borders: checksum (4, masked
// CRC-32C of what follows the length), length (2), kind (1: the only one of its record, 2: the first,
// 3, 4: the last), payload. Less than a chunk's header at the end of a block is left empty.
const (
	recordBlock = 32 << 10
	chunkHeader = 7
)

func readManifest(fsys vfs.FS, path string) (end manifestEnd, err error) {
	f, err := fsys.Open(path)
	if err != nil {
		return end, fmt.Errorf("open list of files: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return end, fmt.Errorf("open list of files: %w", err)
	}
	end.size = info.Size()
	block, broken := make([]byte, recordBlock), false
	for start := int64(0); start < end.size; start += recordBlock {
		b := block[:min(recordBlock, end.size-start)]
		if _, err := f.ReadAt(b, start); err != nil && err != io.EOF {
			return end, fmt.Errorf("read list of files: %w", err)
		}
		if broken {
			if end.behind = !zeros(b); end.behind {
				return end, nil
			}
			continue
		}
		at := 0
		for at+chunkHeader <= len(b) {
			n, ok := chunk(b[at:])
			if !ok {
				break
			}
			kind := b[at+6]
			at += n
			if kind == 1 || kind == 4 {
				end.whole = start + int64(at)
			}
		}
		end.at = start + int64(at)
		broken = at+chunkHeader <= len(b)
	}
	return end, nil
}

// chunk returns the length of the chunk at the beginning of b, and whether it is intact.
func chunk(b []byte) (n int, ok bool) {
	n = chunkHeader + int(binary.LittleEndian.Uint16(b[4:]))
	if n > len(b) || b[6] < 1 || b[6] > 4 {
		return n, false
	}
	return n, masked(crc32.Checksum(b[6:n], castagnoli)) == binary.LittleEndian.Uint32(b)
}

func zeros(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// manifest turns single wrong bits of the manifest back. More than one in a chunk cannot be mended.
func (r *repair) manifest(name string) error {
	durable := listing{}
	if m, err := openMark(r.fs, r.dir); err == nil {
		durable = m.list
		if err := m.close(); err != nil {
			return err
		}
	}
	path := r.fs.PathJoin(r.dir, name)
	for range repairRounds {
		bad := verifyManifest(r.fs, r.dir, name, durable)
		if bad == nil || !errors.Is(bad, kv.ErrCorrupt) {
			return bad
		}
		r.done.Damage = append(r.done.Damage, bad.Error())
		if err := errors.Join(r.save(path), r.unlink(path)); err != nil {
			return fmt.Errorf("save %s: %w", path, err)
		}
		if ok, err := r.healChunk(path); err != nil || !ok {
			return errors.Join(bad, err)
		}
	}
	return verifyManifest(r.fs, r.dir, name, durable)
}

// healChunk turns the wrong bit of the first chunk that cannot be read, and reports whether one bit
// was all.
func (r *repair) healChunk(path string) (bool, error) {
	end, err := readManifest(r.fs, path)
	if err != nil {
		return false, err
	}
	f, err := r.fs.OpenReadWrite(path, "tram-repair")
	if err != nil {
		return false, err
	}
	b := make([]byte, min(recordBlock-end.at%recordBlock, end.size-end.at))
	_, err = f.ReadAt(b, end.at)
	at := -1
	if err == nil && len(b) >= chunkHeader {
		at = wrongBitOfChunk(b)
	}
	if at >= 0 {
		b[at/8] ^= 1 << (at % 8)
		_, err = f.WriteAt(b[at/8:at/8+1], end.at+int64(at/8))
		r.done.Deeds = append(r.done.Deeds,
			fmt.Sprintf("file %s, byte %d: the one wrong bit is turned back, nothing is lost",
				r.fs.PathBase(path), end.at+int64(at/8)))
	}
	return at >= 0 && err == nil, errors.Join(err, f.Sync(), f.Close())
}

// wrongBitOfChunk returns the bit of the chunk at the beginning of b that must be turned for it to be
// intact, -1 if one is not enough.
func wrongBitOfChunk(b []byte) int {
	for bit := 4 * 8; bit < chunkHeader*8; bit++ { // length and kind say what the checksum is of
		b[bit/8] ^= 1 << (bit % 8)
		_, ok := chunk(b)
		b[bit/8] ^= 1 << (bit % 8)
		if ok {
			return bit
		}
	}
	n := chunkHeader + int(binary.LittleEndian.Uint16(b[4:]))
	if n > len(b) {
		return -1
	}
	// wrongBit wants the checksum behind what it is of.
	at := wrongBit(append(append([]byte(nil), b[6:n]...), b[:4]...))
	switch {
	case at < 0:
		return -1
	case at >= 8*(n-6):
		return at - 8*(n-6)
	}
	return at + 6*8
}

// manifestFile is a manifest open for writing. After each sync the mark hears how long it is, once it
// is the manifest that a start would read.
type manifestFile struct {
	vfs.File
	g     *guard
	num   uint64
	bytes int64
}

func (f *manifestFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	f.bytes += int64(n)
	return n, err
}

func (f *manifestFile) Sync() error     { return f.sync(f.File.Sync) }
func (f *manifestFile) SyncData() error { return f.sync(f.File.SyncData) }

func (f *manifestFile) sync(do func() error) error {
	if err := do(); err != nil {
		return err
	}
	if f.g.manifest.Load() != f.num || f.g.listed == nil {
		return nil
	}
	return f.g.listed(listing{f.num, f.bytes})
}

// manifestMarker begins the names of the files that tell which manifest a start reads.
const manifestMarker = "marker.manifest."

// sees notes which manifest the file with this name makes the current one. The directory is synced
// before anything more is written to that manifest.
func (g *guard) sees(name string) {
	rest, ok := strings.CutPrefix(g.PathBase(name), manifestMarker)
	_, manifest, found := strings.Cut(rest, ".")
	if num, is := manifestNum(manifest); ok && found && is && g.PathDir(name) == g.dir {
		g.manifest.Store(num)
	}
}

// checkManifest verifies the manifest of the running database.
func (db *DB) checkManifest() error {
	durable, num := db.mark.listing(), db.guard.manifest.Load()
	if durable.num != num {
		durable = listing{} // the current one is new, and nothing was noted of it
	}
	err := verifyManifest(db.opts.FS, db.dir, fmt.Sprintf("%s%06d", manifestPrefix, num), durable)
	if errors.Is(err, fs.ErrNotExist) && db.guard.manifest.Load() != num {
		return nil // it has just been replaced
	}
	return err
}
