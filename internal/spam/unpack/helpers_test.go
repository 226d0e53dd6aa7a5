package unpack

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"runtime"
	"testing"

	"tram/internal/limits"
)

// TestMain is also the child of the pools of these tests.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 {
		os.Exit(m.Run())
	}
	l := limits.Default().Content
	switch os.Args[1] {
	case "decode":
		if err := Serve(os.Stdin, os.Stdout); err != nil {
			os.Exit(1)
		}
	case "decode-hang": // takes the file and never answers
		select {}
	case "decode-spin":
		l.DecodeCPU = 1
		renew, err := confine(l)
		if err != nil || renew() != nil {
			os.Exit(1)
		}
		for n := 0; ; n++ {
			runtime.KeepAlive(n)
		}
	case "decode-greedy":
		if _, err := confine(l); err != nil {
			os.Exit(1)
		}
		var all [][]byte
		for range 64 {
			b := make([]byte, 16<<20)
			for i := range b {
				b[i] = byte(i)
			}
			all = append(all, b)
		}
		runtime.KeepAlive(all)
		fmt.Println("had it all")
	case "decode-probe":
		_, err := confine(l)
		_, file := os.Open("/proc/self/status")
		_, sock := net.Dial("tcp", "127.0.0.1:1")
		_, made := os.Create("/tmp/tram-decode-probe")
		fmt.Println(err == nil, file != nil, sock != nil, made != nil)
	default:
		os.Exit(m.Run())
	}
}

// zipped makes an archive of names and contents in turn.
func zipped(t testing.TB, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		w, err := z.Create(files[i])
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(w, files[i+1])
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t testing.TB, name string, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	z.Name = name
	if _, err := z.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zlibbed(t testing.TB, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := zlib.NewWriterLevel(&b, zlib.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// tnefAttr is one attribute of a winmail.dat.
func tnefAttr(id uint32, body []byte) []byte {
	b := []byte{2}
	b = binary.LittleEndian.AppendUint32(b, id)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(body)))
	return append(append(b, body...), 0, 0)
}

// compound makes a compound file (MS-CFB) with a directory of the given names.
func compound(names ...string) []byte {
	b := make([]byte, 512*3)
	copy(b, "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
	binary.LittleEndian.PutUint16(b[30:], 9)
	binary.LittleEndian.PutUint32(b[48:], 1) // the directory begins in sector 1
	for i := range 109 {
		binary.LittleEndian.PutUint32(b[76+4*i:], 0xffffffff)
	}
	binary.LittleEndian.PutUint32(b[76:], 0) // the table is in sector 0
	for i := range 128 {
		binary.LittleEndian.PutUint32(b[512+4*i:], 0xffffffff)
	}
	binary.LittleEndian.PutUint32(b[512+4:], 0xfffffffe)
	for i, n := range names {
		at := 1024 + 128*i
		for j, r := range n {
			binary.LittleEndian.PutUint16(b[at+2*j:], uint16(r))
		}
		binary.LittleEndian.PutUint16(b[at+64:], uint16(2*len([]rune(n))+2))
	}
	return b
}

// paths lists the paths of entries.
func paths(r Result) []string {
	var all []string
	for _, e := range r.Entries {
		all = append(all, e.Path)
	}
	return all
}
