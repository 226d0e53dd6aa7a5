package pebblekv

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"sort"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/blob"
	"github.com/cockroachdb/pebble/v2/vfs"

	"tram/internal/kv"
)

// A damaged table is replaced by one of the same name and length that holds what can be read of it.
// The manifest stays as it is: it knows a table by its name, its length and the bounds of its keys,
// and fewer keys are within the same bounds. Where an older version of a row stands in a lower
// level, that shows up again; what does not fit together then is for the rooms above to repair.

// tables replaces the damaged tables.
func (r *repair) tables() error {
	names, err := r.fs.List(r.dir)
	if err != nil {
		return fmt.Errorf("list tables: %w", err)
	}
	if err := r.lengths(); err != nil {
		return err
	}
	db := &DB{dir: r.dir, opts: r.opts, log: r.opts.Logger}
	db.guard = &guard{FS: r.fs, dir: r.dir}
	db.guard.opened.Store(true)
	cache := pebble.NewCache(8 << 20)
	defer cache.Unref()
	db.cache = cache
	o := db.pebbleOptions()
	for _, name := range names {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		path := r.fs.PathJoin(r.dir, name)
		check := func() error { return checkTable(context.Background(), r.fs, path, o) }
		bad := check()
		if bad == nil {
			continue
		}
		r.done.Damage = append(r.done.Damage, fmt.Sprintf("table %s is damaged: %v", path, bad))
		if err := errors.Join(r.save(path), r.unlink(path)); err != nil {
			return fmt.Errorf("save table %s: %w", path, err)
		}
		bad, err := r.healTable(path, bad, check)
		if bad == nil && err == nil {
			continue
		}
		if err := errors.Join(err, r.replaceTable(path, o)); err != nil {
			return fmt.Errorf("replace table %s: %w", path, err)
		}
	}
	return r.healIndexes(o)
}

// lengths gives every table the length that the manifest knows, without which the database does not
// open: one that has been cut gets zeros at its end, and what was written behind the end goes.
// What can be read of a table is then looked for as in any that is damaged.
func (r *repair) lengths() error {
	for name, size := range r.sizes {
		path := r.fs.PathJoin(r.dir, name)
		info, err := r.fs.Stat(path)
		if err != nil {
			return err
		}
		if size == anyLength || info.Size() == size {
			continue
		}
		r.done.Damage = append(r.done.Damage,
			fmt.Sprintf("table %s has %d bytes and should have %d", path, info.Size(), size))
		if err := errors.Join(r.save(path), r.unlink(path)); err != nil {
			return fmt.Errorf("save table %s: %w", path, err)
		}
		if info.Size() > size {
			err = r.shorten(path, size)
		} else {
			err = r.lengthen(path, size-info.Size())
		}
		if err != nil {
			return fmt.Errorf("bring table %s to its length: %w", path, err)
		}
	}
	return nil
}

// lengthen writes zeros behind the end of a file.
func (r *repair) lengthen(path string, by int64) error {
	f, err := r.fs.OpenReadWrite(path, "tram-repair")
	if err != nil {
		return err
	}
	info, err := f.Stat()
	zeros := make([]byte, 64<<10)
	for at := int64(0); err == nil && at < by; at += int64(len(zeros)) {
		_, err = f.WriteAt(zeros[:min(int64(len(zeros)), by-at)], info.Size()+at)
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// replaceTable saves a table and puts what can be read of it in its place.
func (r *repair) replaceTable(path string, o *pebble.Options) error {
	info, err := r.fs.Stat(path)
	if err != nil {
		return err
	}
	tmp := path + ".new"
	s := &salvage{fs: r.fs, o: o, size: info.Size()}
	if err := s.copy(path, tmp); err != nil {
		return err
	}
	if err := r.fs.Rename(tmp, path); err != nil {
		return err
	}
	r.done.Deeds = append(r.done.Deeds, fmt.Sprintf("table %s: %d rows were read back, those of %d "+
		"places are given up", r.fs.PathBase(path), s.rows, s.gaps))
	return syncDir(r.fs, r.dir)
}

// save keeps a file as it is in the directory for damaged files.
func (r *repair) save(path string) error {
	if err := r.saveDir(); err != nil {
		return err
	}
	saved := r.fs.PathJoin(r.done.Saved, r.fs.PathBase(path)+".saved")
	if _, err := r.fs.Stat(saved); err == nil {
		return nil // as it was before the first place was mended
	}
	if err := vfs.Copy(r.fs, path, saved); err != nil {
		return fmt.Errorf("save %s: %w", path, err)
	}
	return nil
}

// salvage copies a damaged table.
type salvage struct {
	fs   vfs.FS
	o    *pebble.Options
	size int64 // of the table, and of its copy

	in     *sstable.Reader
	out    sstable.RawWriter
	handle *blob.InlineHandle // of the row the iterator stands at, when its value is in a blob file
	rows   int
	gaps   int
}

func (s *salvage) copy(path, to string) error {
	f, err := s.fs.Open(path)
	if err != nil {
		return err
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	format := pebble.FormatNewest.MaxTableFormat()
	s.in, err = sstable.NewReader(context.Background(), readable, s.o.MakeReaderOptions())
	if err != nil { // its end is damaged, where all the rest is found from
		err = readable.Close()
	} else {
		defer s.in.Close()
		format, err = s.in.TableFormat()
	}
	if err != nil {
		return err
	}
	w, err := s.fs.Create(to, "tram-repair")
	if err != nil {
		return err
	}
	options := s.o.MakeWriterOptions(0, format)
	options.FilterPolicy = nil // the copy must not be longer than the table was
	s.out = sstable.NewRawWriter(objstorageprovider.NewFileWritable(w), options)
	if s.in == nil {
		s.gaps = 1
	} else if err := errors.Join(s.points(), s.spans()); err != nil {
		return errors.Join(err, s.out.Close())
	}
	if err := s.out.Close(); err != nil {
		return err
	}
	return s.pad(to, int64(format.FooterSize()))
}

// points copies the rows, and goes on behind each place that cannot be read.
func (s *salvage) points() error {
	it, err := s.iterator()
	if err != nil {
		s.gaps++ // the index is damaged
		return nil
	}
	last, from := []byte(nil), []byte(nil)
	s.handle = nil
	row := it.First()
	for {
		for ; row != nil; row = it.Next() {
			if err := s.add(row.K, func() ([]byte, error) {
				v, _, err := row.V.Value(nil)
				return v, err
			}); err != nil {
				return errors.Join(err, it.Close())
			}
			last = append(last[:0], row.K.UserKey...)
			s.handle = nil
		}
		bad := it.Error()
		_ = it.Close()
		if bad == nil {
			return nil
		}
		s.gaps++
		if from = s.behind(max2(from, last)); from == nil {
			return nil
		}
		if it, err = s.iterator(); err != nil {
			return nil
		}
		s.handle = nil
		row = it.SeekGE(from, 0)
	}
}

// max2 is the later of two keys.
func max2(a, b []byte) []byte {
	if string(a) > string(b) {
		return a
	}
	return b
}

func (s *salvage) add(key pebble.InternalKey, value func() ([]byte, error)) error {
	s.rows++
	if s.handle != nil {
		return s.out.AddWithBlobHandle(key, *s.handle, 0, false)
	}
	v, err := value()
	if err != nil {
		s.rows--
		return nil
	}
	return s.out.Add(key, v, false)
}

// iterator returns one over the rows. For a value in a blob file it leaves the handle in s.
func (s *salvage) iterator() (sstable.Iterator, error) {
	values := sstable.DebugHandlesBlobContext
	values.BlobHandleFn = alsoSee(values.BlobHandleFn, func(p blob.InlineHandlePreface, rest []byte) {
		s.handle = &blob.InlineHandle{
			InlineHandlePreface: p, HandleSuffix: blob.DecodeHandleSuffix(rest),
		}
	})
	return s.in.NewIter(sstable.NoTransforms, nil, nil, values)
}

// alsoSee wraps a function of Pebble whose result has a type that only Pebble can name.
func alsoSee[V any](fn func(blob.InlineHandlePreface, []byte) V,
	see func(blob.InlineHandlePreface, []byte)) func(blob.InlineHandlePreface, []byte) V {
	return func(p blob.InlineHandlePreface, rest []byte) V {
		see(p, rest)
		return fn(p, rest)
	}
}

// keyBytes is how much of a key behind tells apart. Each try in the damaged place takes Pebble a
// tenth of a second, in which it looks for a wrong bit.
const keyBytes = 24

// behind returns a key behind the damaged place that follows after a key: about the first from
// which on reading goes well again. nil: there is none.
func (s *salvage) behind(after []byte) []byte {
	var padded [keyBytes]byte
	copy(padded[:], after)
	base := new(big.Int).SetBytes(padded[:])
	at := func(add *big.Int) []byte {
		sum := new(big.Int).Add(base, add)
		if sum.BitLen() > 8*keyBytes {
			return nil
		}
		return sum.FillBytes(make([]byte, keyBytes))
	}
	good := func(add *big.Int) bool {
		key := at(add)
		return key == nil || s.readable(key) // nothing is behind the last key
	}
	// The order of magnitude first, then the place.
	bit := sort.Search(8*keyBytes, func(bit int) bool { return good(bigBit(bit)) })
	high := bigBit(bit)
	low := new(big.Int).Rsh(high, 1) // cannot be read, or is the key itself
	for range searchSteps {
		mid := new(big.Int).Add(low, high)
		if mid.Rsh(mid, 1); mid.Cmp(low) == 0 {
			break
		}
		if good(mid) {
			high = mid
		} else {
			low = mid
		}
	}
	return at(high)
}

// searchSteps is how closely the end of a damaged place is looked for: to a sixteen-millionth of its
// width.
const searchSteps = 24

func bigBit(bit int) *big.Int { return new(big.Int).Lsh(big.NewInt(1), uint(bit)) }

// readable reports whether the first row from a key on can be read.
func (s *salvage) readable(key []byte) bool {
	it, err := s.iterator()
	if err != nil {
		return false
	}
	it.SeekGE(key, 0)
	ok := it.Error() == nil
	_ = it.Close()
	return ok
}

// spans copies the deletions of ranges, as far as they can be read.
func (s *salvage) spans() error {
	it, err := s.in.NewRawRangeDelIter(context.Background(), sstable.NoFragmentTransforms,
		sstable.NoReadEnv)
	if err != nil {
		s.gaps++
		return nil
	}
	if it == nil {
		return nil
	}
	defer it.Close()
	for span, err := it.First(); span != nil || err != nil; span, err = it.Next() {
		if err != nil {
			s.gaps++
			return nil
		}
		if err := s.out.EncodeSpan(*span); err != nil {
			return err
		}
	}
	return nil
}

// pad brings the copy to the length of the table: the footer is found from the end, and all else
// from the footer.
func (s *salvage) pad(path string, footer int64) error {
	f, err := s.fs.OpenReadWrite(path, "tram-repair")
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if n := info.Size(); n > s.size {
		err = fmt.Errorf("what can be read of it takes %d bytes, and it had %d: %w", n, s.size,
			kv.ErrCorrupt)
	} else if n < s.size {
		end := make([]byte, footer)
		if _, err = f.ReadAt(end, n-footer); err == nil {
			gap := make([]byte, s.size-n)
			_, err = f.WriteAt(append(gap, end...), n-footer)
		}
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// values reads every value. What one wrong bit has made unreadable is healed; the rows of the rest
// are taken out: they are parts of bodies in files that are damaged, and what refers to them finds
// them missing, and says so.
func (r *repair) values() error {
	places, saved := map[blockPlace]bool{}, map[string]bool{}
	err := r.opened(func(db *DB) error {
		_, err := r.unreadable(db, places, nil)
		return err
	})
	if err == nil && len(places) > 0 {
		err = r.healValues(places)
	}
	if err != nil {
		return err
	}
	return r.opened(func(db *DB) error {
		keys, err := r.unreadable(db, nil, saved)
		for path := range saved {
			if err == nil {
				r.done.Damage = append(r.done.Damage, fmt.Sprintf("file %s is damaged", path))
				err = r.save(path)
			}
		}
		ctx := kv.Freeing(context.Background())
		for _, key := range keys {
			if err != nil {
				return err
			}
			err = db.Update(ctx, "repair", func(txn kv.Txn) error { return txn.Delete(key) })
		}
		if len(keys) > 0 {
			r.done.Deeds = append(r.done.Deeds, fmt.Sprintf(
				"%d parts of stored messages cannot be read and are given up", len(keys)))
		}
		return err
	})
}

// opened calls fn with the database open, under the lock that the repair has.
func (r *repair) opened(fn func(*DB) error) error {
	db := &DB{dir: r.dir, opts: r.opts, log: r.opts.Logger, inflight: newInflight(),
		users: newUsers(), lock: r.lock, corrupt: func(string) {}}
	if err := db.openLocked(); err != nil {
		return mapError(err)
	}
	err := fn(db)
	db.users.close()
	return errors.Join(err, db.pebble.Flush(), db.pebble.Close(), db.closeFiles())
}

// unreadable returns the keys whose values cannot be read, and notes the places and files of that.
func (r *repair) unreadable(db *DB, places map[blockPlace]bool, files map[string]bool) ([][]byte, error) {
	var keys [][]byte
	db.corrupt = func(path string) {
		if files != nil {
			files[path] = true
		}
	}
	c := checker{ctx: context.Background(), report: func(error) {}, progress: r.opts.Progress}
	c.unread = func(key []byte, err error) {
		keys = append(keys, append([]byte(nil), key...))
		if p, ok := placeOf(err); ok && places != nil {
			places[p] = true
		}
	}
	err := c.walk(db.pebble)
	return keys, err
}
