package learn

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// maxTaught is the largest message that is learned from a file: the classifier reads only its
// beginning.
const maxTaught = 8 << 20

// ErrTooLong is returned for a file with a line or a message that is longer than any mail.
var ErrTooLong = errors.New("file is not a message or a mailbox")

// Messages calls fn for each message of a file. One that begins with a line "From " is a mailbox; any
// other is one message. Line ends become CR LF, as in stored mail.
func Messages(in io.Reader, fn func(raw []byte) error) error {
	lines := bufio.NewReaderSize(in, 64<<10)
	var buf bytes.Buffer
	mbox, blank := false, true
	emit := func() error {
		if buf.Len() == 0 {
			return nil
		}
		err := fn(bytes.Clone(buf.Bytes()))
		buf.Reset()
		return err
	}
	for first := true; ; first = false {
		line, err := lines.ReadBytes('\n')
		if len(line) > maxTaught {
			return ErrTooLong
		}
		switch {
		case len(line) == 0:
		case bytes.HasPrefix(line, []byte("From ")) && (first || mbox && blank):
			mbox = true
			if err := emit(); err != nil {
				return err
			}
		case buf.Len()+len(line) <= maxTaught:
			text := bytes.TrimRight(line, "\r\n")
			if mbox && bytes.HasPrefix(bytes.TrimLeft(text, ">"), []byte("From ")) && text[0] == '>' {
				text = text[1:] // as mboxrd quotes it
			}
			buf.Write(text)
			buf.WriteString("\r\n")
		}
		blank = len(bytes.TrimRight(line, "\r\n")) == 0
		if errors.Is(err, io.EOF) {
			return emit()
		}
		if err != nil {
			return fmt.Errorf("read file: %w", err)
		}
	}
}

func readerAt(b []byte) io.ReaderAt { return bytes.NewReader(b) }

// hashID names a message that is not stored here: learning it twice changes nothing.
func hashID(raw []byte) string {
	sum := sha256.Sum256(raw)
	return "file-" + hex.EncodeToString(sum[:12])
}
