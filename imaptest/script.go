package imaptest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// State is where a script begins.
type State int

// The states, each after the one before.
const (
	NotAuthenticated State = iota
	Authenticated          // and no mailbox of the script's exists
	Created                // the mailbox exists
	Appended               // and the messages are in it
	Selected               // and every connection has it open
)

var states = []string{"nonauth", "auth", "created", "appended", "selected"}

// Script is one that was read.
type Script struct {
	Name         string
	Capabilities []string // that the server must have
	Connections  int
	State        State
	Others       []int // the connections that are another person's

	messages int  // to append before it begins, -1: all
	strict   bool // each untagged reply must be listed
	steps    []*step
	mbox     []Message
}

// step is a command, or several that are sent at once, and what the server must answer.
type step struct {
	line     int
	conn     int // from 0
	commands []*command
	untagged []expected
}

type command struct {
	tag      string // the script's own, "" without pipelining
	text     string
	answered bool // the script has said what the answer is
	reply    []arg
}

type presence int

const (
	must presence = iota
	mustNot
	may
)

type expected struct {
	presence presence
	args     []arg
}

// literalStart is how a literal begins in the text of a command or reply.
var literalStart = regexp.MustCompile(`^~?\{(\d+)\+?\}\r\n`)

// Read reads the script at path, and the messages beside it.
func Read(path string) (*Script, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read script: %w", err)
	}
	s, err := parse(string(b))
	if err != nil {
		return nil, fmt.Errorf("read script %s: %w", path, err)
	}
	s.Name = filepath.Base(path)
	if s.mbox, err = readMbox(path); err != nil {
		return nil, err
	}
	return s, nil
}

// line is one of a script, with the literals that begin on it.
type line struct {
	number int
	text   string
}

// parse reads the text of a script.
func parse(text string) (*Script, error) {
	s := &Script{Connections: 1, State: Selected, messages: -1}
	lines, headers, err := join(strings.Split(strings.TrimSuffix(text, "\n"), "\n"))
	if err != nil {
		return nil, err
	}
	for i, l := range lines {
		if i < headers {
			err = s.header(l.text)
		} else {
			err = s.line(l)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", l.number, err)
		}
	}
	if len(s.steps) == 0 {
		return nil, errors.New("no command")
	}
	for _, st := range s.steps {
		if st.open() {
			return nil, fmt.Errorf("line %d: a command without its answer", st.line)
		}
	}
	return s, nil
}

// join puts literals into the lines they belong to, drops comments and empty lines, and counts the
// lines of the header.
func join(raw []string) (lines []line, headers int, err error) {
	header := true
	for i := 0; i < len(raw); i++ {
		l := line{i + 1, raw[i]}
		if l.text == "" {
			header = false
		}
		if l.text == "" || l.text[0] == '#' {
			continue
		}
		for strings.HasSuffix(l.text, "{{{") {
			end := i + 1
			for end < len(raw) && !strings.HasPrefix(raw[end], "}}}") {
				end++
			}
			if end == len(raw) {
				return nil, 0, fmt.Errorf("line %d: a literal without its }}}", l.number)
			}
			l.text = strings.TrimSuffix(l.text, "{{{") + block(raw[i+1:end],
				strings.HasSuffix(l.text, "~{{{")) + strings.TrimPrefix(raw[end], "}}}")
			i = end
		}
		if header {
			headers++
		}
		lines = append(lines, l)
	}
	return lines, headers, nil
}

// block is a literal as it is sent.
func block(lines []string, binary bool) string {
	text := strings.Join(lines, "\n")
	if !binary {
		text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n")
	}
	return fmt.Sprintf("{%d}\r\n%s", len(text), text)
}

func (s *Script) header(text string) error {
	key, value, ok := strings.Cut(text, ":")
	if !ok {
		return fmt.Errorf("not a header: %q", text)
	}
	key, value = strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value)
	var err error
	switch {
	case key == "capabilities":
		s.Capabilities = strings.Fields(strings.ToUpper(value))
	case key == "connections":
		s.Connections, err = strconv.Atoi(value)
	case key == "messages" && value == "all":
		s.messages = -1
	case key == "messages":
		s.messages, err = strconv.Atoi(value)
	case key == "ignore_extra_untagged":
		s.strict = value == "no"
	case key == "state":
		i := slices.Index(states, strings.ToLower(value))
		if i < 0 {
			return fmt.Errorf("no such state: %q", value)
		}
		s.State = State(i)
	case strings.HasPrefix(key, "user "):
		var n int
		n, err = strconv.Atoi(strings.TrimPrefix(key, "user "))
		s.Others = append(s.Others, n-1)
	default:
		return fmt.Errorf("unknown header %q", key)
	}
	return err
}

// line reads a line behind the header.
func (s *Script) line(l line) error {
	var last *step
	if len(s.steps) > 0 {
		last = s.steps[len(s.steps)-1]
	}
	if i := strings.Index("*!?", l.text[:1]); i >= 0 && strings.HasPrefix(l.text[1:], " ") {
		if last == nil {
			return errors.New("an untagged reply before the first command")
		}
		args, err := parseArgs(l.text[2:])
		last.untagged = append(last.untagged, expected{presence(i), directed(args)})
		return err
	}
	conn, text := 0, l.text
	if s.Connections > 1 {
		number, rest, _ := strings.Cut(l.text, " ")
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 || n > s.Connections {
			return fmt.Errorf("no connection %q", number)
		}
		conn, text = n-1, rest
	}
	tag, text := cutTag(text)
	reply, command, err := cutReply(text)
	if err != nil {
		return err
	}
	if last != nil && last.open() && reply != nil {
		if c := last.find(tag); c != nil && !c.answered && last.conn == conn {
			// The whole of the line is the answer to a command above.
			c.answered = true
			c.reply, err = parseArgs(text)
			return err
		}
	}
	return s.command(l.number, conn, tag, command, reply)
}

// command adds one. One with a tag joins those above it that have no answer yet.
func (s *Script) command(number, conn int, tag, text string, reply []arg) error {
	c := &command{tag: tag, text: text, answered: reply != nil, reply: reply}
	if n := len(s.steps); n > 0 && s.steps[n-1].open() {
		last := s.steps[n-1]
		if tag == "" || last.conn != conn || last.find(tag) != nil {
			return errors.New("the command above has no answer yet")
		}
		last.commands = append(last.commands, c)
		return nil
	}
	s.steps = append(s.steps, &step{line: number, conn: conn, commands: []*command{c}})
	return nil
}

var tagged = regexp.MustCompile(`^(?i)(tag\d+) (.*)$`)

// cutTag takes the tag of a script's own from a command.
func cutTag(text string) (tag, rest string) {
	if m := tagged.FindStringSubmatch(text); m != nil {
		return m[1], text[len(m[1])+1:]
	}
	return "", text
}

// cutReply takes the answer that a line begins with; nil when it begins with none, an empty one for
// "", which stands for any.
func cutReply(text string) (reply []arg, rest string, err error) {
	word, rest, _ := strings.Cut(text, " ")
	switch strings.ToLower(word) {
	case "ok", "no", "bad":
		return []arg{{text: word}}, rest, nil
	case `""`:
		return []arg{}, rest, nil
	}
	return nil, text, nil
}

// open reports whether the script has yet to say what the server answers.
func (st *step) open() bool {
	return slices.ContainsFunc(st.commands, func(c *command) bool { return !c.answered })
}

func (st *step) find(tag string) *command {
	for _, c := range st.commands {
		if strings.EqualFold(c.tag, tag) {
			return c
		}
	}
	return nil
}
