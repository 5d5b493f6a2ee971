package normaliser

import (
	"crypto/sha256"
	"fmt"
	"math"
	"sort"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

var tenantA = schemas.ID{1}

const t0 = int64(1_700_000_000_000_000)

func batchEntry(t testing.TB, key string, received int64, backfill bool, bodies ...string) []byte {
	t.Helper()
	h := sha256.Sum256([]byte(strings.Join(bodies, "")))
	b := &schemas.Batch{TenantId: tenantA[:], KeyId: "k", RequestId: schemas.NewID().String(), IdempotencyKey: key, BodySha256: h[:],
		ReceivedAt: received, Source: "http", Parts: 1, Backfill: backfill}
	for i, body := range bodies {
		b.Slices = append(b.Slices, &schemas.DeviceSlice{Index: uint32(i), Json: []byte(body)})
	}
	return encode(t, &schemas.Entry{Kind: &schemas.Entry_Batch{Batch: b}})
}

func encode(t testing.TB, e *schemas.Entry) []byte {
	b, err := e.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func tickEntry(t testing.TB, second int64) []byte {
	return encode(t, &schemas.Entry{Kind: &schemas.Entry_Tick{Tick: &schemas.Tick{Second: second}}})
}

func body(device string, points ...string) string {
	return fmt.Sprintf(`{"device_external_id":%q,"metrics":[%s]}`, device, strings.Join(points, ","))
}

func point(name string, ts int64, v float64) string {
	return fmt.Sprintf(`{"name":%q,"ts":%d,"value":%v}`, name, ts/1000, v)
}

// fold applies entries and returns what came out, decoded.
func fold(t testing.TB, f stream.Fold, entries ...[]byte) []*schemas.Entry {
	t.Helper()
	var all []*schemas.Entry
	for i, e := range entries {
		out := &stream.Outputs{}
		if err := f.Apply(stream.Input{Root: uint64(i + 1), Bytes: e}, out); err != nil {
			t.Fatal(err)
		}
		for _, b := range out.Entries() {
			d := &schemas.Entry{}
			if err := d.UnmarshalVT(b); err != nil {
				t.Fatal(err)
			}
			all = append(all, d)
		}
	}
	return all
}

func receiptOf(t testing.TB, es []*schemas.Entry) *schemas.Receipt {
	t.Helper()
	var r *schemas.Receipt
	for _, e := range es {
		if x := e.GetReceipt(); x != nil {
			if r != nil {
				t.Fatal("two receipts for one batch")
			}
			r = x
		}
	}
	if r == nil {
		t.Fatal("no receipt")
	}
	return r
}

func TestPointIdentity(t *testing.T) {
	f := New()
	es := fold(t, f, batchEntry(t, "", t0, false, body("d", point("m", t0, 1), point("m", t0+1e6, 2))))
	if r := receiptOf(t, es); r.Accepted != 2 || r.Duplicate != 0 {
		t.Fatalf("first batch: %v", r)
	}
	es = fold(t, f, batchEntry(t, "", t0+5e6, false, body("d", point("m", t0, 1), point("m", t0+1e6, 9), point("m", t0+5e5, 3))))
	r := receiptOf(t, es)
	if r.Duplicate != 1 || r.Conflicting != 1 || r.Accepted != 1 || r.Late != 1 {
		t.Fatalf("duplicate, conflict and late: %v", r)
	}
	for _, e := range es {
		if p := e.GetPoints(); p != nil && p.Series[0].Flags[0] != uint32(schemas.PointFlag_POINT_FLAG_LATE) {
			t.Fatalf("flags %v, expected late", p.Series[0].Flags)
		}
	}
}

// TestALongRegularHistoryIsRemembered sends a year of half-hourly values twice,
// the second time without an Idempotency-Key.
func TestALongRegularHistoryIsRemembered(t *testing.T) {
	f := New()
	send := func() (accepted, duplicate uint32) {
		for start := 0; start < 17520; start += 1000 {
			var ps []string
			for i := start; i < min(start+1000, 17520); i++ {
				ps = append(ps, point("m", t0+int64(i)*1800e6, float64(i%48)))
			}
			r := receiptOf(t, fold(t, f, batchEntry(t, "", t0+4e13, true, body("d", ps...))))
			accepted += r.Accepted
			duplicate += r.Duplicate
		}
		return accepted, duplicate
	}
	if a, d := send(); a != 17520 || d != 0 {
		t.Fatalf("first time: %d accepted, %d duplicate", a, d)
	}
	if a, d := send(); a != 0 || d != 17520 {
		t.Fatalf("second time: %d accepted, %d duplicate", a, d)
	}
	id := schemas.MetricID(schemas.DeviceID(tenantA, "d"), "m")
	m, _ := f.(*Fold).metrics.Get(id)
	if n := len(m.AppendState(nil)); n > 2048 {
		t.Fatalf("the state of a regular metric takes %d bytes", n)
	}
}

func TestIdempotencyKey(t *testing.T) {
	f := New()
	first := batchEntry(t, "k1", t0, false, body("d", point("m", t0, 1)))
	again := batchEntry(t, "k1", t0+1e6, false, body("d", point("m", t0, 1)))
	other := batchEntry(t, "k1", t0+2e6, false, body("d", point("m", t0+1e6, 7)))
	if r := receiptOf(t, fold(t, f, first)); r.Accepted != 1 || r.Repeat {
		t.Fatalf("first use: %v", r)
	}
	if r := receiptOf(t, fold(t, f, again)); r.Duplicate != 1 || !r.Repeat {
		t.Fatalf("repeat: %v", r)
	}
	r := receiptOf(t, fold(t, f, other))
	if r.Rejected != 1 || r.Rejections[0].Code != CodeKeyReused {
		t.Fatalf("key with another body: %v", r)
	}
	fold(t, f, tickEntry(t, t0/1e6+86401))
	if r := receiptOf(t, fold(t, f, batchEntry(t, "k1", t0+86402e6, false, body("d", point("m", t0+2e6, 7))))); r.Accepted != 1 {
		t.Fatalf("key after its lifetime: %v", r)
	}
	if n := f.(*Fold).keys.Len(); n != 1 {
		t.Fatalf("%d keys remembered, expected 1", n)
	}
}

func TestTicksAreForwardedOnce(t *testing.T) {
	f := New()
	var got []int64
	for _, e := range fold(t, f, tickEntry(t, 5), tickEntry(t, 5), tickEntry(t, 4), tickEntry(t, 6)) {
		got = append(got, e.GetTick().GetSecond())
	}
	if fmt.Sprint(got) != "[5 6]" {
		t.Fatalf("forwarded %v, expected [5 6]", got)
	}
}

func TestMetricIsDeclaredOnceAndOnChange(t *testing.T) {
	f := New()
	declared := func(b string, ts int64) (n int) {
		for _, e := range fold(t, f, batchEntry(t, "", ts, false, b)) {
			if e.GetMetricDeclared() != nil {
				n++
			}
		}
		return n
	}
	plain := func(ts int64, extra string) string {
		return fmt.Sprintf(`{"device_external_id":"d","metrics":[{"name":"m","ts":%d,"value":1%s}]}`, ts/1000, extra)
	}
	for i, c := range []struct {
		extra string
		want  int
	}{{"", 1}, {"", 0}, {`,"unit":"V"`, 1}, {"", 0}, {`,"unit":"V"`, 0}, {`,"unit":"kV"`, 1}} {
		if n := declared(plain(t0+int64(i)*1e6, c.extra), t0+int64(i)*1e6); n != c.want {
			t.Fatalf("batch %d with %q: declared %d times, expected %d", i, c.extra, n, c.want)
		}
	}
}

func TestGatewayRejectionsHold(t *testing.T) {
	f := New()
	b := &schemas.Batch{TenantId: tenantA[:], RequestId: "r", BodySha256: make([]byte, 32), ReceivedAt: t0, Parts: 1,
		Slices: []*schemas.DeviceSlice{{Json: []byte(body("d", point("m", t0, 1), point("m", t0+1e6, 2))),
			Rejected: []*schemas.Rejection{{Index: 1, Code: "ts_in_future"}}}}}
	r := receiptOf(t, fold(t, f, encode(t, &schemas.Entry{Kind: &schemas.Entry_Batch{Batch: b}})))
	if r.Accepted != 1 || r.Rejected != 1 || len(r.Rejections) != 1 || r.Rejections[0].Code != "ts_in_future" {
		t.Fatalf("%v", r)
	}
}

func TestUndecodableIsRefusedAndChangesNothing(t *testing.T) {
	f := New()
	if err := f.Apply(stream.Input{Root: 1}, &stream.Outputs{}); err != nil {
		t.Fatalf("the place of an erased entry: %v", err)
	}
	for _, b := range [][]byte{{0xff}, batchEntry(t, "k", t0, false, `{"device_external_id":`), encode(t, &schemas.Entry{Kind: &schemas.Entry_Score{Score: &schemas.Score{}}})} {
		out := &stream.Outputs{}
		if err := f.Apply(stream.Input{Root: 1, Bytes: b}, out); err == nil {
			t.Fatalf("%x was taken", b)
		}
	}
	if f.(*Fold).keys.Len() != 0 || f.(*Fold).metrics.Len() != 0 {
		t.Fatal("a refused entry changed the state")
	}
}

// TestSeenAgainstAMap offers timestamps in every order and compares with a set.
func TestSeenAgainstAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s seen
		model := map[int64]bool{}
		for range rapid.IntRange(1, 150).Draw(t, "n") {
			ts := int64(rapid.IntRange(0, 90).Draw(t, "ts"))
			if got := s.has(ts); got != model[ts] {
				t.Fatalf("has(%d) = %v, expected %v, runs %v", ts, got, model[ts], s.runs)
			}
			if !model[ts] {
				s.add(ts)
				model[ts] = true
			}
			var back seen
			rest, err := back.decodeState(s.appendState(nil))
			if err != nil || len(rest) != 0 || fmt.Sprint(back) != fmt.Sprint(s) {
				t.Fatalf("state does not come back: %v", err)
			}
		}
		if !sort.SliceIsSorted(s.runs, func(i, j int) bool { return s.runs[i].start < s.runs[j].start }) {
			t.Fatal("runs are not in order")
		}
	})
}

// TestRestartChangesNothing restores the fold from its own records at a random
// place and expects the same outputs from there on.
func TestRestartChangesNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var entries [][]byte
		now := t0
		for range rapid.IntRange(1, 25).Draw(rt, "entries") {
			now += int64(rapid.IntRange(1, 5e6).Draw(rt, "gap"))
			if rapid.IntRange(0, 4).Draw(rt, "kind") == 0 {
				entries = append(entries, tickEntry(t, now/1e6))
				continue
			}
			var ps []string
			for range rapid.IntRange(1, 6).Draw(rt, "points") {
				ps = append(ps, point(fmt.Sprintf("m%d", rapid.IntRange(0, 2).Draw(rt, "m")), now-int64(rapid.IntRange(0, 8).Draw(rt, "ts"))*1e6, math.Round(rapid.Float64Range(0, 3).Draw(rt, "v"))))
			}
			key := ""
			if rapid.Bool().Draw(rt, "keyed") {
				key = fmt.Sprint(rapid.IntRange(0, 3).Draw(rt, "key"))
			}
			entries = append(entries, batchEntry(t, key, now, rapid.Bool().Draw(rt, "backfill"), body("d", ps...)))
		}
		cut := rapid.IntRange(0, len(entries)).Draw(rt, "cut")
		whole, parts := New(), New()
		want := fold(t, whole, entries...)
		got := fold(t, parts, entries[:cut]...)
		restored := New()
		if err := stream.CopyState(restored.State(), parts.State()); err != nil {
			rt.Fatal(err)
		}
		got = append(got, fold(t, restored, entries[cut:]...)...)
		if len(got) != len(want) {
			rt.Fatalf("%d outputs after a restart, expected %d", len(got), len(want))
		}
		for i := range got {
			if got[i].String() != want[i].String() {
				rt.Fatalf("output %d differs after a restart at %d", i, cut)
			}
		}
	})
}

func FuzzMetricState(f *testing.F) {
	f.Add((&metric{}).AppendState(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &metric{}
		if m.DecodeState(b) == nil && string(m.AppendState(nil)) == "" {
			t.Fatal("empty state")
		}
	})
}

func BenchmarkFold100Points(b *testing.B) {
	f := New()
	var raw [][]byte
	for i := range 200 {
		var ps []string
		for j := range 100 {
			ps = append(ps, point(fmt.Sprintf("m%d", j%10), t0+int64(i*100+j)*1e6, float64(j)))
		}
		raw = append(raw, batchEntry(b, "", t0+int64(i)*1e8, true, body("d", ps...)))
	}
	out := &stream.Outputs{}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%len(raw) == 0 {
			f = New()
		}
		out.Reset()
		if err := f.Apply(stream.Input{Root: uint64(i + 1), Bytes: raw[i%len(raw)]}, out); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/point")
}
