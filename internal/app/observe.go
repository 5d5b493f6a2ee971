package app

import (
	"context"
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/edgepulse/edgepulse/internal/monitor"
	"github.com/edgepulse/edgepulse/stream"
)

// observed are the metrics of the process itself and of what has no package of its own.
type observed struct {
	running       *prometheus.GaugeVec
	relayed       prometheus.Counter
	relayFailures prometheus.Counter
}

func newObserved(reg prometheus.Registerer, version string) *observed {
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "edgepulse", Name: "build_info",
		Help: "1; what this process was built from."}, []string{"version", "revision", "goversion"})
	build.WithLabelValues(version, revision(), runtime.Version()).Set(1)
	o := &observed{running: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "edgepulse", Subsystem: "stage", Name: "running",
		Help: "1 for every stage that this process runs."}, []string{"stage"})}
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), build, o.running)
	return o
}

func (o *observed) relay(reg prometheus.Registerer) {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "edgepulse", Subsystem: "relay", Name: name, Help: help})
		reg.MustRegister(c)
		return c
	}
	o.relayed = counter("controls_total", "Changes of configuration carried into the logs.")
	o.relayFailures = counter("failures_total", "Times the relay could not read or carry a change.")
}

func revision() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value[:min(12, len(s.Value))]
			}
		}
	}
	return "unknown"
}

// startMonitor runs beside a gateway: the one process that is never a stage of
// the chain it watches.
func startMonitor(_ context.Context, a *App) (func(context.Context) error, error) {
	cfg := a.cfg.Monitor
	cfg.ArchivedLogs = archived
	if a.store != nil && a.cfg.Database.writer() != "" {
		cfg.Projected = a.store.Positions
		cfg.Archived = func(ctx context.Context) (map[stream.LogName]map[int]uint64, error) {
			return a.store.ArchivedRoots(ctx, archived, a.broker.Partitions())
		}
	}
	m := monitor.New(cfg, a.broker, a.registry, a.log.With("stage", "monitor"))
	return a.background("monitor", m.Run), nil
}
