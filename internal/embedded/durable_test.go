package embedded

import (
	"os"
	"path/filepath"
	"testing"
)

// TestWriteFile: a file is replaced as a whole and for its owner alone. That it is on disk
// is shown by the power cut (go tool task prove:powercut): with plain writes the service
// did not start again after one.
func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "secrets.json")
	for _, text := range []string{"a first text, the longer one", "another"} {
		if err := WriteFile(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != text {
			t.Fatalf("%q, %v", got, err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("%v is left, %v", names, err)
	}
	if err := WriteFile(filepath.Join(dir, "none", "x"), nil); err == nil {
		t.Error("written into a folder that does not exist")
	}
}
