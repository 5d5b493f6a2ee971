// Package check holds dashboards and rules against what the product really
// exports: it starts `edgepulse up` with every component, scrapes it, and walks
// each expression of each panel, variable and rule. A metric or label that does
// not exist, a broken expression, an alert without a test or without a section in
// the runbook, and a stale docs/metrics.md fail.
//
// It is a module of its own because the parser of PromQL is heavy, and it
// imports nothing of the product: it sees what Prometheus sees.
package check
