package config

import (
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"text/template"

	"tram/internal/limits"
)

// Write prints c as a file that explains itself: what differs from the default is set, the rest
// stands as a comment with its default or an example, every limit included.
func Write(w io.Writer, c Config) error {
	t, err := template.New("tram.toml").Funcs(template.FuncMap{
		"set": set, "switched": switched, "counted": counted,
		"listed": listed, "defaultDoctor": defaultDoctor,
		"scored": scored, "score": score, "codes": codes, "list": list, "str": strconv.Quote,
		"prefixes": prefixes, "servers": servers,
		"limits": func() string { return limitTables(c) },
	}).Parse(document)
	if err != nil {
		return fmt.Errorf("parse configuration template: %w", err)
	}
	if err := t.Execute(w, c); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}

// set writes a line of key and value, as a comment with the example when value is empty or the
// default.
func set(key, value, def, example string) string {
	if value == def {
		if example == "" {
			example = def
		}
		return "#" + key + " = " + strconv.Quote(example)
	}
	return key + " = " + strconv.Quote(value)
}

// list is set for lists.
func list(key string, values []string, example string) string {
	if len(values) == 0 {
		return fmt.Sprintf("#%s = [%q]", key, example)
	}
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = strconv.Quote(v)
	}
	return fmt.Sprintf("%s = [%s]", key, strings.Join(quoted, ", "))
}

func prefixes(p []netip.Prefix) []string {
	s := make([]string, len(p))
	for i := range p {
		s[i] = p[i].String()
	}
	return s
}

func servers(a []netip.AddrPort) []string {
	s := make([]string, len(a))
	for i := range a {
		s[i] = a[i].String()
	}
	return s
}

const document = `# Trạm: the configuration of this mail server.
#
# Lines that begin with # and hold a key show its default or an example. An unknown key is refused.
# Paths that do not begin with / start at this file's folder. Domains, accounts and aliases are not
# here: see "tram domain", "tram account" and "tram alias". After a change: systemctl restart tram.

# The server's own name. Its address must point here, and the address's reverse name back to it.
hostname = {{str .Hostname}}

# Everything the server keeps. Back it up; nobody but the server may write to it.
data = {{str .Data}}

# Where the server listens: "host:port", or ":port" for every address. What is not listed is closed.
[listen]
# Mail from other servers.
{{list "smtp" .Listen.SMTP ":25"}}
# Mail from people's programs: STARTTLS (587) and TLS from the start (465). Both need a log-in.
{{list "submission" .Listen.Submission ":587"}}
{{list "submissions" .Listen.Submissions ":465"}}
# Reading mail: STARTTLS (143) and TLS from the start (993).
{{list "imap" .Listen.IMAP ":143"}}
{{list "imaps" .Listen.IMAPS ":993"}}
# The same for programs that fetch their mail: POP3, STARTTLS (110) and TLS from the start (995).
{{list "pop3" .Listen.POP3 ":110"}}
{{list "pop3s" .Listen.POP3S ":995"}}
# The start page, health checks, and proof of the host name to the certification authority.
{{list "http" .Listen.HTTP ":80"}}
{{list "https" .Listen.HTTPS ":443"}}
# Mail from a program on this machine over a unix socket: path of the socket.
{{list "lmtp" .Listen.LMTP "lmtp.sock"}}
# Prometheus metrics, without log-in: keep it inside.
{{list "metrics" .Listen.Metrics "127.0.0.1:9125"}}

[certificates]
# "acme": obtained and renewed by themselves; "files": the files below; "self-made": for trying out.
{{set "source" .Certs.Source "acme" ""}}
# Further host names that people's programs connect to.
{{list "names" .Certs.Names "imap.example.com"}}
{{range .Certs.Files}}
[[certificates.files]]
cert = {{str .Cert}}
key = {{str .Key}}
{{else}}
#[[certificates.files]]
#cert = "/etc/ssl/mail.example.com.pem"
#key = "/etc/ssl/private/mail.example.com.key"
{{end}}
[certificates.acme]
# Where the authority writes when something is wrong with a certificate.
{{set "email" .Certs.ACME.Email "" "postmaster@example.com"}}
# Another authority than Let's Encrypt, and the certificate that vouches for it.
{{set "directory" .Certs.ACME.Directory "" "https://acme.example.com/directory"}}
{{set "roots" .Certs.ACME.Roots "" "/etc/ssl/authority.pem"}}

[storage]
# Empty: mail is kept in the data folder. A URL: in PostgreSQL, without the password.
{{set "postgres" .Storage.Postgres "" "postgres://tram@db.example.com/tram"}}
{{set "password_file" .Storage.PasswordFile "" "postgres-password"}}

# Sends all mail for other domains through one server instead of directly.
[smarthost]
{{set "address" .Smarthost.Address "" "relay.example.net:587"}}
# "starttls" and "tls" verify the certificate; "optional" and "none" do not and allow no password.
{{set "security" .Smarthost.Security "starttls" ""}}
{{set "user" .Smarthost.User "" "mail.example.com"}}
# A file of mode 0600 that holds nothing else.
{{set "password_file" .Smarthost.PasswordFile "" "smarthost-password"}}

[dns]
# Who is asked for names; empty: /etc/resolv.conf. A validating resolver on this machine is best.
{{list "servers" (servers .DNS.Servers) "127.0.0.1:53"}}
# Networks of servers that validate DNSSEC, and that nobody can come between. This machine is one; what
# servers elsewhere say of DNSSEC is not believed, and DANE does without.
{{list "trusted" (prefixes .DNS.Trusted) "10.0.0.53/32"}}
` + tlsPolicyDocument + `

# What other domains are told once a day, if their DNS asks for it, and what is looked up about them.
[reports]
# How mail in their name fared here (DMARC), and mail to them on its way (TLS).
{{switched "dmarc" .Reports.DMARC true}}
{{switched "tls" .Reports.TLS true}}
# The name that reports give, and whom to ask about them; empty: the server's domain, its postmaster.
{{set "org" .Reports.Org "" "Example Ltd"}}
{{set "contact" .Reports.Contact "" "postmaster@example.com"}}
# The icons that domains publish (BIMI), and the authorities that may vouch for them: a PEM file.
{{switched "icons" .Reports.Icons true}}
{{set "icon_roots" .Reports.IconRoots "" "mark-authorities.pem"}}

# Who vouches for mail from outside (SPF, DKIM, DMARC, ARC); docs/trust.md tells more.
[authentication]
{{switched "enabled" .Authentication.Enabled true}}
# "enforce" refuses what the author's domain wants refused; "mark" puts it into the junk mail.
{{set "dmarc" .Authentication.DMARC "enforce" ""}}
# "enforce" also refuses what the SPF record of the reverse-path calls forged; "mark" writes it down.
{{set "spf" .Authentication.SPF "mark" ""}}
# Forwarders and mailing lists whose word about a message counts (ARC), by domain.
{{list "trusted_arc_sealers" .Authentication.TrustedARCSealers "lists.example.com"}}

[proxy]
# Networks of load balancers whose PROXY header tells the client's address. No others are believed.
{{list "networks" (prefixes .Proxy.Networks) "10.0.0.0/8"}}

[log]
# debug, info, warn or error; secrets and content are never logged.
{{set "level" .Log.Level "info" ""}}
# auto: text on a terminal, JSON elsewhere.
{{set "format" .Log.Format "auto" ""}}

[admin]
# Where "tram account" and the like reach the server; empty: admin.sock in the data folder.
{{set "socket" .Admin.Socket "" "admin.sock"}}
` + scanDocument + spamDocument + doctorDocument + `
# Every limit can be lowered, and raised up to its hard cap; past that only with "unsafe_" before
# its name. Sizes may be written as "50 MiB", times as "90s", "5m", "4h" or "14d". Beside each stand
# its hard cap and its reason.
{{limits}}`

// limitTables lists the limits, those that c overrides as set.
func limitTables(c Config) string {
	var b strings.Builder
	set := limits.Default()
	table := ""
	for _, r := range set.Table() {
		section, name, _ := strings.Cut(r.Key, ".")
		if section != table {
			table = section
			fmt.Fprintf(&b, "\n[limits.%s]\n", section)
		}
		fmt.Fprintf(&b, "# At most %s: %s.\n", r.Cap, r.Why)
		over := c.Overrides[section]
		if v, ok := over[name]; ok {
			fmt.Fprintf(&b, "%s = %s\n", name, literal(v))
		} else if v, ok := over[limits.Unsafe+name]; ok {
			fmt.Fprintf(&b, "%s%s = %s\n", limits.Unsafe, name, literal(v))
		} else {
			fmt.Fprintf(&b, "#%s = %s\n", name, literal(number(r.Default)))
		}
	}
	return b.String()
}

// number returns s as the number it spells, or s.
func number(s string) any {
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		return f
	}
	return s
}

func literal(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}
