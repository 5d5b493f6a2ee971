package check

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestExpressions holds every rule and every panel against a running process.
func TestExpressions(t *testing.T) {
	exported := scrape(t, func(bin, data string) { tenantQueries(t, bin, data) })
	k := &known{scraped: exported, recorded: map[string][]string{}, seen: map[string]bool{}}
	k.record(t)
	k.alerts(t)
	k.dashboards(t)
	metricsPage(t, k.scraped)
	mutants(t, k)
}

// mutants are mistakes that this check must find; each was made once by somebody.
func mutants(t *testing.T, k *known) {
	t.Helper()
	for _, m := range []struct{ expr, want string }{
		{`rate(edgepulse_gateway_point_total[1m])`, `no metric "edgepulse_gateway_point_total"`},
		{`sum by (stage) (rate(edgepulse_scorer_entries_total[1m]))`, `no label "stage"`},
		{`edgepulse_lag_seconds{tenant="a"}`, `has no label "tenant"`},
		{`sum(rate(edgepulse_gateway_points_total[1m])`, `parse`},
		{`rate(edgepulse_gateway_append_seconds[1m])`, `no metric "edgepulse_gateway_append_seconds"`},
		{`histogram_quantile(0.9, sum(rate(edgepulse_gateway_append_seconds_bucket[1m])))`, `without le`},
		{`{__name__=~"edgepulse_(scorer|scorrer)_partition_owned"}`, `no metric "edgepulse_scorrer_partition_owned"`},
		{`sum by (code) (edgepulse:points:rate1m)`, `no label "code"`},
	} {
		if _, err := k.check(m.expr); err == nil || !strings.Contains(err.Error(), m.want) {
			t.Errorf("%s: got %v, expected an error with %q", m.expr, err, m.want)
		}
	}
}

type dashboard struct {
	UID    string  `json:"uid"`
	Title  string  `json:"title"`
	Panels []panel `json:"panels"`
	Vars   struct {
		List []struct {
			Name       string `json:"name"`
			Type       string `json:"type"`
			Definition string `json:"definition"`
		} `json:"list"`
	} `json:"templating"`
}

type panel struct {
	ID          int    `json:"id"`
	Title       string `json:"title"`
	Description string `json:"description"`
	Type        string `json:"type"`
	GridPos     struct {
		X, Y, W, H int
	} `json:"gridPos"`
	Datasource struct {
		Type string `json:"type"`
	} `json:"datasource"`
	Targets []struct {
		Expr   string `json:"expr"`
		RawSQL string `json:"rawSql"`
		Legend string `json:"legendFormat"`
	} `json:"targets"`
	Panels []panel `json:"panels"`
}

// variables of Grafana stand for text that a parser has to see.
var variables = strings.NewReplacer("$__rate_interval", "1m", "$__interval", "1m", "$__range", "1h", "$partition", ".*", "$log", ".*")

// stages that the variable $stage offers.
var stageValues = []string{"normaliser", "featurizer", "scorer", "alerter"}

func (k *known) dashboards(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob("../../grafana/dashboards/*.json")
	if err != nil || len(files) < 3 {
		t.Fatalf("found %d dashboards (%v), expected three at least", len(files), err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard
		if err := json.Unmarshal(b, &d); err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if d.UID == "" || d.Title == "" {
			t.Errorf("%s has no uid or title", file)
		}
		ids := map[int]bool{}
		for _, p := range d.Panels {
			k.panel(t, filepath.Base(file), p, ids)
		}
		checkGrid(t, filepath.Base(file), d.Panels)
		for _, v := range d.Vars.List {
			inner, ok := strings.CutPrefix(v.Definition, "label_values(")
			if v.Type != "query" || !ok {
				continue
			}
			expr, label, _ := strings.Cut(strings.TrimSuffix(inner, ")"), ", ")
			if l, err := k.check(expr); err != nil || !slices.Contains(l, label) {
				t.Errorf("%s: variable %s: %s gives %v (%v), without %s", file, v.Name, expr, l, err, label)
			}
		}
	}
}

func (k *known) panel(t *testing.T, file string, p panel, ids map[int]bool) {
	t.Helper()
	where := fmt.Sprintf("%s: panel %q", file, p.Title)
	if ids[p.ID] {
		t.Errorf("%s: id %d is taken", where, p.ID)
	}
	ids[p.ID] = true
	for _, inner := range p.Panels {
		k.panel(t, file, inner, ids)
	}
	if p.Type == "row" || p.Type == "text" {
		return
	}
	if p.Title == "" || p.Description == "" {
		t.Errorf("%s has no title or description", where)
	}
	if len(p.Targets) == 0 {
		t.Errorf("%s asks nothing", where)
	}
	for _, q := range p.Targets {
		if p.Datasource.Type != "prometheus" {
			if q.RawSQL == "" {
				t.Errorf("%s has a query without SQL", where)
			}
			continue // tenantQueries runs them
		}
		stages := []string{""}
		if strings.Contains(q.Expr, "$stage") {
			stages = stageValues
		}
		for _, s := range stages {
			expr := variables.Replace(strings.ReplaceAll(q.Expr, "$stage", s))
			l, err := k.check(expr)
			if err != nil {
				t.Errorf("%s: %s: %v", where, q.Expr, err)
			}
			for _, m := range legendLabel.FindAllStringSubmatch(q.Legend, -1) {
				if !slices.Contains(l, m[1]) {
					t.Errorf("%s: legend uses label %s, the expression gives %v", where, m[1], l)
				}
			}
		}
	}
}

// checkGrid finds panels that lie on each other or stick out.
func checkGrid(t *testing.T, file string, panels []panel) {
	t.Helper()
	taken := map[[2]int]string{}
	for _, p := range panels {
		g := p.GridPos
		if g.W <= 0 || g.H <= 0 || g.X < 0 || g.X+g.W > 24 {
			t.Errorf("%s: panel %q does not fit the grid: %+v", file, p.Title, g)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" {
					t.Errorf("%s: panel %q lies on %q", file, p.Title, other)
					return
				}
				taken[[2]int{x, y}] = p.Title + " "
			}
		}
	}
}
