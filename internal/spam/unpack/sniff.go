package unpack

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// Type is what a file is, by its content.
type Type string

// The types. What is not here, and no text, has the type "".
const (
	Program  Type = "program" // of Windows, Linux, macOS or DOS
	Java     Type = "class"   // compiled Java, or an archive of it
	Android  Type = "apk"
	Flash    Type = "flash"
	Script   Type = "script" // begins with #!, or is a script that Windows runs
	Shortcut Type = "shortcut"
	Help     Type = "help" // Windows help, compiled or not
	Registry Type = "registry"
	OneNote  Type = "onenote"
	Disk     Type = "disk" // an image of a disk: a program opens from it without a warning
	Install  Type = "install"

	Zip   Type = "zip"
	Gzip  Type = "gzip"
	Bzip2 Type = "bzip2"
	XZ    Type = "xz"
	Zstd  Type = "zstd"
	Tar   Type = "tar"
	Rar   Type = "rar"
	Seven Type = "7z"
	Cab   Type = "cab"
	Arc   Type = "archive" // an old kind: arj, ace, lha
	TNEF  Type = "tnef"

	OLE    Type = "ole"    // an office document of before 2007, or another compound file
	Office Type = "office" // an office document of today: OOXML or ODF
	Mail   Type = "outlook"
	PDF    Type = "pdf"
	RTF    Type = "rtf"
	HTML   Type = "html"
	SVG    Type = "svg"
	XML    Type = "xml"
	Image  Type = "image"
	Sound  Type = "media"
	Text   Type = "text"
)

// magic is a run of bytes that stands at a fixed place.
type magic struct {
	at   int
	is   string
	what Type
}

// magics are looked through in order.
var magics = []magic{
	{0, "\x7fELF", Program}, {0, "\xfe\xed\xfa\xce", Program}, {0, "\xfe\xed\xfa\xcf", Program},
	{0, "\xce\xfa\xed\xfe", Program}, {0, "\xcf\xfa\xed\xfe", Program},
	{0, "\xca\xfe\xba\xbe", Java}, {0, "dex\n03", Android},
	{0, "FWS", Flash}, {0, "CWS", Flash}, {0, "ZWS", Flash},
	{0, "#!", Script}, {0, "#@~^", Script}, // an encoded script of Windows
	{0, "L\x00\x00\x00\x01\x14\x02\x00\x00\x00\x00\x00\xc0\x00\x00\x00\x00\x00\x00F", Shortcut},
	{0, "ITSF", Help}, {0, "?_\x03\x00", Help},
	{0, "REGEDIT4", Registry}, {0, "Windows Registry Editor", Registry},
	{0, "\xff\xfeW\x00i\x00n\x00d\x00o\x00w\x00s\x00 \x00R\x00e\x00g\x00", Registry},
	{0, "\xe4R\\{\x8c\xd8\xa7M\xae\xb1Sx\xd0)\x96\xd3", OneNote},
	{0, "\xa1/\xff\xd9\xf5\x8dM\xa3\x96\xf3\x9c\xa7\xc8\x1d\xb7\x4e", OneNote},
	{0x8001, "CD001", Disk}, {0x8001, "BEA01", Disk}, {0, "conectix", Disk}, {0, "vhdxfile", Disk},
	{0, "KDMV", Disk}, {0, "QFI\xfb", Disk}, {0, "MSWIM\x00", Disk},
	{0, "PK\x03\x04", Zip}, {0, "PK\x05\x06", Zip}, {0, "PK\x07\x08", Zip}, {0, "PK00PK", Zip},
	{0, "\x1f\x8b", Gzip}, {0, "BZh", Bzip2}, {0, "\xfd7zXZ\x00", XZ}, {0, "\x28\xb5\x2f\xfd", Zstd},
	{257, "ustar", Tar}, {0, "Rar!\x1a\x07", Rar}, {0, "7z\xbc\xaf\x27\x1c", Seven},
	{0, "MSCF\x00\x00\x00\x00", Cab}, {0, "`\xea", Arc}, {7, "**ACE**", Arc}, {2, "-lh", Arc}, {2, "-lz", Arc},
	{0, "x\x9f\x3e\x22", TNEF}, {0, "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", OLE},
	{0, "{\\rt", RTF},
	{0, "\x89PNG\r\n\x1a\n", Image}, {0, "\xff\xd8\xff", Image}, {0, "GIF8", Image}, {8, "WEBP", Image},
	{0, "II*\x00", Image}, {0, "MM\x00*", Image}, {4, "ftyphei", Image}, {4, "ftypavif", Image},
	{0, "ID3", Sound}, {4, "ftyp", Sound}, {0, "OggS", Sound}, {0, "fLaC", Sound}, {8, "WAVE", Sound},
	{8, "AVI ", Sound}, {0, "\x1aE\xdf\xa3", Sound},
}

// Sniff tells what a file that begins with b is, "" when it cannot be told. The more of the file b holds,
// the more can be told: an image of a disk says what it is after 32 KiB.
func Sniff(b []byte) Type {
	for _, m := range magics {
		if len(b) >= m.at+len(m.is) && string(b[m.at:m.at+len(m.is)]) == m.is {
			return m.what
		}
	}
	switch {
	case isProgram(b):
		return Program
	case bytes.Contains(b[:min(len(b), 1024)], []byte("%PDF-")): // readers put up with junk before it
		return PDF
	case len(b) >= 512 && b[0] == 0xeb && b[2] == 0x90 && b[510] == 0x55 && b[511] == 0xaa:
		return Disk // a FAT or NTFS volume
	case len(b) >= 512 && bytes.HasPrefix(b[len(b)-512:], []byte("conectix")):
		return Disk // a fixed VHD says so at its end
	case len(b) > 26 && string(b[:2]) == "BM" && binary.LittleEndian.Uint32(b[6:]) == 0:
		return Image
	}
	return sniffText(b[:min(len(b), 4096)])
}

// isProgram recognises programs of Windows and DOS. The two letters may begin a text, too.
func isProgram(b []byte) bool {
	if len(b) < 2 || b[0] != 'M' && b[0] != 'Z' || b[1] != 'Z' && b[1] != 'M' || b[0] == b[1] {
		return false
	}
	return len(b) < 64 || bytes.IndexByte(b[:64], 0) >= 0
}

// sniffText tells kinds of text apart.
func sniffText(b []byte) Type {
	b, wide := plain(b)
	s := bytes.ToLower(bytes.TrimLeft(b, " \t\r\n\f\v\ufeff\x00"))
	for bytes.HasPrefix(s, []byte("<!--")) { // comments before the first element
		i := bytes.Index(s, []byte("-->"))
		if i < 0 {
			break
		}
		s = bytes.TrimLeft(s[i+3:], " \t\r\n\f\v")
	}
	has := func(p string) bool { return bytes.HasPrefix(s, []byte(p)) }
	xml := has("<?xml")
	switch {
	case (xml || has("<svg") || has("<!doctype svg")) && bytes.Contains(s, []byte("<svg")):
		return SVG
	case has("<!doctype html"), has("<html"), has("<head"), has("<body"), has("<script"), has("<meta"),
		has("<title"), has("<style"), has("<table"), has("<div"), has("<iframe"), has("<form"),
		has("<a "), has("<p>"), has("<center"), has("<hta:"), xml && bytes.Contains(s, []byte("<html")):
		return HTML
	case xml:
		return XML
	case has("@echo off"), has("<job"), has("<package>"), has("on error resume next"):
		return Script
	}
	if wide || utf8.Valid(trimPartial(b)) && bytes.IndexByte(b, 0) < 0 && len(b) > 0 {
		return Text
	}
	return ""
}

// plain makes UTF-16 text readable as ASCII, as far as it is such; wide says that it was UTF-16.
func plain(b []byte) (_ []byte, wide bool) {
	at := -1
	switch {
	case bytes.HasPrefix(b, []byte("\xff\xfe")):
		at = 2
	case bytes.HasPrefix(b, []byte("\xfe\xff")):
		at = 3
	}
	if at < 0 {
		return b, false
	}
	out := make([]byte, 0, len(b)/2)
	for ; at < len(b); at += 2 {
		out = append(out, b[at])
	}
	return out, true
}

// trimPartial cuts a character that the end of b splits.
func trimPartial(b []byte) []byte {
	for i := 1; i <= utf8.UTFMax && i <= len(b); i++ {
		if c := b[len(b)-i]; utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-i:]) {
				return b[:len(b)-i]
			}
			break
		}
	}
	return b
}

// Opens reports whether a file of the type may hold others, or text that only File finds: the work that
// is given to a child process.
func (t Type) Opens() bool {
	switch t {
	case Zip, Gzip, Bzip2, Zstd, Tar, Rar, Seven, Cab, TNEF, OLE, PDF, RTF:
		return true
	}
	return false
}

// Archive reports whether files of the type are there to hold others.
func (t Type) Archive() bool {
	switch t {
	case Zip, Gzip, Bzip2, XZ, Zstd, Tar, Rar, Seven, Cab, Arc, Java, Android:
		return true
	}
	return false
}
