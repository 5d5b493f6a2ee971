package edge

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Names of spilled requests in the object store.
const (
	SpillPrefix   = "spill/"
	RefusedPrefix = "spill-refused/"
	// spillMinute groups the names, so that a drain goes through an outage in order
	// without holding all of it.
	spillMinute = "20060102T1504Z"
)

// Spill is one request that the edge keeps because the origin could not take it.
// In the object store it is one line of JSON, a line feed, and the body verbatim.
type Spill struct {
	Claim     Claim
	Signature string
	Body      []byte // as on the wire, before Content-Encoding is undone
}

type spillHead struct {
	V               int    `json:"v"`
	RequestID       string `json:"request_id"`
	AcceptedAt      int64  `json:"accepted_at"`
	KeyID           string `json:"key_id"`
	KeyProof        string `json:"key_proof"`
	IdempotencyKey  string `json:"idempotency_key"`
	ContentType     string `json:"content_type"`
	ContentEncoding string `json:"content_encoding"`
	BodySHA256      string `json:"body_sha256"`
	Signature       string `json:"signature"`
}

// MaxSpillHead bounds the first line.
const MaxSpillHead = 8 << 10

// ErrSpill means that an object is no spilled request of ours.
var ErrSpill = errors.New("not a spilled request")

// NewSpill signs what the edge has taken.
func NewSpill(c Claim, body, secret []byte) (Spill, error) {
	sum := sha256.Sum256(body)
	c.Kind, c.Method, c.Target, c.BodySHA256 = KindSpill, "POST", "/v1/ingest", hex.EncodeToString(sum[:])
	sig, err := c.Sign(secret)
	return Spill{Claim: c, Signature: sig, Body: body}, err
}

// Encode is the object.
func (s Spill) Encode() ([]byte, error) {
	c := s.Claim
	var b bytes.Buffer
	enc := json.NewEncoder(&b) // ends the line itself
	enc.SetEscapeHTML(false)
	if err := enc.Encode(spillHead{1, c.RequestID, c.AcceptedAt, c.KeyID, c.KeyProof, c.IdempotencyKey, c.ContentType,
		c.ContentEncoding, c.BodySHA256, s.Signature}); err != nil {
		return nil, fmt.Errorf("encode spill: %w", err)
	}
	b.Write(s.Body)
	return b.Bytes(), nil
}

// DecodeSpillHead reads the first line of an object: all but the body. Neither
// the signature nor the hash of the body has been verified then.
func DecodeSpillHead(line []byte) (Spill, error) {
	var h spillHead
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&h); err != nil || dec.More() {
		return Spill{}, fmt.Errorf("%w: the first line is not its head", ErrSpill)
	}
	if h.V != 1 {
		return Spill{}, fmt.Errorf("%w: version %d", ErrSpill, h.V)
	}
	if !ValidRequestID(h.RequestID) {
		return Spill{}, fmt.Errorf("%w: request_id is no UUID", ErrSpill)
	}
	return Spill{Claim: Claim{Kind: KindSpill, AcceptedAt: h.AcceptedAt, RequestID: h.RequestID, Method: "POST", Target: "/v1/ingest",
		KeyID: h.KeyID, KeyProof: h.KeyProof, IdempotencyKey: h.IdempotencyKey, ContentType: h.ContentType,
		ContentEncoding: h.ContentEncoding, BodySHA256: h.BodySHA256}, Signature: h.Signature}, nil
}

// DecodeSpill reads a whole object and checks that its body is the one that was
// signed. The signature itself is for Claim.Verify.
func DecodeSpill(object []byte) (Spill, error) {
	line, _, ok := bytes.Cut(object[:min(len(object), MaxSpillHead)], []byte{'\n'})
	if !ok {
		return Spill{}, fmt.Errorf("%w: no first line", ErrSpill)
	}
	s, err := DecodeSpillHead(line)
	if err != nil {
		return Spill{}, err
	}
	s.Body = object[len(line)+1:]
	if sum := sha256.Sum256(s.Body); hex.EncodeToString(sum[:]) != s.Claim.BodySHA256 {
		return Spill{}, fmt.Errorf("%w: the body is not the one that was signed", ErrSpill)
	}
	return s, nil
}

// ValidRequestID admits the text form of a UUID and nothing else.
func ValidRequestID(s string) bool {
	id, err := uuid.Parse(s)
	return err == nil && id.String() == s
}

// SpillName is where a request waits. A client's own Idempotency-Key names it, so
// that a retry within the minute meets its first; a later one is a second object,
// which the log then knows for a repeat.
func SpillName(c Claim, tenant string, clientKey bool) string {
	id := c.RequestID
	if clientKey {
		sum := sha256.Sum256([]byte(tenant + "\n" + c.IdempotencyKey))
		id = "k-" + hex.EncodeToString(sum[:16])
	}
	return SpillPrefix + time.UnixMicro(c.AcceptedAt).UTC().Format(spillMinute) + "/" + id
}
