package check

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	plabels "github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// known is every series that an expression may name: scraped, recorded, or made
// by Prometheus itself.
type known struct {
	scraped  registry
	recorded map[string][]string
	seen     map[string]bool // scraped families that something asks for
}

// target are the labels that every scraped series gets.
var target = []string{"instance", "job"}

func (k *known) labelsOf(name string) ([]string, error) {
	if l, ok := k.recorded[name]; ok {
		return l, nil
	}
	if name == "up" {
		return target, nil
	}
	if name == "ALERTS" {
		return []string{"alertname", "alertstate", "severity", "stage", "log", "partition", "reason", "code", "instance", "role"}, nil
	}
	if l, ok := k.scraped.series(name); ok {
		return append(slices.Clone(l), target...), nil
	}
	return nil, fmt.Errorf("no metric %q", name)
}

// names are the metrics that a selector can match; a regular expression must
// find something for each of its alternatives.
func (k *known) names(v *parser.VectorSelector) ([]string, error) {
	if v.Name != "" {
		return []string{v.Name}, nil
	}
	for _, m := range v.LabelMatchers {
		if m.Name != plabels.MetricName {
			continue
		}
		if m.Type != plabels.MatchRegexp {
			return nil, fmt.Errorf("matches __name__ by %s", m.Type)
		}
		return k.alternatives(m.Value)
	}
	return nil, fmt.Errorf("selector without a name")
}

var group = regexp.MustCompile(`^([^()|]*)\(([a-z_|]+)\)([^()|]*)$`)

func (k *known) alternatives(pattern string) ([]string, error) {
	g := group.FindStringSubmatch(pattern)
	if g == nil {
		return nil, fmt.Errorf("name pattern %q is not of the form prefix_(a|b)_suffix", pattern)
	}
	var out []string
	for _, a := range strings.Split(g[2], "|") {
		out = append(out, g[1]+a+g[3])
	}
	return out, nil
}

// infer checks an expression and returns the labels its result can have.
func (k *known) infer(e parser.Expr) ([]string, error) {
	switch e := e.(type) {
	case *parser.VectorSelector:
		return k.selector(e)
	case *parser.MatrixSelector:
		return k.infer(e.VectorSelector)
	case *parser.SubqueryExpr:
		return k.infer(e.Expr)
	case *parser.ParenExpr:
		return k.infer(e.Expr)
	case *parser.UnaryExpr:
		return k.infer(e.Expr)
	case *parser.StepInvariantExpr:
		return k.infer(e.Expr)
	case *parser.NumberLiteral, *parser.StringLiteral:
		return nil, nil
	case *parser.AggregateExpr:
		return k.aggregate(e)
	case *parser.BinaryExpr:
		return k.binary(e)
	case *parser.Call:
		return k.call(e)
	}
	return nil, fmt.Errorf("expression of kind %T is not known to this check", e)
}

func (k *known) selector(v *parser.VectorSelector) ([]string, error) {
	names, err := k.names(v)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range names {
		l, err := k.labelsOf(name)
		if err != nil {
			return nil, err
		}
		for _, m := range v.LabelMatchers {
			if m.Name != plabels.MetricName && !slices.Contains(l, m.Name) {
				return nil, fmt.Errorf("%s has no label %q, it has %v", name, m.Name, l)
			}
		}
		k.seen[name] = true
		out = union(out, l)
	}
	return out, nil
}

func (k *known) aggregate(e *parser.AggregateExpr) ([]string, error) {
	in, err := k.infer(e.Expr)
	if err != nil {
		return nil, err
	}
	if err := within(e.Grouping, in); err != nil {
		return nil, err
	}
	switch {
	case e.Without:
		return slices.DeleteFunc(in, func(s string) bool { return slices.Contains(e.Grouping, s) }), nil
	case e.Op == parser.TOPK || e.Op == parser.BOTTOMK:
		return in, nil
	}
	return e.Grouping, nil
}

func (k *known) binary(e *parser.BinaryExpr) ([]string, error) {
	l, err := k.infer(e.LHS)
	if err != nil {
		return nil, err
	}
	r, err := k.infer(e.RHS)
	if err != nil {
		return nil, err
	}
	if m := e.VectorMatching; m != nil {
		if err := within(m.MatchingLabels, l); err != nil && len(m.MatchingLabels) > 0 {
			return nil, err
		}
		if err := within(m.MatchingLabels, r); err != nil && len(m.MatchingLabels) > 0 {
			return nil, err
		}
		switch m.Card {
		case parser.CardManyToOne:
			return union(l, m.Include), nil
		case parser.CardOneToMany:
			return union(r, m.Include), nil
		}
	}
	if e.Op == parser.LOR {
		return union(l, r), nil
	}
	if len(l) == 0 {
		return r, nil // a number on the left
	}
	return l, nil
}

func (k *known) call(e *parser.Call) ([]string, error) {
	var in []string
	for _, a := range e.Args {
		l, err := k.infer(a)
		if err != nil {
			return nil, err
		}
		in = union(in, l)
	}
	switch e.Func.Name {
	case "label_replace":
		dst := e.Args[1].(*parser.StringLiteral).Val
		src := e.Args[3].(*parser.StringLiteral).Val
		if src != "" && src != plabels.MetricName {
			if err := within([]string{src}, in); err != nil {
				return nil, err
			}
		}
		return union(in, []string{dst}), nil
	case "histogram_quantile":
		if !slices.Contains(in, "le") {
			return nil, fmt.Errorf("histogram_quantile over series without le")
		}
		return slices.DeleteFunc(in, func(s string) bool { return s == "le" }), nil
	case "absent":
		var out []string
		if v, ok := e.Args[0].(*parser.VectorSelector); ok {
			for _, m := range v.LabelMatchers {
				if m.Type == plabels.MatchEqual && m.Name != plabels.MetricName {
					out = append(out, m.Name)
				}
			}
		}
		return out, nil
	case "scalar", "time", "vector":
		return nil, nil
	}
	return in, nil
}

func within(want, have []string) error {
	for _, w := range want {
		if !slices.Contains(have, w) {
			return fmt.Errorf("no label %q here, only %v", w, have)
		}
	}
	return nil
}

func union(a, b []string) []string {
	out := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
