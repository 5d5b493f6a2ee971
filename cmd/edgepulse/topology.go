package main

import (
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/edgepulse/edgepulse/stream"
)

type topologyCmd struct{}

func (topologyCmd) Help() string {
	return "Every log has one stream per partition; roots are sequences of INGEST and mean the same in every log."
}

func (topologyCmd) Run() error {
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "LOG\tSTREAMS\tSUBJECTS\tWRITTEN BY\tDERIVED FROM\tSTORAGE SHARE")
	for _, s := range stream.Topology {
		from := string(s.From)
		if s.Truth {
			from = "nothing: a log of truth"
		}
		fmt.Fprintf(w, "%s\t%s_<p>\t%s\t%s\t%s\t%.0f %%\n", s.Name, s.Name, stream.Subject(s.Name, 0)[:len(stream.Subject(s.Name, 0))-1]+"<p>", s.Writer, from, 100*s.Share)
	}
	return w.Flush()
}
