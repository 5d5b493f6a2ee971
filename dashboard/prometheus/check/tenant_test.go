package check

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tenantQueries runs every SQL of the tenant dashboard as an analyst of the
// development tenant, the way Grafana does, and sees that this login writes nothing.
func tenantQueries(t *testing.T, bin, data string) {
	t.Helper()
	ctx := context.Background()
	psql := "psql"
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/psql"); len(found) > 0 {
		psql = found[0]
	}
	if _, err := exec.LookPath(psql); err != nil {
		t.Log("NOT RUN, psql is not installed: the SQL of the tenant dashboard")
		if os.Getenv("EDGEPULSE_TEST_STRICT") == "1" {
			t.Error("psql is missing")
		}
		return
	}
	run := func(args ...string) string {
		cmd := exec.CommandContext(ctx, bin, args...)
		cmd.Env = append(os.Environ(), "EDGEPULSE_DATA="+data)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("edgepulse %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	said := run("tenant", "analyst", "dev", "grafana_check")
	_, password, ok := strings.Cut(strings.TrimSpace(said), "password ")
	if !ok {
		t.Fatalf("tenant analyst said %q", said)
	}
	env, err := os.ReadFile(filepath.Join(data, "dev.env"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(env), "EDGEPULSE_DATABASE_APP_URL='")
	url, _, _ := strings.Cut(rest, "'")
	query := func(sql string) (string, error) {
		cmd := exec.CommandContext(ctx, psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", asAnalyst(url, password), "-c", sql)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	b, err := os.ReadFile("../../grafana/dashboards/tenant.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			n++
			if out, err := query(timeFilter.ReplaceAllString(q.RawSQL, "$1 BETWEEN now() - interval '1 day' AND now()")); err != nil {
				t.Errorf("tenant.json: panel %q: %v: %s", p.Title, err, out)
			}
		}
	}
	if n < 10 {
		t.Errorf("tenant.json holds %d queries only", n)
	}
	if out, err := query("SELECT nosuch FROM devices"); err == nil {
		t.Errorf("a wrong column passed: %s", out)
	}
	if out, err := query("DELETE FROM devices"); err == nil || !strings.Contains(out, "permission denied") && !strings.Contains(out, "read-only") {
		t.Errorf("an analyst deleted: %v %s", err, out)
	}
}

// asAnalyst puts the login into an address of the database.
func asAnalyst(url, password string) string {
	scheme, rest, _ := strings.Cut(url, "://")
	_, host, _ := strings.Cut(rest, "@")
	return scheme + "://grafana_check:" + password + "@" + host
}
