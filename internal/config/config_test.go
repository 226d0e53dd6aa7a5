package config

import (
	"bytes"
	"errors"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const smallest = `hostname = "mail.example.com"
data = "/var/lib/tram"
listen.smtp = [":25"]
certificates.source = "self-made"
`

func TestSmallestFile(t *testing.T) {
	t.Parallel()
	c, err := Parse("tram.toml", []byte(smallest))
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Hostname, want.Data, want.File = "mail.example.com", "/var/lib/tram", "tram.toml"
	want.Listen.SMTP = []string{":25"}
	want.Certs.Source = CertsSelfMade
	if diff := cmp.Diff(&want, c, cmpopts.EquateComparable(netip.Prefix{}, netip.AddrPort{})); diff != "" {
		t.Error(diff)
	}
	if got := c.AdminSocket(); got != "/var/lib/tram/admin.sock" {
		t.Errorf("admin socket %q", got)
	}
}

// TestErrors gives each faulty file with the place and words that the operator needs. The smallest
// file stands before each, so that the first line of the case is line 5.
func TestErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text   string
		line, column int
		says         string
	}{
		{"unknown key", "[log]\nlevle = \"info\"", 6, 1, `unknown key "log.levle", did you mean "log.level"?`},
		{"unknown key, indented", "[log]\n  levle = \"info\"", 6, 3, `"log.level"`},
		{"key in the wrong table", "[admin]\nlevel = \"info\"", 6, 1, `did you mean "log.level"?`},
		{"unknown table", "[logging]\nlevel = \"info\"", 5, 2, `unknown key "logging`},
		{"unknown and unlike all", "[zzz]\nqqqqqqqq = 1", 5, 2, `unknown key "zzz`},
		{"key given twice", "data = \"/x\"", 5, 1, "data"},
		{"syntax", "[log\n", 5, 5, ""},
		{"wrong kind", "listen.imap = 143", 5, 15, "listen.imap"},
		{"wrong kind of text", "[log]\nlevel = 3", 6, 9, "log.level"},
		{"bad choice", "[log]\nlevel = \"loud\"", 6, 1, `"loud" is none of debug, info, warn, error`},
		{"bad address", "listen.imap = [\"143\"]", 5, 8, `"143" is not an address`},
		{"port too large", "listen.imap = [\":70000\"]", 5, 8, `":70000" is not an address`},
		{"address twice", "listen.imap = [\":25\"]", 5, 8, `":25" is taken by listen.smtp already`},
		{"bad network", "[proxy]\nnetworks = [\"10.0.0.0/33\"]", 6, 13, "proxy.networks"},
		{"bad mode of a policy", "[tls_policy]\npublish = \"strict\"", 6, 1, `"strict" is none of testing, enforce, none, off`},
		{"bad exchanger in a policy", "tls_policy.mx = [\"192.0.2.1\"]", 5, 12, "not a host name"},
		{"policy for too long", "tls_policy.max_age = 31557601", 5, 12, "not between 0 and 31557600"},
		{"bad DNS server", "[dns]\nservers = [\"one\"]", 6, 12, "dns.servers"},
		{"smarthost without port", "[smarthost]\naddress = \"relay\"", 6, 1, "not host:port"},
		{"smarthost password in the clear",
			"[smarthost]\naddress = \"r:25\"\nuser = \"u\"\npassword_file = \"p\"\nsecurity = \"none\"",
			9, 1, "would show the password"},
		{"smarthost user alone", "[smarthost]\naddress = \"r:25\"\nuser = \"u\"", 7, 1, "go together"},
		{"password in the URL", "[storage]\npostgres = \"postgres://u:p@h/d\"", 6, 1, "storage.password_file"},
		{"not a URL of PostgreSQL", "[storage]\npostgres = \"mysql://h/d\"", 6, 1, "postgres://"},
		{"half a certificate", "certificates.files = [{ cert = \"a.pem\" }]", 5, 14, "needs both"},
		{"bad certificate name", "certificates.names = [\"a b\"]", 5, 14, `"a b" is not a host name`},
		{"ACME in the clear", "certificates.acme.directory = \"http://a/\"", 5, 19, "not an https URL"},
		{"unknown limit", "[limits.smtp]\nmesage_size = 1", 6, 1, `did you mean "limits.smtp.message_size"?`},
		{"unknown limit table", "[limits.smpt]\nmessage_size = 1", 6, 1, `did you mean "limits.smtp.message_size"?`},
		{"limit past its cap", "[limits.smtp]\nmessage_size = \"1 GiB\"", 6, 1, "smtp.unsafe_message_size"},
		{"limit inline", "limits.smtp = { recipients = 5000 }", 5, 17, "smtp.unsafe_recipients"},
		{"limit of the wrong kind", "[limits.smtp]\nidle = 5", 6, 1, "a time needs a unit"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse("tram.toml", []byte(smallest+c.text))
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("Parse = %v, not an *Error", err)
			}
			if e.File != "tram.toml" || e.Line != c.line || e.Column != c.column {
				t.Errorf("at %s:%d:%d, want line %d, column %d: %v", e.File, e.Line, e.Column, c.line, c.column, e)
			}
			if !strings.Contains(e.Error(), c.says) || strings.Contains(e.Error(), "config.") {
				t.Errorf("says %q, want %q", e, c.says)
			}
		})
	}
}

func TestMissing(t *testing.T) {
	t.Parallel()
	_, err := Parse("tram.toml", nil)
	for _, want := range []string{"hostname is missing", "data is missing", "no listener is set"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("an empty file gives %v, want %q", err, want)
		}
	}
	_, err = Parse("tram.toml", []byte("hostname = \"localhost\"\ndata = \"d\"\nlisten.smtp = [\":25\"]\n"))
	for _, want := range []string{"tram.toml:1:1: hostname \"localhost\" is not", "proves the host name"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none.toml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Load of no file = %v", err)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	c, err := Parse("tram.toml", []byte(smallest+`
[limits.smtp]
message_size = "10 MiB"
idle = "90s"
unsafe_recipients = 5000
[limits.storage]
trace = "3d"
`))
	if err != nil {
		t.Fatal(err)
	}
	if c.Limits.SMTP.MessageSize != 10<<20 || c.Limits.SMTP.Idle != 90*time.Second ||
		c.Limits.SMTP.Recipients != 5000 || c.Limits.Storage.Trace != 72*time.Hour {
		t.Errorf("limits %+v", c.Limits)
	}
}

func TestPathsStartAtTheFile(t *testing.T) {
	t.Parallel()
	c, err := Parse("/etc/tram/tram.toml", []byte(`hostname = "mail.example.com"
data = "data"
[listen]
lmtp = ["lmtp.sock", "/run/l"]
[certificates]
source = "files"
files = [{ cert = "a.pem", key = "/k" }]
`))
	if err != nil {
		t.Fatal(err)
	}
	got := []string{c.Data, c.Listen.LMTP[0], c.Listen.LMTP[1], c.Certs.Files[0].Cert, c.Certs.Files[0].Key}
	want := []string{"/etc/tram/data", "/etc/tram/lmtp.sock", "/run/l", "/etc/tram/a.pem", "/k"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// full sets every field to something other than its default.
func full() Config {
	c := Default()
	c.Hostname, c.Data, c.File = "mail.example.com", "/var/lib/tram", "/tram.toml"
	c.Listen = Standard()
	c.Listen.LMTP, c.Listen.Metrics = []string{"/run/l"}, []string{"127.0.0.1:9125"}
	c.Certs = Certs{Source: CertsFiles, Names: []string{"imap.example.com"},
		Files: []CertFile{{"/a", "/b"}, {"/c", "/d"}},
		ACME:  ACME{Email: "p@example.com", Directory: "https://a/", Roots: "/r"}}
	c.Storage = Storage{Postgres: "postgres://u@h/d", PasswordFile: "/p"}
	c.Smarthost = Smarthost{Address: "r:465", Security: TLSImplicit, User: "u", PasswordFile: "/s"}
	c.Scan.Clamd.Address, c.Scan.Clamd.Timeout, c.Scan.Rspamd.Obey = "/c", "10s", false
	c.Scan.Spamd.MaxSize, c.Scan.Rspamd.PasswordFile = 1000, "/r"
	c.Scan.Milters = []ScanMilter{{"m", "/m", "", ScanDefer}, {"n", "h:1", "5s", ScanAccept}}
	c.DNS.Servers = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")}
	c.DNS.Trusted = []netip.Prefix{netip.MustParsePrefix("10.0.0.53/32")}
	c.TLSPolicy = TLSPolicy{Publish: PublishEnforce, MX: []string{"mx.example.com", "*.example.net"}, MaxAge: 2592000,
		NewKeyAfter: 365}
	c.Proxy.Networks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	c.Log = Log{Level: "debug", Format: "json"}
	c.Spam = Spam{Junk: 4, Quarantine: 7.5, Reject: 9, Outgoing: 6, Networks: "/n.tsv", Lists: []SpamList{
		{Zone: "zen.example.net", Kind: ListAddress, Weight: 3, Codes: map[string]float64{"127.0.0.10/31": 1.5, "127.0.0.2": 4}},
		{Zone: "dbl.example.net", Kind: ListDomain, Test: "test", Weight: 2.5}}}
	c.Admin.Socket = "/run/a"
	c.Overrides = map[string]map[string]any{
		"smtp":  {"idle": "90s", "unsafe_recipients": int64(5000)},
		"queue": {"factor": 1.5},
	}
	c.Limits.SMTP.Idle, c.Limits.SMTP.Recipients, c.Limits.Queue.Factor = 90*time.Second, 5000, 1.5
	return c
}

// TestWriteReadsBack proves that what Write prints means what was written, and explains every key.
func TestWriteReadsBack(t *testing.T) {
	t.Parallel()
	plain := Default()
	plain.Hostname, plain.Data, plain.File = "mail.example.com", "/d", "/tram.toml"
	plain.Listen = Standard()
	for _, c := range []Config{plain, full()} {
		var b bytes.Buffer
		if err := Write(&b, c); err != nil {
			t.Fatal(err)
		}
		got, err := Parse(c.File, b.Bytes())
		if err != nil {
			t.Fatalf("%v\n%s", err, &b)
		}
		maps.DeleteFunc(got.Overrides, func(_ string, v map[string]any) bool { return len(v) == 0 })
		if diff := cmp.Diff(&c, got, cmpopts.EquateComparable(netip.Prefix{}, netip.AddrPort{}),
			cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s\n%s", diff, &b)
		}
		for _, line := range strings.Split(b.String(), "\n") {
			if len([]rune(line)) > 120 || strings.HasSuffix(line, " ") {
				t.Errorf("ugly line %q", line)
			}
		}
		for _, key := range keys() {
			if !strings.Contains(b.String(), lastPart(key)+" =") && !strings.Contains(b.String(), "["+key) {
				t.Errorf("key %s is not explained", key)
			}
		}
	}
}

func TestSecret(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("s e\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Secret(path); got != "s e" || err != nil {
		t.Errorf("Secret = %q, %v", got, err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := Secret(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("Secret of a file others can read = %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(smallest))
	f.Add([]byte("a.b.c = { d = [1, {e = 2}] }\n[[x.y]]\nz = 1979-05-27\n[limits.smtp]\nidle = 1"))
	var b bytes.Buffer
	if err := Write(&b, full()); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("f", data)
		if err == nil && c.Validate() != nil {
			t.Errorf("a file that loads is not valid: %v", c.Validate())
		}
	})
}

// TestScan: what is wrong with the filters is said with its place.
func TestScan(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"[scan.clamd]\naddress = \"run/clamd.ctl\"\n":                          `scan.clamd: "run/clamd.ctl" is neither`,
		"[scan.clamd]\non_failure = \"shrug\"\n":                               `scan.clamd.on_failure: "shrug" is none of defer, accept`,
		"[scan.clamd]\nunscannable = \"yes\"\n":                                `is none of refuse, sign`,
		"[scan.spamd]\naddress = \"[::1]:783\"\ntimeout = \"2m\"\n":            `the time-out "2m" is not a time up to 50s`,
		"[scan.spamd]\nmax_size = 0\n":                                         `is not a number of bytes`,
		"[scan.spamd]\nuser = \"a b\"\n":                                       `is not a user name`,
		"[[scan.milters]]\nname = \"a\"\n":                                     `entry 1 needs an address`,
		"[[scan.milters]]\naddress = \"/x\"\n":                                 `entry 1 needs a name of its own`,
		"[scan.clamav]\naddress = \"/x\"\n":                                    `unknown key`,
		"[[scan.milters]]\nname = \"a\"\naddress = \"/x\"\nthreads = 1\n":      `unknown key`,
		"[scan]\nenabled = false\n[scan.rspamd]\naddress = \"10.0.0.1:11333\"": "",
	} {
		_, err := Parse("/f", []byte(smallest+text))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
