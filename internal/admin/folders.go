package admin

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"tram/internal/directory"
	"tram/internal/smtp"
	"tram/internal/store"
)

// Folder is a folder of a domain, or of an account, and who has access to it beside its owner.
type Folder struct {
	Name     string   `json:"name"`
	Messages int64    `json:"messages"`
	Bytes    int64    `json:"bytes"`
	Access   []Access `json:"access"`
}

// Access is what somebody may do with a folder.
type Access struct {
	Who string `json:"who"` // an address, or "anyone" of the domain
	// Rights are letters of RFC 4314, or one of the words of AccessWords.
	Rights string `json:"rights"`
}

// FolderChange says what to change of a folder; nil stays as it is.
type FolderChange struct {
	Name    string  `json:"name"`
	NewName *string `json:"new_name,omitempty"`
	Access  *Access `json:"access,omitempty"`
}

// AccessWords are rights that go together, from few to all, as people call them.
var AccessWords = []struct{ Word, Rights, Means string }{
	{"none", "", "may not even see it"},
	{"read", "lrs", "sees it and reads it"},
	{"write", "lrswite", "also files, flags, moves and deletes messages in it"},
	{"manage", "lrswipkxtea", "also makes and deletes folders below it, and shares them"},
}

// Text is the word for rights, or their letters.
func (a Access) Text() string {
	for _, w := range AccessWords {
		if w.Rights == a.Rights {
			return w.Word
		}
	}
	return a.Rights
}

const anyone = "anyone"

// folderOwner is whose folders are meant: a domain's or an account's.
type folderOwner struct {
	id     store.AccountID // 0: a domain that has none yet
	domain string
	name   string
	shared bool // a domain's
}

// owner finds it by an address or a domain's name.
func (h *House) owner(ctx context.Context, owner string) (folderOwner, error) {
	if strings.Contains(owner, "@") {
		a, err := h.find(ctx, owner)
		return folderOwner{id: store.AccountID(a.ID), domain: a.Domain, name: a.Address.Unicode()}, err
	}
	d, err := h.o.Directory.Domain(ctx, owner)
	if errors.Is(err, directory.ErrNotFound) {
		return folderOwner{}, noDomain(owner)
	}
	if err != nil {
		return folderOwner{}, fault(err)
	}
	return folderOwner{
		id: store.AccountID(d.Folders), domain: d.Name, name: smtp.UnicodeDomain(d.Name), shared: true,
	}, nil
}

// folders is the handle of the owner. A domain's is that of its administrators, which makes no account of
// what is not there.
func (h *House) folders(o *folderOwner) *store.Account {
	a := h.o.Store.Account(o.id)
	if o.shared {
		a = a.As(store.Person{Domain: o.domain, Admin: true})
	}
	return a
}

// noFolder is the fault for a folder that is not there.
func (o *folderOwner) noFolder(name string) error {
	return &Fault{KindNotFound, fmt.Sprintf("%s has no folder \"%s\"", o.name, name)}
}

// fault puts the store's refusals into words.
func (o *folderOwner) fault(err error, name string) error {
	for _, row := range []struct {
		err        error
		kind, text string
	}{
		{store.ErrExists, KindExists, "%s has a folder \"%s\" already"},
		{store.ErrHasChildren, KindConflict, "%s has folders below \"%s\": remove those first"},
		{store.ErrProtected, KindConflict, "%s cannot do without \"%s\""},
		{store.ErrTooMany, KindConflict, "%s: \"%s\" is shared with as many as can be, or there are too many folders"},
		{store.ErrInvalidName, KindInvalid, "%s cannot have a folder \"%s\": the name is not possible"},
	} {
		if errors.Is(err, row.err) {
			return &Fault{row.kind, fmt.Sprintf(row.text, o.name, name)}
		}
	}
	if errors.Is(err, store.ErrNotFound) {
		return o.noFolder(name)
	}
	return fault(err)
}

// SharedFolders lists the folders of a domain, or those of an account, with who has access.
func (h *House) SharedFolders(ctx context.Context, owner string) ([]Folder, error) {
	o, err := h.owner(ctx, owner)
	if err != nil || o.id == 0 {
		return []Folder{}, err
	}
	list := []Folder{}
	err = h.folders(&o).View(ctx, func(tx *store.Tx) error {
		list = list[:0]
		all, err := tx.Mailboxes()
		for _, m := range all {
			if err != nil {
				break
			}
			var f Folder
			if f, err = h.showFolder(ctx, tx, m); err == nil {
				list = append(list, f)
			}
		}
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		err = nil // of a domain, and not yet made
	}
	return list, fault(err)
}

func (h *House) showFolder(ctx context.Context, tx *store.Tx, m *store.Mailbox) (Folder, error) {
	f := Folder{Name: m.Name, Messages: int64(m.Messages), Bytes: m.Size, Access: []Access{}}
	acl, err := tx.ACL(m.ID)
	for _, e := range acl {
		who := anyone
		if e.Who != store.Anyone {
			a, err := h.o.Directory.Account(ctx, directory.AccountID(e.Who))
			if errors.Is(err, directory.ErrNotFound) {
				continue // of somebody who is being removed
			}
			if err != nil {
				return f, err
			}
			who = a.Address.Unicode()
		}
		f.Access = append(f.Access, Access{who, e.Rights.String()})
	}
	return f, err
}

// folder returns one folder.
func (h *House) folder(ctx context.Context, o *folderOwner, name string) (f Folder, err error) {
	err = h.folders(o).View(ctx, func(tx *store.Tx) error {
		m, err := tx.MailboxByName(name)
		if err == nil {
			f, err = h.showFolder(ctx, tx, m)
		}
		return err
	})
	return f, o.fault(err, name)
}

// AddFolder makes a shared folder of a domain, and with the first what it takes to have any.
func (h *House) AddFolder(ctx context.Context, owner string, f Folder) (Folder, error) {
	o, err := h.owner(ctx, owner)
	if err != nil {
		return Folder{}, err
	}
	if !o.shared {
		return Folder{}, o.notItsOwn()
	}
	if o.id == 0 {
		id, err := h.o.Directory.MakeFolders(ctx, o.domain)
		if err != nil {
			return Folder{}, fault(err)
		}
		o.id = store.AccountID(id)
	}
	// Also when they were made before: that may have been cut short.
	if err := h.settleFolders(ctx, o.domain, o.id); err != nil {
		return Folder{}, err
	}
	err = h.folders(&o).Update(ctx, func(tx *store.Tx) error {
		_, err := tx.CreateMailbox(f.Name, store.CreateOptions{})
		return err
	})
	if err != nil {
		return Folder{}, o.fault(err, f.Name)
	}
	h.o.Logger.Info("shared folder added", "domain", o.domain, "folder", f.Name)
	return h.folder(ctx, &o, f.Name)
}

// settleFolders tells the store what the directory decided about a domain's shared folders.
func (h *House) settleFolders(ctx context.Context, domain string, id store.AccountID) error {
	d, err := h.o.Directory.Domain(ctx, domain)
	if err != nil {
		return fault(err)
	}
	if err := h.o.Store.MakeFolders(ctx, id, domain); err != nil {
		return fault(err)
	}
	_, now, err := h.o.Store.Account(id).Usage(ctx)
	if err != nil || now == store.Quota(d.FoldersQuota) {
		return fault(err)
	}
	return fault(h.o.Store.SetQuota(ctx, id, store.Quota(d.FoldersQuota)))
}

// notItsOwn is the fault for work on the folders of an account that belongs to the account.
func (o *folderOwner) notItsOwn() error {
	return invalid("the folders of %s are its own to make, rename and remove; "+
		"name a domain for its shared folders", o.name)
}

// ChangeFolder renames a shared folder of a domain, or says who has access to one of a domain or an
// account, and returns it.
func (h *House) ChangeFolder(ctx context.Context, owner string, c FolderChange) (Folder, error) {
	o, err := h.owner(ctx, owner)
	if err != nil {
		return Folder{}, err
	}
	if o.id == 0 {
		return Folder{}, o.noFolder(c.Name)
	}
	if c.Access != nil {
		if err := h.setAccess(ctx, &o, c.Name, *c.Access); err != nil {
			return Folder{}, err
		}
	}
	if c.NewName == nil {
		return h.folder(ctx, &o, c.Name)
	}
	if !o.shared {
		return Folder{}, o.notItsOwn()
	}
	err = h.onFolder(ctx, &o, c.Name, func(tx *store.Tx, id store.MailboxID) error {
		return o.fault(tx.RenameMailbox(id, *c.NewName), *c.NewName)
	})
	if err != nil {
		return Folder{}, err
	}
	h.o.Logger.Info("shared folder renamed", "domain", o.domain, "folder", c.Name, "to", *c.NewName)
	return h.folder(ctx, &o, *c.NewName)
}

// onFolder runs fn in a transaction of the folder's owner.
func (h *House) onFolder(ctx context.Context, o *folderOwner, name string,
	fn func(*store.Tx, store.MailboxID) error) error {
	err := h.folders(o).Update(ctx, func(tx *store.Tx) error {
		id, _, err := tx.FindMailbox(name)
		if err != nil {
			return o.fault(err, name)
		}
		return fn(tx, id)
	})
	return o.fault(err, name)
}

// setAccess finds out who is meant, in the owner's domain, and what of.
func (h *House) setAccess(ctx context.Context, o *folderOwner, name string, a Access) error {
	letters := a.Rights
	for _, w := range AccessWords {
		if w.Word == a.Rights {
			letters = w.Rights
		}
	}
	rights, err := store.ParseRights(letters)
	if err != nil {
		return invalid("%q is no access, which would be none, read, write, manage, or letters of %s",
			a.Rights, store.AllRights)
	}
	change := store.ACLChange{Who: store.Anyone, Rights: rights}
	if a.Who != anyone {
		account, err := h.find(ctx, a.Who)
		if err != nil {
			return err
		}
		if account.Domain != o.domain {
			return invalid("%s is of another domain: folders are shared within %s", a.Who,
				smtp.UnicodeDomain(o.domain))
		}
		if change.Who = store.AccountID(account.ID); change.Who == o.id {
			return invalid("%s is the folder's owner, who may do everything", a.Who)
		}
	}
	var id store.MailboxID
	err = h.folders(o).View(ctx, func(tx *store.Tx) (err error) {
		id, _, err = tx.FindMailbox(name)
		return err
	})
	if err == nil {
		err = h.folders(o).SetACL(ctx, o.domain, id, change)
	}
	if err != nil {
		return o.fault(err, name)
	}
	h.o.Logger.Info("folder shared", "owner", o.name, "folder", name, "who", a.Who, "rights", rights.String())
	return nil
}

// RemoveFolder removes a shared folder of a domain. Its messages can be recovered for a while.
func (h *House) RemoveFolder(ctx context.Context, owner, name string) error {
	o, err := h.owner(ctx, owner)
	switch {
	case err != nil:
		return err
	case !o.shared:
		return o.notItsOwn()
	case o.id == 0:
		return o.noFolder(name)
	}
	err = h.onFolder(store.Freeing(ctx), &o, name, func(tx *store.Tx, id store.MailboxID) error {
		return tx.DeleteMailbox(id)
	})
	if err == nil {
		h.o.Logger.Info("shared folder removed", "domain", o.domain, "folder", name)
	}
	return err
}

// removeFolders removes what a domain's shared folders are kept under, when there are none left.
func (h *House) removeFolders(ctx context.Context, d directory.Domain) error {
	left, err := h.SharedFolders(ctx, d.Name)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return &Fault{KindConflict, fmt.Sprintf("%s has shared folders: remove them first", smtp.UnicodeDomain(d.Name))}
	}
	return fault(h.o.Store.Remove(store.Freeing(ctx), store.AccountID(d.Folders)))
}

// FoldersUse is what a domain's shared folders may store, and do.
type FoldersUse struct {
	Quota Quota `json:"quota"`
	Used  Quota `json:"used"`
}

// foldersUse returns it, nil for a domain without.
func (h *House) foldersUse(ctx context.Context, d directory.Domain) (*FoldersUse, error) {
	u := &FoldersUse{Quota: Quota(d.FoldersQuota)}
	switch {
	case d.Folders == 0 && u.Quota == Quota{}:
		return nil, nil
	case d.Folders == 0:
		return u, nil
	}
	o := folderOwner{id: store.AccountID(d.Folders), domain: d.Name, shared: true}
	err := h.folders(&o).View(ctx, func(tx *store.Tx) error {
		used, _ := tx.Usage()
		u.Used = Quota{used.Bytes, used.Messages}
		return nil
	})
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	return u, err
}

// setFoldersQuota bounds a domain's shared folders.
func (h *House) setFoldersQuota(ctx context.Context, name string, q Quota) error {
	if err := q.check(); err != nil {
		return err
	}
	d, err := h.o.Directory.Domain(ctx, name)
	if errors.Is(err, directory.ErrNotFound) {
		return noDomain(name)
	}
	if err == nil {
		err = h.o.Directory.SetFoldersQuota(ctx, name, directory.Quota(q))
	}
	if err != nil || d.Folders == 0 {
		return fault(err)
	}
	return h.settleFolders(ctx, d.Name, store.AccountID(d.Folders))
}

// restoreFolders brings directory and store together about the domains' shared folders, after one of
// them has lost its row.
func (h *House) restoreFolders(ctx context.Context, did func(Finding)) error {
	kept, err := h.o.Store.Folders(ctx)
	if err != nil {
		return err
	}
	domains, err := h.o.Directory.Domains(ctx)
	for _, d := range domains {
		id := kept[d.Name]
		switch {
		case err != nil:
			return err
		case d.Folders == 0 && id != 0:
			err = h.o.Directory.RestoreFolders(ctx, d.Name, directory.AccountID(id))
		case d.Folders != 0 && id != store.AccountID(d.Folders):
			err = h.settleFolders(ctx, d.Name, store.AccountID(d.Folders))
		default:
			continue
		}
		did(Finding{Kind: "folders", Where: "domain " + d.Name, What: "has its shared folders again"})
	}
	return err
}
