package gateway

import (
	"bufio"
	"crypto/sha256"
	"crypto/subtle"
	"io"
	"net/http"
	"time"

	"github.com/edgepulse/edgepulse/schemas/edge"
)

// spillRoute takes the requests that the edge kept while this gateway could not be
// reached. The drain sends each object as it lies in the store: the signature in
// it is the credential, so the drain itself holds no secret.
const spillRoute = "/v1/edge/spills"

// handleSpill is POST /v1/edge/spills. Nothing of the body is read before its
// signature is verified; then it goes the way of every request. The key is judged
// as of the instant in which the edge took the request: what was acknowledged to
// a key that was valid then stays so.
func (s *Server) handleSpill(w http.ResponseWriter, r *http.Request) {
	if len(s.edge.secrets) == 0 {
		// No judgement about the request: the drain keeps it and asks again.
		s.problem(w, r, newProblem(http.StatusServiceUnavailable, "edge_unknown", "this gateway has no secret of an edge").retry(30))
		return
	}
	in := bufio.NewReaderSize(http.MaxBytesReader(w, r.Body, s.cfg.MaxWire+edge.MaxSpillHead), edge.MaxSpillHead)
	line, err := in.ReadSlice('\n')
	if err != nil {
		s.problem(w, r, badSpill("the first line is missing or too long"))
		return
	}
	spill, err := edge.DecodeSpillHead(line)
	if err != nil {
		s.problem(w, r, badSpill(err.Error()))
		return
	}
	c := spill.Claim
	if !c.Verify(s.edge.secrets, spill.Signature) {
		s.problem(w, r, s.edge.badSignature())
		return
	}
	if ahead := time.UnixMicro(c.AcceptedAt).Sub(s.edge.wall()); ahead > s.edge.tolerance {
		s.problem(w, r, s.edge.refuse("clock", http.StatusUnauthorized, "edge_clock", "the request was taken in the future"))
		return
	}
	key, p := s.keyAsOf(r, c)
	if p != nil {
		s.problem(w, r, p)
		return
	}
	inner := r.Clone(r.Context())
	inner.Header = http.Header{}
	set := func(name, value string) {
		if value != "" {
			inner.Header.Set(name, value)
		}
	}
	set("Content-Type", c.ContentType)
	set("Content-Encoding", c.ContentEncoding)
	set("Idempotency-Key", c.IdempotencyKey)
	signed := &signedBody{ReadCloser: io.NopCloser(in), sum: sha256.New(), want: c.BodySHA256}
	inner.Body, inner.ContentLength = signed, r.ContentLength-int64(len(line))
	idem, p := idempotencyKey(inner)
	if p != nil {
		s.problem(w, r, p)
		return
	}
	body, p := s.readBody(w, inner, key.TenantID, s.cfg.MaxWire, s.cfg.MaxInflated)
	defer body.release()
	if p == nil {
		p = (&passage{body: signed}).whole()
	}
	if p != nil {
		s.problem(w, r, p)
		return
	}
	answer, p := s.ingest(r.Context(), ingestRequest{key: key, id: c.RequestID, idempotencyKey: idem, body: body.buf, source: "edge", acceptedAt: c.AcceptedAt, acknowledged: true})
	if p != nil {
		s.problem(w, r, p)
		return
	}
	s.metrics.edge.WithLabelValues("spill").Inc()
	s.writeJSON(w, r, http.StatusAccepted, answer)
}

func badSpill(detail string) *problem {
	return newProblem(http.StatusBadRequest, "bad_spill", detail)
}

// keyAsOf is the key of a spilled request, as it was when the edge took it.
func (s *Server) keyAsOf(r *http.Request, c edge.Claim) (KeyRecord, *problem) {
	known, err := s.auth.lookup(r.Context(), c.KeyID)
	if err != nil {
		s.logger.Error("look up api key failed", "error", err)
		return KeyRecord{}, newProblem(http.StatusServiceUnavailable, "keys_unavailable", "API keys can't be verified now").retry(2)
	}
	key, at := known.record, time.UnixMicro(c.AcceptedAt)
	proof := subtle.ConstantTimeCompare([]byte(edge.Proof(key.EdgeHash)), []byte(c.KeyProof)) == 1
	switch {
	case known.absent || len(key.EdgeHash) == 0 || !proof,
		key.Revoked && !at.Before(key.RevokedAt),
		!key.ExpiresAt.IsZero() && !at.Before(key.ExpiresAt):
		return KeyRecord{}, newProblem(http.StatusUnauthorized, "unauthorized", "the key was not valid when the edge took the request")
	case key.TenantDisabled && !at.Before(key.DisabledAt):
		return KeyRecord{}, newProblem(http.StatusForbidden, "tenant_disabled", "the tenant was disabled when the edge took the request")
	case !key.allows(ScopeIngest):
		return KeyRecord{}, newProblem(http.StatusForbidden, "missing_scope", "the key does not have the scope "+ScopeIngest)
	}
	return key, nil
}
