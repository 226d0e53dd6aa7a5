package content

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"tram/internal/message"
	"tram/internal/spam/unpack"
)

// runs are the endings of names that Windows, macOS and their programs run, or open without asking.
var runs = endings(`
	exe scr com pif bat cmd cpl dll ocx sys drv msi msp mst msu msix msixbundle appx appxbundle appinstaller hta
	js jse mjs vbs vbe vb wsf wsh wsc ws sct ps1 ps1xml ps2 psc1 psc2 psm1 psd1 msh msh1 msh2 lnk url scf reg
	inf jar jnlp gadget chm hlp its xll wll xla xlam ppam application appref-ms msc shb shs ade adp mde mdb
	accde accdb accdr accda mad maf mag mam maq mar mas mat mau mav maw mda mdt mdw mdz ops osd pcd prf prg pst
	rdp settingcontent-ms library-ms search-ms searchconnector-ms diagcab diagcfg diagpkg theme themepack
	desktopthemepack website webpnp printerexport iqy slk crt cer der py pyc pyo pyw pyz pyzw rb pl sh bash csh
	ksh command workflow action dmg pkg mpkg app apk aab ipa deb rpm run bin elf iso img udf vhd vhdx wim one
	onepkg onetoc onetoc2 grp vsmacros vsw xbap xnk job cnt air swf class
`)

// disks are those of them that are images of disks.
var disks = endings("iso img udf vhd vhdx wim dmg")

// harmlessRuns are endings of runs that are sent by honest people every day; they count with their content
// only.
var harmlessRuns = endings(`
	crt cer der bin py sh pl rb rdp mdb accdb pst class app prg url mat mar mas dll inf job cnt grp theme`)

// macros are the endings of documents that may hold programs.
var macros = endings("docm dotm xlsm xltm xlsb pptm potm ppsm sldm doc dot xls xlt ppt pot pps rtf odt ods odp pub vsd")

// documents are the endings behind which a program hides its own: invoice.pdf.exe.
var documents = endings(`pdf doc docx xls xlsx ppt pptx rtf txt csv odt ods jpg jpeg png gif bmp tif tiff mp3 mp4 avi mov wav zip rar
 html htm eml msg xml`)

// endings makes a set of words.
func endings(s string) map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(s) {
		m[w] = true
	}
	return m
}

// expected are the types that a name's ending allows. Endings that are not here allow all.
var expected = map[string][]unpack.Type{
	"pdf": {unpack.PDF}, "jpg": {unpack.Image}, "jpeg": {unpack.Image}, "png": {unpack.Image}, "gif": {unpack.Image},
	"bmp": {unpack.Image}, "tif": {unpack.Image}, "tiff": {unpack.Image}, "webp": {unpack.Image},
	"docx": {unpack.Office, unpack.OLE}, "xlsx": {unpack.Office, unpack.OLE}, "pptx": {unpack.Office, unpack.OLE},
	"doc": {unpack.OLE, unpack.Office, unpack.RTF, unpack.HTML, unpack.XML, unpack.Text},
	"xls": {unpack.OLE, unpack.Office, unpack.HTML, unpack.XML, unpack.Text},
	"ppt": {unpack.OLE, unpack.Office}, "txt": {unpack.Text, unpack.Script, unpack.XML, unpack.HTML},
	"csv": {unpack.Text}, "mp3": {unpack.Sound}, "mp4": {unpack.Sound}, "wav": {unpack.Sound},
	"zip": {unpack.Zip, unpack.Office, unpack.Java, unpack.Android},
}

// sniffed is how much of a file is looked at to tell its type: a disk's image says what it is after 32 KiB.
const sniffed = 0x8800

// ending is what follows the last dot of a name, in lower case, without the spaces and dots that Windows
// drops.
func ending(name string) (end, before string) {
	name = strings.TrimRight(strings.ToLower(name), " .\t\u00a0")
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return "", name
	}
	return strings.TrimSpace(name[i+1:]), name[:i]
}

// file looks at an attachment.
func (x *examination) file(p *message.Part) {
	name := message.DecodeHeader(p.FileName())
	size := decodedSize(p)
	head := make([]byte, min(size+4, sniffed))
	body := message.Body(x.r, p)
	n, _ := io.ReadFull(body, head) // a short or broken body is what it is
	head = head[:n]
	if n < sniffed-4 {
		size = int64(n)
	}
	f := File{Path: clean(name, 300), Type: unpack.Sniff(head), Claimed: p.Type + "/" + p.Subtype, Size: size}
	if p.Encoding == "x-uuencode" || p.Encoding == "uuencode" || p.Encoding == "x-uue" {
		x.uuencoded(p, head)
	}
	x.look(&f, name, io.MultiReader(bytes.NewReader(head), body))
}

// decodedSize is about how many bytes a part's body has when its encoding is undone.
func decodedSize(p *message.Part) int64 {
	if p.Encoding == "base64" {
		return max(p.Body.Len()-2*p.Lines, 0) * 3 / 4
	}
	return p.Body.Len()
}

// look examines a file that r reads from its beginning.
func (x *examination) look(f *File, name string, r io.Reader) {
	x.rep.names++
	var inside unpack.Result
	switch {
	case f.Type.Opens():
		inside = x.open(f, name, r)
	case f.Type == unpack.HTML, f.Type == unpack.SVG, f.Type == unpack.XML, f.Type == unpack.Text && isMarkup(name):
		b, err := io.ReadAll(io.LimitReader(r, x.o.Limits.HTML))
		if err == nil {
			f.Marks = unpack.Page(b)
		}
	}
	x.list(*f, name)
	for j := range inside.Entries {
		e := &inside.Entries[j]
		x.list(File{
			Path: clean(f.Path+"/"+e.Path, 400), Type: e.Type, Size: e.Size, Marks: e.Marks, Inside: e.Depth,
		}, e.Path)
	}
	x.say([]byte(inside.Text), x.o.Limits.Text-len(x.text))
}

// list judges a file and adds it to the report. Those that the list has no room for are judged, too: a
// program must not get through behind five hundred pictures.
func (x *examination) list(f File, name string) {
	x.judgeFile(&f, name)
	if len(x.rep.Files) < x.o.Limits.Files {
		x.rep.Files = append(x.rep.Files, f)
	}
}

// isMarkup reports whether a name says that a text is a page.
func isMarkup(name string) bool {
	end, _ := ending(name)
	switch end {
	case "html", "htm", "shtml", "xhtml", "xht", "mht", "mhtml", "svg":
		return true
	}
	return false
}

// manyTroubles is after how many files that could not be opened no other is: each may have cost all the time
// there is.
const manyTroubles = 3

// open looks into a file that holds others.
func (x *examination) open(f *File, name string, r io.Reader) unpack.Result {
	l := &x.o.Limits
	trouble := func(why string) unpack.Result {
		x.rep.Unscannable = append(x.rep.Unscannable, clean(f.Path+": "+why, 300))
		x.add("FILE_UNSCANNABLE", f.Path+": "+why)
		return unpack.Result{}
	}
	if len(x.rep.Unscannable) >= manyTroubles {
		return trouble("after others that could not be opened")
	}
	if x.rep.names > l.Files {
		return trouble("after too many others")
	}
	if f.Size > l.FileBytes {
		return trouble(fmt.Sprintf("larger than %d MiB", l.FileBytes>>20))
	}
	b, err := io.ReadAll(io.LimitReader(r, l.FileBytes+1))
	if err != nil || int64(len(b)) > l.FileBytes {
		return trouble("it could not be read")
	}
	f.Size = int64(len(b))
	var res unpack.Result
	if x.o.Unpack != nil {
		res, err = x.o.Unpack(x.ctx, name, bytes.NewReader(b), f.Size)
	} else {
		ctx, cancel := context.WithTimeout(x.ctx, l.DecodeTime)
		res = unpack.File(ctx, name, b, *l)
		cancel()
	}
	if err != nil {
		return trouble("no decoder is at work")
	}
	if res.Type != "" {
		f.Type = res.Type
	}
	f.Marks = res.Marks
	if res.Trouble != "" {
		trouble(res.Trouble)
	} else if res.Marks.Has(unpack.Encrypted) {
		x.rep.Encrypted = append(x.rep.Encrypted, f.Path)
	} else if res.Marks.Has(unpack.Bomb) || res.Marks.Has(unpack.Damaged) && f.Type.Archive() {
		trouble("it is damaged")
	}
	return res
}

// judgeFile notes what an attachment, or a file inside one, is. name is as it was given: f.Path is fit to be
// shown.
func (x *examination) judgeFile(f *File, name string) {
	base := name[strings.LastIndexAny(name, "/\\")+1:]
	end, before := ending(strings.Map(dropDirection, base))
	if strings.ContainsFunc(base, overrides) {
		x.add("FILE_NAME_DIRECTION", f.Path)
		f.Danger = Executable
	}
	switch {
	case f.Type == unpack.Disk || disks[end]:
		x.add("FILE_DISK", f.Path)
		f.Danger = Executable
	case f.Type == unpack.Program, f.Type == unpack.Java, f.Type == unpack.Android, f.Type == unpack.Install:
		x.add("FILE_PROGRAM", f.Path)
		f.Danger = Executable
	case runsByType(f.Type), runs[end] && !harmlessRuns[end] && f.Claimed != "message/rfc822":
		x.add("FILE_RUNS", f.Path)
		f.Danger = Executable
	}
	inner, _ := ending(before)
	if f.Danger == Executable && documents[inner] && runs[end] || strings.Contains(base, "     ") && runs[end] {
		x.add("FILE_DOUBLE_NAME", f.Path)
	}
	x.marksOfFile(f, end)
	known := f.Type != "" && (f.Type != unpack.Text || end == "pdf")
	if types := expected[end]; types != nil && known && !hasType(types, f.Type) && f.Size > 0 {
		x.add("FILE_TYPE_FALSE", fmt.Sprintf("%s is %s", f.Path, f.Type))
		f.Danger = max(f.Danger, Suspicious)
	}
	if f.Inside > 1 || f.Inside == 1 && f.Type.Archive() {
		x.nested = f.Path
	}
}

// overrides reports whether r makes the end of a name stand elsewhere. Marks that Arabic and Hebrew names have
// do not.
func overrides(r rune) bool { return r == 0x202e || r == 0x202d || r >= 0x2066 && r <= 0x2069 }

// dropDirection drops what turns the direction, so that the true ending of a name is seen.
func dropDirection(r rune) rune {
	if isDirection(r) || isInvisible(r) {
		return -1
	}
	return r
}

func runsByType(t unpack.Type) bool {
	switch t {
	case unpack.Script, unpack.Shortcut, unpack.Help, unpack.Registry, unpack.OneNote, unpack.Flash:
		return true
	}
	return false
}

func hasType(types []unpack.Type, t unpack.Type) bool {
	for _, is := range types {
		if is == t {
			return true
		}
	}
	return false
}

// markSigns are the signs of what was found in files.
var markSigns = []struct {
	marks unpack.Marks
	types []unpack.Type // nil for any
	sign  string
}{
	{unpack.Macro, nil, "FILE_MACRO"},
	{unpack.Template, nil, "FILE_LOADS"},
	{unpack.DDE, nil, "FILE_DDE"},
	{unpack.Launch, nil, "FILE_RUNS"},
	{unpack.Embedded, []unpack.Type{unpack.Office, unpack.OLE, unpack.PDF, unpack.RTF}, "FILE_EMBEDDED"},
	{unpack.JavaScript, nil, "FILE_SCRIPT"},
	{unpack.Form, []unpack.Type{unpack.HTML, unpack.SVG, unpack.Text}, "FILE_FORM"},
	{unpack.Refresh, []unpack.Type{unpack.HTML, unpack.SVG, unpack.Text}, "FILE_LEADS"},
	{unpack.Contradiction, nil, "FILE_CONTRADICTS"},
	{unpack.Encrypted, nil, "FILE_ENCRYPTED"},
}

// marksOfFile notes what was found in a file.
func (x *examination) marksOfFile(f *File, end string) {
	for _, m := range markSigns {
		if f.Marks.Has(m.marks) && (m.types == nil || hasType(m.types, f.Type)) {
			x.add(m.sign, f.Path)
			f.Danger = max(f.Danger, Suspicious)
		}
	}
	if f.Marks.Has(unpack.Launch | unpack.DDE) {
		f.Danger = Executable
	}
	if macros[end] {
		f.Danger = max(f.Danger, Suspicious)
	}
	if f.Marks.Has(unpack.Encrypted) && f.Type != unpack.PDF {
		x.locked = f.Path
	}
}

// passwords are the words by which a message gives the key to what is attached.
var passwords = []string{"password", "passwort", "passcode", "pass code", "mật khẩu", "mat khau", "mật mã",
	"mot de passe", "contraseña",
	"wachtwoord", "пароль", "密码", "密碼", "パスワード", "pwd:", "pass:", "mk:"}

// signsOfFiles notes what the attachments say together, and with the text.
func (x *examination) signsOfFiles() {
	if x.nested != "" {
		x.add("FILE_NESTED", x.nested)
	}
	if x.locked == "" {
		return
	}
	text := strings.ToLower(string(x.text) + "\n" + x.m.Subject)
	for _, w := range passwords {
		if strings.Contains(text, w) {
			x.add("FILE_PASSWORD", x.locked)
			return
		}
	}
}

// uuencoded looks for files that stand in a text. begin is the text's beginning, or all of it.
func (x *examination) uuencoded(p *message.Part, begin []byte) {
	if !bytes.Contains(begin, []byte("begin")) {
		return
	}
	b, err := io.ReadAll(io.LimitReader(message.Body(x.r, p), x.o.Limits.FileBytes))
	if err != nil {
		return
	}
	for _, u := range uuBlocks(b, x.o.Limits.Files) {
		if len(u.b) == 0 {
			continue
		}
		x.add("FILE_UUENCODED", u.name)
		f := File{Path: clean(u.name, 300), Type: unpack.Sniff(u.b), Size: int64(len(u.b))}
		x.look(&f, u.name, bytes.NewReader(u.b))
	}
}
