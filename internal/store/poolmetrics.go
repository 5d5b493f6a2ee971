package store

import (
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

// Collector tells how the pools of this process stand, by role, and how far sealing is behind.
func (s *Store) Collector() prometheus.Collector { return poolCollector{s} }

type poolCollector struct{ s *Store }

func poolDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("edgepulse_postgres_"+name, help, append([]string{"role"}, labels...), nil)
}

var (
	poolConnections = poolDesc("connections", "Connections of the pool by state: idle, busy, opening.", "state")
	poolMax         = poolDesc("connections_max", "Most connections the pool may have.")
	poolAcquires    = poolDesc("acquires_total", "Times a connection was taken from the pool.")
	poolWaits       = poolDesc("acquire_waits_total", "Times none was free.")
	poolWaited      = poolDesc("acquire_seconds_total", "Time spent waiting for a connection.")

	unsealedSamples = prometheus.NewDesc("edgepulse_sealing_unsealed_samples",
		"Samples by kind that no round of sealing has taken yet, counted each 15 seconds. What grows for long is not caught up with.", []string{"kind"}, nil)
)

// Describe implements prometheus.Collector.
func (c poolCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{poolConnections, poolMax, poolAcquires, poolWaits, poolWaited, unsealedSamples} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c poolCollector) Collect(ch chan<- prometheus.Metric) {
	for _, p := range []struct {
		role string
		pool *pgxpool.Pool
	}{{"owner", c.s.owner}, {"writer", c.s.writer}, {"app", c.s.app}} {
		if p.pool == nil {
			continue
		}
		st := p.pool.Stat()
		gauge := func(d *prometheus.Desc, v float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{p.role}, labels...)...)
		}
		counter := func(d *prometheus.Desc, v float64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, p.role)
		}
		gauge(poolConnections, float64(st.IdleConns()), "idle")
		gauge(poolConnections, float64(st.AcquiredConns()), "busy")
		gauge(poolConnections, float64(st.ConstructingConns()), "opening")
		gauge(poolMax, float64(st.MaxConns()))
		counter(poolAcquires, float64(st.AcquireCount()))
		counter(poolWaits, float64(st.EmptyAcquireCount()))
		counter(poolWaited, st.AcquireDuration().Seconds())
	}
	if c.s.writer == nil {
		return
	}
	for _, one := range c.s.sealers {
		ch <- prometheus.MustNewConstMetric(unsealedSamples, prometheus.GaugeValue, float64(one.waiting.Load()), one.spec.Name)
	}
}
