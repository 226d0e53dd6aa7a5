package unpack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"

	"tram/internal/limits"
)

// PoolOptions say how children are started.
type PoolOptions struct {
	// Command is the program with its arguments that calls Serve: the server's own binary with "decode".
	Command []string
	Limits  limits.Content
}

// Pool runs decoders in child processes: few at once, each for many files, none when there is no work.
type Pool struct {
	o     PoolOptions
	slots chan struct{}

	mu     sync.Mutex
	idle   []*child
	closed bool
}

// Lives of children.
const (
	filesPerChild = 64              // then it is replaced: memory that leaks goes
	idleChild     = 1 * time.Minute // then it ends
)

// errClosed is what a closed pool answers.
var errClosed = errors.New("the pool of decoders is closed")

// child is a process that runs Serve.
type child struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   io.ReadCloser
	files int
	timer *time.Timer // ends it when idle
}

// NewPool returns a pool. No process is started before the first file.
func NewPool(o PoolOptions) *Pool {
	if o.Limits == (limits.Content{}) {
		o.Limits = limits.Default().Content
	}
	return &Pool{o: o, slots: make(chan struct{}, max(o.Limits.Decoders, 1))}
}

// Unpack looks into a file of size bytes in a child process. A child that dies or takes too long is
// reported as Trouble; the error is that of r, of ctx, or of the start of a process.
func (p *Pool) Unpack(ctx context.Context, name string, r io.Reader, size int64) (Result, error) {
	if size > p.o.Limits.FileBytes {
		return Result{Marks: Bomb, Trouble: fmt.Sprintf("larger than %d MiB", p.o.Limits.FileBytes>>20)}, nil
	}
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return Result{}, fmt.Errorf("wait for a decoder: %w", ctx.Err())
	}
	ctx, cancel := context.WithTimeout(ctx, p.o.Limits.DecodeTime)
	defer cancel()
	if !children {
		return p.here(ctx, name, r, size)
	}
	c, err := p.take()
	if err != nil {
		return Result{}, err
	}
	res, err := p.ask(ctx, c, request{Name: clean(name, 1000), Size: size, Limits: p.o.Limits}, r)
	if err != nil || res.Trouble != "" || c.files >= filesPerChild {
		c.end()
	} else {
		p.give(c)
	}
	return res, err
}

// here does the work in this process.
func (p *Pool) here(ctx context.Context, name string, r io.Reader, size int64) (Result, error) {
	b := make([]byte, size)
	if _, err := io.ReadFull(r, b); err != nil {
		return Result{}, fmt.Errorf("read attachment: %w", err)
	}
	return File(ctx, name, b, p.o.Limits), nil
}

// ask sends a file to a child and reads its answer. Whatever goes wrong with the child is Trouble.
func (p *Pool) ask(ctx context.Context, c *child, q request, r io.Reader) (Result, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.cmd.Process.Kill() })
	defer stop()
	c.files++
	src := &failing{r: io.LimitReader(r, q.Size)}
	var res Result
	err := writeFrame(c.in, q)
	if err == nil {
		var n int64
		n, err = io.Copy(c.in, src)
		if err == nil && n < q.Size {
			return Result{}, fmt.Errorf("read attachment: %w", io.ErrUnexpectedEOF)
		}
	}
	if src.err != nil {
		return Result{}, fmt.Errorf("read attachment: %w", src.err)
	}
	if err == nil {
		err = readFrame(c.out, longestAnswer, &res)
	}
	switch {
	case err == nil:
		return p.checked(res), nil
	case errors.Is(ctx.Err(), context.Canceled):
		return Result{}, fmt.Errorf("unpack: %w", ctx.Err())
	case ctx.Err() != nil:
		return Result{Marks: Bomb, Trouble: "it took too long"}, nil
	}
	return Result{Marks: Bomb, Trouble: "it took more memory or time than it may"}, nil
}

// checked is an answer within the limits, whoever made it: the child may be no longer itself.
func (p *Pool) checked(res Result) Result {
	l := p.o.Limits
	res.Entries = res.Entries[:min(len(res.Entries), l.Entries)]
	for i := range res.Entries {
		e := &res.Entries[i]
		e.Path, e.Type = join("", e.Path), Type(clean(string(e.Type), 20))
	}
	// A byte that is no UTF-8 has become three.
	res.Text = strings.ToValidUTF8(res.Text[:min(len(res.Text), 3*l.Text)], "")
	res.Type, res.Trouble = Type(clean(string(res.Type), 20)), clean(res.Trouble, 200)
	return res
}

// failing remembers the error of its source, to tell it from the destination's.
type failing struct {
	r   io.Reader
	err error
}

// Read implements io.Reader.
func (f *failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}

// take finds a child that waits, or starts one.
func (p *Pool) take() (*child, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errClosed
	}
	for n := len(p.idle); n > 0; n = len(p.idle) {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		if c.timer.Stop() {
			return c, nil
		}
		c.end()
	}
	return p.start()
}

// start starts a child. It gets no environment but what keeps it small.
func (p *Pool) start() (*child, error) {
	cmd := exec.Command(p.o.Command[0], p.o.Command[1:]...)
	cmd.Args[0] = "tram" // as people see it in a list of processes
	cmd.Env, cmd.Dir = []string{"GOTRACEBACK=none", "GOMAXPROCS=2"}, "/"
	apart(cmd)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start decoder: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start decoder: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start decoder: %w", err)
	}
	return &child{cmd: cmd, in: in, out: out}, nil
}

// give keeps a child for the next file.
func (p *Pool) give(c *child) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		c.end()
		return
	}
	c.timer = time.AfterFunc(idleChild, func() { p.expire(c) })
	p.idle = append(p.idle, c)
}

// expire ends a child that has waited long enough, if it still waits.
func (p *Pool) expire(c *child) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, other := range p.idle {
		if other == c {
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			c.end()
			return
		}
	}
}

// end ends a child.
func (c *child) end() {
	_ = c.in.Close()
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait() // its exit code says nothing: it was killed
}

// Close ends all children that wait. Those at work end with their work.
func (p *Pool) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.idle {
		c.timer.Stop()
		c.end()
	}
	p.idle = nil
	return nil
}
