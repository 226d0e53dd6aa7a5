package limits

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestPut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		key   string
		value any
		got   func(*Set) any
		want  any
		err   error
	}{
		{"smtp.message_size", int64(1000), func(s *Set) any { return s.SMTP.MessageSize }, int64(1000), nil},
		{"smtp.message_size", "25 MiB", func(s *Set) any { return s.SMTP.MessageSize }, int64(25 * MiB), nil},
		{"smtp.message_size", "25MB", func(s *Set) any { return s.SMTP.MessageSize }, int64(25e6), nil},
		{"smtp.message_size", "1 GiB", nil, nil, ErrCap},
		{"smtp.unsafe_message_size", "1 GiB", func(s *Set) any { return s.SMTP.MessageSize }, int64(GiB), nil},
		{"smtp.message_size", int64(0), nil, nil, ErrValue},
		{"smtp.message_size", int64(-1), nil, nil, ErrValue},
		{"smtp.message_size", "much", nil, nil, ErrValue},
		{"smtp.message_size", "0.3B", nil, nil, ErrValue},
		{"smtp.message_size", 3.5, nil, nil, ErrValue},
		{"smtp.message_size", true, nil, nil, ErrValue},
		{"smtp.unsafe_message_size", "1e300", nil, nil, ErrValue},
		{"smtp.idle", "90s", func(s *Set) any { return s.SMTP.Idle }, 90 * time.Second, nil},
		{"smtp.idle", int64(90), nil, nil, ErrValue},
		{"smtp.idle", "1h", nil, nil, ErrCap},
		{"auth.tarpit", "0s", func(s *Set) any { return s.Auth.Tarpit }, time.Duration(0), nil},
		{"auth.argon_memory_kib", int64(19456), func(s *Set) any { return s.Auth.ArgonMemoryKiB }, uint32(19456), nil},
		{"auth.unsafe_argon_memory_kib", int64(1 << 40), nil, nil, ErrValue},
		{"storage.recoverable", "30d", func(s *Set) any { return s.Storage.Recoverable }, 720 * time.Hour, nil},
		{"queue.factor", 1.5, func(s *Set) any { return s.Queue.Factor }, 1.5, nil},
		{"queue.factor", int64(2), func(s *Set) any { return s.Queue.Factor }, 2.0, nil},
		{"queue.jitter", "0.5", func(s *Set) any { return s.Queue.Jitter }, 0.5, nil},
		{"smtp.messages_size", int64(1), nil, nil, ErrUnknown},
		{"smpt.message_size", int64(1), nil, nil, ErrUnknown},
		{"smtp", int64(1), nil, nil, ErrUnknown},
	} {
		s := Default()
		err := s.Put(c.key, c.value)
		if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("Put(%q, %v) = %v, want %v", c.key, c.value, err, c.err)
			continue
		}
		if c.err != nil && s != Default() {
			t.Errorf("Put(%q, %v) failed and changed the set", c.key, c.value)
		}
		if c.err == nil && c.got(&s) != c.want {
			t.Errorf("Put(%q, %v) set %v, want %v", c.key, c.value, c.got(&s), c.want)
		}
	}
}

func TestCapErrorNamesTheWayOut(t *testing.T) {
	t.Parallel()
	s := Default()
	err := s.Put("smtp.recipients", int64(5000))
	if err == nil || !strings.Contains(err.Error(), "smtp.unsafe_recipients") {
		t.Errorf("Put = %v, which does not name the unsafe key", err)
	}
}

// TestTable proves that every limit has a key, a cap that parses, is not below its default, and a
// reason; and that what the table shows can be put back.
func TestTable(t *testing.T) {
	t.Parallel()
	s := Default()
	rows := s.Table()
	seen := map[string]bool{}
	for _, r := range rows {
		if r.Why == "" || strings.HasSuffix(r.Key, ".") || seen[r.Key] {
			t.Errorf("%+v: no reason, no name or listed twice", r)
		}
		seen[r.Key] = true
		if r.Value != r.Default {
			t.Errorf("%s: value %s of the default set differs from default %s", r.Key, r.Value, r.Default)
		}
		for _, v := range []string{r.Cap, r.Default} {
			if err := s.Put(r.Key, v); err != nil {
				t.Errorf("%s: %v", r.Key, err)
			}
		}
	}
	if !reflect.DeepEqual(s, Default()) {
		t.Error("putting every default back gives another set")
	}
	s.SMTP.Recipients = 7
	for _, r := range s.Table() {
		if r.Key == "smtp.recipients" && (r.Value != "7" || r.Default != "100") {
			t.Errorf("a lowered limit shows as %+v", r)
		}
	}
	if len(rows) < 100 {
		t.Errorf("%d limits listed", len(rows))
	}
}
