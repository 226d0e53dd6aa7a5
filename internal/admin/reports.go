package admin

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"tram/internal/reports"
)

// ReportQuery says which received reports are meant.
type ReportQuery struct {
	Domain string
	Days   int  // of the last so many days; 0: 30
	All    bool // count those whose sender could not be verified too
}

// reportDays is how far a summary looks back when nothing is said.
const reportDays = 30

// reportDaysMost bounds the days of a summary: reports are not kept for longer than some years.
const reportDaysMost = 3660

func (h *House) reportQuery(ctx context.Context, q ReportQuery) (reports.Query, error) {
	if h.o.Reports == nil {
		return reports.Query{}, invalid("this server keeps no reports")
	}
	if q.Days <= 0 {
		q.Days = reportDays
	}
	if q.Days > reportDaysMost {
		return reports.Query{}, invalid("%d days are too many", q.Days)
	}
	d, err := h.o.Directory.Domain(ctx, q.Domain)
	if err != nil {
		return reports.Query{}, fault(err)
	}
	since := h.o.Clock.Now().Add(-time.Duration(q.Days) * 24 * time.Hour).UTC()
	return reports.Query{Domain: d.Name, Since: since, All: q.All}, nil
}

// DMARCReports sums up what others report of mail in a domain's name.
func (h *House) DMARCReports(ctx context.Context, q ReportQuery) (reports.DMARCSummary, error) {
	query, err := h.reportQuery(ctx, q)
	if err != nil {
		return reports.DMARCSummary{}, err
	}
	sum, err := h.o.Reports.DMARC(ctx, query)
	return sum, fault(err)
}

// TLSReports sums up what others report of the transport of mail to a domain.
func (h *House) TLSReports(ctx context.Context, q ReportQuery) (reports.TLSSummary, error) {
	query, err := h.reportQuery(ctx, q)
	if err != nil {
		return reports.TLSSummary{}, err
	}
	sum, err := h.o.Reports.TLS(ctx, query)
	return sum, fault(err)
}

// Report returns one received report by its name here.
func (h *House) Report(ctx context.Context, name string) (reports.Whole, error) {
	if h.o.Reports == nil {
		return reports.Whole{}, invalid("this server keeps no reports")
	}
	w, err := h.o.Reports.Report(ctx, name)
	return w, fault(err)
}

// BIMI is what is known of the icon that a domain publishes.
type BIMI struct {
	Domain   string    `json:"domain"`
	Known    bool      `json:"known"` // it was looked up
	Location string    `json:"location,omitempty"`
	Mark     string    `json:"mark,omitempty"` // of its certificate
	Subject  string    `json:"subject,omitempty"`
	SVG      []byte    `json:"svg,omitempty"`
	Verified bool      `json:"verified"`
	Reason   string    `json:"reason,omitempty"`
	Checked  time.Time `json:"checked,omitzero"`
}

// BIMI tells what is known of the icon of any domain.
func (h *House) BIMI(ctx context.Context, domain string) (BIMI, error) {
	if h.o.Reports == nil {
		return BIMI{}, invalid("this server keeps no icons")
	}
	icon, known, err := h.o.Reports.BIMI(ctx, domain)
	return BIMI{Domain: domain, Known: known, Location: icon.Record.Location, Mark: icon.Mark,
		Subject: icon.Subject, SVG: icon.SVG, Verified: icon.Verified, Reason: icon.Reason,
		Checked: icon.Checked}, fault(err)
}

func queryOf(r *http.Request) (ReportQuery, error) {
	days, err := number(r, "days")
	return ReportQuery{Domain: r.PathValue("domain"), Days: days, All: r.FormValue("all") == "1"}, err
}

func (h *House) apiDMARC(r *http.Request) (any, error) {
	q, err := queryOf(r)
	if err != nil {
		return nil, err
	}
	return h.DMARCReports(r.Context(), q)
}

func (h *House) apiTLS(r *http.Request) (any, error) {
	q, err := queryOf(r)
	if err != nil {
		return nil, err
	}
	return h.TLSReports(r.Context(), q)
}

func (h *House) apiReport(r *http.Request) (any, error) {
	return h.Report(r.Context(), r.PathValue("report"))
}

// The client's half.

func reportPath(kind string, q ReportQuery) string {
	v := url.Values{"days": {strconv.Itoa(q.Days)}}
	if q.All {
		v.Set("all", "1")
	}
	return "/v1/" + kind + "/" + url.PathEscape(q.Domain) + "?" + v.Encode()
}

// DMARCReports is House.DMARCReports.
func (c *Client) DMARCReports(ctx context.Context, q ReportQuery) (reports.DMARCSummary, error) {
	return call[reports.DMARCSummary](ctx, c, "GET", reportPath("dmarc", q), nil)
}

// TLSReports is House.TLSReports.
func (c *Client) TLSReports(ctx context.Context, q ReportQuery) (reports.TLSSummary, error) {
	return call[reports.TLSSummary](ctx, c, "GET", reportPath("tlsrpt", q), nil)
}

// Report is House.Report.
func (c *Client) Report(ctx context.Context, name string) (reports.Whole, error) {
	return call[reports.Whole](ctx, c, "GET", "/v1/reports/"+url.PathEscape(name), nil)
}

// BIMI is House.BIMI.
func (c *Client) BIMI(ctx context.Context, domain string) (BIMI, error) {
	return call[BIMI](ctx, c, "GET", "/v1/bimi/"+url.PathEscape(domain), nil)
}
