// Package edge is what the Worker at the edge and the gateway agree on: how a
// request is signed, what a spilled request looks like in the object store, and
// what the Worker knows about an API key.
//
// What comes in: the facts of a request the edge has taken. What goes out: the
// canonical string and its HMAC, the envelope of a spill, the record of a key.
// Order and state: none. Failure: one error that says which rule was broken;
// whether a signature is wrong is all that a verifier tells.
//
// gateway/worker/src/edge.ts is the other side; schemas/testdata/edge holds both
// to the same bytes.
package edge

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Headers of a request that comes through the edge. The Worker drops those that a
// client sends.
const (
	HeaderSignature  = "X-Edge-Signature"   // "v1=" and 64 hexadecimal digits
	HeaderRequestID  = "X-Edge-Request-Id"  // UUID text; the id of the receipt
	HeaderAcceptedAt = "X-Edge-Accepted-At" // unix µs by the clock of the edge
	HeaderBodySHA256 = "X-Edge-Body-Sha256" // of the bytes on the wire, or Unsigned
	// HeaderVerified is how the gateway tells the edge what it made of the signature.
	HeaderVerified = "X-Edge-Verified"
)

// Unsigned stands for the hash of a body that is passed on while it arrives: all
// routes but ingest.
const Unsigned = "unsigned"

// Kinds of what is signed. A signature for one never passes as the other.
const (
	KindRequest = "request"
	KindSpill   = "spill"
)

// Claim is what the edge vouches for.
type Claim struct {
	Kind            string
	AcceptedAt      int64 // unix µs
	RequestID       string
	Method          string
	Target          string // path and query as sent
	KeyID           string // of the key presented; empty = none
	KeyProof        string // KindSpill: Proof of the secret presented
	IdempotencyKey  string
	ContentType     string
	ContentEncoding string
	BodySHA256      string // hex, or Unsigned
}

// ErrField means that a field could be taken for two.
var ErrField = errors.New("a signed field holds a control character")

// Canonical is the string that is signed: one field per line, in this order, all
// present, the version first.
func (c Claim) Canonical() ([]byte, error) {
	fields := []string{"edgepulse-edge-v1", c.Kind, strconv.FormatInt(c.AcceptedAt, 10), c.RequestID, c.Method, c.Target,
		c.KeyID, c.KeyProof, c.IdempotencyKey, c.ContentType, c.ContentEncoding, c.BodySHA256}
	for _, f := range fields {
		if strings.ContainsFunc(f, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return nil, ErrField
		}
	}
	return []byte(strings.Join(fields, "\n")), nil
}

// Sign makes the value of HeaderSignature.
func (c Claim) Sign(secret []byte) (string, error) {
	mac, err := c.mac(secret)
	if err != nil {
		return "", err
	}
	return "v1=" + hex.EncodeToString(mac), nil
}

// Verify says whether one of the active secrets made the signature. All are
// tried, so that the time tells nothing about which one it was.
func (c Claim) Verify(secrets [][]byte, signature string) bool {
	text, ok := strings.CutPrefix(signature, "v1=")
	given, err := hex.DecodeString(text)
	if !ok || err != nil || len(given) != sha256.Size {
		return false
	}
	valid := false
	for _, s := range secrets {
		if mac, err := c.mac(s); err == nil && hmac.Equal(mac, given) {
			valid = true
		}
	}
	return valid
}

func (c Claim) mac(secret []byte) ([]byte, error) {
	text, err := c.Canonical()
	if err != nil {
		return nil, err
	}
	m := hmac.New(sha256.New, secret)
	m.Write(text)
	return m.Sum(nil), nil
}

// MaxSecrets is how many secrets may be active: the old and the new one.
const MaxSecrets = 2

// ParseSecrets reads the active secrets, the signing one first: 32 bytes of hex
// each, separated by a comma. Empty is none.
func ParseSecrets(s string) ([][]byte, error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	var out [][]byte
	for _, part := range strings.Split(s, ",") {
		b, err := hex.DecodeString(strings.TrimSpace(part))
		if err != nil || len(b) != 32 {
			return nil, errors.New("expected 64 hexadecimal digits (32 bytes) per secret, as `openssl rand -hex 32` prints")
		}
		if slices.ContainsFunc(out, func(o []byte) bool { return hmac.Equal(o, b) }) {
			return nil, errors.New("the same secret is named twice")
		}
		out = append(out, b)
	}
	if len(out) > MaxSecrets {
		return nil, fmt.Errorf("at most %d secrets may be active", MaxSecrets)
	}
	return out, nil
}

// Spills says whether an answer of the gateway lets the edge keep the request
// itself: the origin can't take it now, for a reason that is not load. A full log
// and too much in work are answers to whoever sends too much: an edge that hid
// them would only move the flood.
func Spills(status int, code string) bool {
	return status == 503 && slices.Contains([]string{"log_unavailable", "draining", "keys_unavailable"}, code)
}
