package admin

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"

	"tram/internal/directory"
	"tram/internal/scan"
	"tram/internal/smtp"
	"tram/internal/spam"
	"tram/internal/store"
	"tram/internal/trace"
)

// maxTaught is how much of a message is read that somebody teaches with; see Client.SpamLearn.
const maxTaught = 700 << 10

// SpamReason is why a message was judged as it was, for one recipient.
type SpamReason struct {
	ID       string        `json:"id"`
	To       string        `json:"to"`
	Result   string        `json:"result"`
	Score    float64       `json:"score"`
	Required float64       `json:"required"`
	Reasons  []spam.Reason `json:"reasons"`
}

// SpamRule is an entry of an allow or deny list.
type SpamRule struct {
	Do    string `json:"do"` // "allow" or "deny"
	Value string `json:"value"`
	Note  string `json:"note,omitempty"`
}

// SpamRules are entries of one list.
type SpamRules struct {
	Rules []SpamRule `json:"rules"`
}

// SpamPolicy is what a scope has set, and what holds there.
type SpamPolicy struct {
	Set   spam.PolicyChange `json:"set"`
	Holds spam.Policy       `json:"holds"`
}

// SpamPolicyChange changes it.
type SpamPolicyChange struct {
	Set   spam.PolicyChange `json:"set"`
	Reset bool              `json:"reset,omitempty"`
}

// SpamLesson is a message to learn from.
type SpamLesson struct {
	Account string `json:"account,omitempty"` // "": for all
	Junk    bool   `json:"junk"`
	Message []byte `json:"message"`
}

// SpamLetIn is what SpamLetIn has done.
type SpamLetIn struct {
	Message spam.Refused `json:"message"`
	Rules   []SpamRule   `json:"rules"`
}

// judge returns the room, or says that it is not there.
func (h *House) judge() (*spam.Judge, error) {
	if h.o.Spam == nil {
		return nil, &Fault{KindConflict, "mail is not judged here: [spam] in the configuration is switched off"}
	}
	return h.o.Spam, nil
}

// scopes reads whose list is meant: "" the server's, a domain's, or a person's by address. The scopes
// that are above it follow.
func (h *House) scopes(ctx context.Context, of string) ([]spam.Scope, error) {
	switch {
	case of == "":
		return []spam.Scope{spam.Server}, nil
	case strings.Contains(of, "@"):
		a, err := h.find(ctx, of)
		if err != nil {
			return nil, err
		}
		return []spam.Scope{spam.AccountScope(uint64(a.ID)), spam.Scope(a.Address.Domain), spam.Server}, nil
	}
	d, err := h.o.Directory.Domain(ctx, of)
	if err != nil {
		return nil, fault(err)
	}
	return []spam.Scope{spam.Scope(d.Name), spam.Server}, nil
}

// SpamExplain says why a message was judged as it was: one answer for each recipient.
func (h *House) SpamExplain(ctx context.Context, id, language string) ([]SpamReason, error) {
	if language != spam.English && language != spam.Vietnamese {
		return nil, invalid("language %q is neither %s nor %s", language, spam.English, spam.Vietnamese)
	}
	events, err := h.o.Trace.Find(ctx, id, 0)
	if err != nil {
		return nil, fault(err)
	}
	list := []SpamReason{}
	for _, e := range events {
		if r, ok := explained(e, language); ok {
			list = append(list, r)
		}
	}
	if len(list) == 0 {
		return nil, &Fault{KindNotFound, fmt.Sprintf("nothing is known of how %q was judged", id)}
	}
	return list, nil
}

func explained(e trace.Event, language string) (SpamReason, bool) {
	if e.Step != "spam" {
		return SpamReason{}, false
	}
	d, ok := spam.ParseRecord(e.Detail)
	return SpamReason{ID: e.ID, To: e.To, Result: e.Result, Score: d.Score, Required: d.Required,
		Reasons: spam.Explain(d.Signs, language, scan.Sentence)}, ok
}

// SpamRules lists the entries of a scope.
func (h *House) SpamRules(ctx context.Context, of string) (SpamRules, error) {
	out := SpamRules{Rules: []SpamRule{}}
	j, err := h.judge()
	if err != nil {
		return out, err
	}
	scopes, err := h.scopes(ctx, of)
	if err != nil {
		return out, err
	}
	rules, err := j.Rules(ctx, scopes[0])
	for _, r := range rules {
		out.Rules = append(out.Rules, showRule(r))
	}
	return out, fault(err)
}

func showRule(r spam.Rule) SpamRule {
	do, _, _ := strings.Cut(r.String(), " ")
	return SpamRule{Do: do, Value: r.Value, Note: r.Note}
}

// SpamAddRules adds entries to the list of a scope.
func (h *House) SpamAddRules(ctx context.Context, of string, in SpamRules) error {
	j, err := h.judge()
	if err != nil {
		return err
	}
	scopes, err := h.scopes(ctx, of)
	if err != nil {
		return err
	}
	var rules []spam.Rule
	for _, r := range in.Rules {
		if r.Do != "allow" && r.Do != "deny" {
			return invalid("%q is neither allow nor deny", r.Do)
		}
		rule, err := spam.ParseRule(r.Do == "allow", r.Value)
		if err != nil {
			return fault(err)
		}
		rule.Note = r.Note
		rules = append(rules, rule)
	}
	return fault(j.AddRules(ctx, scopes[0], rules...))
}

// SpamRemoveRule takes an entry off the list of a scope.
func (h *House) SpamRemoveRule(ctx context.Context, of, value string) error {
	j, err := h.judge()
	if err != nil {
		return err
	}
	scopes, err := h.scopes(ctx, of)
	if err != nil {
		return err
	}
	return fault(j.RemoveRule(ctx, scopes[0], value))
}

// SpamPolicy tells the thresholds of a scope.
func (h *House) SpamPolicy(ctx context.Context, of string) (SpamPolicy, error) {
	j, err := h.judge()
	if err != nil {
		return SpamPolicy{}, err
	}
	scopes, err := h.scopes(ctx, of)
	if err != nil {
		return SpamPolicy{}, err
	}
	set, holds, err := j.Policy(ctx, scopes...)
	return SpamPolicy{set, holds}, fault(err)
}

// SpamSetPolicy changes them.
func (h *House) SpamSetPolicy(ctx context.Context, of string, c SpamPolicyChange) error {
	j, err := h.judge()
	if err != nil {
		return err
	}
	for _, f := range []*float64{c.Set.Junk, c.Set.Quarantine, c.Set.Reject} {
		if f != nil && !(*f >= 0 && *f <= 1000) {
			return invalid("%v is not a score from 0 to 1000", *f)
		}
	}
	scopes, err := h.scopes(ctx, of)
	if err != nil {
		return err
	}
	return fault(j.SetPolicy(ctx, scopes[0], c.Set, c.Reset))
}

// SpamRejects lists what was refused at the door, the latest first.
func (h *House) SpamRejects(ctx context.Context, about string, limit int) ([]spam.Refused, error) {
	j, err := h.judge()
	if err != nil {
		return nil, err
	}
	if limit <= 0 {
		limit = 100
	}
	list, err := j.Refusals(ctx, about, limit)
	if list == nil {
		list = []spam.Refused{}
	}
	return list, fault(err)
}

// SpamLetIn allows the sender of a refused message for those it was for.
func (h *House) SpamLetIn(ctx context.Context, id string) (SpamLetIn, error) {
	j, err := h.judge()
	if err != nil {
		return SpamLetIn{}, err
	}
	m, rules, err := j.LetIn(ctx, id)
	if err != nil {
		return SpamLetIn{}, fault(err)
	}
	out := SpamLetIn{Message: m}
	for _, r := range rules {
		out.Rules = append(out.Rules, showRule(r))
	}
	h.o.Logger.Info("sender let in", "id", id, "rules", fmt.Sprint(rules))
	return out, nil
}

// SpamSuppressed lists addresses elsewhere that do not exist.
func (h *House) SpamSuppressed(ctx context.Context, after string, limit int) ([]spam.Suppressed, error) {
	j, err := h.judge()
	if err != nil {
		return nil, err
	}
	if limit <= 0 {
		limit = 100
	}
	list, err := j.SuppressedList(ctx, after, limit)
	if list == nil {
		list = []spam.Suppressed{}
	}
	return list, fault(err)
}

// SpamUnsuppress takes an address off that list.
func (h *House) SpamUnsuppress(ctx context.Context, address string) error {
	j, err := h.judge()
	if err != nil {
		return err
	}
	a, err := smtp.ParseAddress(address)
	if err != nil {
		return invalid("%q is not an address", address)
	}
	return fault(j.Unsuppress(ctx, a))
}

// SpamReputation tells what is known of an address, a domain or a network.
func (h *House) SpamReputation(ctx context.Context, name, of string) ([]spam.Reputation, error) {
	j, err := h.judge()
	if err != nil {
		return nil, err
	}
	scopes, err := h.scopes(ctx, of)
	if err != nil {
		return nil, err
	}
	list, err := j.Reputation(ctx, scopes[0], strings.ToLower(name))
	if list == nil {
		list = []spam.Reputation{}
	}
	return list, fault(err)
}

// SpamLearn learns from a message that somebody has collected.
func (h *House) SpamLearn(ctx context.Context, l SpamLesson) error {
	if _, err := h.judge(); err != nil {
		return err
	}
	to := spam.Person{}
	if l.Account != "" {
		a, err := h.find(ctx, l.Account)
		if err != nil {
			return err
		}
		to = spam.Person{Account: uint64(a.ID), Address: a.Address}
	}
	n, err := h.o.Learner.Read(ctx, bytes.NewReader(l.Message), to, l.Junk)
	if err == nil && n == 0 {
		return invalid("that is not a message")
	}
	return fault(err)
}

// forgetSpam removes what is known of an account that goes.
func (h *House) forgetSpam(ctx context.Context, id directory.AccountID) error {
	if h.o.Spam == nil {
		return nil
	}
	return fault(h.o.Spam.Forget(store.Freeing(ctx), uint64(id)))
}

// spamRoutes are this file's operations over HTTP.
func (h *House) spamRoutes() map[string]func(*http.Request) (any, error) {
	return map[string]func(*http.Request) (any, error){
		"GET /v1/spam/explain/{id}": func(r *http.Request) (any, error) {
			return h.SpamExplain(r.Context(), r.PathValue("id"), r.FormValue("lang"))
		},
		"GET /v1/spam/rules": func(r *http.Request) (any, error) {
			return h.SpamRules(r.Context(), r.FormValue("of"))
		},
		"POST /v1/spam/rules": body(func(r *http.Request, in SpamRules) (any, error) {
			return nil, h.SpamAddRules(r.Context(), r.FormValue("of"), in)
		}),
		"DELETE /v1/spam/rules": func(r *http.Request) (any, error) {
			return nil, h.SpamRemoveRule(r.Context(), r.FormValue("of"), r.FormValue("value"))
		},
		"GET /v1/spam/policy": func(r *http.Request) (any, error) {
			return h.SpamPolicy(r.Context(), r.FormValue("of"))
		},
		"PATCH /v1/spam/policy": body(func(r *http.Request, c SpamPolicyChange) (any, error) {
			return nil, h.SpamSetPolicy(r.Context(), r.FormValue("of"), c)
		}),
		"GET /v1/spam/rejects": func(r *http.Request) (any, error) {
			limit, err := number(r, "limit")
			if err != nil {
				return nil, err
			}
			return h.SpamRejects(r.Context(), r.FormValue("about"), limit)
		},
		"POST /v1/spam/rejects/{id}": body(func(r *http.Request, _ struct{}) (any, error) {
			return h.SpamLetIn(r.Context(), r.PathValue("id"))
		}),
		"GET /v1/spam/suppressed": func(r *http.Request) (any, error) {
			limit, err := number(r, "limit")
			if err != nil {
				return nil, err
			}
			return h.SpamSuppressed(r.Context(), r.FormValue("after"), limit)
		},
		"DELETE /v1/spam/suppressed/{address}": func(r *http.Request) (any, error) {
			return nil, h.SpamUnsuppress(r.Context(), r.PathValue("address"))
		},
		"GET /v1/spam/reputation": func(r *http.Request) (any, error) {
			return h.SpamReputation(r.Context(), r.FormValue("name"), r.FormValue("of"))
		},
		"POST /v1/spam/learn": body(func(r *http.Request, l SpamLesson) (any, error) {
			return nil, h.SpamLearn(r.Context(), l)
		}),
	}
}
