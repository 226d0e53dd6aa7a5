package admin

import (
	"context"
	"slices"
	"time"

	"tram/internal/directory"
)

// SigningKey is a key that signs mail of a domain (DKIM); its private half never leaves the server.
type SigningKey struct {
	Domain    string     `json:"domain"`
	Selector  string     `json:"selector"`
	Algorithm string     `json:"algorithm"`
	State     string     `json:"state"`  // "made", "active" or "retiring"
	Name      string     `json:"name"`   // of the TXT record
	Record    string     `json:"record"` // its text
	Created   time.Time  `json:"created"`
	Activated *time.Time `json:"activated,omitempty"`
	Retired   *time.Time `json:"retired,omitempty"`
	// Published: the DNS showed exactly the record when it was last asked.
	Published bool       `json:"published"`
	Asked     *time.Time `json:"asked,omitempty"`
	Problem   string     `json:"problem,omitempty"` // a sentence
}

// SigningAction says what to do with a domain's keys: "rotate" makes the next ones, "activate" makes
// those that wait sign now, or the one with the selector.
type SigningAction struct {
	Action   string `json:"action"`
	Selector string `json:"selector,omitempty"`
}

// The actions.
const (
	SigningRotate   = "rotate"
	SigningActivate = "activate"
)

// SigningKeys lists the keys of a domain; "" stands for all domains.
func (h *House) SigningKeys(ctx context.Context, domain string) ([]SigningKey, error) {
	names := []string{domain}
	if domain == "" {
		all, err := h.o.Directory.Domains(ctx)
		if err != nil {
			return nil, fault(err)
		}
		names = names[:0]
		for _, d := range all {
			names = append(names, d.Name)
		}
	}
	list := []SigningKey{}
	for _, name := range names {
		keys, err := h.o.Directory.SigningKeys(ctx, name)
		if err != nil {
			return nil, domainFault(err, name)
		}
		for _, k := range keys {
			list = append(list, showSigning(k))
		}
	}
	return list, nil
}

func showSigning(k directory.SigningKey) SigningKey {
	at := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	return SigningKey{
		Domain: k.Domain, Selector: k.Selector, Algorithm: k.Algorithm, State: string(k.State),
		Name: k.Name(), Record: k.Record, Created: k.Created, Activated: at(k.Activated),
		Retired: at(k.Retired), Published: k.Published, Asked: at(k.Asked), Problem: k.Problem,
	}
}

// SigningDo changes the keys of a domain and returns them.
func (h *House) SigningDo(ctx context.Context, domain string, a SigningAction) ([]SigningKey, error) {
	switch a.Action {
	case SigningRotate:
		if _, err := h.o.Directory.MakeSigningKeys(ctx, domain); err != nil {
			return nil, domainFault(err, domain)
		}
	case SigningActivate:
		if err := h.activate(ctx, domain, a.Selector); err != nil {
			return nil, err
		}
	default:
		return nil, invalid("%q is nothing that can be done with signing keys", a.Action)
	}
	h.o.Logger.Info("signing keys changed", "domain", domain, "action", a.Action, "selector", a.Selector)
	return h.SigningKeys(ctx, domain)
}

// activate makes keys sign that wait to.
func (h *House) activate(ctx context.Context, domain, selector string) error {
	keys, err := h.o.Directory.SigningKeys(ctx, domain)
	if err != nil {
		return domainFault(err, domain)
	}
	named := func(k directory.SigningKey) bool { return k.Selector == selector }
	if selector != "" && !slices.ContainsFunc(keys, named) {
		return &Fault{KindNotFound, domain + " has no signing key " + selector}
	}
	some := false
	for _, k := range keys {
		if k.Selector != selector && (selector != "" || k.State != directory.KeyMade) {
			continue
		}
		if k.State == directory.KeyRetiring {
			return &Fault{KindConflict, "signing key " + k.Selector + " was replaced and signs no more: " +
				"\"tram dkim rotate\" makes the next ones"}
		}
		some = true
		if err := h.o.Directory.ActivateSigningKey(ctx, domain, k.Selector); err != nil {
			return fault(err)
		}
	}
	if !some {
		return &Fault{KindConflict, domain + " has no signing key that waits: " +
			"\"tram dkim rotate\" makes the next ones"}
	}
	return nil
}
