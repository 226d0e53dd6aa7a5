package dkim

import (
	"cmp"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"tram/internal/message"
)

// Key signs for a domain.
type Key struct {
	Domain, Selector string // A-labels
	Signer           crypto.Signer
}

// Algorithm is a= of its signatures.
func (k Key) Algorithm() (string, error) {
	switch k.Signer.Public().(type) {
	case ed25519.PublicKey:
		return Ed25519SHA256, nil
	case *rsa.PublicKey:
		return RSASHA256, nil
	}
	return "", errors.New("a key of this kind cannot sign mail")
}

// SignSum signs a SHA-256 as the algorithm wants it.
func (k Key) SignSum(sum []byte) ([]byte, error) {
	if _, ok := k.Signer.Public().(ed25519.PublicKey); ok {
		return k.Signer.Sign(nil, sum, crypto.Hash(0)) // RFC 8463 §3: PureEdDSA of the hash
	}
	return k.Signer.Sign(rand.Reader, sum, crypto.SHA256)
}

// Lifetime is how long our signatures hold: a message that is sent on by somebody else after that
// is his alone. It covers the days a message may wait in queues.
const Lifetime = 7 * 24 * time.Hour

// SignOptions say how.
type SignOptions struct {
	Now      time.Time
	Lifetime time.Duration // x= minus t=; Lifetime when 0
	Identity string        // i=; left out when ""
}

// oversigned are signed once more often than they are there: whoever adds one breaks the signature.
// RFC 6376 §5.4.1 says which matter; §8.15 why the number is signed.
var oversigned = []string{
	"from", "to", "cc", "subject", "date", "message-id", "reply-to", "in-reply-to", "references",
	"mime-version", "content-type", "content-transfer-encoding",
}

// listFields are treated so when they are there; a list that the message is sent to adds its own
// (RFC 8058 §4 wants the first two signed).
var listFields = []string{
	"list-unsubscribe", "list-unsubscribe-post", "list-id", "list-help", "list-subscribe",
	"list-post", "list-owner", "list-archive",
}

// Sign makes the DKIM-Signature field, with its line end, for a message: header is its header block
// without the blank line, bodyHash the Sum of Add(true, -1). The field belongs on top of the header.
func Sign(header, bodyHash []byte, k Key, o SignOptions) (string, error) {
	h := NewHeader(header)
	return h.Sign(bodyHash, k, o)
}

// Sign is the function of that name for a header that was read before: several keys sign it.
func (h *Header) Sign(bodyHash []byte, k Key, o SignOptions) (string, error) {
	algorithm, err := k.Algorithm()
	if err != nil {
		return "", err
	}
	if h.Count("from") == 0 {
		return "", errors.New("sign message: it has no From field")
	}
	var names []string
	for _, list := range [][]string{oversigned, listFields} {
		for _, name := range list {
			n := h.Count(name)
			if n == 0 && &list[0] == &listFields[0] {
				continue
			}
			for range n + 1 {
				names = append(names, name)
			}
		}
	}
	now := o.Now.Unix()
	var w Folder
	w.Begin(FieldName)
	w.Tag("v", "1")
	w.Tag("a", algorithm)
	w.Tag("c", "relaxed/relaxed")
	w.Tag("d", k.Domain)
	w.Tag("s", k.Selector)
	if o.Identity != "" {
		w.Tag("i", o.Identity)
	}
	w.Tag("t", strconv.FormatInt(now, 10))
	w.Tag("x", strconv.FormatInt(now+int64(cmp.Or(o.Lifetime, Lifetime)/time.Second), 10))
	w.List("h", names)
	w.Tag("bh", base64.StdEncoding.EncodeToString(bodyHash))
	w.Signature()
	return h.Complete(&w, names, nil, k)
}

// Complete signs what before holds, the fields called names, and the field that w holds, whose b= gets
// the signature. before is what an ARC seal signs.
func (h *Header) Complete(w *Folder, names []string, before []byte, k Key) (string, error) {
	buf := append(make([]byte, 0, 4096), before...)
	h.begin()
	for _, name := range names {
		if f, ok := h.take([]byte(name)); ok {
			buf = AppendField(buf, f, true)
		}
	}
	own := w.String()
	buf = appendBare(buf, []byte(own), strings.IndexByte(own, ':'), true)
	sum := sha256.Sum256(buf)
	signature, err := k.SignSum(sum[:])
	if err != nil {
		return "", fmt.Errorf("sign with key %s of %s: %w", k.Selector, k.Domain, err)
	}
	return w.signed(base64.StdEncoding.EncodeToString(signature)) + "\r\n", nil
}

// Folder writes a tag list as a field, folded.
type Folder struct {
	// Whole leaves the signature on one line.
	Whole bool

	b      []byte
	column int
	first  bool
	at     int // where the value of b= goes, and at which column
	atCol  int
}

// lineLength is where lines are folded, RFC 5322 §2.1.1.
const lineLength = 76

// Begin writes the field's name.
func (w *Folder) Begin(name string) {
	w.b = append(w.b, name...)
	w.b = append(w.b, ':')
	w.column, w.first = len(name)+1, true
}

// Tag writes a tag, on a new line if this one is full.
func (w *Folder) Tag(name, value string) {
	w.next(len(name) + 1 + len(value))
	w.put(name)
	w.put("=")
	w.put(value)
}

// Signature writes an empty b=, whose value Complete makes.
func (w *Folder) Signature() {
	w.Tag("b", "")
	w.at, w.atCol = len(w.b), w.column
	w.column = lineLength // how the line ends is not known yet: what follows begins a new one
}

// next ends the tag before one of n octets.
func (w *Folder) next(n int) {
	if !w.first {
		w.put(";")
	}
	w.first = false
	if w.column+1+n+1 > lineLength {
		w.fold()
		return
	}
	w.put(" ")
}

// List writes a tag whose value is a list of names; it is folded within only where it must be.
func (w *Folder) List(name string, values []string) {
	if len(values) == 0 {
		w.Tag(name, "")
		return
	}
	if all := strings.Join(values, ":"); len(name)+len(all) < lineLength-10 {
		w.Tag(name, all)
		return
	}
	w.Tag(name, values[0])
	for _, v := range values[1:] {
		w.put(":")
		if w.column+len(v)+1 > lineLength {
			w.fold()
		}
		w.put(v)
	}
}

func (w *Folder) fold() {
	w.b = append(w.b, "\r\n\t"...)
	w.column = 8
}

func (w *Folder) put(s string) {
	w.b = append(w.b, s...)
	w.column += len(s)
}

// String is the field so far, without its line end.
func (w *Folder) String() string { return string(w.b) }

// signed is the field with a value in b=, which may be folded anywhere.
func (w *Folder) signed(value string) string {
	out := Folder{b: append(make([]byte, 0, len(w.b)+len(value)+32), w.b[:w.at]...), column: w.atCol}
	for len(value) > 0 && !w.Whole {
		n := min(len(value), lineLength-out.column)
		if n <= 0 {
			out.fold()
			continue
		}
		out.put(value[:n])
		value = value[n:]
	}
	out.put(value)
	return string(append(out.b, w.b[w.at:]...))
}

// ReadField reads a field that was written by a Folder.
func ReadField(field string) message.Field {
	for f := range message.Header([]byte(field)) {
		return f
	}
	return message.Field{}
}
