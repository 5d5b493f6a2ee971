package gateway

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// ui serves the web interface: files that were there at the start, and the page
// for every path that the page itself will make sense of.
type ui struct {
	files map[string]*uiFile // by URL path
	index *uiFile
}

type uiFile struct {
	body, zipped []byte // zipped is nil where it would not be smaller
	contentType  string
	etag         string
	cache        string
}

// uiPolicy lets the page load what stands on this origin, and nothing run that
// was not built into it.
const uiPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// uiTypes does not ask the machine: what a suffix means must not depend on it.
var uiTypes = map[string]string{
	".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".mjs": "text/javascript; charset=utf-8",
	".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".json": "application/json", ".webmanifest": "application/manifest+json",
	".png": "image/png", ".ico": "image/x-icon", ".woff2": "font/woff2", ".txt": "text/plain; charset=utf-8", ".map": "application/json",
}

// newUI reads and compresses all files; nil without an index.html.
func newUI(files fs.FS) (*ui, error) {
	if files == nil {
		return nil, nil
	}
	u := &ui{files: map[string]*uiFile{}}
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		// Without a suffix: settings of hosts for static pages, no files of the page.
		if err != nil || d.IsDir() || path.Ext(name) == "" || strings.HasPrefix(path.Base(name), ".") {
			return err
		}
		body, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		u.files["/"+name] = newUIFile(name, body)
		return nil
	})
	if err != nil {
		return nil, err
	}
	u.index = u.files["/index.html"]
	return u, nil
}

func newUIFile(name string, body []byte) *uiFile {
	sum := sha256.Sum256(body)
	f := &uiFile{body: body, contentType: uiTypes[path.Ext(name)], etag: `"` + hex.EncodeToString(sum[:12]) + `"`, cache: "no-cache"}
	if f.contentType == "" {
		f.contentType = mime.TypeByExtension(path.Ext(name))
	}
	if strings.HasPrefix(name, "assets/") {
		f.cache = "public, max-age=31536000, immutable" // the name changes with the content
	}
	var z bytes.Buffer
	w, _ := gzip.NewWriterLevel(&z, gzip.BestCompression)
	_, _ = w.Write(body) // into memory
	_ = w.Close()
	if z.Len() < len(body)*9/10 {
		f.zipped = z.Bytes()
	}
	return f
}

// find returns what a path shows; nil when it is none of the interface's.
func (u *ui) find(r *http.Request) *uiFile {
	if u == nil || u.index == nil || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return nil
	}
	p := r.URL.Path
	if f, ok := u.files[p]; ok {
		return f
	}
	if p == "/v1" || strings.HasPrefix(p, "/v1/") || strings.HasPrefix(p, "/assets/") || path.Ext(p) != "" {
		return nil
	}
	return u.index
}

func (f *uiFile) serve(w http.ResponseWriter, r *http.Request) { f.serveWith(uiPolicy, w, r) }

func (f *uiFile) serveWith(policy string, w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	h.Set("Cache-Control", f.cache)
	h.Set("ETag", f.etag)
	h.Set("Vary", "Accept-Encoding")
	if r.Header.Get("If-None-Match") == f.etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", f.contentType)
	body := f.body
	if f.zipped != nil && acceptsGzip(r) {
		h.Set("Content-Encoding", "gzip")
		body = f.zipped
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the client is gone
	}
}

func acceptsGzip(r *http.Request) bool {
	for _, part := range strings.Split(r.Header.Get("Accept-Encoding"), ",") {
		name, weight, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") {
			return !strings.HasPrefix(strings.ReplaceAll(weight, " ", ""), "q=0") || strings.Trim(strings.ReplaceAll(weight, " ", ""), "q=0.") != ""
		}
	}
	return false
}
