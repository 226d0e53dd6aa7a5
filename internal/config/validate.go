package config

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"tram/internal/limits"
)

// Validate checks a configuration that was built in code.
func (c *Config) Validate() error {
	v := validator{c: c}
	v.run()
	return errors.Join(v.errs...)
}

// validator collects what is wrong, each with its place.
type validator struct {
	c    *Config
	at   map[string]position
	errs []error
}

// fail notes a fault of key; the place of a missing key is its table's, or none.
func (v *validator) fail(key, format string, args ...any) {
	e := &Error{File: v.c.File, Key: key, Reason: fmt.Sprintf(format, args...)}
	for k := key; k != ""; {
		if p, ok := v.at[k]; ok {
			e.Line, e.Column = p.line, p.column
			break
		}
		k = k[:max(strings.LastIndexByte(k, '.'), 0)]
	}
	v.errs = append(v.errs, e)
}

func (v *validator) run() {
	v.identity()
	v.listeners()
	v.certs()
	v.smarthost()
	v.storage()
	v.tlsPolicy()
	v.reports()
	v.authentication()
	v.choices()
	v.scan()
	v.spam()
	v.doctor()
	v.limits()
}

func (v *validator) identity() {
	switch h := v.c.Hostname; {
	case h == "":
		v.fail("hostname", `hostname is missing: write hostname = "mail.example.com"`)
	case !validHost(h) || !strings.Contains(h, "."):
		v.fail("hostname", "hostname %q is not a full host name such as mail.example.com", h)
	}
	if v.c.Data == "" {
		v.fail("data", `data is missing: write data = "/var/lib/tram"`)
	}
}

// validHost accepts host names, RFC 1123 §2.1.
func validHost(h string) bool {
	labels := strings.Split(h, ".")
	if len(h) > 253 {
		return false
	}
	for _, l := range labels {
		bad := strings.ContainsFunc(l, func(r rune) bool {
			return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
		})
		if l == "" || len(l) > 63 || bad || l[0] == '-' || l[len(l)-1] == '-' {
			return false
		}
	}
	return true
}

func (v *validator) listeners() {
	used := map[string]string{}
	for _, d := range v.c.Listen.Doors() {
		key := "listen." + d.Name
		for _, a := range d.Addresses {
			if !d.Unix && !validAddress(a) {
				v.fail(key, `%s: %q is not an address such as ":25", "192.0.2.1:25" or `+
					`"[2001:db8::1]:25"`, key, a)
				continue
			}
			// Port 0 asks for any free port: several doors may.
			if before := used[a]; before != "" && !strings.HasSuffix(a, ":0") {
				v.fail(key, "%s: %q is taken by %s already", key, a, before)
			}
			used[a] = key
		}
	}
	if len(used) == 0 {
		v.fail("listen", `no listener is set: write [listen] and below it smtp = [":25"] and others`)
	}
}

func validAddress(a string) bool {
	_, port, err := net.SplitHostPort(a)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

func (v *validator) certs() {
	c := v.c.Certs
	v.oneOf("certificates.source", c.Source, CertsACME, CertsFiles, CertsSelfMade)
	if c.Source == CertsFiles && len(c.Files) == 0 {
		v.fail("certificates.source",
			`certificates.source is "files" and no [[certificates.files]] with cert and key follows`)
	}
	for i, f := range c.Files {
		if f.Cert == "" || f.Key == "" {
			v.fail("certificates.files", "certificates.files: entry %d needs both cert and key", i+1)
		}
	}
	if c.Source == CertsACME && len(v.c.Listen.HTTP)+len(v.c.Listen.HTTPS) == 0 {
		v.fail("certificates.source", "certificates.source is \"acme\", which proves the host name over "+
			"listen.http or listen.https, and neither is set")
	}
	for _, n := range c.Names {
		if !validHost(strings.TrimPrefix(n, "*.")) && net.ParseIP(n) == nil {
			v.fail("certificates.names", "certificates.names: %q is not a host name", n)
		}
	}
	if d := c.ACME.Directory; d != "" && !strings.HasPrefix(d, "https://") {
		v.fail("certificates.acme.directory", "certificates.acme.directory: %q is not an https URL", d)
	}
}

func (v *validator) smarthost() {
	s := v.c.Smarthost
	v.oneOf("smarthost.security", s.Security, TLSStart, TLSImplicit, TLSOptional, TLSNone)
	if s.Address == "" {
		if s.User != "" {
			v.fail("smarthost.user", "smarthost.user is set and smarthost.address is not")
		}
		return
	}
	host, _, err := net.SplitHostPort(s.Address)
	if err != nil || host == "" || !validAddress(s.Address) {
		v.fail("smarthost.address", "smarthost.address: %q is not host:port", s.Address)
	}
	if (s.User == "") != (s.PasswordFile == "") {
		v.fail("smarthost.user", "smarthost.user and smarthost.password_file go together")
	}
	if s.User != "" && s.Security != TLSStart && s.Security != TLSImplicit {
		v.fail("smarthost.security",
			"smarthost.security is %q, which would show the password: use %q or %q",
			s.Security, TLSStart, TLSImplicit)
	}
}

func (v *validator) storage() {
	p := v.c.Storage.Postgres
	if p == "" {
		return
	}
	u, err := url.Parse(p)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		v.fail("storage.postgres", "storage.postgres is not a URL such as "+
			"postgres://tram@db.example.com/tram")
		return
	}
	if _, secret := u.User.Password(); secret {
		v.fail("storage.postgres", "storage.postgres holds a password: move it to a file of mode 0600 "+
			"and name that in storage.password_file")
	}
}

func (v *validator) choices() {
	v.oneOf("log.level", v.c.Log.Level, "debug", "info", "warn", "error")
	v.oneOf("log.format", v.c.Log.Format, "auto", "text", "json")
}

func (v *validator) oneOf(key, value string, choices ...string) {
	if !slices.Contains(choices, value) {
		v.fail(key, "%s: %q is none of %s", key, value, strings.Join(choices, ", "))
	}
}

// limits applies the overrides to the defaults.
func (v *validator) limits() {
	for _, section := range slices.Sorted(maps.Keys(v.c.Overrides)) {
		for _, name := range slices.Sorted(maps.Keys(v.c.Overrides[section])) {
			key := section + "." + name
			err := v.c.Limits.Put(key, v.c.Overrides[section][name])
			switch {
			case errors.Is(err, limits.ErrUnknown):
				v.fail("limits."+key, "%s", unknown("limits."+key))
			case err != nil:
				v.fail("limits."+key, "limits.%s: %v", key, err)
			}
		}
	}
}

// Secret reads a password from a file that only its owner may read; one newline at the end is not
// part of it. "" for path gives "".
func Secret(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("read password file: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("password file %s can be read by others (mode %04o): run chmod 600 %s",
			path, info.Mode().Perm(), path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read password file: %w", err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"), nil
}
