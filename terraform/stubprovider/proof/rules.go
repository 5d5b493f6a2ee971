package proof

import (
	"fmt"
	"slices"
)

// Check holds resources against the rules of this package and returns what breaks one.
func Check(resources []Resource) []string {
	c := &checker{}
	for _, r := range resources {
		if r.Mode != "managed" {
			continue
		}
		for _, rule := range []func(Resource){c.policies, c.doors, c.storage, c.secrets} {
			rule(r)
		}
	}
	c.buckets(resources)
	slices.Sort(c.found)
	return slices.Compact(c.found)
}

type checker struct{ found []string }

func (c *checker) say(r Resource, format string, args ...any) {
	c.found = append(c.found, r.Address+": "+fmt.Sprintf(format, args...))
}

// doors: the only way in from outside is port 443 of the load balancer; the only
// way out to anywhere is port 443.
func (c *checker) doors(r Resource) {
	everywhere := []string{"0.0.0.0/0", "::/0"}
	switch r.Type {
	case "aws_vpc_security_group_ingress_rule", "aws_vpc_security_group_egress_rule":
		if r.str("ip_protocol") != "tcp" {
			c.say(r, "opens protocol %q, expected tcp", r.str("ip_protocol"))
		}
		from, to := r.Values["from_port"], r.Values["to_port"]
		if from == nil || from != to {
			c.say(r, "opens ports %v to %v, expected one", from, to)
		}
		open := slices.Contains(everywhere, r.str("cidr_ipv4")) || slices.Contains(everywhere, r.str("cidr_ipv6"))
		if open && fmt.Sprint(from) != "443" {
			c.say(r, "is open to the world on port %v", from)
		}
		ranged := r.str("cidr_ipv4") != "" || r.str("cidr_ipv6") != ""
		if ranged && r.Type == "aws_vpc_security_group_ingress_rule" && r.str("description") != "https" {
			c.say(r, "lets addresses in; only the rule of the load balancer may")
		}
	case "aws_security_group", "aws_default_security_group":
		if len(r.list("ingress")) > 0 || len(r.list("egress")) > 0 {
			c.say(r, "has rules of its own; they belong into the table of flows")
		}
	case "aws_security_group_rule":
		c.say(r, "stands outside the table of flows")
	case "aws_instance":
		if r.yes("associate_public_ip_address") {
			c.say(r, "has a public address")
		}
		for _, m := range append(r.list("metadata_options"), nil)[:1] {
			if m["http_tokens"] != "required" {
				c.say(r, "gives its credentials to IMDSv1")
			}
		}
	case "aws_ecs_service":
		for _, n := range r.list("network_configuration") {
			if n["assign_public_ip"] == true {
				c.say(r, "has a public address")
			}
		}
	case "aws_db_instance":
		if r.yes("publicly_accessible") {
			c.say(r, "is publicly accessible")
		}
	case "aws_lb_listener":
		if r.str("protocol") != "HTTPS" {
			c.say(r, "listens without TLS")
		}
	case "cloudflare_r2_managed_domain":
		if r.yes("enabled") {
			c.say(r, "makes the bucket public")
		}
	case "cloudflare_r2_custom_domain":
		c.say(r, "makes the bucket public")
	}
}

// storage: what is at rest is encrypted, with the deployment's key; logs end.
func (c *checker) storage(r Resource) {
	switch r.Type {
	case "aws_ebs_volume":
		if !r.yes("encrypted") || r.str("kms_key_id") == "" {
			c.say(r, "is not encrypted with the deployment's key")
		}
	case "aws_db_instance":
		if !r.yes("storage_encrypted") || r.str("kms_key_id") == "" {
			c.say(r, "is not encrypted with the deployment's key")
		}
	case "aws_instance":
		for _, d := range append(r.list("root_block_device"), nil)[:1] {
			if d["encrypted"] != true {
				c.say(r, "has a root disk that is not encrypted")
			}
		}
	case "aws_secretsmanager_secret":
		if r.str("kms_key_id") == "" {
			c.say(r, "is not encrypted with the deployment's key")
		}
	case "aws_sns_topic":
		if r.str("kms_master_key_id") == "" {
			c.say(r, "is not encrypted with the deployment's key")
		}
	case "aws_cloudwatch_log_group":
		if days, _ := r.Values["retention_in_days"].(float64); days < 1 {
			c.say(r, "keeps logs for ever")
		}
	case "aws_kms_key":
		if !r.yes("enable_key_rotation") {
			c.say(r, "does not rotate")
		}
	}
}

// buckets: each has its block against being public, and its encryption.
func (c *checker) buckets(resources []Resource) {
	guarded := map[string]map[any]bool{}
	for _, r := range resources {
		if guarded[r.Type] == nil {
			guarded[r.Type] = map[any]bool{}
		}
		switch r.Type {
		case "aws_s3_bucket_public_access_block":
			guarded[r.Type][r.Values["bucket"]] = true
			for _, flag := range []string{"block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets"} {
				if !r.yes(flag) {
					c.say(r, "does not set %s: the bucket could be made public", flag)
				}
			}
		case "aws_s3_bucket_server_side_encryption_configuration":
			guarded[r.Type][r.Values["bucket"]] = true
		}
	}
	for _, r := range resources {
		if r.Type != "aws_s3_bucket" {
			continue
		}
		for _, guard := range []string{"aws_s3_bucket_public_access_block", "aws_s3_bucket_server_side_encryption_configuration"} {
			if !guarded[guard][r.Values["id"]] {
				c.say(r, "has no %s", guard)
			}
		}
	}
}
