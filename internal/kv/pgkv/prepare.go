package pgkv

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"tram/internal/kv"
)

// schemaVersion is the version of the tables below.
const schemaVersion = 1

// The tables. Keys are at most about 2,600 bytes, which is what an index entry of PostgreSQL holds.
//
//	tram_kv(key, value)   every row of the house
//	tram_scope(scope)     a row for each scope that was ever updated, for its lock
//	tram_meta(version)    one row: schemaVersion
var tables = []string{
	`CREATE TABLE IF NOT EXISTS tram_meta (
		one boolean PRIMARY KEY DEFAULT true CHECK (one), version integer NOT NULL)`,
	`CREATE TABLE IF NOT EXISTS tram_kv (key bytea PRIMARY KEY, value bytea NOT NULL)`,
	`CREATE TABLE IF NOT EXISTS tram_scope (scope text PRIMARY KEY)`,
}

// tuning makes the table fit for mail. Bodies are compressed already, so that the server need not
// try; rows that change often find room on their own page; the vacuum comes before a million rows
// are dead. An engine that does not know a setting does without.
var tuning = []string{
	`ALTER TABLE tram_kv ALTER COLUMN value SET STORAGE EXTERNAL`,
	`ALTER TABLE tram_kv SET (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02,
		autovacuum_vacuum_threshold = 5000)`,
}

// prepare checks the server's settings and makes the tables.
func (db *DB) prepare(ctx context.Context) error {
	if err := db.checkSettings(ctx); err != nil {
		return err
	}
	var version int
	err := db.updates.QueryRow(ctx, `SELECT version FROM tram_meta`).Scan(&version)
	if err == nil && version > schemaVersion {
		return fmt.Errorf("data has version %d, this program knows %d: %w: "+
			"install the version that wrote it, or a later one", version, schemaVersion, kv.ErrNewer)
	}
	if err == nil {
		return nil
	}
	for _, s := range tables {
		// Two machines that start at the same time can both try, and one then fails.
		err := db.retry(ctx, func() error { _, err := db.updates.Exec(ctx, s); return err })
		if err != nil {
			return fmt.Errorf("make tables: %w", err)
		}
	}
	for _, s := range tuning {
		if _, err := db.updates.Exec(ctx, s); err != nil {
			db.log.Info("storage server does not take a setting", "error", err.Error())
		}
	}
	_, err = db.updates.Exec(ctx, `INSERT INTO tram_meta (version) VALUES ($1)
		ON CONFLICT DO NOTHING`, schemaVersion)
	if err != nil {
		return fmt.Errorf("make tables: %w", err)
	}
	return nil
}

// checkSettings refuses a server that would acknowledge a commit it can lose.
func (db *DB) checkSettings(ctx context.Context) error {
	for _, name := range []string{"fsync", "full_page_writes", "synchronous_commit"} {
		var value string
		err := db.updates.QueryRow(ctx, `SHOW `+name).Scan(&value)
		if bad := (*pgconn.PgError)(nil); errors.As(err, &bad) {
			continue // an engine that has no such setting
		}
		if err != nil {
			return fmt.Errorf("ask the server for %s: %w", name, err)
		}
		if strings.EqualFold(value, "off") {
			return fmt.Errorf("the server has %s = off and can lose mail that was acknowledged: "+
				"set it to on in postgresql.conf", name)
		}
	}
	var standby bool
	err := db.updates.QueryRow(ctx, `SELECT pg_is_in_recovery()`).Scan(&standby)
	if err == nil && standby {
		return errors.New("the server is a standby that takes no writes: give the primary's address")
	}
	return nil
}
