package unpack

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"hash/crc32"
	"io"
	"runtime"
	"strings"
	"testing"

	"tram/internal/limits"
)

func small() limits.Reports { return limits.Default().Reports }

func gz(t testing.TB, data string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write([]byte(data))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type entry struct {
	name, data string
	stored     bool
}

func zipped(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		if e.stored {
			h.Method = zip.Store
		}
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		f.Write([]byte(e.data))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var errUnwanted = errors.New("unwanted")

// files collects what Each hands over; fn takes those that begin with "take".
func files(b []byte, l limits.Reports) (got []string, err error) {
	err = Each(bytes.NewReader(b), l, func(r io.Reader) error {
		text, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		got = append(got, string(text))
		if !strings.HasPrefix(string(text), "take") {
			return errUnwanted
		}
		return nil
	})
	return got, err
}

func TestEach(t *testing.T) {
	t.Parallel()
	// archive/zip writes sizes behind the data; rawZip in front of it.
	for name, tc := range map[string]struct {
		data []byte
		want []string
		err  error
	}{
		"plain":       {[]byte("take plain"), []string{"take plain"}, nil},
		"gzip":        {gz(t, "take gzip"), []string{"take gzip"}, nil},
		"gzip twice":  {append(gz(t, "take "), gz(t, "both")...), []string{"take both"}, nil},
		"zip":         {zipped(t, entry{"a.xml", "take zip", false}), []string{"take zip"}, nil},
		"zip, second": {zipped(t, entry{"d/", "", true}, entry{"x", "no", false}, entry{"y", "take me", false}), nil, nil},
		"unwanted":    {[]byte("no"), []string{"no"}, errUnwanted},
		"empty":       {nil, nil, ErrDamaged},
		"zip, none":   {zipped(t), []string{""}, nil},
		"gzip cut":    {gz(t, "take gzip")[:15], nil, ErrDamaged},
		"gzip header": {[]byte{0x1f, 0x8b, 9, 9, 9}, nil, ErrDamaged},
		"zip cut":     {zipped(t, entry{"a.xml", "take zip", false})[:40], nil, ErrDamaged},
	} {
		got, err := files(tc.data, small())
		switch {
		case name == "zip, none":
			// An archive of nothing has no local header: it is a file that is no report.
			if !errors.Is(err, errUnwanted) {
				t.Errorf("%s: %q %v", name, got, err)
			}
		case name == "zip, second":
			if !errors.Is(err, ErrDamaged) && (err != nil || len(got) != 2 || got[1] != "take me") {
				t.Errorf("%s: %q %v", name, got, err)
			}
		case !errors.Is(err, tc.err) || len(got) != len(tc.want) || len(got) == 1 && got[0] != tc.want[0]:
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
}

// TestZipSizes reads archives that have their sizes in front, stored files, and wrong checksums.
func TestZipSizes(t *testing.T) {
	t.Parallel()
	raw := func(method uint16, name, packed, crcOf string) []byte {
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		h := &zip.FileHeader{Name: name, Method: method, CompressedSize64: uint64(len(packed)),
			UncompressedSize64: uint64(len(crcOf)), CRC32: sum(crcOf)}
		f, err := w.CreateRaw(h)
		if err != nil {
			t.Fatal(err)
		}
		f.Write([]byte(packed))
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	if got, err := files(raw(zip.Store, "a", "take it", "take it"), small()); err != nil || got[0] != "take it" {
		t.Errorf("stored: %q %v", got, err)
	}
	if _, err := files(raw(zip.Store, "a", "take it", "take me"), small()); !errors.Is(err, ErrDamaged) {
		t.Errorf("a wrong checksum: %v", err)
	}
	if _, err := files(raw(12, "a", "take it", "take it"), small()); !errors.Is(err, ErrDamaged) {
		t.Errorf("another method: %v", err)
	}
	locked := raw(zip.Store, "a", "take it", "take it")
	locked[6] |= zipEncrypted
	if _, err := files(locked, small()); !errors.Is(err, ErrDamaged) {
		t.Errorf("an encrypted file: %v", err)
	}
}

// TestBombs is P9: little in, very much out. Each ends early, by bytes or by ratio, in little memory.
func TestBombs(t *testing.T) {
	l := small()
	huge := strings.Repeat("take", 17<<20) // 68 MiB
	bombs := map[string][]byte{"gzip": gz(t, huge), "zip": zipped(t, entry{"a.xml", huge, false}),
		"nested": gz(t, string(gz(t, huge)))}
	huge = ""
	for name, bomb := range bombs {
		for what, l := range map[string]limits.Reports{
			"ratio": l,
			"bytes": func() limits.Reports { l := l; l.Ratio = 1 << 20; return l }(),
		} {
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			var n int64
			err := Each(bytes.NewReader(bomb), l, func(r io.Reader) error {
				var err error
				n, err = io.Copy(io.Discard, r)
				return err
			})
			runtime.ReadMemStats(&after)
			want := map[string]error{"ratio": ErrRatio, "bytes": ErrTooLarge}[what]
			if name == "nested" {
				want = nil // the inner one is not unpacked: it is a file that is no report
			}
			if !errors.Is(err, want) || n > l.Unpacked {
				t.Errorf("%s, %s: %d bytes, %v", name, what, n, err)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
				t.Errorf("%s, %s took %d bytes of memory", name, what, used)
			}
		}
	}
	l.Packed = 1000
	if _, err := files([]byte(strings.Repeat("x", 1001)), l); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a large plain file: %v", err)
	}
	if got, err := files([]byte("take"+strings.Repeat("x", 996)), l); err != nil || len(got[0]) != 1000 {
		t.Errorf("a file as large as allowed: %v", err)
	}
	l = small()
	var many []entry
	for range l.Files + 1 {
		many = append(many, entry{"a", "no", false})
	}
	if got, err := files(zipped(t, many...), l); !errors.Is(err, ErrTooLarge) || len(got) != l.Files {
		t.Errorf("many files: %d, %v", len(got), err)
	}
}

// TestReaderFails: what goes wrong with the source is told, not taken for a damaged archive.
func TestReaderFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("disk")
	for _, data := range [][]byte{[]byte("take plain text"), gz(t, "take gzip"), zipped(t, entry{"a", "take", false})} {
		for n := 4; n < len(data); n += 3 {
			r := io.MultiReader(bytes.NewReader(data[:n]), failing{broken})
			err := Each(r, small(), func(r io.Reader) error {
				_, err := io.Copy(io.Discard, r)
				return err
			})
			if err == nil {
				continue // the file had ended before
			}
			if !errors.Is(err, broken) {
				t.Errorf("%.4q after %d bytes: %v", data, n, err)
			}
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func FuzzEach(f *testing.F) {
	f.Add([]byte("take plain"))
	f.Add(gz(f, "take gzip"))
	f.Add(zipped(f, entry{"a", "no", false}, entry{"b", "take", true}))
	l := small()
	l.Packed, l.Unpacked = 64<<10, 1<<20
	f.Fuzz(func(t *testing.T, b []byte) {
		var n int64
		err := Each(bytes.NewReader(b), l, func(r io.Reader) error {
			m, err := io.Copy(io.Discard, r)
			n += m
			return err
		})
		if n > l.Unpacked {
			t.Fatalf("%d bytes came out: %v", n, err)
		}
	})
}

func sum(s string) uint32 { return crc32.ChecksumIEEE([]byte(s)) }
