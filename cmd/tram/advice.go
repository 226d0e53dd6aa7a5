package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/template"

	"tram/internal/admin/zone"
)

// print tells the operator what was made and what is left to do.
func (s *setup) print(w io.Writer) error {
	t, err := template.New("setup").Parse(advice)
	if err != nil {
		return fmt.Errorf("parse text: %w", err)
	}
	records, err := s.zone()
	if err != nil {
		return err
	}
	program := "/usr/local/bin/tram"
	err = t.Execute(w, map[string]any{
		"Config": s.file, "ConfigFolder": filepath.Dir(s.file), "Data": s.data, "Account": s.made,
		"Kept": s.kept, "Zone": records, "Hostname": s.hostname, "Domain": s.domain,
		"Program": program, "Unit": unit(program, s.file, s.data),
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

"tram doctor" compares all this with what the Internet sees, and says what is missing. "tram domain dns
{{.Domain}}" prints the records again, with those that can be told only while the server runs.

Outgoing mail is signed (DKIM) as soon as the server finds the two _domainkey records above in the DNS;
it looks every quarter of an hour, and "tram dkim list" shows what it found. New keys are made twice a
year: "tram dkim record {{.Domain}}" shows their records. When the list says "active" for both, and
mail arrives well, the DMARC policy can go from p=none to p=quarantine and p=reject.
`

// zone lists the DNS records in zone-file form, RFC 1035 §5.1.
func (s *setup) zone() (string, error) {
	var b strings.Builder
	err := zone.Write(&b, s.records)
	return b.String(), err
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
