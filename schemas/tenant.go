package schemas

import "google.golang.org/protobuf/encoding/protowire"

// tenantField is the number of tenant_id in the messages that INGEST and
// DELIVERIES hold, by the number of their field in Entry.
var tenantField = map[protowire.Number]protowire.Number{
	1:  1, // Batch
	3:  2, // Control
	11: 2, // Delivery
}

// TenantOf finds whose an encoded entry of a log of truth is, without decoding
// the rest. Ticks, and what does not look like an entry, are nobody's.
func TenantOf(entry []byte) (ID, bool) {
	number, body, ok := field(entry)
	want, known := tenantField[number]
	if !ok || !known {
		return Nil, false
	}
	for len(body) > 0 {
		number, kind, n := protowire.ConsumeTag(body)
		if n < 0 {
			return Nil, false
		}
		if number == want && kind == protowire.BytesType {
			b, m := protowire.ConsumeBytes(body[n:])
			if m < 0 {
				return Nil, false
			}
			id, err := IDFrom(b)
			return id, err == nil && id != Nil
		}
		m := protowire.ConsumeFieldValue(number, kind, body[n:])
		if m < 0 {
			return Nil, false
		}
		body = body[n+m:]
	}
	return Nil, false
}

// field is the one message that an entry consists of.
func field(entry []byte) (protowire.Number, []byte, bool) {
	number, kind, n := protowire.ConsumeTag(entry)
	if n < 0 || kind != protowire.BytesType {
		return 0, nil, false
	}
	body, m := protowire.ConsumeBytes(entry[n:])
	return number, body, m >= 0 && n+m == len(entry)
}
