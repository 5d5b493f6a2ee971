package proof

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var modules = []string{"network", "nats", "postgres", "stages", "observability", "edge", "service"}

func TestFormat(t *testing.T) {
	w := workspace{dir: tree, env: os.Environ()}
	for _, part := range []string{"modules", "examples", "environments"} {
		if out, err := w.terraform("fmt", "-check", "-recursive", "-no-color", part); err != nil {
			t.Errorf("not formatted (terraform fmt -recursive mends it):\n%s", out)
		}
	}
}

// Examples and environments are what people copy: they must be valid.
func TestValidate(t *testing.T) {
	for _, kind := range []string{"examples", "environments"} {
		list, err := os.ReadDir(filepath.Join(tree, kind))
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range list {
			folder := filepath.Join(kind, d.Name())
			t.Run(folder, func(t *testing.T) {
				t.Parallel()
				w := newWorkspace(t, folder, nil)
				if out, err := w.terraform("validate", "-no-color"); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
			})
		}
	}
}

// TestModules runs each module's own tests, and the rules over every state in them.
func TestModules(t *testing.T) {
	// What must have been looked at, so that silence means something.
	must := map[string][]string{
		"network":       {"aws_vpc_security_group_ingress_rule", "aws_vpc_security_group_egress_rule", "aws_iam_role_policy"},
		"nats":          {"aws_instance", "aws_ebs_volume", "aws_iam_role_policy", "aws_secretsmanager_secret"},
		"postgres":      {"aws_db_instance", "aws_secretsmanager_secret_version"},
		"stages":        {"aws_ecs_task_definition", "aws_iam_role_policy", "aws_iam_role", "aws_s3_bucket", "aws_lb_listener"},
		"observability": {"aws_sns_topic", "aws_iam_role_policy", "aws_ecs_task_definition"},
		"edge":          {"cloudflare_workers_script", "cloudflare_r2_managed_domain"},
		"service":       {"aws_kms_key", "aws_db_instance", "aws_instance", "aws_ecs_service"},
	}
	for _, m := range modules {
		t.Run(m, func(t *testing.T) {
			t.Parallel()
			w := newWorkspace(t, filepath.Join("modules", m), nil)
			found, looked := w.findings(t)
			dropped, err := UnknownNested(w.dir, schemasOf(t, m))
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, dropped...)
			for _, f := range found {
				t.Error(f)
			}
			for _, kind := range must[m] {
				if looked[kind] == 0 {
					t.Errorf("no %s was looked at", kind)
				}
			}
		})
	}
}

// TestSettings holds that every setting the stages are given is one the binary
// reads, and that every stage is one it has.
func TestSettings(t *testing.T) {
	repo := filepath.Dir(tree)
	var code strings.Builder
	for _, folder := range []string{"cmd", "gateway", "internal/app", "stream"} {
		files, err := filepath.Glob(filepath.Join(repo, folder, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		more, err := filepath.Glob(filepath.Join(repo, folder, "*", "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range append(files, more...) {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			code.Write(text)
		}
	}
	var config strings.Builder
	for _, name := range []string{"locals.tf", "migrate.tf", "tasks.tf"} {
		text, err := os.ReadFile(filepath.Join(tree, "modules", "stages", name))
		if err != nil {
			t.Fatal(err)
		}
		config.Write(text)
	}
	names := regexp.MustCompile(`\b(EDGEPULSE_[A-Z0-9_]*[A-Z0-9]|R2_[A-Z_]+)\b`).FindAllString(config.String(), -1)
	names = append(names, "EDGEPULSE_DATABASE_APP_URL", "EDGEPULSE_DATABASE_WRITER_URL") // put together from the role
	seen := 0
	for _, n := range names {
		if n == "EDGEPULSE_DATABASE" {
			continue // the first half of the two above
		}
		seen++
		if !regexp.MustCompile(`["',]` + n + `["',]`).MatchString(code.String()) {
			t.Errorf("modules/stages sets %s, which the binary does not read", n)
		}
	}
	if seen < 15 {
		t.Errorf("only %d settings found: is the test looking at the right files?", seen)
	}
	for _, stage := range regexp.MustCompile(`(?m)^    (\w+)\s+= \{ group = `).FindAllStringSubmatch(config.String(), -1) {
		if !strings.Contains(code.String(), `cmd:"" help:"Run the `+stage[1]) && !strings.Contains(code.String(), `"`+stage[1]+`":`) {
			t.Errorf("modules/stages runs %s, which is no stage of the binary", stage[1])
		}
	}
}
