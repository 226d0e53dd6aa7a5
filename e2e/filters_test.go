package e2e

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tram/internal/clock"
	"tram/internal/limits"
	"tram/internal/scan"
	"tram/internal/spam/sign"
)

// TestRspamd has a real rspamd with one rule of our own judge mail; no network, no rules from elsewhere.
func TestRspamd(t *testing.T) {
	t.Parallel()
	dir := filterFolder(t)
	address := freeAddress(t)
	write(t, filepath.Join(dir, "tlds"), "com\ntest\n")
	write(t, filepath.Join(dir, "rules.lua"), `rspamd_config:register_symbol{
  name = 'OWN_RULE', score = 7.5, type = 'normal',
  callback = function(task)
    local s, ip = task:get_header('Subject'), task:get_from_ip()
    if s and s:find('lottery') then return true, 1.0, ip:to_string() .. ' ' .. task:get_helo() end
  end
}
`)
	conf := write(t, filepath.Join(dir, "rspamd.conf"), fmt.Sprintf(`options {
  pidfile = "%[1]s/pid"; filters = ""; cache_file = "%[1]s/symbols.cache"; tempdir = "%[1]s";
  hs_cache_dir = "%[1]s"; url_tld = "%[1]s/tlds"; control_socket = "%[1]s/control mode=0600";
  dns { nameserver = ["127.0.0.1:9:1"]; timeout = 0.1s; retransmits = 1; }
}
logging { type = "console"; level = "warning"; }
actions { reject = 15; add_header = 6; greylist = 4; }
worker "normal" { bind_socket = "%[2]s"; count = 1; }
lua = "%[1]s/rules.lua";
`, dir, address))
	daemon(t, "tcp", address, need(t, "rspamd", "rspamd"), "-f", "-i", "-c", conf)
	b := newFilterBench(t, scan.Rspamd{Address: address, Obey: true}.Filter())
	for range 3 {
		if f := b.ask(filterHead+"\r\nHello.\r\n", "192.0.2.7"); f.Refuse.Code != 0 || len(f.Signs) > 0 {
			t.Errorf("a letter: %+v", f)
		}
	}
	f := b.ask(strings.Replace(filterHead, "a file", "the lottery", 1)+"\r\nHello.\r\n", "192.0.2.7")
	want := sign.Sign{Name: "RSPAMD_OWN_RULE", Score: 6.25, Detail: "192.0.2.7 client.example.test"}
	if f.Refuse.Code != 0 || len(f.Signs) != 1 || f.Signs[0] != want {
		t.Errorf("its own rule: %+v", f)
	}
	f = b.ask(filterHead+"\r\n"+gtube+"\r\n", "192.0.2.7")
	if f.Refuse.Code != 550 || !strings.Contains(f.Refuse.Text(), "Gtube") {
		t.Errorf("GTUBE: %+v", f)
	}
	deaf := newFilterBench(t, scan.Rspamd{Address: address}.Filter())
	if f := deaf.ask(filterHead+"\r\n"+gtube+"\r\n", "192.0.2.7"); f.Refuse.Code != 0 {
		t.Errorf("not obeyed: %+v", f)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestSpamAssassin has a real spamd with two rules of our own judge mail.
func TestSpamAssassin(t *testing.T) {
	t.Parallel()
	dir := filterFolder(t)
	write(t, filepath.Join(dir, "rules/own.cf"), `loadplugin Mail::SpamAssassin::Plugin::Check
required_score 5
use_bayes 0
skip_rbl_checks 1
header OWN_RULE Subject =~ /lottery/
score OWN_RULE 3.5
body GTUBE /XJS\*C4JDBQADN1\.NSBN3\*2IDNEN\*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL\*C\.34X/
score GTUBE 1000
`)
	write(t, filepath.Join(dir, "home/x"), "")
	rules, socket := filepath.Join(dir, "rules"), filepath.Join(dir, "s")
	command := []string{need(t, "spamd", "spamd"), "-L", "-x", "--socketpath=" + socket, "-C", rules,
		"--siteconfigpath=" + rules, "-H", filepath.Join(dir, "home"), "-m", "1", "-s", "stderr"}
	if os.Geteuid() == 0 {
		command = append(command, "-u", "nobody") // it does not work as root
	}
	daemon(t, "unix", socket, command...)
	b := newFilterBench(t, scan.Spamd{Address: socket}.Filter())
	for text, want := range map[string][]sign.Sign{
		"\r\nHello.\r\n": {{Name: "SPAMASSASSIN"}},
		"X-Other: 1\r\nSubject: lottery\r\n\r\nHello.\r\n": {{Name: "SPAMASSASSIN", Score: 3.5, Detail: "OWN_RULE"},
			{Name: "SPAMASSASSIN_OWN_RULE"}},
		"\r\n" + gtube + "\r\n": {{Name: "SPAMASSASSIN", Score: 20, Detail: "GTUBE"}, {Name: "SPAMASSASSIN_GTUBE"}},
	} {
		f := b.ask(filterHead+text, "192.0.2.7")
		if f.Refuse.Code != 0 || fmt.Sprint(f.Signs) != fmt.Sprint(want) {
			t.Errorf("%q: %+v, want %+v", text, f, want)
		}
	}
}

// TestMilter has a real milter, OpenDKIM, sign what comes from inside and check what comes from outside.
// What it signs it must find intact: the message
// reaches it byte by byte.
func TestMilter(t *testing.T) {
	t.Parallel()
	dir := filterFolder(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	file := write(t, filepath.Join(dir, "key.pem"), string(pem.EncodeToMemory(&pem.Block{
		Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key),
	})))
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "public"), "s._domainkey.example.test v=DKIM1; k=rsa; p="+
		base64.StdEncoding.EncodeToString(der)+"\n")
	write(t, filepath.Join(dir, "inside"), "127.0.0.1\n")
	socket := filepath.Join(dir, "s")
	conf := write(t, filepath.Join(dir, "opendkim.conf"), fmt.Sprintf(`Socket local:%[1]s/s
Mode sv
Syslog no
Background no
AuthservID mx.example.test
KeepAuthResults yes
AlwaysAddARHeader yes
Domain example.test
Selector s
KeyFile %[1]s/key.pem
Canonicalization simple/simple
InternalHosts %[1]s/inside
TestPublicKeys %[1]s/public
RequireSafeKeys no
`, dir))
	daemon(t, "unix", socket, need(t, "opendkim", "opendkim"), "-f", "-x", conf)
	b := newFilterBench(t, scan.Milter{Name: "opendkim", Address: socket}.Filter())
	f := b.ask(filterHead+"\r\nHello.\r\n", "192.0.2.7")
	if len(f.Fields) != 1 || !strings.Contains(f.Fields[0], "dkim=none") {
		t.Errorf("without a signature: %+v", f)
	}
	for _, body := range []string{
		"Hello.\r\n", "", "\r\n\r\n", strings.Repeat("line of many\r\n", 30_000), "no end", " \tx  \r\n\r\n\r\n",
	} {
		head := "X-Folded:  two\r\n\tlines\r\n" + filterHead
		signed := b.ask(head+"\r\n"+body, "127.0.0.1")
		if len(signed.Fields) == 0 || !strings.Contains(strings.Join(signed.Fields, ""), "DKIM-Signature:") {
			t.Fatalf("%.20q of %d bytes is not signed: %+v", body, len(body), signed)
		}
		f := b.ask(strings.Join(signed.Fields, "")+head+"\r\n"+body, "192.0.2.7")
		if len(f.Fields) != 1 || !strings.Contains(f.Fields[0], "dkim=pass") {
			t.Errorf("%.20q of %d bytes: %+v", body, len(body), f)
		}
	}
	broken := b.ask(filterHead+"\r\nHello.\r\n", "127.0.0.1")
	f = b.ask(strings.Join(broken.Fields, "")+filterHead+"\r\nHallo.\r\n", "192.0.2.7")
	if len(f.Fields) != 1 || !strings.Contains(f.Fields[0], "dkim=fail") {
		t.Errorf("a changed body: %+v", f)
	}
	testOneConnection(t, socket)
	// A milter that must change fields is told that it cannot, and the operator why.
	write(t, conf, strings.ReplaceAll(strings.Replace(mustRead(t, conf), "KeepAuthResults yes", "KeepAuthResults no", 1),
		"/s\n", "/other\n"))
	other := filepath.Join(dir, "other")
	daemon(t, "unix", other, need(t, "opendkim", "opendkim"), "-f", "-x", conf)
	b = newFilterBench(t, scan.Milter{Name: "opendkim", Address: other, Accept: true}.Filter())
	f = b.ask(filterHead+"\r\nHello.\r\n", "192.0.2.7")
	if f.Refuse.Code != 0 || !strings.Contains(strings.Join(f.Reasons, ""), "does not offer") {
		t.Errorf("a milter that wants more: %+v", f)
	}
}

// testOneConnection counts the connections that a real libmilter is asked over: the messages of one client
// share one, whatever was said of the one before.
func testOneConnection(t *testing.T, socket string) {
	t.Helper()
	proxy := filepath.Join(filterFolder(t), "s")
	l, err := net.Listen("unix", proxy)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var conns atomic.Int32
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // the test is over
			}
			conns.Add(1)
			to, err := net.Dial("unix", socket)
			if err != nil {
				c.Close()
				continue
			}
			pass := func(dst, src net.Conn) {
				defer dst.Close()
				_, _ = io.Copy(dst, src)
			}
			go pass(to, c)
			go pass(c, to)
		}
	}()
	b := newFilterBench(t)
	// By a clock that stands still no connection is kept for too long, however busy this machine is.
	b.Scanner = scan.New(scan.Options{
		Filters:  []scan.Filter{scan.Milter{Name: "opendkim", Address: proxy}.Filter()},
		Hostname: "mx.example.test", Limits: limits.Default(), Clock: clock.NewFake(time.Unix(1e9, 0)),
	})
	begun := time.Now()
	const messages = 45 // twice that is below what one connection takes
	for i := range messages {
		head := fmt.Sprintf("X-Number: %d\r\n", i) + filterHead
		body := strings.Repeat(fmt.Sprintf("line of message %d\r\n", i), 1+i%3*100)
		f := b.ask(head+"\r\n"+body, "127.0.0.1")
		if len(f.Fields) == 0 || !strings.Contains(strings.Join(f.Fields, ""), "DKIM-Signature:") {
			t.Fatalf("message %d is not signed: %+v", i, f)
		}
		// It takes a message without an author before it has heard all of it.
		if f := b.ask("Subject: x\r\n\r\n"+body, "127.0.0.1"); f.Refuse.Code != 0 || len(f.Reasons) != 1 ||
			!strings.HasPrefix(f.Reasons[0], "opendkim: passed") {
			t.Fatalf("message %d without an author: %+v", i, f)
		}
		// Another client each third time, whose connection does not disturb the first one.
		if i%3 == 0 {
			f = b.ask(strings.Join(f.Fields, "")+head+"\r\n"+body, "192.0.2.7")
			if len(f.Fields) != 1 || !strings.Contains(f.Fields[0], "dkim=pass") {
				t.Fatalf("message %d: %+v", i, f)
			}
		}
	}
	t.Logf("%d messages over %d connections in %v",
		2*messages+messages/3, conns.Load(), time.Since(begun))
	if conns.Load() != 2 {
		t.Errorf("%d connections for two clients", conns.Load())
	}
}

func mustRead(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
