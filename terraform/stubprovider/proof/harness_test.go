package proof

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// tree is terraform/, of which every test takes a copy.
var tree = func() string {
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		panic(err)
	}
	return dir
}()

// providers says where each provider's schemas come from.
var providers = []struct{ name, source, version, bindings string }{
	{"aws", "hashicorp/aws", "6.25.0", "@cdktf/provider-aws@21.22.1"},
	{"cloudflare", "cloudflare/cloudflare", "5.14.0", "@cdktf/provider-cloudflare@13.9.1"},
}

// bindings fetches a package, once: it stays below .task. schemas.mjs checks its hash.
func bindings(spec string) (string, error) {
	dir := filepath.Join(filepath.Dir(tree), ".task", "terraform")
	file := filepath.Join(dir, strings.NewReplacer("@cdktf/", "cdktf-", "@", "-").Replace(spec)+".tgz")
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(dir, "fetch-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if err := run(filepath.Join(tree, "stubprovider"), "npm", "pack", "--silent", "--pack-destination", tmp, spec); err != nil {
		return "", err
	}
	return file, os.Rename(filepath.Join(tmp, filepath.Base(file)), file)
}

var usedType = regexp.MustCompile(`(?m)^(resource|data) "([a-z0-9]+_[a-z0-9_]+)"`)

// mirror builds the stub providers once and lays them out as Terraform looks for
// them; it returns the CLI configuration that points there.
var mirror = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "edgepulse-terraform-")
	if err != nil {
		return "", err
	}
	mirrorDir = dir
	if err := run(filepath.Join(tree, "stubprovider"), "go", "build", "-o", filepath.Join(dir, "stub"), "."); err != nil {
		return "", err
	}
	types := map[string]map[string]bool{}
	err = filepath.WalkDir(tree, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == "stubprovider" {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".tf" {
			return nil
		}
		text, err := os.ReadFile(path)
		for _, m := range usedType.FindAllStringSubmatch(string(text), -1) {
			name := strings.Replace(m[1], "resource", "", 1) + "." + m[2]
			provider, _, _ := strings.Cut(m[2], "_")
			if types[provider] == nil {
				types[provider] = map[string]bool{}
			}
			types[provider][strings.TrimPrefix(name, ".")] = true
		}
		return err
	})
	if err != nil {
		return "", err
	}
	for _, p := range providers {
		at := filepath.Join(dir, "mirror", "registry.terraform.io", p.source, p.version, runtime.GOOS+"_"+runtime.GOARCH)
		if err := os.MkdirAll(at, 0o755); err != nil {
			return "", err
		}
		exe := filepath.Join(at, "terraform-provider-"+p.name+"_v"+p.version)
		if err := os.Link(filepath.Join(dir, "stub"), exe); err != nil {
			return "", err
		}
		archive, err := bindings(p.bindings)
		if err != nil {
			return "", err
		}
		args := []string{"schemas.mjs", exe + ".json", archive}
		for t := range types[p.name] {
			args = append(args, t)
		}
		slices.Sort(args[3:])
		if err := run(filepath.Join(tree, "stubprovider"), "node", args...); err != nil {
			return "", err
		}
	}
	rc := filepath.Join(dir, "cli.tfrc")
	text := fmt.Sprintf("disable_checkpoint = true\nprovider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", filepath.Join(dir, "mirror"))
	return rc, os.WriteFile(rc, []byte(text), 0o600)
})

var mirrorDir string

// schemasOf is the file with the schemas that a module is written against.
func schemasOf(t *testing.T, module string) string {
	t.Helper()
	if _, err := mirror(); err != nil {
		t.Fatal(err)
	}
	p := providers[0]
	if module == "edge" {
		p = providers[1]
	}
	return filepath.Join(mirrorDir, "mirror", "registry.terraform.io", p.source, p.version, runtime.GOOS+"_"+runtime.GOARCH, "terraform-provider-"+p.name+"_v"+p.version+".json")
}

func TestMain(m *testing.M) {
	code := m.Run()
	if mirrorDir != "" {
		_ = os.RemoveAll(mirrorDir)
	}
	os.Exit(code)
}

func run(dir, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w\n%s", name, args, err, out)
	}
	return nil
}

// workspace is a copy of the tree with one folder in it made ready.
type workspace struct {
	dir string
	env []string
}

func newWorkspace(t *testing.T, folder string, change func(root string)) workspace {
	t.Helper()
	rc, err := mirror()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(t.TempDir(), "terraform")
	for _, part := range []string{"modules", "examples", "environments"} {
		if err := os.CopyFS(filepath.Join(root, part), os.DirFS(filepath.Join(tree, part))); err != nil {
			t.Fatal(err)
		}
	}
	if change != nil {
		change(root)
	}
	w := workspace{dir: filepath.Join(root, folder), env: append(os.Environ(), "TF_CLI_CONFIG_FILE="+rc, "TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1")}
	if out, err := w.terraform("init", "-backend=false", "-input=false", "-no-color"); err != nil {
		t.Fatalf("terraform init in %s: %v\n%s", folder, err, out)
	}
	return w
}

func (w workspace) terraform(args ...string) ([]byte, error) {
	cmd := exec.CommandContext(context.Background(), "terraform", args...)
	cmd.Dir, cmd.Env = w.dir, w.env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.Bytes(), err
}

// findings runs the module's tests and holds every state they reach against the
// rules. It returns how many resources it looked at.
func (w workspace) findings(t *testing.T) (found []string, looked map[string]int) {
	t.Helper()
	out, failed := w.terraform("test", "-json", "-verbose")
	states, err := States(out)
	if err != nil {
		t.Fatalf("%v\n%s", err, tail(out))
	}
	looked = map[string]int{}
	for run, resources := range states {
		for _, r := range resources {
			looked[r.Type]++
		}
		for _, f := range Check(resources) {
			found = append(found, run+": "+f)
		}
	}
	if failed != nil {
		found = append(found, "terraform test: "+diagnostics(out))
	}
	return found, looked
}

// diagnostics picks what went wrong out of the JSON.
func diagnostics(out []byte) string {
	var said []string
	for line := range strings.Lines(string(out)) {
		var l struct {
			Level      string `json:"@level"`
			Message    string `json:"@message"`
			Diagnostic struct {
				Detail string `json:"detail"`
			} `json:"diagnostic"`
		}
		if json.Unmarshal([]byte(line), &l) == nil && l.Level == "error" {
			said = append(said, l.Message, l.Diagnostic.Detail)
		}
	}
	return strings.Join(said, "; ")
}

func tail(out []byte) []byte { return out[max(0, len(out)-4000):] }
