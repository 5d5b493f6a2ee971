package archive

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/edgepulse/edgepulse/stream"
)

type Credentials struct{}

func EnvCredentials() Credentials { return Credentials{} }

func Open(_ context.Context, url string, _ Credentials) (stream.Blobs, error) {
	d := strings.TrimPrefix(url, "file://")
	return dir{d}, os.MkdirAll(d, 0o755)
}

type dir struct{ dir string }

func (d dir) path(n string) string { return filepath.Join(d.dir, filepath.FromSlash(n)) }
func (d dir) Create(_ context.Context, name string, data []byte) error {
	os.MkdirAll(filepath.Dir(d.path(name)), 0o755)
	tmp, err := os.CreateTemp(d.dir, "tmp")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	tmp.Write(data)
	tmp.Close()
	if err := os.Link(tmp.Name(), d.path(name)); errors.Is(err, os.ErrExist) {
		return stream.ErrBlobExists
	} else {
		return err
	}
}
func (d dir) Get(_ context.Context, name string) ([]byte, error) {
	b, err := os.ReadFile(d.path(name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, stream.ErrBlobNotFound
	}
	return b, err
}
func (d dir) GetRange(ctx context.Context, name string, o, n int64) ([]byte, error) {
	b, err := d.Get(ctx, name)
	return b[o : o+n], err
}
func (d dir) List(_ context.Context, prefix string) ([]string, error) {
	var out []string
	filepath.WalkDir(d.dir, func(p string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			rel, _ := filepath.Rel(d.dir, p)
			if strings.HasPrefix(rel, prefix) {
				out = append(out, rel)
			}
		}
		return nil
	})
	sort.Strings(out)
	return out, nil
}
func (d dir) Delete(_ context.Context, name string) error { os.Remove(d.path(name)); return nil }

func ReadRoot(ctx context.Context, b stream.Blobs, log string, partition int, root uint64) ([]byte, error) {
	return nil, stream.ErrBlobNotFound
}
