package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"

	"tram/internal/trace"
)

// ErrNoServer says that no server answers on the socket.
var ErrNoServer = errors.New("no server is running")

// Client asks a running server.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient returns a client of the server whose socket is at path; nothing is opened yet.
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
	return &Client{path, &http.Client{Transport: &http.Transport{DialContext: dial}}}
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// send makes a request; the caller closes the body of an answer without error.
func (c *Client) send(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var content io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
		content = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://tram"+path, content)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		var dial *net.OpError
		if errors.As(err, &dial) && dial.Op == "dial" {
			return nil, fmt.Errorf("%w: %w", ErrNoServer, dial.Err)
		}
		return nil, fmt.Errorf("ask server at %s: %w", c.socket, errors.Unwrap(err))
	}
	if answer.StatusCode == http.StatusOK {
		return answer, nil
	}
	defer answer.Body.Close()
	f := &Fault{}
	if err := json.NewDecoder(answer.Body).Decode(f); err != nil || f.Message == "" {
		return nil, fmt.Errorf("server at %s answered %s", c.socket, answer.Status)
	}
	return nil, f
}

// call makes a request and decodes the answer.
func call[Out any](ctx context.Context, c *Client, method, path string, in any) (Out, error) {
	var out Out
	answer, err := c.send(ctx, method, path, in)
	if err != nil {
		return out, err
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(&out); err != nil {
		return out, fmt.Errorf("read answer of %s: %w", c.socket, err)
	}
	return out, nil
}

type nothing struct{}

// The operations are those of House.

// Status is House.Status.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return call[Status](ctx, c, "GET", "/v1/status", nil)
}

// Domains is House.Domains.
func (c *Client) Domains(ctx context.Context) ([]Domain, error) {
	return call[[]Domain](ctx, c, "GET", "/v1/domains", nil)
}

// AddDomain is House.AddDomain.
func (c *Client) AddDomain(ctx context.Context, name string) (Domain, error) {
	return call[Domain](ctx, c, "POST", "/v1/domains", Domain{Name: name})
}

func domainPath(name string) string { return "/v1/domains/" + url.PathEscape(name) }

// Domain is House.Domain.
func (c *Client) Domain(ctx context.Context, name string) (Domain, error) {
	return call[Domain](ctx, c, "GET", domainPath(name), nil)
}

// ChangeDomain is House.ChangeDomain.
func (c *Client) ChangeDomain(ctx context.Context, name string, ch DomainChange) (Domain, error) {
	return call[Domain](ctx, c, "PATCH", domainPath(name), ch)
}

// RemoveDomain is House.RemoveDomain.
func (c *Client) RemoveDomain(ctx context.Context, name string) error {
	_, err := call[nothing](ctx, c, "DELETE", domainPath(name), nil)
	return err
}

// Accounts is House.Accounts.
func (c *Client) Accounts(ctx context.Context, domain string) ([]Account, error) {
	return call[[]Account](ctx, c, "GET", "/v1/accounts?domain="+url.QueryEscape(domain), nil)
}

func accountPath(address string) string { return "/v1/accounts/" + url.PathEscape(address) }

// Account is House.Account.
func (c *Client) Account(ctx context.Context, address string) (Account, error) {
	return call[Account](ctx, c, "GET", accountPath(address), nil)
}

// AddAccount is House.AddAccount.
func (c *Client) AddAccount(ctx context.Context, n NewAccount) (Account, error) {
	return call[Account](ctx, c, "POST", "/v1/accounts", n)
}

// ChangeAccount is House.ChangeAccount.
func (c *Client) ChangeAccount(ctx context.Context, address string, ch AccountChange) (Account, error) {
	return call[Account](ctx, c, "PATCH", accountPath(address), ch)
}

// RemoveAccount is House.RemoveAccount.
func (c *Client) RemoveAccount(ctx context.Context, address string) error {
	_, err := call[nothing](ctx, c, "DELETE", accountPath(address), nil)
	return err
}

// Folders is House.Folders.
func (c *Client) Folders(ctx context.Context, address string) ([]string, error) {
	return call[[]string](ctx, c, "GET", accountPath(address)+"/folders", nil)
}

func folderPath(owner string) string { return "/v1/folders/" + url.PathEscape(owner) }

// SharedFolders is House.SharedFolders.
func (c *Client) SharedFolders(ctx context.Context, owner string) ([]Folder, error) {
	return call[[]Folder](ctx, c, "GET", folderPath(owner), nil)
}

// AddFolder is House.AddFolder.
func (c *Client) AddFolder(ctx context.Context, owner string, f Folder) (Folder, error) {
	return call[Folder](ctx, c, "POST", folderPath(owner), f)
}

// ChangeFolder is House.ChangeFolder.
func (c *Client) ChangeFolder(ctx context.Context, owner string, ch FolderChange) (Folder, error) {
	return call[Folder](ctx, c, "PATCH", folderPath(owner), ch)
}

// RemoveFolder is House.RemoveFolder.
func (c *Client) RemoveFolder(ctx context.Context, owner, name string) error {
	_, err := call[nothing](ctx, c, "DELETE", folderPath(owner)+"?name="+url.QueryEscape(name), nil)
	return err
}

// Aliases is House.Aliases.
func (c *Client) Aliases(ctx context.Context, domain string) ([]Alias, error) {
	return call[[]Alias](ctx, c, "GET", "/v1/aliases?domain="+url.QueryEscape(domain), nil)
}

// AddAlias is House.AddAlias.
func (c *Client) AddAlias(ctx context.Context, a Alias) error {
	_, err := call[nothing](ctx, c, "POST", "/v1/aliases", a)
	return err
}

// RemoveAlias is House.RemoveAlias.
func (c *Client) RemoveAlias(ctx context.Context, address string) error {
	_, err := call[nothing](ctx, c, "DELETE", "/v1/aliases/"+url.PathEscape(address), nil)
	return err
}

// QueueList is House.QueueList.
func (c *Client) QueueList(ctx context.Context, f QueueFilter) (QueueList, error) {
	q := url.Values{"sender": {f.Sender}, "recipient": {f.Recipient}, "domain": {f.Domain},
		"state": {f.State}, "after": {f.After}, "limit": {strconv.Itoa(f.Limit)}}
	return call[QueueList](ctx, c, "GET", "/v1/queue?"+q.Encode(), nil)
}

// QueueShow is House.QueueShow.
func (c *Client) QueueShow(ctx context.Context, id string) (QueueItem, error) {
	return call[QueueItem](ctx, c, "GET", "/v1/queue/"+url.PathEscape(id), nil)
}

// QueueDo is House.QueueDo.
func (c *Client) QueueDo(ctx context.Context, id string, a QueueAction) error {
	_, err := call[nothing](ctx, c, "POST", "/v1/queue/"+url.PathEscape(id), a)
	return err
}

// Trace is House.Trace.
func (c *Client) Trace(ctx context.Context, query string, limit int) ([]trace.Event, error) {
	q := url.Values{"q": {query}, "limit": {strconv.Itoa(limit)}}
	return call[[]trace.Event](ctx, c, "GET", "/v1/trace?"+q.Encode(), nil)
}

// Check is House.Check. An answer that ends before the check is done is an error.
func (c *Client) Check(ctx context.Context, deep bool, progress func(Progress),
	report func(Finding)) error {
	path := "/v1/check"
	if deep {
		path += "?deep=1"
	}
	answer, err := c.send(ctx, "POST", path, nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	for lines := json.NewDecoder(answer.Body); ; {
		var l CheckLine
		if err := lines.Decode(&l); err != nil {
			return fmt.Errorf("check was cut short: %w", err)
		}
		switch {
		case l.Fault != nil:
			return l.Fault
		case l.Finding != nil:
			report(*l.Finding)
		case l.Progress != nil:
			progress(*l.Progress)
		case l.Done:
			return nil
		}
	}
}
