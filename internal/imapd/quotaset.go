package imapd

import (
	"strings"

	"tram/internal/directory"
	"tram/internal/smtp"
	"tram/internal/store"
)

// QUOTASET, RFC 9208 §4.1.3: an administrator sets the quotas of the accounts of the own domain, whose
// quota roots are called by their addresses. Everybody else may look at the own quota and change
// none. Who logged in with an app password that is not meant for administration is nobody's
// administrator (see directory.Account.Admin).

// maxQuota is the largest limit that can be set; it is some petabytes, or messages.
const maxQuota = 1 << 53

// setQuota is SETQUOTA.
func (s *session) setQuota() error {
	s.dec.SP()
	root := s.dec.AString()
	s.dec.SP()
	quota, refused := s.quotaArguments()
	if err := s.args(); err != nil {
		return err
	}
	if !s.admin {
		return &no{"NOPERM", "Only an administrator may set quotas"}
	}
	if refused != "" {
		return &no{"CANNOT", refused}
	}
	if strings.EqualFold(root, namespaceRoots[1]) {
		return &no{"CANNOT", "The quota of the shared folders is set elsewhere"}
	}
	owner, a, err := s.quotaAccount(root)
	if err != nil {
		return err
	}
	// The directory's word counts: a check makes the store follow it, should what comes next fail.
	if err := s.srv.o.Directory.SetQuota(s.ctx, owner, directory.Quota(quota)); err != nil {
		return err
	}
	if err := s.srv.o.Store.SetQuota(s.ctx, a.ID(), quota); err != nil {
		return err
	}
	s.c.Logger().Info("imap quota set", "account", s.user, "of", uint64(owner),
		"bytes", quota.Bytes, "messages", quota.Messages)
	return s.quotaReply(root, a)
}

// quotaArguments reads the list of limits; what is not named has none (RFC 9208 §4.1.3). refused says
// why limits that are well formed cannot be set.
func (s *session) quotaArguments() (quota store.Quota, refused string) {
	seen := map[string]bool{}
	s.dec.List(func() {
		resource := s.dec.Label()
		s.dec.SP()
		limit := s.dec.Number64()
		if seen[resource] {
			s.dec.Bad("Resource given twice")
		}
		seen[resource] = true
		switch {
		case resource != "STORAGE" && resource != "MESSAGE":
			refused = "Only STORAGE and MESSAGE have limits here"
		case limit == 0 || resource == "STORAGE" && limit > maxQuota/1024 || limit > maxQuota:
			refused = "This limit cannot be set: leave the resource out to have none"
		case resource == "STORAGE":
			quota.Bytes = int64(limit) * 1024
		default:
			quota.Messages = int64(limit)
		}
	})
	return quota, refused
}

// quotaAccount returns the account that a quota root is of. Whether others exist is told to
// administrators of their domain only.
func (s *session) quotaAccount(root string) (directory.AccountID, *store.Account, error) {
	own := directory.AccountID(s.account.ID())
	unknown := &no{"NONEXISTENT", "No such quota root"}
	switch {
	case root == "":
		return own, s.account.Account, nil
	case !s.admin:
		return 0, nil, unknown
	}
	address, err := smtp.ParseAddress(root)
	if err != nil {
		return 0, nil, unknown
	}
	owner, err := s.srv.o.Directory.AccountByAddress(s.ctx, address)
	switch {
	case isAny(err, directory.ErrNotFound, directory.ErrNoUser, directory.ErrNotLocal):
		return 0, nil, unknown
	case err != nil:
		return 0, nil, err
	case owner.Domain != s.domain:
		return 0, nil, unknown
	}
	return owner.ID, s.srv.o.Store.Account(store.AccountID(owner.ID)), nil
}
