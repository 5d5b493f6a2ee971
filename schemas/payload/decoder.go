package payload

import (
	"bytes"
	"fmt"
	"math"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// Decoder decodes one input after the other and keeps its memory. It is not safe
// for concurrent use; keep some in a sync.Pool.
type Decoder struct {
	src     bytes.Buffer
	json    jsontext.Decoder
	input   []byte
	opts    Options
	body    Body
	outer   Device // the outermost object, which is a device or holds "batches"
	samples []Sample
	tags    []Tag
	names   interner
	units   interner
	bare    map[bareKey]struct{} // metrics that had a sample without ts
	scratch []byte
	points  int  // items seen in all "metrics"
	worded  int  // refused items that got words
	careful bool // never the fast way: what tests compare it with
}

type bareKey struct{ device, metric string }

// NewDecoder returns a Decoder.
func NewDecoder() *Decoder {
	return &Decoder{bare: map[bareKey]struct{}{}, names: newInterner(NormaliseName), units: newInterner(CanonicalUnit)}
}

// DecodeBody decodes a whole request. A *Fault refuses all of it.
func (d *Decoder) DecodeBody(body []byte, o Options) (*Body, *Fault) {
	d.Begin()
	d.reset(body, o)
	if !d.fast(false) {
		d.Begin()
		d.reset(body, o)
		if f := d.readBody(); f != nil {
			return nil, f
		}
	}
	for i := range d.body.Devices {
		dev := &d.body.Devices[i]
		if dev.Fault != nil {
			d.body.Rejected += max(1, dev.Points)
			continue
		}
		d.judge(dev, d.body.Backfill)
		d.body.Accepted += len(dev.Samples)
		d.body.Rejected += len(dev.Rejected)
	}
	d.body.Points = d.points
	return &d.body, nil
}

// DecodeDevice decodes one device object, as DecodeBody left it in Device.JSON,
// without the items in skip (ascending): those the gateway refused. With the same
// Options it finds the very samples of DecodeBody.
func (d *Decoder) DecodeDevice(object []byte, o Options, skip []uint32) (*Device, *Fault) {
	d.Begin()
	return d.DecodeNext(object, o, skip)
}

// Begin makes room for devices that are decoded one after the other with
// DecodeNext, and ends what was decoded before.
func (d *Decoder) Begin() { d.samples, d.tags = d.samples[:0], d.tags[:0] }

// DecodeNext is DecodeDevice, but for what the last Begin has decoded since: a
// copy of an earlier Device stays valid.
func (d *Decoder) DecodeNext(object []byte, o Options, skip []uint32) (*Device, *Fault) {
	samples, tags := len(d.samples), len(d.tags)
	d.reset(object, o)
	dev := &d.outer
	if len(skip) == 0 && d.fast(true) {
		d.judge(dev, o.Backfill)
		return dev, nil
	}
	d.reset(object, o)
	d.samples, d.tags = d.samples[:samples], d.tags[:tags]
	if d.json.PeekKind() != '{' {
		raw, err := d.json.ReadValue()
		if err != nil {
			return nil, syntaxFault(object, err)
		}
		return nil, d.wrongType("", "a device object", raw)
	}
	var top topFields
	if f := d.readDevice(dev, &top, false, skip); f != nil {
		return nil, f
	}
	if f := d.atEnd(); f != nil {
		return nil, f
	}
	if dev.Fault != nil {
		return nil, dev.Fault
	}
	d.judge(dev, o.Backfill)
	return dev, nil
}

func (d *Decoder) reset(input []byte, o Options) {
	d.input, d.opts = input, o
	if d.opts.Limits.Depth == 0 {
		d.opts.Limits.Depth = math.MaxInt
	}
	if d.opts.Limits.Points == 0 {
		d.opts.Limits.Points = math.MaxInt
	}
	d.src = *bytes.NewBuffer(input)
	d.json.Reset(&d.src)
	clear(d.bare)
	d.body = Body{Devices: d.body.Devices[:0]}
	d.outer = Device{}
	d.points, d.worded = 0, 0
}

// topFields are those that only the outermost object may have.
type topFields struct {
	backfill bool
	batches  bool // the object has "batches"
	device   bool // it has a field of a device
}

// readBody reads the outermost object. What kind of object it is shows only at
// its end, because fields come in any order.
func (d *Decoder) readBody() *Fault {
	if d.json.PeekKind() != '{' {
		raw, err := d.json.ReadValue()
		if err != nil {
			return syntaxFault(d.input, err)
		}
		return d.wrongType("", "an object", raw)
	}
	var top topFields
	if f := d.readDevice(&d.outer, &top, true, nil); f != nil {
		return f
	}
	if f := d.atEnd(); f != nil {
		return f
	}
	d.body.Backfill, d.body.Batches = top.backfill, top.batches
	switch {
	case !top.batches:
		d.body.Devices = append(d.body.Devices, d.outer)
	case top.device:
		return &Fault{Code: CodeMixedForms, Offset: -1, Expected: `either "batches" or the fields of one device`, Got: "both",
			Advice: `move "device_external_id", "metrics" and "tags" into an element of "batches"`}
	}
	// Nothing is left of a request whose only device is refused.
	return d.outer.Fault
}

func (d *Decoder) atEnd() *Fault {
	if rest := d.input[d.json.InputOffset():]; len(bytes.TrimLeft(rest, " \t\r\n")) > 0 {
		return &Fault{Code: CodeMalformed, Offset: d.json.InputOffset(), Expected: "the end", Got: "more after the object",
			Advice: "send one JSON object, not several"}
	}
	return nil
}

// readBatches reads the array of device objects into the body.
func (d *Decoder) readBatches() *Fault {
	if _, err := d.json.ReadToken(); err != nil {
		return syntaxFault(d.input, err)
	}
	for i := 0; ; i++ {
		switch d.json.PeekKind() {
		case ']':
			if _, err := d.json.ReadToken(); err != nil {
				return syntaxFault(d.input, err)
			}
			return nil
		case '{':
			if f := d.checkPoints(i + 1); f != nil { // devices without metrics cost as well
				return f
			}
			dev := Device{Index: i}
			if f := d.readDevice(&dev, nil, false, nil); f != nil {
				return f
			}
			d.body.Devices = append(d.body.Devices, dev)
		default:
			raw, f := d.readUnexpected()
			if f != nil {
				return f
			}
			if f := d.checkPoints(i + 1); f != nil {
				return f
			}
			d.body.Devices = append(d.body.Devices, Device{Index: i, Fault: d.wrongType(d.pointer(), "a device object", raw)})
		}
	}
}

// readDevice reads an object with the fields of a device. With outer it is the
// whole body and may hold "batches". The result refuses the input; what concerns
// this device only goes to dev.Fault.
func (d *Decoder) readDevice(dev *Device, top *topFields, outer bool, skip []uint32) *Fault {
	if _, err := d.json.ReadToken(); err != nil {
		return syntaxFault(d.input, err)
	}
	start := int(d.json.InputOffset()) - 1
	first := len(d.samples)
	base := ""
	if top == nil {
		base = d.pointer()
	}
	var hasID, hasMetrics bool
	for d.json.PeekKind() == '"' {
		key, f := d.readKey()
		if f != nil {
			return f
		}
		kind := d.json.PeekKind()
		if top != nil && isDeviceField(key) {
			top.device = true
		}
		switch {
		case string(key) == "device_external_id":
			hasID = true
			f = d.readDeviceName(dev)
		case string(key) == "metrics" && kind == '[':
			hasMetrics = true
			f = d.readMetrics(dev, skip)
		case string(key) == "tags":
			dev.Tags, f = d.readTags(&dev.Fault)
		case string(key) == "backfill" && top != nil && (kind == 't' || kind == 'f'):
			top.backfill = kind == 't'
			_, f = d.readRaw()
		case string(key) == "batches" && outer && kind == '[':
			top.batches = true
			f = d.readBatches()
		default:
			hasMetrics = hasMetrics || string(key) == "metrics"
			f = d.refuseField(&dev.Fault, string(key), deviceFields(top != nil, outer))
		}
		if f != nil {
			return f
		}
	}
	if _, err := d.json.ReadToken(); err != nil {
		return syntaxFault(d.input, err)
	}
	dev.Offset, dev.JSON = start, d.input[start:d.json.InputOffset():d.json.InputOffset()]
	dev.Samples = d.samples[first:len(d.samples):len(d.samples)]
	if outer && top.batches {
		return nil
	}
	switch {
	case dev.Fault != nil:
	case !hasID:
		dev.Fault = missing(base, "device_external_id", int64(start))
	case !hasMetrics:
		dev.Fault = missing(base, "metrics", int64(start))
	}
	if dev.Fault != nil {
		dev.Samples, dev.Rejected = nil, nil
	}
	return nil
}

func isDeviceField(key []byte) bool {
	return string(key) == "device_external_id" || string(key) == "metrics" || string(key) == "tags"
}

// deviceFields lists for people what is allowed.
func deviceFields(backfill, batches bool) string {
	s := `"device_external_id", "metrics", "tags"`
	if backfill {
		s += `, "backfill"`
	}
	if batches {
		s += ` or "batches"`
	}
	return s
}

func (d *Decoder) readDeviceName(dev *Device) *Fault {
	raw, f := d.readUnexpected()
	if f != nil {
		return f
	}
	if raw[0] != '"' {
		setFault(&dev.Fault, d.wrongType(d.pointer(), "a string", raw))
		return nil
	}
	name, why := d.names.get(d, raw)
	if why != "" {
		setFault(&dev.Fault, d.badName(raw, why))
	}
	dev.ExternalID = name
	return nil
}

func (d *Decoder) badName(raw []byte, why string) *Fault {
	return &Fault{Code: CodeBadName, Pointer: d.pointer(), Offset: d.json.InputOffset() - int64(len(raw)),
		Expected: fmt.Sprintf("1 to %d characters without control characters", maxNameChars), Got: why,
		Advice: "names are trimmed, put in Unicode NFC, and white space inside becomes _"}
}

// checkPoints refuses the body once it holds too many items: decoding on would be
// work for nothing.
func (d *Decoder) checkPoints(n int) *Fault {
	if n <= d.opts.Limits.Points {
		return nil
	}
	return &Fault{Code: CodeTooManyPoints, Pointer: d.pointer(), Offset: d.json.InputOffset(),
		Expected: fmt.Sprintf("at most %d items in a request", d.opts.Limits.Points), Got: "more", Advice: "split the request"}
}

// judge applies what needs the whole device: bounds, which depend on "backfill"
// wherever it stands, and the one sample without ts that a metric may have.
func (d *Decoder) judge(dev *Device, backfill bool) {
	lim := d.opts.Limits
	oldest, newest := int64(minTS), int64(maxTS)
	if lim.Past > 0 && !backfill {
		oldest = max(oldest, d.opts.ReceivedAt-lim.Past.Microseconds())
	}
	if lim.Future > 0 {
		newest = min(newest, d.opts.ReceivedAt+lim.Future.Microseconds())
	}
	kept, before := dev.Samples[:0], len(dev.Rejected)
	for _, s := range dev.Samples {
		switch {
		case !s.HasTS:
			key := bareKey{dev.ExternalID, s.Name}
			if _, again := d.bare[key]; again {
				dev.Rejected = append(dev.Rejected, d.reject(s.Index, itemFault{CodeTSMissing, "ts", "a ts",
					"a second sample of this metric without one", "only one sample of a metric may take the time of receipt"}, nil))
				continue
			}
			d.bare[key] = struct{}{}
		case s.TS < oldest:
			dev.Rejected = append(dev.Rejected, d.reject(s.Index, tooOld(s.TS, oldest, backfill), nil))
			continue
		case s.TS > newest:
			dev.Rejected = append(dev.Rejected, d.reject(s.Index, itemFault{CodeTSInFuture, "ts", "a ts not after " + instant(newest),
				instant(s.TS), "check the clock of the device, and that integers are milliseconds"}, nil))
			continue
		}
		kept = append(kept, s)
	}
	dev.Samples = kept
	if len(dev.Rejected) > before && before > 0 {
		slices.SortFunc(dev.Rejected, func(a, b Rejection) int { return a.Index - b.Index })
	}
}
