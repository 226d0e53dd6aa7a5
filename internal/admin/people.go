package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"tram/internal/directory"
	"tram/internal/smtp"
	"tram/internal/store"
)

// Domain is a domain with how many it serves.
type Domain struct {
	Name     string    `json:"name"`    // as the DNS has it
	Unicode  string    `json:"unicode"` // as people write it
	Accounts int       `json:"accounts"`
	Aliases  int       `json:"aliases"`
	Quota    Quota     `json:"quota"` // of all its accounts together
	Used     Quota     `json:"used"`
	Created  time.Time `json:"created"`
	// Folders are the shared ones; nil while there were never any. Quota and Used count them too.
	Folders *FoldersUse `json:"folders,omitempty"`
}

// DomainChange says what to change of a domain; nil stays as it is.
type DomainChange struct {
	Quota        *Quota `json:"quota,omitempty"`
	FoldersQuota *Quota `json:"folders_quota,omitempty"` // of the shared folders
}

// Domains lists the domains by name.
func (h *House) Domains(ctx context.Context) ([]Domain, error) {
	domains, err := h.o.Directory.Domains(ctx)
	if err != nil {
		return nil, fault(err)
	}
	accounts, err := h.o.Directory.Accounts(ctx, "")
	if err != nil {
		return nil, fault(err)
	}
	aliases, err := h.o.Directory.Aliases(ctx, "")
	if err != nil {
		return nil, fault(err)
	}
	list := make([]Domain, len(domains))
	at := map[string]*Domain{}
	for i, d := range domains {
		if list[i], err = h.showDomain(ctx, d); err != nil {
			return nil, err
		}
		at[d.Name] = &list[i]
	}
	for _, a := range accounts {
		if d := at[a.Domain]; d != nil {
			d.Accounts++
		}
	}
	for _, a := range aliases {
		if d := at[a.Address[strings.LastIndexByte(a.Address, '@')+1:]]; d != nil {
			d.Aliases++
		}
	}
	return list, nil
}

// Domain returns one domain.
func (h *House) Domain(ctx context.Context, name string) (Domain, error) {
	domains, err := h.Domains(ctx)
	if err != nil {
		return Domain{}, err
	}
	d, err := h.o.Directory.Domain(ctx, name)
	if errors.Is(err, directory.ErrNotFound) {
		return Domain{}, noDomain(name)
	}
	i := slices.IndexFunc(domains, func(have Domain) bool { return have.Name == d.Name })
	if err == nil && i < 0 { // removed since
		return Domain{}, noDomain(name)
	}
	if err != nil {
		return Domain{}, fault(err)
	}
	return domains[i], nil
}

func noDomain(name string) error {
	return &Fault{KindNotFound, fmt.Sprintf("there is no domain %s", name)}
}

// AddDomain makes the server answer for a domain.
func (h *House) AddDomain(ctx context.Context, name string) (Domain, error) {
	d, err := h.o.Directory.AddDomain(ctx, name)
	if err != nil {
		return Domain{}, fault(err)
	}
	// The store may know the name from earlier, with the quota that it had then.
	if _, old, err := h.o.Store.DomainUsage(ctx, d.Name); err != nil {
		return Domain{}, fault(err)
	} else if old != store.Quota(d.Quota) {
		if err := h.settleDomain(ctx, d); err != nil {
			return Domain{}, err
		}
	}
	if _, err := h.o.Directory.MakeSigningKeys(ctx, d.Name); err != nil {
		return Domain{}, fault(err)
	}
	h.o.Logger.Info("domain added", "domain", d.Name)
	return h.showDomain(ctx, d)
}

// showDomain leaves out how many accounts and aliases there are.
func (h *House) showDomain(ctx context.Context, d directory.Domain) (Domain, error) {
	used, _, err := h.o.Store.DomainUsage(ctx, d.Name)
	if err != nil {
		return Domain{}, fault(err)
	}
	folders, err := h.foldersUse(ctx, d)
	if err != nil {
		return Domain{}, fault(err)
	}
	return Domain{Name: d.Name, Unicode: smtp.UnicodeDomain(d.Name), Quota: Quota(d.Quota),
		Used: Quota{used.Bytes, used.Messages}, Created: d.Created, Folders: folders}, nil
}

// settleDomain tells the store what the directory decided about a domain.
func (h *House) settleDomain(ctx context.Context, d directory.Domain) error {
	return fault(h.o.Store.SetDomainQuota(ctx, d.Name, store.Quota(d.Quota)))
}

// ChangeDomain changes a domain and returns it.
func (h *House) ChangeDomain(ctx context.Context, name string, c DomainChange) (Domain, error) {
	if c.Quota != nil {
		if err := c.Quota.check(); err != nil {
			return Domain{}, err
		}
		err := h.o.Directory.SetDomainQuota(ctx, name, directory.Quota(*c.Quota))
		if errors.Is(err, directory.ErrNotFound) {
			return Domain{}, noDomain(name)
		}
		if err != nil {
			return Domain{}, fault(err)
		}
	}
	if c.FoldersQuota != nil {
		if err := h.setFoldersQuota(ctx, name, *c.FoldersQuota); err != nil {
			return Domain{}, err
		}
	}
	d, err := h.o.Directory.Domain(ctx, name)
	if err != nil {
		return Domain{}, fault(err)
	}
	if err := h.settleDomain(ctx, d); err != nil {
		return Domain{}, err
	}
	h.o.Logger.Info("domain changed", "domain", d.Name, "quota_bytes", d.Quota.Bytes,
		"quota_messages", d.Quota.Messages)
	return h.Domain(ctx, name)
}

// check refuses what bounds nothing.
func (q Quota) check() error {
	if q.Bytes < 0 || q.Messages < 0 {
		return invalid("a quota is not below 0: 0 is no bound")
	}
	return nil
}

// RemoveDomain ends that; a domain that has accounts or aliases stays.
func (h *House) RemoveDomain(ctx context.Context, name string) error {
	d, err := h.o.Directory.Domain(ctx, name)
	if err != nil {
		return fault(err)
	}
	if d.Folders != 0 {
		if err := h.removeFolders(ctx, d); err != nil {
			return err
		}
	}
	if err := h.o.Directory.RemoveDomain(ctx, name); err != nil {
		return fault(err)
	}
	if err := h.o.Store.ForgetDomain(ctx, d.Name); err != nil {
		return fault(err)
	}
	h.o.Logger.Info("domain removed", "domain", name)
	return nil
}

// Account is a person with what they have stored.
type Account struct {
	ID       uint64    `json:"id"`
	Address  string    `json:"address"`
	Name     string    `json:"name,omitempty"`
	Disabled bool      `json:"disabled"`
	Admin    bool      `json:"admin"`
	Created  time.Time `json:"created"`
	Quota    Quota     `json:"quota"`
	Used     Quota     `json:"used"`
	// Recoverable is deleted mail that can still be brought back; it is not in Used.
	Recoverable Quota `json:"recoverable"`
	POP3        POP3  `json:"pop3"`
	// Password is the generated one, in the answer that made it and nowhere else.
	Password string `json:"password,omitempty"`
}

// NewAccount describes an account to add.
type NewAccount struct {
	Address  string `json:"address"`
	Name     string `json:"name,omitempty"`
	Password string `json:"password,omitempty"` // "": one is generated
	Admin    bool   `json:"admin,omitempty"`
	Quota    Quota  `json:"quota"`
	// AllowCommonPassword is for the demo, whose password is known to all.
	AllowCommonPassword bool `json:"-"`
}

// AccountChange says what to change of an account; nil stays as it is.
type AccountChange struct {
	Name     *string `json:"name,omitempty"`
	Quota    *Quota  `json:"quota,omitempty"`
	Admin    *bool   `json:"admin,omitempty"`
	Disabled *bool   `json:"disabled,omitempty"`
	POP3     *POP3   `json:"pop3,omitempty"` // all of it
	// Password: "" generates one.
	Password *string `json:"password,omitempty"`
}

// Accounts lists the accounts of a domain, of all with "".
func (h *House) Accounts(ctx context.Context, domain string) ([]Account, error) {
	accounts, err := h.o.Directory.Accounts(ctx, domain)
	if err != nil {
		return nil, fault(err)
	}
	list := make([]Account, 0, len(accounts))
	for _, a := range accounts {
		shown, err := h.show(ctx, a)
		if err != nil {
			return nil, err
		}
		list = append(list, shown)
	}
	return list, nil
}

func (h *House) show(ctx context.Context, a directory.Account) (Account, error) {
	used, _, err := h.o.Store.Account(store.AccountID(a.ID)).Usage(ctx)
	if err != nil {
		return Account{}, fault(err)
	}
	pop3, err := h.showPOP3(ctx, a)
	if err != nil {
		return Account{}, err
	}
	return Account{
		ID: uint64(a.ID), Address: a.Address.Unicode(), Name: a.Name, Disabled: a.Disabled,
		Admin: a.Admin, Created: a.Created, Quota: Quota(a.Quota),
		Used:        Quota{used.Bytes, used.Messages},
		Recoverable: Quota{used.RecoverableBytes, used.RecoverableMessages},
		POP3:        pop3,
	}, nil
}

// find returns the account of an address.
func (h *House) find(ctx context.Context, address string) (directory.Account, error) {
	a, err := smtp.ParseAddress(address)
	if err != nil {
		return directory.Account{}, invalid("%q is not an address such as anna@example.com", address)
	}
	account, err := h.o.Directory.AccountByAddress(ctx, a)
	if errors.Is(err, directory.ErrNotFound) || errors.Is(err, directory.ErrNoUser) ||
		errors.Is(err, directory.ErrNotLocal) {
		return account, &Fault{KindNotFound, fmt.Sprintf("there is no account %s", address)}
	}
	return account, fault(err)
}

// Account returns one account.
func (h *House) Account(ctx context.Context, address string) (Account, error) {
	a, err := h.find(ctx, address)
	if err != nil {
		return Account{}, err
	}
	return h.show(ctx, a)
}

// AddAccount adds an account. Its domain must be there.
func (h *House) AddAccount(ctx context.Context, n NewAccount) (Account, error) {
	address, err := smtp.ParseAddress(n.Address)
	if err != nil {
		return Account{}, invalid("%q is not an address such as anna@example.com", n.Address)
	}
	if err := n.Quota.check(); err != nil {
		return Account{}, err
	}
	generated := ""
	if n.Password == "" {
		if generated, err = Password(h.o.Rand); err != nil {
			return Account{}, err
		}
		n.Password = generated
	}
	a, err := h.o.Directory.AddAccount(ctx, directory.AccountOptions{
		Address: address, Password: n.Password, Name: n.Name, Admin: n.Admin,
		Quota: directory.Quota(n.Quota), AllowCommonPassword: n.AllowCommonPassword,
	})
	if err != nil {
		return Account{}, domainFault(err, address.Domain)
	}
	if err := h.settle(ctx, a, true); err != nil {
		return Account{}, err
	}
	h.o.Logger.Info("account added", "account", uint64(a.ID), "address", a.Address.String())
	shown, err := h.show(ctx, a)
	shown.Password = generated
	return shown, err
}

// domainFault says what to do when the domain of a new address is not ours.
func domainFault(err error, domain string) error {
	if errors.Is(err, directory.ErrNotFound) || errors.Is(err, directory.ErrNotLocal) {
		return &Fault{KindNotFound, fmt.Sprintf("%s is not a domain of this server: "+
			"add it first with \"tram domain add %s\"", domain, domain)}
	}
	return fault(err)
}

// settle tells the store what the directory decided about an account; one that the store has not
// seen yet has no quota there.
func (h *House) settle(ctx context.Context, a directory.Account, fresh bool) error {
	id := store.AccountID(a.ID)
	if err := h.o.Store.SetDomain(ctx, id, a.Domain); err != nil {
		return fault(err)
	}
	if fresh && a.Quota == (directory.Quota{}) {
		return nil
	}
	return fault(h.o.Store.SetQuota(ctx, id, store.Quota(a.Quota)))
}

// ChangeAccount changes an account and returns it, with a generated password if one was asked for.
func (h *House) ChangeAccount(ctx context.Context, address string, c AccountChange) (Account, error) {
	a, err := h.find(ctx, address)
	if err != nil {
		return Account{}, err
	}
	if c.Quota != nil {
		if err := c.Quota.check(); err != nil {
			return Account{}, err
		}
	}
	generated := ""
	if c.Password != nil && *c.Password == "" {
		if generated, err = Password(h.o.Rand); err != nil {
			return Account{}, err
		}
		c.Password = &generated
	}
	if c.POP3 != nil {
		if err := h.setPOP3(ctx, a, *c.POP3); err != nil {
			return Account{}, fault(err)
		}
	}
	if err := h.change(ctx, a.ID, c); err != nil {
		return Account{}, fault(err)
	}
	if a, err = h.o.Directory.Account(ctx, a.ID); err != nil {
		return Account{}, fault(err)
	}
	if err := h.settle(ctx, a, false); err != nil {
		return Account{}, err
	}
	h.o.Logger.Info("account changed", "account", uint64(a.ID), "address", a.Address.String(),
		"password", c.Password != nil, "disabled", a.Disabled)
	shown, err := h.show(ctx, a)
	shown.Password = generated
	return shown, err
}

func (h *House) change(ctx context.Context, id directory.AccountID, c AccountChange) error {
	d := h.o.Directory
	if c.Password != nil {
		if err := d.SetPassword(ctx, id, *c.Password); err != nil {
			return err
		}
	}
	if c.Disabled != nil {
		if err := d.SetDisabled(ctx, id, *c.Disabled); err != nil {
			return err
		}
	}
	if c.Name != nil {
		if err := d.SetName(ctx, id, *c.Name); err != nil {
			return err
		}
	}
	if c.Admin != nil {
		if err := d.SetAdmin(ctx, id, *c.Admin); err != nil {
			return err
		}
	}
	if c.Quota != nil {
		return d.SetQuota(ctx, id, directory.Quota(*c.Quota))
	}
	return nil
}

// RemoveAccount removes an account with all its mail, for good. Disabled first and forgotten last,
// it can be repeated when it was interrupted.
func (h *House) RemoveAccount(ctx context.Context, address string) error {
	a, err := h.find(ctx, address)
	if err != nil {
		return err
	}
	if err := h.o.Directory.SetDisabled(ctx, a.ID, true); err != nil {
		return fault(err)
	}
	if err := h.o.Store.Remove(store.Freeing(ctx), store.AccountID(a.ID)); err != nil {
		return fault(err)
	}
	if err := h.forgetSpam(ctx, a.ID); err != nil {
		return err
	}
	if err := h.o.Directory.RemoveAccount(ctx, a.ID); err != nil {
		return fault(err)
	}
	h.o.Logger.Info("account removed", "account", uint64(a.ID), "address", a.Address.String())
	return nil
}

// Alias sends mail for an address elsewhere; "@example.com" catches what is left of a domain.
type Alias struct {
	Address string    `json:"address"`
	Targets []string  `json:"targets"`
	Created time.Time `json:"created,omitzero"`
}

// Aliases lists the aliases of a domain, of all with "".
func (h *House) Aliases(ctx context.Context, domain string) ([]Alias, error) {
	aliases, err := h.o.Directory.Aliases(ctx, domain)
	if err != nil {
		return nil, fault(err)
	}
	list := make([]Alias, len(aliases))
	for i, a := range aliases {
		list[i] = Alias{Address: a.Address, Created: a.Created}
		for _, t := range a.Targets {
			list[i].Targets = append(list[i].Targets, t.Unicode())
		}
	}
	return list, nil
}

// AddAlias adds an alias.
func (h *House) AddAlias(ctx context.Context, a Alias) error {
	if len(a.Targets) == 0 {
		return invalid("alias %s has no target", a.Address)
	}
	alias := directory.Alias{Address: a.Address}
	for _, t := range a.Targets {
		target, err := smtp.ParseAddress(t)
		if err != nil {
			return invalid("%q is not an address such as anna@example.com", t)
		}
		if !slices.Contains(alias.Targets, target) {
			alias.Targets = append(alias.Targets, target)
		}
	}
	if err := h.o.Directory.AddAlias(ctx, alias); err != nil {
		return domainFault(err, a.Address[strings.LastIndexByte(a.Address, '@')+1:])
	}
	h.o.Logger.Info("alias added", "address", a.Address)
	return nil
}

// RemoveAlias removes an alias.
func (h *House) RemoveAlias(ctx context.Context, address string) error {
	if err := h.o.Directory.RemoveAlias(ctx, address); err != nil {
		return fault(err)
	}
	h.o.Logger.Info("alias removed", "address", address)
	return nil
}

// passwordAlphabet has 32 letters and digits that are not mistaken for each other.
const passwordAlphabet = "abcdefghijkmnpqrstuvwxyz23456789"

// Password generates a password of 100 random bits that can be read over the telephone.
func Password(rand io.Reader) (string, error) {
	random := make([]byte, 20)
	if _, err := io.ReadFull(rand, random); err != nil {
		return "", fmt.Errorf("generate password: %w", err)
	}
	var b strings.Builder
	for i, r := range random {
		if i > 0 && i%5 == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(passwordAlphabet[r%32])
	}
	return b.String(), nil
}
