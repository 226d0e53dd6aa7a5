package server

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"tram/internal/admin"
	"tram/internal/directory"
	"tram/internal/kv/pebblekv"
	"tram/internal/queue"
)

// Repair puts right what is damaged in a data folder that no server runs on. What it drops and what
// it replaces in the database's files is kept in a folder "damaged-…" within it first; its path is
// returned, "" when nothing was kept.
func Repair(ctx context.Context, o Options, m admin.Mend) (kept string, err error) {
	now := time.Now()
	if o.Clock != nil {
		now = o.Clock.Now()
	}
	o.keep = filepath.Join(o.Config.Data, now.UTC().Format("damaged-20060102-150405"))
	k := &keeper{dir: o.keep}
	m.Keep = k.row
	o.Offline, o.Mend = true, &m
	s, err := Open(ctx, o)
	if err == nil {
		err = errors.Join(s.Admin.Repair(ctx, &m), s.Close())
	}
	err = errors.Join(err, k.close())
	if _, missing := os.Stat(k.dir); missing != nil {
		return "", err
	}
	return k.dir, err
}

// keeper writes rows that are dropped to a file of JSON lines.
type keeper struct {
	dir  string
	file *os.File
}

func (k *keeper) row(key, value []byte) error {
	if k.file == nil {
		err := os.MkdirAll(k.dir, 0o700)
		if err == nil {
			k.file, err = os.OpenFile(filepath.Join(k.dir, "rows.jsonl"),
				os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		}
		if err != nil {
			return fmt.Errorf("keep damaged rows: %w", err)
		}
	}
	line := map[string]string{"key": hex.EncodeToString(key), "value": hex.EncodeToString(value)}
	if err := json.NewEncoder(k.file).Encode(line); err != nil {
		return fmt.Errorf("keep damaged rows: %w", err)
	}
	return nil
}

func (k *keeper) close() error {
	if k.file == nil {
		return nil
	}
	return errors.Join(k.file.Sync(), k.file.Close())
}

// mendStorage repairs the files of the embedded database.
func (s *Server) mendStorage() error {
	m, c := s.o.Mend, s.o.Config
	if m == nil || c.Storage.Postgres != "" {
		return nil
	}
	done, err := pebblekv.Repair(s.folder.join(DBName), pebblekv.Options{
		Logger: s.o.Logger, Limits: c.Limits.Storage, Keep: s.o.keep,
		Progress: func(bytes int64) {
			m.Progress(admin.Progress{Done: bytes >> 20, What: "database, MiB"})
		},
	})
	for _, d := range done.Damage {
		m.Found(admin.Finding{Kind: "storage", Where: "database files", What: d, Repairable: true})
	}
	for _, d := range done.Deeds {
		m.Did(admin.Finding{Kind: "storage", Where: "database files", What: d})
	}
	return err
}

func (s *Server) mendDirectory(ctx context.Context) error {
	if s.o.Mend == nil {
		return nil
	}
	return directory.Repair(ctx, s.DB, s.o.Mend.Directory())
}

func (s *Server) mendQueue(ctx context.Context, o queue.Options) error {
	if s.o.Mend == nil {
		return nil
	}
	return queue.Repair(ctx, o, s.o.Mend.Queue())
}
