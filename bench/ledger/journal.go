package ledger

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"tram/bench/wire"
)

// journal is the ledger's own file. A line is on disk when write returns: whoever comes while
// another syncs waits for the next sync, which then serves all who wait.
//
// Its lines are "sent TOKEN USER SIZE SHA256", with "-" for the user of a message that goes outside,
// and "acked TOKEN", "unknown TOKEN" or "refused TOKEN"; the last one of a token holds.
type journal struct {
	mu    sync.Mutex // of what is below
	lines []byte
	batch *batch

	disk sync.Mutex // held by the one who syncs
	file *os.File
}

type batch struct {
	done bool
	err  error
}

func (j *journal) write(line string) error {
	j.mu.Lock()
	j.lines = append(j.lines, line...)
	mine := j.batch
	j.mu.Unlock()
	j.disk.Lock()
	defer j.disk.Unlock()
	if mine.done {
		return mine.err
	}
	j.mu.Lock()
	lines := j.lines
	j.lines, j.batch = nil, &batch{}
	j.mu.Unlock()
	_, err := j.file.Write(lines)
	if err == nil {
		err = j.file.Sync()
	}
	mine.done, mine.err = true, err
	return err
}

// Record makes l write to a new file, which must outlive what the server goes through.
func (l *Ledger) Record(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	l.journal = &journal{file: f, batch: &batch{}}
	return nil
}

// record writes a line. A ledger that cannot write proves nothing: the error is kept for Compare.
func (l *Ledger) record(line string) {
	if l.journal == nil {
		return
	}
	if err := l.journal.write(line); err != nil {
		l.mu.Lock()
		l.broken = err
		l.mu.Unlock()
	}
}

func sentLine(token string, e *entry) string {
	user := e.user
	if user == "" {
		user = "-"
	}
	return fmt.Sprintf("sent %s %s %d %s\n", token, user, e.size, hex.EncodeToString(e.hash[:]))
}

// Close closes the journal.
func (l *Ledger) Close() error {
	if l.journal == nil {
		return nil
	}
	return l.journal.file.Close()
}

// Load makes a ledger of what a journal says, to compare with what s has. Nothing is known of what
// arrived outside.
func Load(s Server, path string) (*Ledger, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	l := New(s, 0)
	sc := bufio.NewScanner(f)
	for n := 1; sc.Scan(); n++ {
		if err := l.replay(strings.Fields(sc.Text())); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
	}
	return l, sc.Err()
}

// acks are the outcomes by their names.
var acks = map[string]wire.Ack{
	wire.Refused.String(): wire.Refused, wire.Acked.String(): wire.Acked, wire.Unknown.String(): wire.Unknown,
}

func (l *Ledger) replay(words []string) error {
	if len(words) == 5 && words[0] == "sent" {
		size, err := strconv.Atoi(words[3])
		if err != nil {
			return err
		}
		e := &entry{user: words[2], size: size}
		if e.user == "-" {
			e.user = ""
		}
		if n, err := hex.Decode(e.hash[:], []byte(words[4])); err != nil || n != len(e.hash) {
			return fmt.Errorf("no checksum: %q", words[4])
		}
		l.entries[words[1]] = e
		return nil
	}
	line := strings.Join(words, " ")
	if len(words) != 2 {
		return fmt.Errorf("not a line of a journal: %q", line)
	}
	ack, known := acks[words[0]]
	if !known || l.entries[words[1]] == nil {
		return fmt.Errorf("not a line of a journal: %q", line)
	}
	l.entries[words[1]].ack = ack
	return nil
}

// Outside takes over what arrived outside according to another ledger.
func (l *Ledger) Outside(from *Ledger) {
	from.mu.Lock()
	defer from.mu.Unlock()
	for token, e := range from.entries {
		if mine := l.entries[token]; mine != nil {
			mine.arrived, mine.torn = e.arrived, e.torn
		}
	}
}
