package main

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"text/tabwriter"

	"github.com/alecthomas/kong"
)

type configCmd struct {
	inside
}

func (configCmd) Help() string {
	return "Every setting with its value, where the value comes from, its variable and what it means. Secrets are not shown."
}

func (c *configCmd) Run(k *kong.Context) error {
	c.fill()
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "SETTING\tVALUE\tFROM\tVARIABLE\tMEANING")
	for _, f := range k.Selected().Flags {
		if f.Name == "help" {
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
