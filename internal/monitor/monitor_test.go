package monitor

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/edgepulse/edgepulse/internal/embedded"
	"github.com/edgepulse/edgepulse/stream"
)

// TestDeadStage looks at real logs that nobody works on: the lag of the one stage
// that has something to do grows, and no other one is blamed.
func TestDeadStage(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	b := broker(t, ctx)
	now := time.Now()
	archived := map[stream.LogName]map[int]uint64{stream.Ingest: {0: 2}}
	var failure error
	cfg := Config{Now: func() time.Time { return now }, ArchivedLogs: []stream.LogName{stream.Ingest},
		Archived: func(context.Context) (map[stream.LogName]map[int]uint64, error) { return archived, failure }}

	m, read := watch(cfg, b)
	m.Look(ctx)
	want(t, read(), "edgepulse_lag_roots", "normaliser", 0)
	for range 5 {
		if _, err := b.Append(ctx, stream.Ingest, 0, []byte("group")); err != nil {
			t.Fatal(err)
		}
	}
	m.Look(ctx)
	now = now.Add(20 * time.Second)
	m.Look(ctx)
	got := read()
	want(t, got, "edgepulse_lag_roots", "normaliser", 5)
	want(t, got, "edgepulse_lag_seconds", "normaliser", 20)
	want(t, got, "edgepulse_lag_roots", "archiver", 3)
	for _, stage := range []string{"featurizer", "scorer", "alerter", "deliverer"} {
		want(t, got, "edgepulse_lag_roots", stage, 0)
		want(t, got, "edgepulse_lag_seconds", stage, 0)
	}

	// A monitor that begins later asks the log how old the waiting root is.
	now = time.Now().Add(time.Hour)
	late, read2 := watch(cfg, b)
	late.Look(ctx)
	if lag := value(read2(), "edgepulse_lag_seconds", "normaliser"); math.Abs(lag-3600) > 60 {
		t.Errorf("a monitor that began later sees a lag of %.0f s, expected about an hour", lag)
	}

	// What can't be read is not shown as if it were known.
	failure = errors.New("database is away")
	m.Look(ctx)
	got = read()
	want(t, got, "edgepulse_lag_seconds", "archiver", math.NaN())
	want(t, got, "edgepulse_lag_roots", "normaliser", 5)
	want(t, got, "edgepulse_monitor_errors_total", "", 1)
}

func broker(t *testing.T, ctx context.Context) *stream.Broker {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	n, err := embedded.StartNATS(embedded.NATSOptions{StoreDir: t.TempDir(), Port: -1, MaxFileStore: 1 << 30, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Stop)
	user, password := n.Credentials()
	url := strings.Replace(n.ClientURL(), "://", "://"+user+":"+password+"@", 1)
	b, err := stream.Connect(stream.BrokerConfig{URL: url, Partitions: 1, Replicas: 1, MaxBytes: 256 << 20, Timeout: 10 * time.Second}, "test", n, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	if err := errors.Join(b.WaitConnected(ctx), b.Provision(ctx)); err != nil {
		t.Fatal(err)
	}
	return b
}

func watch(cfg Config, b *stream.Broker) (*Monitor, func() []*dto.MetricFamily) {
	reg := prometheus.NewRegistry()
	return New(cfg, b, reg, slog.New(slog.DiscardHandler)), func() []*dto.MetricFamily {
		families, err := reg.Gather()
		if err != nil {
			panic(err)
		}
		return families
	}
}

// value adds up a metric over the series of a stage; NaN when there is none.
func value(families []*dto.MetricFamily, name, stage string) float64 {
	sum, found := 0.0, false
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.Metric {
			is := stage == ""
			for _, l := range m.Label {
				is = is || l.GetName() == "stage" && l.GetValue() == stage
			}
			if is {
				sum, found = sum+m.GetGauge().GetValue()+m.GetCounter().GetValue(), true
			}
		}
	}
	if !found {
		return math.NaN()
	}
	return sum
}

func want(t *testing.T, families []*dto.MetricFamily, name, stage string, v float64) {
	t.Helper()
	if got := value(families, name, stage); got != v && !(math.IsNaN(got) && math.IsNaN(v)) {
		t.Errorf("%s of %q is %v, expected %v", name, stage, got, v)
	}
}
