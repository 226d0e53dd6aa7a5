package message

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"tram/internal/limits"
)

// typicalMessage is about 4 kB of what a company's server sees all day: a long header, text and
// HTML.
func typicalMessage() []byte {
	var b strings.Builder
	b.WriteString(crlf(`Return-Path: <an.nguyen@example.com>
Delivered-To: binh@example.test
Received: from mail-a.example.com (mail-a.example.com [192.0.2.10])
	by mx.example.test (Tram) with ESMTPS id 01J8ZK3V5Q (TLS1.3 TLS_AES_128_GCM_SHA256)
	for <binh@example.test>; Tue, 18 Nov 2025 09:12:44 +0700
Received: from [10.0.0.7] (unknown [10.0.0.7])
	by mail-a.example.com (Postfix) with ESMTPSA id 4C1F22
	for <binh@example.test>; Tue, 18 Nov 2025 02:12:43 +0000 (UTC)
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=k1;
	h=from:to:cc:subject:date:message-id:mime-version:content-type;
	bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;
	b=dzdVyOfAKCdLXdJOc9G2q8LoXSlEniSbav+yuU4zGeeruD00lszZVoG4ZHRNiYzR
Date: Tue, 18 Nov 2025 09:12:40 +0700
From: =?utf-8?q?Nguy=E1=BB=85n_V=C4=83n_An?= <an.nguyen@example.com>
To: Binh Tran <binh@example.test>, "Le, Chi" <chi@example.test>
Cc: team@example.test
Subject: =?utf-8?b?UmU6IELDoW8gY8OhbyB0deG6p24gNDc=?=
Message-ID: <20251118021240.4C1F22@mail-a.example.com>
In-Reply-To: <CAF=xyz1@mail.example.test>
References: <CAF=abc0@mail.example.test> <CAF=xyz1@mail.example.test>
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary="=_b1_2f9c"
X-Mailer: Example Mail 9.1

This is a multi-part message in MIME format.
--=_b1_2f9c
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

`))
	for i := range 12 {
		fmt.Fprintf(&b, "D=C3=B2ng s=E1=BB=91 %d: b=C3=A1o c=C3=A1o tu=E1=BA=A7n n=C3=A0y.\r\n", i)
	}
	b.WriteString(crlf("--=_b1_2f9c\nContent-Type: text/html; charset=utf-8\n\n<html><body>\n"))
	for i := range 14 {
		fmt.Fprintf(&b, "<p style=\"margin:0\">Line %d of the weekly report, in HTML.</p>\r\n", i)
	}
	b.WriteString(crlf("</body></html>\n--=_b1_2f9c--\n"))
	return []byte(b.String())
}

// crlf makes the line ends of a Go literal those of mail.
func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

func BenchmarkParseTypical(b *testing.B) {
	raw := typicalMessage()
	p := NewParser(limits.Default().Message)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	defer reportCPU(b)()
	for b.Loop() {
		p.Reset()
		p.Write(raw)
		p.Finish()
	}
}

func BenchmarkParseSimple(b *testing.B) {
	raw := []byte(crlf("From: a@example.com\nTo: b@example.com\nSubject: hi\n" +
		"Date: Tue, 18 Nov 2025 09:12:40 +0700\nMessage-ID: <1@example.com>\n\n" +
		strings.Repeat("A short line of text in a message of four thousand bytes.\n", 64)))
	p := NewParser(limits.Default().Message)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	defer reportCPU(b)()
	for b.Loop() {
		p.Reset()
		p.Write(raw)
		p.Finish()
	}
}

// largeMessage has an attachment of n bytes, encoded.
func largeMessage(n int) []byte {
	var b bytes.Buffer
	b.WriteString(crlf("From: a@example.com\nContent-Type: multipart/mixed; boundary=b\n\n" +
		"--b\n\nhello\n--b\nContent-Type: application/pdf\nContent-Transfer-Encoding: base64\n\n"))
	line := strings.Repeat("QUJD", 19) + "\r\n"
	for b.Len() < n {
		b.WriteString(line)
	}
	b.WriteString("--b--\r\n")
	return b.Bytes()
}

func BenchmarkParseBody(b *testing.B) {
	raw := largeMessage(16 << 20)
	p := NewParser(limits.Default().Message)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	defer reportCPU(b)()
	for b.Loop() {
		p.Reset()
		for rest := raw; len(rest) > 0; rest = rest[min(len(rest), 32<<10):] {
			p.Write(rest[:min(len(rest), 32<<10)])
		}
		p.Finish()
	}
}
