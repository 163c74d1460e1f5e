package main

import "github.com/prometheus/client_golang/prometheus"

// The buckets of AgentFlow's guide, and those of the contract.
var (
	guideBuckets    = []float64{0.1, 0.5, 1, 2, 5, 10}
	contractBuckets = []float64{0.05, 0.1, 0.2, 0.35, 0.6, 1, 1.75, 3, 5, 10, 17.5, 30, 60, 120, 300, 600}
)

// metrics are the guide's two, with its labels and buckets, and those of the contract beside them; every series is
// there from the start.
type metrics struct {
	registry *prometheus.Registry

	requests  *prometheus.CounterVec // by status
	duration  prometheus.ObserverVec // by status
	queueWait prometheus.Histogram
	rejected  *prometheus.CounterVec // by reason

	cacheHits, cacheMisses, cacheEvictions, cacheExpired prometheus.Counter

	calls  *prometheus.CounterVec // by outcome
	errors *prometheus.CounterVec // by kind
}

func newMetrics(registry *prometheus.Registry, agentName string) *metrics {
	m := &metrics{registry: registry}
	m.requests = m.counters("agent_requests_total", "Total agent requests.", "agent_name", "status")
	m.requests = m.requests.MustCurryWith(prometheus.Labels{"agent_name": agentName})
	duration := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "agent_request_duration_seconds", Help: "Agent request duration in seconds.", Buckets: guideBuckets,
	}, []string{"agent_name", "status"})
	m.duration = duration.MustCurryWith(prometheus.Labels{"agent_name": agentName})
	m.queueWait = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "agent_queue_wait_seconds", Help: "From arrival until the wait for a worker ended.", Buckets: contractBuckets,
	})
	registry.MustRegister(duration, m.queueWait)
	m.rejected = m.counters("agent_rejected_total", "Runs refused before they got a worker.", "reason")
	m.cacheHits = m.counter("agent_cache_hits_total", "Lookups answered without a load of their own.")
	m.cacheMisses = m.counter("agent_cache_misses_total", "Lookups that had to load.")
	m.cacheEvictions = m.counter("agent_cache_evictions_total", "Entries dropped to keep within the size.")
	m.cacheExpired = m.counter("agent_cache_expired_total", "Entries dropped because of their age.")
	m.calls = m.counters("agent_upstream_calls_total", "Upstream calls sent and ended.", "outcome")
	m.errors = m.counters("agent_upstream_errors_total", "Upstream calls that failed.", "kind")
	for _, status := range []string{"success", "error"} {
		m.requests.WithLabelValues(status)
		m.duration.WithLabelValues(status)
	}
	for _, reason := range []string{"queue_full", "memory", "breaker", "draining"} {
		m.rejected.WithLabelValues(reason)
	}
	for _, outcome := range []string{"success", "failure"} {
		m.calls.WithLabelValues(outcome)
	}
	for _, kind := range []string{"429", "5xx", "timeout"} {
		m.errors.WithLabelValues(kind)
	}
	return m
}

func (m *metrics) counter(name, help string) prometheus.Counter {
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	m.registry.MustRegister(counter)
	return counter
}

func (m *metrics) counters(name, help string, labels ...string) *prometheus.CounterVec {
	counters := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	m.registry.MustRegister(counters)
	return counters
}

// gauge asks for its value at each scrape.
func (m *metrics) gauge(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
}
