// Package unpack answers "what is inside this file?": it tells a file's type from its content, lists what
// archives hold, takes the text out of documents, and finds in them what can run.
//
// It works on hostile input: every loop is bounded by limits.Content, in bytes, in names and in depth. A
// fault of a decoder must not be a fault of the server, so a [Pool] runs it in a child process with little
// memory, little time, no files and no network; [File] is the same work in this process.
//
// What must never happen: a type taken from a name, an archive's list believed where its content says
// otherwise, a bomb that is unpacked, a child that outlives its time.
package unpack

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"tram/internal/limits"
)

// Marks is a set of what was found in a file.
type Marks uint32

// The marks.
const (
	Encrypted     Marks = 1 << iota // cannot be read without a password
	Macro                           // an office document with programs
	Template                        // an office document that loads another one from elsewhere
	DDE                             // an office document whose fields start programs
	Embedded                        // an office document or PDF with a file in it
	JavaScript                      // a PDF, SVG or HTML file with scripts
	Launch                          // a PDF that starts programs
	OpenAction                      // a PDF that acts when opened
	Form                            // an HTML file that sends a form
	Refresh                         // an HTML file that leads elsewhere by itself
	Contradiction                   // an archive that different programs list differently
	Damaged                         // cannot be read to its end
	Bomb                            // beyond a limit: more than this is not known
)

// Has reports whether any of m is in the set.
func (s Marks) Has(m Marks) bool { return s&m != 0 }

// Entry is a file inside another.
type Entry struct {
	Path  string // from the outermost archive, which is not named: "inner.zip/run.exe"
	Type  Type   // by its content; "" when unknown
	Size  int64  // unpacked, as far as it was
	Depth int    // archives around it, 1 for one in the outermost
	Marks Marks
}

// Result is what a file holds.
type Result struct {
	Type    Type
	Marks   Marks // of the file itself
	Entries []Entry
	Text    string // of documents, at most limits.Content.Text bytes of valid UTF-8
	// Trouble says why it could not be looked into whole, "" when it was.
	Trouble string
}

// held is how much of a file inside an archive is kept in memory to look into it in turn. Programs,
// documents and archives that are sent by mail are smaller, and what is larger is still counted.
const held = 32 << 20

// File looks into the file b, in this process. It ends early, with Trouble, when ctx does.
func File(ctx context.Context, name string, b []byte, l limits.Content) Result {
	w := &walker{ctx: ctx, lim: l, left: l.Unpacked}
	typ, marks := w.look("", name, b, 0)
	return Result{
		Type: typ, Marks: marks, Entries: w.entries, Trouble: w.trouble,
		Text: strings.ToValidUTF8(w.text.String(), "\ufffd"),
	}
}

// walker goes through a file and all that is in it.
type walker struct {
	ctx     context.Context
	lim     limits.Content
	left    int64 // bytes that may still be unpacked
	entries []Entry
	text    strings.Builder
	trouble string
	tick    int
}

// fail notes why the look is not complete; the first reason counts.
func (w *walker) fail(format string, args ...any) {
	if w.trouble == "" {
		w.trouble = clean(fmt.Sprintf(format, args...), 200)
	}
}

// over reports whether there is nothing left to work with.
func (w *walker) over() bool {
	if w.ctx.Err() != nil {
		w.fail("it took too long")
		return true
	}
	return w.left <= 0
}

// look finds out what b is and goes into it. path is where it lies, "" for the file itself.
func (w *walker) look(path, name string, b []byte, depth int) (Type, Marks) {
	typ := Sniff(b)
	if depth > w.lim.ArchiveDeep {
		w.fail("archives in archives, more than %d deep", w.lim.ArchiveDeep)
		return typ, Bomb
	}
	if w.over() {
		return typ, 0
	}
	var marks Marks
	switch typ {
	case Zip:
		typ, marks = w.zip(path, b, depth)
	case Gzip, Bzip2, Zstd:
		marks = w.packed(path, name, typ, b, depth)
	case Tar:
		marks = w.tar(path, b, depth)
	case Rar:
		marks = w.rar(path, b, depth)
	case Seven:
		marks = w.seven(b)
	case Cab:
		marks = w.cab(path, b, depth)
	case TNEF:
		marks = w.tnef(path, b, depth)
	case OLE:
		typ, marks = w.ole(b)
	case PDF:
		marks = w.pdf(b)
	case RTF:
		marks = w.rtf(b)
	case HTML, SVG, XML:
		marks = markup(b)
	}
	if !typ.Archive() && typ != Office && typ != OLE && endOfZip(b) >= 0 {
		// A picture or a document that is a zip file for those who look at its end first.
		if _, more := w.zip(path, b, depth); more&Damaged == 0 {
			marks |= more | Contradiction
		}
	}
	return typ, marks
}

// enter adds a file that lies inside another, and looks into it. size is what is known of its size when b
// is not all of it.
func (w *walker) enter(path, name string, b []byte, size int64, depth int, marks Marks) {
	if len(w.entries) >= w.lim.Entries {
		w.fail("more than %d files", w.lim.Entries)
		return
	}
	full := join(path, name)
	i := len(w.entries)
	w.entries = append(w.entries, Entry{Path: full, Size: max(size, int64(len(b))), Depth: depth, Marks: marks})
	typ, more := w.look(full, name, b, depth)
	w.entries[i].Type, w.entries[i].Marks = typ, marks|more
}

// room reports whether another file may be entered.
func (w *walker) room() bool { return len(w.entries) < w.lim.Entries && !w.over() }

// drain reads what r unpacks: the beginning, which is kept, and how much it is in all. It stops at the
// budget. expect is what the archive says of the size, for the buffer.
func (w *walker) drain(r io.Reader, expect int64) (b []byte, size int64, marks Marks) {
	var buf bytes.Buffer
	buf.Grow(int(min(max(expect, 0), held, w.left, 8<<20)) + bytes.MinRead)
	n, err := io.Copy(&buf, io.LimitReader(slow{w, r}, min(held, w.left+1)))
	size = n
	if err == nil && n == held {
		more, e := io.Copy(io.Discard, io.LimitReader(slow{w, r}, w.left+1-n))
		size, err = size+more, e
		if more > 0 && Sniff(buf.Bytes()).Opens() {
			w.fail("a file of more than %d MiB inside an archive", held>>20)
		}
	}
	w.left -= size
	switch {
	case w.left < 0:
		w.fail("it unpacks to more than %d MiB", w.lim.Unpacked>>20)
		marks = Bomb
	case err != nil && w.ctx.Err() != nil:
		w.fail("it took too long")
		marks = Bomb
	case err != nil:
		marks = Damaged
	}
	return buf.Bytes(), size, marks
}

// slow is a reader that asks now and then whether there is still time.
type slow struct {
	w *walker
	r io.Reader
}

// Read implements io.Reader.
func (s slow) Read(p []byte) (int, error) {
	if s.w.tick++; s.w.tick%16 == 0 {
		if err := s.w.ctx.Err(); err != nil {
			return 0, err
		}
	}
	return s.r.Read(p)
}

// say adds to the text of documents.
func (w *walker) say(s string) {
	if room := w.lim.Text - w.text.Len(); room > 0 {
		w.text.WriteString(s[:min(len(s), room)])
	}
}

// longestPath bounds a path. What is cut is its middle: the end says what a file claims to be.
const longestPath = 300

// join makes the path of a file inside another.
func join(path, name string) string {
	name = strings.ToValidUTF8(name, "\ufffd")
	if name == "" {
		name = "?"
	}
	if path != "" {
		name = path + "/" + name
	}
	if len(name) > longestPath {
		name = strings.ToValidUTF8(name[:100], "") + "…" + strings.ToValidUTF8(name[len(name)-190:], "")
	}
	return name
}

// clean makes s fit to be shown: valid, without controls, at most n bytes.
func clean(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	return strings.ToValidUTF8(s[:min(len(s), n)], "")
}
