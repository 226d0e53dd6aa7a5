package admin

import (
	"context"
	"net/url"

	"tram/internal/admin/doctor"
	"tram/internal/admin/zone"
)

// Records is House.Records.
func (c *Client) Records(ctx context.Context, domain string) ([]zone.Record, error) {
	return call[[]zone.Record](ctx, c, "GET", domainPath(domain)+"/dns", nil)
}

// Examine is House.Examine.
func (c *Client) Examine(ctx context.Context, domain string) ([]doctor.Line, error) {
	return call[[]doctor.Line](ctx, c, "GET", "/v1/doctor?"+url.Values{"domain": {domain}}.Encode(), nil)
}
