package server

import (
	"context"
	"fmt"

	"tram/internal/config"
	"tram/internal/directory"
	"tram/internal/scan"
)

// openScan makes the clients of the filters that the configuration names. None of them is asked before
// the doors are open: see greetFilters.
func (s *Server) openScan(context.Context) error {
	c := s.o.Config.Scan
	if s.o.Offline {
		return nil
	}
	filters, err := scanFilters(c)
	if err != nil {
		return err
	}
	if !c.Enabled || c.Clamd.Address == "" {
		s.o.Logger.Info("no virus scanner: built-in attachment rules hold")
	}
	if len(filters) == 0 {
		return nil
	}
	s.scanner = scan.New(scan.Options{
		Filters: filters, Hostname: s.o.Config.Hostname, Limits: s.o.Config.Limits, Clock: s.o.Clock,
		Logger: s.o.Logger.With("room", "scan"),
		User: func(ctx context.Context, id uint64) string {
			a, err := s.Directory.Account(ctx, directory.AccountID(id))
			if err != nil {
				return fmt.Sprintf("account %d", id) // it was removed meanwhile
			}
			return a.Address.String()
		},
	})
	s.onClose(s.scanner.Close)
	return nil
}

func scanFilters(c config.Scan) ([]scan.Filter, error) {
	if !c.Enabled {
		return nil, nil
	}
	var filters []scan.Filter
	if c.Clamd.Address != "" {
		filters = append(filters, scan.Clamd{
			Address: c.Clamd.Address, Timeout: config.ScanTimeout(c.Clamd.Timeout),
			Accept:            c.Clamd.OnFailure == config.ScanAccept,
			RefuseUnscannable: c.Clamd.Unscannable == config.ScanRefuse,
			RefuseEncrypted:   c.Clamd.Encrypted == config.ScanRefuse,
		}.Filter())
	}
	if c.Rspamd.Address != "" {
		password, err := config.Secret(c.Rspamd.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("scan.rspamd: %w", err)
		}
		filters = append(filters, scan.Rspamd{
			Address: c.Rspamd.Address, Password: password, Timeout: config.ScanTimeout(c.Rspamd.Timeout),
			Accept: c.Rspamd.OnFailure == config.ScanAccept, Obey: c.Rspamd.Obey,
		}.Filter())
	}
	if c.Spamd.Address != "" {
		filters = append(filters, scan.Spamd{
			Address: c.Spamd.Address, User: c.Spamd.User, Timeout: config.ScanTimeout(c.Spamd.Timeout),
			Accept: c.Spamd.OnFailure == config.ScanAccept, MaxSize: c.Spamd.MaxSize,
		}.Filter())
	}
	for _, m := range c.Milters {
		filters = append(filters, scan.Milter{
			Name: m.Name, Address: m.Address, Timeout: config.ScanTimeout(m.Timeout),
			Accept: m.OnFailure != config.ScanDefer,
		}.Filter())
	}
	return filters, nil
}

// greetFilters has the log say which filters answer.
func (s *Server) greetFilters(ctx context.Context) error {
	if s.scanner != nil {
		s.scanner.Greet(ctx)
	}
	return nil
}
