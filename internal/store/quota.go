package store

import "fmt"

// charge adds an email to the account's usage, or says that there is no room. The check and the
// change are in one transaction, and the transactions of an account are serialised: no number of
// appends at once can pass the bound.
func (tx *Tx) charge(size, messages int64) error {
	u, q := &tx.row.Usage, tx.row.Quota
	if over(u.Bytes, size, q.Bytes) || over(u.Messages, messages, q.Messages) {
		return fmt.Errorf("account %d: %w", tx.id, ErrOverQuota)
	}
	if tx.row.Limited {
		if err := tx.chargeDomain(size, messages); err != nil {
			return err
		}
	}
	u.Bytes += size
	u.Messages += messages
	return nil
}

// over reports whether more does not fit on top of used. Nothing always fits: people may go on
// working on what they have when a quota was lowered below it.
func over(used, more, limit int64) bool { return limit > 0 && more > 0 && used+more > limit }

// release takes an email off the account's usage.
func (tx *Tx) release(size, messages int64) {
	tx.row.Usage.Bytes = max(0, tx.row.Usage.Bytes-size)
	tx.row.Usage.Messages = max(0, tx.row.Usage.Messages-messages)
}

// chargeDomain checks what the domain has granted. When that is not enough the transaction is
// given up, more is asked for, and it runs again.
func (tx *Tx) chargeDomain(size, messages int64) error {
	u, g := tx.row.Usage, tx.row.Grant
	bytes, count := u.Bytes+size-g.Bytes, u.Messages+messages-g.Messages
	if bytes <= 0 && count <= 0 {
		return nil
	}
	if !tx.grantRefused {
		tx.wanted = grant{Epoch: g.Epoch, Bytes: max(bytes, 0), Messages: max(count, 0)}
	}
	return fmt.Errorf("domain of account %d: %w", tx.id, ErrOverQuota)
}
