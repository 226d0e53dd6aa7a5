package queue

import (
	"context"

	"tram/internal/kv"
	"tram/internal/metrics"
)

var (
	metricSubmitted = metrics.CounterVec("queue_submitted_total", "Messages queued.", "origin")
	metricOutcomes  = metrics.CounterVec("queue_outcomes_total",
		"Recipients by what an attempt came to.", "outcome")
	metricNotices = metrics.CounterVec("queue_notices_total",
		"Delivery status notifications, and those that nobody may be sent.", "action")
	metricDuplicates = metrics.CounterVec("queue_possible_duplicates_total",
		"Messages that may have been delivered without being recorded.", "cause")
	metricConnections  = metrics.CounterVec("queue_connections_total", "Hosts tried.", "outcome")
	metricDestinations = metrics.CounterVec("queue_destinations_total",
		"Destinations that failed or came back.", "event")
	metricDowngraded = metrics.Counter("queue_downgraded_total",
		"Messages converted for a server without 8BITMIME.")
	metricSigned = metrics.Counter("queue_signatures_total", "DKIM signatures made.")
	metricClear  = metrics.Counter("queue_tls_failed_total",
		"Hosts spoken to in the clear because their TLS failed.")
	metricShort = metrics.CounterVec("queue_policy_failed_total",
		"Hosts passed over because they fall short of what their domain asks.", "policy")
	metricPanics   = metrics.Counter("queue_panics_total", "Deliveries that ended in a panic.")
	metricWaiting  = metrics.Gauge("queue_waiting", "Messages that wait or are under way.")
	metricHeld     = metrics.Gauge("queue_held", "Messages on hold.")
	metricSessions = metrics.Gauge("queue_sessions", "Sessions at work.")
)

// gauge sets the gauges from what is stored.
func (q *Queue) gauge(ctx context.Context) error {
	c, err := q.totals(ctx)
	if err != nil {
		return err
	}
	metricWaiting.Set(float64(c.waiting))
	metricHeld.Set(float64(c.held))
	return nil
}

// totals adds the shards' counts up.
func (q *Queue) totals(ctx context.Context) (counts, error) {
	var sum counts
	for s := range q.eachShard() {
		err := q.o.DB.View(ctx, s.scope(), func(r kv.Reader) error {
			c, err := readCounts(r, s)
			if err == nil {
				sum.waiting += c.waiting
				sum.held += c.held
			}
			return err
		})
		if err != nil {
			return counts{}, err
		}
	}
	return sum, nil
}
