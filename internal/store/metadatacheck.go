package store

import (
	"fmt"

	"tram/internal/kv"
)

// annotations checks that each belongs to a mailbox that exists, or to the account, and that the
// head row counts them all.
func (c *checker) annotations() error {
	var head, want metadataHead
	err := c.scan(kindMetadata, func(key, value []byte) error {
		id, name, ok := metadataKey(key)
		var err error
		switch {
		case !ok:
			err = damaged(key, "key of the wrong length")
		case name == "":
			head, err = decodeMetadataHead(key, value)
		case id != 0 && c.boxes[id] == nil:
			c.find("metadata", describeKey(key), true, "an annotation of no mailbox")
		default:
			var e Annotation
			if e, err = decodeAnnotation(key, name, value); err == nil {
				want.count(e, 1)
				want.ModSeq = max(want.ModSeq, e.ModSeq)
			}
		}
		if err != nil {
			c.bad(key, err, true)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if head.Entries != want.Entries || head.Bytes != want.Bytes {
		c.find("metadata", "annotations", true, "%d of %d bytes are counted, there are %d of %d",
			head.Entries, head.Bytes, want.Entries, want.Bytes)
	}
	if max(head.ModSeq, want.ModSeq) > c.tx.row.ModSeq || head.ModSeq < want.ModSeq {
		c.find("modseq", "annotations", true, "changed last in %d, the newest is of %d, the account "+
			"is at %d", head.ModSeq, want.ModSeq, c.tx.row.ModSeq)
	}
	return nil
}

// domainAnnotations is annotations for those of domains.
func (c *checker) domainAnnotations() error {
	c.id, c.hurt = 0, newHurt()
	heads, wants := map[string]metadataHead{}, map[string]metadataHead{}
	prefix := appendKey(nil, 0, kindMetadata)
	err := c.s.db.View(c.ctx, "", func(r kv.Reader) error {
		return r.Scan(kv.Prefix(prefix), func(key, value []byte) error {
			domain, name, err := kv.TakeString(key[len(prefix):])
			switch {
			case err != nil:
				err = damaged(key, "no domain in the key")
			case len(name) == 0:
				heads[domain], err = decodeMetadataHead(key, value)
			default:
				var e Annotation
				if e, err = decodeAnnotation(key, string(name), value); err == nil {
					h := wants[domain]
					h.count(e, 1)
					wants[domain] = h
				}
			}
			if err != nil {
				c.bad(key, err, true)
			}
			return c.ctx.Err()
		})
	})
	for domain := range wants {
		if _, ok := heads[domain]; !ok {
			heads[domain] = metadataHead{}
		}
	}
	for domain, head := range heads {
		if want := wants[domain]; head.Entries != want.Entries || head.Bytes != want.Bytes {
			c.find("metadata", "annotations of domain "+domain, true,
				"%d of %d bytes are counted, there are %d of %d", head.Entries, head.Bytes,
				want.Entries, want.Bytes)
		}
	}
	return err
}

// surveyAnnotations notes the highest ModSeq that annotations have.
func (m *mender) surveyAnnotations() error {
	return m.scan(kindMetadata, func(key, value []byte) error {
		_, name, ok := metadataKey(key)
		if !ok {
			return nil
		}
		if name == "" {
			h, err := decodeMetadataHead(key, value)
			if err == nil {
				m.seen(h.ModSeq)
			}
			return nil
		}
		if e, err := decodeAnnotation(key, name, value); err == nil {
			m.seen(e.ModSeq)
		}
		return nil
	})
}

// annotations drops what cannot be read or belongs to nothing, and counts the rest. Nothing else
// tells what an annotation was: those are lost, and named.
func (m *mender) annotations() error {
	var head metadataHead
	root := appendKey(nil, m.id, kindMetadata)
	err := m.scan(kindMetadata, func(key, value []byte) error {
		id, name, ok := metadataKey(key)
		if ok && name == "" {
			if _, err := decodeMetadataHead(key, value); err != nil {
				return m.keep(key, value)
			}
			return nil
		}
		e, err := decodeAnnotation(key, name, value)
		if !ok || err != nil || id != 0 && m.boxes[id] == nil {
			m.tell("metadata", describeKey(key), "cannot be kept and is taken out")
			return m.drop(key, value)
		}
		if e.ModSeq > m.at {
			e.ModSeq = m.at
			if err := m.set(key, e.append(nil)); err != nil {
				return err
			}
		}
		head.count(e, 1)
		return nil
	})
	if err != nil {
		return err
	}
	if head.Entries == 0 {
		return m.w.Delete(root)
	}
	// Clients look again: who has cached an annotation learns that it is gone.
	head.ModSeq = m.at
	return m.set(root, head.append(nil))
}

// domainAnnotations drops the annotations of domains that cannot be read, and counts the rest.
func (r *repairer) domainAnnotations() error {
	var found []Finding
	c := r.checker(func(f Finding) { found = append(found, f) })
	if err := c.bear("annotations of domains", c.domainAnnotations()); err != nil || len(found) == 0 {
		return err
	}
	for _, f := range found {
		if r.o.Found != nil {
			r.o.Found(f)
		}
	}
	domains, err := r.cleanAnnotations()
	if err != nil {
		return err
	}
	for domain := range domains {
		err := r.s.db.Update(r.ctx, metadataScope(domain), func(w kv.Txn) error {
			a := r.s.domainAnnotations(w, w, domain)
			h, err := a.head()
			if err != nil {
				return err
			}
			return a.recount(h.ModSeq + 1)
		})
		if err != nil {
			return wrap(err, "count annotations of domain "+domain)
		}
		r.did(Finding{Kind: "metadata", Where: "annotations of domain " + domain,
			What: "are counted again"})
	}
	found = found[:0]
	if err := c.bear("annotations of domains", c.domainAnnotations()); err != nil {
		return err
	}
	r.left(found)
	return nil
}

// cleanAnnotations drops the rows that cannot be read and returns the domains that have any.
func (r *repairer) cleanAnnotations() (map[string]bool, error) {
	type bad struct {
		domain     string
		key, value []byte
	}
	var all []bad
	domains := map[string]bool{}
	prefix := appendKey(nil, 0, kindMetadata)
	err := r.s.db.View(r.ctx, "", func(kr kv.Reader) error {
		return kr.Scan(kv.Prefix(prefix), func(key, value []byte) error {
			domain, name, err := kv.TakeString(key[len(prefix):])
			if err == nil {
				domains[domain] = true
				if len(name) == 0 {
					return nil // is written anew
				}
				_, err = decodeAnnotation(key, string(name), value)
			}
			if err != nil {
				all = append(all, bad{domain, append([]byte(nil), key...), append([]byte(nil), value...)})
			}
			return r.ctx.Err()
		})
	})
	for _, b := range all {
		if err != nil {
			break
		}
		if err = r.keep(b.key, b.value); err != nil {
			break
		}
		err = r.s.db.Update(r.ctx, metadataScope(b.domain), func(w kv.Txn) error {
			return w.Delete(b.key)
		})
		r.did(Finding{Kind: "metadata", Where: fmt.Sprintf("domain %s (key %x)", b.domain, b.key),
			What: "an annotation cannot be read and is dropped"})
	}
	return domains, wrap(err, "read annotations of domains")
}
