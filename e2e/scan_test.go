package e2e

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime/quotedprintable"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tram/internal/blob"
	"tram/internal/config"
	"tram/internal/envelope"
	"tram/internal/kv/memkv"
	"tram/internal/limits"
	"tram/internal/scan"
	"tram/internal/smtp"
	"tram/internal/store"
	"tram/mailtest"
)

// eicar is the industry's test file, in two halves so that no scanner takes this one for it.
const eicar = `X5O!P%@AP[4\PZX54(P^)7CC)7}$` + `EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*`

// gtube is what every spam filter takes for spam, in two halves.
const gtube = "XJS*C4JDBQADN1.NSBN3*2IDNEN*" + "GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"

// filterFolder is a short path, for sockets, that a daemon of another user may enter.
func filterFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// daemon runs a program until the test ends, and waits until its address answers.
func daemon(t *testing.T, network, address string, command ...string) {
	t.Helper()
	var said bytes.Buffer
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // how it ends says nothing: it is ended by a signal
	}()
	t.Cleanup(func() {
		end := syscall.SIGTERM
		if strings.HasSuffix(command[0], "opendkim") {
			end = syscall.SIGKILL // libmilter looks for signals every five seconds
		}
		_ = cmd.Process.Signal(end)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("%s said:\n%s", command[0], &said)
		}
	})
	eventually(t, command[0]+" answers", func() bool {
		select {
		case <-ended:
			t.Fatalf("%s has ended", command[0])
		default:
		}
		c, err := net.Dial(network, address)
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
}

// startClamd runs a clamd that knows one signature, the test file's, which is written here: nothing is
// downloaded.
func startClamd(t *testing.T) string {
	t.Helper()
	dir := filterFolder(t)
	write(t, filepath.Join(dir, "db/own.ndb"), "Eicar-Test:0:*:"+hex.EncodeToString([]byte(eicar))+"\n")
	socket := filepath.Join(dir, "s")
	conf := write(t, filepath.Join(dir, "clamd.conf"), fmt.Sprintf(`LocalSocket %[1]s/s
DatabaseDirectory %[1]s/db
TemporaryDirectory %[1]s
Foreground yes
Bytecode no
AlertExceedsMax yes
AlertEncrypted yes
MaxRecursion 6
StreamMaxLength 2M
MaxThreads 4
`, dir))
	daemon(t, "unix", socket, need(t, "clamd", "clamav-daemon"), "-c", conf)
	return socket
}

// filterBench hands messages to a scanner as the mail port does.
type filterBench struct {
	*scan.Scanner
	t  *testing.T
	st *store.Store
}

func newFilterBench(t *testing.T, filters ...scan.Filter) *filterBench {
	t.Helper()
	db := memkv.New()
	st, err := store.Open(t.Context(), store.Options{DB: db, Blobs: blob.New(db, blob.Options{})})
	if err != nil {
		t.Fatal(err)
	}
	b := &filterBench{t: t, st: st, Scanner: scan.New(scan.Options{
		Filters: filters, Hostname: "mx.example.test", Limits: limits.Default(),
	})}
	t.Cleanup(func() {
		if err := errors.Join(b.Close(), st.Close()); err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *filterBench) ask(text, from string) scan.Finding {
	b.t.Helper()
	out := b.st.NewBody(b.t.Context())
	if _, err := io.WriteString(out, "Return-Path: <a@example.test>\r\n"+text); err != nil {
		b.t.Fatal(err)
	}
	body, parsed, err := out.Finish()
	if err != nil {
		b.t.Fatal(err)
	}
	defer body.Discard()
	return b.Scan(context.Background(), &envelope.Envelope{
		ID: "trail-1", Origin: envelope.Inbound, From: smtp.Address{Local: "a", Domain: "example.test"},
		Recipients: []envelope.Recipient{{Address: smtp.Address{Local: "b", Domain: "elsewhere.test"}}},
		Body:       body, Message: parsed,
		Client: envelope.Client{Addr: netip.MustParseAddr(from), HELO: "client.example.test"},
	})
}

const filterHead = "From: a@example.test\r\nTo: b@elsewhere.test\r\nSubject: a file\r\n" +
	"Date: Mon, 02 Mar 2026 09:00:00 +0000\r\nMessage-ID: <1@example.test>\r\nMIME-Version: 1.0\r\n"

func zipped(t *testing.T, name string, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f, err := w.Create(name)
	if err == nil {
		_, err = f.Write(content)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// locked sets the bit of a zip's headers that says its file is encrypted.
func locked(b []byte) []byte {
	b[6] |= 1
	b[bytes.Index(b, []byte("PK\x01\x02"))+8] |= 1
	return b
}

// encodings are what a part's content is written in, by the name of the field.
func encodings(content []byte) map[string]string {
	var qp bytes.Buffer
	w := quotedprintable.NewWriter(&qp)
	w.Binary = true
	_, _ = w.Write(content) // it takes everything
	w.Close()
	lines := &strings.Builder{}
	for s := base64.StdEncoding.EncodeToString(content); s != ""; {
		n := min(len(s), 76)
		lines.WriteString(s[:n] + "\r\n")
		s = s[n:]
	}
	return map[string]string{"base64": lines.String(), "quoted-printable": qp.String()}
}

// TestClamd has a real clamd look for EICAR's file in the forms that mail has.
func TestClamd(t *testing.T) {
	t.Parallel()
	socket := startClamd(t)
	b := newFilterBench(t, scan.Clamd{Address: socket, RefuseUnscannable: true}.Filter())
	if f := b.ask(filterHead+"\r\nHello.\r\n", "192.0.2.7"); f.Refuse.Code != 0 || len(f.Signs) > 0 {
		t.Fatalf("a clean message: %+v", f)
	}
	virus := func(form, text string) {
		t.Helper()
		if f := b.ask(text, "192.0.2.7"); f.Refuse.Code != 550 || f.Virus != "Eicar-Test.UNOFFICIAL" {
			t.Errorf("%s: %+v", form, f)
		}
	}
	once := zipped(t, "eicar.com", []byte(eicar))
	twice := zipped(t, "a.zip", once)
	virus("in the text", filterHead+"\r\n"+eicar+"\r\n")
	for name, content := range map[string][]byte{
		"plain": []byte(eicar), "zip": once, "zip in zip": twice, "three zips": zipped(t, "b.zip", twice),
	} {
		for encoding, encoded := range encodings(content) {
			part := "Content-Type: application/octet-stream; name=x.bin\r\nContent-Disposition: attachment; " +
				"filename=x.bin\r\nContent-Transfer-Encoding: " + encoding + "\r\n\r\n" + encoded + "\r\n"
			multi := "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nSee this.\r\n--b\r\n" + part + "--b--\r\n"
			form := name + ", " + encoding
			virus(form, filterHead+part)
			virus(form+", multipart", filterHead+multi)
			virus(form+", forwarded", filterHead+"Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n"+
				"Content-Type: message/rfc822\r\n\r\n"+filterHead+multi+"--c--\r\n")
		}
	}
	deep := once
	for range 12 {
		deep = zipped(t, "d.zip", deep)
	}
	attached := func(content []byte) string {
		return filterHead + "Content-Type: application/zip\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
			encodings(content)["base64"]
	}
	if f := b.ask(attached(deep), "192.0.2.7"); f.Refuse.Code != 550 {
		t.Errorf("twelve zips in each other: %+v", f)
	}
	if f := b.ask(filterHead+"\r\n"+strings.Repeat("long mail\r\n", 300_000), "192.0.2.7"); f.Refuse.Code != 550 {
		t.Errorf("larger than clamd takes: %+v", f)
	}
	f := b.ask(attached(locked(zipped(t, "a.txt", []byte("hello")))), "192.0.2.7")
	if f.Refuse.Code != 0 || len(f.Signs) != 1 || f.Signs[0].Name != scan.SignEncrypted {
		t.Errorf("encrypted: %+v", f)
	}
	testAmbiguous(t, b)
	testDoors(t, socket)
}

// testDoors sends the file through the doors of a whole house.
func testDoors(t *testing.T, socket string) {
	t.Helper()
	w := mailtest.New(t)
	h := w.House("a.test", mailtest.Options{Edit: func(c *config.Config) { c.Scan.Clamd.Address = socket }})
	alice, bob := h.Person("alice", 0), h.Person("bob", 0)
	part := "Content-Type: application/zip; name=x.zip\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
		encodings(zipped(t, "eicar.txt", []byte(eicar)))["base64"]
	for from, sender := range map[string]*mailtest.Sender{
		"a@example.test": h.Stranger(), alice.Address: alice.Submitter(),
	} {
		head := strings.Replace(filterHead, "a@example.test", from, 1)
		r := sender.Mail(from, head+part, bob.Address)[0]
		if r.Code != 550 || !strings.Contains(r.Text(), "Eicar-Test") {
			t.Errorf("from %s: %v", from, r)
		}
		if r := sender.Mail(from, head+"\r\nHello.\r\n", bob.Address)[0]; !r.OK() {
			t.Errorf("a letter from %s: %v", from, r)
		}
	}
	bob.WaitInbox(2)
}

// testAmbiguous is M10 with a real scanner: messages that programs read in different ways, each hiding the
// file from those that read it in the usual one. All are found.
func testAmbiguous(t *testing.T, b *filterBench) {
	t.Helper()
	variants, found, missed := 0, 0, 0
	for name, text := range ambiguousMail() {
		variants++
		f := b.ask(text, "192.0.2.7")
		if f.Virus != "" {
			found++
		}
		if !f.Refuse.Permanent() {
			missed++
			t.Errorf("not found: %s: %+v\n%s", name, f, text)
		}
	}
	t.Logf("%d ambiguous messages: the virus was found in %d, %d were let through", variants, found, missed)
	if variants < 200 {
		t.Errorf("only %d variants", variants)
	}
}

// ambiguousMail makes messages that hold the file and that can be read in several ways, by name.
func ambiguousMail() map[string]string {
	plain64 := base64.StdEncoding.EncodeToString([]byte(eicar))
	junk := func(every int, s string) string {
		var out strings.Builder
		for i, r := range plain64 {
			if i%every == every-1 {
				out.WriteString(s)
			}
			out.WriteRune(r)
		}
		return out.String()
	}
	bodies := map[string]string{
		"base64": plain64, "stars": junk(7, "*"), "spaces": junk(4, " "), "lines": junk(4, "\r\n"),
		"dots": junk(5, "."), "8 bit": junk(9, "\xa0"), "no padding": strings.TrimRight(plain64, "="),
		"padding first": "====" + plain64, "text before": "!!!!\r\n" + plain64,
		"text after": plain64 + "\r\n--\r\nregards", "chunks": base64.StdEncoding.EncodeToString([]byte(eicar[:10])) + "\r\n" +
			base64.StdEncoding.EncodeToString([]byte(eicar[10:])),
	}
	fields := map[string]string{
		"usual":             "Content-Transfer-Encoding: base64\r\n",
		"twice, 7bit first": "Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64\r\n",
		"twice, 7bit last":  "Content-Transfer-Encoding: base64\r\nContent-Transfer-Encoding: 7bit\r\n",
		"qp last":           "Content-Transfer-Encoding: base64\r\nContent-Transfer-Encoding: quoted-printable\r\n",
		"comment":           "Content-Transfer-Encoding: (7bit) base64 (a (nested) one)\r\n",
		"quoted":            "Content-Transfer-Encoding: \"base64\"\r\n",
		"semicolon":         "Content-Transfer-Encoding: base64; x=7bit\r\n",
		"space":             "Content-Transfer-Encoding : base64\r\n",
		"folded":            "Content-Transfer-Encoding:\r\n base64\r\n",
		"encoded word":      "Content-Transfer-Encoding: =?utf-8?q?base64?=\r\n",
		"unknown":           "Content-Transfer-Encoding: x-base64\r\n",
		"none":              "",
	}
	const file = "Content-Type: application/octet-stream; name=x.com\r\n"
	frames := map[string]func(part string) string{
		"alone": func(p string) string { return file + p },
		"multipart": func(p string) string {
			return "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhi\r\n--b\r\n" + file + p + "\r\n--b--\r\n"
		},
		"two boundaries": func(p string) string {
			return "Content-Type: multipart/mixed; boundary=a; boundary=b\r\n\r\n--a\r\n\r\nhi\r\n--b\r\n" + file + p +
				"\r\n--b--\r\n--a--\r\n"
		},
		"two types": func(p string) string {
			return "Content-Type: text/plain\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\r\n--b\r\n" + file + p +
				"\r\n--b--\r\n"
		},
		"after the end": func(p string) string {
			return "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhi\r\n--b--\r\n--b\r\n" + file + p +
				"\r\n--b--\r\n"
		},
		"encoded boundary": func(p string) string {
			return "Content-Type: multipart/mixed; boundary=\"=?utf-8?q?b?=\"\r\n\r\n--b\r\n" + file + p + "\r\n--b--\r\n"
		},
	}
	all := map[string]string{}
	for fn, frame := range frames {
		for cn, field := range fields {
			for bn, body := range bodies {
				// Every framing and field with the plain body, and every body with the usual field: 6·12 + 6·11.
				// Pairs of two oddities for the two simplest framings besides.
				simple := fn == "alone" || fn == "multipart"
				if bn != "base64" && cn != "usual" && !simple {
					continue
				}
				all[fn+", "+cn+", "+bn] = filterHead + frame(field+"\r\n"+body)
			}
		}
	}
	return all
}
