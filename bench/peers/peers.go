// Package peers answers "what does the established pair do on the same machine?": it runs Debian's
// Postfix with Dovecot beside the server under test, from a configuration, a spool and mailboxes
// that are all in one folder of their own.
//
// It promises to touch nothing of the machine's own Postfix and Dovecot, to listen on loopback
// only, to keep the defaults that decide what is durable, and to end by process id what it started.
package peers

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"embed"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"text/template"
	"time"
)

//go:embed dovecot.conf main.cf master.cf
var files embed.FS

// Ports are where the pair listens; mail for other domains leaves to Sink.
type Ports struct{ SMTP, Submit, IMAP, IMAPS, POP3, Sink int }

// Options say what to set up.
type Options struct {
	Dir      string // is made, and belongs to the pair alone
	Domain   string
	Users    []string // addresses
	Password string   // of each of them
	Ports
}

// Pair is one Postfix and one Dovecot.
type Pair struct {
	o        Options
	mail     int            // uid and gid that owns the mailboxes
	starting sync.WaitGroup // commands that have not put their master into the background yet
}

// mailOwner needs no entry in /etc/passwd: Dovecot takes numbers.
const mailOwner = 5000

// Prepare writes the configuration and the folders; nothing runs yet.
func Prepare(o Options) (*Pair, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("starting Postfix and Dovecot needs root")
	}
	version, err := output("dovecot", "--version")
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(version, "2.3.") {
		return nil, fmt.Errorf("the configuration here is for Dovecot 2.3, that of Debian 12, and this is %s", version)
	}
	p := &Pair{o: o, mail: mailOwner}
	if err := p.folders(); err != nil {
		return nil, fmt.Errorf("prepare folders: %w", err)
	}
	if err := p.certificate(); err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	for name, to := range map[string]string{
		"dovecot.conf": "dovecot.conf", "main.cf": "postfix/main.cf", "master.cf": "postfix/master.cf",
	} {
		if err := render(name, filepath.Join(o.Dir, to), o); err != nil {
			return nil, err
		}
	}
	return p, p.people()
}

// folders makes what the two want to find, each for the user that works there. The folder above is
// often closed to others, as /tmp's usually are: Postfix' own user must get through.
func (p *Pair) folders() error {
	postfix, err := user.Lookup("postfix")
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(postfix.Uid)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name  string
		owner int
	}{{"", 0}, {"postfix", 0}, {"run", 0}, {"spool", 0}, {"data", uid}, {"spool/private", uid}, {"home", p.mail}} {
		dir := filepath.Join(p.o.Dir, f.name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		gid := -1
		if f.owner == p.mail {
			gid = p.mail
		}
		if err := errors.Join(os.Chmod(dir, 0o755), os.Chown(dir, f.owner, gid)); err != nil {
			return err
		}
	}
	return nil
}

func render(name, to string, o Options) error {
	t, err := template.ParseFS(files, name)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	return errors.Join(t.Execute(f, o), f.Close())
}

// people writes the list of addresses for both; the hash is the one that Dovecot's own tool makes.
func (p *Pair) people() error {
	hash, err := output("doveadm", "pw", "-p", p.o.Password)
	if err != nil {
		return err
	}
	var passwords, addresses strings.Builder
	for _, u := range p.o.Users {
		fmt.Fprintf(&passwords, "%s:%s::::::\n", u, hash)
		fmt.Fprintf(&addresses, "%s x\n", u)
	}
	return errors.Join(
		os.WriteFile(filepath.Join(p.o.Dir, "users"), []byte(passwords.String()), 0o644),
		os.WriteFile(filepath.Join(p.o.Dir, "postfix/users"), []byte(addresses.String()), 0o644))
}

// certificate makes a P-256 certificate for loopback: the cheapest kind for a server.
func (p *Pair) certificate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := time.Now()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	write := func(name, kind string, b []byte, mode os.FileMode) error {
		return os.WriteFile(filepath.Join(p.o.Dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), mode)
	}
	return errors.Join(write("cert.pem", "CERTIFICATE", der, 0o644), write("key.pem", "PRIVATE KEY", secret, 0o600))
}

// Start starts both masters; they answer soon after. The words of wrap stand before each command,
// as those of a tracer.
func (p *Pair) Start(wrap ...string) error {
	for _, command := range [][]string{
		{"postfix", "-c", filepath.Join(p.o.Dir, "postfix"), "start"},
		{"dovecot", "-c", filepath.Join(p.o.Dir, "dovecot.conf")},
	} {
		command = append(append([]string{}, wrap...), command...)
		c := exec.Command(command[0], command[1:]...)
		log, err := os.OpenFile(filepath.Join(p.o.Dir, "start.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		c.Stdout, c.Stderr = log, log
		err = c.Start()
		log.Close()
		if err != nil {
			return fmt.Errorf("start %s: %w", command[0], err)
		}
		p.starting.Go(func() { c.Wait() })
	}
	return nil
}

// PIDs are the masters that run.
func (p *Pair) PIDs() []int {
	var all []int
	for _, name := range []string{"run/master.pid", "spool/pid/master.pid"} {
		b, err := os.ReadFile(filepath.Join(p.o.Dir, name))
		if err != nil {
			continue
		}
		if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && alive(pid) {
			all = append(all, pid)
		}
	}
	return all
}

// alive reports whether a process runs: a pid file outlives Postfix, and a child that ended may wait
// to be reaped.
func alive(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	s := string(b)
	return !strings.HasPrefix(s[strings.LastIndexByte(s, ')')+1:], " Z") &&
		(strings.Contains(s, "(master)") || strings.Contains(s, "(dovecot)"))
}

// Stop ends both and waits until they have ended.
func (p *Pair) Stop(ctx context.Context) error {
	p.starting.Wait() // a master that is about to be there is not yet known by its pid
	for _, pid := range p.PIDs() {
		syscall.Kill(pid, syscall.SIGTERM)
	}
	for begun, killed := time.Now(), false; ; {
		left := p.PIDs()
		if len(left) == 0 {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("processes %v do not end", left)
		}
		if !killed && time.Since(begun) > 20*time.Second {
			killed = true
			for _, pid := range left {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Log is the end of what the two wrote when they started, for an error message.
func (p *Pair) Log() string {
	var all []string
	for _, name := range []string{"start.log", "dovecot.log", "postfix.log"} {
		b, _ := os.ReadFile(filepath.Join(p.o.Dir, name))
		if s := strings.TrimSpace(string(b[max(0, len(b)-1000):])); s != "" {
			all = append(all, name+": "+s)
		}
	}
	return strings.Join(all, "\n")
}

// Version names the two programs.
func Version() string {
	postfix, _ := output("postconf", "-h", "mail_version")
	dovecot, _ := output("dovecot", "--version")
	return fmt.Sprintf("Postfix %s + Dovecot %s", postfix, strings.Fields(dovecot + " ?")[0])
}

// Settings describe the set-up in words.
func Settings() []string {
	return []string{
		"Postfix takes mail and hands it to Dovecot over LMTP; Dovecot keeps it as mdbox",
		"fsync settings of both are their defaults",
		"Dovecot's Sieve plugin is loaded, with no script; no content filter, no full-text index (both as installed)",
		"passwords hashed with the default of `doveadm pw`; imap-login and pop3-login with service_count=0; connection limits raised",
	}
}

// Durable says what a 250 of Postfix promises.
const Durable = "the message is in Postfix' queue file, fsynced; it is not yet in a mailbox, so `delivered` is what " +
	"compares. Dovecot then syncs it into mdbox before Postfix forgets it."

func output(name string, args ...string) (string, error) {
	b, err := exec.Command(name, args...).Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", name, args[0], err)
	}
	return strings.TrimSpace(string(b)), nil
}
