// Package payload is the one decoder of the ingest payload. The gateway decodes
// whole bodies with it, the normaliser single device objects; since both use the
// same code, both judge a point alike.
//
// What comes in: the decoded bytes (after Content-Encoding) of
//
//	{"device_external_id":"meter-001","backfill":false,"tags":{"site":"north"},
//	 "metrics":[{"name":"voltage","ts":"2026-11-23T08:45:00Z","value":229.5,"unit":"V"}]}
//
// or {"batches":[ {device object}, ... ],"backfill":false}.
//
// What goes out: devices with verbatim slices of the input, samples with
// normalised names, canonical unit spellings and instants in microseconds, and
// the refused items with a stable code each. Order: that of the payload. State:
// none between calls except memory that is used again. Failure: a *Fault refuses
// the whole input; anything that concerns one device of several, or one metric,
// refuses only that.
//
// The rules of a value:
//
//   - ts is an RFC 3339 string with any offset (fractions beyond microseconds are
//     cut off) or an integer of unix milliseconds; a number with fraction or
//     exponent is refused. Without ts the time of receipt stands, at most once
//     per metric and body.
//   - value is a JSON number that a float64 can hold; never null, never a string.
//   - names are trimmed, NFC, runs of inner white space become one "_"; 1 to 128
//     characters, no control characters.
//   - unit spellings are canonicalised ("°C" -> "degC"), values never converted.
//   - tags (of a device object, or of one metric) are at most 16 strings, keys of
//     1 to 64 bytes, values of up to 256.
//   - unknown fields, duplicate keys, invalid UTF-8 and nesting deeper than 8 are refused.
//
// The normaliser's fold depends on this package, also on its tables of units and
// on Unicode's: a change to what is accepted or to a normal form is a new fold version.
package payload

import "time"

// Limits bound a body; what is zero is not judged. The normaliser sets none: the
// gateway judged when the request arrived and named what it refused, and a fold
// must not refuse later what has been acknowledged, because a limit was changed.
type Limits struct {
	Points int           // items in all "metrics" of a body
	Depth  int           // nesting of objects and arrays
	Past   time.Duration // how old a ts may be; not judged for backfill
	Future time.Duration // how far ahead of the time of receipt
}

// DefaultLimits are those of the public endpoint.
func DefaultLimits() Limits {
	return Limits{Points: 5000, Depth: 8, Past: 7 * 24 * time.Hour, Future: 10 * time.Minute}
}

// Options of one decode.
type Options struct {
	ReceivedAt int64 // µs; the ts of a sample that has none, and the middle of the bounds
	Backfill   bool  // DecodeDevice only: what the body said (schemas.Batch.backfill)
	Limits     Limits
}

// Body is a decoded request. It and all it holds are valid until the next call
// of the Decoder that made it; strings stay valid.
type Body struct {
	Backfill bool
	Batches  bool     // the form with "batches"
	Devices  []Device // in payload order, also refused ones
	Points   int      // all items, before any judgement
	Accepted int      // samples in Devices
	Rejected int      // Points that are not accepted, plus one per refused device without items
}

// Device is one device object.
type Device struct {
	Index      int    // position in "batches"; 0 in the form with one device
	Offset     int    // of the first byte of JSON in the body
	JSON       []byte // the object, byte for byte
	ExternalID string // normalised
	Tags       []Tag  // of the device object, sorted by key; they hold for all its metrics
	Samples    []Sample
	Rejected   []Rejection // ascending index
	Points     int         // items in "metrics"
	Fault      *Fault      // set: the device is refused with all its metrics
}

// Sample is one accepted item of "metrics".
type Sample struct {
	Index int
	Name  string  // normalised
	TS    int64   // µs; Options.ReceivedAt when the item has none
	HasTS bool    // false: the payload had no ts
	Value float64 // finite
	Unit  string  // canonical spelling; empty = none
	Tags  []Tag   // of this item, sorted by key
}

// Tag is one key with its value.
type Tag struct{ Key, Value string }

// Rejection is one refused item of "metrics". Only the first 100 of a body carry
// pointer and detail: nobody reads more, and describing costs more than decoding.
type Rejection struct {
	Index   int
	Code    string
	Pointer string // RFC 6901, from the device object: "/metrics/3/value"
	Detail  string
}

// maxDescribed is how many refused items of a body get words.
const maxDescribed = 100
