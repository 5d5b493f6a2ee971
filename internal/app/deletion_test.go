package app

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/alerter"
	"github.com/edgepulse/edgepulse/featurizer"
	"github.com/edgepulse/edgepulse/normaliser"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/scorer"
	"github.com/edgepulse/edgepulse/stream"
)

// pathOf is the four folds in a row, with their states open.
type pathOf struct {
	folds []stream.Fold
	out   [][]byte // of the last, and of the tenants' entries on the way
}

func newPath() *pathOf {
	return &pathOf{folds: []stream.Fold{normaliser.New(), featurizer.NewFold(featurizer.Config{Window: 300 * time.Second, Hop: time.Second}), scorer.New(), alerter.New()}}
}

func (p *pathOf) root(t *testing.T, root uint64, entries ...[]byte) {
	t.Helper()
	for _, f := range p.folds {
		var out stream.Outputs
		for i, e := range entries {
			if err := f.Apply(stream.Input{Root: root, Index: i, Bytes: e}, &out); err != nil {
				t.Fatal(err)
			}
		}
		entries = nil
		for _, e := range out.Entries() {
			entries = append(entries, bytes.Clone(e))
		}
		p.out = append(p.out, entries...)
	}
}

// holds tells whether any state holds a text.
func (p *pathOf) holds(t *testing.T, what []byte) bool {
	t.Helper()
	for _, f := range p.folds {
		if bytes.Contains(stream.Dump(f.State()), what) {
			return true
		}
	}
	return false
}

func entryOf(t *testing.T, e *schemas.Entry) []byte {
	t.Helper()
	b, err := e.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestFoldsForgetADeletedTenant: after the control entries no state holds anything
// of the tenant, and what the other tenant gets is, byte for byte, what it gets
// when the first one is not deleted, or never was there.
func TestFoldsForgetADeletedTenant(t *testing.T) {
	a, b := schemas.ID{1, 0xaa, 0xaa, 0xaa, 15: 1}, schemas.ID{2, 0xbb, 0xbb, 0xbb, 15: 2}
	run := func(withA, deleted bool) (*pathOf, [32]byte) {
		p, at := newPath(), time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
		var ids [][]byte
		for second := range 400 {
			now := at.Add(time.Duration(second) * time.Second)
			entries := [][]byte{entryOf(t, &schemas.Entry{Kind: &schemas.Entry_Tick{Tick: &schemas.Tick{Second: now.Unix()}}})}
			for _, tenant := range []schemas.ID{a, b} {
				if tenant == a && (!withA || second >= 300) {
					continue
				}
				if second == 0 {
					rule := schemas.ID{tenant[0], 7}
					entries = append(entries, entryOf(t, &schemas.Entry{Kind: &schemas.Entry_Control{Control: &schemas.Control{Version: uint64(tenant[0]), TenantId: tenant[:],
						Change: &schemas.Control_AlertRule{AlertRule: &schemas.AlertRule{RuleId: rule[:], Name: "r", MinSeverity: 1, Enabled: true}}}}}))
					device := schemas.DeviceID(tenant, "d")
					id := schemas.MetricID(device, "m")
					tags := []*schemas.Tag{{Key: "site", Value: "berlin"}}
					entries = append(entries, entryOf(t, &schemas.Entry{Kind: &schemas.Entry_Control{Control: &schemas.Control{Version: 9, TenantId: tenant[:],
						Change: &schemas.Control_MetricSettings{MetricSettings: &schemas.MetricSettings{MetricId: id[:], Enabled: true, WindowUs: 60e6, Sensitivity: 2,
							Timezone: "Europe/Berlin", Tags: tags}}}}}),
						entryOf(t, &schemas.Entry{Kind: &schemas.Entry_Control{Control: &schemas.Control{Version: 9, TenantId: tenant[:],
							Change: &schemas.Control_DeviceSettings{DeviceSettings: &schemas.DeviceSettings{DeviceId: device[:], Tags: tags}}}}}))
				}
				body := fmt.Sprintf(`{"device_external_id":"d","metrics":[{"name":"m","ts":%q,"value":%d}]}`, now.Format(time.RFC3339), second%7)
				entries = append(entries, entryOf(t, &schemas.Entry{Kind: &schemas.Entry_Batch{Batch: &schemas.Batch{TenantId: tenant[:], RequestId: fmt.Sprint(second), IdempotencyKey: fmt.Sprint(second),
					BodySha256: make([]byte, 32), ReceivedAt: now.UnixMicro(), Parts: 1, Slices: []*schemas.DeviceSlice{{Json: []byte(body)}}}}}))
				device := schemas.DeviceID(tenant, "d")
				id := schemas.MetricID(device, "m")
				if tenant == a && second == 0 {
					ids = append(ids, id[:])
				}
			}
			if deleted && second == 300 {
				for _, named := range [][][]byte{ids, nil} {
					entries = append(entries, entryOf(t, &schemas.Entry{Kind: &schemas.Entry_Control{Control: &schemas.Control{TenantId: a[:],
						Change: &schemas.Control_TenantDeleted{TenantDeleted: &schemas.TenantDeleted{MetricIds: named}}}}}))
				}
			}
			p.root(t, uint64(second+1), entries...)
			if deleted && withA && second == 299 && !(p.holds(t, a[:]) && p.holds(t, ids[0])) {
				t.Fatal("no state holds the tenant before its deletion: nothing is shown")
			}
		}
		sum := sha256.New()
		for _, e := range p.out {
			if bytes.Contains(e, b[:]) {
				sum.Write(e)
			}
		}
		if deleted && (p.holds(t, a[:]) || len(ids) > 0 && p.holds(t, ids[0])) {
			t.Error("a state still holds the deleted tenant")
		}
		return p, [32]byte(sum.Sum(nil))
	}
	_, never := run(false, false)
	_, kept := run(true, false)
	_, gone := run(true, true)
	if never != kept || kept != gone {
		t.Errorf("the other tenant's outputs: %x without the tenant, %x with it, %x with its deletion", never[:4], kept[:4], gone[:4])
	}
}
