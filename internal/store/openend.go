package store

import (
	"errors"

	"tram/internal/kv"
)

// Mail that came over SMTP ends in CR LF; what programs file themselves may not. A line protocol
// that sends such a message must add a line end, and POP3 tells beforehand how many octets that
// makes, for a whole folder, without looking at any message. So each of the few has a row:
//
//	's' account:8 'g' email:8   version and checksum only

func openEndKey(dst []byte, id AccountID, email EmailID) []byte {
	return key64(dst, id, kindOpenEnd, uint64(email))
}

// OpenEnded returns the account's emails that do not end in CR LF; nil when there is none.
func (tx *Tx) OpenEnded() (map[EmailID]bool, error) {
	var open map[EmailID]bool
	r := kv.Prefix(appendKey(nil, tx.id, kindOpenEnd))
	r.KeysOnly = true
	err := tx.r.Scan(r, func(key, _ []byte) error {
		if open == nil {
			open = map[EmailID]bool{}
		}
		open[emailOfKey(key)] = true
		return nil
	})
	return open, wrap(err, "read open ends")
}

// noteEnd writes or removes an email's row.
func (tx *Tx) noteEnd(id EmailID, open bool) error {
	key := openEndKey(nil, tx.id, id)
	if !open {
		return tx.w.Delete(key)
	}
	return tx.w.Set(key, seal(key, []byte{version1}))
}

// openEnd reports whether an email has a row.
func (tx *Tx) openEnd(id EmailID) (bool, error) {
	_, err := tx.r.Get(openEndKey(nil, tx.id, id))
	if errors.Is(err, kv.ErrNotFound) {
		return false, nil
	}
	return err == nil, wrap(err, "read open end")
}

// openEnd compares an email's row with what is known of its end.
func (c *checker) openEnd(where string, id EmailID, open bool) error {
	has, err := c.tx.openEnd(id)
	if err == nil && has != open {
		c.hurt.emails[id] = true
		c.find("open-end", where, true, "ends without a line end: %t, and is listed so: %t", open, has)
	}
	return err
}

// openEnds looks for rows that cannot be read, or have no email.
func (c *checker) openEnds() error {
	return c.scan(kindOpenEnd, func(key, value []byte) error {
		if _, err := unseal(key, value); err != nil {
			c.bad(key, err, true)
			return nil
		}
		_, err := c.tx.r.Get(key64(nil, c.id, kindEmail, uint64(emailOfKey(key))))
		if errors.Is(err, kv.ErrNotFound) {
			c.find("open-end", describeKey(key), true, "there is no such email")
			return nil
		}
		return err
	})
}

// openEnds makes rows that cannot be read again, and takes out those that have no email. Whether an
// email should have one is looked after where its own row is.
func (m *mender) openEnds() error {
	return m.scan(kindOpenEnd, func(key, value []byte) error {
		_, err := m.w.Get(key64(nil, m.id, kindEmail, uint64(emailOfKey(key))))
		if errors.Is(err, kv.ErrNotFound) {
			return m.drop(key, value)
		}
		if _, damage := unseal(key, value); err == nil && damage != nil {
			return m.set(key, []byte{version1}) // the email is in the key
		}
		return err
	})
}
