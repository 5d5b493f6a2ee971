// Package schemas is the vocabulary of EdgePulse: the entries of every log
// (log.proto, generated code beside it), the derivation of every identifier,
// the ingest payload (payload), and the shapes of the API (api).
//
// It depends on nothing of the project; everything else depends on it.
package schemas

import (
	"crypto/sha1"
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"
	"github.com/google/uuid"
)

// ID is a UUID in its binary form. Identifiers are derived from what they name
// and never allocated: no look-ups on the hot path, and a replay meets the same ones.
type ID [16]byte

// Nil is the zero ID; no derived identifier equals it.
var Nil ID

// String returns the canonical text form.
func (id ID) String() string { return uuid.UUID(id).String() }

// Compare orders IDs by their bytes.
func (id ID) Compare(other ID) int {
	for i := range id {
		if id[i] != other[i] {
			if id[i] < other[i] {
				return -1
			}
			return 1
		}
	}
	return 0
}

// ParseID reads the canonical text form.
func ParseID(s string) (ID, error) {
	u, err := uuid.Parse(s)
	if err != nil {
		return Nil, fmt.Errorf("parse id %q: %w", s, err)
	}
	return ID(u), nil
}

// IDFrom converts the 16 bytes of a log field. Any other length is an error,
// never a panic: log bytes may come from an archive that was damaged.
func IDFrom(b []byte) (ID, error) {
	if len(b) != 16 {
		return Nil, fmt.Errorf("identifier has %d bytes, expected 16", len(b))
	}
	return ID(b), nil
}

// NewID returns a random version 4 identifier, for tenants, keys, rules and
// webhooks: things a person creates once.
func NewID() ID { return ID(uuid.New()) }

// derive is RFC 9562 UUIDv5: SHA-1 over the namespace and the name.
func derive(namespace ID, name ...[]byte) ID {
	h := sha1.New()
	h.Write(namespace[:])
	for _, part := range name {
		h.Write(part)
	}
	var id ID
	copy(id[:], h.Sum(nil))
	id[6] = id[6]&0x0f | 0x50
	id[8] = id[8]&0x3f | 0x80
	return id
}

// DeviceID names a device within its tenant.
func DeviceID(tenant ID, externalID string) ID { return derive(tenant, []byte(externalID)) }

// MetricID names a metric within its device; name is already normalised.
func MetricID(device ID, name string) ID { return derive(device, []byte(name)) }

// AlertID names one alert: the rule, what it watches, the event time (µs) of the
// evaluation that opened it, and an ordinal for rules that open twice at one instant.
func AlertID(rule, subject ID, openedAt int64, ordinal uint32) ID {
	var b [12]byte
	binary.BigEndian.PutUint64(b[:8], uint64(openedAt))
	binary.BigEndian.PutUint32(b[8:], ordinal)
	return derive(rule, subject[:], b[:])
}

// EventID names one transition of an alert.
func EventID(alert ID, ordinal uint32) ID {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], ordinal)
	return derive(alert, b[:])
}

// WebhookID names one event at one endpoint: the same over all retries, crashes
// and re-derivations, so a receiver can drop what it has seen.
func WebhookID(event, endpoint ID) ID { return derive(event, endpoint[:]) }

// Partition places a device: all its metrics share one partition, for ever,
// because the number of partitions of a deployment is fixed.
func Partition(tenant ID, deviceExternalID string, partitions int) int {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.Write(tenant[:])
	_, _ = d.WriteString(deviceExternalID)
	return int(d.Sum64() % uint64(partitions))
}
