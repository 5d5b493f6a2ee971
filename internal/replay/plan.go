package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/edgepulse/edgepulse/internal/archive"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// Request is what somebody wants replayed.
type Request struct {
	From, To time.Time // by when INGEST stored a message; zero = from the first, to the last
	Filter
}

// Plan is a request with roots in the place of instants: it means the same
// however often it is begun again.
type Plan struct {
	From   time.Time `json:"from,omitzero"`
	To     time.Time `json:"to,omitzero"`
	Tenant string    `json:"tenant,omitempty"`
	Device string    `json:"device,omitempty"`
	Parts  []Part    `json:"parts"`
}

// Part is the plan for one partition.
type Part struct {
	Partition int    `json:"partition"`
	First     uint64 `json:"first"` // root that folding begins at
	From      uint64 `json:"from"`  // first root asked for; results from here on are those of the live logs
	To        uint64 `json:"to"`    // last root
	Bytes     int64  `json:"bytes"` // payload, about
	// Seeds are the states that the stages begin with, by stage.
	Seeds map[string]stream.Seed `json:"seeds,omitempty"`
	Why   string                 `json:"why"` // of First
}

// Roots is how many messages a part publishes.
func (p Part) Roots() int { return int(p.To + 1 - p.First) }

// Roots is how many messages a plan publishes.
func (p *Plan) Roots() int {
	n := 0
	for _, part := range p.Parts {
		n += part.Roots()
	}
	return n
}

// Bytes is about how many payload bytes a plan publishes.
func (p *Plan) Bytes() int64 {
	n := int64(0)
	for _, part := range p.Parts {
		n += part.Bytes
	}
	return n
}

// Filter is the plan's filter.
func (p *Plan) Filter() (Filter, error) {
	f := Filter{Device: p.Device}
	if p.Tenant == "" {
		return f, nil
	}
	var err error
	f.Tenant, err = schemas.ParseID(p.Tenant)
	return f, err
}

// ErrEmpty says that no message was stored in a range.
var ErrEmpty = errors.New("nothing was received in that range")

// Deps are what a replay works with.
type Deps struct {
	Broker  *stream.Broker
	Archive stream.Blobs // nil = what INGEST still holds
	// Keys open what is sealed in the archive; Gone are the tenants whose key was
	// destroyed: their entries are empty, and their outputs are not compared.
	Keys archive.Keys
	Gone []schemas.ID
	// Young lets Recover begin an empty log where the archive begins: older segments
	// went with their retention. Otherwise they count as lost, and it refuses.
	Young bool
	// Erased counts the entries that were read and are empty for that reason; may be nil.
	Erased *atomic.Int64
	// Snapshots are those of the live stages; a shadow's lie below a folder of it.
	Snapshots stream.Blobs
	Stages    []stream.Stage // live ones, in the order of the data path
}

// Plan turns a request into roots, without seeds: what a live re-publication and
// a dry run need.
func (d Deps) Plan(ctx context.Context, r Request) (*Plan, error) {
	if !r.From.IsZero() && !r.To.IsZero() && !r.From.Before(r.To) {
		return nil, fmt.Errorf("the range ends at %s, before it begins at %s", r.To.Format(time.RFC3339), r.From.Format(time.RFC3339))
	}
	p := &Plan{From: r.From, To: r.To, Device: r.Device}
	if r.Tenant != schemas.Nil {
		p.Tenant = r.Tenant.String()
	}
	for partition := range d.Broker.Partitions() {
		if r.Tenant != schemas.Nil && r.Device != "" && schemas.Partition(r.Tenant, r.Device, d.Broker.Partitions()) != partition {
			continue // a device lives in one partition
		}
		part, err := d.part(ctx, partition, r)
		if err != nil {
			return nil, err
		}
		if part.To >= part.From {
			p.Parts = append(p.Parts, part)
		}
	}
	if len(p.Parts) == 0 {
		return nil, ErrEmpty
	}
	return p, nil
}

func (d Deps) part(ctx context.Context, partition int, r Request) (Part, error) {
	s, err := d.openSource(ctx, stream.Ingest, partition)
	if err != nil {
		return Part{}, err
	}
	part := Part{Partition: partition, From: 1, To: s.last()}
	if !r.From.IsZero() {
		if part.From, err = s.rootAt(ctx, r.From); err != nil {
			return Part{}, err
		}
	}
	if !r.To.IsZero() {
		end, err := s.rootAt(ctx, r.To)
		if err != nil {
			return Part{}, err
		}
		part.To = min(part.To, end-1)
	}
	part.First, part.Why = part.From, "as asked"
	if part.To < part.From {
		return part, nil
	}
	part.Bytes, err = s.size(ctx, part.First, part.To)
	return part, err
}

// seed decides where the folds of a shadow begin: at retained snapshots of the
// live stages at or below the range, each no newer than that of the stage behind
// it, or else at root 1 with empty states. Either way the results are those of
// the live logs. The snapshots are copied, since live stages prune theirs.
func (d Deps) seed(ctx context.Context, p *Plan, shadow string) error {
	into := stream.Below(d.Snapshots, stream.ShadowFolder(shadow))
	for i := range p.Parts {
		part := &p.Parts[i]
		limit := part.From - 1
		part.Seeds = map[string]stream.Seed{}
		for _, stage := range slices.Backward(d.Stages) {
			s, err := d.Broker.FindSeed(ctx, stage, part.Partition, limit, d.Snapshots, into)
			if err != nil {
				return err
			}
			part.Seeds[stage.Name], limit = s, s.Root
		}
		part.First, part.Why = limit+1, fmt.Sprintf("snapshots of the live stages up to root %d", limit)
		if limit == 0 {
			part.Why = "no snapshot of every stage is retained below the range"
		}
		s, err := d.openSource(ctx, stream.Ingest, part.Partition)
		if err != nil {
			return err
		}
		if part.Bytes, err = s.size(ctx, part.First, part.To); err != nil {
			return err
		}
	}
	return nil
}

func (p *Plan) encode() (string, error) {
	b, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("encode plan: %w", err)
	}
	return string(b), nil
}

// ReadPlan decodes the note of a shadow.
func ReadPlan(note string) (*Plan, error) {
	p := &Plan{}
	if err := json.Unmarshal([]byte(note), p); err != nil {
		return nil, fmt.Errorf("read the plan of the shadow: %w", err)
	}
	return p, nil
}
