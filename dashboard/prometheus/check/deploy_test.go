package check

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

type compose struct {
	Services map[string]struct {
		Image       string         `yaml:"image"`
		Command     []string       `yaml:"command"`
		Environment map[string]any `yaml:"environment"`
		Volumes     []string       `yaml:"volumes"`
		ReadOnly    bool           `yaml:"read_only"`
	} `yaml:"services"`
}

// TestCompose holds docker-compose.yml, which no engine runs here, against what
// the binary knows: subcommands, variables, files, and Prometheus' targets.
func TestCompose(t *testing.T) {
	var c compose
	load(t, root+"/docker-compose.yml", &c)
	variables := sources(t, regexp.MustCompile(`"?(?:env:")?\b(EDGEPULSE_[A-Z_]+)\b`))
	commands := sources(t, regexp.MustCompile("(?m)^\\s+([A-Z]\\w+)\\s+\\w+Cmd\\s+`cmd:"))
	for name, s := range c.Services {
		if s.Image != "edgepulse" {
			continue
		}
		if len(s.Command) > 0 && !commands[strings.ToLower(s.Command[0])] {
			t.Errorf("service %s runs `edgepulse %s`, which does not exist", name, s.Command[0])
		}
		for v := range s.Environment {
			if !variables[strings.ToLower(v)] {
				t.Errorf("service %s sets %s, which nothing reads", name, v)
			}
		}
		if _, owner := s.Environment["EDGEPULSE_DATABASE_OWNER_URL"]; owner && name != "migrate" && name != "tools" {
			t.Errorf("service %s is trusted with the owner of the schema", name)
		}
		if name != "migrate" && !s.ReadOnly {
			t.Errorf("service %s may write to its image", name)
		}
	}
	for name, s := range c.Services {
		for _, v := range s.Volumes {
			host, _, _ := strings.Cut(v, ":")
			if !strings.HasPrefix(host, "./") {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, host)); err != nil {
				t.Errorf("service %s mounts %s: %v", name, host, err)
			}
		}
	}
	var groups []struct {
		Targets []string `json:"targets"`
	}
	b, err := os.ReadFile("../targets.cluster.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &groups); err != nil {
		t.Fatal(err)
	}
	for _, target := range groups[0].Targets {
		host, port, _ := strings.Cut(target, ":")
		s, ok := c.Services[host]
		if !ok || len(s.Command) != 1 || s.Command[0] != host {
			t.Errorf("targets.cluster.json names %s, which is no service that runs it", target)
		}
		if addr := s.Environment["EDGEPULSE_METRICS_ADDR"]; host != "gateway" && addr != ":"+port {
			t.Errorf("%s is scraped at port %s, but serves metrics at %v", host, port, addr)
		}
	}
	if len(groups[0].Targets) != 8 {
		t.Errorf("%d targets, expected every stage", len(groups[0].Targets))
	}
}

// TestProvisioning reads what Grafana reads at its start.
func TestProvisioning(t *testing.T) {
	files, _ := filepath.Glob("../../grafana/provisioning/*/*.yml")
	if len(files) != 2 {
		t.Fatalf("found %v, expected data sources and dashboards", files)
	}
	for _, f := range files {
		var doc struct {
			APIVersion  int              `yaml:"apiVersion"`
			Datasources []map[string]any `yaml:"datasources"`
			Providers   []map[string]any `yaml:"providers"`
		}
		load(t, f, &doc)
		if doc.APIVersion != 1 || len(doc.Datasources)+len(doc.Providers) == 0 {
			t.Errorf("%s provides nothing", f)
		}
		for _, d := range doc.Datasources {
			if d["password"] != nil {
				t.Errorf("%s: a password stands outside of secureJsonData", f)
			}
		}
	}
}

// sources finds what a pattern captures in the Go files of the product, in lower case.
func sources(t *testing.T, pattern *regexp.Regexp) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for _, dir := range []string{"cmd", "gateway", "internal/app", "internal/monitor", "stream"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			b, err := os.ReadFile(path)
			for _, m := range pattern.FindAllStringSubmatch(string(b), -1) {
				out[strings.ToLower(m[1])] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}
