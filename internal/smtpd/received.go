package smtpd

import (
	"crypto/tls"
	"time"

	"tram/internal/envelope"
	"tram/internal/smtp"
)

// received appends the Received field of a message, RFC 5321 §4.4: who gave it to us, how, under
// which trail, and for whom if that is one recipient only, so that no Bcc is given away.
func (x *session) received(dst []byte, env *envelope.Envelope) []byte {
	dst = append(dst, "Received: from "...)
	dst = x.appendFrom(dst, env.Client)
	dst = append(dst, "\r\n\tby "...)
	dst = append(dst, x.o.Hostname...)
	dst = append(dst, " (tram) with "...)
	dst = append(dst, x.protocol(env.UTF8)...)
	if env.Client.TLS != "" {
		dst = append(append(append(dst, "\r\n\t("...), env.Client.TLS...), ')')
	}
	dst = append(append(dst, " id "...), env.ID...)
	if len(env.Recipients) == 1 {
		to := env.Recipients[0].Address
		if env.UTF8 || !to.NeedsUTF8() {
			dst = append(append(append(dst, "\r\n\tfor <"...), to.String()...), '>')
		}
	}
	dst = append(dst, ";\r\n\t"...)
	dst = env.Received.AppendFormat(dst, time.RFC1123Z)
	return append(dst, "\r\n"...)
}

// appendFrom appends the name that the client gave itself and what is known of it: its address, and
// its name in the DNS where that is known by now. A name that is no domain goes into a comment.
func (x *session) appendFrom(dst []byte, c envelope.Client) []byte {
	name, err := smtp.ParseDomain(c.HELO)
	if err != nil {
		dst = append(append(append(dst, "unknown (HELO "...), comment(c.HELO)...), ')')
	} else {
		dst = append(dst, name...)
	}
	dst = append(dst, " ("...)
	if reverse := x.clientName(); reverse != "" {
		dst = append(append(dst, reverse...), ' ')
	}
	if c.Addr.IsValid() {
		dst = append(dst, smtp.FormatLiteral(c.Addr)...)
	} else {
		dst = append(dst, "local"...)
	}
	return append(dst, ')')
}

// comment makes any greeting harmless inside a comment, RFC 5322 §3.2.2.
func comment(s string) []byte {
	out := make([]byte, 0, len(s))
	for i := range min(len(s), 255) {
		if c := s[i]; c > ' ' && c <= '~' && c != '(' && c != ')' && c != '\\' {
			out = append(out, c)
		} else {
			out = append(out, '?')
		}
	}
	return out
}

// protocol is the "with" word: RFC 3848 §1, with the UTF8 forms of RFC 6531 §4.3.
func (x *session) protocol(utf8 bool) string {
	name := "ESMTP"
	switch {
	case x.o.Mode == LMTP:
		name = "LMTP"
	case !x.esmtp:
		return "SMTP"
	}
	if utf8 {
		// The UTF8 forms drop the E: UTF8SMTP, UTF8LMTP.
		name = "UTF8SMTP"
		if x.o.Mode == LMTP {
			name = "UTF8LMTP"
		}
	}
	if x.c.Secure() {
		name += "S"
	}
	if x.account.ID != 0 {
		name += "A"
	}
	return name
}

// tlsInfo is TLS's version and cipher, "" in the clear.
func (x *session) tlsInfo() string {
	if x.tls == "" && x.c.Secure() {
		state := x.c.TLS()
		x.tls = tls.VersionName(state.Version) + " " + tls.CipherSuiteName(state.CipherSuite)
	}
	return x.tls
}
