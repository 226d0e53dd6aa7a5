package unpack

import (
	"archive/tar"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"io"
	"strings"
	"unicode/utf16"

	"github.com/klauspost/compress/zstd"
)

// packed unpacks a file that holds a single other one.
func (w *walker) packed(path, name string, typ Type, b []byte, depth int) Marks {
	inner := innerName(name)
	var r io.Reader
	switch typ {
	case Gzip:
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return Damaged
		}
		if z.Name != "" {
			inner = z.Name
		}
		r = z
	case Bzip2:
		r = bzip2.NewReader(bytes.NewReader(b))
	default:
		z, err := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(held))
		if err != nil {
			return Damaged
		}
		defer z.Close()
		r = z
	}
	content, size, marks := w.drain(r, int64(len(b))*4)
	if len(content) == 0 && marks.Has(Damaged) {
		return marks
	}
	w.enter(path, inner, content, size, depth+1, marks)
	return marks
}

// innerName is what a packed file is called when it does not say: its name without the last ending.
func innerName(name string) string {
	name = name[strings.LastIndexAny(name, "/\\")+1:]
	i := strings.LastIndexByte(name, '.')
	if i <= 0 {
		return "content"
	}
	if end := strings.ToLower(name[i:]); end == ".tgz" || end == ".tbz" || end == ".tbz2" {
		return name[:i] + ".tar"
	}
	return name[:i]
}

// tar goes through a tape archive. Sizes that it only claims cost nothing: what is read is counted.
func (w *walker) tar(path string, b []byte, depth int) Marks {
	src := bytes.NewReader(b)
	t := tar.NewReader(slow{w, src})
	for {
		h, err := t.Next()
		switch {
		case err == io.EOF:
			return 0
		case err != nil:
			return Damaged
		case h.Typeflag == tar.TypeDir:
			continue
		case !w.room():
			w.fail("more than %d files", w.lim.Entries)
			return Bomb
		}
		content, size, marks := w.drain(t, h.Size)
		w.enter(path, h.Name, content, size, depth+1, marks)
		if marks != 0 {
			return marks
		}
	}
}

// cab lists a cabinet of Windows; its content stays packed.
func (w *walker) cab(path string, b []byte, depth int) Marks {
	d := le(b)
	pos := d.u32(16)
	for range d.u16(28) {
		if pos+16 >= int64(len(b)) {
			return Damaged
		}
		if !w.room() {
			return Bomb
		}
		name := d.slice(pos+16, 256)
		end := bytes.IndexByte(name, 0)
		if end < 0 {
			return Damaged
		}
		w.enter(path, string(name[:end]), nil, d.u32(int(pos)), depth+1, 0)
		pos += 16 + int64(end) + 1
	}
	return 0
}

// seven tells whether a 7z archive is encrypted; its list is packed itself and is not read. The coder for
// encryption is named in the header at the end.
func (w *walker) seven(b []byte) Marks {
	d := le(b)
	at, size := 32+d.u64(12), d.u64(20)
	header := d.slice(at, size)
	if int64(len(header)) != size || size == 0 {
		return Damaged
	}
	if bytes.Contains(header, []byte("\x06\xf1\x07\x01")) {
		return Encrypted
	}
	return 0
}

// rar lists a RAR archive of version 4 or 5; its content stays packed.
func (w *walker) rar(path string, b []byte, depth int) Marks {
	if bytes.HasPrefix(b, []byte("Rar!\x1a\x07\x01\x00")) {
		return w.rar5(path, b, depth)
	}
	d := le(b)
	var marks Marks
	for pos := int64(7); pos+7 <= int64(len(b)); {
		p := int(pos)
		kind, flags, size := b[pos+2], d.u16(p+3), int64(d.u16(p+5))
		if size < 7 {
			return marks | Damaged
		}
		next := pos + size
		switch kind {
		case 0x73: // the archive's own header
			if flags&0x80 != 0 {
				return Encrypted // the list, too
			}
		case 0x74:
			if !w.room() {
				return marks | Bomb
			}
			var file Marks
			if flags&4 != 0 {
				file = Encrypted
			}
			at, packed := pos+32, d.u32(p+7)
			if flags&0x100 != 0 {
				at, packed = at+8, packed|d.u32(p+32)<<32
			}
			name := d.slice(at, int64(d.u16(p+26)))
			if i := bytes.IndexByte(name, 0); i >= 0 {
				name = name[:i]
			}
			w.enter(path, string(name), nil, d.u32(p+11), depth+1, file)
			marks |= file
			next += packed
		case 0x7b:
			return marks
		default:
			if flags&0x8000 != 0 {
				next += d.u32(p + 7)
			}
		}
		if next <= pos {
			return marks | Damaged
		}
		pos = next
	}
	return marks
}

// vint reads a number of RAR 5: seven bits a byte, the lowest first.
func vint(b []byte, at int64) (v, next int64) {
	for shift := 0; shift < 56 && at >= 0 && at < int64(len(b)); shift += 7 {
		c := b[at]
		at++
		v |= int64(c&0x7f) << shift
		if c < 0x80 {
			return v, at
		}
	}
	return v, int64(len(b))
}

// rar5 lists a RAR archive of version 5.
func (w *walker) rar5(path string, b []byte, depth int) Marks {
	var marks Marks
	for pos := int64(8); pos+7 <= int64(len(b)); {
		size, at := vint(b, pos+4)
		end := at + size
		if size <= 0 || end > int64(len(b)) {
			return marks | Damaged
		}
		kind, at := vint(b, at)
		flags, at := vint(b, at)
		var extra, data int64
		if flags&1 != 0 {
			extra, at = vint(b, at)
		}
		if flags&2 != 0 {
			data, at = vint(b, at)
		}
		switch kind {
		case 4: // all that follows is encrypted
			return Encrypted
		case 2:
			if !w.room() {
				return marks | Bomb
			}
			marks |= w.rar5File(path, b[:end], at, extra, depth)
		case 5:
			return marks
		}
		if data < 0 || end+data <= pos {
			return marks | Damaged
		}
		pos = end + data
	}
	return marks
}

// rar5File adds a file of a RAR 5 archive; b ends where its header does.
func (w *walker) rar5File(path string, b []byte, at, extra int64, depth int) Marks {
	flags, at := vint(b, at)
	size, at := vint(b, at)
	_, at = vint(b, at) // attributes
	if flags&2 != 0 {
		at += 4 // time
	}
	if flags&4 != 0 {
		at += 4 // checksum
	}
	_, at = vint(b, at) // compression
	_, at = vint(b, at) // system
	n, at := vint(b, at)
	name := le(b).slice(at, n)
	var marks Marks
	for rec := max(int64(len(b))-extra, 0); extra > 0 && rec < int64(len(b)); {
		length, body := vint(b, rec)
		if kind, _ := vint(b, body); kind == 1 {
			marks = Encrypted
		}
		if length <= 0 {
			break
		}
		rec = body + length
	}
	w.enter(path, string(name), nil, size, depth+1, marks)
	return marks
}

// TNEF attributes that matter, MS-OXTNEF §2.1.3.
const (
	tnefTitle = 0x00018010 // a file's short name
	tnefData  = 0x0006800f // its content
	tnefProps = 0x00069005 // its properties, the long name among them
	tnefStart = 0x00069002 // another attachment begins
)

// tnef goes through what Outlook puts into winmail.dat.
func (w *walker) tnef(path string, b []byte, depth int) Marks {
	d := le(b)
	var name, long string
	var data []byte
	started := false
	flush := func() {
		if started && w.room() {
			if long != "" {
				name = long
			}
			w.left -= int64(len(data))
			w.enter(path, name, data, int64(len(data)), depth+1, 0)
		}
		started, name, long, data = false, "", "", nil
	}
	defer flush()
	for pos := int64(6); pos+9 <= int64(len(b)); {
		id, n := d.u32(int(pos)+1), d.u32(int(pos)+5)
		body := d.slice(pos+9, n)
		if int64(len(body)) != n {
			return Damaged
		}
		switch id {
		case tnefStart:
			flush()
			started = true
		case tnefTitle:
			started, name = true, strings.TrimRight(string(body), "\x00")
		case tnefData:
			started, data = true, body
		case tnefProps:
			long = tnefLongName(body)
		}
		if !w.room() {
			w.fail("more than %d files", w.lim.Entries)
			return Bomb
		}
		pos += 9 + n + 2
	}
	return 0
}

// tnefLongName finds PR_ATTACH_LONG_FILENAME among properties. They are not parsed: the tag with its count
// of one value is looked for, which no other property's value holds by chance.
func tnefLongName(b []byte) string {
	for _, wide := range []bool{true, false} {
		tag := []byte("\x1e\x00\x07\x37\x01\x00\x00\x00")
		if wide {
			tag[0]++ // PT_UNICODE
		}
		i := bytes.Index(b, tag)
		if i < 0 {
			continue
		}
		n := le(b).u32(i + 8)
		v := le(b).slice(int64(i+12), min(n, 2*longestPath))
		if !wide {
			return strings.TrimRight(string(v), "\x00")
		}
		return strings.TrimRight(utf16le(v), "\x00")
	}
	return ""
}

// utf16le decodes UTF-16.
func utf16le(b []byte) string {
	u := make([]uint16, len(b)/2)
	for i := range u {
		u[i] = uint16(le(b).u16(2 * i))
	}
	return string(utf16.Decode(u))
}
