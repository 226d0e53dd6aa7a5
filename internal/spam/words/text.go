package words

import (
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"tram/internal/message"
)

// mostThings is how many hosts and files of a message are looked at.
const mostThings = 100

// TextOf returns what of a message the classifier looks at, when no closer examination is at hand. At
// most limit bytes of each text part's source are read. r holds the whole message.
func TextOf(r io.ReaderAt, m *message.Message, limit int) (Text, error) {
	t := Text{Subject: m.Subject, From: shownAs(m.Envelope.From, true), To: shownAs(m.Envelope.To, false)}
	var body strings.Builder
	var failed error
	m.Root.Walk(func(p *message.Part) {
		switch {
		case failed != nil || p.Parts != nil || p.Embedded != nil:
		case p.Type == "text" && (p.Subtype == "plain" || p.Subtype == "html") && p.Disposition != "attachment":
			failed = t.part(r, p, &body, limit)
		case len(t.Files) < mostThings:
			t.Files = append(t.Files, p.Type+"/"+p.Subtype)
			if end := path.Ext(p.FileName()); end != "" {
				t.Files = append(t.Files, end)
			}
		}
	})
	t.Body = body.String()
	return t, failed
}

// part adds a text part.
func (t *Text) part(r io.ReaderAt, p *message.Part, body *strings.Builder, limit int) error {
	left := int64(limit - body.Len())
	if left <= 0 {
		return nil
	}
	source, err := io.ReadAll(io.LimitReader(message.Source(r, p), left))
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("read text: %w", err)
	}
	text := string(source)
	if p.Subtype == "html" {
		t.links(text)
		plain, err := io.ReadAll(message.HTMLText(strings.NewReader(text)))
		if err != nil {
			return fmt.Errorf("read HTML: %w", err)
		}
		text = string(plain)
		t.Signs = append(t.Signs, "html")
	}
	body.WriteString(text)
	body.WriteByte('\n')
	return nil
}

// links adds the hosts that the tags of HTML lead to.
func (t *Text) links(source string) {
	for len(t.Hosts) < mostThings {
		_, rest, ok := strings.Cut(source, "://")
		if !ok {
			return
		}
		end := strings.IndexAny(rest, "/?#\"'<> \t\r\n")
		if end < 0 {
			end = len(rest)
		}
		host := rest[strings.LastIndexByte(rest[:end], '@')+1 : end]
		host, _, _ = strings.Cut(host, ":")
		t.Hosts = append(t.Hosts, host)
		source = rest[end:]
	}
}

// shownAs writes addresses as people see them, decoded; without the addresses themselves where they
// are the reader's own.
func shownAs(list []message.Address, addresses bool) string {
	var b strings.Builder
	for i, a := range list[:min(len(list), mostThings)] {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(a.Name)
		if addresses {
			b.WriteString(" <" + a.Mailbox + "@" + a.Host + ">")
		}
	}
	return b.String()
}
