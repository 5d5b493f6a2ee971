package payload

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// readRaw reads one value as it stands. The tokenizer works on the input in
// place (it is given a bytes.Buffer), so the bytes stay valid after further reads.
func (d *Decoder) readRaw() ([]byte, *Fault) {
	raw, err := d.json.ReadValue()
	if err != nil {
		return nil, syntaxFault(d.input, err)
	}
	return raw, nil
}

// readKey reads a name of an object, unquoted.
func (d *Decoder) readKey() ([]byte, *Fault) {
	raw, f := d.readRaw()
	if f != nil {
		return nil, f
	}
	if key := raw[1 : len(raw)-1]; bytes.IndexByte(key, '\\') < 0 {
		return key, nil
	}
	return d.unquote(raw), nil
}

// readUnexpected reads a value that may be anything, thus also nested too deep.
func (d *Decoder) readUnexpected() ([]byte, *Fault) {
	raw, f := d.readRaw()
	if f != nil || raw[0] != '{' && raw[0] != '[' {
		return raw, f
	}
	if d.json.StackDepth()+depthOf(raw) > d.opts.Limits.Depth {
		return nil, deepFault(d.pointer(), d.json.InputOffset()-int64(len(raw)), d.opts.Limits.Depth)
	}
	return raw, nil
}

// depthOf is the nesting of a value that is known to be well-formed.
func depthOf(raw []byte) int {
	var depth, deepest int
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '{', '[':
			depth++
			deepest = max(deepest, depth)
		case '}', ']':
			depth--
		case '"':
			for i++; raw[i] != '"'; i++ {
				if raw[i] == '\\' {
					i++
				}
			}
		}
	}
	return deepest
}

// refuseField reads the value of a field that is unknown, or of the wrong type.
func (d *Decoder) refuseField(fault **Fault, key, known string) *Fault {
	raw, f := d.readUnexpected()
	if f != nil {
		return f
	}
	switch key {
	case "metrics", "batches":
		f = d.wrongType(d.pointer(), "an array", raw)
	case "backfill":
		f = d.wrongType(d.pointer(), "true or false", raw)
	}
	if f == nil || key == "batches" && d.json.StackDepth() > 1 || key == "backfill" && d.json.StackDepth() > 1 {
		f = &Fault{Code: CodeUnknownField, Pointer: d.pointer(), Offset: d.json.InputOffset() - int64(len(raw)),
			Expected: known, Got: "this field", Advice: "remove it"}
	}
	setFault(fault, f)
	return nil
}

func (d *Decoder) wrongType(pointer, expected string, raw []byte) *Fault {
	return &Fault{Code: CodeWrongType, Pointer: pointer, Offset: d.json.InputOffset() - int64(len(raw)), Expected: expected, Got: kindOf(raw)}
}

func missing(base, field string, offset int64) *Fault {
	return &Fault{Code: CodeMissingField, Pointer: base + "/" + field, Offset: offset, Expected: "this field", Got: "nothing", Advice: "add it"}
}

func setFault(fault **Fault, f *Fault) {
	if *fault == nil {
		*fault = f
	}
}

// pointer is where the last value was read.
func (d *Decoder) pointer() string { return string(d.json.StackPointer()) }

// unquote gives the characters of a quoted string; valid until the next call.
func (d *Decoder) unquote(raw []byte) []byte {
	var err error
	if d.scratch, err = jsontext.AppendUnquote(d.scratch[:0], raw); err != nil {
		panic("unquote what the tokenizer accepted: " + err.Error())
	}
	return d.scratch
}

func (d *Decoder) text(raw []byte) string {
	if s := raw[1 : len(raw)-1]; bytes.IndexByte(s, '\\') < 0 {
		return string(s)
	}
	return string(d.unquote(raw))
}

// interner remembers what became of a quoted string: bodies name the same few
// metrics and units again and again. It forgets everything when it grows large.
type interner struct {
	known map[string]string
	size  int
	make  func(string) (string, string)
}

const maxInterned = 256 << 10

func newInterner(normalise func(string) (string, string)) interner {
	return interner{known: map[string]string{}, make: normalise}
}

// get returns the normalised string, or why it is refused.
func (n *interner) get(d *Decoder, raw []byte) (string, string) {
	if s, ok := n.known[string(raw)]; ok {
		return s, ""
	}
	s, why := n.make(d.text(raw))
	if why != "" {
		return "", why
	}
	if n.size += len(raw) + len(s); n.size > maxInterned {
		clear(n.known)
		n.size = len(raw) + len(s)
	}
	n.known[string(raw)] = s
	return s, ""
}
