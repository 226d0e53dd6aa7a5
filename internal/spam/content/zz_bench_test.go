package content

import (
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"
	"context"
	"syscall"

	"tram/internal/limits"
	"tram/internal/message"
)

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func hostile(size int) map[string]string {
	b64 := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("hello world, this is ", 40)))
	rep := func(f func(i int) string, head string) string {
		var b strings.Builder
		b.WriteString(head)
		for i := 0; b.Len() < size; i++ {
			b.WriteString(f(i))
		}
		return b.String()
	}
	mp := top + "Content-Type: multipart/mixed; boundary=\"a\\b\"\r\n\r\n"
	return map[string]string{
		"bounds": rep(func(i int) string { return fmt.Sprintf("--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n", i, i+1) }, mp),
		"parts60": rep(func(i int) string { return fmt.Sprintf("--b%d\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n%s\r\n", i%60, b64[:76]) }, mp),
		"nested": rep(func(i int) string { return fmt.Sprintf("--%s\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n%s!\r\n", strings.Repeat("b", i%60+1), b64[:76]) }, mp),
		"junk64": rep(func(i int) string { return "QUJD!\r\n" }, top + "Content-Transfer-Encoding: base64\r\n\r\n"),
		"qp": rep(func(i int) string { return "=41=42=4a=4B= \r\n--x\r\nContent-Type: a\r\n\r\n" }, top + "Content-Transfer-Encoding: quoted-printable\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"),
		"html": rep(func(i int) string { return fmt.Sprintf("--=_p%d\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<a href=3D\"http://x%d.example\">words and more</a>=\r\n", i/20, i) }, mp),
		"late": rep(func(i int) string { return "x\r\n \r\nContent-Transfer-Encoding: base64\r\n\r\n" + b64[:40] + "\r\n" }, mp),
		"uu": rep(func(i int) string { return "begin 644 a\r\n#86)C\r\nend\r\nContent-Transfer-Encoding: base64\r\n\r\n" }, mp),
		"inner": top + "Content-Type: multipart/mixed; boundary=\"a\\b\"\r\n\r\n--ab\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString([]byte(rep(func(i int) string { return fmt.Sprintf("--b%d\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n%s\r\n", i%60, b64[:76]) }, mp))),
	}
}

func TestZZ(t *testing.T) {
	for _, size := range []int{77 << 10, 1 << 20} {
		for name, raw := range hostile(size) {
			if w := os.Getenv("ZZ"); w != "" && w != name { continue }
			m := message.Parse([]byte(raw), limits.Default().Message)
			r := strings.NewReader(raw)
			was := cpu()
			n, total := 0, int64(0)
			var end error
			for rd, err := range Readings(r, m, Options{}) {
				if err != nil { end = err; break }
				n++
				k, _ := io.Copy(io.Discard, rd.Open())
				total += k
			}
			took := cpu()-was
			was = cpu()
			Examine(context.Background(), r, m, Options{})
			t.Logf("%8d %-8s %v readings %d, %d MB, %v; examine %v", len(raw), name, took, n, total>>20, end, cpu()-was)
		}
	}
}
