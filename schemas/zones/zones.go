// Package zones knows the world's time zones from a copy of the tz database inside
// the binary (2025c, as Go 1.26 has it): what a fold computes must not depend on the
// machine's. Another copy changes the scores of metrics with a zone whose rules
// changed: it is a new version of the scorer (docs/adr/0070).
//
// What comes in: an IANA name. What goes out: the offset from UTC at an instant.
// State: zones that were asked for, parsed once. Failure: an unknown name is said to be so.
package zones

import (
	"archive/zip"
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"sync"
	"time"
)

// zoneinfo.zip is $GOROOT/lib/time/zoneinfo.zip.
//
//go:embed zoneinfo.zip
var database []byte

// Zone is a time zone.
type Zone struct{ rules *time.Location }

var (
	index = sync.OnceValues(func() (map[string]*zip.File, error) {
		r, err := zip.NewReader(bytes.NewReader(database), int64(len(database)))
		if err != nil {
			return nil, fmt.Errorf("read zones: %w", err)
		}
		out := make(map[string]*zip.File, len(r.File))
		for _, f := range r.File {
			if !f.FileInfo().IsDir() {
				out[f.Name] = f
			}
		}
		return out, nil
	})
	known sync.Map // name -> *Zone
)

// Find looks a zone up by its IANA name, such as Europe/Berlin. UTC is nil, and so
// is the empty name.
func Find(name string) (*Zone, error) {
	if name == "" || name == "UTC" {
		return nil, nil
	}
	if z, ok := known.Load(name); ok {
		return z.(*Zone), nil
	}
	files, err := index()
	if err != nil {
		return nil, err
	}
	f, ok := files[name]
	if !ok {
		return nil, fmt.Errorf("no time zone is called %q", name)
	}
	r, err := f.Open()
	if err != nil {
		return nil, fmt.Errorf("open zone %s: %w", name, err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read zone %s: %w", name, err)
	}
	rules, err := time.LoadLocationFromTZData(name, data)
	if err != nil {
		return nil, fmt.Errorf("parse zone %s: %w", name, err)
	}
	z, _ := known.LoadOrStore(name, &Zone{rules})
	return z.(*Zone), nil
}

// Offset is what local time is ahead of UTC at an instant (unix µs), in µs.
func (z *Zone) Offset(ts int64) int64 {
	if z == nil {
		return 0
	}
	_, seconds := time.UnixMicro(ts).In(z.rules).Zone()
	return int64(seconds) * 1e6
}
