// Package config answers "how did the operator set this server up?": one TOML file, its types,
// defaults, checks and words of explanation.
//
// It promises that a file which loads can be run: an unknown key, a value of the wrong kind and a
// limit past its cap are refused with file, line and column, and what was probably meant. What an
// administrator changes while the server runs (domains, accounts, aliases) is not here but in the
// directory. A secret must never be in the file: keys and passwords lie in files of their own.
package config

import (
	"net/netip"
	"path/filepath"

	"tram/internal/limits"
)

// Config is the whole static configuration. Every field has a usable default but Hostname, Data
// and Listen. Relative paths are taken from the folder of the file.
type Config struct {
	// Hostname is the server's own name: in greetings, Received fields, certificates.
	Hostname string `toml:"hostname"`
	// Data is the folder that holds everything the server keeps.
	Data string `toml:"data"`

	Listen    Listen    `toml:"listen"`
	Certs     Certs     `toml:"certificates"`
	Storage   Storage   `toml:"storage"`
	Smarthost Smarthost `toml:"smarthost"`
	DNS       DNS       `toml:"dns"`

	TLSPolicy TLSPolicy `toml:"tls_policy"`

	Authentication Authentication `toml:"authentication"`

	Reports Reports `toml:"reports"`
	Proxy   Proxy   `toml:"proxy"`
	Scan    Scan    `toml:"scan"`
	Spam    Spam    `toml:"spam"`
	Log     Log     `toml:"log"`
	Admin   Admin   `toml:"admin"`
	Doctor  Doctor  `toml:"doctor"`

	// Overrides are the [limits.*] tables as written; Limits is what they make of the defaults.
	Overrides map[string]map[string]any `toml:"limits,omitempty"`
	Limits    limits.Set                `toml:"-"`

	// File is where the configuration was read from, "" when it was not a file.
	File string `toml:"-"`
}

// Listen says where the doors are: "host:port", or ":port" for every address of the machine. LMTP
// takes paths of unix sockets.
type Listen struct {
	SMTP        []string `toml:"smtp"`
	Submission  []string `toml:"submission"`
	Submissions []string `toml:"submissions"`
	IMAP        []string `toml:"imap"`
	IMAPS       []string `toml:"imaps"`
	POP3        []string `toml:"pop3"`
	POP3S       []string `toml:"pop3s"`
	HTTP        []string `toml:"http"`
	HTTPS       []string `toml:"https"`
	LMTP        []string `toml:"lmtp"`
	Metrics     []string `toml:"metrics"`
}

// Door is one kind of listener.
type Door struct {
	Name      string // the key in [listen]; the FileDescriptorName of a systemd socket
	Addresses []string
	Unix      bool // Addresses are paths
}

// Doors lists the listeners by kind, in the order of the file.
func (l Listen) Doors() []Door {
	return []Door{
		{Name: "smtp", Addresses: l.SMTP},
		{Name: "submission", Addresses: l.Submission},
		{Name: "submissions", Addresses: l.Submissions},
		{Name: "imap", Addresses: l.IMAP},
		{Name: "imaps", Addresses: l.IMAPS},
		{Name: "pop3", Addresses: l.POP3},
		{Name: "pop3s", Addresses: l.POP3S},
		{Name: "http", Addresses: l.HTTP},
		{Name: "https", Addresses: l.HTTPS},
		{Name: "lmtp", Addresses: l.LMTP, Unix: true},
		{Name: "metrics", Addresses: l.Metrics},
	}
}

// Where certificates come from.
const (
	CertsACME     = "acme"
	CertsFiles    = "files"
	CertsSelfMade = "self-made"
)

// Certs says which certificates the doors show.
type Certs struct {
	Source string     `toml:"source"` // CertsACME, CertsFiles or CertsSelfMade
	Names  []string   `toml:"names"`  // besides Hostname; for ACME and self-made
	Files  []CertFile `toml:"files"`
	ACME   ACME       `toml:"acme"`
}

// CertFile is a certificate chain and its key, both PEM.
type CertFile struct {
	Cert string `toml:"cert"`
	Key  string `toml:"key"`
}

// ACME is a certification authority of RFC 8555.
type ACME struct {
	Email     string `toml:"email"`
	Directory string `toml:"directory"` // URL; "": Let's Encrypt
	Roots     string `toml:"roots"`     // PEM file: who signs the directory's own certificate
}

// Storage says where mail is kept.
type Storage struct {
	// Postgres is a connection URL; "" keeps everything in Data. Its password belongs into
	// PasswordFile or ~/.pgpass.
	Postgres     string `toml:"postgres"`
	PasswordFile string `toml:"password_file"`
}

// How a smarthost is spoken to.
const (
	TLSStart    = "starttls" // STARTTLS or nothing, verified
	TLSImplicit = "tls"      // TLS from the first byte, verified
	TLSOptional = "optional" // STARTTLS when offered, not verified
	TLSNone     = "none"
)

// Smarthost takes all mail for other domains, when Address is set.
type Smarthost struct {
	Address      string `toml:"address"` // host:port
	Security     string `toml:"security"`
	User         string `toml:"user"`
	PasswordFile string `toml:"password_file"`
}

// DNS says who is asked for names.
type DNS struct {
	Servers []netip.AddrPort `toml:"servers"` // empty: those of /etc/resolv.conf
	// Trusted are networks of servers that validate DNSSEC, beside this machine.
	Trusted []netip.Prefix `toml:"trusted"`
}

// Proxy lists the networks whose PROXY header is believed.
type Proxy struct {
	Networks []netip.Prefix `toml:"networks"`
}

// Log says what is written to standard error.
type Log struct {
	Level  string `toml:"level"`  // debug, info, warn, error
	Format string `toml:"format"` // auto (text on a terminal, else JSON), text, json
}

// Admin is how `tram` commands reach the running server.
type Admin struct {
	Socket string `toml:"socket"` // "": admin.sock in Data
}

// Default returns what holds when the file says nothing.
func Default() Config {
	return Config{
		Certs:     Certs{Source: CertsACME},
		Smarthost: Smarthost{Security: TLSStart},
		Log:       Log{Level: "info", Format: "auto"},
		Scan:      defaultScan(),
		Spam:      defaultSpam(),
		Reports:   defaultReports(),
		Doctor:    defaultDoctor(),
		Limits:    limits.Default(),

		TLSPolicy: defaultTLSPolicy(),

		Authentication: defaultAuthentication(),
	}
}

// Standard returns the doors of a public mail server, on every address of the machine.
func Standard() Listen {
	return Listen{
		SMTP: []string{":25"}, Submission: []string{":587"}, Submissions: []string{":465"},
		IMAP: []string{":143"}, IMAPS: []string{":993"},
		POP3: []string{":110"}, POP3S: []string{":995"},
		HTTP: []string{":80"}, HTTPS: []string{":443"},
	}
}

// AdminSocket is the path of the administration socket.
func (c *Config) AdminSocket() string {
	if c.Admin.Socket != "" {
		return c.Admin.Socket
	}
	return AdminSocket(c.Data)
}

// AdminSocket is the path of the administration socket of a data folder.
func AdminSocket(data string) string { return filepath.Join(data, "admin.sock") }
