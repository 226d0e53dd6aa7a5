package smtpd

import (
	"context"

	"tram/internal/smtp"
)

// quit is QUIT, RFC 5321 §4.1.1.10.
func (x *session) quit(ctx context.Context, args string) {
	if args != "" {
		x.fail(ctx, 501, smtp.Enhanced{5, 5, 4}, "QUIT takes no argument")
		return
	}
	x.say(221, smtp.Enhanced{2, 0, 0}, x.o.Hostname+" goodbye")
	x.over = true
}

// help is HELP, RFC 5321 §4.1.1.8.
func (x *session) help() {
	x.say(214, smtp.Enhanced{2, 0, 0}, "See RFC 5321, or ask your postmaster")
}

// vrfy is VRFY, RFC 5321 §7.3: who exists here is found out by sending him mail.
func (x *session) vrfy(ctx context.Context, args string) {
	if args == "" {
		x.fail(ctx, 501, smtp.Enhanced{5, 5, 4}, "Who?")
		return
	}
	x.say(252, smtp.Enhanced{2, 5, 0}, "Cannot verify, but will take mail and try")
}
