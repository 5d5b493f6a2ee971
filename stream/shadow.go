package stream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/edgepulse/edgepulse/schemas"
)

// ErrShadowName refuses a name that can't be part of a stream's name.
var ErrShadowName = errors.New("a shadow's name has 1 to 32 characters of a-z, 0-9 and -, and does not begin with -")

// ErrNoRoom says that the broker has not the storage that a shadow reserves.
var ErrNoRoom = errors.New("the broker has no storage left for the shadow")

// CheckShadowName tells whether a shadow can be called so.
func CheckShadowName(name string) error {
	if !shadowName.MatchString(name) {
		return fmt.Errorf("shadow name %q: %w", name, ErrShadowName)
	}
	return nil
}

// ShadowLog says how one log of a shadow begins.
type ShadowLog struct {
	After    uint64 // roots at or below it are not in the shadow
	Version  uint32 // of the fold that goes on from there; derived logs only
	MaxBytes int64  // reserved by the broker
	Note     string // kept with the log, for whoever made it
}

// noteKey is the stream metadata that holds a shadow's note.
const noteKey = "edgepulse_shadow"

// MakeShadowLog makes one log of a shadow; one that is there stays as it is.
//
// INGEST's first sequence is set, so that sequence = root as in the live log. A
// derived log begins with a commit that covers nothing and ends at After: the
// marker at which a runner looks for its snapshot.
//
// A single server acknowledges shadow messages before the disk has them: what a
// power cut takes is replayed, and the live logs' fsyncs are not held up.
func (b *Broker) MakeShadowLog(ctx context.Context, log LogName, partition int, o ShadowLog) error {
	spec, ok := Spec(log)
	if shadow, _ := log.split(); !ok || shadow == "" {
		return fmt.Errorf("make log %s: it is no log of a shadow", log)
	}
	cfg := b.config(spec, partition)
	cfg.MaxBytes, cfg.Metadata[noteKey] = o.MaxBytes, o.Note
	if spec.Truth {
		cfg.FirstSeq = o.After + 1
	}
	if cfg.Replicas == 1 {
		cfg.PersistMode = jetstream.AsyncPersistMode
	}
	if _, err := b.js.Stream(ctx, cfg.Name); errors.Is(err, jetstream.ErrStreamNotFound) {
		if _, err = b.js.CreateStream(ctx, cfg); err != nil {
			var api *jetstream.APIError
			if errors.As(err, &api) && int(api.ErrorCode) == codeNoStorage {
				return fmt.Errorf("make log %s: %w", cfg.Name, ErrNoRoom)
			}
			return fmt.Errorf("make log %s: %w", cfg.Name, err)
		}
	} else if err != nil {
		return fmt.Errorf("look up log %s: %w", cfg.Name, err)
	}
	if spec.Truth {
		return nil
	}
	return b.beginAt(ctx, log, partition, o)
}

// beginAt writes the first commit of a derived log, unless it has one.
func (b *Broker) beginAt(ctx context.Context, log LogName, partition int, o ShadowLog) error {
	last, _, err := b.lastMark(ctx, log, partition)
	if err != nil || last.seq != 0 {
		return err
	}
	w := &writer{b: b, log: log, partition: partition, nonce: make([]byte, 16), last: mark{to: o.After}}
	if _, err := rand.Read(w.nonce); err != nil {
		return fmt.Errorf("draw nonce: %w", err)
	}
	return w.extend(ctx, &schemas.Commit{To: o.After, FoldVersion: o.Version})
}

// ShadowStatus is a shadow as the broker holds it.
type ShadowStatus struct {
	Name    string
	Note    string // of its INGEST
	Created time.Time
	Logs    []LogStatus
}

// Shadows lists all shadows by name, their logs in the order of the data path.
func (b *Broker) Shadows(ctx context.Context) ([]ShadowStatus, error) {
	var out []ShadowStatus
	list := b.js.ListStreams(ctx, jetstream.WithStreamListSubject(shadowSubjects))
	for info := range list.Info() {
		var log LogName
		var partition int
		i := strings.LastIndexByte(info.Config.Name, '_')
		if i < 0 {
			continue
		}
		log = LogName(info.Config.Name[:i])
		if _, err := fmt.Sscan(info.Config.Name[i+1:], &partition); err != nil {
			continue
		}
		spec, ok := Spec(log)
		name, _ := log.split()
		if !ok || name == "" {
			continue
		}
		at := slices.IndexFunc(out, func(s ShadowStatus) bool { return s.Name == name })
		if at < 0 {
			at = len(out)
			out = append(out, ShadowStatus{Name: name, Created: info.Created})
		}
		if spec.Truth {
			out[at].Note = info.Config.Metadata[noteKey]
		}
		if info.Created.Before(out[at].Created) {
			out[at].Created = info.Created
		}
		st, err := b.StatusOf(ctx, log, partition)
		if err != nil {
			return nil, err
		}
		out[at].Logs = append(out[at].Logs, st)
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("list shadows: %w", err)
	}
	slices.SortFunc(out, func(x, y ShadowStatus) int { return strings.Compare(x.Name, y.Name) })
	order := map[LogName]int{}
	for i, l := range Shadowed() {
		order[l] = i
	}
	for _, s := range out {
		slices.SortFunc(s.Logs, func(x, y LogStatus) int {
			_, lx := x.Log.split()
			_, ly := y.Log.split()
			if d := order[lx] - order[ly]; d != 0 {
				return d
			}
			return x.Partition - y.Partition
		})
	}
	return out, nil
}

// DropShadow deletes the logs of a shadow; none there is no error.
func (b *Broker) DropShadow(ctx context.Context, name string) (int, error) {
	if err := CheckShadowName(name); err != nil {
		return 0, err
	}
	dropped := 0
	for _, log := range Shadowed() {
		for p := range b.cfg.Partitions {
			err := b.js.DeleteStream(ctx, StreamName(log.In(name), p))
			if errors.Is(err, jetstream.ErrStreamNotFound) {
				continue
			}
			if err != nil {
				return dropped, fmt.Errorf("delete log %s: %w", StreamName(log.In(name), p), err)
			}
			dropped++
		}
	}
	return dropped, nil
}

// ShadowFolder is where the snapshots of a shadow's stages live.
func ShadowFolder(name string) string { return "shadows/" + name + "/" }

// Below are the objects under a prefix, seen as a store of their own.
func Below(blobs Blobs, prefix string) Blobs { return below{blobs, prefix} }

type below struct {
	blobs  Blobs
	prefix string
}

func (b below) Create(ctx context.Context, name string, data []byte) error {
	return b.blobs.Create(ctx, b.prefix+name, data)
}

func (b below) Get(ctx context.Context, name string) ([]byte, error) {
	return b.blobs.Get(ctx, b.prefix+name)
}

func (b below) GetRange(ctx context.Context, name string, offset, n int64) ([]byte, error) {
	return b.blobs.GetRange(ctx, b.prefix+name, offset, n)
}

func (b below) List(ctx context.Context, prefix string) ([]string, error) {
	names, err := b.blobs.List(ctx, b.prefix+prefix)
	for i, n := range names {
		names[i] = strings.TrimPrefix(n, b.prefix)
	}
	return names, err
}

func (b below) Delete(ctx context.Context, name string) error {
	return b.blobs.Delete(ctx, b.prefix+name)
}
