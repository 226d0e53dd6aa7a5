package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"tram/internal/blob"
	"tram/internal/kv"
)

// RepairOptions are who hears of a Repair. Each function may be nil; none is called concurrently.
type RepairOptions struct {
	Found func(Finding) // what is wrong
	Did   func(Finding) // what was done about it, once it is durable
	Left  func(Finding) // what is still wrong at the end: lost bodies, as a rule
	// Keep is given each row that is dropped or replaced and cannot be read, as it stands.
	Keep     func(key, value []byte) error
	Progress func(done, total int64, what string)
}

// Repair checks everything deeply and puts right what can be: what follows from other rows is made
// again from them, the row of an email from its body, and an email that is in no mailbox comes into
// one called Recovered. It never gives a UID out again and keeps UIDVALIDITY wherever it is known;
// clients are told to read everything anew. What it cannot save it names. It belongs on a store that
// nobody else uses, may be cut at any point, and does nothing to what is sound.
func (s *Store) Repair(ctx context.Context, o RepairOptions) error {
	r := &repairer{s: s, ctx: kv.Freeing(ctx), o: o, lost: map[AccountID]map[EmailID][]blob.ID{}}
	if err := r.lostEmails(); err != nil {
		return wrap(err, "repair: read references to bodies")
	}
	c := r.checker(r.o.Found)
	ids, err := c.accounts()
	if err != nil {
		return fmt.Errorf("repair: %w", err)
	}
	for id := range r.lost {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	r.done, r.total = 0, c.total
	for _, id := range slices.Compact(ids) {
		if err := r.account(id); err != nil {
			return fmt.Errorf("repair account %d: %w", id, err)
		}
	}
	for _, step := range []func() error{
		r.links, r.leaks, r.domains, r.domainAnnotations, r.shares, r.index,
	} {
		if err := step(); err != nil {
			return fmt.Errorf("repair: %w", err)
		}
	}
	return nil
}

// repairRounds is how often an account is gone over: what one round has made again, the next may
// find to be wrong beside something else. One is the rule.
const repairRounds = 4

type repairer struct {
	s   *Store
	ctx context.Context
	o   RepairOptions
	// lost are the emails whose rows are missing or damaged, and the bodies that say so.
	lost map[AccountID]map[EmailID][]blob.ID

	done, total int64 // emails
}

func (r *repairer) checker(report func(Finding)) *checker {
	if report == nil {
		report = func(Finding) {}
	}
	return &checker{
		s: r.s, ctx: r.ctx, report: report, total: r.total, done: r.done, hurt: newHurt(),
		o: CheckOptions{Deep: true, Progress: r.o.Progress},
	}
}

func (r *repairer) did(all ...Finding) {
	for _, f := range all {
		if r.o.Did != nil {
			r.o.Did(f)
		}
	}
}

func (r *repairer) left(all []Finding) {
	for _, f := range all {
		if r.o.Left != nil {
			r.o.Left(f)
		}
	}
}

func (r *repairer) keep(key, value []byte) error {
	if r.o.Keep == nil {
		return nil
	}
	return r.o.Keep(key, value)
}

// lostEmails goes over all references and notes those of emails without a row that can be read.
func (r *repairer) lostEmails() error {
	return r.s.blobs.EachReference(r.ctx, func(ref blob.Reference) error {
		id, email, ours := ownerOf(ref.Owner)
		if err := r.ctx.Err(); err != nil || !ours || !ref.Live && ref.Err == nil {
			return err
		}
		key := key64(nil, id, kindEmail, uint64(email))
		return r.s.db.View(r.ctx, r.s.Account(id).scope(), func(kr kv.Reader) error {
			value, err := kr.Get(key)
			if err == nil && new(Email).decode(key, value) == nil {
				return nil
			}
			if err != nil && !errors.Is(err, kv.ErrNotFound) && !errors.Is(err, kv.ErrCorrupt) {
				return err
			}
			if r.lost[id] == nil {
				r.lost[id] = map[EmailID][]blob.ID{}
			}
			r.lost[id][email] = append(r.lost[id][email], ref.ID)
			return nil
		})
	})
}

// account repairs one account until a check finds nothing more that can be repaired.
func (r *repairer) account(id AccountID) error {
	if gone, err := r.removed(id); gone || err != nil {
		return err // its references are ended with those of nobody
	}
	for round := range repairRounds {
		var found []Finding
		c := r.checker(func(f Finding) { found = append(found, f) })
		if err := c.account(id); err != nil {
			return err
		}
		r.done, r.total = c.done, c.total
		if round == 0 && r.o.Found != nil {
			for _, f := range found {
				r.o.Found(f)
			}
		}
		orphans := round == 0 && len(r.lost[id]) > 0
		if !c.hurt.found && !orphans || round == repairRounds-1 {
			r.left(found)
			return nil
		}
		r.total += c.done // it is read once more
		if err := r.mend(id, c.hurt); err != nil {
			return err
		}
	}
	return nil
}

// removed reports whether all that an account has is the row that says so.
func (r *repairer) removed(id AccountID) (gone bool, err error) {
	err = r.s.db.View(r.ctx, r.s.Account(id).scope(), func(kr kv.Reader) error {
		key := appendKey(nil, id, kindAccount)
		value, err := kr.Get(key)
		if err == nil {
			row, err := decodeAccount(key, value)
			gone = err == nil && row.Removed
		}
		if errors.Is(err, kv.ErrNotFound) || errors.Is(err, kv.ErrCorrupt) {
			return nil
		}
		return err
	})
	return gone, err
}

// mend makes an account's rows again, in one transaction, and its text index if that is hurt.
func (r *repairer) mend(id AccountID, h hurt) error {
	a := r.s.Account(id)
	var m *mender
	err := r.s.db.Update(r.ctx, a.scope(), func(w kv.Txn) error {
		m = &mender{repairer: r, id: id, tx: a.newTx(r.ctx, w, w), w: w, hurt: h.clone()}
		defer m.tx.end()
		return m.run()
	})
	if err != nil {
		return err
	}
	for box := range m.boxes {
		r.s.lists.drop(id, box)
	}
	delete(r.lost, id)
	r.did(m.deeds...)
	if !m.hurt.index {
		return nil
	}
	// What came back has an old number, which the index would never look at again.
	if err := r.s.dropIndex(r.ctx, id); err != nil {
		return err
	}
	r.s.unindexed.note(id)
	r.did(Finding{Account: id, Kind: "text-index", Where: "text index", What: "is built anew"})
	return r.index()
}

// index brings the text index up to date: the first round leaves an account alone into which
// something has just come, the second finds it quiet.
func (r *repairer) index() error {
	if err := r.s.IndexText(r.ctx); err != nil {
		return err
	}
	return r.s.IndexText(r.ctx)
}

// links ends the references of emails that do not exist and could not be made again.
func (r *repairer) links() error {
	type stray struct {
		id    blob.ID
		owner []byte
		email EmailID
		of    AccountID
	}
	var strays []stray
	err := r.s.blobs.EachReference(r.ctx, func(ref blob.Reference) error {
		id, email, ours := ownerOf(ref.Owner)
		if err := r.ctx.Err(); err != nil || !ours || !ref.Live && ref.Err == nil {
			return err
		}
		return r.s.db.View(r.ctx, r.s.Account(id).scope(), func(kr kv.Reader) error {
			_, err := kr.Get(key64(nil, id, kindEmail, uint64(email)))
			if errors.Is(err, kv.ErrNotFound) {
				strays = append(strays, stray{ref.ID, slices.Clone(ref.Owner), email, id})
				return nil
			}
			return err
		})
	})
	for _, st := range strays {
		if err != nil {
			break
		}
		err = r.s.db.Update(r.ctx, r.s.Account(st.of).scope(), func(w kv.Txn) error {
			return r.s.blobs.Forget(w, st.id, st.owner)
		})
		r.did(Finding{Account: st.of, Kind: "blob-orphan", Where: fmt.Sprintf("body %s", st.id),
			What: fmt.Sprintf("is given up: email %d does not exist", st.email)})
	}
	return wrap(err, "end references to bodies")
}

// leaks offers for removal what nobody refers to.
func (r *repairer) leaks() error {
	c := r.checker(r.o.Found)
	var ids []blob.ID
	err := r.s.blobs.Unreachable(r.ctx, func(id blob.ID) error {
		ids = append(ids, id)
		c.find("blob-leak", fmt.Sprintf("body %s", id), true,
			"nothing refers to it, and nothing says that it may go")
		return nil
	})
	if err != nil || len(ids) == 0 {
		return wrap(err, "look for unreferenced bodies")
	}
	err = r.s.db.Update(r.ctx, "blob/collect", func(w kv.Txn) error {
		for _, id := range ids {
			if err := r.s.blobs.Offer(w, id); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		r.did(Finding{Kind: "blob-leak", Where: "bodies",
			What: fmt.Sprintf("%d that nobody refers to go after the grace period", len(ids))})
	}
	return wrap(err, "offer unreferenced bodies for removal")
}

func (h hurt) clone() hurt {
	out := newHurt()
	out.found, out.index = h.found, h.index
	for _, pair := range []struct{ to, from map[EmailID]bool }{
		{out.emails, h.emails}, {out.bodies, h.bodies}, {out.links, h.links},
	} {
		for id := range pair.from {
			pair.to[id] = true
		}
	}
	for id := range h.threads {
		out.threads[id] = true
	}
	return out
}
