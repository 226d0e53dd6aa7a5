package smtp

import "strconv"

// mailCommand writes MAIL with the parameters that the server understands.
func (t *transaction) mailCommand() string {
	m, e := t.m, &t.c.ext
	b := append([]byte("MAIL FROM:"), m.From.Path()...)
	if e.SizeOffered && m.Size > 0 {
		b = strconv.AppendInt(append(b, " SIZE="...), m.Size, 10)
	}
	if m.Body == Body8Bit || m.Body == BodyBinary {
		b = append(append(b, " BODY="...), m.Body...)
	}
	if m.UTF8 || e.UTF8 && t.needsUTF8() {
		b = append(b, " SMTPUTF8"...)
	}
	if m.RequireTLS {
		b = append(b, " REQUIRETLS"...)
	}
	if e.DSN && m.Ret != "" {
		b = append(append(b, " RET="...), m.Ret...)
	}
	if e.DSN && m.EnvID != "" {
		b = AppendXText(append(b, " ENVID="...), m.EnvID)
	}
	if e.DeliverBy && m.By.Set {
		b = m.By.append(append(b, " BY="...))
	}
	if e.Priority && m.HasPriority {
		b = strconv.AppendInt(append(b, " MT-PRIORITY="...), int64(m.Priority), 10)
	}
	return string(b)
}

func (t *transaction) needsUTF8() bool {
	for i := range t.m.Recipients {
		if t.m.Recipients[i].Address.NeedsUTF8() {
			return true
		}
	}
	return t.m.From.NeedsUTF8()
}

// append appends the value of BY, RFC 2852 §4.
func (b By) append(dst []byte) []byte {
	dst = strconv.AppendInt(dst, int64(b.Time.Seconds()), 10)
	dst = append(dst, ';')
	if b.Return {
		dst = append(dst, 'R')
	} else {
		dst = append(dst, 'N')
	}
	if b.Trace {
		dst = append(dst, 'T')
	}
	return dst
}

// rcptCommand writes RCPT for recipient i.
func (t *transaction) rcptCommand(i int) string {
	r, e := &t.m.Recipients[i], &t.c.ext
	b := append([]byte("RCPT TO:"), r.Address.Path()...)
	if e.DSN && r.Notify != 0 {
		b = append(append(b, " NOTIFY="...), r.Notify.String()...)
	}
	if e.DSN && r.ORCPT != "" {
		b = AppendORCPT(append(b, " ORCPT="...), r.ORCPT, e.UTF8)
	}
	return string(b)
}
