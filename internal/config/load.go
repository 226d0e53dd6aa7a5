package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Error is what is wrong with a configuration, and where.
type Error struct {
	File   string
	Line   int // from 1; 0 when the fault is not in one place
	Column int // from 1, in bytes
	Key    string
	Reason string
}

// Error says it in one sentence that begins like a compiler's message.
func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File + ":")
	}
	if e.Line > 0 {
		fmt.Fprintf(&b, "%d:%d:", e.Line, e.Column)
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	return b.String() + e.Reason
}

// Load reads and checks the file at path. Everything wrong with the content is an *Error, several
// are joined.
func Load(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(path, data)
}

// Parse is Load for content that was read from path.
func Parse(path string, data []byte) (*Config, error) {
	c := Default()
	c.File = path
	d := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return nil, decodeErrors(path, err)
	}
	v := validator{c: &c, at: positions(data)}
	v.run()
	if len(v.errs) > 0 {
		return nil, errors.Join(v.errs...)
	}
	c.absolute()
	return &c, nil
}

// decodeErrors turns what go-toml reports into ours, with the key that was probably meant.
func decodeErrors(path string, err error) error {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) {
		var errs []error
		for i := range strict.Errors {
			e := &strict.Errors[i]
			errs = append(errs, decodeError(path, e, unknown(strings.Join(e.Key(), "."))))
		}
		return errors.Join(errs...)
	}
	var one *toml.DecodeError
	if errors.As(err, &one) {
		return decodeError(path, one, plain(one))
	}
	return &Error{File: path, Reason: strings.TrimPrefix(err.Error(), "toml: ")}
}

func decodeError(path string, e *toml.DecodeError, reason string) *Error {
	line, column := e.Position()
	return &Error{File: path, Line: line, Column: column,
		Key: strings.Join(e.Key(), "."), Reason: reason}
}

// plain takes the Go out of go-toml's messages: an operator knows no struct fields.
func plain(e *toml.DecodeError) string {
	reason := strings.TrimPrefix(e.Error(), "toml: ")
	key := strings.Join(e.Key(), ".")
	if i := strings.Index(reason, " into struct field "); i >= 0 {
		kind := strings.TrimPrefix(reason[:i], "cannot decode ")
		return fmt.Sprintf("%s: %s does not fit here", key, kind)
	}
	if key != "" {
		return key + ": " + reason
	}
	return reason
}

func unknown(key string) string {
	reason := fmt.Sprintf("unknown key %q", key)
	if near := nearest(key, keys()); near != "" {
		reason += fmt.Sprintf(", did you mean %q?", near)
	}
	return reason
}

// absolute makes relative paths start at the file's folder.
func (c *Config) absolute() {
	base := filepath.Dir(c.File)
	paths := []*string{&c.Data, &c.Admin.Socket, &c.Certs.ACME.Roots, &c.Reports.IconRoots, &c.Smarthost.PasswordFile,
		&c.Storage.PasswordFile, &c.Scan.Rspamd.PasswordFile,
		&c.Spam.Networks}
	for i := range c.Certs.Files {
		paths = append(paths, &c.Certs.Files[i].Cert, &c.Certs.Files[i].Key)
	}
	for i := range c.Listen.LMTP {
		paths = append(paths, &c.Listen.LMTP[i])
	}
	for _, p := range paths {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(base, *p)
		}
	}
}
