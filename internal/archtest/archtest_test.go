// Package archtest holds the shape of the code base: who may import whom, and
// who owns which foreign package. See CONTRIBUTING.md.
package archtest

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/edgepulse/edgepulse/"

// rule: files below dir may import of the project only what is allowed.
var rules = []struct {
	dir   string
	allow []string // prefixes; nil = nothing of the project
}{
	{"schemas", []string{"schemas"}},
	{"stream", []string{"schemas"}},
	{"gateway", []string{"gateway", "schemas", "stream"}},
	{"normaliser", []string{"normaliser", "schemas", "stream"}},
	{"featurizer", []string{"featurizer", "schemas", "stream"}},
	{"scorer", []string{"scorer", "schemas", "stream"}},
	{"alerter", []string{"alerter", "schemas", "stream"}},
	{"dashboard", []string{"dashboard", "schemas"}},
	{"internal/store", []string{"internal/store", "internal/embedded", "schemas", "stream"}},
	{"internal/archive", []string{"internal/archive", "schemas", "stream"}},
	{"internal/janitor", []string{"internal/janitor", "schemas", "stream"}},
	{"internal/monitor", []string{"internal/monitor", "schemas", "stream"}},
	{"internal/embedded", []string{"internal/embedded", "internal/nice"}},
	{"internal/nice", []string{"internal/nice"}},
	{"internal/simulate", []string{"internal/simulate", "schemas"}},
	{"internal/client", []string{"internal/client", "schemas"}},
	{"internal/importer", []string{"internal/importer", "schemas"}},
	{"internal/replay", []string{"internal/replay", "internal/archive", "internal/client", "schemas", "stream"}},
	{"internal/plot", []string{"internal/plot"}},
	{"internal/edgesync", []string{"internal/edgesync", "schemas"}},
	{"internal/spill", []string{"internal/spill", "schemas", "stream"}},
}

// owners: each SDK has one owner; tests may use it too.
var owners = map[string][]string{
	"github.com/nats-io/nats.go":                 {"stream", "internal/app"},
	"github.com/nats-io/nats-server":             {"internal/embedded"},
	"github.com/jackc/pgx":                       {"internal/store"},
	"github.com/minio/minio-go":                  {"internal/archive"},
	"github.com/cloudflare/cloudflare-go":        {"internal/edgesync"},
	"gonum.org/v1/gonum":                         {"featurizer", "scorer"},
	"github.com/fergusstrange/embedded-postgres": {"internal/embedded"},
}

// appOnly: nobody imports the composition root but the command and system tests.
var appImporters = []string{"cmd/edgepulse", "internal/app", "internal/e2e", "internal/bench", "internal/quality"}

func TestArrowsPointDown(t *testing.T) {
	checked := 0
	walk(t, func(path, dir string, test bool, imports []string) {
		checked++
		for _, imp := range imports {
			own, inside := strings.CutPrefix(imp, module)
			if inside {
				checkOwn(t, path, dir, own, test)
				continue
			}
			if test {
				continue
			}
			for sdk, homes := range owners {
				if (imp == sdk || strings.HasPrefix(imp, sdk+"/")) && !below(dir, homes) {
					t.Errorf("%s imports %s, which belongs to %s", path, imp, strings.Join(homes, ", "))
				}
			}
		}
	})
	if checked < 50 {
		t.Fatalf("only %d files were read: the walk is broken", checked)
	}
}

func checkOwn(t *testing.T, path, dir, own string, test bool) {
	t.Helper()
	if strings.HasPrefix(own, "internal/app") && !below(dir, appImporters) {
		t.Errorf("%s imports %s: nobody knows the composition root", path, own)
	}
	if own == "schemas/contract" && !test {
		t.Errorf("%s imports %s: it is for tests", path, own)
	}
	for _, r := range rules {
		if !below(dir, []string{r.dir}) {
			continue
		}
		// Tests of a package may use embedded servers and test kits.
		if test && (strings.HasPrefix(own, "internal/embedded") || strings.HasPrefix(own, "internal/testkit") || strings.HasPrefix(own, "internal/archive")) {
			return
		}
		if !below(own, r.allow) {
			t.Errorf("%s imports %s: allowed below %s are %s", path, own, r.dir, strings.Join(r.allow, ", "))
		}
	}
}

func below(dir string, roots []string) bool {
	for _, r := range roots {
		if dir == r || strings.HasPrefix(dir, r+"/") {
			return true
		}
	}
	return false
}

// walk parses the imports of every Go file in this process: a check that shelled
// out could pass from the test cache.
func walk(t *testing.T, each func(path, dir string, test bool, imports []string)) {
	t.Helper()
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch name := d.Name(); {
			case name == "node_modules", name == "testdata", name == ".git", strings.HasPrefix(name, ".") && name != "." && name != "..":
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil && path != root {
				return filepath.SkipDir // another module
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		rel = filepath.ToSlash(rel)
		var imports []string
		for _, i := range f.Imports {
			imports = append(imports, strings.Trim(i.Path.Value, `"`))
		}
		dir := filepath.ToSlash(filepath.Dir(rel))
		each(rel, dir, strings.HasSuffix(rel, "_test.go"), imports)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestOnlyTheMapNamesStreams keeps stream names in stream/topology.go.
func TestOnlyTheMapNamesStreams(t *testing.T) {
	root := filepath.Join("..", "..")
	for _, dir := range []string{"gateway", "normaliser", "featurizer", "scorer", "alerter", "internal/app", "internal/store", "internal/replay"} {
		files, _ := filepath.Glob(filepath.Join(root, dir, "*.go"))
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{`"INGEST`, `"POINTS`, `"FEATURES`, `"SCORES`, `"ALERTS`, `"DELIVERIES`} {
				if strings.Contains(string(b), name) {
					t.Errorf("%s spells %s: use the constant of stream/topology.go", f, name)
				}
			}
		}
	}
}
