package smtp

import (
	"bytes"
	"io"
)

// DotWriter writes a message as DATA wants it, RFC 5321 §4.5.2: lines end in CR LF, a dot at the
// start of one is doubled, and CR LF . CR LF comes only from Close. A bare CR or LF in what it is
// given (mail that came by another way than SMTP) is written as CR LF: it must never leave as it
// is, or the next server might see the end of the message in it. Clean runs pass without a copy.
type DotWriter struct{ lineWriter }

// NewDotWriter returns a DotWriter onto w. The caller buffers w if it is a connection.
func NewDotWriter(w io.Writer) *DotWriter {
	return &DotWriter{lineWriter{w: w, stuff: true, bol: true}}
}

// NewExactDotWriter returns a DotWriter that leaves line ends as they are, for POP3 (RFC 1939 §3): its
// client was told the size of the message beforehand, and may check a signature of its octets. A dot
// is doubled after any LF, so that no reader sees the end too early.
func NewExactDotWriter(w io.Writer) *DotWriter {
	return &DotWriter{lineWriter{w: w, stuff: true, bol: true, exact: true}}
}

// Close ends the message: a line end if the last line has none, and the terminator.
func (d *DotWriter) Close() error {
	if err := d.finish(); err != nil {
		return err
	}
	d.put([]byte(".\r\n"))
	return d.err
}

// lineWriter brings line ends to CR LF and, with stuff, doubles dots at the start of lines.
type lineWriter struct {
	w     io.Writer
	stuff bool
	bol   bool // the next octet starts a line
	cr    bool // a CR was withheld: an LF may follow
	exact bool // nothing is withheld or changed: cr is that the last octet was one
	open  bool // exact: what was written does not end in CR LF
	err   error
}

// Write implements io.Writer. It reports all of p as written or an error.
func (d *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	if n == 0 {
		return 0, d.err
	}
	if d.exact {
		after := d.cr
		if n > 1 {
			after = p[n-2] == '\r'
		}
		d.cr, d.open = p[n-1] == '\r', !after || p[n-1] != '\n'
		d.writeClean(p)
		return n, d.err
	}
	if d.cr {
		d.cr = false
		d.put(crlf)
		d.bol = true
		if p[0] == '\n' {
			p = p[1:]
		}
	}
	if n := len(p); n > 0 && p[n-1] == '\r' {
		p, d.cr = p[:n-1], true
	}
	if clean(p) {
		d.writeClean(p)
	} else {
		d.writeLines(p)
	}
	if d.err != nil {
		return 0, d.err
	}
	return n, nil
}

// clean reports whether every CR in p stands before an LF and every LF after a CR.
func clean(p []byte) bool {
	lines, pos := 0, 0
	for {
		i := bytes.IndexByte(p[pos:], '\n')
		if i < 0 {
			return bytes.Count(p, crlf[:1]) == lines
		}
		if lf := pos + i; lf == 0 || p[lf-1] != '\r' {
			return false
		}
		lines++
		pos += i + 1
	}
}

var lfDot = []byte("\n.")

// writeClean writes octets whose line ends are all CR LF.
func (d *lineWriter) writeClean(p []byte) {
	if len(p) == 0 {
		return
	}
	if d.bol && d.stuff && p[0] == '.' {
		d.put(lfDot[1:])
	}
	for d.stuff {
		i := bytes.Index(p, lfDot)
		if i < 0 {
			break
		}
		d.put(p[:i+2]) // the dot itself, and again as the next run's first octet
		p = p[i+1:]
	}
	d.put(p)
	d.bol = p[len(p)-1] == '\n'
}

// writeLines writes octets with bare CRs or LFs, each of which ends a line.
func (d *lineWriter) writeLines(p []byte) {
	for len(p) > 0 {
		i := bytes.IndexAny(p, "\r\n")
		if i < 0 {
			d.writeClean(p)
			return
		}
		d.writeClean(p[:i])
		d.put(crlf)
		d.bol = true
		if bytes.HasPrefix(p[i:], crlf) {
			i++
		}
		p = p[i+1:]
	}
}

// finish ends the last line.
func (d *lineWriter) finish() error {
	if d.open || !d.exact && (d.cr || !d.bol) {
		d.open = false
		d.cr, d.bol = false, true
		d.put(crlf)
	}
	return d.err
}

func (d *lineWriter) put(p []byte) {
	if d.err == nil && len(p) > 0 {
		_, d.err = d.w.Write(p)
	}
}
