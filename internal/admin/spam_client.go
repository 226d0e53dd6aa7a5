package admin

import (
	"context"
	"net/url"
	"strconv"

	"tram/internal/spam"
)

func spamPath(what string, values ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(values); i += 2 {
		q.Set(values[i], values[i+1])
	}
	return "/v1/spam/" + what + "?" + q.Encode()
}

// SpamExplain is House.SpamExplain.
func (c *Client) SpamExplain(ctx context.Context, id, language string) ([]SpamReason, error) {
	return call[[]SpamReason](ctx, c, "GET", spamPath("explain/"+url.PathEscape(id), "lang", language), nil)
}

// SpamRules is House.SpamRules.
func (c *Client) SpamRules(ctx context.Context, of string) (SpamRules, error) {
	return call[SpamRules](ctx, c, "GET", spamPath("rules", "of", of), nil)
}

// SpamAddRules is House.SpamAddRules.
func (c *Client) SpamAddRules(ctx context.Context, of string, rules SpamRules) error {
	_, err := call[nothing](ctx, c, "POST", spamPath("rules", "of", of), rules)
	return err
}

// SpamRemoveRule is House.SpamRemoveRule.
func (c *Client) SpamRemoveRule(ctx context.Context, of, value string) error {
	_, err := call[nothing](ctx, c, "DELETE", spamPath("rules", "of", of, "value", value), nil)
	return err
}

// SpamPolicy is House.SpamPolicy.
func (c *Client) SpamPolicy(ctx context.Context, of string) (SpamPolicy, error) {
	return call[SpamPolicy](ctx, c, "GET", spamPath("policy", "of", of), nil)
}

// SpamSetPolicy is House.SpamSetPolicy.
func (c *Client) SpamSetPolicy(ctx context.Context, of string, change SpamPolicyChange) error {
	_, err := call[nothing](ctx, c, "PATCH", spamPath("policy", "of", of), change)
	return err
}

// SpamRejects is House.SpamRejects.
func (c *Client) SpamRejects(ctx context.Context, about string, limit int) ([]spam.Refused, error) {
	return call[[]spam.Refused](ctx, c, "GET",
		spamPath("rejects", "about", about, "limit", strconv.Itoa(limit)), nil)
}

// SpamLetIn is House.SpamLetIn.
func (c *Client) SpamLetIn(ctx context.Context, id string) (SpamLetIn, error) {
	return call[SpamLetIn](ctx, c, "POST", spamPath("rejects/"+url.PathEscape(id)), struct{}{})
}

// SpamSuppressed is House.SpamSuppressed.
func (c *Client) SpamSuppressed(ctx context.Context, after string, limit int) ([]spam.Suppressed, error) {
	return call[[]spam.Suppressed](ctx, c, "GET",
		spamPath("suppressed", "after", after, "limit", strconv.Itoa(limit)), nil)
}

// SpamUnsuppress is House.SpamUnsuppress.
func (c *Client) SpamUnsuppress(ctx context.Context, address string) error {
	_, err := call[nothing](ctx, c, "DELETE", spamPath("suppressed/"+url.PathEscape(address)), nil)
	return err
}

// SpamReputation is House.SpamReputation.
func (c *Client) SpamReputation(ctx context.Context, name, of string) ([]spam.Reputation, error) {
	return call[[]spam.Reputation](ctx, c, "GET", spamPath("reputation", "name", name, "of", of), nil)
}

// SpamLearn is House.SpamLearn. Of a large message the beginning is sent: more is not looked at.
func (c *Client) SpamLearn(ctx context.Context, l SpamLesson) error {
	l.Message = l.Message[:min(len(l.Message), maxTaught)]
	_, err := call[nothing](ctx, c, "POST", spamPath("learn"), l)
	return err
}
