package proof

import (
	"strings"
	"testing"
)

func TestRules(t *testing.T) {
	r := func(kind string, values map[string]any) Resource {
		return Resource{Address: kind + ".x", Mode: "managed", Type: kind, Values: values}
	}
	policy := func(statement string) Resource {
		return r("aws_iam_role_policy", map[string]any{"policy": `{"Statement":[` + statement + `]}`})
	}
	container := func(c string) Resource {
		return r("aws_ecs_task_definition", map[string]any{"container_definitions": `[{"name":"x","image":"i@sha256:0","user":"1:1",` + c + `}]`})
	}
	for _, c := range []struct {
		name     string
		resource Resource
		want     string // empty: nothing is found
	}{
		{"named", policy(`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/ingest/*"}`), ""},
		{"log streams", policy(`{"Effect":"Allow","Action":"logs:PutLogEvents","Resource":"arn:aws:logs:r:1:log-group:g:*"}`), ""},
		{"no resource to name", policy(`{"Effect":"Allow","Action":["ecr:GetAuthorizationToken"],"Resource":["*"]}`), ""},
		{"denied to all", policy(`{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::b/*"}`), ""},
		{"wildcard inside an action", policy(`{"Effect":"Allow","Action":["s3:Get*"],"Resource":"arn:aws:s3:::b/k"}`), "wildcard action s3:Get*"},
		{"everything", policy(`{"Effect":"Allow","Action":"*","Resource":"*"}`), "wildcard action *"},
		{"every bucket", policy(`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::*"}`), "arn:aws:s3:::*"},
		{"part of a name", policy(`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::edge*/k"}`), "edge*/k"},
		{"by exception", policy(`{"Effect":"Allow","NotAction":"iam:PassRole","Resource":"arn:aws:s3:::b/k"}`), "by exception"},
		{"any account", r("aws_iam_role", map[string]any{"assume_role_policy": `{"Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"ecs-tasks.amazonaws.com"}}]}`}), "any account"},
		{"key of all", r("aws_kms_key", map[string]any{"enable_key_rotation": true, "policy": `{"Statement":[{"Effect":"Allow","Action":"kms:*","Principal":{"AWS":"*"},"Resource":"*"}]}`}), "trusts everybody"},
		{"pepper in the clear", container(`"environment":[{"name":"EDGEPULSE_PEPPER","value":"00"}]`), "plain environment"},
		{"path of a secret", container(`"environment":[{"name":"EDGEPULSE_NATS_CREDS","value":"/run/edgepulse/nats.creds"}]`), ""},
		{"password in an address", container(`"environment":[{"name":"EDGEPULSE_DATABASE_APP_URL","value":"postgres://app:pw@db/x"}]`), "plain environment"},
		{"root", r("aws_ecs_task_definition", map[string]any{"container_definitions": `[{"name":"x","image":"i@sha256:0","user":"0:0"}]`}), "runs as root"},
		{"all ports", r("aws_vpc_security_group_ingress_rule", map[string]any{"ip_protocol": "-1", "cidr_ipv6": "::/0"}), "open to the world"},
		{"from a range of addresses", r("aws_vpc_security_group_ingress_rule", map[string]any{"ip_protocol": "tcp", "from_port": 443.0, "to_port": 443.0, "cidr_ipv4": "10.0.0.0/8"}), "lets addresses in"},
		{"lonely bucket", r("aws_s3_bucket", map[string]any{"id": "b"}), "has no aws_s3_bucket_public_access_block"},
		{"endless log", r("aws_cloudwatch_log_group", map[string]any{"retention_in_days": 0.0}), "for ever"},
		{"plain http", r("aws_lb_listener", map[string]any{"protocol": "HTTP"}), "without TLS"},
	} {
		t.Run(c.name, func(t *testing.T) {
			found := strings.Join(Check([]Resource{c.resource}), "\n")
			if c.want == "" && found != "" || !strings.Contains(found, c.want) {
				t.Errorf("found %q, expected %q", found, c.want)
			}
		})
	}
}
