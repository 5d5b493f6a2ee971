package check

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"
)

type rule struct {
	Record      string            `yaml:"record"`
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func rules(t *testing.T, file string) []rule {
	t.Helper()
	var doc struct {
		Groups []struct {
			Rules []rule `yaml:"rules"`
		} `yaml:"groups"`
	}
	load(t, file, &doc)
	var out []rule
	for _, g := range doc.Groups {
		out = append(out, g.Rules...)
	}
	if len(out) == 0 {
		t.Fatalf("%s holds no rule", file)
	}
	return out
}

func load(t *testing.T, file string, into any) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(b, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

func (k *known) check(expr string) ([]string, error) {
	e, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	return k.infer(e)
}

var usedLabel = regexp.MustCompile(`\$labels\.([a-z_]+)`)

// record checks the recording rules, in their order: one may use those before it.
func (k *known) record(t *testing.T) {
	t.Helper()
	for _, r := range rules(t, "../rules/recording.yml") {
		l, err := k.check(r.Expr)
		if err != nil {
			t.Errorf("recording rule %s: %v", r.Record, err)
		}
		k.recorded[r.Record] = l
	}
}

func (k *known) alerts(t *testing.T) {
	t.Helper()
	tests := alertTests(t)
	runbook, err := os.ReadFile(filepath.Join(root, "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules(t, "../rules/alerts.yml") {
		l, err := k.check(r.Expr)
		if err != nil {
			t.Errorf("alert %s: %v", r.Alert, err)
		}
		if !slices.Contains([]string{"page", "ticket"}, r.Labels["severity"]) {
			t.Errorf("alert %s: severity is %q, expected page or ticket", r.Alert, r.Labels["severity"])
		}
		for _, name := range []string{"summary", "description", "runbook"} {
			if r.Annotations[name] == "" {
				t.Errorf("alert %s has no %s", r.Alert, name)
			}
			for _, m := range usedLabel.FindAllStringSubmatch(r.Annotations[name], -1) {
				if !slices.Contains(l, m[1]) {
					t.Errorf("alert %s: its %s uses label %s, the expression gives %v", r.Alert, name, m[1], l)
				}
			}
		}
		if want := "docs/operations.md#" + strings.ToLower(r.Alert); r.Annotations["runbook"] != want {
			t.Errorf("alert %s: runbook is %q, expected %q", r.Alert, r.Annotations["runbook"], want)
		}
		if !strings.Contains(string(runbook), "\n### "+r.Alert+"\n") {
			t.Errorf("alert %s has no section in docs/operations.md", r.Alert)
		}
		if c := tests[r.Alert]; c.fires == 0 || c.quiet == 0 {
			t.Errorf("alert %s: %d tests in which it fires and %d in which it is quiet, expected one of each at least", r.Alert, c.fires, c.quiet)
		}
	}
}

type cases struct{ fires, quiet int }

var testedAlert = regexp.MustCompile(`ALERTS\{alertname="(\w+)", alertstate="firing"\}`)

// alertTests counts, per alert, the moments in which promtool expects it to fire
// and to be quiet.
func alertTests(t *testing.T) map[string]cases {
	t.Helper()
	type file struct {
		Tests []struct {
			Expr []struct {
				Expr    string `yaml:"expr"`
				Samples []any  `yaml:"exp_samples"`
			} `yaml:"promql_expr_test"`
		} `yaml:"tests"`
	}
	var doc file
	for _, name := range []string{"alerts_test.yml", "alerts_slow_test.yml"} {
		var f file
		load(t, "../tests/"+name, &f)
		doc.Tests = append(doc.Tests, f.Tests...)
	}
	out := map[string]cases{}
	for _, test := range doc.Tests {
		for _, e := range test.Expr {
			m := testedAlert.FindStringSubmatch(e.Expr)
			if m == nil {
				t.Errorf("a rule test asks for %q, expected ALERTS of one alert that fires", e.Expr)
				continue
			}
			c := out[m[1]]
			if len(e.Samples) > 0 {
				c.fires++
			} else {
				c.quiet++
			}
			out[m[1]] = c
		}
	}
	return out
}
