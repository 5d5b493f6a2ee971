package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// options say what goes into the image.
type options struct {
	Source, CA, Version, Arch string
}

// user is "nonroot" as distroless images have it.
const user = 65532

// epoch is the time of everything inside: a build is no event in its life.
var epoch = time.Unix(0, 0).UTC()

// write builds the binary and the image and writes the OCI layout as one file.
func (o options) write(out string) (v1.Hash, error) {
	work, err := os.MkdirTemp("", "edgepulse-image-")
	if err != nil {
		return v1.Hash{}, err
	}
	defer os.RemoveAll(work)
	binary := filepath.Join(work, "edgepulse")
	if err := o.compile(binary); err != nil {
		return v1.Hash{}, err
	}
	img, err := o.assemble(binary)
	if err != nil {
		return v1.Hash{}, err
	}
	dir := filepath.Join(work, "layout")
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("write layout: %w", err)
	}
	name := layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": o.Version})
	platform := layout.WithPlatform(v1.Platform{OS: "linux", Architecture: o.Arch})
	if err := path.AppendImage(img, name, platform); err != nil {
		return v1.Hash{}, fmt.Errorf("write image: %w", err)
	}
	digest, err := img.Digest()
	if err != nil {
		return v1.Hash{}, err
	}
	return digest, pack(dir, out)
}

// compile builds the product: static, without paths of this machine.
func (o options) compile(to string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -X main.version="+o.Version, "-o", to, "./cmd/edgepulse")
	cmd.Dir = o.Source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+o.Arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the binary: %w\n%s", err, out)
	}
	return nil
}

func (o options) assemble(binary string) (v1.Image, error) {
	program, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(o.CA)
	if err != nil {
		return nil, fmt.Errorf("read certificates (-ca): %w", err)
	}
	base, err := layer([]file{
		{name: "etc/passwd", data: []byte(fmt.Sprintf("root:x:0:0:root:/:/sbin/nologin\nedgepulse:x:%d:%d:EdgePulse:/data:/sbin/nologin\n", user, user)), mode: 0o644},
		{name: "etc/group", data: []byte(fmt.Sprintf("root:x:0:\nedgepulse:x:%d:\n", user)), mode: 0o644},
		{name: "etc/ssl/certs/ca-certificates.crt", data: ca, mode: 0o644},
		{name: "data/", mode: 0o750, owner: user},
		{name: "tmp/", mode: 0o1777},
	})
	if err != nil {
		return nil, err
	}
	app, err := layer([]file{{name: "edgepulse", data: program, mode: 0o755}})
	if err != nil {
		return nil, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	// What changes seldom lies below.
	if img, err = mutate.AppendLayers(img, base, app); err != nil {
		return nil, fmt.Errorf("add layers: %w", err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture, cfg.Created = "linux", o.Arch, v1.Time{Time: epoch}
	cfg.Config = v1.Config{
		User: fmt.Sprintf("%d:%d", user, user), Entrypoint: []string{"/edgepulse"}, Cmd: []string{"--help"}, WorkingDir: "/data",
		Env:          []string{"PATH=/", "EDGEPULSE_LOG_FORMAT=json"},
		ExposedPorts: map[string]struct{}{"8080/tcp": {}, "9100/tcp": {}},
		Labels: map[string]string{
			"org.opencontainers.image.title":       "EdgePulse",
			"org.opencontainers.image.description": "Continuous anomaly detection for time series",
			"org.opencontainers.image.licenses":    "Apache-2.0",
			"org.opencontainers.image.version":     o.Version,
		},
	}
	return mutate.ConfigFile(img, cfg)
}

type file struct {
	name  string // ends in / for a folder
	data  []byte
	mode  fs.FileMode
	owner int
}

// layer packs files in the order given, all of one age.
func layer(files []file) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Size: int64(len(f.data)), Mode: int64(f.mode), Uid: f.owner, Gid: f.owner, ModTime: epoch, Typeflag: tar.TypeReg, Format: tar.FormatPAX}
		if strings.HasSuffix(f.name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("pack %s: %w", f.name, err)
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, fmt.Errorf("pack %s: %w", f.name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer))
}

// pack makes one file of a layout, in the order of names.
func pack(dir, out string) error {
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Name: filepath.ToSlash(rel), Size: int64(len(data)), Mode: 0o644, ModTime: epoch, Format: tar.FormatPAX}); err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	})
	if err != nil {
		return fmt.Errorf("pack layout: %w", err)
	}
	if err := w.Close(); err != nil {
		return err
	}
	return f.Close()
}
