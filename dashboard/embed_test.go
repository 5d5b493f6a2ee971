package dashboard

import (
	"io/fs"
	"strings"
	"testing"
)

// Whichever way the clone was built, there is a page, and it says what it is.
func TestThereIsAlwaysAPage(t *testing.T) {
	files, built := FS()
	page, err := fs.ReadFile(files, "index.html")
	if err != nil {
		t.Fatal(err)
	}
	if says := strings.Contains(string(page), "go tool task dashboard:build"); says == built {
		t.Errorf("built: %v, but the page says how to build it: %v", built, says)
	}
	if !built {
		return
	}
	for _, forbidden := range []string{"<style", " style=", "<script>", "http://", "https://"} {
		if strings.Contains(string(page), forbidden) {
			t.Errorf("index.html holds %q, which the content security policy forbids", forbidden)
		}
	}
}
