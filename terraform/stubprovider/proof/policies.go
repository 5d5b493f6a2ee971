package proof

import (
	"encoding/json"
	"slices"
	"strings"
)

// withoutResource are actions for which AWS knows no resource: they can only be
// allowed on "*". Anything else names what it is for.
var withoutResource = []string{
	"ecr:GetAuthorizationToken",
	"ssm:UpdateInstanceInformation",
	"ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel", "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel",
}

// noSourceCondition are services whose calls carry no source account to ask for.
var noSourceCondition = []string{"ec2.amazonaws.com"}

type statement struct {
	Sid          string
	Effect       string
	Action       any
	NotAction    any
	Resource     any
	NotResource  any
	Principal    any
	NotPrincipal any
	Condition    map[string]any
}

// policies: least privilege. No wildcard in an action; a resource is named, with at
// most its tail open; nobody is trusted by "*".
func (c *checker) policies(r Resource) {
	for _, attribute := range []string{"policy", "assume_role_policy"} {
		text := r.str(attribute)
		if !strings.HasPrefix(text, "{") {
			continue
		}
		var doc struct{ Statement []statement }
		if err := json.Unmarshal([]byte(text), &doc); err != nil {
			c.say(r, "%s can't be read: %v", attribute, err)
			continue
		}
		for _, s := range doc.Statement {
			if s.Effect == "Allow" {
				c.allow(r, s)
			}
		}
	}
	for _, open := range []string{"inline_policy", "managed_policy_arns"} {
		if l, _ := r.Values[open].([]any); r.Type == "aws_iam_role" && len(l) > 0 {
			c.say(r, "has %s; use aws_iam_role_policy, where this test reads it", open)
		}
	}
	if r.Type == "aws_iam_role_policy_attachment" || r.Type == "aws_iam_policy_attachment" {
		c.say(r, "attaches a policy that this test can't read")
	}
}

func (c *checker) allow(r Resource, s statement) {
	if s.NotAction != nil || s.NotResource != nil || s.NotPrincipal != nil {
		c.say(r, "statement %q allows by exception", s.Sid)
	}
	key := r.Type == "aws_kms_key"
	actions := texts(s.Action)
	for _, a := range actions {
		// Without this one statement nobody could ever change the key again.
		if key && a == "kms:*" && principals(s.Principal)["AWS"] != nil && len(principals(s.Principal)["AWS"]) == 1 && strings.HasSuffix(principals(s.Principal)["AWS"][0], ":root") {
			continue
		}
		if strings.ContainsAny(a, "*?") {
			c.say(r, "statement %q allows the wildcard action %s", s.Sid, a)
		}
	}
	for _, resource := range texts(s.Resource) {
		switch {
		case key: // a key's policy is about the key
		case resource == "*":
			for _, a := range actions {
				if !slices.Contains(withoutResource, a) {
					c.say(r, "statement %q allows %s on every resource", s.Sid, a)
				}
			}
		case openResource(resource):
			c.say(r, "statement %q allows %v on %s", s.Sid, actions, resource)
		}
	}
	for kind, names := range principals(s.Principal) {
		for _, name := range names {
			if name == "*" {
				c.say(r, "statement %q trusts everybody", s.Sid)
			}
			bound := strings.Contains(conditions(s.Condition), "aws:SourceAccount") || strings.Contains(conditions(s.Condition), "EncryptionContext")
			if kind == "Service" && !bound && !slices.Contains(noSourceCondition, name) {
				c.say(r, "statement %q trusts %s on behalf of any account", s.Sid, name)
			}
		}
	}
}

// openResource: a wildcard anywhere but in the tail behind a name.
func openResource(arn string) bool {
	head, ok := strings.CutSuffix(arn, "*")
	if strings.ContainsAny(head, "*?") {
		return true
	}
	if !ok {
		return false
	}
	name := head[strings.LastIndex(head, ":::")+1:]
	return !strings.HasSuffix(head, "/") && !strings.HasSuffix(head, ":") || strings.Trim(name, ":/") == ""
}

func texts(v any) []string {
	switch x := v.(type) {
	case string:
		return []string{x}
	case []any:
		var out []string
		for _, y := range x {
			out = append(out, texts(y)...)
		}
		return out
	}
	return nil
}

func principals(v any) map[string][]string {
	if s, ok := v.(string); ok {
		return map[string][]string{"any": {s}}
	}
	out := map[string][]string{}
	m, _ := v.(map[string]any)
	for kind, names := range m {
		out[kind] = texts(names)
	}
	return out
}

func conditions(m map[string]any) string {
	raw, _ := json.Marshal(m) // came from JSON
	return string(raw)
}
