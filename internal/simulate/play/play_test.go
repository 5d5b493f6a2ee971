package play

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/internal/simulate"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// service remembers what it was sent, per series, and can hold a device's requests up.
type service struct {
	mu     sync.Mutex
	series map[string][]string // timestamps in order of arrival
	keys   map[string]bool
	held   string
	hold   chan struct{}
	fail   error
}

func (s *service) Ingest(_ context.Context, body []byte, key string) (api.IngestAnswer, error) {
	var b struct {
		Backfill bool `json:"backfill"`
		Batches  []struct {
			Device  string `json:"device_external_id"`
			Metrics []struct {
				Name string `json:"name"`
				TS   string `json:"ts"`
			} `json:"metrics"`
		} `json:"batches"`
	}
	if err := json.Unmarshal(body, &b); err != nil {
		return api.IngestAnswer{}, err
	}
	if s.hold != nil && b.Batches[0].Device == s.held {
		<-s.hold
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return api.IngestAnswer{}, s.fail
	}
	s.keys[key] = true
	for _, d := range b.Batches {
		for _, m := range d.Metrics {
			id := d.Device + "/" + m.Name
			s.series[id] = append(s.series[id], m.TS)
		}
	}
	return api.IngestAnswer{}, nil
}

func (s *service) count(device string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, ts := range s.series {
		if strings.HasPrefix(id, device+"/") {
			n += len(ts)
		}
	}
	return n
}

func newService() *service { return &service{series: map[string][]string{}, keys: map[string]bool{}} }

var start = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)

func newFleet(t *testing.T) *simulate.Fleet {
	t.Helper()
	f, err := simulate.New(simulate.Config{Seed: 3, Devices: 4, Start: start})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestHistory(t *testing.T) {
	until := start.Add(time.Hour)
	s := newService()
	keep := func(p simulate.Point) bool { return p.Metric != "door" }
	n, err := History(t.Context(), s, newFleet(t), until, Options{Keep: keep})
	if err != nil || n != 11*3600 {
		t.Fatal(n, err)
	}
	for id, ts := range s.series {
		if len(ts) != 3600 || !slices.IsSorted(ts) {
			t.Errorf("%s: %d points, in order %v", id, len(ts), slices.IsSorted(ts))
		}
	}
	// The same history has the same keys.
	keys := len(s.keys)
	if _, err := History(t.Context(), s, newFleet(t), until, Options{Keep: keep, Lanes: 1}); err != nil || len(s.keys) != keys {
		t.Errorf("%d keys became %d, %v", keys, len(s.keys), err)
	}
	s.fail = errors.New("refused")
	if _, err := History(t.Context(), s, newFleet(t), until, Options{}); !errors.Is(err, s.fail) {
		t.Error(err)
	}
}

// A device whose request hangs holds up no other, and loses nothing.
func TestSensorsAreIndependent(t *testing.T) {
	f := newFleet(t)
	s := newService()
	s.held, s.hold = f.Devices()[0], make(chan struct{})
	arrived := make(chan int, 1000)
	l := NewSensors(t.Context(), s, f, start, Options{Progress: func(n int) { arrived <- n }})
	for i := range 10 {
		if err := l.Step(start.Add(time.Duration(i+1) * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	for s.count(f.Devices()[1]) < 30 || s.count(f.Devices()[2]) < 30 || s.count(f.Devices()[3]) < 30 {
		<-arrived
	}
	if n := s.count(f.Devices()[0]); n != 0 || l.Sent() != start {
		t.Errorf("%d points of the device that hangs, sent until %s", n, l.Sent())
	}
	close(s.hold)
	if err := l.Wait(); err != nil || s.count(f.Devices()[0]) != 30 || l.Sent() != start.Add(10*time.Second) {
		t.Error(err, s.count(f.Devices()[0]), l.Sent())
	}
	for id, ts := range s.series {
		if !slices.IsSorted(ts) {
			t.Errorf("%s is out of order", id)
		}
	}
	s.fail = errors.New("refused")
	_ = l.Step(start.Add(11 * time.Second)) // hands over; the answer comes later
	if err := l.Wait(); !errors.Is(err, s.fail) {
		t.Error(err)
	}
}

func TestCSV(t *testing.T) {
	dir := t.TempDir()
	points, files, err := CSV(t.Context(), newFleet(t), start.Add(time.Minute), dir, nil)
	if err != nil || points != 12*60 || files != 12 {
		t.Fatal(points, files, err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "sim-pump-0002", "flow.csv"))
	if err != nil || !strings.HasPrefix(string(b), "timestamp,value\n2026-11-23T00:00:00.") || strings.Count(string(b), "\n") != 61 {
		t.Errorf("%.80s %v", b, err)
	}
}
