package replay

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/edgepulse/edgepulse/schemas"
)

// FieldDiff is one field that two entries disagree on.
type FieldDiff struct {
	Entry        int    // index within the root
	Path         string // e.g. "score.expected"
	Live, Shadow string // empty = not there
}

func (d FieldDiff) String() string {
	return fmt.Sprintf("entry %d, %s: live %s, shadow %s", d.Entry, d.Path, orNothing(d.Live), orNothing(d.Shadow))
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

// Fields decodes both sides and lists the fields that differ.
func (d *Difference) Fields() []FieldDiff {
	var out []FieldDiff
	for i := range max(len(d.Live), len(d.Shadow)) {
		var live, shadow []byte
		if i < len(d.Live) {
			live = d.Live[i]
		}
		if i < len(d.Shadow) {
			shadow = d.Shadow[i]
		}
		if !bytes.Equal(live, shadow) {
			out = append(out, entryDiff(i, live, shadow)...)
		}
	}
	return out
}

func entryDiff(i int, live, shadow []byte) []FieldDiff {
	l, errL := decodeEntry(live)
	s, errS := decodeEntry(shadow)
	switch {
	case errL != nil || errS != nil:
		return []FieldDiff{{i, "bytes", raw(live), raw(shadow)}}
	case l == nil || s == nil:
		return []FieldDiff{{i, kindName(l, s), brief(l), brief(s)}}
	}
	w := &fieldWalk{entry: i}
	w.message("", l.ProtoReflect(), s.ProtoReflect())
	if len(w.out) == 0 {
		return []FieldDiff{{i, "encoding", raw(live), raw(shadow)}}
	}
	return w.out
}

func decodeEntry(b []byte) (*schemas.Entry, error) {
	if b == nil {
		return nil, nil
	}
	e := &schemas.Entry{}
	return e, e.UnmarshalVT(b)
}

// kindName is the kind of whichever entry there is.
func kindName(entries ...*schemas.Entry) string {
	for _, e := range entries {
		if e == nil {
			continue
		}
		m := e.ProtoReflect()
		if fd := m.WhichOneof(m.Descriptor().Oneofs().Get(0)); fd != nil {
			return string(fd.Name())
		}
	}
	return "entry"
}

// brief says that there is an entry, and of what.
func brief(e *schemas.Entry) string {
	if e == nil {
		return ""
	}
	text := e.String()
	if len(text) > 160 {
		text = text[:160] + " …"
	}
	return text
}

func raw(b []byte) string {
	if b == nil {
		return ""
	}
	return fmt.Sprintf("%d bytes %x…", len(b), b[:min(len(b), 16)])
}

// fieldWalk compares two messages of one type.
type fieldWalk struct {
	entry int
	out   []FieldDiff
}

func (w *fieldWalk) message(path string, l, s protoreflect.Message) {
	fields := l.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		at := strings.TrimPrefix(path+"."+string(fd.Name()), ".")
		switch {
		case !l.Has(fd) && !s.Has(fd):
		case fd.IsList():
			w.list(at, fd, l.Get(fd).List(), s.Get(fd).List())
		case fd.Message() != nil && l.Has(fd) && s.Has(fd):
			w.message(at, l.Get(fd).Message(), s.Get(fd).Message())
		default:
			w.value(at, fd, value(l, fd), value(s, fd))
		}
	}
}

func (w *fieldWalk) list(path string, fd protoreflect.FieldDescriptor, l, s protoreflect.List) {
	for i := range max(l.Len(), s.Len()) {
		at := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case i >= l.Len():
			w.value(at, fd, "", text(fd, s.Get(i)))
		case i >= s.Len():
			w.value(at, fd, text(fd, l.Get(i)), "")
		case fd.Message() != nil:
			w.message(at, l.Get(i).Message(), s.Get(i).Message())
		default:
			w.value(at, fd, text(fd, l.Get(i)), text(fd, s.Get(i)))
		}
	}
}

func (w *fieldWalk) value(path string, _ protoreflect.FieldDescriptor, l, s string) {
	if l != s {
		w.out = append(w.out, FieldDiff{w.entry, path, l, s})
	}
}

func value(m protoreflect.Message, fd protoreflect.FieldDescriptor) string {
	if fd.Message() != nil && !m.Has(fd) {
		return ""
	}
	return text(fd, m.Get(fd))
}

// text writes a value so that two different ones never look alike.
func text(fd protoreflect.FieldDescriptor, v protoreflect.Value) string {
	switch fd.Kind() {
	case protoreflect.DoubleKind:
		f := v.Float()
		if math.IsNaN(f) {
			return fmt.Sprintf("NaN (%x)", math.Float64bits(f))
		}
		return strconv.FormatFloat(f, 'g', -1, 64)
	case protoreflect.BytesKind:
		b := v.Bytes()
		if id, err := schemas.IDFrom(b); err == nil {
			return id.String()
		}
		if len(b) > 32 {
			return fmt.Sprintf("%d bytes, SHA-256 %x", len(b), sum([][]byte{b}))
		}
		return fmt.Sprintf("%x", b)
	case protoreflect.EnumKind:
		if e := fd.Enum().Values().ByNumber(v.Enum()); e != nil {
			return string(e.Name())
		}
	case protoreflect.StringKind:
		return strconv.Quote(v.String())
	case protoreflect.MessageKind:
		return fmt.Sprintf("{%v}", v.Message().Interface())
	}
	return v.String()
}
