package unpack

import (
	"bytes"
	"compress/bzip2"
	"compress/flate"
	"encoding/binary"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// le reads little-endian numbers out of a file; what lies beyond its end is 0.
type le []byte

func (b le) u16(at int) int {
	if at < 0 || at+2 > len(b) {
		return 0
	}
	return int(binary.LittleEndian.Uint16(b[at:]))
}

func (b le) u32(at int) int64 {
	if at < 0 || at+4 > len(b) {
		return 0
	}
	return int64(binary.LittleEndian.Uint32(b[at:]))
}

func (b le) u64(at int) int64 {
	if at < 0 || at+8 > len(b) {
		return 0
	}
	return int64(binary.LittleEndian.Uint64(b[at:]) &^ (1 << 63))
}

// slice is b[at:at+n] as far as it exists.
func (b le) slice(at, n int64) []byte {
	at = min(max(at, 0), int64(len(b)))
	return b[at:min(max(at+n, at), int64(len(b)))]
}

// Signatures of a zip file's records, APPNOTE.TXT §4.3.
const (
	zipLocal      = "PK\x03\x04"
	zipCentral    = "PK\x01\x02"
	zipEnd        = "PK\x05\x06"
	zipDescriptor = "PK\x07\x08"
)

// zipFile is a file of a zip archive as one of the two lists has it.
type zipFile struct {
	name   string
	flags  int
	method int
	packed int64
	size   int64
	at     int64 // of the local header
	data   int64 // of the content; local list only
}

// zip looks into a zip archive. Programs go by the list at its end or by the headers before each file: both
// are read, what either names is listed, and where they differ the archive is marked.
func (w *walker) zip(path string, b []byte, depth int) (Type, Marks) {
	central, ok := zipDirectory(b)
	local := zipLocals(b, central, w.lim.Entries)
	var marks Marks
	if !ok {
		marks = Damaged
	}
	byPlace := make(map[int64]int, len(local))
	for i := range local {
		byPlace[local[i].at] = i
	}
	files := local
	for _, c := range central {
		i, found := byPlace[c.at]
		if !found {
			l, ok := zipHeader(b, c.at)
			if !ok {
				marks |= Contradiction
				continue
			}
			if l.packed == 0 {
				l.packed, l.size = c.packed, c.size
			}
			if !sameZip(l, c) {
				marks |= Contradiction
			}
			files = append(files, l)
			continue
		}
		if !sameZip(local[i], c) {
			marks |= Contradiction
			if local[i].name != c.name { // both names are shown
				files = append(files, zipFile{name: c.name, method: c.method, flags: c.flags,
					packed: local[i].packed, size: c.size, data: local[i].data})
			}
		}
	}
	if ok && len(local) > len(central) {
		marks |= Contradiction // a file that the list at the end does not name
	}
	typ := zipType(files)
	for i := range files {
		if !w.room() {
			if len(w.entries) >= w.lim.Entries {
				w.fail("more than %d files", w.lim.Entries)
				marks |= Bomb
			}
			break
		}
		marks |= w.zipEntry(path, b, &files[i], depth, typ)
	}
	return typ, marks
}

// zipEntry unpacks a file of an archive. It returns what the archive as a whole is to be marked with.
func (w *walker) zipEntry(path string, b []byte, f *zipFile, depth int, typ Type) Marks {
	if strings.HasSuffix(f.name, "/") && f.size == 0 {
		return 0
	}
	if f.flags&1 != 0 || f.method == 99 {
		w.enter(path, f.name, nil, f.size, depth+1, Encrypted)
		return Encrypted
	}
	src := bytes.NewReader(le(b).slice(f.data, f.packed))
	var r io.Reader
	switch f.method {
	case 0:
		r = src
	case 8:
		r = flate.NewReader(src)
	case 12:
		r = bzip2.NewReader(src)
	case 93:
		z, err := zstd.NewReader(src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(held))
		if err != nil {
			return Damaged
		}
		defer z.Close()
		r = z
	default:
		w.fail("packed by a method that is not known here (%d)", f.method)
		w.enter(path, f.name, nil, f.size, depth+1, Damaged)
		return 0
	}
	content, size, marks := w.drain(r, f.size)
	if typ == Office {
		marks |= w.officePart(f.name, content)
		if !officeFile(f.name, content) {
			return marks // the document's own parts are no files of anybody
		}
		marks |= Embedded
	}
	w.enter(path, f.name, content, size, depth+1, marks&(Damaged|Bomb))
	return marks & (Bomb | Macro | Template | DDE | Embedded)
}

// sameZip reports whether both lists say the same of a file. The header before it may leave sizes to a
// descriptor that follows.
func sameZip(l, c zipFile) bool {
	if l.name != c.name || l.method != c.method || (l.flags^c.flags)&1 != 0 {
		return false
	}
	return l.flags&8 != 0 || l.packed == c.packed && l.size == c.size
}

// endOfZip finds the record at the end of a zip archive, -1 when there is none. A comment may follow it.
func endOfZip(b []byte) int {
	from := max(0, len(b)-22-1<<16)
	for end := len(b); ; {
		i := bytes.LastIndex(b[from:end], []byte(zipEnd))
		if i < 0 {
			return -1
		}
		if from+i+22 <= len(b) {
			return from + i
		}
		end = from + i
	}
}

// zipDirectory reads the list at the end of an archive. ok is false when there is none.
func zipDirectory(b []byte) (files []zipFile, ok bool) {
	end := endOfZip(b)
	if end < 0 {
		return nil, false
	}
	d := le(b)
	size, at := d.u32(end+12), d.u32(end+16)
	if at == 1<<32-1 || size == 1<<32-1 { // ZIP64: the record that a locator before this one names
		if loc := end - 20; loc >= 0 && string(d.slice(int64(loc), 4)) == "PK\x06\x07" {
			rec := int(min(d.u64(loc+8), int64(len(b))))
			size, at = d.u64(rec+40), d.u64(rec+48)
		}
	}
	base := int64(end) - size - at // bytes that were put before the archive
	if base < 0 || base > int64(end) {
		base = 0
	}
	pos := base + at
	for pos+46 <= int64(end) && string(d.slice(pos, 4)) == zipCentral {
		p := int(pos)
		n, extra, comment := d.u16(p+28), d.u16(p+30), d.u16(p+32)
		f := zipFile{
			name: string(d.slice(pos+46, int64(n))), flags: d.u16(p + 8), method: d.u16(p + 10),
			packed: d.u32(p + 20), size: d.u32(p + 24), at: base + d.u32(p+42),
		}
		zip64(&f, d.slice(pos+46+int64(n), int64(extra)), base)
		files = append(files, f)
		pos += 46 + int64(n) + int64(extra) + int64(comment)
	}
	return files, len(files) > 0 || size == 0
}

// zip64 reads the sizes that did not fit, APPNOTE.TXT §4.5.3.
func zip64(f *zipFile, extra le, base int64) {
	const none = 1<<32 - 1
	for len(extra) >= 4 {
		id, n := extra.u16(0), extra.u16(2)
		if id == 1 {
			at := 4
			for _, v := range []*int64{&f.size, &f.packed} {
				if *v == none {
					*v = extra.u64(at)
					at += 8
				}
			}
			if f.at == base+none {
				f.at = base + extra.u64(at)
			}
			return
		}
		extra = extra[min(4+n, len(extra)):]
	}
}

// zipHeader reads the header before a file.
func zipHeader(b []byte, at int64) (zipFile, bool) {
	d := le(b)
	if at < 0 || at+30 > int64(len(b)) || string(d.slice(at, 4)) != zipLocal {
		return zipFile{}, false
	}
	p := int(at)
	n, extra := int64(d.u16(p+26)), int64(d.u16(p+28))
	f := zipFile{
		name: string(d.slice(at+30, n)), flags: d.u16(p + 6), method: d.u16(p + 8),
		packed: d.u32(p + 18), size: d.u32(p + 22), at: at, data: at + 30 + n + extra,
	}
	zip64(&f, d.slice(at+30+n, extra), 0)
	f.at = at
	return f, true
}

// zipLocals reads the headers before the files, in their order, as a program does that unpacks while it
// reads. Where a header leaves the size to a descriptor, the list at the end is asked, and else the next
// signature is looked for.
func zipLocals(b []byte, central []zipFile, most int) []zipFile {
	sizes := make(map[int64]zipFile, len(central))
	for _, c := range central {
		sizes[c.at] = c
	}
	first := bytes.Index(b, []byte(zipLocal))
	if first < 0 {
		return nil
	}
	var files []zipFile
	for pos := int64(first); len(files) <= most; {
		f, ok := zipHeader(b, pos)
		if !ok {
			break
		}
		if f.flags&8 != 0 && f.packed == 0 {
			if c, ok := sizes[pos]; ok {
				f.packed, f.size = c.packed, c.size
			} else {
				f.packed = int64(nextZip(le(b).slice(f.data, int64(len(b)))))
			}
		}
		files = append(files, f)
		pos = f.data + f.packed
		if f.flags&8 != 0 { // pass the descriptor, whichever of its four forms it has
			i := nextZip(le(b).slice(pos, 24+4))
			pos += int64(i)
			if string(le(b).slice(pos, 4)) == zipDescriptor {
				pos += 4 + int64(nextZip(le(b).slice(pos+4, 24)))
			}
		}
	}
	return files
}

// nextZip finds the next record, len(b) when none follows.
func nextZip(b []byte) int {
	for i := 0; ; {
		n := bytes.Index(b[i:], []byte("PK"))
		if n < 0 {
			return len(b)
		}
		i += n
		if rest := b[i:]; len(rest) >= 4 {
			switch string(rest[:4]) {
			case zipLocal, zipCentral, zipEnd, zipDescriptor:
				return i
			}
		}
		i += 2
	}
}

// zipType tells archives apart by what is in them.
func zipType(files []zipFile) Type {
	var office, class, dex, manifest bool
	for i := range files {
		n := files[i].name
		switch {
		case n == "[Content_Types].xml", n == "content.xml", n == "mimetype" && files[i].method == 0:
			office = true
		case n == "classes.dex":
			dex = true
		case strings.HasSuffix(n, ".class"):
			class = true
		case strings.EqualFold(n, "META-INF/MANIFEST.MF"):
			manifest = true
		}
	}
	switch {
	case dex:
		return Android
	case class, manifest && !office:
		return Java
	case office:
		return Office
	}
	return Zip
}
