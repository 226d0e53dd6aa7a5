// Package metrics answers "how is the house doing?" in numbers a Prometheus server collects.
//
// It is the one place where package-level variables are allowed: each room declares its counters
// beside the code that raises them, all in [Registry]. Names start with tram_, units are seconds
// and bytes, and a label never holds an address, a subject or anything else of unbounded variety.
package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Registry holds every metric of the process.
var Registry = newRegistry()

var factory = promauto.With(Registry)

func newRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Counter declares a counter tram_<name> without labels.
func Counter(name, help string) prometheus.Counter {
	return factory.NewCounter(prometheus.CounterOpts{Namespace: "tram", Name: name, Help: help})
}

// CounterVec declares a counter tram_<name> with labels. On a hot path keep the child that
// WithLabelValues returns.
func CounterVec(name, help string, labels ...string) *prometheus.CounterVec {
	return factory.NewCounterVec(
		prometheus.CounterOpts{Namespace: "tram", Name: name, Help: help}, labels)
}

// Gauge declares a gauge tram_<name>.
func Gauge(name, help string) prometheus.Gauge {
	return factory.NewGauge(prometheus.GaugeOpts{Namespace: "tram", Name: name, Help: help})
}

// GaugeVec declares a gauge tram_<name> with labels.
func GaugeVec(name, help string, labels ...string) *prometheus.GaugeVec {
	return factory.NewGaugeVec(
		prometheus.GaugeOpts{Namespace: "tram", Name: name, Help: help}, labels)
}

// Seconds declares a histogram tram_<name> of durations from 0.1 ms to 100 s.
func Seconds(name, help string, labels ...string) *prometheus.HistogramVec {
	return factory.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "tram", Name: name, Help: help,
		Buckets: prometheus.ExponentialBuckets(0.0001, 4, 11),
	}, labels)
}

// Handler serves the registry in the Prometheus text format.
func Handler() http.Handler {
	return promhttp.HandlerFor(Registry, promhttp.HandlerOpts{})
}
