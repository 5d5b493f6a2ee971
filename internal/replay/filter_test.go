package replay

import (
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
)

var ours, theirs = schemas.ID{1}, schemas.ID{2}

func encode(t *testing.T, e *schemas.Entry) []byte {
	t.Helper()
	b, err := e.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func batch(t *testing.T, tenant schemas.ID, at int64, devices ...string) []byte {
	b := &schemas.Batch{TenantId: tenant[:], RequestId: "r", ReceivedAt: at, Parts: 1}
	for i, d := range devices {
		b.Slices = append(b.Slices, &schemas.DeviceSlice{Index: uint32(i), Json: []byte(`{"device_external_id":"` + d + `","metrics":[{"name":"m","value":1}]}`)})
	}
	return encode(t, &schemas.Entry{Kind: &schemas.Entry_Batch{Batch: b}})
}

func tick(t *testing.T, second int64) []byte {
	return encode(t, &schemas.Entry{Kind: &schemas.Entry_Tick{Tick: &schemas.Tick{Second: second}}})
}

func group(t *testing.T, entries ...[]byte) []byte {
	t.Helper()
	b, err := (&schemas.Group{Entries: entries}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFilterOfInputs(t *testing.T) {
	control := encode(t, &schemas.Entry{Kind: &schemas.Entry_Control{Control: &schemas.Control{Version: 1, TenantId: theirs[:]}}})
	whole := group(t, batch(t, ours, 5, "a", "b"), tick(t, 1), batch(t, theirs, 5, "a"), control, batch(t, ours, 5, "b"))
	for _, c := range []struct {
		name   string
		filter Filter
		want   []byte
	}{
		{"nothing", Filter{}, whole},
		{"tenant", Filter{Tenant: ours}, group(t, batch(t, ours, 5, "a", "b"), tick(t, 1), control, batch(t, ours, 5, "b"))},
		{"tenant without data", Filter{Tenant: schemas.ID{9}}, group(t, tick(t, 1), control)},
		{"device of any tenant", Filter{Device: "a"}, group(t, batch(t, ours, 5, "a"), tick(t, 1), batch(t, theirs, 5, "a"), control)},
		{"device of a tenant", Filter{Tenant: theirs, Device: "a"}, group(t, tick(t, 1), batch(t, theirs, 5, "a"), control)},
	} {
		got, err := c.filter.group(whole)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(c.want) {
			t.Errorf("%s: %d bytes, expected %d", c.name, len(got), len(c.want))
		}
	}
	damaged := []byte{0xff, 0xff}
	if got, err := (Filter{Tenant: ours}).group(damaged); err != nil || string(got) != string(damaged) {
		t.Errorf("a group that can't be split: %x, %v", got, err)
	}
}

func TestFilterOfOutputs(t *testing.T) {
	device := schemas.DeviceID(ours, "a")
	other := schemas.DeviceID(ours, "b")
	score := func(tenant, device schemas.ID) []byte {
		return encode(t, &schemas.Entry{Kind: &schemas.Entry_Score{Score: &schemas.Score{TenantId: tenant[:], DeviceId: device[:]}}})
	}
	receipt := encode(t, &schemas.Entry{Kind: &schemas.Entry_Receipt{Receipt: &schemas.Receipt{TenantId: ours[:]}}})
	dead := encode(t, &schemas.Entry{Kind: &schemas.Entry_DeadLetter{DeadLetter: &schemas.DeadLetter{TenantId: ours[:]}}})
	for _, c := range []struct {
		name                   string
		entry                  []byte
		whole, tenant, byTwice bool
	}{
		{"tick", tick(t, 1), true, true, true},
		{"own score", score(ours, device), true, true, true},
		{"score of another device", score(ours, other), true, true, false},
		{"score of another tenant", score(theirs, device), true, false, false},
		{"receipt", receipt, true, true, false},
		{"dead letter", dead, true, false, false},
	} {
		for f, want := range map[Filter]bool{{}: c.whole, {Tenant: ours}: c.tenant, {Tenant: ours, Device: "a"}: c.byTwice} {
			if got, err := f.output(c.entry); err != nil || got != want {
				t.Errorf("%s with filter %+v: %t, %v", c.name, f, got, err)
			}
		}
	}
}

func TestPaceKeepsTheSpacing(t *testing.T) {
	now := time.Now()
	p := &pace{speed: 10}
	if d := p.due(group(t, tick(t, 100)), now); d != 0 {
		t.Errorf("the first message waits %s", d)
	}
	if d := p.due(group(t, batch(t, ours, 130e6, "a")), now); d != 3*time.Second {
		t.Errorf("30 s later at tenfold speed waits %s", d)
	}
	if d := p.due(group(t), now); d != 0 {
		t.Errorf("a message without a time waits %s", d)
	}
	if d := (&pace{}).due(group(t, tick(t, 100)), now); d != 0 {
		t.Errorf("at full speed %s", d)
	}
}
