package deliver

import (
	"context"
	"crypto/rsa"
	"io"
	"strings"

	"tram/internal/mailauth/arc"
	"tram/internal/mailauth/dkim"
	"tram/internal/metrics"
	"tram/internal/smtp"
)

var sealed = metrics.CounterVec("arc_seals_total", "Messages sent on, by whether they were sealed.", "result")

// seal makes the ARC set for a message that is sent on by an address of ours: what was found out about it
// when it came, which its next server cannot find out any more (RFC 8617 §5.1). top is what the forward
// puts on top of it. "" where nothing was found out, or nobody can sign: a seal is worth having, and
// nothing waits for it.
func (r *delivery) seal(ctx context.Context, via smtp.Address, top string) string {
	if r.env.Auth == nil {
		return "" // a submission, or nobody has looked
	}
	key, ok := r.sealKey(ctx, via.Domain)
	if !ok {
		sealed.WithLabelValues("no key").Inc()
		return ""
	}
	header, sum, err := r.asForwarded(ctx, top)
	set := ""
	if err == nil {
		set, err = arc.Seal(header, sum, key, arc.SealOptions{
			Now: r.o.Clock.Now(), Limits: r.o.Limits.MailAuth, ID: r.o.Hostname, Chain: r.env.Auth.ARC.Status,
		})
	}
	switch {
	case err != nil:
		sealed.WithLabelValues("failed").Inc()
		r.o.Logger.Error("message not sealed", "id", r.env.ID, "error", err)
	case set == "":
		sealed.WithLabelValues("chain is over").Inc()
	default:
		sealed.WithLabelValues("sealed").Inc()
	}
	return set
}

// sealKey returns the key that seals for a domain: the RSA one, which every server can check, where there
// is one; for a domain without keys that of the host.
func (r *delivery) sealKey(ctx context.Context, domain string) (dkim.Key, bool) {
	for _, name := range []string{domain, r.o.Hostname} {
		for ; name != ""; _, name, _ = strings.Cut(name, ".") {
			keys, err := r.o.Directory.Signers(ctx, name)
			if err != nil {
				r.o.Logger.Error("keys not found", "domain", name, "error", err)
				return dkim.Key{}, false
			}
			for _, k := range keys {
				if _, ok := k.Signer.Public().(*rsa.PublicKey); ok {
					return k, true
				}
			}
			if len(keys) > 0 {
				return keys[0], true
			}
		}
	}
	return dkim.Key{}, false
}

// asForwarded reads the message as it will be sent on: its header, and the hash of its body.
func (r *delivery) asForwarded(ctx context.Context, top string) (header, sum []byte, err error) {
	in := r.env.Body.Open(ctx)
	defer in.Close()
	split := dkim.NewSplitter(r.o.Limits.Message.HeaderBytes)
	_, _ = split.Write([]byte(top))
	if _, err := io.Copy(split, &withoutReturnPath{r: in}); err != nil {
		return nil, nil, err
	}
	header, sum = split.End()
	return header, sum, nil
}

// forwardedFrom is the reverse-path under which a message is sent on. That of another domain becomes a
// return address in the domain of who sends it on, for the next server asks the domain's SPF record, which
// knows nothing of us. One of our own that an account has written stays, as does one that was shown to be
// its sender's; a stranger who writes one gets no better treatment than any other.
func (r *delivery) forwardedFrom(via smtp.Address) smtp.Address {
	from := r.env.From
	if from.IsNull() || r.o.Directory.IsLocal(from.Domain) && (r.env.Account != 0 || r.verdict.Authenticated) {
		return from
	}
	return r.o.Directory.ReturnAddress(from, via.Domain)
}
