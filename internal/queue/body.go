package queue

import (
	"bytes"
	"context"
	"errors"
	"io"

	"tram/internal/blob"
	"tram/internal/message"
)

// original is an item's message as others get it: what is stored, from behind the Return-Path field
// that is on top for people of this house. RFC 5321 §4.4: that field is made by final delivery, and
// what is relayed or returned has none. Nothing is copied: reading begins behind the field, and
// offsets and Size count from there.
type original struct {
	*blob.Reader // stands behind the field: Read and WriteTo go on there
	skip         int64
}

// maxReturnPath is longer than any Return-Path field that was put there (smtp.MaxPath).
const maxReturnPath = 1024

// original opens an item's message. Close must be called; an error says that it cannot be read.
func (q *Queue) original(ctx context.Context, ref blob.Ref) (*original, error) {
	r := q.o.Blobs.Open(ctx, ref)
	head := make([]byte, maxReturnPath)
	n, err := r.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		r.Close()
		return nil, err
	}
	skip := returnPath(head[:n])
	// The field is read, not jumped over, so that the checksum of the whole is watched just the same.
	if _, err := io.ReadFull(r, head[:skip]); err != nil {
		r.Close()
		return nil, err
	}
	return &original{r, int64(skip)}, nil
}

// returnPath returns how long the Return-Path field is that a message begins with; 0 for none.
func returnPath(head []byte) int {
	const name = "return-path"
	if len(head) <= len(name) || !bytes.EqualFold(head[:len(name)], []byte(name)) ||
		!bytes.HasPrefix(bytes.TrimLeft(head[len(name):], " \t"), []byte(":")) {
		return 0
	}
	end := 0
	for {
		i := bytes.IndexByte(head[end:], '\n')
		if i < 0 {
			return 0 // too long to be one
		}
		end += i + 1
		if end == len(head) || head[end] != ' ' && head[end] != '\t' {
			return end
		}
	}
}

// ReadAt implements io.ReaderAt.
func (o *original) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("negative offset")
	}
	return o.Reader.ReadAt(p, off+o.skip)
}

// Size is the message's length in octets.
func (o *original) Size() int64 { return o.Reader.Size() - o.skip }

// parseOriginal parses an item's message as others get it.
func (q *Queue) parseOriginal(ctx context.Context, ref blob.Ref) (*message.Message, error) {
	r, err := q.original(ctx, ref)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return q.parse(r)
}

func (q *Queue) parse(r io.WriterTo) (*message.Message, error) {
	p := message.NewParser(q.o.Message)
	if _, err := r.WriteTo(p); err != nil {
		return nil, err
	}
	return p.Finish(), nil
}
