package smtpd

import (
	"context"

	"tram/internal/envelope"
	"tram/internal/smtp"
)

// HandOver takes what deliver hands over, as Forward does.
func (o *outbox) HandOver(ctx context.Context, envs ...*envelope.Envelope) error {
	for _, env := range envs {
		if err := o.Forward(ctx, env); err != nil {
			return err
		}
	}
	return nil
}

// HandedOver remembers nothing.
func (o *outbox) HandedOver(context.Context, uint64, [16]byte) ([]string, error) { return nil, nil }

// Seen does nothing.
func (o *outbox) Seen(context.Context, uint64, [16]byte, ...smtp.Address) error { return nil }
