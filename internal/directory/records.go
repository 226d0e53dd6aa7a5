package directory

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"tram/internal/kv"
	"tram/internal/smtp"
)

// scope serialises all writers of the directory.
const scope kv.Scope = "directory"

// The directory's rows. A key is 'd', one letter for the kind, then the fields below in the form
// of kv's Append functions; a value is a JSON object with the fields of the record types below
// unless the table says otherwise. Numbers are big endian.
//
//	d v                          versions: uint64 of everything, uint64 of the domains
//	d i                          uint64: the last identifier given away, to a domain or an account
//	d P                          8 bytes that the pepper must produce again, see Open
//	d D name                     domainRecord
//	d A id                       accountRecord
//	d c id                       credentialRecord
//	d m id                       domain name of an administrator's account
//	d a domain local-key         uint64 account identifier
//	d l domain local-key         aliasRecord; the catch-all has the local key ""
//	d f domain skeleton          local key of the one account or alias that looks so
//	d k who source               int64 seconds: when who last logged in from source
//	d s source                   throttle state of a source, see source.go
//	d g domain selector          signingRecord
//
// who is 8 bytes of an HMAC of the login name, source 17 bytes: prefix length and address.
const (
	space        = 'd'
	kindVersion  = 'v'
	kindCounter  = 'i'
	kindPepper   = 'P'
	kindDomain   = 'D'
	kindAccount  = 'A'
	kindSecret   = 'c'
	kindAdmin    = 'm'
	kindAddress  = 'a'
	kindAlias    = 'l'
	kindSkeleton = 'f'
	kindKnown    = 'k'
	kindSource   = 's'
	kindSigning  = 'g'
)

type domainRecord struct {
	ID       DomainID `json:"id"`
	Created  int64    `json:"created"` // Unix seconds
	Bytes    int64    `json:"quota_bytes,omitempty"`
	Messages int64    `json:"quota_messages,omitempty"`

	Folders         AccountID `json:"folders,omitempty"` // what the store keeps the shared ones under
	FoldersBytes    int64     `json:"folders_quota_bytes,omitempty"`
	FoldersMessages int64     `json:"folders_quota_messages,omitempty"`
}

type accountRecord struct {
	Local      string `json:"local"` // as it was given, NFC
	Domain     string `json:"domain"`
	Name       string `json:"name,omitempty"`
	Disabled   bool   `json:"disabled,omitempty"`
	Admin      bool   `json:"admin,omitempty"`
	Created    int64  `json:"created"`
	Bytes      int64  `json:"quota_bytes,omitempty"`
	Messages   int64  `json:"quota_messages,omitempty"`
	Generation uint64 `json:"generation"`

	POP3 *pop3Record `json:"pop3,omitempty"` // see pop3.go
}

type aliasRecord struct {
	Local   string   `json:"local"`   // as it was given, NFC
	Targets []string `json:"targets"` // addresses
	Created int64    `json:"created"`
}

type credentialRecord struct {
	Password string      `json:"password,omitempty"`   // PHC string, see hash.go
	SCRAM    *scramKeys  `json:"scram,omitempty"`      // SHA-256
	SCRAM1   *scramKeys  `json:"scram_sha1,omitempty"` // SHA-1; older records have none
	Apps     []appRecord `json:"apps,omitempty"`
}

type appRecord struct {
	ID      string     `json:"id"`
	Label   string     `json:"label"`
	Scopes  []Protocol `json:"scopes,omitempty"`
	Created int64      `json:"created"`
	Expires int64      `json:"expires,omitempty"`
	Hash    []byte     `json:"hash"` // HMAC-SHA-256 of the secret
}

func key(kind byte) []byte { return []byte{space, kind} }

func domainRow(name string) []byte { return kv.AppendString(key(kindDomain), name) }

func accountRow(id AccountID) []byte { return kv.AppendUint64(key(kindAccount), uint64(id)) }

func secretRow(id AccountID) []byte { return kv.AppendUint64(key(kindSecret), uint64(id)) }

func adminRow(id AccountID) []byte { return kv.AppendUint64(key(kindAdmin), uint64(id)) }

func nameRow(kind byte, domain, local string) []byte {
	return kv.AppendString(kv.AppendString(key(kind), domain), local)
}

// read decodes a row into v. ErrNotFound (this package's) when there is none.
func read(r kv.Reader, row []byte, v any) error {
	b, err := r.Get(row)
	if errors.Is(err, kv.ErrNotFound) {
		return ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("read directory: %w", err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read directory row %x: %w", row, errors.Join(kv.ErrCorrupt, err))
	}
	return nil
}

func write(t kv.Txn, row []byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode directory row %x: %w", row, err)
	}
	return t.Set(row, b)
}

// number reads a row of one uint64; a missing row is 0.
func number(r kv.Reader, row []byte) (uint64, error) {
	b, err := r.Get(row)
	if errors.Is(err, kv.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read directory: %w", err)
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("read directory row %x: %w", row, kv.ErrCorrupt)
	}
	return binary.BigEndian.Uint64(b), nil
}

// nextID gives an identifier that was never given before.
func nextID(t kv.Txn) (uint64, error) {
	id, err := number(t, key(kindCounter))
	if err != nil {
		return 0, err
	}
	return id + 1, t.Set(key(kindCounter), kv.AppendUint64(nil, id+1))
}

// versions tell whether what is kept in memory is still what is stored.
type versions struct{ all, domains uint64 }

func readVersions(r kv.Reader) (versions, error) {
	b, err := r.Get(key(kindVersion))
	if errors.Is(err, kv.ErrNotFound) {
		return versions{}, nil
	}
	if err != nil {
		return versions{}, fmt.Errorf("read directory version: %w", err)
	}
	if len(b) != 16 {
		return versions{}, fmt.Errorf("read directory version: %w", kv.ErrCorrupt)
	}
	return versions{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}, nil
}

func bumpVersions(t kv.Txn, domains bool) error {
	v, err := readVersions(t)
	if err != nil {
		return err
	}
	v.all++
	if domains {
		v.domains++
	}
	return t.Set(key(kindVersion), kv.AppendUint64(kv.AppendUint64(nil, v.all), v.domains))
}

func (r domainRecord) domain(name string) Domain {
	return Domain{ID: r.ID, Name: name, Created: time.Unix(r.Created, 0).UTC(),
		Quota: Quota{r.Bytes, r.Messages}, Folders: r.Folders,
		FoldersQuota: Quota{r.FoldersBytes, r.FoldersMessages}}
}

func (r accountRecord) account(id AccountID) Account {
	return Account{
		ID: id, Address: smtp.Address{Local: r.Local, Domain: r.Domain}, Name: r.Name,
		Disabled: r.Disabled, Admin: r.Admin, Created: time.Unix(r.Created, 0).UTC(),
		Domain: r.Domain, Quota: Quota{r.Bytes, r.Messages}, Generation: r.Generation,
		Maildrop: r.POP3.orUsual(),
	}
}

func (r aliasRecord) alias(domain string) (Alias, error) {
	a := Alias{Created: time.Unix(r.Created, 0).UTC(), Address: "@" + domain}
	if r.Local != "" {
		a.Address = smtp.Address{Local: r.Local, Domain: domain}.String()
	}
	for _, s := range r.Targets {
		target, err := smtp.ParseAddress(s)
		if err != nil {
			return Alias{}, fmt.Errorf("read alias %s: target %q: %w", a.Address, s, err)
		}
		a.Targets = append(a.Targets, target)
	}
	return a, nil
}
