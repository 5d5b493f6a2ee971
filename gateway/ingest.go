package gateway

import (
	"cmp"
	"context"
	"crypto/sha256"
	"net/http"
	"path"
	"strconv"
	"sync"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/schemas/payload"
)

// maxListed is how many item errors an answer lists; the counts tell all.
const maxListed = 100

var decoders = sync.Pool{New: func() any { return payload.NewDecoder() }}

// handleIngest is POST /v1/ingest.
func (s *Server) handleIngest(w http.ResponseWriter, r *http.Request) {
	key := keyFrom(r)
	idem, p := idempotencyKey(r)
	if p != nil {
		s.problem(w, r, p)
		return
	}
	if p := s.quota.spent(key); p != nil && idem == "" { // a repeat costs nothing: it is judged by its body
		s.quota.say(w.Header(), key, true)
		s.refusals.hold(r.Context(), key.TenantID)
		s.problem(w, r, p)
		return
	}
	answer, p := s.ingestBody(w, r, key, idem)
	if p != nil {
		if p.quota {
			s.refusals.hold(r.Context(), key.TenantID)
		}
		s.problem(w, r, p)
		return
	}
	s.writeJSON(w, r, http.StatusAccepted, answer)
}

// ingestBody reads a request's body and takes it in; the body's memory, and its share
// of what may be in work, are free again when it returns.
func (s *Server) ingestBody(w http.ResponseWriter, r *http.Request, key KeyRecord, idem string) (*api.IngestAnswer, *problem) {
	body, p := s.readBody(w, r, key.TenantID, s.cfg.MaxWire, s.cfg.MaxInflated)
	defer body.release()
	s.metrics.wire.Add(float64(body.wire))
	if p != nil {
		return nil, p
	}
	s.metrics.inflated.Add(float64(len(body.buf)))
	req := ingestRequest{key: key, id: requestID(r.Context()), idempotencyKey: idem, body: body.buf, source: "http"}
	if through := passageFrom(r.Context()); through != nil {
		if p := through.whole(); p != nil {
			return nil, p
		}
		req.source, req.acceptedAt = "edge", through.claim.AcceptedAt
	}
	answer, p := s.ingest(r.Context(), req)
	s.quota.say(w.Header(), key, true)
	return answer, p
}

func idempotencyKey(r *http.Request) (string, *problem) {
	values := r.Header.Values("Idempotency-Key")
	if len(values) == 0 {
		return "", nil
	}
	if len(values) > 1 || !validIdempotencyKey(values[0]) {
		return "", newProblem(http.StatusBadRequest, "bad_idempotency_key", "expected one Idempotency-Key of 1 to 64 printable ASCII characters")
	}
	return values[0], nil
}

// ingestRequest is one body with what is known about its sender.
type ingestRequest struct {
	key            KeyRecord
	id             string // of the request and of its receipt
	idempotencyKey string
	body           []byte
	source         string
	acceptedAt     int64 // when the edge took it, µs; 0 = it came directly
	acknowledged   bool  // the edge has answered 202 already
}

// ingest takes a body through idempotency, decoding, quota and the log.
func (s *Server) ingest(ctx context.Context, req ingestRequest) (*api.IngestAnswer, *problem) {
	sum := sha256.Sum256(req.body)
	if req.idempotencyKey == "" {
		return s.accept(ctx, req, sum)
	}
	id := idemKey{req.key.TenantID, req.idempotencyKey}
	switch state, before := s.idem.begin(id, sum); state {
	case idemInFlight:
		return nil, newProblem(http.StatusConflict, "in_flight", "a request with this Idempotency-Key is in work").retry(1)
	case idemOther:
		return nil, newProblem(http.StatusUnprocessableEntity, "idempotency_key_reused", "this Idempotency-Key stands for another body; use a new one")
	case idemRepeat:
		// The first one is on disk, and the normaliser would drop this one.
		s.metrics.repeats.Inc()
		answer := *before
		answer.Repeat = true
		return &answer, nil
	}
	var answer *api.IngestAnswer
	defer func() { s.idem.finish(id, sum, answer) }() // also when decoding panics
	var p *problem
	answer, p = s.accept(ctx, req, sum)
	return answer, p
}

func (s *Server) accept(ctx context.Context, req ingestRequest, sum [sha256.Size]byte) (*api.IngestAnswer, *problem) {
	receivedAt := s.clock.Now()
	if s.sim != nil {
		req.acceptedAt = 0 // the edge lives in another time
	}
	decoder := decoders.Get().(*payload.Decoder)
	defer decoders.Put(decoder) // after the wait: the body is the decoder's memory
	limits := payload.DefaultLimits()
	limits.Points = s.cfg.MaxPoints
	body, fault := decoder.DecodeBody(req.body, payload.Options{ReceivedAt: cmp.Or(req.acceptedAt, receivedAt), Limits: limits})
	if fault != nil {
		return nil, faultProblem(fault)
	}
	if body.Backfill && !req.key.allows(ScopeBackfill) {
		return nil, newProblem(http.StatusForbidden, "missing_scope", `this key does not have the scope backfill, which "backfill": true needs`)
	}
	if p := deviceProblem(req.key, body); p != nil {
		return nil, p
	}
	s.cardinality.admit(ctx, req.key, body)
	errs, count := s.itemErrors(body)
	if body.Accepted == 0 {
		p := newProblem(http.StatusUnprocessableEntity, "no_acceptable_point", "the body is well-formed, but holds no point that can be accepted")
		p.errors, p.count = errs, count
		return nil, p
	}
	if p := s.months.reserve(ctx, req.key, body.Accepted, !req.acknowledged); p != nil {
		return nil, p
	}
	if p := s.quota.take(req.key, body.Accepted); p != nil {
		s.months.settle(req.key, body.Accepted, nil)
		return nil, p
	}
	on, err := s.appendBody(ctx, req, sum, body, receivedAt)
	s.months.settle(req.key, body.Accepted, on)
	if err != nil {
		s.quota.give(req.key, body.Accepted)
		return nil, logProblem(err)
	}
	s.metrics.points.Add(float64(body.Accepted))
	return &api.IngestAnswer{BatchID: req.id, Accepted: body.Accepted, Rejected: body.Rejected,
		Errors: errs, ErrorCount: count, Receipt: "/v1/batches/" + req.id}, nil
}

// deviceProblem refuses a body with a device that the key may not write, as a
// whole: a key that meets foreign devices is used in a wrong place.
func deviceProblem(key KeyRecord, body *payload.Body) *problem {
	if key.DevicePattern == "" {
		return nil
	}
	p := newProblem(http.StatusForbidden, "device_not_allowed", "this key may write devices that match "+strconv.Quote(key.DevicePattern)+" only")
	for i := range body.Devices {
		d := &body.Devices[i]
		if ok, err := path.Match(key.DevicePattern, d.ExternalID); d.Fault != nil || ok && err == nil {
			continue
		}
		if p.count++; len(p.errors) < maxListed {
			pointer := "/device_external_id"
			if body.Batches {
				pointer = "/batches/" + strconv.Itoa(d.Index) + pointer
			}
			p.errors = append(p.errors, api.ItemError{Pointer: pointer, Code: p.code, Detail: "this device does not match the key's pattern"})
		}
	}
	if p.count == 0 {
		return nil
	}
	return p
}

// itemErrors lists what was refused within the body.
func (s *Server) itemErrors(body *payload.Body) (errs []api.ItemError, count int) {
	add := func(pointer, code, detail string) {
		if count++; len(errs) < maxListed {
			errs = append(errs, api.ItemError{Pointer: pointer, Code: code, Detail: detail})
		}
		s.metrics.rejected.WithLabelValues(code).Inc()
	}
	for i := range body.Devices {
		d := &body.Devices[i]
		base := ""
		if body.Batches {
			base = "/batches/" + strconv.Itoa(d.Index)
		}
		if d.Fault != nil {
			add(d.Fault.Pointer, d.Fault.Code, d.Fault.Detail())
			continue
		}
		for _, rej := range d.Rejected {
			add(base+rej.Pointer, rej.Code, rej.Detail)
		}
	}
	return errs, count
}

// appendBody writes the parts of a body, one per partition that has a device in
// it, and waits until all are on disk. on is what certainly is, also after an error.
func (s *Server) appendBody(ctx context.Context, req ingestRequest, sum [sha256.Size]byte, body *payload.Body, receivedAt int64) (on []stored, failed error) {
	parts := s.split(req, sum, body)
	done := make(chan outcome, len(parts))
	sent := 0
	for _, part := range parts {
		// A request that has begun must not be torn by its client's leaving.
		part.ctx, part.receivedAt, part.done = context.WithoutCancel(ctx), receivedAt, done
		if len(parts) == 1 {
			part.ctx = ctx
		}
		if failed = s.committers[part.partition].submit(&part.submission); failed != nil {
			break
		}
		sent++
	}
	for range sent { // all of them: they refer to the body until they are written
		o := <-done
		if failed == nil {
			failed = o.err
		}
		for _, part := range parts {
			if part.partition == o.partition && o.err == nil {
				on = append(on, stored{o.partition, o.root, part.accepted})
			}
		}
	}
	return on, failed
}

type part struct {
	submission
	partition int
	accepted  int // samples
	batch     schemas.Batch
}

// entryOverhead is about what an entry costs besides the bytes of its devices.
const entryOverhead = 200

func (s *Server) split(req ingestRequest, sum [sha256.Size]byte, body *payload.Body) []*part {
	byPartition := make([]*part, len(s.committers))
	var parts []*part
	elsewhere := 0
	for i := range body.Devices {
		d := &body.Devices[i]
		if d.Fault != nil {
			elsewhere += max(1, d.Points)
			continue
		}
		if d.Points == 0 {
			continue // nothing to say about it
		}
		n := schemas.Partition(req.key.TenantID, d.ExternalID, len(s.committers))
		p := byPartition[n]
		if p == nil {
			p = &part{partition: n}
			p.tenant, p.size = req.key.TenantID, entryOverhead
			byPartition[n] = p
			parts = append(parts, p)
		}
		slice := &schemas.DeviceSlice{Index: uint32(d.Index), Offset: uint64(d.Offset), Json: d.JSON}
		for _, rej := range d.Rejected {
			slice.Rejected = append(slice.Rejected, &schemas.Rejection{Index: uint32(rej.Index), Code: rej.Code})
		}
		p.batch.Slices = append(p.batch.Slices, slice)
		p.points += d.Points
		p.accepted += len(d.Samples)
		p.size += len(d.JSON) + 32 + 24*len(d.Rejected)
	}
	for i, p := range parts {
		b := &p.batch
		b.TenantId, b.KeyId, b.RequestId, b.IdempotencyKey = req.key.TenantID[:], req.key.KeyID, req.id, req.idempotencyKey
		b.BodySha256, b.Source, b.Backfill, b.AcceptedAt = sum[:], req.source, body.Backfill, req.acceptedAt
		b.Part, b.Parts = uint32(i), uint32(len(parts))
		if i == 0 {
			b.RejectedElsewhere = uint32(elsewhere)
		}
		entry := &schemas.Entry{Kind: &schemas.Entry_Batch{Batch: b}}
		p.encode = func(group []byte, receivedAt int64) []byte {
			b.ReceivedAt = receivedAt
			return appendEntry(group, entry)
		}
	}
	return parts
}
