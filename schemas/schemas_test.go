package schemas

import (
	"bytes"
	"math"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// TestDerivedIDsAreUUIDv5 compares with an independent implementation.
func TestDerivedIDsAreUUIDv5(t *testing.T) {
	tenant := ID(uuid.MustParse("6ba7b810-9dad-11d1-80b4-00c04fd430c8"))
	device := DeviceID(tenant, "meter-001")
	if want := uuid.NewSHA1(uuid.UUID(tenant), []byte("meter-001")); uuid.UUID(device) != want {
		t.Fatalf("device %s, expected %s", device, want)
	}
	if want := uuid.NewSHA1(uuid.UUID(device), []byte("voltage")); uuid.UUID(MetricID(device, "voltage")) != want {
		t.Fatalf("metric differs from %s", want)
	}
}

// TestIDsNeverChange pins what archives and receivers hold.
func TestIDsNeverChange(t *testing.T) {
	var tenant ID
	copy(tenant[:], "tenant-000000001")
	device := DeviceID(tenant, "pump 7")
	metric := MetricID(device, "flow")
	alert := AlertID(ID{1}, metric, 1_700_000_000_000_000, 2)
	event := EventID(alert, 1)
	golden := []string{device.String(), metric.String(), alert.String(), event.String(), WebhookID(event, ID{9}).String()}
	for i := range golden {
		if golden[i] != pinned[i] {
			t.Errorf("id %d is %s, was %s in what is already stored", i, golden[i], pinned[i])
		}
	}
	if p := Partition(tenant, "pump 7", 16); p != pinnedPartition {
		t.Errorf("partition is %d, was %d", p, pinnedPartition)
	}
}

var pinned = []string{
	"db16ab9a-de03-500f-818a-90d7297d5530", "dd94facb-e7e8-5d7f-9595-cd4cdbbbce01", "f698f6fa-a944-5e16-98ce-3d47de2623a9",
	"e09b9d7e-9283-516f-bddc-44916ca9853d", "80acb2a6-58a0-5f77-9b2f-01674e55c74b",
}

const pinnedPartition = 5

// filled sets every field of a message; of a oneof the first.
func filled(m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.ContainingOneof() != nil && m.WhichOneof(f.ContainingOneof()) != nil {
			continue
		}
		switch {
		case f.IsList():
			l := m.Mutable(f).List()
			for n := range 3 {
				if f.Kind() == protoreflect.MessageKind {
					if depth < 4 {
						filled(l.AppendMutable().Message(), depth+1)
					}
					continue
				}
				l.Append(value(f, n))
			}
		case f.Kind() == protoreflect.MessageKind:
			if depth < 4 {
				filled(m.Mutable(f).Message(), depth+1)
			}
		default:
			m.Set(f, value(f, i))
		}
	}
}

func value(f protoreflect.FieldDescriptor, n int) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.StringKind:
		return protoreflect.ValueOfString("ünicode")
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte{0, 1, 0xff, byte(n)})
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(-math.Pi * float64(n+1))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(math.MaxUint32 - uint32(n))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(math.MaxUint64 - uint64(n))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind:
		return protoreflect.ValueOfInt64(math.MinInt64 + int64(n))
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(1)
	}
	panic("a kind of field that the logs do not use yet: " + f.Kind().String())
}

// TestEveryKindRoundTrips encodes each entry with the generated code and decodes
// it with the reference implementation, and the other way round.
func TestEveryKindRoundTrips(t *testing.T) {
	kinds := (&Entry{}).ProtoReflect().Descriptor().Oneofs().Get(0).Fields()
	for i := range kinds.Len() {
		f := kinds.Get(i)
		t.Run(string(f.Name()), func(t *testing.T) {
			e := &Entry{}
			filled(e.ProtoReflect().Mutable(f).Message(), 0)
			fast, err := e.MarshalVT()
			if err != nil {
				t.Fatal(err)
			}
			reference, err := proto.MarshalOptions{Deterministic: true}.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(fast, reference) {
				t.Fatal("the two encoders differ")
			}
			if got := KindOf(fast); got != Kind(f.Number()) {
				t.Fatalf("KindOf is %d, expected %d", got, f.Number())
			}
			for name, decode := range map[string]func(*Entry) error{
				"reference": func(x *Entry) error { return proto.Unmarshal(fast, x) },
				"copying":   func(x *Entry) error { return x.UnmarshalVT(fast) },
				"aliasing":  func(x *Entry) error { return x.UnmarshalVTUnsafe(fast) },
			} {
				back := &Entry{}
				if err := decode(back); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if !proto.Equal(e, back) {
					t.Fatalf("%s decoder lost something", name)
				}
			}
		})
	}
}

// FuzzDecode feeds the decoders of everything that is read from a log.
func FuzzDecode(f *testing.F) {
	e := &Entry{Kind: &Entry_Tick{Tick: &Tick{Second: 7}}}
	b, _ := e.MarshalVT()
	f.Add(b)
	g, _ := (&Group{Entries: [][]byte{b, {}}}).MarshalVT()
	f.Add(g)
	c, _ := (&Commit{Log: "POINTS_0", Epoch: 1, Nonce: make([]byte, 16), To: 3, Outputs: []*RootOutputs{{Root: 2, Entries: [][]byte{b}}}}).MarshalVT()
	f.Add(c)
	f.Fuzz(func(t *testing.T, b []byte) {
		KindOf(b)
		entry, unsafe := &Entry{}, &Entry{}
		if err, uerr := entry.UnmarshalVT(b), unsafe.UnmarshalVTUnsafe(b); (err == nil) != (uerr == nil) {
			t.Fatalf("decoders disagree: %v and %v", err, uerr)
		} else if err == nil {
			again, err := entry.MarshalVT()
			if err != nil {
				t.Fatal(err)
			}
			back := &Entry{}
			if err := back.UnmarshalVT(again); err != nil {
				t.Fatalf("what was encoded does not decode: %v", err)
			}
		}
		_ = (&Group{}).UnmarshalVTUnsafe(b)  // must not panic
		_ = (&Commit{}).UnmarshalVTUnsafe(b) // must not panic
	})
}

func TestWordsComeBack(t *testing.T) {
	for _, s := range []Severity{0, 1, 2, 3} {
		if got, ok := ParseSeverity(s.Word()); !ok || got != s {
			t.Errorf("severity %d comes back as %d", s, got)
		}
	}
	for l := Label(0); l <= Label_LABEL_STUCK; l++ {
		if got, ok := ParseLabel(l.Word()); !ok || got != l {
			t.Errorf("label %d comes back as %d", l, got)
		}
	}
	if _, ok := ParseSeverity("urgent"); ok {
		t.Error("a word that is none was taken")
	}
}
