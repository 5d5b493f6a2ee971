package store

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/edgepulse/edgepulse/schemas"
)

// The Go types a projected row may hold, by column type. nil is NULL everywhere,
// and so is a nil pointer; *time.Time, *float64, *int64 and *string stand for what they point to.
//
//	uuid         schemas.ID, []byte of 16 (empty = NULL), [16]byte, string (empty = NULL)
//	timestamptz  int64 (unix µs), time.Time
//	date         int64 (unix µs), time.Time
//	smallint, int, bigint   any Go integer that fits; a protobuf enum's number; bool for 0 and 1
//	float8       float64, float32, any integer
//	bool         bool
//	text         string, fmt.Stringer, []byte; a protobuf enum: "SEVERITY_INFO" becomes "info"
//	bytea        []byte (nil = NULL), schemas.ID, string
//	json, jsonb  json.RawMessage, []byte, string (each empty = NULL); anything else is marshalled
//	text[]       []string
//
// Texts are made acceptable (valid UTF-8 without NUL) and instants clamped to
// what PostgreSQL holds: a value nobody foresaw must not stop a partition.

// pgEpoch is 2000-01-01 in unix µs; firstInstant is 4713-01-01 BC, the oldest timestamptz.
const (
	pgEpoch      = 946_684_800_000_000
	firstInstant = -210_863_520_000_000_000
	dayMicros    = 86_400_000_000
)

// appendField appends the binary form of v with its length, as COPY and Bind want it.
func appendField(b []byte, oid uint32, v any) ([]byte, error) {
	at := len(b)
	b = append(b, 0, 0, 0, 0)
	out, null, err := appendValue(b, oid, v)
	if err != nil {
		return nil, err
	}
	n := int32(len(out) - at - 4)
	if null {
		out, n = out[:at+4], -1
	}
	binary.BigEndian.PutUint32(out[at:], uint32(n))
	return out, nil
}

func appendValue(b []byte, oid uint32, v any) (_ []byte, null bool, err error) {
	if v = pointee(v); v == nil {
		return b, true, nil
	}
	switch oid {
	case pgtype.UUIDOID:
		return appendUUID(b, v)
	case pgtype.TimestamptzOID:
		us, err := microsOf(v)
		return binary.BigEndian.AppendUint64(b, uint64(us-pgEpoch)), false, err
	case pgtype.DateOID:
		us, err := microsOf(v)
		days := math.Floor(float64(us-pgEpoch) / dayMicros)
		return binary.BigEndian.AppendUint32(b, uint32(int32(days))), false, err
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID:
		return appendInt(b, oid, v)
	case pgtype.Float8OID:
		f, err := floatOf(v)
		return binary.BigEndian.AppendUint64(b, math.Float64bits(f)), false, err
	case pgtype.BoolOID:
		x, ok := v.(bool)
		if !ok {
			return nil, false, fmt.Errorf("%T for a bool", v)
		}
		return append(b, boolByte(x)), false, nil
	case pgtype.TextOID, pgtype.VarcharOID, pgtype.NameOID:
		s, err := textOf(v)
		return append(b, s...), false, err
	case pgtype.ByteaOID:
		return appendBytea(b, v)
	case pgtype.JSONOID, pgtype.JSONBOID:
		return appendJSON(b, oid, v)
	case pgtype.TextArrayOID:
		return appendTextArray(b, v)
	}
	return nil, false, fmt.Errorf("column type %d is not supported", oid)
}

// pointee is what v points to, nil for a nil pointer, v itself for anything else.
func pointee(v any) any {
	switch p := v.(type) {
	case *time.Time:
		if p != nil {
			return *p
		}
	case *float64:
		if p != nil {
			return *p
		}
	case *int64:
		if p != nil {
			return *p
		}
	case *string:
		if p != nil {
			return *p
		}
	default:
		return v
	}
	return nil
}

func boolByte(x bool) byte {
	if x {
		return 1
	}
	return 0
}

func appendUUID(b []byte, v any) ([]byte, bool, error) {
	switch x := v.(type) {
	case schemas.ID:
		return append(b, x[:]...), false, nil
	case [16]byte:
		return append(b, x[:]...), false, nil
	case []byte:
		if len(x) == 0 {
			return b, true, nil
		}
		if len(x) != 16 {
			return nil, false, fmt.Errorf("uuid of %d bytes", len(x))
		}
		return append(b, x...), false, nil
	case string:
		if x == "" {
			return b, true, nil
		}
		u, err := uuid.Parse(x)
		if err != nil {
			return nil, false, fmt.Errorf("parse uuid: %w", err)
		}
		return append(b, u[:]...), false, nil
	}
	return nil, false, fmt.Errorf("%T for a uuid", v)
}

func microsOf(v any) (int64, error) {
	switch x := v.(type) {
	case int64:
		return max(x, firstInstant), nil
	case time.Time:
		return max(x.UnixMicro(), firstInstant), nil
	}
	return 0, fmt.Errorf("%T for an instant", v)
}

func appendInt(b []byte, oid uint32, v any) ([]byte, bool, error) {
	n, err := intOf(v)
	if err != nil {
		return nil, false, err
	}
	switch oid {
	case pgtype.Int2OID:
		if n != int64(int16(n)) {
			return nil, false, fmt.Errorf("%d does not fit a smallint", n)
		}
		return binary.BigEndian.AppendUint16(b, uint16(n)), false, nil
	case pgtype.Int4OID:
		if n != int64(int32(n)) {
			return nil, false, fmt.Errorf("%d does not fit an int", n)
		}
		return binary.BigEndian.AppendUint32(b, uint32(n)), false, nil
	}
	return binary.BigEndian.AppendUint64(b, uint64(n)), false, nil
}

func intOf(v any) (int64, error) {
	switch x := v.(type) {
	case int:
		return int64(x), nil
	case int16:
		return int64(x), nil
	case int32:
		return int64(x), nil
	case int64:
		return x, nil
	case uint8:
		return int64(x), nil
	case uint16:
		return int64(x), nil
	case uint32:
		return int64(x), nil
	case uint64:
		if x > math.MaxInt64 {
			return 0, fmt.Errorf("%d does not fit a bigint", x)
		}
		return int64(x), nil
	case bool:
		return int64(boolByte(x)), nil
	case protoreflect.Enum:
		return int64(x.Number()), nil
	}
	return 0, fmt.Errorf("%T for an integer", v)
}

func floatOf(v any) (float64, error) {
	switch x := v.(type) {
	case float64:
		return x, nil
	case float32:
		return float64(x), nil
	}
	n, err := intOf(v)
	if err != nil {
		return 0, fmt.Errorf("%T for a float", v)
	}
	return float64(n), nil
}

func textOf(v any) (string, error) {
	switch x := v.(type) {
	case string:
		return cleanText(x), nil
	case protoreflect.Enum:
		return enumText(x), nil
	case []byte:
		return cleanText(string(x)), nil
	case fmt.Stringer:
		return cleanText(x.String()), nil
	}
	return "", fmt.Errorf("%T for a text", v)
}

// enumText is the name of a protobuf enum's value without the enum's own name,
// in lower case: "SUB_LABEL_LEVEL" is "level".
func enumText(e protoreflect.Enum) string {
	d := e.Descriptor()
	value := d.Values().ByNumber(e.Number())
	if value == nil {
		return fmt.Sprintf("unknown_%d", e.Number())
	}
	// The zero value's name ends in _NONE, _UNSPECIFIED, ...: what stands before it
	// can't be told from the value alone, the enum's name can.
	prefix := upperSnake(string(d.Name())) + "_"
	return strings.ToLower(strings.TrimPrefix(string(value.Name()), prefix))
}

func upperSnake(camel string) string {
	var b strings.Builder
	for i, c := range camel {
		if i > 0 && 'A' <= c && c <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteRune(c)
	}
	return strings.ToUpper(b.String())
}

func cleanText(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "\uFFFD")
	}
	return s
}

func appendBytea(b []byte, v any) ([]byte, bool, error) {
	switch x := v.(type) {
	case []byte:
		return append(b, x...), x == nil, nil
	case schemas.ID:
		return append(b, x[:]...), false, nil
	case string:
		return append(b, x...), false, nil
	}
	return nil, false, fmt.Errorf("%T for a bytea", v)
}

func appendJSON(b []byte, oid uint32, v any) ([]byte, bool, error) {
	var doc []byte
	switch x := v.(type) {
	case json.RawMessage:
		doc = x
	case []byte:
		doc = x
	case string:
		doc = []byte(x)
	default:
		var err error
		if doc, err = json.Marshal(v); err != nil {
			return nil, false, fmt.Errorf("encode json: %w", err)
		}
	}
	if len(doc) == 0 {
		return b, true, nil
	}
	doc, err := cleanJSON(doc)
	if err != nil {
		return nil, false, err
	}
	if oid == pgtype.JSONBOID {
		b = append(b, 1) // version of the binary form
	}
	return append(b, doc...), false, nil
}

// cleanJSON rewrites what jsonb refuses: \u0000 and bytes that are no UTF-8.
func cleanJSON(doc []byte) ([]byte, error) {
	if !bytes.Contains(doc, []byte(`\u`)) && bytes.Equal(bytes.ToValidUTF8(doc, nil), doc) {
		return doc, nil
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("decode json: %w", err)
	}
	doc, err := json.Marshal(cleanTree(v))
	if err != nil {
		return nil, fmt.Errorf("encode json: %w", err)
	}
	return doc, nil
}

func cleanTree(v any) any {
	switch x := v.(type) {
	case string:
		return cleanText(x)
	case []any:
		for i := range x {
			x[i] = cleanTree(x[i])
		}
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, e := range x {
			out[cleanText(k)] = cleanTree(e)
		}
		return out
	}
	return v
}

func appendTextArray(b []byte, v any) ([]byte, bool, error) {
	list, ok := v.([]string)
	if !ok {
		return nil, false, fmt.Errorf("%T for a text[]", v)
	}
	dims := uint32(1)
	if len(list) == 0 {
		dims = 0
	}
	b = binary.BigEndian.AppendUint32(b, dims)
	b = binary.BigEndian.AppendUint32(b, 0) // no NULLs
	b = binary.BigEndian.AppendUint32(b, pgtype.TextOID)
	if dims == 0 {
		return b, false, nil
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(list)))
	b = binary.BigEndian.AppendUint32(b, 1) // lower bound
	for _, s := range list {
		s = cleanText(s)
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	return b, false, nil
}
