package clamd

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"

	"tram/internal/scan/filter"
	"tram/internal/scan/filter/filtertest"
)

func scan(t *testing.T, a filter.Address, texts ...string) ([]Result, error) {
	t.Helper()
	s := New(a, 4096).Begin(t.Context())
	defer s.End()
	var all []Result
	for _, text := range texts {
		r, err := s.Scan(strings.NewReader(text))
		if err != nil {
			return all, err
		}
		all = append(all, r)
	}
	return all, nil
}

func TestStreams(t *testing.T) {
	t.Parallel()
	for _, serve := range []func(testing.TB, func(net.Conn)) filter.Address{
		filtertest.Serve, filtertest.ServeUnix,
	} {
		a := serve(t, filtertest.Clamd(1<<20))
		got, err := scan(t, a, "hello", "an EICAR file", "", strings.Repeat("x", 200_000)+"EICAR", "bye")
		if err != nil {
			t.Fatal(err)
		}
		virus := Result{Infected, "Eicar-Test"}
		for i, want := range []Result{{}, virus, {}, virus, {}} {
			if got[i] != want {
				t.Errorf("stream %d: %+v, want %+v", i, got[i], want)
			}
		}
		c := New(a, 4096)
		if err := c.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		if v, err := c.Version(t.Context()); v != "ClamAV 1.4.6/27000/Sun" || err != nil {
			t.Errorf("version %q, %v", v, err)
		}
	}
}

// TestTooLarge: clamd refuses in the middle of a stream and goes; the next stream has a connection of its
// own.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	for _, serve := range []func(testing.TB, func(net.Conn)) filter.Address{
		filtertest.Serve, filtertest.ServeUnix,
	} {
		got, err := scan(t, serve(t, filtertest.Clamd(100_000)), "ok", strings.Repeat("x", 5_000_000), "EICAR")
		if err != nil {
			t.Fatal(err)
		}
		want := []Result{{}, {Unscannable, "INSTREAM size limit exceeded"}, {Infected, "Eicar-Test"}}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("stream %d: %+v, want %+v", i, got[i], want[i])
			}
		}
	}
}

// TestAnswers is what clamd may say to a stream.
func TestAnswers(t *testing.T) {
	t.Parallel()
	bad := Result{Kind: -1}
	for answer, want := range map[string]Result{
		"1: stream: OK":               {},
		"1: stream: Win.Worm-1 FOUND": {Infected, "Win.Worm-1"},
		"1: stream: Heuristics.Limits.Exceeded.MaxRecursion FOUND":     {Unscannable, "Heuristics.Limits.Exceeded.MaxRecursion"},
		"1: stream: Heuristics.Encrypted.Zip FOUND":                    {Encrypted, "Heuristics.Encrypted.Zip"},
		"1: stream: Heuristics.OLE2.ContainsMacros.VBA FOUND":          {Suspect, "Heuristics.OLE2.ContainsMacros.VBA"},
		"1: stream: Heuristics.Phishing.Email.SpoofedDomain FOUND":     {Suspect, "Heuristics.Phishing.Email.SpoofedDomain"},
		"1: stream: PUA.Win.Packer FOUND":                              {Suspect, "PUA.Win.Packer"},
		"1: stream: Time limit reached ERROR":                          {Unscannable, "Time limit reached"},
		"INSTREAM size limit exceeded. ERROR":                          {Unscannable, "INSTREAM size limit exceeded"},
		"1: stream: CL_EMAXSIZE: Offset or size limit exceeded. ERROR": {Unscannable, "CL_EMAXSIZE: Offset or size limit exceeded"},
		"1: stream: Can't allocate memory ERROR":                       bad,
		"1: stream: OK FOUND OK":                                       bad,
		"1: stream:  FOUND":                                            bad,
		"1: stream: ":                                                  bad,
		"1: OK":                                                        bad,
		"2: stream: OK":                                                bad, // to another question
		"0: stream: OK":                                                bad,
		"stream: OK":                                                   bad, // no answer within a session
		"OK":                                                           bad,
		"COMMAND READ TIMED OUT":                                       bad,
		"UNKNOWN COMMAND":                                              bad,
		"":                                                             bad,
		"1: stream: OK\n1: stream: X FOUND":                            bad,
	} {
		a := filtertest.Serve(t, func(c net.Conn) {
			in := bufio.NewReader(c)
			in.ReadString(0)
			in.ReadString(0)
			filtertest.ReadStream(in, 1<<20)
			io.WriteString(c, answer+"\x00")
			filtertest.Drain(c)
		})
		got, err := scan(t, a, "text")
		switch {
		case want == bad && err == nil:
			t.Errorf("%q: %+v, want an error", answer, got)
		case want != bad && (err != nil || got[0] != want):
			t.Errorf("%q: %+v, %v, want %+v", answer, got, err, want)
		}
	}
}

// TestEarlyOK: an answer that comes before the stream was whole is not believed.
func TestEarlyOK(t *testing.T) {
	t.Parallel()
	a := filtertest.Serve(t, func(c net.Conn) {
		io.WriteString(c, "1: stream: OK\x00")
		filtertest.Drain(c)
	})
	r, w := io.Pipe()
	go func() {
		for {
			if _, err := w.Write(make([]byte, 4096)); err != nil {
				return
			}
		}
	}()
	s := New(a, 4096).Begin(t.Context())
	defer s.End()
	_, err := s.Scan(r)
	r.Close()
	if !errors.Is(err, ErrProtocol) {
		t.Errorf("%v", err)
	}
}

// TestFaults is O15 for this client: no fault is an answer, and none holds it beyond its context.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, f := range filtertest.Faults("1: stream: OK\x00") {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			a, ctx := f.Serve(t)
			c := New(a, 4096)
			s := c.Begin(ctx)
			defer s.End()
			got, err := s.Scan(strings.NewReader(strings.Repeat("x", 1<<20)))
			if err == nil {
				t.Errorf("an answer: %+v", got)
			}
			if f.Hangs && !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want the context's error", err)
			}
			if err := c.Ping(ctx); err == nil {
				t.Error("a ping was answered")
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		if _, err := scan(t, filter.ParseAddress("/nonexistent/clamd.ctl"), "x"); err == nil {
			t.Error("an answer")
		}
	})
}

// TestUnreadable: an error of our own storage is an error, whatever was sent before it.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	s := New(filtertest.Serve(t, filtertest.Clamd(1<<20)), 4096).Begin(t.Context())
	defer s.End()
	wrong := errors.New("wrong checksum")
	r := io.MultiReader(strings.NewReader("half"), iotest.ErrReader(wrong))
	if got, err := s.Scan(r); !errors.Is(err, wrong) {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("1: stream: OK", true)
	f.Add("1: stream: A FOUND", true)
	f.Add("INSTREAM size limit exceeded. ERROR", false)
	f.Fuzz(func(t *testing.T, answer string, whole bool) {
		s := &session{sent: 1}
		r, err := s.parse(answer, whole)
		if err == nil && r.Kind == Clean && (answer != "1: stream: OK" || !whole) &&
			!strings.HasSuffix(answer, ": stream: OK") {
			t.Errorf("%q is clean", answer)
		}
	})
}
