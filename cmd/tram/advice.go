package main

import (
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"strings"
	"text/template"
)

// print tells the operator what was made and what is left to do.
func (s *setup) print(w io.Writer) error {
	t, err := template.New("setup").Parse(advice)
	if err != nil {
		return fmt.Errorf("parse text: %w", err)
	}
	program := "/usr/local/bin/tram"
	err = t.Execute(w, map[string]any{
		"Config": s.file, "ConfigFolder": filepath.Dir(s.file), "Data": s.data, "Account": s.made,
		"Kept": s.kept, "Zone": s.zone(), "Hostname": s.hostname, "Domain": s.domain,
		"Program": program, "Unit": unit(program, s.file, s.data), "Addresses": s.addrs,
	})
	if err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

const advice = `Trạm is set up.

  configuration  {{.Config}}
  data           {{.Data}}
  account        {{.Account.Address}} (administrator)
{{- if .Kept}}
  password       as it was: the account was there already ("tram account passwd" changes it)
{{- else if .Account.Password}}
  password       {{.Account.Password}}
                 (shown this once; "tram account passwd" makes another)
{{- end}}

==== 1. DNS records of {{.Domain}} ====

{{.Zone}}
Besides, whoever gave you the address sets its reverse name to {{.Hostname}}: many servers
refuse mail from an address without one.

==== 2. /etc/systemd/system/tram.service ====

{{.Unit}}
==== 3. What to do next ====

  install -m 0755 bin/tram {{.Program}}
  useradd --system --home-dir {{.Data}} --shell /usr/sbin/nologin tram
  chown -R tram:tram {{.Data}}
  (write the unit above to its file)
  systemctl daemon-reload
  systemctl enable --now tram
  systemctl status tram

Open ports 25, 80, 110, 143, 443, 465, 587, 993 and 995. Port 80 or 443 must be reachable for the certificate.
People set their mail programs to {{.Hostname}}: IMAP port 993 and SMTP port 465, both with TLS; the
user name is the whole address. "tram account add ADDRESS" adds the next person.

The DKIM keys are made, in {{.Data}}/dkim, and their records may be published now; this version
does not sign outgoing mail yet. Until it does, leave the DMARC policy at p=none.
`

// zone lists the DNS records in zone-file form, RFC 1035 §5.1.
func (s *setup) zone() string {
	var b strings.Builder
	record := func(name, kind, data string) { fmt.Fprintf(&b, "%s 3600 IN %s %s\n", name, kind, data) }
	comment := func(text string) { fmt.Fprintf(&b, "; %s\n", text) }
	host, domain := s.mailHost(), s.domain+"."

	comment("The server.")
	s.addressRecords(record, comment)
	comment("Where mail for the domain goes.")
	record(domain, "MX", "10 "+host)
	comment("Who may send mail of the domain (SPF, RFC 7208); the second is for the greeting.")
	record(domain, "TXT", quoteTXT("v=spf1 mx -all"))
	if host != domain {
		record(host, "TXT", quoteTXT("v=spf1 a -all"))
	}
	comment("The keys of its signatures (DKIM, RFC 6376, RFC 8463).")
	for _, k := range s.keys {
		record(k.selector+"._domainkey."+domain, "TXT", quoteTXT(k.record))
	}
	comment("What receivers do with mail that only claims to be yours, and whom they tell (DMARC).")
	record("_dmarc."+domain, "TXT", quoteTXT("v=DMARC1; p=none; rua=mailto:postmaster@"+s.domain))
	comment("How mail programs find the server (RFC 6186, RFC 8314).")
	record("_submissions._tcp."+domain, "SRV", "0 1 465 "+host)
	record("_submission._tcp."+domain, "SRV", "10 1 587 "+host)
	record("_imaps._tcp."+domain, "SRV", "0 1 993 "+host)
	record("_imap._tcp."+domain, "SRV", "10 1 143 "+host)
	record("_pop3s._tcp."+domain, "SRV", "20 1 995 "+host)
	record("_pop3._tcp."+domain, "SRV", "30 1 110 "+host)
	comment("Who may issue certificates for the server (RFC 8659).")
	record(host, "CAA", `0 issue "letsencrypt.org"`)
	return b.String()
}

// addressRecords are those of this machine, or an example where it knows none.
func (s *setup) addressRecords(record func(name, kind, data string), comment func(string)) {
	if len(s.addrs) == 0 {
		comment("This machine sees no public address of its own: put the server's here.")
		comment(s.mailHost() + " 3600 IN A 192.0.2.1")
		comment(s.mailHost() + " 3600 IN AAAA 2001:db8::1")
		return
	}
	for _, a := range s.addrs {
		record(s.mailHost(), addressKind(a), a.String())
	}
}

func addressKind(a netip.Addr) string {
	if a.Is4() {
		return "A"
	}
	return "AAAA"
}

// quoteTXT writes text as strings of at most 255 bytes, RFC 1035 §3.3.14.
func quoteTXT(text string) string {
	var parts []string
	for len(text) > 255 {
		parts = append(parts, `"`+text[:255]+`"`)
		text = text[255:]
	}
	return strings.Join(append(parts, `"`+text+`"`), " ")
}

// unit is a systemd unit that leaves the server nothing but its work.
func unit(program, file, data string) string {
	return fmt.Sprintf(`[Unit]
Description=Tram mail server
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
User=tram
Group=tram
ExecStart=%[1]s serve --config %[2]s
ExecReload=/bin/kill -HUP $MAINPID
TimeoutStopSec=30
Restart=always
RestartSec=2
# Longer and longer pauses, where systemd knows them (254 and later).
RestartSteps=6
RestartMaxDelaySec=60
OOMPolicy=stop
MemoryMax=75%%
LimitNOFILE=65536
UMask=0077

# Ports below 1024 and nothing else. With socket units (FileDescriptorName= a key of [listen], one
# for each) even this can go.
AmbientCapabilities=CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
NoNewPrivileges=yes

ProtectSystem=strict
ReadWritePaths=%[3]s
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
# AF_NETLINK is how the kernel tells a program its own addresses, which the queue never dials.
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
KeyringMode=private
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
# The metadata services of clouds.
IPAddressDeny=169.254.169.254 fd00:ec2::254

[Install]
WantedBy=multi-user.target
`, program, file, data)
}
