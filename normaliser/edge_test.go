package normaliser

import (
	"testing"

	"github.com/edgepulse/edgepulse/schemas"
)

// A request that the edge took at one instant may reach the log twice: directly,
// although the edge saw a time-out, and through the spill, hours later.
func TestWhatTheEdgeTookCountsAsReceivedThen(t *testing.T) {
	f := New()
	entry := func(accepted, received int64) []byte {
		b := &schemas.Batch{TenantId: tenantA[:], KeyId: "k", RequestId: schemas.NewID().String(), ReceivedAt: received, AcceptedAt: accepted, Source: "edge",
			Parts: 1, Slices: []*schemas.DeviceSlice{{Json: []byte(`{"device_external_id":"d","metrics":[{"name":"m","value":1}]}`)}}}
		return encode(t, &schemas.Entry{Kind: &schemas.Entry_Batch{Batch: b}})
	}
	es := fold(t, f, entry(t0, t0+2e6))
	if r := receiptOf(t, es); r.Accepted != 1 || r.ReceivedAt != t0+2e6 {
		t.Fatalf("first: %v", r)
	}
	for _, e := range es {
		if p := e.GetPoints(); p != nil && (p.Series[0].Ts[0] != t0 || p.ReceivedAt != t0+2e6) {
			t.Errorf("ts %d, want the instant of acceptance %d; received at %d", p.Series[0].Ts[0], t0, p.ReceivedAt)
		}
	}
	if r := receiptOf(t, fold(t, f, entry(t0, t0+3600e6))); r.Accepted != 0 || r.Duplicate != 1 {
		t.Errorf("its twin: %v", r)
	}
	if r := receiptOf(t, fold(t, f, entry(0, t0+3601e6))); r.Accepted != 1 {
		t.Errorf("one that came directly: %v", r)
	}
}
