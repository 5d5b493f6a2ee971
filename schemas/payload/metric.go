package payload

import (
	"bytes"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// itemFault is a fault of one metric before it gets words.
type itemFault struct {
	code, field   string
	expected, got string
	advice        string
}

// readMetrics reads the array of items into d.samples, without those in skip.
func (d *Decoder) readMetrics(dev *Device, skip []uint32) *Fault {
	if _, err := d.json.ReadToken(); err != nil {
		return syntaxFault(d.input, err)
	}
	for i := 0; ; i++ {
		kind := d.json.PeekKind()
		if kind == ']' {
			_, err := d.json.ReadToken()
			if err != nil {
				return syntaxFault(d.input, err)
			}
			return nil
		}
		if d.points >= d.opts.Limits.Points && kind != jsontext.KindInvalid {
			return d.checkPoints(d.points + 1)
		}
		if len(skip) > 0 && int(skip[0]) == i {
			skip = skip[1:]
			if _, f := d.readUnexpected(); f != nil {
				return f
			}
		} else if f := d.readItem(dev, i, kind); f != nil {
			return f
		}
		d.points++
		dev.Points++
	}
}

// readItem reads one element of "metrics".
func (d *Decoder) readItem(dev *Device, index int, kind jsontext.Kind) *Fault {
	if kind != '{' {
		raw, f := d.readUnexpected()
		if f == nil {
			dev.Rejected = append(dev.Rejected, d.reject(index, itemFault{CodeNotAnObject, "", "an object", "", "an item has name, value, ts, unit"}, raw))
		}
		return f
	}
	if _, err := d.json.ReadToken(); err != nil {
		return syntaxFault(d.input, err)
	}
	s := Sample{Index: index, TS: d.opts.ReceivedAt}
	var bad itemFault
	var badRaw []byte
	refuse := func(f itemFault, raw []byte) {
		if bad.code == "" {
			bad, badRaw = f, raw
		}
	}
	var hasName, hasValue bool
	for d.json.PeekKind() == '"' {
		key, f := d.readKey()
		if f != nil {
			return f
		}
		if string(key) == "tags" {
			var fault *Fault
			if s.Tags, f = d.readTags(&fault); f != nil {
				return f
			}
			if fault != nil {
				refuse(itemFault{CodeBadTags, "tags", fault.Expected, fault.Got, fault.Advice}, nil)
			}
			continue
		}
		raw, f := d.readUnexpected()
		if f != nil {
			return f
		}
		switch string(key) {
		case "name":
			hasName = true
			d.setName(&s, raw, refuse)
		case "value":
			hasValue = true
			setValue(&s, raw, refuse)
		case "ts":
			d.setTS(&s, raw, refuse)
		case "unit":
			d.setUnit(&s, raw, refuse)
		default:
			refuse(itemFault{CodeUnknownField, escapePointer(string(key)), `"name", "value", "ts", "unit" or "tags"`, "this field", "remove it; text about a metric goes into tags"}, nil)
		}
	}
	if _, err := d.json.ReadToken(); err != nil {
		return syntaxFault(d.input, err)
	}
	switch {
	case bad.code != "":
	case !hasName:
		refuse(itemFault{CodeMissingField, "name", "a name", "", ""}, nil)
	case !hasValue:
		refuse(itemFault{CodeMissingField, "value", "a number", "", "leave the item out when there is no value"}, nil)
	}
	if bad.code != "" {
		dev.Rejected = append(dev.Rejected, d.reject(index, bad, badRaw))
		return nil
	}
	d.samples = append(d.samples, s)
	return nil
}

func (d *Decoder) setName(s *Sample, raw []byte, refuse func(itemFault, []byte)) {
	if raw[0] != '"' {
		refuse(itemFault{CodeWrongType, "name", "a string", "", ""}, raw)
		return
	}
	name, why := d.names.get(d, raw)
	if why != "" {
		refuse(itemFault{CodeBadName, "name", "1 to 128 characters without control characters", why, "names are trimmed, put in Unicode NFC, and white space inside becomes _"}, nil)
		return
	}
	s.Name = name
}

func setValue(s *Sample, raw []byte, refuse func(itemFault, []byte)) {
	if raw[0] != '-' && raw[0]-'0' > 9 {
		refuse(itemFault{CodeWrongType, "value", "a number", "", "send numbers without quotes; leave the item out when there is no value"}, raw)
		return
	}
	v, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || math.IsInf(v, 0) {
		refuse(itemFault{CodeNotFinite, "value", "a number within ±1.8e308", "", ""}, raw)
		return
	}
	s.Value = v
}

const tsForms = "an RFC 3339 time or an integer of unix milliseconds"

func (d *Decoder) setTS(s *Sample, raw []byte, refuse func(itemFault, []byte)) {
	var ok bool
	switch {
	case raw[0] == '"':
		text := raw[1 : len(raw)-1]
		if bytes.IndexByte(text, '\\') >= 0 {
			text = d.unquote(raw)
		}
		s.TS, ok = parseRFC3339(text)
	case raw[0] == '-' || raw[0]-'0' <= 9:
		s.TS, ok = parseMillis(raw)
	default:
		refuse(itemFault{CodeWrongType, "ts", tsForms, "", "leave ts out to take the time of receipt"}, raw)
		return
	}
	if !ok {
		refuse(itemFault{CodeBadTS, "ts", tsForms, "", `for example "2026-11-23T08:45:00.250Z" or 1795423500250, without a fraction`}, raw)
		return
	}
	s.HasTS = true
}

func (d *Decoder) setUnit(s *Sample, raw []byte, refuse func(itemFault, []byte)) {
	if raw[0] != '"' {
		refuse(itemFault{CodeWrongType, "unit", "a string", "", ""}, raw)
		return
	}
	unit, why := d.units.get(d, raw)
	if why != "" {
		refuse(itemFault{CodeBadUnit, "unit", "at most 32 characters without control characters", why, ""}, nil)
		return
	}
	s.Unit = unit
}

// readTags reads an object of strings. What is wrong with it goes to fault, the
// result refuses the input.
func (d *Decoder) readTags(fault **Fault) ([]Tag, *Fault) {
	if d.json.PeekKind() != '{' {
		raw, f := d.readUnexpected()
		if f == nil {
			setFault(fault, d.wrongType(d.pointer(), "an object of strings", raw))
		}
		return nil, f
	}
	if _, err := d.json.ReadToken(); err != nil {
		return nil, syntaxFault(d.input, err)
	}
	bad := func() {
		if *fault == nil {
			*fault = &Fault{Code: CodeBadTags, Pointer: d.pointer(), Offset: d.json.InputOffset(),
				Expected: "at most 16 strings, keys of 1 to 64 bytes, values of up to 256, without control characters", Got: "something else"}
		}
	}
	first := len(d.tags)
	for d.json.PeekKind() == '"' {
		raw, f := d.readRaw()
		if f != nil {
			return nil, f
		}
		key := d.text(raw)
		if raw, f = d.readUnexpected(); f != nil {
			return nil, f
		}
		if raw[0] != '"' || len(d.tags)-first == maxTags || !validTag(key, 1, maxTagKey) {
			bad()
			continue
		}
		value := d.text(raw)
		if !validTag(value, 0, maxTagValue) {
			bad()
			continue
		}
		d.tags = append(d.tags, Tag{key, value})
	}
	if _, err := d.json.ReadToken(); err != nil {
		return nil, syntaxFault(d.input, err)
	}
	return sortedTags(d.tags[first:len(d.tags):len(d.tags)]), nil
}

func sortedTags(tags []Tag) []Tag {
	if len(tags) == 0 {
		return nil
	}
	slices.SortFunc(tags, func(a, b Tag) int { return strings.Compare(a.Key, b.Key) })
	return tags
}

func tooOld(ts, oldest int64, backfill bool) itemFault {
	f := itemFault{CodeTSTooOld, "ts", "a ts not before " + instant(oldest), instant(ts), `older data goes in with "backfill": true`}
	switch {
	case backfill:
		f.advice = "check the clock of the device"
	case ts < int64(1000*24*time.Hour/time.Microsecond):
		f.advice = "integers are milliseconds: this looks like seconds"
	}
	return f
}

func instant(ts int64) string {
	if ts < minTS || ts > maxTS {
		return "an instant outside of 1970 to 9999"
	}
	return time.UnixMicro(ts).UTC().Format(time.RFC3339Nano)
}

// reject puts a refused item into words, as long as anybody reads them.
func (d *Decoder) reject(index int, f itemFault, raw []byte) Rejection {
	r := Rejection{Index: index, Code: f.code}
	if d.worded++; d.worded > maxDescribed {
		return r
	}
	r.Pointer = "/metrics/" + strconv.Itoa(index)
	if f.field != "" {
		r.Pointer += "/" + f.field
	}
	if f.got == "" && raw != nil {
		f.got = kindOf(raw)
	}
	if f.got == "" {
		f.got = "nothing"
	}
	r.Detail = (&Fault{Offset: -1, Expected: f.expected, Got: f.got, Advice: f.advice}).Detail()
	return r
}
