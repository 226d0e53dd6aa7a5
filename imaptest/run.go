package imaptest

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"
)

// Options say where a script runs.
type Options struct {
	// Dial opens a connection to the server.
	Dial func() (net.Conn, error)
	// Users and Passwords hold the person of the script and, behind it, the other one.
	Users, Passwords [2]string
	// Mailbox is $mailbox: one that the person does not have.
	Mailbox string
	// Patience bounds the wait for each reply.
	Patience time.Duration
	// Compress has every connection compressed after its log-in.
	Compress bool
}

// Failure is a place of a script at which the server answered otherwise.
type Failure struct {
	Line int
	Err  error
}

// Result is what came of a script.
type Result struct {
	Steps    int      // that were run
	Missing  []string // capabilities that the script needs and the server has not: nothing was run
	Failures []Failure
}

type runner struct {
	*Script
	o     Options
	wires []*wire
	m     matcher
	next  int // message of the mbox file
}

// Run runs the script. The error is one of setting up; what the server did wrong is in the result.
func (s *Script) Run(o Options) (Result, error) {
	r := &runner{Script: s, o: o, m: matcher{vars: map[string]string{
		"mailbox": o.Mailbox, "mailbox_url": o.Mailbox,
	}}}
	defer r.close()
	for i := range s.Connections {
		if err := r.connect(i); err != nil {
			return Result{}, fmt.Errorf("connection %d: %w", i+1, err)
		}
	}
	missing, err := r.missing()
	if err != nil || len(missing) > 0 {
		return Result{Missing: missing}, err
	}
	if err := r.prepare(); err != nil {
		return Result{}, fmt.Errorf("prepare: %w", err)
	}
	var result Result
	for _, st := range s.steps {
		result.Steps++
		if err := r.step(st); err != nil {
			result.Failures = append(result.Failures, Failure{st.line, err})
		}
	}
	return result, nil
}

func (r *runner) close() {
	for _, w := range r.wires {
		w.Close()
	}
}

// connect opens connection i, from 0, and logs in where the script wants that.
func (r *runner) connect(i int) error {
	nc, err := r.o.Dial()
	if err != nil {
		return err
	}
	w := newWire(nc, i, r.o.Patience)
	r.wires = append(r.wires, w)
	if _, err := w.read(); err != nil {
		return err
	}
	person := 0
	if slices.Contains(r.Others, i) {
		person = 1
	}
	user := r.o.Users[person]
	name, domain, _ := strings.Cut(user, "@")
	suffix := ""
	if i > 0 {
		suffix = fmt.Sprint(i + 1)
	}
	r.m.vars["user"+suffix], r.m.vars["username"+suffix] = user, name
	r.m.vars["domain"+suffix], r.m.vars["password"+suffix] = domain, r.o.Passwords[person]
	if r.State == NotAuthenticated {
		return nil
	}
	if _, err = w.do(fmt.Sprintf("LOGIN %q %q", user, r.o.Passwords[person])); err != nil {
		return err
	}
	if r.o.Compress {
		return w.compress()
	}
	return nil
}

// missing lists the capabilities that the script needs and the server does not have.
func (r *runner) missing() ([]string, error) {
	replies, err := r.wires[0].do("CAPABILITY")
	if err != nil {
		return nil, err
	}
	var has, missing []string
	for _, reply := range replies {
		if rest, ok := strings.CutPrefix(strings.ToUpper(reply), "* CAPABILITY "); ok {
			has = strings.Fields(rest)
		}
	}
	for _, c := range r.Capabilities {
		if !slices.Contains(has, c) {
			missing = append(missing, c)
		}
	}
	return missing, nil
}

// prepare brings every connection into the state that the script begins in.
func (r *runner) prepare() error {
	first := r.wires[0]
	if r.State >= Created {
		if _, err := first.do(fmt.Sprintf("CREATE %q", r.o.Mailbox)); err != nil {
			return err
		}
	}
	if r.State >= Appended {
		n := r.messages
		if n < 0 {
			n = len(r.mbox)
		}
		for range n {
			text, err := r.own("")
			if err != nil {
				return err
			}
			if _, err := first.do(text); err != nil {
				return err
			}
		}
	}
	if r.State >= Selected {
		for _, w := range r.wires {
			if _, err := w.do(fmt.Sprintf("SELECT %q", r.o.Mailbox)); err != nil {
				return err
			}
		}
	}
	return nil
}

// own is an APPEND of the next message of the mbox file, which begins again after its end. Without
// arguments it goes to the script's mailbox with the date of its From line.
func (r *runner) own(args string) (string, error) {
	if len(r.mbox) == 0 {
		return "", fmt.Errorf("no mbox file beside the script %s", r.Name)
	}
	msg := r.mbox[r.next%len(r.mbox)]
	r.next++
	if args == "" {
		args = fmt.Sprintf(`"%s" "%s"`, r.o.Mailbox, msg.Received.Format("_2-Jan-2006 15:04:05 -0700"))
	}
	return fmt.Sprintf("APPEND %s {%d}\r\n%s", args, len(msg.Text), msg.Text), nil
}

// running is a step under way.
type running struct {
	*runner
	*step
	w     *wire
	tags  []string // of its commands
	open  int      // commands that wait for their answer
	found []bool   // by expected reply
	err   error    // the first thing that was wrong
	seen  []string // what came, for the report
}

// step runs one step and compares what the server answers.
func (r *runner) step(st *step) error {
	run := &running{runner: r, step: st, w: r.wires[st.conn], open: len(st.commands)}
	run.found = make([]bool, len(st.untagged))
	r.m.where = make([]int, run.w.count)
	for i := range r.m.where {
		r.m.where[i] = i + 1
	}
	if err := run.send(); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	for run.open > 0 {
		reply, err := run.w.read()
		if (err == io.EOF || err == io.ErrUnexpectedEOF) && run.saidBye() {
			break // the answer may be lost with the connection
		}
		if err != nil {
			return fmt.Errorf("%w; before that came\n%s", err, strings.Join(run.seen, "\n"))
		}
		run.told(reply)
	}
	return run.verdict()
}

// send writes the commands of the step. They go out at once where they are several.
func (run *running) send() error {
	for _, c := range run.commands {
		tag := run.w.tag()
		run.tags = append(run.tags, tag)
		text, err := run.expand(c.text)
		if err != nil {
			return err
		}
		args, isAppend := cutFold(text, "append")
		if isAppend && !strings.Contains(args, "}\r\n") && !strings.Contains(strings.ToLower(args), " catenate ") {
			if text, err = run.own(strings.TrimSpace(args)); err != nil {
				return err
			}
		}
		if err := run.w.write(tag+" "+text, run.told); err != nil {
			return err
		}
	}
	return nil
}

// cutFold is strings.CutPrefix for a whole word of any case.
func cutFold(s, word string) (string, bool) {
	first, rest, _ := strings.Cut(s, " ")
	return rest, strings.EqualFold(first, word)
}

// expand puts the values of variables into a command.
func (r *runner) expand(s string) (string, error) {
	var b strings.Builder
	for s != "" {
		name, rest, ok := cutVariable(s)
		if !ok {
			b.WriteByte(rest[0])
			s = rest[1:]
			continue
		}
		value, known := r.m.value(name)
		if !known {
			return "", fmt.Errorf("the variable %q has no value yet", name)
		}
		b.WriteString(value)
		s = rest
	}
	return b.String(), nil
}

// told takes one reply. It says false for the last one that is waited for.
func (run *running) told(reply string) bool {
	run.seen = append(run.seen, reply)
	tag, rest, _ := strings.Cut(reply, " ")
	args, err := parseReply(rest)
	if err != nil {
		run.fail("broken reply: %v", err)
		return run.open > 0
	}
	run.m.vars["tag"] = run.tags[0]
	defer delete(run.m.vars, "tag")
	if tag == "*" {
		run.untaggedReply(args)
		if gone := run.w.note(reply); gone > 0 {
			run.removed(gone)
		}
		return true
	}
	i := slices.Index(run.tags, tag)
	if i < 0 {
		run.fail("unknown tag: %q", reply)
		return true
	}
	run.open--
	if want := run.commands[i].reply; len(want) > 0 && !run.m.fits(want, args, true) {
		run.fail("answered %q, want %s", reply, format(want))
	}
	return run.open > 0
}

func (run *running) untaggedReply(args []arg) {
	known := false
	prefix := len(args) > 0 && isStatus(args[0].text)
	for i, e := range run.untagged {
		if run.found[i] || !run.m.fits(e.args, args, prefix) {
			continue
		}
		run.found[i], known = true, true
		if e.presence == mustNot {
			run.fail("%s came, which must not", format(args))
		}
	}
	if run.strict && !known {
		run.fail("%s came, which is not listed", format(args))
	}
}

// removed renumbers: message n is gone, and those behind it come forward.
func (run *running) removed(n int) {
	for i, at := range run.m.where {
		if at == n {
			run.m.where[i] = 0
		} else if at > n {
			run.m.where[i]--
		}
	}
}

func (run *running) saidBye() bool {
	return slices.ContainsFunc(run.untagged, func(e expected) bool {
		return len(e.args) > 0 && e.presence == must && strings.EqualFold(e.args[0].text, "bye")
	})
}

func (run *running) fail(format string, args ...any) {
	if run.err == nil {
		run.err = fmt.Errorf(format, args...)
	}
}

func (run *running) verdict() error {
	for i, e := range run.untagged {
		if e.presence == must && !run.found[i] {
			run.fail("nothing like: * %s", format(e.args))
		}
	}
	if run.err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w; it answered\n%s", run.commands[0].text, run.err, strings.Join(run.seen, "\n"))
}
