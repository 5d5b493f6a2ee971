package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/alecthomas/kong"
)

// TestEnvExample keeps .env.example equal to what the binary reads.
func TestEnvExample(t *testing.T) {
	var c cli
	parser, err := kong.New(&c, kong.Name("edgepulse"), kong.Vars{"version": "test"})
	if err != nil {
		t.Fatal(err)
	}
	k, err := parser.Parse([]string{"config", "--env"})
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	if err := printEnv(&want, k.Selected().Flags); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../.env.example")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error(".env.example is stale: go run ./cmd/edgepulse config --env > .env.example")
	}
}
