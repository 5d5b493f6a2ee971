package main

import (
	"strings"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/schemas/api"
)

func TestAlertLine(t *testing.T) {
	p := func(v float64) *float64 { return &v }
	at := time.Date(2026, 11, 23, 8, 45, 0, 0, time.UTC)
	spike := api.AlertEvent{State: "opened", Label: "spike", Severity: "critical", DeviceExternalID: "kitchen", MetricName: "temp",
		Value: 95, Expected: p(21.4), Lower: p(20.1), Upper: p(22.8), TS: at, OpenedAt: at}
	stuck := spike
	stuck.Label, stuck.Explanation, stuck.Severity = "stuck", "stuck at 21 for 9 values", "warning"
	done := spike
	done.State, done.OpenedAt = "resolved", at.Add(-33*time.Second)
	held := spike
	held.SuppressedBy, held.SubLabel = "backfill", "level"
	for _, c := range []struct {
		e     api.AlertEvent
		delay time.Duration
		want  string
	}{
		{spike, 180 * time.Millisecond, "SPIKE       kitchen/temp 95 (expected 21.4, 20.1..22.8), critical in 180 ms"},
		{spike, 0, "SPIKE       kitchen/temp 95 (expected 21.4, 20.1..22.8), critical"},
		{stuck, 2300 * time.Millisecond, "STUCK       kitchen/temp stuck at 21 for 9 values, warning in 2.3 s"},
		{done, time.Second, "SPIKE       kitchen/temp resolved after 33s"},
		{held, 0, "SPIKE/level kitchen/temp 95 (expected 21.4, 20.1..22.8), critical, not notified (backfill)"},
	} {
		if got := alertLine(c.e, c.delay, false); !strings.HasSuffix(got, " "+c.want) {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	if got := alertLine(spike, 0, true); !strings.Contains(got, "\x1b[1;31mSPIKE") {
		t.Errorf("no colour: %q", got)
	}
}

func TestDays(t *testing.T) {
	for text, want := range map[string]time.Duration{"14d": 336 * time.Hour, "0.5d": 12 * time.Hour, "36h": 36 * time.Hour, "0": 0} {
		var d days
		if err := d.UnmarshalText([]byte(text)); err != nil || time.Duration(d) != want {
			t.Errorf("%s: %s, %v", text, time.Duration(d), err)
		}
	}
	var d days
	if err := d.UnmarshalText([]byte("two weeks")); err == nil {
		t.Error("two weeks was taken")
	}
}
