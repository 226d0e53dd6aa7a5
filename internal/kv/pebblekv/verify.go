package pebblekv

import (
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"

	"tram/internal/kv"
)

// Pebble takes a log whose end is damaged for one that was cut by a crash, and goes on without the
// records behind the damage. verifyLogs knows better, from two facts: sequence numbers in the logs
// have no gap, for every batch takes the next ones and nothing else takes any; and the mark tells
// which number was acknowledged last and in which log it is.

// damage is a place in the logs after which acknowledged changes cannot be read.
type damage struct {
	path   string // of the log file
	num    wal.NumWAL
	offset int64    // of the first record that cannot be read
	read   uint64   // the last sequence number before it
	acked  position // what the mark says
	why    error    // what is wrong there; nil: the log just ends
}

func (d *damage) Error() string {
	what := "ends too early"
	if d.why != nil {
		what = "is damaged (" + d.why.Error() + ")"
	}
	return fmt.Sprintf("log file %s %s at offset %d: changes were acknowledged up to number %d, "+
		"and can be read up to number %d", d.path, what, d.offset, d.acked.seq, d.read)
}

func (d *damage) Unwrap() error { return kv.ErrCorrupt }

// verifyLogs reads the logs from number first on, which are all that Pebble will replay, and
// returns a *damage if an acknowledged record is missing or anything but the end of the last one is
// damaged.
func verifyLogs(fs vfs.FS, dir string, first wal.NumWAL, acked position) error {
	logs, err := wal.Scan(wal.Dir{FS: fs, Dirname: dir})
	if err != nil {
		return fmt.Errorf("list log files: %w", err)
	}
	var end, place logEnd // place is where the acknowledged end should be
	for i, l := range logs {
		if l.Num < first {
			continue
		}
		if err := end.follow(l); err != nil {
			return err
		}
		if end.why != nil && (i < len(logs)-1 || !errors.Is(end.why, record.ErrUnexpectedEOF)) {
			return end.damage(acked)
		}
		if uint64(l.Num) == acked.log {
			place = end
		}
	}
	if acked.log < uint64(first) || end.seq >= acked.seq {
		return nil
	}
	if place.path == "" {
		place = end
		place.why = fmt.Errorf("log number %d is missing", acked.log)
	}
	return place.damage(acked)
}

// missingLog returns a *damage if the log that the mark speaks of was taken away: it goes when its
// content is in tables, and there is a newer one then.
func missingLog(fs vfs.FS, dir string, acked position) error {
	logs, err := wal.Scan(wal.Dir{FS: fs, Dirname: dir})
	if err != nil {
		return fmt.Errorf("list log files: %w", err)
	}
	if acked.log == 0 || len(logs) > 0 && uint64(logs[len(logs)-1].Num) >= acked.log {
		return nil
	}
	return &damage{path: fs.PathJoin(dir, fmt.Sprintf("%06d.log", acked.log)), acked: acked,
		num: wal.NumWAL(acked.log), why: errors.New("file is missing")}
}

// logEnd is how far the logs could be read.
type logEnd struct {
	path   string
	num    wal.NumWAL
	offset int64
	seq    uint64 // the last sequence number, 0: none yet
	why    error  // what is wrong at offset; nil: the log ends there
}

func (e *logEnd) damage(acked position) error {
	return &damage{path: e.path, num: e.num, offset: e.offset, read: e.seq, acked: acked, why: e.why}
}

// follow reads one more log. What is wrong with its content it leaves in why; an error is one of
// reading the file.
func (e *logEnd) follow(l wal.LogicalLog) error {
	_, e.path = l.SegmentLocation(0)
	e.num, e.offset, e.why = l.Num, 0, nil
	r := l.OpenForRead()
	defer r.Close()
	header := make([]byte, batchrepr.HeaderLen)
	for {
		rec, off, err := r.NextRecord()
		e.offset = off.Physical
		switch {
		case err == io.EOF:
			return nil
		case errors.Is(err, record.ErrUnexpectedEOF), errors.Is(err, record.ErrInvalidChunk),
			errors.Is(err, record.ErrZeroedChunk), errors.Is(err, pebble.ErrCorruption):
			e.why = err
			return nil
		case err != nil:
			return fmt.Errorf("read log file %s at offset %d: %w", e.path, off.Physical, err)
		}
		if _, err := io.ReadFull(rec, header); err != nil {
			e.why = fmt.Errorf("read record: %w", err)
			return nil
		}
		h, _ := batchrepr.ReadHeader(header)
		if e.seq != 0 && uint64(h.SeqNum) != e.seq+1 {
			e.why = fmt.Errorf("numbers from %d to %d are missing", e.seq+1, uint64(h.SeqNum)-1)
			return nil
		}
		e.seq = uint64(h.SeqNum) + uint64(h.Count) - 1
	}
}
