package proof

import (
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strings"
)

var (
	secretName  = regexp.MustCompile(`PEPPER|SECRET|PASSWORD|TOKEN|CREDS|ACCESS_KEY|PRIVATE`)
	secretValue = regexp.MustCompile(`PRIVATE KEY-----|://[^/@:\s]+:[^/@\s]+@|\bS[AUONC][A-Z2-7]{56}\b|ep_live_`)
	encoded     = regexp.MustCompile(`[A-Za-z0-9+/]{40,}={0,2}`) // files in cloud-init
	secretARN   = regexp.MustCompile(`^arn:aws:(secretsmanager|ssm):`)
)

// secrets: no secret in user data, in the plain environment of a container, in a
// plain binding of the Worker, or written so that the state keeps it.
func (c *checker) secrets(r Resource) {
	switch r.Type {
	case "aws_instance":
		text := r.str("user_data")
		for _, file := range encoded.FindAllString(text, -1) {
			plain, _ := base64.StdEncoding.DecodeString(file) // else it was no file
			text += "\n" + string(plain)
		}
		if secretValue.MatchString(text) {
			c.say(r, "has a secret in its user data")
		}
	case "aws_secretsmanager_secret_version":
		if r.str("secret_string") != "" {
			c.say(r, "keeps the secret in the state; use secret_string_wo")
		}
	case "aws_db_instance":
		if r.str("password") != "" {
			c.say(r, "keeps the password in the state")
		}
	case "aws_ecs_task_definition":
		c.containers(r)
	case "cloudflare_workers_script":
		for _, b := range r.list("bindings") {
			name, _ := b["name"].(string)
			if b["type"] != "secret_text" && secretName.MatchString(name) {
				c.say(r, "binding %s is a %v", name, b["type"])
			}
		}
	}
}

func (c *checker) containers(r Resource) {
	var containers []struct {
		Name                   string
		Image                  string
		User                   string
		Privileged             bool
		Environment            []struct{ Name, Value string }
		Secrets                []struct{ Name, ValueFrom string }
		ReadonlyRootFilesystem bool
	}
	if err := json.Unmarshal([]byte(r.str("container_definitions")), &containers); err != nil {
		c.say(r, "containers can't be read: %v", err)
		return
	}
	for _, k := range containers {
		if k.Privileged {
			c.say(r, "container %s is privileged", k.Name)
		}
		if k.Name != "init" && (k.User == "" || strings.HasPrefix(k.User, "0")) {
			c.say(r, "container %s runs as root", k.Name)
		}
		if !strings.Contains(k.Image, "@sha256:") {
			c.say(r, "container %s runs an image that is not named by digest", k.Name)
		}
		for _, e := range k.Environment {
			// A file's path is not its content.
			if secretName.MatchString(e.Name) && !strings.HasPrefix(e.Value, "/run/") || secretValue.MatchString(e.Value) {
				c.say(r, "container %s has the secret %s in its plain environment", k.Name, e.Name)
			}
		}
		for _, s := range k.Secrets {
			if !secretARN.MatchString(s.ValueFrom) {
				c.say(r, "container %s takes %s from %q, expected the ARN of a secret", k.Name, s.Name, s.ValueFrom)
			}
		}
	}
}
