package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// TestImage builds the image twice and reads it back as a registry would get it.
func TestImage(t *testing.T) {
	dir := t.TempDir()
	o := options{Source: "../..", CA: authorities(t, dir), Version: "1.2.3-test", Arch: runtime.GOARCH}
	one, two := filepath.Join(dir, "1.tar"), filepath.Join(dir, "2.tar")
	first, err := o.write(one)
	if err != nil {
		t.Fatal(err)
	}
	second, err := o.write(two)
	if err != nil {
		t.Fatal(err)
	}
	a, b := read(t, one), read(t, two)
	if first != second || !bytes.Equal(a, b) {
		t.Errorf("two builds differ: %s and %s", first, second)
	}
	img := open(t, a, filepath.Join(dir, "layout"), first)
	if err := validate.Image(img); err != nil {
		t.Errorf("the image is not valid: %v", err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c := cfg.Config
	if c.User != "65532:65532" || !slices.Equal(c.Entrypoint, []string{"/edgepulse"}) || c.WorkingDir != "/data" ||
		c.Labels["org.opencontainers.image.version"] != "1.2.3-test" || c.Labels["org.opencontainers.image.licenses"] != "Apache-2.0" {
		t.Errorf("configuration is %+v", c)
	}
	if cfg.OS != "linux" || cfg.Architecture != runtime.GOARCH || cfg.Created.Unix() != 0 {
		t.Errorf("platform %s/%s, made %s", cfg.OS, cfg.Architecture, cfg.Created)
	}
	files := contents(t, img)
	for _, want := range []string{"edgepulse", "etc/passwd", "etc/group", "etc/ssl/certs/ca-certificates.crt", "data/", "tmp/"} {
		if _, ok := files[want]; !ok {
			t.Errorf("the image has no %s", want)
		}
	}
	if len(files) != 6 {
		t.Errorf("the image holds %d files, expected the 6 it needs", len(files))
	}
	runs(t, dir, files["edgepulse"])
}

// authorities stands in for the machine's certificates where it has none.
func authorities(t *testing.T, dir string) string {
	const system = "/etc/ssl/certs/ca-certificates.crt"
	if _, err := os.Stat(system); err == nil {
		return system
	}
	path := filepath.Join(dir, "ca.crt")
	if err := os.WriteFile(path, []byte("# none on this machine\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// open unpacks the layout and finds the image of its index.
func open(t *testing.T, archive []byte, dir string, want v1.Hash) v1.Image {
	t.Helper()
	r := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil || len(m.Manifests) != 1 || m.Manifests[0].Digest != want || m.Manifests[0].Annotations["org.opencontainers.image.ref.name"] != "1.2.3-test" {
		t.Fatalf("index is %+v (%v), expected one image %s tagged 1.2.3-test", m, err, want)
	}
	img, err := index.Image(want)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// contents are all files of all layers; none may belong to a group of others or be set-uid.
func contents(t *testing.T, img v1.Image) map[string][]byte {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, l := range layers {
		rc, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		r := tar.NewReader(rc)
		for {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if h.Mode&0o6000 != 0 || !h.ModTime.Equal(epoch) || h.Name == "edgepulse" && (h.Mode != 0o755 || h.Uid != 0) {
				t.Errorf("%s has mode %o, owner %d, time %s", h.Name, h.Mode, h.Uid, h.ModTime)
			}
			if out[h.Name], err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
		rc.Close()
	}
	return out
}

// runs starts the binary that is in the image; it must need nothing beside itself.
func runs(t *testing.T, dir string, program []byte) {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the binary is not static: it asks for a dynamic linker")
		}
	}
	path := filepath.Join(dir, "extracted")
	if err := os.WriteFile(path, program, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "version")
	cmd.Env = []string{"PATH=/"}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "edgepulse 1.2.3-test ") {
		t.Errorf("version said %q (%v)", out, err)
	}
}
