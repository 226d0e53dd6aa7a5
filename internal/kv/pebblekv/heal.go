package pebblekv

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/bits"
	"regexp"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/blob"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Most of what rots on disks and in memory is one bit. A block of a table or of a file of values
// carries a checksum, which tells not only that a bit is wrong but, if it is only one, which.

// badBlock finds in an error of Pebble's the file and the block that it is about.
var badBlock = regexp.MustCompile(`file (\d+).*block (\d+)/(\d+): crc32c checksum mismatch`)

// blockPlace is a block of a file.
type blockPlace struct {
	file           string // its number as in its name
	offset, length int64
}

func placeOf(err error) (p blockPlace, ok bool) {
	m := badBlock.FindStringSubmatch(fmt.Sprint(err))
	if m == nil {
		return p, false
	}
	offset, err1 := strconv.ParseInt(m[2], 10, 64)
	length, err2 := strconv.ParseInt(m[3], 10, 64)
	return blockPlace{m[1], offset, length}, err1 == nil && err2 == nil && length < 64<<20
}

// A block is followed by its kind, one byte, and the checksum of both, four.
const blockTrailer = 5

// heal turns the one wrong bit of a block in the file at path, and reports whether there is one.
func (r *repair) heal(path string, p blockPlace) (bool, error) {
	f, err := r.fs.OpenReadWrite(path, "tram-repair")
	if err != nil {
		return false, err
	}
	b := make([]byte, p.length+blockTrailer)
	if _, err := f.ReadAt(b, p.offset); err != nil {
		return false, errors.Join(err, f.Close())
	}
	at := wrongBit(b)
	if at >= 0 {
		b[at/8] ^= 1 << (at % 8)
		_, err = f.WriteAt(b[at/8:at/8+1], p.offset+int64(at/8))
		r.done.Deeds = append(r.done.Deeds,
			fmt.Sprintf("file %s, byte %d: the one wrong bit is turned back, nothing is lost",
				r.fs.PathBase(path), p.offset+int64(at/8)))
	}
	return at >= 0 && err == nil, errors.Join(err, f.Sync(), f.Close())
}

// wrongBit returns the bit of a block with its trailer that must be turned for the checksum to be
// right, -1 if one is not enough. Turning a bit changes a CRC by an amount that depends on the
// bit's distance from the end alone, so that one pass tries all of them.
func wrongBit(b []byte) int {
	n := len(b) - 4
	stored := binary.LittleEndian.Uint32(b[n:])
	sum := crc32.Checksum(b[:n], castagnoli)
	if diff := stored ^ masked(sum); bits.OnesCount32(diff) == 1 {
		return 8*n + bits.TrailingZeros32(diff)
	}
	want := sum ^ unmasked(stored)
	// change[k] is by how much bit k of the byte under consideration changes the checksum.
	var change [8]uint32
	for k := range change {
		change[k] = crcTable(byte(1 << k))
	}
	for i := n - 1; i >= 0; i-- {
		for k := range change {
			if change[k] == want {
				return 8*i + k
			}
			change[k] = crcTable(byte(change[k])) ^ change[k]>>8
		}
	}
	return -1
}

func crcTable(b byte) uint32 { return castagnoli[b] }

// masked is how Pebble, like LevelDB, stores a CRC.
func masked(sum uint32) uint32 { return bits.RotateLeft32(sum, 17) + 0xa282ead8 }

func unmasked(stored uint32) uint32 { return bits.RotateLeft32(stored-0xa282ead8, 15) }

// healTable turns single wrong bits until the table is sound, or one bit is not enough. It returns
// what is still wrong.
func (r *repair) healTable(path string, bad error, check func() error) (error, error) {
	for range repairRounds {
		p, ok := placeOf(bad)
		if !ok {
			return r.healFooter(path, bad, check)
		}
		if ok, err := r.heal(path, p); !ok {
			return bad, err
		}
		if bad = check(); bad == nil {
			return nil, nil
		}
	}
	return bad, nil
}

// healIndexes looks at the ends of the files of values, from which the values are found.
func (r *repair) healIndexes(o *pebble.Options) error {
	names, err := r.fs.List(r.dir)
	if err != nil {
		return fmt.Errorf("list files of values: %w", err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".blob") {
			continue
		}
		path := r.fs.PathJoin(r.dir, name)
		check := func() error { return checkValues(r.fs, path, o) }
		bad := check()
		if bad == nil {
			continue
		}
		r.done.Damage = append(r.done.Damage, fmt.Sprintf("file %s is damaged: %v", path, bad))
		if err := errors.Join(r.save(path), r.unlink(path)); err != nil {
			return err
		}
		if _, err := r.healTable(path, bad, check); err != nil {
			return err
		}
	}
	return nil
}

// checkValues reads the footer and the index of a file of values.
func checkValues(fs vfs.FS, path string, o *pebble.Options) error {
	f, err := fs.Open(path)
	if err != nil {
		return err
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	ro := blob.FileReaderOptions{ReaderOptions: o.MakeReaderOptions().ReaderOptions}
	r, err := blob.NewFileReader(context.Background(), readable, ro)
	if err != nil {
		return errors.Join(err, readable.Close())
	}
	h, err := r.ReadIndexBlock(context.Background(), block.NoReadEnv, nil)
	if err == nil {
		h.Release()
	}
	// Errors name no file here, as they do where a number is known.
	if err != nil {
		err = fmt.Errorf("file %s: %w", strings.TrimSuffix(fs.PathBase(path), ".blob"), err)
	}
	return errors.Join(err, r.Close())
}

// footerBytes is more than the end of a table, from which all the rest is found.
const footerBytes = 64

// healFooter tries each bit of the end of a table.
func (r *repair) healFooter(path string, bad error, check func() error) (error, error) {
	info, err := r.fs.Stat(path)
	if err != nil || info.Size() < footerBytes {
		return bad, err
	}
	end, start := make([]byte, footerBytes), info.Size()-footerBytes
	f, err := r.fs.OpenReadWrite(path, "tram-repair")
	if err != nil {
		return bad, err
	}
	_, err = f.ReadAt(end, start)
	for bit := 0; bit < 8*footerBytes && err == nil && bad != nil; bit++ {
		i, was := bit/8, end[bit/8]
		end[i] ^= 1 << (bit % 8)
		if _, err = f.WriteAt(end[i:i+1], start+int64(i)); err != nil {
			break
		}
		if check() == nil {
			bad = nil
			r.done.Deeds = append(r.done.Deeds, fmt.Sprintf(
				"file %s, byte %d: the one wrong bit is turned back, nothing is lost",
				r.fs.PathBase(path), start+int64(i)))
			break
		}
		end[i] = was
		_, err = f.WriteAt(end[i:i+1], start+int64(i))
	}
	return bad, errors.Join(err, f.Sync(), f.Close())
}

// healValues turns single wrong bits of files of values.
func (r *repair) healValues(places map[blockPlace]bool) error {
	for p := range places {
		path := r.fs.PathJoin(r.dir, p.file+".blob")
		if _, err := r.fs.Stat(path); err != nil {
			continue
		}
		r.done.Damage = append(r.done.Damage,
			fmt.Sprintf("file %s is damaged at offset %d", path, p.offset))
		if err := r.save(path); err != nil {
			return err
		}
		if err := r.unlink(path); err != nil {
			return err
		}
		if _, err := r.heal(path, p); err != nil {
			return err
		}
	}
	return nil
}

// unlink makes sure that a change of the file at path is a change of no other name of it.
func (r *repair) unlink(path string) error {
	tmp := path + ".new"
	if err := vfs.Copy(r.fs, path, tmp); err != nil {
		return err
	}
	return r.fs.Rename(tmp, path)
}
