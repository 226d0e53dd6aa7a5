package unpack

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"tram/internal/limits"
)

// Parent and child speak in frames: a length of four bytes, the most significant first, and as many bytes of
// JSON. A request's frame is followed by the file itself.

// request asks for a look at a file of Size bytes, which follow.
type request struct {
	Name   string
	Size   int64
	Limits limits.Content
}

// longestRequest and longestAnswer bound a frame. An answer of that size has more names than the limits of
// any server allow.
const (
	longestRequest = 64 << 10
	longestAnswer  = 64 << 20
)

// errFrame is a frame that cannot be one.
var errFrame = errors.New("not a frame")

// writeFrame writes v.
func writeFrame(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	frame := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(b)), uint32(len(b)))
	if _, err := w.Write(append(frame, b...)); err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	return nil
}

// readFrame reads a frame of at most most bytes into v.
func readFrame(r io.Reader, most int, v any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return fmt.Errorf("read frame: %w", err)
	}
	n := int(binary.BigEndian.Uint32(head[:]))
	if n > most {
		return fmt.Errorf("read frame of %d bytes: %w", n, errFrame)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return fmt.Errorf("read frame: %w", err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read frame: %w", err)
	}
	return nil
}

// Serve is what a child of a Pool does: it answers requests until in ends. Before the first byte of a file
// it gives up, where the system allows it, the right to open files and connections and all memory and time
// beyond the limits: it must be called by a process that does nothing else.
func Serve(in io.Reader, out io.Writer) error {
	return serve(in, out, func(l limits.Content) (func() error, error) { return confine(l) })
}

// serve is Serve with the confinement to be used.
func serve(in io.Reader, out io.Writer, confine func(limits.Content) (func() error, error)) error {
	r := bufio.NewReaderSize(in, 64<<10)
	var renew func() error
	for {
		var q request
		err := readFrame(r, longestRequest, &q)
		if errors.Is(err, io.EOF) {
			return nil // the parent needs no more
		}
		if err != nil {
			return err
		}
		if renew == nil {
			if renew, err = confine(q.Limits); err != nil {
				return err
			}
		}
		if err := renew(); err != nil {
			return err
		}
		if q.Size < 0 || q.Size > q.Limits.FileBytes {
			return fmt.Errorf("file of %d bytes: %w", q.Size, errFrame)
		}
		b := make([]byte, q.Size)
		if _, err := io.ReadFull(r, b); err != nil {
			return fmt.Errorf("read file: %w", err)
		}
		if err := writeFrame(out, File(context.Background(), q.Name, b, q.Limits)); err != nil {
			return err
		}
	}
}
