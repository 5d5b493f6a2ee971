// Package spill brings what the edge kept while the origin was away into the log.
//
// What comes in: objects below spill/ in an object store, each a signed request
// (schemas/edge). What goes out: the same bytes to the gateway, which verifies and
// appends them like any request; then the object is deleted, or moved to
// spill-refused/ with the reason. Order: minute by minute, within a minute by the
// instant the edge took a request; one key never overtakes itself. State: none.
// Failure: an object stays until the gateway has answered for it. A crash after
// the answer sends it again: its idempotency key makes that a repeat. A gateway
// that can't answer stops the pass; the next one begins where it was.
package spill

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgepulse/edgepulse/schemas/edge"
	"github.com/edgepulse/edgepulse/stream"
)

// Answer is what the gateway made of one object.
type Answer struct {
	Status int
	Code   string // of the problem
	Detail string
	Repeat bool // taken before
}

// Door is the gateway. Put returns an error when there was no answer of its own.
type Door interface {
	// Ready says why there is no use in reading what waits.
	Ready(ctx context.Context) error
	Put(ctx context.Context, object []byte) (Answer, error)
}

// Drain empties spill/.
type Drain struct {
	blobs   stream.Blobs
	door    Door
	log     *slog.Logger
	metrics *Metrics
}

// New returns a drain; Run or Pass lets it work.
func New(blobs stream.Blobs, door Door, m *Metrics, log *slog.Logger) *Drain {
	return &Drain{blobs: blobs, door: door, log: log, metrics: m}
}

// Result counts one pass.
type Result struct {
	Taken, Repeats, Refused int
	Left                    int // still waiting: the gateway asked for time
}

func (r *Result) add(o Result) {
	r.Taken, r.Repeats, r.Refused, r.Left = r.Taken+o.Taken, r.Repeats+o.Repeats, r.Refused+o.Refused, r.Left+o.Left
}

// Run passes again and again until ctx ends. Trouble is logged once per kind.
func (d *Drain) Run(ctx context.Context, every time.Duration) error {
	timer := time.NewTicker(every)
	defer timer.Stop()
	said := ""
	for {
		r, err := d.Pass(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && err.Error() != said:
			said = err.Error()
			d.log.Warn("spilled requests wait", "error", err)
		case err == nil:
			said = ""
		}
		if r.Taken+r.Repeats+r.Refused > 0 {
			d.log.Info("drained the spill", "taken", r.Taken, "repeats", r.Repeats, "refused", r.Refused, "left", r.Left)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
	}
}

// Pass goes once through what lies in the store.
func (d *Drain) Pass(ctx context.Context) (Result, error) {
	var total Result
	names, err := d.blobs.List(ctx, edge.SpillPrefix)
	if err != nil {
		return total, fmt.Errorf("list the spill: %w", err)
	}
	d.metrics.pending.Set(float64(len(names)))
	if len(names) > 0 {
		// In an outage every pass would read a chunk for nothing.
		if err := d.door.Ready(ctx); err != nil {
			return total, fmt.Errorf("ask whether the gateway is ready: %w", err)
		}
	}
	held := &heldKeys{keys: map[string]struct{}{}}
	for len(names) > 0 {
		n := 1
		for n < len(names) && n < chunk && path.Dir(names[n]) == path.Dir(names[0]) {
			n++
		}
		r, err := d.chunk(ctx, names[:n], held)
		total.add(r)
		d.metrics.count(r)
		if err != nil {
			return total, err
		}
		names = names[n:]
		d.metrics.pending.Set(float64(len(names) + total.Left))
	}
	return total, nil
}

// chunk bounds what is held in memory at one time: that many bodies.
const chunk = 256

// lanes is how many keys are drained side by side.
const lanes = 8

type object struct {
	name  string
	data  []byte
	spill edge.Spill
	fault error // no spill of ours
}

// heldKeys are those that the gateway asked to wait with, for the rest of a pass.
type heldKeys struct {
	mu   sync.Mutex
	keys map[string]struct{}
}

func (h *heldKeys) has(key string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.keys[key]
	return ok
}

func (h *heldKeys) add(key string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.keys[key] = struct{}{}
}

func (d *Drain) chunk(ctx context.Context, names []string, held *heldKeys) (Result, error) {
	objects, err := d.read(ctx, names)
	if err != nil {
		return Result{}, err
	}
	byKey := map[string][]object{}
	for _, o := range objects {
		byKey[o.spill.Claim.KeyID] = append(byKey[o.spill.Claim.KeyID], o)
	}
	var mu sync.Mutex
	var total Result
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(lanes)
	for key, lane := range byKey {
		slices.SortFunc(lane, func(a, b object) int {
			return cmp.Or(cmp.Compare(a.spill.Claim.AcceptedAt, b.spill.Claim.AcceptedAt), cmp.Compare(a.name, b.name))
		})
		g.Go(func() error {
			r, err := d.lane(gctx, key, lane, held)
			mu.Lock()
			defer mu.Unlock()
			total.add(r)
			return err
		})
	}
	err = g.Wait()
	return total, err
}

func (d *Drain) read(ctx context.Context, names []string) ([]object, error) {
	out := make([]object, len(names))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(lanes)
	for i, name := range names {
		g.Go(func() error {
			data, err := d.blobs.Get(gctx, name)
			if errors.Is(err, stream.ErrBlobNotFound) {
				return nil // another drain was faster
			}
			if err != nil {
				return fmt.Errorf("read %s: %w", name, err)
			}
			out[i] = object{name: name, data: data}
			out[i].spill, out[i].fault = edge.DecodeSpill(data)
			return nil
		})
	}
	err := g.Wait()
	return slices.DeleteFunc(out, func(o object) bool { return o.name == "" }), err
}

// lane brings the objects of one key in, in order.
func (d *Drain) lane(ctx context.Context, key string, objects []object, held *heldKeys) (r Result, err error) {
	for i, o := range objects {
		if held.has(key) {
			r.Left += len(objects) - i
			return r, nil
		}
		if o.fault != nil {
			if err := d.refuse(ctx, o, Answer{Status: 400, Code: "bad_spill", Detail: o.fault.Error()}); err != nil {
				return r, err
			}
			r.Refused++
			continue
		}
		a, err := d.door.Put(ctx, o.data)
		switch {
		case err != nil:
			return r, fmt.Errorf("bring %s to the gateway: %w", o.name, err)
		case a.Status == 202:
			if err := d.blobs.Delete(ctx, o.name); err != nil {
				return r, fmt.Errorf("delete %s: %w", o.name, err)
			}
			if a.Repeat {
				r.Repeats++
			} else {
				r.Taken++
			}
		case a.Status == 429 || a.Status == 409:
			held.add(key) // its quota, or the same request in work: the next pass
			r.Left += len(objects) - i
			return r, nil
		case a.Status >= 500 || a.Status == 408:
			return r, fmt.Errorf("bring %s to the gateway: it answers %d %s", o.name, a.Status, a.Code)
		default:
			if err := d.refuse(ctx, o, a); err != nil {
				return r, err
			}
			r.Refused++
		}
	}
	return r, nil
}

// Refusal is what lies in spill-refused/: the object as it was, and why.
type Refusal struct {
	Name      string    `json:"name"`
	Status    int       `json:"status"`
	Code      string    `json:"code"`
	Detail    string    `json:"detail"`
	RequestID string    `json:"request_id,omitempty"`
	KeyID     string    `json:"key_id,omitempty"`
	RefusedAt time.Time `json:"refused_at"`
	Object    []byte    `json:"object"` // base64
}

// refuse moves an object aside. It is never thrown away: the edge answered 202.
func (d *Drain) refuse(ctx context.Context, o object, a Answer) error {
	doc, err := json.Marshal(Refusal{Name: o.name, Status: a.Status, Code: a.Code, Detail: a.Detail, RequestID: o.spill.Claim.RequestID,
		KeyID: o.spill.Claim.KeyID, RefusedAt: time.Now().UTC(), Object: o.data})
	if err != nil {
		return fmt.Errorf("encode refusal: %w", err)
	}
	target := edge.RefusedPrefix + strings.TrimPrefix(o.name, edge.SpillPrefix)
	if err := d.blobs.Create(ctx, target, doc); err != nil && !errors.Is(err, stream.ErrBlobExists) {
		return fmt.Errorf("move %s aside: %w", o.name, err)
	}
	d.log.Warn("spilled request refused", "object", target, "status", a.Status, "code", a.Code, "detail", a.Detail)
	if err := d.blobs.Delete(ctx, o.name); err != nil {
		return fmt.Errorf("delete %s: %w", o.name, err)
	}
	return nil
}

// Refused lists what was moved aside.
func Refused(ctx context.Context, blobs stream.Blobs) ([]Refusal, error) {
	names, err := blobs.List(ctx, edge.RefusedPrefix)
	if err != nil {
		return nil, fmt.Errorf("list refused spills: %w", err)
	}
	out := make([]Refusal, 0, len(names))
	for _, name := range names {
		b, err := blobs.Get(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		var r Refusal
		if err := json.Unmarshal(b, &r); err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		out = append(out, r)
	}
	return out, nil
}

// Retry puts refused objects back: after a secret that was missing is configured
// again, for example. It returns how many.
func Retry(ctx context.Context, blobs stream.Blobs) (int, error) {
	list, err := Refused(ctx, blobs)
	if err != nil {
		return 0, err
	}
	for i, r := range list {
		if err := blobs.Create(ctx, r.Name, r.Object); err != nil && !errors.Is(err, stream.ErrBlobExists) {
			return i, fmt.Errorf("put %s back: %w", r.Name, err)
		}
		if err := blobs.Delete(ctx, edge.RefusedPrefix+strings.TrimPrefix(r.Name, edge.SpillPrefix)); err != nil {
			return i, fmt.Errorf("put %s back: %w", r.Name, err)
		}
	}
	return len(list), nil
}
