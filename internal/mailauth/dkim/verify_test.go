package dkim

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tram/internal/dns"
	"tram/internal/limits"
	"tram/internal/mailauth"
)

// rfc6376 is the message of RFC 6376 §A.2 with the space that was signed: the page of the RFC was
// justified. Its key is that of appendix C.
const rfc6376 = `DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;
      c=simple/simple; q=dns/txt; i=joe@football.example.com;
      h=Received : From : To : Subject : Date : Message-ID;
      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
      b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB
      4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut
      KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV
      4bmp/YzhwvcubU4=;
Received: from client1.football.example.com  [192.0.2.1]
      by submitserver.example.com with SUBMISSION;
      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game. Are you hungry yet?

Joe.
`

// rfc8463 is the message of RFC 8463 §A.3.
const rfc8463 = `DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
`

const rfcKeys = `brisbane._domainkey.example.com. TXT "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v" "/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB"
brisbane._domainkey.football.example.com. TXT "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
test._domainkey.football.example.com. TXT "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutAC" "DfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB"
`

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// verify checks a message whose lines end with LF.
func verify(t *testing.T, r TXTResolver, m string) []mailauth.DKIM {
	t.Helper()
	header, body := cut(strings.ReplaceAll(m, "\n", "\r\n"))
	v := NewVerifier([]byte(header), Options{Limits: limits.Default().MailAuth, Now: now})
	_, _ = v.Write([]byte(body))
	return v.Finish(t.Context(), r)
}

func cut(m string) (header, body string) {
	header, body, _ = strings.Cut(m, "\r\n\r\n")
	return header + "\r\n", body
}

func TestExamples(t *testing.T) {
	t.Parallel()
	r := dns.NewFake(rfcKeys)
	got := verify(t, r, rfc6376)
	if len(got) != 1 || got[0].Status != mailauth.Pass || got[0].Domain != "example.com" ||
		got[0].Identity != "joe@football.example.com" || got[0].KeyBits != 1024 {
		t.Errorf("RFC 6376 §A.2: %+v", got)
	}
	got = verify(t, r, rfc8463)
	if len(got) != 2 || got[0].Status != mailauth.Pass || got[1].Status != mailauth.Pass ||
		got[0].Algorithm != Ed25519SHA256 || got[0].KeyBits != 256 {
		t.Errorf("RFC 8463 §A.3: %+v", got)
	}
	for _, changed := range []string{
		strings.Replace(rfc8463, "Joe.\n", "Joe!\n", 1),
		strings.Replace(rfc8463, "dinner ready", "dinner  reedy", 1),
		strings.Replace(rfc8463, "\nTo:", "\nFrom: x@example.net\nTo:", 1),
	} {
		for _, res := range verify(t, r, changed) {
			if res.Status != mailauth.Fail || res.Reason == "" {
				t.Errorf("of a changed message: %+v", res)
			}
		}
	}
}

// TestRealBodies checks canonical bodies of mail from other servers, in pieces of every size: their
// keys are long gone, their hashes of the body are not.
func TestRealBodies(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.eml")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		header, body := cut(string(b))
		for _, piece := range []int{1, 2, 3, 7, 64, 4096, 1 << 20} {
			v := NewVerifier([]byte(header), Options{Limits: limits.Default().MailAuth, Now: now})
			for rest := []byte(body); len(rest) > 0; {
				n := min(piece, len(rest))
				_, _ = v.Write(rest[:n])
				rest = rest[n:]
			}
			for _, res := range v.Finish(t.Context(), nil) {
				if res.Status != mailauth.TempError {
					t.Errorf("%s by %d: %+v", f, piece, res)
				}
			}
		}
	}
}

// signer makes signatures of any shape for tests.
type signer struct {
	key  Key
	zone string
}

func newSigner(t *testing.T, bits int) signer {
	t.Helper()
	if bits == 0 {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return signer{Key{"example.org", "ed", private}, ""}
	}
	private, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return signer{Key{"example.org", "rsa", private}, ""}
}

func (s signer) record(t *testing.T) string {
	t.Helper()
	text, err := Record(s.key.Signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// sign makes a signature with the tags given, in that order, "b=" among them, as the header has it.
func (s signer) sign(t *testing.T, tags, header, body string) string {
	t.Helper()
	field := FieldName + ": " + tags
	own := ReadField(field + "\r\n")
	parsed, err := ParseTags(own.Body)
	if err != nil {
		t.Fatal(err)
	}
	sig := &Signature{Field: own, Tags: parsed, length: -1}
	_ = sig.readBody()
	_ = sig.readHeaders()
	b := NewBodies()
	h := b.Add(sig.relaxedBody, sig.length)
	_, _ = b.Write([]byte(body))
	b.Close()
	field = strings.Replace(field, "bh=AAAA", "bh="+base64.StdEncoding.EncodeToString(h.Sum()), 1)
	sig.Field = ReadField(field + "\r\n")
	if sig.Tags, err = ParseTags(sig.Field.Body); err != nil {
		t.Fatal(err)
	}
	sum := sha(sig.hashed(nil, NewHeader([]byte(header))))
	value, err := s.key.SignSum(sum)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Replace(field, " b=;", " b="+base64.StdEncoding.EncodeToString(value)+";", 1) + "\r\n"
}

const (
	plainHeader = "From: Lan <lan@example.org>\r\nTo: b@example.net\r\nSubject: Hello\r\n"
	plainBody   = "Hello  there \r\n\r\nLan\r\n\r\n\r\n"
	plainTags   = "v=1; a=ed25519-sha256; c=relaxed/relaxed; d=example.org; s=ed; h=from:to:subject; bh=AAAA; b=; "
)

// TestSignatures holds what becomes of signatures that are right but for one thing.
func TestSignatures(t *testing.T) {
	t.Parallel()
	s := newSigner(t, 0)
	good := s.record(t)
	at := func(d time.Duration) string { return fmt.Sprint(now.Add(d).Unix()) }
	replace := func(from, to string) string { return strings.Replace(plainTags, from, to, 1) }
	for name, c := range map[string]struct {
		tags   string
		record string
		want   mailauth.Status
		reason string
	}{
		"plain":             {want: mailauth.Pass},
		"simple":            {tags: replace("relaxed/relaxed", "simple/simple"), want: mailauth.Pass},
		"no c":              {tags: replace("c=relaxed/relaxed; ", ""), want: mailauth.Pass},
		"c half":            {tags: replace("relaxed/relaxed", "relaxed"), want: mailauth.Pass},
		"c unknown":         {tags: replace("relaxed/relaxed", "nofws"), want: mailauth.PermError},
		"version":           {tags: replace("v=1", "v=2"), want: mailauth.PermError},
		"no version":        {tags: replace("v=1; ", ""), want: mailauth.PermError},
		"twice":             {tags: plainTags + "d=example.net", want: mailauth.PermError, reason: "d= is there twice"},
		"sha1":              {tags: replace("ed25519-sha256", "rsa-sha1"), want: mailauth.PermError, reason: "sha1"},
		"other algorithm":   {tags: replace("ed25519-sha256", "x"), want: mailauth.PermError},
		"no from":           {tags: replace("from:", ""), want: mailauth.PermError, reason: "From"},
		"l all":             {tags: plainTags + "l=19", want: mailauth.Policy, reason: "l="},
		"l part":            {tags: plainTags + "l=5", want: mailauth.Policy, reason: "l="},
		"l nothing":         {tags: plainTags + "l=0", want: mailauth.Policy, reason: "l="},
		"l too long":        {tags: plainTags + "l=50", want: mailauth.Fail},
		"l negative":        {tags: plainTags + "l=-1", want: mailauth.PermError},
		"expired":           {tags: plainTags + "t=" + at(-2*time.Hour) + "; x=" + at(-time.Second), want: mailauth.Fail, reason: "expired"},
		"expires":           {tags: plainTags + "t=" + at(-time.Hour) + "; x=" + at(time.Hour), want: mailauth.Pass},
		"backwards":         {tags: plainTags + "t=" + at(2*time.Hour) + "; x=" + at(time.Hour), want: mailauth.PermError},
		"future":            {tags: plainTags + "t=" + at(2*time.Hour), want: mailauth.Fail, reason: "future"},
		"a clock ahead":     {tags: plainTags + "t=" + at(5*time.Minute), want: mailauth.Pass},
		"a time of letters": {tags: plainTags + "t=soon", want: mailauth.PermError},
		"i below":           {tags: plainTags + "i=a@x.example.org", want: mailauth.Pass},
		"i elsewhere":       {tags: plainTags + "i=a@xexample.org", want: mailauth.PermError},
		"i above":           {tags: plainTags + "i=a@org", want: mailauth.PermError},
		"i no address":      {tags: plainTags + "i=example.org", want: mailauth.PermError},
		"q":                 {tags: plainTags + "q=dns/txt", want: mailauth.Pass},
		"q other":           {tags: plainTags + "q=http", want: mailauth.PermError},
		"missing fields":    {tags: replace("from:to:subject", "from:from:to:subject:cc:date"), want: mailauth.Pass},
		"unknown tags":      {tags: plainTags + "zz=1; r=y", want: mailauth.Pass},
		"upper-case d":      {tags: replace("d=example", "d=EXAMPLE"), want: mailauth.Pass},
		"empty d":           {tags: replace("d=example.org", "d="), want: mailauth.PermError},

		"no key":          {record: "-", want: mailauth.PermError, reason: "no key"},
		"revoked":         {record: "v=DKIM1; k=ed25519; p=", want: mailauth.PermError, reason: "revoked"},
		"no version of k": {record: strings.TrimPrefix(good, "v=DKIM1; "), want: mailauth.Pass},
		"version of k":    {record: strings.Replace(good, "DKIM1", "DKIM2", 1), want: mailauth.PermError},
		"version last":    {record: strings.TrimPrefix(good, "v=DKIM1; ") + "; v=DKIM1", want: mailauth.PermError},
		"hashes":          {record: good + "; h=sha1 : sha256", want: mailauth.Pass},
		"other hashes":    {record: good + "; h=sha1", want: mailauth.PermError},
		"services":        {record: good + "; s=other:email", want: mailauth.Pass},
		"other services":  {record: good + "; s=other", want: mailauth.PermError},
		"any service":     {record: good + "; s=*", want: mailauth.Pass},
		"granularity":     {record: good + "; g=nobody", want: mailauth.Pass},
		"testing":         {record: good + "; t=y", want: mailauth.Pass},
		"strict":          {record: good + "; t=s", want: mailauth.Pass},
		"strict below":    {tags: plainTags + "i=a@x.example.org", record: good + "; t=y:s", want: mailauth.PermError},
		"kind":            {record: strings.Replace(good, "ed25519", "rsa", 1), want: mailauth.PermError},
		"unknown kind":    {record: strings.Replace(good, "ed25519", "x", 1), want: mailauth.PermError},
		"broken":          {record: "v=DKIM1; k=ed25519; p=!!!", want: mailauth.PermError},
		"record twice":    {record: good + "; p=x", want: mailauth.PermError},
		"long record":     {record: good + "; n=" + strings.Repeat("x", 20000), want: mailauth.PermError, reason: "too long"},
		"other key":       {record: "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", want: mailauth.Fail},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.tags == "" {
				c.tags = plainTags
			}
			if c.record == "" {
				c.record = good
			}
			r := texts{"ed._domainkey.example.org": {c.record}}
			if c.record == "-" {
				r = texts{}
			}
			tags := c.tags
			if name == "twice" {
				tags = plainTags // the signer would not read it
			}
			field := s.sign(t, tags, plainHeader, plainBody)
			if name == "twice" {
				field = strings.TrimSuffix(field, "\r\n") + "d=example.net\r\n"
			}
			v := NewVerifier([]byte(field+plainHeader), Options{Limits: limits.Default().MailAuth, Now: now})
			_, _ = v.Write([]byte(plainBody))
			got := v.Finish(t.Context(), r)
			if len(got) != 1 || got[0].Status != c.want || !strings.Contains(got[0].Reason, c.reason) ||
				(got[0].Status == mailauth.Pass) != (got[0].Reason == "") {
				t.Errorf("%+v, want %s (%s)\n%s", got, c.want, c.reason, field)
			}
			if strings.HasPrefix(name, "l ") && name != "l negative" && !got[0].Part {
				t.Error("Part is not set")
			}
			if name == "testing" && !got[0].Testing || name == "strict" && !got[0].Strict {
				t.Errorf("flags of the key: %+v", got[0])
			}
		})
	}
}

// TestAppended is M3: what was added behind a signed part is not vouched for.
func TestAppended(t *testing.T) {
	t.Parallel()
	s := newSigner(t, 0)
	field := s.sign(t, plainTags+"l=19", plainHeader, plainBody)
	v := NewVerifier([]byte(field+plainHeader), Options{Limits: limits.Default().MailAuth, Now: now})
	_, _ = v.Write([]byte(strings.TrimRight(plainBody, "\r\n") + "\r\n<h1>Pay here</h1>\r\n"))
	got := v.Finish(t.Context(), texts{"ed._domainkey.example.org": {s.record(t)}})
	if len(got) != 1 || got[0].Status != mailauth.Policy || !got[0].Part {
		t.Errorf("%+v", got)
	}
}

// texts is a resolver of TXT records.
type texts map[string][]string

func (r texts) TXT(_ context.Context, name string) ([]string, dns.Result, error) {
	all, ok := r[name]
	if !ok {
		return nil, dns.Result{}, dns.ErrNoDomain
	}
	return all, dns.Result{}, nil
}

// TestRSA checks the sizes of RFC 8301 §3.2 and the bound above, and bare RSAPublicKey records.
func TestRSA(t *testing.T) {
	t.Parallel()
	tags := strings.NewReplacer("ed25519", "rsa", "s=ed;", "s=rsa;").Replace(plainTags)
	s := newSigner(t, 1024)
	field := s.sign(t, tags, plainHeader, plainBody)
	public := s.key.Signer.Public().(*rsa.PublicKey)
	bare := "p=" + base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(public))
	other := newSigner(t, 1024).record(t)
	for name, c := range map[string]struct {
		records  []string
		min, max int
		want     mailauth.Status
	}{
		"plain":      {[]string{s.record(t)}, 1024, 4096, mailauth.Pass},
		"bare":       {[]string{bare}, 1024, 4096, mailauth.Pass},
		"too short":  {[]string{s.record(t)}, 2048, 4096, mailauth.Policy},
		"too long":   {[]string{s.record(t)}, 512, 1023, mailauth.Policy},
		"second":     {[]string{other, s.record(t)}, 1024, 4096, mailauth.Pass},
		"junk first": {[]string{"v=spf1 -all", other, s.record(t)}, 1024, 4096, mailauth.Pass},
		"none fits":  {[]string{"v=DKIM1; p=", other}, 1024, 4096, mailauth.Fail},
		"many":       {[]string{"a", "b", "c", "d", s.record(t)}, 1024, 4096, mailauth.PermError},
	} {
		l := limits.Default().MailAuth
		l.RSAMin, l.RSAMax = c.min, c.max
		v := NewVerifier([]byte(field+plainHeader), Options{Limits: l, Now: now})
		_, _ = v.Write([]byte(plainBody))
		got := v.Finish(t.Context(), texts{"rsa._domainkey.example.org": c.records})
		if len(got) != 1 || got[0].Status != c.want {
			t.Errorf("%s: %+v, want %s", name, got, c.want)
		}
	}
}

// TestTemporary keeps "nobody knows now" apart from "no".
func TestTemporary(t *testing.T) {
	t.Parallel()
	r := dns.NewFake(rfcKeys)
	r.Fail("test._domainkey.football.example.com", errors.New("broken"))
	got := verify(t, r, rfc8463)
	if got[0].Status != mailauth.Pass || got[1].Status != mailauth.TempError {
		t.Errorf("%+v", got)
	}
}

// TestMany is P25: a thousand signatures cost as many look-ups as the limit says.
func TestMany(t *testing.T) {
	t.Parallel()
	var header bytes.Buffer
	one, rest, _ := strings.Cut(strings.ReplaceAll(rfc8463, "\n", "\r\n"), "From:")
	for i := range 1000 {
		header.WriteString(strings.Replace(one, "s=brisbane", fmt.Sprintf("s=s%d", i), 1))
	}
	h, body, _ := strings.Cut("From:"+rest, "\r\n\r\n")
	header.WriteString(h + "\r\n")
	r := dns.NewFake(rfcKeys)
	v := NewVerifier(header.Bytes(), Options{Limits: limits.Default().MailAuth, Now: now})
	_, _ = v.Write([]byte(body))
	got := v.Finish(t.Context(), r)
	if len(got) != 9 || got[8].Status != mailauth.Policy || !strings.HasPrefix(got[8].Reason, "1992 more") {
		t.Errorf("%d results, the last %+v", len(got), got[len(got)-1])
	}
	if n := len(r.Asked()); n > 8 {
		t.Errorf("%d look-ups", n)
	}
}

// TestSelection takes fields from the bottom up, and each once (RFC 6376 §5.4.2).
func TestSelection(t *testing.T) {
	t.Parallel()
	h := NewHeader([]byte("A: 1\r\nb: 2\r\nnot a field\r\nA : 3\r\nB: 4\r\n"))
	for range 2 { // a signature does not take from the next one
		h.begin()
		got := ""
		for _, name := range []string{"a", "B", "A", "a", "c", "b"} {
			f, ok := h.take([]byte(name))
			got += fmt.Sprint(ok) + string(bytes.TrimSpace(f.Body)) + " "
		}
		if got != "true3 true4 true1 false false true2 " {
			t.Error(got)
		}
	}
}

// TestNames bounds what is kept of a signature while the body comes in: a name in h= costs its sender two
// octets.
func TestNames(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{1999: "", 20000: "h= names too many fields"} {
		f := ReadField("DKIM-Signature: v=1; a=rsa-sha256; d=x.test; s=s; bh=AAAA; b=AAAA; h=From" +
			strings.Repeat(":a", n) + "\r\n")
		s, err := ParseSignature(f, DKIM)
		if got := fmt.Sprint(err); want == "" && err != nil || want != "" && got != want || len(s.Headers) > 2000 {
			t.Errorf("%d names: %d, %v", n, len(s.Headers), err)
		}
	}
}
