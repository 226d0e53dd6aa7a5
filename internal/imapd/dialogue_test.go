package imapd

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tram/internal/conn/conntest"
	"tram/internal/limits"
)

// Transcripts in testdata/*.txt are run against a real server, each in several modes:
//
//	# a comment
//	modes: rev1 rev2 tls       in which to run; all by default, "deflate" too
//	login: no                  begin before log-in; by default each connection is logged in
//	messages: 3                put so many messages into INBOX
//	as: 2 bob                  connection 2 is bob@example.test's
//	admin: 3 ann               and connection 3 an administrator's
//	folders: yes               the domain has shared folders
//	message-limit: 3           limits.imap.command_messages
//	C: a NOOP                  the client sends a line; C2: is another connection's
//	S: a OK NOOP completed     the server answers with this line
//	S[rev1]: * 0 RECENT        a line of one mode only
//	S: * OK [UIDVALIDITY ${v}] text is kept as ${v}, and must be the same when it comes again
//	S: a OK ${*}               anything
//	S: ${...}                  any lines, up to one that the next S: is like
//	C: a APPEND INBOX {{{      a literal follows, up to the line }}}: it is announced, and sent when
//	...                        the server asks for it
//	}}}
//	S: END                     the server closes the connection
func TestDialogues(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 15 {
		t.Fatalf("%d transcripts, %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		script := readScript(t, file)
		for _, mode := range script.modes {
			t.Run(name+"/"+mode, func(t *testing.T) {
				t.Parallel()
				(&dialogue{t: t, file: file, mode: mode, script: script}).run()
			})
		}
	}
}

type script struct {
	modes    []string
	login    bool
	messages int
	limit    int
	as       map[int]string // by connection
	admins   map[string]bool
	folders  bool
	steps    []step
}

type step struct {
	line   int
	client bool
	conn   int
	mode   string // "": all
	text   string
}

var stepLine = regexp.MustCompile(`^([CS])(\d?)(?:\[(\w+)\])?: ?(.*)$`)

func readScript(t *testing.T, file string) script {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := script{modes: []string{"rev1", "rev2", "tls", "deflate"}, login: true, as: map[int]string{}, admins: map[string]bool{}}
	lines := strings.Split(string(b), "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		key, value, _ := strings.Cut(line, ": ")
		m := stepLine.FindStringSubmatch(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case m != nil:
			st := step{line: i + 1, client: m[1] == "C", mode: m[3], conn: 1, text: m[4]}
			if m[2] != "" {
				st.conn = int(m[2][0] - '0')
			}
			for strings.HasSuffix(st.text, "{{{") {
				var body strings.Builder
				for i++; i < len(lines) && !strings.HasPrefix(lines[i], "}}}"); i++ {
					body.WriteString(lines[i] + "\r\n")
				}
				st.text = fmt.Sprintf("%s{%d}\r\n%s%s", strings.TrimSuffix(st.text, "{{{"),
					body.Len(), body.String(), strings.TrimPrefix(lines[i], "}}}"))
			}
			s.steps = append(s.steps, st)
		case key == "modes":
			s.modes = strings.Fields(value)
		case key == "login":
			if s.login = value != "no"; !s.login { // compression is for those who are logged in
				s.modes = slices.DeleteFunc(s.modes, func(m string) bool { return m == "deflate" })
			}
		case key == "folders":
			s.folders = true
		case key == "as" || key == "admin":
			conn, name, _ := strings.Cut(value, " ")
			n, _ := strconv.Atoi(conn)
			s.as[n] = name + "@example.test"
			s.admins[s.as[n]] = key == "admin"
		case key == "messages":
			s.messages, _ = strconv.Atoi(value)
		case key == "message-limit":
			s.limit, _ = strconv.Atoi(value)
		default:
			t.Fatalf("%s:%d: %q", file, i+1, line)
		}
	}
	return s
}

type dialogue struct {
	t      *testing.T
	file   string
	mode   string
	script script
	house  *house
	conns  map[int]*wire
	vars   map[string]string
}

// wire is one connection of a dialogue.
type wire struct {
	net.Conn
	r    *bufio.Reader
	skip bool // replies that are not expected
}

func (d *dialogue) run() {
	o := options{measure: d.mode != "tls", twice: d.mode == "rev2"}
	if n := d.script.limit; n > 0 {
		o.limits = func(l *limits.IMAP) { l.CommandMessages = n }
	}
	d.house = build(d.t, o)
	d.conns, d.vars = map[int]*wire{}, map[string]string{}
	made := map[string]bool{testUser: true}
	for _, conn := range slices.Sorted(maps.Keys(d.script.as)) {
		if name := d.script.as[conn]; !made[name] {
			d.house.personIs(name, d.script.admins[name])
			made[name] = true
		}
	}
	if d.script.folders {
		d.house.makeFolders()
	}
	if d.script.messages > 0 {
		d.house.fill("INBOX", 1, d.script.messages)
	}
	for _, st := range d.script.steps {
		if st.mode != "" && st.mode != d.mode && !(st.mode == "rev1" && d.mode != "rev2") {
			continue
		}
		w := d.conns[st.conn]
		if w == nil {
			w = d.connect(st)
			d.conns[st.conn] = w
		}
		switch {
		case st.client:
			d.send(w, st)
		case st.text == "${...}":
			w.skip = true
		default:
			d.expect(w, st)
		}
	}
}

func (d *dialogue) fail(st step, format string, args ...any) {
	d.t.Helper()
	d.t.Fatalf("%s:%d (%s): %s", d.file, st.line, d.mode, fmt.Sprintf(format, args...))
}

func (d *dialogue) connect(st step) *wire {
	var nc net.Conn
	var err error
	if d.mode == "tls" {
		_, cfg := conntest.TLS()
		nc, err = tls.Dial("tcp", d.house.tls, cfg)
	} else {
		nc, err = net.Dial("tcp", d.house.clear)
	}
	if err != nil {
		d.fail(st, "dial: %v", err)
	}
	d.t.Cleanup(func() { nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		d.fail(st, "%v", err)
	}
	w := &wire{Conn: nc, r: bufio.NewReader(nc)}
	if !d.script.login {
		return w
	}
	user := testUser
	if name, ok := d.script.as[st.conn]; ok {
		user = name
	}
	setup := []string{"x1 LOGIN " + user + " " + testPassword}
	if d.mode == "rev2" {
		setup = append(setup, "x2 ENABLE IMAP4rev2")
	}
	d.read(w, st)
	for _, line := range setup {
		fmt.Fprintf(w, "%s\r\n", line)
		tag, _, _ := strings.Cut(line, " ")
		for {
			reply := d.read(w, st)
			if strings.HasPrefix(reply, tag+" OK") {
				break
			}
			if !strings.HasPrefix(reply, "* ") {
				d.fail(st, "set up: %s", reply)
			}
		}
	}
	if d.mode == "deflate" {
		w = w.compress(d.t)
	}
	return w
}

var literalEnd = regexp.MustCompile(`\{(\d+)(\+?)\}\r\n`)

// send writes a command, waiting for the server's request before each synchronising literal.
func (d *dialogue) send(w *wire, st step) {
	text := d.expand(st.text)
	for {
		m := literalEnd.FindStringSubmatchIndex(text)
		if m == nil || text[m[4]:m[5]] == "+" {
			break
		}
		if _, err := io.WriteString(w, text[:m[1]]); err != nil {
			d.fail(st, "send: %v", err)
		}
		if reply := d.read(w, st); !strings.HasPrefix(reply, "+ ") {
			d.fail(st, "got %q, want a request to go on", reply)
		}
		n, _ := strconv.Atoi(text[m[2]:m[3]])
		if _, err := io.WriteString(w, text[m[1]:m[1]+n]); err != nil {
			d.fail(st, "send: %v", err)
		}
		text = text[m[1]+n:]
	}
	if _, err := io.WriteString(w, text+"\r\n"); err != nil {
		d.fail(st, "send: %v", err)
	}
}

// read returns one reply with the literals in it.
func (d *dialogue) read(w *wire, st step) string {
	d.t.Helper()
	var b bytes.Buffer
	for {
		line, err := w.r.ReadString('\n')
		if err == io.EOF && line == "" && b.Len() == 0 {
			return "END"
		}
		if err != nil {
			d.fail(st, "after %q: %v", b.String()+line, err)
		}
		b.WriteString(line)
		m := literalEnd.FindStringSubmatch(line)
		if m == nil || !strings.HasSuffix(line, m[0]) {
			return strings.TrimSuffix(b.String(), "\r\n")
		}
		n, _ := strconv.Atoi(m[1])
		if _, err := io.CopyN(&b, w.r, int64(n)); err != nil {
			d.fail(st, "literal: %v", err)
		}
	}
}

var variable = regexp.MustCompile(`\$\{(\*|\w+)\}`)

// expand puts known variables into a line.
func (d *dialogue) expand(s string) string {
	return variable.ReplaceAllStringFunc(s, func(v string) string {
		if value, ok := d.vars[v[2:len(v)-1]]; ok {
			return value
		}
		return v
	})
}

func (d *dialogue) expect(w *wire, st step) {
	got := d.read(w, st)
	want := d.expand(st.text)
	var names []string
	pattern := "^"
	for rest := want; ; {
		m := variable.FindStringSubmatchIndex(rest)
		if m == nil {
			pattern += regexp.QuoteMeta(rest) + "$"
			break
		}
		pattern += regexp.QuoteMeta(rest[:m[0]])
		if name := rest[m[2]:m[3]]; name == "*" {
			pattern += "(?s:.*)"
		} else if i := slices.Index(names, name); i >= 0 {
			pattern += "[^ ()]+"
		} else {
			names = append(names, name)
			pattern += "([^ ()\\]]+)"
		}
		rest = rest[m[1]:]
	}
	like := regexp.MustCompile(pattern)
	for w.skip && strings.HasPrefix(got, "* ") && !like.MatchString(got) {
		got = d.read(w, st)
	}
	w.skip = false
	found := like.FindStringSubmatch(got)
	if found == nil {
		d.fail(st, "\n got %q\nwant %q", got, want)
	}
	for i, name := range names {
		d.vars[name] = found[i+1]
	}
}
