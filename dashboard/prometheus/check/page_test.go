package check

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// timeFilter is Grafana's macro for the shown time.
var timeFilter = regexp.MustCompile(`\$__timeFilter\((\w+)\)`)

var legendLabel = regexp.MustCompile(`\{\{\s*([a-z_]+)\s*\}\}`)

// about says what each group of metrics is, in the order of the page.
var about = []struct{ prefix, title, text string }{
	{"gateway", "gateway", "HTTP in, INGEST out."},
	{"relay", "relay", "Carries configuration from Postgres into the logs; runs in the gateway's process."},
	{"normaliser", "normaliser", "INGEST to POINTS."},
	{"featurizer", "featurizer", "POINTS to FEATURES."},
	{"scorer", "scorer", "FEATURES to SCORES."},
	{"alerter", "alerter", "SCORES to ALERTS."},
	{"deliverer", "deliverer", "ALERTS to webhooks and DELIVERIES."},
	{"projector", "projector", "Every log to Postgres."},
	{"archiver", "archiver", "INGEST and DELIVERIES to the object store."},
	{"janitor", "janitor", "Truncates the logs behind their readers; part of the archiver."},
	{"retention", "retention", "Deletes what is older than its tenant's retention; part of the archiver."},
	{"drain", "drain", "What the edge spilled while the origin was away, into INGEST."},
	{"lag", "lag", "How far each reader of a log is behind it, seen from outside by the monitor in the gateway's process."},
	{"log", "log", "The logs in the broker, seen by the monitor."},
	{"monitor", "monitor", "The monitor itself."},
	{"stage", "stage", "Which stages a process runs."},
	{"nats", "nats", "This process's connection to the broker."},
	{"postgres", "postgres", "This process's connections to the database."},
	{"sealing", "sealing", "The projector merges small rows into lasting chunks."},
	{"live", "live", "The live stream of the dashboard."},
	{"dashboard", "dashboard", "The dashboard."},
	{"edge", "edge", "The edge's configuration."},
	{"build", "build", "The binary."},
}

const pageHead = `# Metrics

Written by ` + "`go tool task monitoring:metrics`" + ` from what a process with every component exports; a test fails when it
is stale. Every process serves ` + "`/metrics`" + `: the gateway on its own port, a stage that runs alone on
` + "`EDGEPULSE_METRICS_ADDR`" + `. No label names a tenant, a device or a metric. Beside these stand the usual ` + "`go_*`" + ` and
` + "`process_*`" + ` of the Go client.
`

// metricsPage compares docs/metrics.md with what is exported, or writes it.
func metricsPage(t *testing.T, r registry) {
	t.Helper()
	var b strings.Builder
	b.WriteString(pageHead)
	left := map[string]bool{}
	for name, f := range r {
		if strings.HasPrefix(name, "edgepulse_") {
			left[name] = true
			if f.GetHelp() == "" {
				t.Errorf("%s has no help", name)
			}
			for _, l := range labels(f) {
				if slices.Contains([]string{"tenant", "tenant_id", "device", "device_id", "metric", "metric_id"}, l) {
					t.Errorf("%s has the unbounded label %s", name, l)
				}
			}
		}
	}
	for _, g := range about {
		var names []string
		for name := range left {
			if strings.HasPrefix(name, "edgepulse_"+g.prefix+"_") {
				names = append(names, name)
			}
		}
		if len(names) == 0 {
			continue
		}
		slices.Sort(names)
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| name | type | labels | meaning |\n|---|---|---|---|\n", g.title, g.text)
		for _, name := range names {
			f := r[name]
			delete(left, name)
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", name, strings.ToLower(f.GetType().String()), strings.Join(labels(f), ", "),
				strings.ReplaceAll(f.GetHelp(), "|", `\|`))
		}
	}
	for name := range left {
		t.Errorf("%s belongs to no group of the page: name it edgepulse_<stage>_<what>, or add its group here", name)
	}
	path := filepath.Join(root, "docs", "metrics.md")
	if *write {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	there, err := os.ReadFile(path)
	if err != nil || string(there) != b.String() {
		t.Errorf("docs/metrics.md is stale (%v): run `go tool task monitoring:metrics`\n%s", err, firstDifference(string(there), b.String()))
	}
}

func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Sprintf("line %d\n- %s\n+ %s", i+1, x[i], y[i])
		}
	}
	return fmt.Sprintf("%d lines, expected %d", len(x), len(y))
}
