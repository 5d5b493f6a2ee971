package edge

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/edgepulse/edgepulse/schemas/apikey"
)

// Pepper derives the pepper of the edge from that of the service. It leads one
// way only: what the Worker holds verifies the edge's hashes, not those in the
// database.
func Pepper(pepper []byte) []byte {
	m := hmac.New(sha256.New, pepper)
	m.Write([]byte("edgepulse edge pepper v1"))
	return m.Sum(nil)
}

// Hash is what the edge may know about a secret.
func Hash(pepper, secret []byte) []byte { return apikey.Hash(Pepper(pepper), secret) }

// Proof is the hash in a spill: it shows that the edge saw the secret itself, and
// did not merely find a record that said so.
func Proof(hash []byte) string { return base64.RawURLEncoding.EncodeToString(hash) }

// KeyPrefix begins the names of keys in Workers KV.
const KeyPrefix = "key/"

// Record is the value of a key in Workers KV.
type Record struct {
	V         int      `json:"v"`
	Tenant    string   `json:"tenant"`
	Hash      string   `json:"hash"` // Proof(Hash(pepper, secret))
	Scopes    []string `json:"scopes"`
	ExpiresAt int64    `json:"expires_at,omitempty"` // unix ms; 0 = never
}

// RecordVersion is the V of the records that this code writes.
const RecordVersion = 1

// NewRecord describes one key.
func NewRecord(tenant string, hash []byte, scopes []string, expires *time.Time) Record {
	r := Record{V: RecordVersion, Tenant: tenant, Hash: Proof(hash), Scopes: scopes}
	if expires != nil {
		r.ExpiresAt = expires.UnixMilli()
	}
	return r
}

// Encode is the value as it is stored; equal records have equal bytes.
func (r Record) Encode() (string, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("encode key record: %w", err)
	}
	return string(b), nil
}
