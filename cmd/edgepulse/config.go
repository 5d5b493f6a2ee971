package main

import (
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"text/tabwriter"

	"github.com/alecthomas/kong"
)

type configCmd struct {
	inside
	Env bool `help:"Print all variables with their defaults, as .env.example has them."`
}

func (configCmd) Help() string {
	return "Every setting with its value, where the value comes from, its variable and what it means. Secrets are not shown."
}

func (c *configCmd) Run(k *kong.Context) error {
	if c.Env {
		return printEnv(os.Stdout, k.Selected().Flags)
	}
	c.fill()
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "SETTING\tVALUE\tFROM\tVARIABLE\tMEANING")
	for _, f := range k.Selected().Flags {
		if f.Name == "help" || f.Name == "env" {
			continue
		}
		from := "default"
		variable := strings.Join(f.Envs, ",")
		for _, e := range f.Envs {
			if os.Getenv(e) != "" {
				from = "environment"
			}
		}
		for _, p := range k.Path {
			if p.Flag == f {
				from = "flag"
			}
		}
		value := fmt.Sprint(reflect.Indirect(f.Target).Interface())
		if from == "default" && value != f.Default && value != "" && value != "[]" && f.Default == "" {
			from = "dev.env"
		}
		fmt.Fprintf(w, "--%s\t%s\t%s\t%s\t%s\n", f.Name, hide(f.Name, value), from, variable, f.Help)
	}
	return w.Flush()
}

const envHead = `# Settings of EdgePulse: copy to .env and set what differs from the default, which
# stands behind each name. Written by ` + "`edgepulse config --env`" + `; a test keeps it so.
# The file of a real deployment holds secrets: mode 0600, never in version control.
`

// printEnv writes every setting that has a variable, group by group.
func printEnv(w io.Writer, flags []*kong.Flag) error {
	var b strings.Builder
	b.WriteString(envHead)
	group := ""
	seen := map[string]bool{}
	for _, f := range flags {
		if len(f.Envs) == 0 || seen[f.Envs[0]] {
			continue
		}
		seen[f.Envs[0]] = true
		if f.Group != nil && f.Group.Title != group {
			group = f.Group.Title
			fmt.Fprintf(&b, "\n## %s\n", group)
		}
		fmt.Fprintf(&b, "\n# %s\n", f.Help)
		if len(f.Envs) > 1 {
			fmt.Fprintf(&b, "# Also read: %s.\n", strings.Join(f.Envs[1:], ", "))
		}
		fmt.Fprintf(&b, "#%s=%s\n", f.Envs[0], f.Default)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// hide keeps secrets out of terminals and bug reports.
func hide(name, value string) string {
	for _, s := range []string{"pepper", "secret", "password"} {
		if strings.Contains(name, s) && value != "" {
			return "(set)"
		}
	}
	if at := strings.LastIndex(value, "@"); at > 0 && strings.Contains(value, "://") {
		return value[:strings.Index(value, "://")+3] + "…" + value[at:]
	}
	return value
}
