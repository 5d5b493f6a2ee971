package powercut

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// disk is an ext4 file system in a file, mounted at dir.
type disk struct {
	image, dir string
	mounted    bool
}

func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func newDisk(dir string, size int64) (*disk, error) {
	d := &disk{image: filepath.Join(dir, "disk.img"), dir: filepath.Join(dir, "disk")}
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.Create(d.image)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		return nil, err
	}
	if err := run("mkfs.ext4", "-q", d.image); err != nil {
		return nil, err
	}
	return d, d.mount(d.image)
}

func (d *disk) mount(image string) error {
	if err := run("mount", "-o", "loop", image, d.dir); err != nil {
		return err
	}
	d.mounted = true
	return os.Chmod(d.dir, 0o755)
}

func (d *disk) unmount() error {
	if !d.mounted {
		return nil
	}
	var err error
	for range 100 { // a process that was just killed may hold it for a moment
		if err = run("umount", d.dir); err == nil {
			d.mounted = false
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

// cut copies what the device holds. Write-back of the kernel goes on while the
// processes are stopped; a copy during which the device changed is no state that a
// power cut could leave, so it is taken again.
func (d *disk) cut(to string) error {
	for range 50 {
		before, err := d.sum()
		if err != nil {
			return err
		}
		if err := run("cp", "--sparse=always", d.image, to); err != nil {
			return err
		}
		after, err := d.sum()
		if err != nil {
			return err
		}
		if before == after {
			return nil
		}
	}
	return errors.New("the device does not come to rest")
}

func (d *disk) sum() (sum [32]byte, err error) {
	f, err := os.Open(d.image)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum, err
	}
	return [32]byte(h.Sum(nil)), nil
}
