package unpack

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tram/internal/limits"
)

func open(t testing.TB, name string, b []byte) Result {
	t.Helper()
	return File(t.Context(), name, b, limits.Default().Content)
}

func TestSniff(t *testing.T) {
	t.Parallel()
	disk := make([]byte, 0x8010)
	copy(disk[0x8001:], "CD001")
	tape := make([]byte, 512)
	copy(tape[257:], "ustar")
	for _, c := range []struct {
		b    string
		want Type
	}{
		{"MZ\x90\x00\x03", Program}, {"MZungen", Program}, {"MZ" + strings.Repeat(" is a text of words", 9), Text},
		{"\x7fELF\x02", Program}, {"%PDF-1.4", PDF}, {"junk\n%PDF-1.7", PDF}, {"PK\x03\x04", Zip},
		{"\x1f\x8b\x08", Gzip}, {"Rar!\x1a\x07\x00", Rar}, {string(disk), Disk}, {string(tape), Tar},
		{"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", OLE}, {"x\x9f\x3e\x22", TNEF}, {"{\\rtf1", RTF},
		{"#!/bin/sh\n", Script}, {"@echo off\r\n", Script}, {"REGEDIT4\r\n", Registry},
		{" <!-- x --><HTML>", HTML}, {"\ufeff<!DOCTYPE html>", HTML}, {"\xff\xfe<\x00h\x00t\x00m\x00l\x00>\x00", HTML},
		{"<?xml version='1.0'?><svg xmlns=''>", SVG}, {"<?xml version='1.0'?><a/>", XML},
		{"L\x00\x00\x00\x01\x14\x02\x00\x00\x00\x00\x00\xc0\x00\x00\x00\x00\x00\x00F", Shortcut},
		{"\xff\xd8\xff\xe0", Image}, {"Xin chào", Text}, {"\x00\x01\x02\xfe", ""}, {"", ""},
	} {
		if got := Sniff([]byte(c.b)); got != c.want {
			t.Errorf("Sniff(%.20q) = %q, want %q", c.b, got, c.want)
		}
	}
}

func TestZipListsWhatIsInside(t *testing.T) {
	t.Parallel()
	inner := zipped(t, "run.exe", "MZ\x90\x00")
	r := open(t, "a.zip", zipped(t, "read.txt", "hello", "inner.zip", string(inner)))
	want := []Entry{
		{Path: "read.txt", Type: Text, Size: 5, Depth: 1},
		{Path: "inner.zip", Type: Zip, Size: int64(len(inner)), Depth: 1},
		{Path: "inner.zip/run.exe", Type: Program, Size: 4, Depth: 2},
	}
	if diff := cmp.Diff(want, r.Entries); diff != "" || r.Type != Zip || r.Marks != 0 || r.Trouble != "" {
		t.Errorf("%+v\n%s", r, diff)
	}
}

// TestZipWithTwoLists: what programs see that read the headers before the files, and what those see that
// read the list at the end, is both listed, and the archive is marked.
func TestZipWithTwoLists(t *testing.T) {
	t.Parallel()
	b := zipped(t, "good.txt", "hello")
	renamed := slices.Clone(b)
	copy(renamed[30:], "evil.exe")
	hidden := append(zipped(t, "evil.exe", "MZ\x90\x00")[:30+8+4+16+8], b...) // a file no list names
	for name, b := range map[string][]byte{"renamed": renamed, "hidden": hidden} {
		r := open(t, "a.zip", b)
		if p := paths(r); !r.Marks.Has(Contradiction) || !slices.Contains(p, "evil.exe") || !slices.Contains(p, "good.txt") {
			t.Errorf("%s: %v, marks %b", name, p, r.Marks)
		}
	}
	if r := open(t, "a.zip", b[:len(b)-30]); !slices.Contains(paths(r), "good.txt") || !r.Marks.Has(Damaged) {
		t.Errorf("an archive without its end: %+v", r)
	}
	picture := append([]byte("\x89PNG\r\n\x1a\n 123"), b...)
	if r := open(t, "a.png", picture); r.Type != Image || !r.Marks.Has(Contradiction) || len(r.Entries) != 1 {
		t.Errorf("a picture that is an archive: %+v", r)
	}
}

func TestEncryptedArchives(t *testing.T) {
	t.Parallel()
	z := zipped(t, "a.doc", "hello")
	z[6] |= 1
	z[bytes.Index(z, []byte(zipCentral))+8] |= 1
	header := "\x01\x04\x06\x00\x01\x06\xf1\x07\x01"
	seven := binary.LittleEndian.AppendUint64([]byte("7z\xbc\xaf\x27\x1c\x00\x04crc."), 0)
	seven = binary.LittleEndian.AppendUint64(seven, uint64(len(header)))
	seven = append(append(seven, "crc."...), header...)
	rar4 := "Rar!\x1a\x07\x00\x00\x00\x73\x80\x00\x0d\x00\x00\x00\x00\x00\x00\x00"
	rar5 := "Rar!\x1a\x07\x01\x00crc.\x03\x04\x00\x00"
	for name, b := range map[string][]byte{"zip": z, "7z": seven, "rar4": []byte(rar4), "rar5": []byte(rar5)} {
		if r := open(t, name, b); !r.Marks.Has(Encrypted) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// TestRar lists files whose content stays packed, in both formats.
func TestRar(t *testing.T) {
	t.Parallel()
	name := "run.exe"
	four := []byte("Rar!\x1a\x07\x00" + "\x00\x00\x73\x00\x00\x0d\x00\x00\x00\x00\x00\x00\x00")
	h := make([]byte, 32+len(name))
	h[2], h[3] = 0x74, 4
	binary.LittleEndian.PutUint16(h[5:], uint16(len(h)))
	binary.LittleEndian.PutUint32(h[7:], 3)
	binary.LittleEndian.PutUint32(h[11:], 99)
	binary.LittleEndian.PutUint16(h[26:], uint16(len(name)))
	copy(h[32:], name)
	four = append(append(four, h...), "xyz\x00\x00\x7b\x00\x00\x07\x00"...)
	body := "\x02\x02\x03" + "\x00\x63\x20\x00\x00" + "\x07" + name // file header with 3 bytes of data
	five := []byte("Rar!\x1a\x07\x01\x00" + "crc." + string(rune(len(body))) + body + "xyz" + "crc.\x03\x05\x00\x00")
	for v, b := range map[string][]byte{"4": four, "5": five} {
		r := open(t, "a.rar", b)
		if len(r.Entries) != 1 || r.Entries[0].Path != name || r.Entries[0].Size != 99 || r.Marks.Has(Damaged) {
			t.Errorf("version %s: %+v", v, r)
		}
	}
}

func TestOtherContainers(t *testing.T) {
	t.Parallel()
	var tape bytes.Buffer
	w := tar.NewWriter(&tape)
	if err := w.WriteHeader(&tar.Header{Name: "x/run.exe", Size: 4, Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, "MZ\x90\x00")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	long := append([]byte("\x1f\x00\x07\x37\x01\x00\x00\x00\x10\x00\x00\x00"), "r\x00u\x00n\x00.\x00e\x00x\x00e\x00\x00\x00"...)
	winmail := []byte("x\x9f\x3e\x22\x01\x00")
	winmail = append(winmail, tnefAttr(tnefStart, nil)...)
	winmail = append(winmail, tnefAttr(tnefTitle, []byte("RUN~1.EXE\x00"))...)
	winmail = append(winmail, tnefAttr(tnefData, []byte("MZ\x90\x00"))...)
	winmail = append(winmail, tnefAttr(tnefProps, long)...)
	for _, c := range []struct {
		name string
		b    []byte
		want []string
	}{
		{"a.tgz", gzipped(t, "", tape.Bytes()), []string{"a.tar", "a.tar/x/run.exe"}},
		{"a.gz", gzipped(t, "run.exe", []byte("MZ\x90\x00")), []string{"run.exe"}},
		{"winmail.dat", winmail, []string{"run.exe"}},
	} {
		r := open(t, c.name, c.b)
		if diff := cmp.Diff(c.want, paths(r)); diff != "" || r.Entries[len(r.Entries)-1].Type != Program {
			t.Errorf("%s: %+v\n%s", c.name, r, diff)
		}
	}
}

func TestOffice(t *testing.T) {
	t.Parallel()
	types := []string{"[Content_Types].xml", "<Types/>"}
	doc := func(more ...string) []byte { return zipped(t, append(slices.Clone(types), more...)...) }
	const rel = `<Relationships><Relationship Id="1" Type="http://x/relationships/%s" Target="http://evil.example/" TargetMode="External"/>`
	for _, c := range []struct {
		name  string
		b     []byte
		typ   Type
		marks Marks
		text  string
	}{
		{"plain", doc("word/document.xml", "<w:p><w:t>Xin</w:t><w:t> chào &amp; more</w:t></w:p>"), Office, 0, "Xin chào & more"},
		{"macro", doc("word/vbaProject.bin", "x"), Office, Macro, ""},
		{"template", doc("word/_rels/settings.xml.rels", fmt.Sprintf(rel, "attachedTemplate")), Office, Template, ""},
		{"link", doc("word/_rels/document.xml.rels", fmt.Sprintf(rel, "hyperlink")), Office, 0, ""},
		{"dde", doc("word/document.xml", `<w:instrText>DD</w:instrText></w:r><w:r><w:instrText>EAUTO c:\\x</w:instrText>`), Office, DDE, ""},
		{"embedded", doc("word/embeddings/a.bin", "MZ\x90\x00"), Office, Embedded, ""},
		{"jar", zipped(t, "META-INF/MANIFEST.MF", "", "A.class", "x"), Java, 0, ""},
		{"old macro", compound("Root Entry", "Macros", "WordDocument"), OLE, Macro, ""},
		{"old encrypted", compound("Root Entry", "EncryptedPackage"), Office, Encrypted, ""},
		{"outlook", compound("Root Entry", "__substg1.0_0037001F"), Mail, 0, ""},
		{"rtf", []byte(`{\rtf1 Hello \b world\b0 {\object\objdata 00}}`), RTF, Embedded, "Hello world"},
		{"html", []byte(`<html><form action=x><SCRIPT>`), HTML, JavaScript | Form, ""},
		{"svg", []byte(`<svg onload="x()">`), SVG, JavaScript, ""},
	} {
		r := open(t, c.name, c.b)
		if r.Type != c.typ || r.Marks != c.marks || !strings.Contains(r.Text, c.text) {
			t.Errorf("%s: type %q, marks %b, text %q; want %q, %b, %q", c.name, r.Type, r.Marks, r.Text, c.typ, c.marks, c.text)
		}
	}
}

func TestPDF(t *testing.T) {
	t.Parallel()
	stream := func(filter string, b []byte) string {
		return fmt.Sprintf("%%PDF-1.5\n1 0 obj <</Filter %s /Length %d>> stream\r\n%s\nendstream endobj", filter, len(b), b)
	}
	for name, c := range map[string]struct {
		b     string
		marks Marks
		text  string
	}{
		"text":    {stream("/FlateDecode", zlibbed(t, []byte(`BT (Hello \(you\)) Tj 0 -12 Td (world) Tj ET`))), 0, "Hello (you)\nworld"},
		"script":  {"%PDF-1.4 1 0 obj <</OpenAction <</S /J#61vaScript>>>>", JavaScript | OpenAction, ""},
		"object":  {stream("[/FlateDecode /FlateDecode]", zlibbed(t, zlibbed(t, []byte("<</S /Launch>>")))), Launch, ""},
		"hex":     {stream("/ASCIIHexDecode", []byte("2F4A 53>")), JavaScript, ""},
		"file":    {"%PDF-1.4 1 0 obj <</Type /EmbeddedFile>>", Embedded, ""},
		"link":    {"%PDF-1.4 1 0 obj <</S /URI /URI (http://evil.example/a)>>", 0, "http://evil.example/a"},
		"damaged": {stream("/FlateDecode", []byte("nothing")), Damaged, ""},
	} {
		r := open(t, name, []byte(c.b))
		if r.Type != PDF || r.Marks != c.marks || !strings.Contains(r.Text, c.text) {
			t.Errorf("%s: type %q, marks %b, text %q; want %b, %q", name, r.Type, r.Marks, r.Text, c.marks, c.text)
		}
	}
}

// bomb is a file that would take everything if it were let.
type bomb struct {
	name string
	b    []byte
}

// bombs makes P12's hostile files.
func bombs(t testing.TB) []bomb {
	t.Helper()
	zeros := make([]byte, 24<<20)
	flat := gzipped(t, "zeros", zeros)
	zip42 := zipped(t, "zeros", string(zeros))
	for range 5 { // 16 of it in each of 5 layers: 16^5 times 24 MiB
		var files []string
		for i := range 16 {
			files = append(files, fmt.Sprintf("lib %x.zip", i), string(zip42))
		}
		zip42 = zipped(t, files...)
	}
	deep := []byte("core")
	for range 40 { // a file that unpacks to itself looks like this, as far as anybody goes
		deep = gzipped(t, "r.gz", deep)
	}
	var tape bytes.Buffer
	w := tar.NewWriter(&tape)
	if err := w.WriteHeader(&tar.Header{Name: "huge", Size: 1 << 50, Format: tar.FormatGNU}); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, "short")
	many := make([]string, 0, 40000)
	for i := range 20000 {
		many = append(many, fmt.Sprint(i), "")
	}
	pdf := zlibbed(t, zlibbed(t, zlibbed(t, make([]byte, 100<<20))))
	filters := strings.Repeat("/FlateDecode ", 50)
	return []bomb{
		{"42.zip", zip42},
		{"many.zip", zipped(t, many...)},
		{"overlap.zip", overlapping(20000, flat)},
		{"zeros.gz", gzipped(t, "", bytes.Repeat(flat, 16))},
		{"r.gz", deep},
		{"huge.tar", tape.Bytes()},
		{"nested.pdf", fmt.Appendf(nil, "%%PDF-1.5 1 0 obj <</Filter [/FlateDecode /FlateDecode /FlateDecode]>> stream\n%s\nendstream", pdf)},
		{"filters.pdf", fmt.Appendf(nil, "%%PDF-1.5 1 0 obj <</Filter [%s]>> stream\n%s\nendstream", filters, pdf)},
	}
}

// overlapping makes a zip archive whose list names one file's content n times.
func overlapping(n int, content []byte) []byte {
	var b, list []byte
	crc := crc32.ChecksumIEEE(content)
	for i := range n {
		list = append(list, zipCentral+"\x14\x00\x14\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
		list = binary.LittleEndian.AppendUint32(list, crc)
		list = binary.LittleEndian.AppendUint32(list, uint32(len(content)))
		list = binary.LittleEndian.AppendUint32(list, uint32(len(content)))
		list = append(list, "\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
		list = fmt.Appendf(list, "%04x", i)
	}
	b = append(b, zipLocal+"\x14\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	b = binary.LittleEndian.AppendUint32(b, crc)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(content)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(content)))
	b = append(append(b, "\x04\x00\x00\x000000"...), content...)
	at := len(b)
	b = append(append(b, list...), zipEnd+"\x00\x00\x00\x00"...)
	b = binary.LittleEndian.AppendUint16(b, uint16(n))
	b = binary.LittleEndian.AppendUint16(b, uint16(n))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(list)))
	b = binary.LittleEndian.AppendUint32(b, uint32(at))
	return append(b, 0, 0)
}

// TestBombs: no file is looked into beyond the limits, and each says so.
func TestBombs(t *testing.T) {
	t.Parallel()
	l := limits.Default().Content
	l.Unpacked = 32 << 20
	for _, c := range bombs(t) {
		r := File(t.Context(), c.name, c.b, l)
		total := Marks(r.Marks)
		for _, e := range r.Entries {
			total |= e.Marks
		}
		if r.Trouble == "" && !total.Has(Bomb|Damaged) {
			t.Errorf("%s: nothing is said: %d entries", c.name, len(r.Entries))
		}
		if len(r.Entries) > l.Entries {
			t.Errorf("%s: %d entries", c.name, len(r.Entries))
		}
	}
}

// TestTNEFSizes: lengths that lie, as in CVE-2026-62642, end the reading and nothing else.
func TestTNEFSizes(t *testing.T) {
	t.Parallel()
	for _, n := range []uint32{0xffffffff, 0x7fffffff, 0xfffffff7, 100} {
		b := []byte("x\x9f\x3e\x22\x01\x00\x02")
		b = binary.LittleEndian.AppendUint32(b, tnefData)
		b = binary.LittleEndian.AppendUint32(b, n)
		if r := open(t, "winmail.dat", append(b, "short"...)); !r.Marks.Has(Damaged) {
			t.Errorf("length %x: %+v", n, r)
		}
	}
	b := []byte("x\x9f\x3e\x22\x01\x00")
	for range 20000 {
		b = append(b, tnefAttr(tnefStart, nil)...)
	}
	if r := open(t, "winmail.dat", b); len(r.Entries) > limits.Default().Content.Entries || r.Trouble == "" {
		t.Errorf("%d entries, trouble %q", len(r.Entries), r.Trouble)
	}
}

// TestRing: a compound file whose directory is a ring of sectors ends.
func TestRing(t *testing.T) {
	t.Parallel()
	b := compound("Macros")
	binary.LittleEndian.PutUint32(b[512+4:], 1)
	if r := open(t, "a.doc", b); !r.Marks.Has(Macro) {
		t.Errorf("%+v", r)
	}
}

func FuzzFile(f *testing.F) {
	f.Add(zipped(f, "a.txt", "hello", "b.zip", string(zipped(f, "c", "d"))))
	f.Add(gzipped(f, "x", []byte("hello")))
	f.Add(compound("Macros", "WordDocument"))
	f.Add([]byte("%PDF-1.5 1 0 obj <</Filter /FlateDecode>> stream\nx\nendstream"))
	f.Add(append([]byte("x\x9f\x3e\x22\x01\x00"), tnefAttr(tnefTitle, []byte("x"))...))
	f.Add([]byte("Rar!\x1a\x07\x01\x00crc.\x03\x02\x00\x00"))
	f.Add([]byte("Rar!\x1a\x07\x00\x00\x00\x74\x00\x00\x20\x00"))
	f.Add([]byte("MSCF\x00\x00\x00\x00aaaabbbbcccc\x20\x00\x00\x00dddd\x01\x00"))
	f.Add([]byte("7z\xbc\xaf\x27\x1c"))
	f.Add([]byte(`{\rtf1 \objdata}`))
	l := limits.Default().Content
	l.Unpacked, l.Entries, l.Text = 1<<20, 100, 1000
	f.Fuzz(func(t *testing.T, b []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r := File(ctx, "name", b, l)
		if len(r.Entries) > l.Entries || len(r.Text) > 3*l.Text {
			t.Errorf("%d entries, %d bytes of text", len(r.Entries), len(r.Text))
		}
		for _, e := range r.Entries {
			if len(e.Path) > longestPath+20 || e.Depth > l.ArchiveDeep+1 {
				t.Errorf("entry %+v", e)
			}
		}
	})
}
