package pebblekv

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"

	"tram/internal/kv"
)

// Repaired says what Repair has done.
type Repaired struct {
	// Damage is what was found, in words for the operator; empty if there was nothing to repair.
	Damage []string
	// Deeds is what was done about it.
	Deeds []string
	// Saved is the directory with the files as they were.
	Saved string
}

// repairRounds bounds the number of places that one Repair mends.
const repairRounds = 16

// Repair makes a damaged database fit to be opened and read from end to end. Of a damaged log it
// gives up the changes from the damaged place on, of a damaged table the rows that cannot be read,
// of a damaged file of bodies the bodies. The files as they were are kept in a directory of their
// own, see Options.Keep. It does nothing to a database that is sound. What it cannot mend is
// kv.ErrCorrupt: the manifest, which tells what the other files are.
func Repair(dir string, o Options) (Repaired, error) {
	o = o.withDefaults(dir)
	lock, err := lockDir(o.FS, dir)
	if err != nil {
		return Repaired{}, fmt.Errorf("repair storage %s: %w", dir, err)
	}
	r := repair{fs: o.FS, dir: dir, opts: o, lock: lock}
	err = r.run()
	if err != nil && !errors.Is(err, kv.ErrInUse) && !errors.Is(err, kv.ErrNewer) {
		err = fmt.Errorf("%w: this cannot be mended here; restore the newest backup", err)
	}
	if err = errors.Join(err, lock.Close()); err != nil {
		return r.done, fmt.Errorf("repair storage %s: %w", dir, err)
	}
	return r.done, nil
}

type repair struct {
	fs   vfs.FS
	dir  string
	opts Options
	lock *pebble.Lock
	done Repaired
	// sizes are what the manifest says of the tables: name to length in bytes, or anyLength.
	sizes map[string]int64
}

// anyLength stands for a length that is not told.
const anyLength = -1

func (r *repair) run() error {
	desc, err := pebble.Peek(r.dir, r.fs)
	if err != nil {
		return fmt.Errorf("look at database: %w", mapError(err))
	}
	if !desc.Exists {
		return (&DB{dir: r.dir, opts: r.opts}).refuseRemains()
	}
	if err := r.manifest(r.fs.PathBase(desc.ManifestFilename)); err != nil {
		return err
	}
	for _, step := range []func() error{r.logs, r.tables, r.values} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// logs ends the logs before what is damaged in them.
func (r *repair) logs() error {
	for range repairRounds {
		at, err := r.marked()
		if err != nil {
			return err
		}
		bad, err := r.inspect(at)
		if err != nil || bad == nil {
			return err
		}
		r.done.Damage = append(r.done.Damage, bad.Error())
		if err := r.cut(bad); err != nil {
			return err
		}
	}
	return fmt.Errorf("the log has more than %d damaged places: %w", repairRounds, kv.ErrCorrupt)
}

// marked returns what the mark says, and makes a new one if it cannot be read.
func (r *repair) marked() (position, error) {
	m, err := openMark(r.fs, r.dir)
	if err == nil {
		return m.at, m.close()
	}
	if errors.Is(err, kv.ErrNewer) {
		return position{}, err
	}
	r.done.Damage = append(r.done.Damage, err.Error())
	return position{}, createMark(r.fs, r.dir, position{})
}

// inspect opens the database without changing it and returns what is wrong with its logs.
func (r *repair) inspect(at position) (*damage, error) {
	var bad *damage
	if err := missingLog(r.fs, r.dir, at); errors.As(err, &bad) {
		return bad, nil
	} else if err != nil {
		return nil, err
	}
	db := &DB{dir: r.dir, opts: r.opts, log: r.opts.Logger, lock: r.lock}
	db.guard = &guard{FS: r.fs, dir: r.dir, vet: func(first wal.NumWAL) error {
		return verifyLogs(r.fs, r.dir, first, at)
	}}
	db.cache = pebble.NewCache(1 << 20)
	defer db.cache.Unref()
	o := db.pebbleOptions()
	// Tables that are missing or have been cut are the next step's.
	o.ReadOnly, o.DisableConsistencyCheck = true, true
	var made []string
	for {
		p, err := pebble.Open(r.dir, o)
		if errors.As(err, &bad) {
			return bad, nil
		}
		if err != nil {
			return nil, fmt.Errorf("open database: %w", mapError(err))
		}
		missing, err := r.measure(p)
		if err = errors.Join(err, p.Close()); err != nil {
			return nil, err
		}
		if missing == "" {
			return nil, r.trust(made)
		}
		// It is known by its name alone until there is such a file; each round makes one.
		path := r.fs.PathJoin(r.dir, missing)
		r.done.Damage = append(r.done.Damage, fmt.Sprintf("table %s is missing", path))
		f, err := r.fs.Create(path, "tram-repair")
		if err != nil {
			return nil, fmt.Errorf("make table %s: %w", path, err)
		}
		if err := f.Close(); err != nil {
			return nil, fmt.Errorf("make table %s: %w", path, err)
		}
		made = append(made, path)
	}
}

// trust refuses a manifest that names tables which were missing, and does not name others that are
// there: it is damaged, and tells of an earlier time. Opened with it, the database would take the
// newer tables for remains, and remove them.
func (r *repair) trust(made []string) error {
	if len(made) == 0 {
		return nil
	}
	names, err := r.fs.List(r.dir)
	if err != nil {
		return fmt.Errorf("list tables: %w", err)
	}
	for _, name := range names {
		if _, known := r.sizes[name]; known || !strings.HasSuffix(name, ".sst") {
			continue
		}
		for _, path := range made {
			err = errors.Join(err, r.fs.Remove(path))
		}
		return errors.Join(fmt.Errorf("the manifest does not know table %s, and table %s, which it knows, "+
			"is missing: %w", name, r.fs.PathBase(made[0]), kv.ErrCorrupt), err)
	}
	return nil
}

// noTable finds in an error of Pebble's the number of the table that is not there.
var noTable = regexp.MustCompile(`file (\d+) \(type sstable\) unknown`)

// measure notes how long the manifest says that the tables are, or returns the name of one that is
// missing.
func (r *repair) measure(p *pebble.DB) (missing string, err error) {
	levels, err := p.SSTables()
	if err != nil {
		if m := noTable.FindStringSubmatch(err.Error()); m != nil {
			missing = m[1] + ".sst"
			if _, err := r.fs.Stat(r.fs.PathJoin(r.dir, missing)); errors.Is(err, fs.ErrNotExist) {
				return missing, nil
			}
		}
		return "", fmt.Errorf("list tables: %w", mapError(err))
	}
	r.sizes = map[string]int64{}
	for _, level := range levels {
		for _, t := range level {
			size := int64(t.Size)
			if t.Virtual {
				size = anyLength // of the file that it is a part of
			}
			r.sizes[t.BackingSSTNum.String()+".sst"] = size
		}
	}
	return "", nil
}

// cut ends the damaged log before its damage, takes away the logs after it, and lets the mark say
// so. The mark goes last: until then the database refuses to open.
func (r *repair) cut(bad *damage) error {
	logs, err := wal.Scan(wal.Dir{FS: r.fs, Dirname: r.dir})
	if err != nil {
		return fmt.Errorf("list log files: %w", err)
	}
	r.done.Deeds = append(r.done.Deeds, fmt.Sprintf("changes after number %d are given up, up to "+
		"number %d were acknowledged", bad.read, bad.acked.seq))
	for _, l := range logs {
		if l.Num < bad.num {
			continue
		}
		_, path := l.SegmentLocation(0)
		if err := r.save(path); err != nil {
			return err
		}
		if l.Num == bad.num {
			err = r.shorten(path, bad.offset)
		} else {
			err = r.fs.Remove(path)
		}
		if err != nil {
			return fmt.Errorf("cut %s: %w", path, err)
		}
	}
	if err := syncDir(r.fs, r.dir); err != nil {
		return err
	}
	return createMark(r.fs, r.dir, position{seq: bad.read})
}

// saveDir makes the directory for files as they were.
func (r *repair) saveDir() error {
	if r.done.Saved == "" {
		r.done.Saved = r.opts.Keep
	}
	if r.done.Saved == "" {
		r.done.Saved = r.fs.PathJoin(r.dir, r.opts.Clock.Now().UTC().Format("damaged-20060102-150405"))
	}
	if err := r.fs.MkdirAll(r.done.Saved, 0o700); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	return nil
}

// shorten replaces a file with its first size bytes.
func (r *repair) shorten(path string, size int64) (err error) {
	from, err := r.fs.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	tmp := path + ".cut"
	to, err := r.fs.Create(tmp, "tram-repair")
	if err != nil {
		return err
	}
	_, err = io.CopyN(to, from, size)
	if err == nil {
		err = to.Sync()
	}
	if err = errors.Join(err, to.Close()); err != nil {
		return err
	}
	return r.fs.Rename(tmp, path)
}
