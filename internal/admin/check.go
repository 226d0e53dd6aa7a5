package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"tram/internal/directory"
	"tram/internal/kv"
	"tram/internal/queue"
	"tram/internal/reports"
	"tram/internal/store"
)

// Finding is something that a check found wrong, or what a repair did about it.
type Finding struct {
	Account    string `json:"account,omitempty"` // address, or the number when it has none
	Kind       string `json:"kind"`
	Where      string `json:"where"`
	What       string `json:"what"`
	Repairable bool   `json:"repairable"`
}

// Progress is how far long work has come. Total is 0 while it is not known; Done never passes it.
type Progress struct {
	Done  int64  `json:"done"`
	Total int64  `json:"total"`
	What  string `json:"what"`
}

// engine is a database that can verify its own files.
type engine interface {
	Check(ctx context.Context, report func(error), progress func(done int64)) error
}

// Check verifies what is stored; deep reads every file of the database and every message too, and
// makes what was derived from them again to compare. Damage does not end it. An error means that
// the check could not be made; what it finds wrong goes to report. The callbacks are not called
// concurrently.
func (h *House) Check(ctx context.Context, deep bool, progress func(Progress),
	report func(Finding)) error {
	if deep {
		if err := h.checkEngine(ctx, progress, report); err != nil {
			return err
		}
	}
	err := directory.Check(ctx, h.o.DB, func(f directory.Finding) {
		report(Finding{"", f.Kind, f.Where, f.What, f.Repairable})
	})
	if err != nil {
		return err
	}
	names := h.addresses(ctx)
	o := store.CheckOptions{Deep: deep, Progress: within(progress)}
	if err := h.o.Store.Check(ctx, o, func(f store.Finding) { report(names.finding(f)) }); err != nil {
		return fmt.Errorf("check store: %w", err)
	}
	err = h.o.Queue.Check(ctx, deep, func(f queue.Finding) {
		report(Finding{"", f.Kind, f.Where, f.What, f.Repairable})
	})
	if err != nil {
		return err
	}
	if deep {
		err = reports.Check(ctx, h.o.DB, func(f reports.Finding) {
			report(Finding{"", f.Kind, f.Where, f.What, f.Repairable})
		})
		if err != nil {
			return err
		}
	}
	return h.checkOwners(ctx, names, report)
}

// within hands progress on and keeps it within its total.
func within(progress func(Progress)) func(done, total int64, what string) {
	return func(done, total int64, what string) {
		if total > 0 {
			total = max(total, done)
		}
		progress(Progress{done, total, what})
	}
}

func (h *House) checkEngine(ctx context.Context, progress func(Progress),
	report func(Finding)) error {
	db, ok := h.o.DB.(engine)
	if !ok {
		return nil
	}
	// What is read is more than what the files take, for they are compressed: no total is known.
	err := db.Check(ctx, func(err error) {
		report(Finding{Kind: "storage", Where: "database files", What: err.Error(), Repairable: true})
	}, func(done int64) { progress(Progress{done >> 20, 0, "database, MiB"}) })
	if err != nil {
		return fmt.Errorf("check database: %w", err)
	}
	return nil
}

// checkOwners reports mail that belongs to nobody: an account removed from the directory.
func (h *House) checkOwners(ctx context.Context, names names, report func(Finding)) error {
	ids, err := h.o.Store.Accounts(ctx)
	if err != nil {
		return fmt.Errorf("list stored accounts: %w", err)
	}
	for _, id := range ids {
		if names != nil && names[id] == "" {
			report(Finding{Account: fmt.Sprintf("account %d", id), Kind: "orphan",
				Where: "directory", What: "mail is stored for an account that does not exist"})
		}
	}
	return nil
}

// names are the addresses of accounts; nil when the directory cannot be read.
type names map[store.AccountID]string

func (h *House) addresses(ctx context.Context) names {
	accounts, err := h.o.Directory.Accounts(ctx, "")
	if err != nil {
		return nil // which its own check has reported
	}
	all := make(names, len(accounts))
	for _, a := range accounts {
		all[store.AccountID(a.ID)] = a.Address.Unicode()
	}
	domains, err := h.o.Directory.Domains(ctx)
	if err != nil {
		return nil
	}
	for _, d := range domains {
		if d.Folders != 0 {
			all[store.AccountID(d.Folders)] = "shared folders of " + d.Name
		}
	}
	return all
}

func (n names) finding(f store.Finding) Finding {
	who := ""
	if f.Account != 0 {
		if who = n[f.Account]; who == "" {
			who = fmt.Sprintf("account %d", f.Account)
		}
	}
	return Finding{who, f.Kind, f.Where, f.What, f.Repairable}
}

// Mend is who hears of a repair. Its functions are not called concurrently; none is nil.
type Mend struct {
	Found func(Finding) // what is wrong
	Did   func(Finding) // what was done about it
	Left  func(Finding) // what is still wrong at the end
	// Keep is given each row that is dropped and cannot be read.
	Keep     func(key, value []byte) error
	Progress func(Progress)
}

// Directory returns m for the directory's repair, which comes before it is opened.
func (m *Mend) Directory() directory.RepairOptions {
	to := func(out func(Finding)) func(directory.Finding) {
		return func(f directory.Finding) { out(Finding{"", f.Kind, f.Where, f.What, f.Repairable}) }
	}
	return directory.RepairOptions{Found: to(m.Found), Did: to(m.Did), Left: to(m.Left), Keep: m.Keep}
}

// Queue returns m for the queue's repair, which comes before it is opened.
func (m *Mend) Queue() queue.RepairOptions {
	to := func(out func(Finding)) func(queue.Finding) {
		return func(f queue.Finding) { out(Finding{"", f.Kind, f.Where, f.What, f.Repairable}) }
	}
	return queue.RepairOptions{Found: to(m.Found), Did: to(m.Did), Left: to(m.Left), Keep: m.Keep}
}

// reports returns m for the repair of reports.
func (m *Mend) reports() reports.RepairOptions {
	to := func(out func(Finding)) func(reports.Finding) {
		return func(f reports.Finding) { out(Finding{"", f.Kind, f.Where, f.What, f.Repairable}) }
	}
	return reports.RepairOptions{Found: to(m.Found), Did: to(m.Did), Left: to(m.Left), Keep: m.Keep}
}

// Repair puts right what is stored, in a house that nobody uses. Quotas that were lost with their
// rows are taken from the directory.
func (h *House) Repair(ctx context.Context, m *Mend) error {
	names := h.addresses(ctx)
	var again []store.AccountID
	domains := false
	to := func(out func(Finding)) func(store.Finding) {
		return func(f store.Finding) { out(names.finding(f)) }
	}
	did := to(m.Did)
	err := h.o.Store.Repair(ctx, store.RepairOptions{
		Found: to(m.Found), Left: to(m.Left), Keep: m.Keep, Progress: within(m.Progress),
		Did: func(f store.Finding) {
			domains = domains || f.Kind == "domain"
			if f.Kind == "account-row" {
				again = append(again, f.Account)
			}
			did(f)
		},
	})
	if err != nil {
		return fmt.Errorf("repair store: %w", err)
	}
	if err := h.restoreQuotas(ctx, again, domains); err != nil {
		return fmt.Errorf("set quotas again: %w", err)
	}
	if err := h.restoreFolders(kv.Freeing(ctx), m.Did); err != nil {
		return fmt.Errorf("find shared folders again: %w", err)
	}
	if err := reports.Repair(ctx, h.o.DB, m.reports()); err != nil {
		return err
	}
	names = h.addresses(ctx)
	return h.checkOwners(ctx, names, m.Left)
}

// restoreQuotas gives the store what the directory knows of quotas.
func (h *House) restoreQuotas(ctx context.Context, ids []store.AccountID, domains bool) error {
	ctx = kv.Freeing(ctx)
	for _, id := range slices.Compact(ids) {
		a, err := h.o.Directory.Account(ctx, directory.AccountID(id))
		if errors.Is(err, directory.ErrNotFound) {
			continue
		}
		if err == nil {
			err = h.o.Store.SetQuota(ctx, id, store.Quota(a.Quota))
		}
		if err == nil {
			err = h.o.Store.SetDomain(ctx, id, a.Domain)
		}
		if err != nil {
			return err
		}
	}
	if !domains && len(ids) == 0 {
		return nil
	}
	all, err := h.o.Directory.Domains(ctx)
	for _, d := range all {
		if err == nil && d.Quota != (directory.Quota{}) {
			err = h.o.Store.SetDomainQuota(ctx, d.Name, store.Quota(d.Quota))
		}
	}
	return err
}
