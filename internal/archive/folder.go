package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/edgepulse/edgepulse/stream"
)

// folder is an object store in a directory. Names are slash-separated paths.
type folder struct{ dir string }

// temporary marks files that are being written; a crash can leave them behind.
const temporary = ".tmp-"

var errName = errors.New("object name is not a clean relative path")

// NewFolder opens a directory as an object store and makes it when missing.
func NewFolder(dir string) (stream.Blobs, error) {
	if dir == "" {
		return nil, errors.New("object store folder has no path")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("locate object store folder: %w", err)
	}
	if err := os.MkdirAll(abs, 0o750); err != nil {
		return nil, fmt.Errorf("make object store folder: %w", err)
	}
	return folder{abs}, nil
}

// file places an object. Names come from our own code; a wrong one must still never leave the folder.
func (f folder) file(name string) (string, error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	return filepath.Join(f.dir, filepath.FromSlash(name)), nil
}

func checkName(name string) error {
	if name == "" || name == "." || name != path.Clean(name) || !filepath.IsLocal(name) || strings.ContainsAny(name, "\\\x00") ||
		strings.HasPrefix(path.Base(name), temporary) {
		return fmt.Errorf("%w: %q", errName, name)
	}
	return nil
}

// Create implements stream.Blobs. link() fails when the name is taken, where
// rename() would replace it; file and directories are on disk before it returns.
func (f folder) Create(ctx context.Context, name string, data []byte) error {
	target, err := f.file(name)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	dir := filepath.Dir(target)
	if err := f.makeDir(dir); err != nil {
		return fmt.Errorf("create object %s: %w", name, err)
	}
	tmp, err := writeTemporary(dir, data)
	if err != nil {
		return fmt.Errorf("create object %s: %w", name, err)
	}
	defer os.Remove(tmp)
	if err := os.Link(tmp, target); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return stream.ErrBlobExists
		}
		return fmt.Errorf("create object %s: %w", name, err)
	}
	if err := syncDir(dir); err != nil {
		return fmt.Errorf("create object %s: %w", name, err)
	}
	return nil
}

func writeTemporary(dir string, data []byte) (name string, err error) {
	tmp, err := os.CreateTemp(dir, temporary)
	if err != nil {
		return "", err
	}
	defer func() {
		if err = errors.Join(err, tmp.Close()); err != nil {
			err = errors.Join(err, os.Remove(tmp.Name()))
		}
	}()
	if _, err = tmp.Write(data); err != nil {
		return "", err
	}
	return tmp.Name(), tmp.Sync()
}

// makeDir makes a directory below the folder and puts the names of new ones on disk.
func (f folder) makeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	for dir != f.dir {
		dir = filepath.Dir(dir)
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Get implements stream.Blobs.
func (f folder) Get(ctx context.Context, name string) ([]byte, error) {
	file, err := f.file(name)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, readError(name, err)
	}
	return data, nil
}

// GetRange implements stream.Blobs: exactly n bytes, or an error.
func (f folder) GetRange(ctx context.Context, name string, offset, n int64) ([]byte, error) {
	name, err := name, ctx.Err()
	if err != nil {
		return nil, err
	}
	path, err := f.file(name)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, readError(name, err)
	}
	defer file.Close()
	size, err := file.Stat()
	if err != nil {
		return nil, readError(name, err)
	}
	// Before the buffer is made: lengths may come from a damaged index.
	if offset < 0 || n < 0 || offset > size.Size() || n > size.Size()-offset {
		return nil, readError(name, io.ErrUnexpectedEOF)
	}
	data := make([]byte, n)
	if _, err := file.ReadAt(data, offset); err != nil && n > 0 {
		return nil, readError(name, err)
	}
	return data, nil
}

func readError(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return stream.ErrBlobNotFound
	}
	return fmt.Errorf("read object %s: %w", name, err)
}

// List implements stream.Blobs.
func (f folder) List(ctx context.Context, prefix string) ([]string, error) {
	// Only the directory that holds the prefix can hold matches.
	root := f.dir
	if i := strings.LastIndexByte(prefix, '/'); i >= 0 && filepath.IsLocal(prefix[:i]) {
		root = filepath.Join(f.dir, filepath.FromSlash(prefix[:i]))
	}
	var names []string
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // deleted while we walk, or nothing with this prefix yet
		}
		if err != nil || entry.IsDir() || strings.HasPrefix(entry.Name(), temporary) {
			return err
		}
		rel, err := filepath.Rel(f.dir, file)
		if name := filepath.ToSlash(rel); err == nil && strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list objects %s: %w", prefix, err)
	}
	// A walk is in order of path elements, which is not the order of whole names.
	slices.Sort(names)
	return names, nil
}

// Delete implements stream.Blobs.
func (f folder) Delete(ctx context.Context, name string) error {
	file, err := f.file(name)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete object %s: %w", name, err)
	}
	return nil
}
