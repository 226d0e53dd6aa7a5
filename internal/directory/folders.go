package directory

import (
	"context"
	"fmt"

	"tram/internal/kv"
)

// MakeFolders gives a domain an identifier to keep its shared folders under: an account's, that nobody
// has, with no address and no log-in. A domain that has one keeps it. ErrNotFound.
func (d *Directory) MakeFolders(ctx context.Context, domain string) (AccountID, error) {
	var id AccountID
	err := d.changeDomain(ctx, domain, func(t kv.Txn, rec *domainRecord) error {
		if id = rec.Folders; id != 0 {
			return nil
		}
		n, err := nextID(t)
		id, rec.Folders = AccountID(n), AccountID(n)
		return err
	})
	return id, err
}

// SetFoldersQuota bounds what the shared folders of a domain may store, beside the quota of the whole
// domain. ErrNotFound.
func (d *Directory) SetFoldersQuota(ctx context.Context, domain string, q Quota) error {
	return d.changeDomain(ctx, domain, func(_ kv.Txn, rec *domainRecord) error {
		rec.FoldersBytes, rec.FoldersMessages = q.Bytes, q.Messages
		return nil
	})
}

// RestoreFolders gives a domain back the identifier of its shared folders, when a repair has had to make
// its record again. One that it has stays. ErrNotFound.
func (d *Directory) RestoreFolders(ctx context.Context, domain string, id AccountID) error {
	return d.changeDomain(ctx, domain, func(t kv.Txn, rec *domainRecord) error {
		if rec.Folders != 0 {
			return nil
		}
		rec.Folders = id
		last, err := number(t, key(kindCounter))
		if err != nil || last >= uint64(id) {
			return err
		}
		return t.Set(key(kindCounter), kv.AppendUint64(nil, uint64(id)))
	})
}

func (d *Directory) changeDomain(ctx context.Context, name string,
	fn func(kv.Txn, *domainRecord) error) error {
	k, err := domainKey(name)
	if err != nil {
		return err
	}
	return d.update(ctx, true, func(t kv.Txn) error {
		var rec domainRecord
		if err := read(t, domainRow(k), &rec); err != nil {
			return fmt.Errorf("change domain %s: %w", k, err)
		}
		if err := fn(t, &rec); err != nil {
			return err
		}
		return write(t, domainRow(k), rec)
	})
}
