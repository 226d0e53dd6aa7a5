package admin

import (
	"context"
	"net/http"
	"net/url"
)

// SigningKeys is House.SigningKeys.
func (c *Client) SigningKeys(ctx context.Context, domain string) ([]SigningKey, error) {
	return call[[]SigningKey](ctx, c, http.MethodGet, "/v1/dkim?domain="+url.QueryEscape(domain), nil)
}

// SigningDo is House.SigningDo.
func (c *Client) SigningDo(ctx context.Context, domain string, a SigningAction) ([]SigningKey, error) {
	return call[[]SigningKey](ctx, c, http.MethodPost, "/v1/dkim/"+url.PathEscape(domain), a)
}
