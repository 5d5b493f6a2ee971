package archive

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgepulse/edgepulse/internal/archive/blobtest"
	"github.com/edgepulse/edgepulse/stream"
)

func newFolder(t testing.TB) stream.Blobs {
	t.Helper()
	b, err := NewFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFolder(t *testing.T) {
	blobtest.Conformance(t, func(t *testing.T) stream.Blobs { return newFolder(t) })
}

// TestFolderLeftovers: what a crash left behind is no object, and is no hindrance.
func TestFolderLeftovers(t *testing.T) {
	dir := t.TempDir()
	b, err := NewFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, temporary+"123"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.Create(t.Context(), "whole", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if names, err := b.List(t.Context(), ""); err != nil || len(names) != 1 || names[0] != "whole" {
		t.Errorf("list: %v, %v", names, err)
	}
}

func TestOpen(t *testing.T) {
	keys := Credentials{AccessKey: "k", SecretKey: "s3cret"}
	for url, want := range map[string]string{
		"file://" + t.TempDir(): "",
		t.TempDir():             "",
		"s3://bucket/pre/fix?region=eu-central-1":                   "",
		"s3://bucket?endpoint=http://127.0.0.1:9000&region=r":       "",
		"r2://0123456789abcdef/bucket/prefix":                       "",
		"s3://bucket/x":                                             "region",
		"s3://bucket?endpoint=127.0.0.1:9000":                       "endpoint",
		"r2://account":                                              "bucket",
		"gs://bucket":                                               "scheme",
		"file://server/share":                                       "host",
		"s3://key:s3cret@bucket?endpoint=http://127.0.0.1&region=r": "credentials",
		"": "path",
	} {
		_, err := Open(t.Context(), url, keys)
		switch {
		case err == nil && want != "":
			t.Errorf("%s was opened", url)
		case err != nil && (want == "" || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret")):
			t.Errorf("%s: %v", url, err)
		}
	}
}
