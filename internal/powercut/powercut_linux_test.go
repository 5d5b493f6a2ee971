package powercut

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/internal/embedded"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/payload"
	"github.com/edgepulse/edgepulse/stream"
)

var (
	prove  = flag.Bool("prove", false, "cut the power (needs root and loop devices)")
	cuts   = flag.Int("cuts", 3, "power cuts")
	loadBy = flag.Duration("load", 6*time.Second, "load before each cut")
)

// TestPowerCut: with the product's settings nothing acknowledged is lost; with
// those that a broker has by default the same test finds losses.
func TestPowerCut(t *testing.T) {
	if !*prove {
		return // go tool task prove:powercut; it mounts file systems, so it is not part of every test run
	}
	if os.Geteuid() != 0 {
		t.Fatal("mounting a file system needs root")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	binary := build(t)
	t.Run("as-shipped", func(t *testing.T) {
		acked, lost := powerCuts(t, ctx, binary, "", true)
		fmt.Printf("sync always: %d points acknowledged before %d cuts, %d lost\n", acked, *cuts, lost)
		if lost > 0 {
			t.Fail()
		}
	})
	t.Run("broker-default", func(t *testing.T) {
		acked, lost := powerCuts(t, ctx, binary, "no-sync", false)
		fmt.Printf("broker's default: %d points acknowledged before %d cuts, %d lost\n", acked, *cuts, lost)
		if lost == 0 {
			t.Error("nothing was lost without fsync: this test can't see a power cut")
		}
	})
}

// powerCuts loads a service, cuts the power some times and counts what is lost.
func powerCuts(t *testing.T, ctx context.Context, binary, faults string, serve bool) (acked, lost int) {
	t.Helper()
	dir := t.TempDir()
	openParents(t, dir)
	d, err := newDisk(dir, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.unmount(); err != nil {
			t.Error(err)
		}
	})
	data := filepath.Join(d.dir, "data")
	s := start(t, ctx, binary, data, faults)
	type image struct {
		file  string
		acked map[pointID]float64
	}
	var images []image
	l := newLoad(s)
	for i := range *cuts {
		l.run(ctx, *loadBy+rand.N(time.Second), func() {
			s.stop()
			// Whatever was answered had been answered before the stop.
			images = append(images, image{filepath.Join(dir, fmt.Sprintf("cut-%d.img", i)), l.acknowledged()})
			if err := d.cut(images[i].file); err != nil {
				t.Fatal(err)
			}
			s.goOn()
		})
	}
	s.kill()
	if err := d.unmount(); err != nil {
		t.Fatal(err)
	}
	for _, im := range images {
		if err := d.mount(im.file); err != nil {
			t.Fatal(err)
		}
		acked += len(im.acked)
		lost += missing(im.acked, inLog(t, ctx, filepath.Join(data, "nats")))
		if serve {
			again := start(t, ctx, binary, data, faults)
			again.serves(t, ctx, im.acked)
			again.kill()
		}
		if err := d.unmount(); err != nil {
			t.Fatal(err)
		}
	}
	return acked, lost
}

func missing(acked, stored map[pointID]float64) (n int) {
	for id, v := range acked {
		if got, ok := stored[id]; !ok || got != v {
			n++
		}
	}
	return n
}

// inLog reads every point of every batch in INGEST, with a broker of its own.
func inLog(t *testing.T, ctx context.Context, store string) map[pointID]float64 {
	t.Helper()
	n, err := embedded.StartNATS(embedded.NATSOptions{StoreDir: store})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Stop()
	b, err := stream.Connect(stream.BrokerConfig{Partitions: partitions, Timeout: 10 * time.Second}, "powercut", n, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	out := map[pointID]float64{}
	d := payload.NewDecoder()
	for p := range partitions {
		end, err := b.End(ctx, stream.Ingest, p)
		if err != nil {
			t.Logf("INGEST_%d: %v", p, err) // lost as a whole: its points will be missed
			continue
		}
		if end == 0 {
			continue
		}
		err = b.Follow(ctx, stream.Ingest, p, 0, func(m stream.Message) (bool, error) {
			for _, r := range m.Roots {
				for _, raw := range r.Entries {
					points(d, raw, out)
				}
			}
			return m.To >= end, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func points(d *payload.Decoder, raw []byte, into map[pointID]float64) {
	e := &schemas.Entry{}
	if e.UnmarshalVT(raw) != nil || e.GetBatch() == nil {
		return
	}
	for _, s := range e.GetBatch().Slices {
		dev, fault := d.DecodeDevice(s.Json, payload.Options{ReceivedAt: e.GetBatch().ReceivedAt}, nil)
		if fault != nil {
			continue
		}
		for _, p := range dev.Samples {
			into[pointID{dev.ExternalID, p.TS}] = p.Value
		}
	}
}
