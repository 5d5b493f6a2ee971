// Package dashboard carries the built web interface inside the binary.
//
// What comes in: dist/, as `go tool task dashboard:build` leaves it at the time of
// the Go build. What goes out: FS, a file system with index.html at its root and
// assets below assets/, whose names change with their content. State: none. On
// failure: a clone built without Node has no dist; FS then holds one page that says
// how to build it, and the second result is false.
package dashboard

import (
	"embed"
	"io/fs"
)

//go:embed all:dist
var dist embed.FS

//go:embed unbuilt
var unbuilt embed.FS

// FS is the interface to serve, and whether it is the built one.
func FS() (fs.FS, bool) {
	if built, err := fs.Sub(dist, "dist"); err == nil {
		if _, err := fs.Stat(built, "index.html"); err == nil {
			return built, true
		}
	}
	page, err := fs.Sub(unbuilt, "unbuilt")
	if err != nil {
		panic(err) // the folder is compiled in
	}
	return page, false
}
