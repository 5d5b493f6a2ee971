package proof

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type finder int

const (
	byRules    finder = iota // over the states that the module's tests reach, or those tests
	byValidate               // terraform validate, with the schemas
	byNesting                // what Terraform itself overlooks
)

// mutations are mistakes that must be found. Each is applied to a copy.
var mutations = []struct {
	name, module, file, old, new string
	by                           finder // who finds it
	want                         string // what the finding says
}{
	{"wrong attribute", "network", "main.tf", "enable_dns_support ", "enable_dns_suport ", byValidate, `An argument named "enable_dns_suport" is not expected here`},
	{"wrong nested attribute", "stages", "load_balancer.tf", "unhealthy_threshold =", "unhealthy_treshold =", byValidate, `An argument named "unhealthy_treshold" is not expected here`},
	{"missing attribute", "postgres", "main.tf", "  instance_class = var.instance_class\n", "", byValidate, `The argument "instance_class" is required`},
	{"wrong attribute of a list of objects", "edge", "main.tf", "requests_per_period =", "request_per_period =", byNesting, "rules.ratelimit has no attribute request_per_period"},

	{"wildcard action", "stages", "iam.tf", `Action = ["s3:GetObject", "s3:PutObject"]`, `Action = ["s3:*"]`, byRules, "allows the wildcard action s3:*"},
	{"wildcard resource", "observability", "collector.tf", `Action = "aps:RemoteWrite", Resource = aws_prometheus_workspace.this.arn`, `Action = "aps:RemoteWrite", Resource = "*"`, byRules, "allows aps:RemoteWrite on every resource"},
	{"trust in everybody", "observability", "collector.tf", `Principal = { Service = "ecs-tasks.amazonaws.com" }`, `Principal = "*"`, byRules, "trusts everybody"},
	{"open security group", "network", "flows.tf", `resource "aws_vpc_security_group_egress_rule" "s3"`, `resource "aws_vpc_security_group_ingress_rule" "oops" {
  security_group_id = aws_security_group.this["postgres"].id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 5432
  to_port           = 5432
}

resource "aws_vpc_security_group_egress_rule" "s3"`, byRules, "is open to the world on port 5432"},
	{"edge that is not in the graph", "network", "flows.tf", `{ from = "lb", to = "gateway", port = "gateway" },`, `{ from = "lb", to = "gateway", port = "gateway" }, { from = "lb", to = "nats", port = "nats" },`, byRules, "The graph of who may talk to whom changed"},
	{"storage in the clear", "nats", "main.tf", "  encrypted         = true\n", "", byRules, "is not encrypted with the deployment's key"},
	{"public database", "postgres", "main.tf", "publicly_accessible    = false", "publicly_accessible    = true", byRules, "is publicly accessible"},
	{"public bucket", "edge", "main.tf", "enabled     = false\n}\n\n# No rule", "enabled     = true\n}\n\n# No rule", byRules, "makes the bucket public"},
	{"secret in a plain binding", "edge", "main.tf", `{ type = "secret_text", name = "EDGE_SECRET"`, `{ type = "plain_text", name = "EDGE_SECRET"`, byRules, "binding EDGE_SECRET is a plain_text"},
	{"secret in user data", "nats", "nats.conf.tftpl", "max_payload: 8MB", "max_payload: 8MB\n# SUAM3FGOJZHSC3GGTRCVPCZRLCQDQ22R6RCRVC6BW3IRVLSXM4AIH3JPVA", byRules, "has a secret in its user data"},
	{"password in the state", "postgres", "main.tf", "manage_master_user_password   = true\n  master_user_secret_kms_key_id = var.kms_key_arn", `password = "hunter2hunter2"`, byRules, "keeps the password in the state"},
}

// appliedOnly drops the runs that only plan, which stand last: they try what
// variables refuse, and reach no state.
func appliedOnly(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	applied, _, _ := strings.Cut(string(text), "command = plan")
	if i := strings.LastIndex(applied, "\nrun "); len(applied) < len(text) && i > 0 {
		applied = applied[:i+1]
	}
	if err := os.WriteFile(file, []byte(applied), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestMutations(t *testing.T) {
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			w := newWorkspace(t, filepath.Join("modules", m.module), func(root string) {
				appliedOnly(t, filepath.Join(root, "modules", m.module, "tests", m.module+".tftest.hcl"))
				file := filepath.Join(root, "modules", m.module, m.file)
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if n := strings.Count(string(text), m.old); n != 1 {
					t.Fatalf("%s holds %q %d times, expected once", m.file, m.old, n)
				}
				if err := os.WriteFile(file, []byte(strings.Replace(string(text), m.old, m.new, 1)), 0o600); err != nil {
					t.Fatal(err)
				}
			})
			var said string
			switch m.by {
			case byValidate:
				out, err := w.terraform("validate", "-no-color")
				if err == nil {
					t.Fatal("validation found nothing")
				}
				said = string(out)
			case byNesting:
				found, err := UnknownNested(w.dir, schemasOf(t, m.module))
				if err != nil {
					t.Fatal(err)
				}
				said = strings.Join(found, "\n")
			default:
				found, _ := w.findings(t)
				said = strings.Join(found, "\n")
			}
			if !strings.Contains(strings.Join(strings.Fields(said), " "), m.want) {
				t.Fatalf("expected to hear %q, heard:\n%s", m.want, said)
			}
		})
	}
}
