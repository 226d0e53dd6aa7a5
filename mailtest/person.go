package mailtest

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"tram/internal/admin"
	"tram/internal/imap"
	"tram/internal/limits"
	"tram/internal/smtp"
)

// Person has an account in a house.
type Person struct {
	House   *House
	Address string
}

// Person adds an account; its quota is in bytes, 0 for none.
func (h *House) Person(name string, quota int64) *Person {
	h.t.Helper()
	p := &Person{h, name + "@" + h.Domain}
	_, err := h.Admin.AddAccount(h.t.Context(), admin.NewAccount{
		Address: p.Address, Password: Password, Quota: admin.Quota{Bytes: quota},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return p
}

// SetQuota bounds the mailbox to so many bytes, 0 for no bound.
func (p *Person) SetQuota(bytes int64) {
	p.House.t.Helper()
	_, err := p.House.Admin.ChangeAccount(p.House.t.Context(), p.Address,
		admin.AccountChange{Quota: &admin.Quota{Bytes: bytes}})
	if err != nil {
		p.House.t.Fatal(err)
	}
}

// Fill delivers one message of 4 kB and leaves no room for another: for a smaller one, until something
// is deleted.
func (p *Person) Fill() {
	p.House.t.Helper()
	s := p.House.Stranger()
	defer s.Close()
	text := Letter("x@elsewhere.test", p.Address, "fill")
	text += strings.Repeat(strings.Repeat("x", 78)+"\r\n", 50)
	if r := s.Mail("x@elsewhere.test", text, p.Address); !r[0].OK() {
		p.House.t.Fatal(r[0])
	}
	a, err := p.House.Admin.Account(p.House.t.Context(), p.Address)
	if err != nil {
		p.House.t.Fatal(err)
	}
	p.SetQuota(a.Used.Bytes)
}

// Letter is a small message with CRLF line ends whose Message-ID holds name.
func Letter(from, to, name string) string {
	return fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: %s\r\nMessage-ID: <%s@mail.test>\r\n\r\nHello.\r\n",
		from, to, name, name)
}

// Addresses parses addresses, "" being the null one, and "Postmaster" the one without a domain (RFC
// 5321 §4.5.1).
func (w *World) Addresses(list ...string) []smtp.Address {
	w.T.Helper()
	all := make([]smtp.Address, len(list))
	for i, s := range list {
		if s == "" || s == "Postmaster" {
			all[i].Local = s
			continue
		}
		a, err := smtp.ParseAddress(s)
		if err != nil {
			w.T.Fatal(err)
		}
		all[i] = a
	}
	return all
}

// Sender is a connection that sends mail.
type Sender struct {
	*smtp.Client
	w *World
}

// Stranger connects to the house's mail port, as other servers do.
func (h *House) Stranger() *Sender {
	h.t.Helper()
	return h.sender("smtp", false)
}

func (h *House) sender(door string, secure bool) *Sender {
	h.t.Helper()
	o := smtp.ClientOptions{Hostname: "client.test", Limits: limits.Default().Client}
	if secure {
		o.TLS = h.tlsConfig()
	}
	c, err := smtp.Dial(h.t.Context(), &net.Dialer{}, h.Addr(door).String(), o)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close() })
	return &Sender{c, h.World}
}

// Submitter connects and logs in to hand mail in.
func (p *Person) Submitter() *Sender {
	p.House.t.Helper()
	s := p.House.sender("submissions", true)
	err := s.Auth(p.House.t.Context(), smtp.Credentials{User: p.Address, Password: Password})
	if err != nil {
		p.House.t.Fatal(err)
	}
	return s
}

// Mail runs one transaction and returns the last word on each recipient.
func (s *Sender) Mail(from, text string, to ...string) []smtp.Reply {
	s.w.T.Helper()
	m := &smtp.Mail{From: s.w.Addresses(from)[0], Size: int64(len(text))}
	for _, a := range s.w.Addresses(to...) {
		m.Recipients = append(m.Recipients, smtp.Rcpt{Address: a})
	}
	r, err := s.Send(s.w.T.Context(), m, strings.NewReader(text))
	if err != nil {
		s.w.T.Fatalf("send: %v after %v", err, r.Replies)
	}
	return r.Replies
}

// Submit hands a message in, which must be taken for every recipient.
func (p *Person) Submit(text string, to ...string) {
	p.House.t.Helper()
	s := p.Submitter()
	defer s.Close()
	for i, r := range s.Mail(p.Address, text, to...) {
		if !r.OK() {
			p.House.t.Fatalf("%s to %s: %v", p.Address, to[i], r)
		}
	}
}

// IMAP logs in.
func (p *Person) IMAP() *imap.Client {
	p.House.t.Helper()
	h := p.House
	c, err := imap.Dial(h.t.Context(), h.Addr("imaps").String(), imap.ClientOptions{TLS: h.tlsConfig()})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close() })
	if err := c.Login(p.Address, Password); err != nil {
		h.t.Fatal(err)
	}
	return c
}

// Inbox returns the messages in the INBOX, oldest first, as IMAP shows them.
func (p *Person) Inbox() []string {
	p.House.t.Helper()
	c := p.IMAP()
	defer c.Logout()
	return p.House.read(c, "INBOX")
}

// read returns the messages of a mailbox.
func (h *House) read(c *imap.Client, mailbox string) []string {
	h.t.Helper()
	r, err := c.Do("EXAMINE " + mailbox)
	if err != nil {
		h.t.Fatal(err)
	}
	if !slices.ContainsFunc(r.Data, func(d imap.Response) bool { return d.Name == "EXISTS" && d.Num > 0 }) {
		return nil
	}
	if r, err = c.Do("FETCH 1:* (BODY.PEEK[])"); err != nil {
		h.t.Fatal(err)
	}
	var all []string
	for _, d := range r.Data {
		if d.Fetch != nil {
			all = append(all, d.Fetch.Bodies["BODY[]"])
		}
	}
	return all
}

// WaitInbox lets time pass until the INBOX holds n messages, and returns them.
func (p *Person) WaitInbox(n int) []string {
	p.House.t.Helper()
	c := p.IMAP()
	defer c.Logout()
	var all []string
	p.House.World.Until(fmt.Sprintf("the INBOX of %s holds %d", p.Address, n), func() bool {
		all = p.House.read(c, "INBOX")
		return len(all) >= n
	})
	if len(all) != n {
		p.House.t.Fatalf("the INBOX of %s holds %d messages, not %d", p.Address, len(all), n)
	}
	return all
}
