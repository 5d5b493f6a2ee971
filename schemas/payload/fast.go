package payload

import (
	"math"
	"strconv"
	"unicode/utf8"
	"unsafe"
)

// The fast way through a body. It knows the one shape that nearly every request
// has and gives up at the first thing it does not expect: an unknown or repeated
// field, an escape, a wrong type, a name that is refused. Then the tokenizer
// decodes the whole input again and says what is wrong. So there is one authority
// on what is accepted, and this file can only be wrong by differing from it, which
// FuzzFastWay looks for.

// fast reads a body or, with device set, a single device object. False: undecided.
func (d *Decoder) fast(device bool) bool {
	if d.careful || d.opts.Limits.Depth < 6 {
		return false
	}
	s := fastScanner{in: d.input}
	var top topFields
	ok := s.next('{') && d.fastDevice(&s, &d.outer, &top, !device) && s.end()
	if !ok || top.batches && top.device || !top.batches && d.outer.Fault != nil {
		return false
	}
	if device {
		return true
	}
	d.body.Backfill, d.body.Batches = top.backfill, top.batches
	if !top.batches {
		d.body.Devices = append(d.body.Devices, d.outer)
	}
	return true
}

// Bits of the fields that an object has had.
const (
	fieldID = 1 << iota
	fieldMetrics
	fieldTags
	fieldBackfill
	fieldBatches
	fieldName
	fieldValue
	fieldTS
	fieldUnit
)

// fastDevice reads behind the "{" of a device object or, with outer, of a body.
func (d *Decoder) fastDevice(s *fastScanner, dev *Device, top *topFields, outer bool) bool {
	start, first := s.pos-1, len(d.samples)
	seen := 0
	for more := !s.next('}'); more; {
		key, ok := s.str()
		if !ok || !s.next(':') {
			return false
		}
		bit := 0
		switch string(key[1 : len(key)-1]) {
		case "device_external_id":
			bit = fieldID
			raw, isText := s.str()
			if !isText {
				return false
			}
			name, why := d.names.get(d, raw)
			if why != "" {
				return false
			}
			dev.ExternalID, ok = name, true
		case "metrics":
			bit = fieldMetrics
			ok = d.fastMetrics(s, dev)
		case "tags":
			bit = fieldTags
			dev.Tags, ok = d.fastTags(s)
		case "backfill":
			bit = fieldBackfill
			if top == nil {
				return false
			}
			top.backfill, ok = s.boolean()
		case "batches":
			bit = fieldBatches
			if !outer {
				return false
			}
			top.batches = true
			ok = d.fastBatches(s)
		default:
			return false
		}
		if !ok || seen&bit != 0 {
			return false
		}
		seen |= bit
		if more, ok = s.more('}'); !ok {
			return false
		}
	}
	if top != nil {
		top.device = seen&(fieldID|fieldMetrics|fieldTags) != 0
	}
	isBody := seen&fieldBatches != 0
	if !isBody && seen&(fieldID|fieldMetrics) != fieldID|fieldMetrics {
		return false
	}
	dev.Offset, dev.JSON = start, d.input[start:s.pos:s.pos]
	dev.Samples = d.samples[first:len(d.samples):len(d.samples)]
	return true
}

func (d *Decoder) fastBatches(s *fastScanner) bool {
	if !s.next('[') {
		return false
	}
	for more := !s.next(']'); more; {
		i := len(d.body.Devices)
		if !s.next('{') || i >= d.opts.Limits.Points {
			return false
		}
		d.body.Devices = append(d.body.Devices, Device{Index: i})
		if !d.fastDevice(s, &d.body.Devices[i], nil, false) {
			return false
		}
		var ok bool
		if more, ok = s.more(']'); !ok {
			return false
		}
	}
	return true
}

func (d *Decoder) fastMetrics(s *fastScanner, dev *Device) bool {
	if !s.next('[') {
		return false
	}
	for more := !s.next(']'); more; {
		if d.points >= d.opts.Limits.Points || !d.fastItem(s, dev.Points) {
			return false
		}
		d.points++
		dev.Points++
		var ok bool
		if more, ok = s.more(']'); !ok {
			return false
		}
	}
	return true
}

// fastItem reads one element of "metrics" into d.samples.
func (d *Decoder) fastItem(s *fastScanner, index int) bool {
	if !s.next('{') {
		return false
	}
	// In place: a sample is large, and copying it shows in a profile.
	d.samples = append(d.samples, Sample{Index: index, TS: d.opts.ReceivedAt})
	m := &d.samples[len(d.samples)-1]
	seen := 0
	for more := !s.next('}'); more; {
		key, ok := s.str()
		if !ok || !s.next(':') {
			return false
		}
		bit := 0
		switch string(key[1 : len(key)-1]) {
		case "name":
			bit = fieldName
			raw, isText := s.str()
			if !isText {
				return false
			}
			name, why := d.names.get(d, raw)
			m.Name, ok = name, why == ""
		case "value":
			bit = fieldValue
			m.Value, ok = s.number()
		case "ts":
			bit = fieldTS
			m.TS, ok = s.instant()
			m.HasTS = true
		case "unit":
			bit = fieldUnit
			raw, isText := s.str()
			if !isText {
				return false
			}
			unit, why := d.units.get(d, raw)
			m.Unit, ok = unit, why == ""
		case "tags":
			bit = fieldTags
			m.Tags, ok = d.fastTags(s)
		default:
			return false
		}
		if !ok || seen&bit != 0 {
			return false
		}
		seen |= bit
		if more, ok = s.more('}'); !ok {
			return false
		}
	}
	return seen&(fieldName|fieldValue) == fieldName|fieldValue
}

func (d *Decoder) fastTags(s *fastScanner) ([]Tag, bool) {
	if !s.next('{') {
		return nil, false
	}
	first := len(d.tags)
	for more := !s.next('}'); more; {
		key, ok := s.str()
		if !ok || !s.next(':') {
			return nil, false
		}
		raw, ok := s.str()
		if !ok || len(d.tags)-first == maxTags {
			return nil, false
		}
		t := Tag{string(key[1 : len(key)-1]), string(raw[1 : len(raw)-1])}
		if !validTag(t.Key, 1, maxTagKey) || !validTag(t.Value, 0, maxTagValue) {
			return nil, false
		}
		for _, u := range d.tags[first:] {
			if u.Key == t.Key {
				return nil, false
			}
		}
		d.tags = append(d.tags, t)
		if more, ok = s.more('}'); !ok {
			return nil, false
		}
	}
	return sortedTags(d.tags[first:len(d.tags):len(d.tags)]), true
}

// fastScanner reads tokens; pos is behind the last one.
type fastScanner struct {
	in  []byte
	pos int
}

func (s *fastScanner) space() {
	for s.pos < len(s.in) {
		switch s.in[s.pos] {
		case ' ', '\t', '\r', '\n':
			s.pos++
		default:
			return
		}
	}
}

// next takes c if it is what follows.
func (s *fastScanner) next(c byte) bool {
	if s.pos < len(s.in) && s.in[s.pos] == c {
		s.pos++
		return true
	}
	s.space()
	if s.pos < len(s.in) && s.in[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

// more takes the comma or the end behind an element.
func (s *fastScanner) more(end byte) (more, ok bool) {
	if s.next(',') {
		return true, true
	}
	return false, s.next(end)
}

func (s *fastScanner) end() bool {
	s.space()
	return s.pos == len(s.in)
}

// str takes a string without escapes and returns it with its quotes.
func (s *fastScanner) str() ([]byte, bool) {
	if !s.next('"') {
		return nil, false
	}
	start, ascii := s.pos-1, true
	for i, c := range s.in[s.pos:] {
		switch {
		case c == '"':
			s.pos += i + 1
			raw := s.in[start:s.pos:s.pos]
			return raw, ascii || utf8.Valid(raw)
		case c < ' ' || c == '\\':
			return nil, false
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return nil, false
}

func (s *fastScanner) boolean() (v, ok bool) {
	s.space()
	rest := s.in[s.pos:]
	switch {
	case len(rest) >= 4 && string(rest[:4]) == "true":
		s.pos += 4
		return true, true
	case len(rest) >= 5 && string(rest[:5]) == "false":
		s.pos += 5
		return false, true
	}
	return false, false
}

func (s *fastScanner) instant() (int64, bool) {
	if s.space(); s.pos < len(s.in) && s.in[s.pos] == '"' {
		raw, ok := s.str()
		if !ok {
			return 0, false
		}
		return parseRFC3339(raw[1 : len(raw)-1])
	}
	raw, _, ok := s.numeral()
	if !ok {
		return 0, false
	}
	return parseMillis(raw)
}

// decimal is a numeral whose digits fit an integer: mantissa * 10^-places.
type decimal struct {
	mantissa uint64
	digits   int // of the mantissa, leading zeros included
	places   int // behind the point
	exponent bool
}

// numeral takes a number by the grammar of RFC 8259, section 6.
func (s *fastScanner) numeral() (raw []byte, n decimal, ok bool) {
	s.space()
	in, i := s.in, s.pos
	start := i
	if i < len(in) && in[i] == '-' {
		i++
	}
	digits := func() int {
		from := i
		for i < len(in) && in[i]-'0' <= 9 {
			n.mantissa = n.mantissa*10 + uint64(in[i]-'0') // meaningless beyond 19 digits: then not used
			i++
		}
		return i - from
	}
	lead := i
	whole := digits()
	if whole == 0 || whole > 1 && in[lead] == '0' {
		return nil, n, false
	}
	n.digits = whole
	if i < len(in) && in[i] == '.' {
		i++
		if n.places = digits(); n.places == 0 {
			return nil, n, false
		}
		n.digits += n.places
	}
	if i < len(in) && in[i]|0x20 == 'e' {
		n.exponent = true
		if i++; i < len(in) && (in[i] == '+' || in[i] == '-') {
			i++
		}
		if digits() == 0 {
			return nil, n, false
		}
	}
	s.pos = i
	return in[start:i:i], n, true
}

// powersOfTen are those that a float64 holds exactly.
var powersOfTen = [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

// number takes a number. Up to 15 digits and 22 places, mantissa and power of ten
// are exact, so one division is correctly rounded (Clinger, "How to Read Floating
// Point Numbers Accurately", 1990); the others go to strconv.
func (s *fastScanner) number() (float64, bool) {
	raw, n, ok := s.numeral()
	if !ok {
		return 0, false
	}
	if n.digits <= 15 && n.places <= 22 && !n.exponent {
		v := float64(n.mantissa) / powersOfTen[n.places]
		if raw[0] == '-' {
			v = -v
		}
		return v, true
	}
	v, err := strconv.ParseFloat(unsafe.String(&raw[0], len(raw)), 64)
	return v, err == nil && !math.IsInf(v, 0)
}
