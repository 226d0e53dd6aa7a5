package message

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden parses testdata/*.eml and compares all that is found with the .want beside it. Line
// ends in the files are LF and made CRLF, but those called *-raw are taken as they are. Among them are
// the multiparts of RFC 2046 §5.1: nested, digests, with boundaries that begin alike, and such as
// never end.
func TestGolden(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.eml")
	if err != nil || len(files) < 25 {
		t.Fatalf("%d golden messages: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".eml"), func(t *testing.T) {
			t.Parallel()
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(file, "-raw.eml") {
				raw = withCRLF(raw)
			}
			m := checkMessage(t, raw, testLimits)
			checkSplit(t, raw, testLimits, 7)
			checkContent(t, raw, m)
			got := describe(t, raw, m)
			wantFile := strings.TrimSuffix(file, ".eml") + ".want"
			if *update {
				if err := os.WriteFile(wantFile, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(wantFile)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

var flawNames = []string{
	"NoFrom", "DoubleFrom", "DoubleField", "SpaceBeforeColon", "NoColon", "NameCharacter",
	"BlankFold", "LateFold", "HeaderLimit", "Date", "MessageID", "DoubleContentType",
	"ContentType", "DoubleParam", "EncodedParam", "Encoding", "Boundary", "Unclosed", "PartLimit",
	"Address", "AddressLimit",
}

// describe writes down everything that was found in a message.
func describe(t *testing.T, raw []byte, m *Message) string {
	var b strings.Builder
	line := func(name string, value any) { fmt.Fprintf(&b, "%s: %v\n", name, value) }
	line("size", m.Size)
	line("subject", fmt.Sprintf("%q base %q reply %v", m.Subject, m.BaseSubject, m.Reply))
	line("date", m.Date.Format(time.RFC3339))
	line("ids", fmt.Sprintf("%q in reply to %q references %q", m.MessageID, m.InReplyTo, m.References))
	line("preview", fmt.Sprintf("%q", m.Preview))
	line("received", fmt.Sprintf("%d times, delivered to %q, from %d", m.Received, m.DeliveredTo,
		m.FromCount))
	var flags []string
	for i, name := range flawNames {
		if m.Flaws.Has(1 << i) {
			flags = append(flags, name)
		}
	}
	line("flaws", flags)
	line("flags", fmt.Sprintf("attachment %v, long line %v, bare CR %v, bare LF %v, NUL %v, "+
		"8-bit %v, in headers %v", m.HasAttachment, m.LongLine, m.BareCR, m.BareLF, m.NUL,
		m.EightBit, m.EightBitHeader))
	line("ENVELOPE", string(m.Envelope.AppendIMAP(nil, false)))
	line("ENVELOPE utf8", string(m.Envelope.AppendIMAP(nil, true)))
	line("BODY", string(m.Root.AppendIMAP(nil, false, false)))
	line("BODYSTRUCTURE", string(m.Root.AppendIMAP(nil, true, false)))
	line("BODYSTRUCTURE utf8", string(m.Root.AppendIMAP(nil, true, true)))
	describePart(t, &b, raw, m.Root, "")
	b.WriteString("search text:\n")
	if err := SearchText(bytes.NewReader(raw), m, 2000, func(chunk []byte) error {
		for text := range strings.Lines(string(chunk)) {
			fmt.Fprintf(&b, "\t%q\n", text)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	return b.String()
}

func describePart(t *testing.T, b *strings.Builder, raw []byte, p *Part, indent string) {
	fmt.Fprintf(b, "%s%s/%s header %d-%d body %d-%d, %d lines", indent, p.Type, p.Subtype,
		p.Header.Start, p.Header.End, p.Body.Start, p.Body.End, p.Lines)
	if name := p.FileName(); name != "" {
		fmt.Fprintf(b, ", file %q", name)
	}
	if p.Opaque {
		b.WriteString(", opaque")
	}
	b.WriteString("\n")
	if p.Type == "text" {
		text, err := io.ReadAll(Text(bytes.NewReader(raw), p))
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(b, "%s  text %.400q\n", indent, text)
	}
	for _, c := range p.Parts {
		describePart(t, b, raw, c, indent+"  ")
	}
	if p.Embedded != nil {
		describePart(t, b, raw, p.Embedded.Root, indent+"  ")
	}
}
