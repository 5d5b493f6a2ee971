package app

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/stream"
)

// Tags set by API lie over those of the payload, key by key, stay when the payload's
// change, and filter every list.
func TestTagsByAPI(t *testing.T) {
	b := newAPIBench(t)
	id, declared := b.w.declared("temperature") // the bench's own
	metric, device := "/v1/metrics/"+b.ids["/v1/metrics"], "/v1/devices/"+b.ids["/v1/devices"]
	d := declared.GetMetricDeclared()
	payload := func(root uint64, tags ...*schemas.Tag) {
		t.Helper()
		d.Tags = tags
		b.w.project(stream.Points, root, declared)
	}
	payload(2, &schemas.Tag{Key: "floor", Value: "1"}, &schemas.Tag{Key: "hall", Value: "payload"}, &schemas.Tag{Key: "site", Value: "payload"})
	b.want(http.StatusOK, http.MethodPatch, device, `{"tags":{"site":"device","hall":"device"}}`)
	b.want(http.StatusOK, http.MethodPatch, metric, `{"tags":{"hall":"metric","team":"a:b"}}`)
	check := func(want map[string]string) {
		t.Helper()
		var m api.Metric
		if err := json.Unmarshal(b.want(http.StatusOK, http.MethodGet, metric, "").Body.Bytes(), &m); err != nil || !maps.Equal(m.Tags, want) {
			t.Errorf("tags %v, want %v, %v", m.Tags, want, err)
		}
	}
	check(map[string]string{"floor": "1", "hall": "metric", "site": "device", "team": "a:b"})
	payload(3, &schemas.Tag{Key: "floor", Value: "2"}, &schemas.Tag{Key: "hall", Value: "again"})
	check(map[string]string{"floor": "2", "hall": "metric", "site": "device", "team": "a:b"})

	// The lists.
	for _, list := range []string{"/v1/metrics", "/v1/devices", "/v1/anomalies", "/v1/alert-events", "/v1/alerts"} {
		for query, want := range map[string]int{"tag=hall:metric": 1, "tag=hall:again": 0, "tag=site:device": 1, "tag=floor:2": 1, "tag=floor:1": 0, "tag=team:a:b": 1,
			"tag=floor:2&tag=hall:metric": 1, "tag=floor:2&tag=hall:device": 0, "tag=none:": 0} {
			var page api.Page[json.RawMessage]
			if err := json.Unmarshal(b.want(http.StatusOK, http.MethodGet, list+"?"+query, "").Body.Bytes(), &page); err != nil || len(page.Data) != want {
				t.Errorf("%s?%s: %d entries, want %d", list, query, len(page.Data), want)
			}
		}
		for _, query := range []string{"tag=hall", "tag=:a", "tag=a:1&tag=a:2", "tag=a:%00", "tag=" + strings.Repeat("k", 65) + ":v"} {
			if r := b.want(http.StatusBadRequest, http.MethodGet, list+"?"+query, ""); !strings.Contains(r.Body.String(), "tag") {
				t.Errorf("%s?%s: %s", list, query, r.Body)
			}
		}
	}

	// A merge patch takes single tags away; what is below shows again.
	b.want(http.StatusOK, http.MethodPatch, metric, `{"tags":{"hall":null}}`)
	check(map[string]string{"floor": "2", "hall": "device", "site": "device", "team": "a:b"})
	b.want(http.StatusOK, http.MethodPatch, metric, `{"settings":{"sensitivity":2}}`)
	check(map[string]string{"floor": "2", "hall": "device", "site": "device", "team": "a:b"})
	b.want(http.StatusOK, http.MethodPatch, metric, `{"tags":null}`)
	b.want(http.StatusOK, http.MethodPatch, device, `{"tags":{"site":null}}`)
	check(map[string]string{"floor": "2", "hall": "device"})

	// What is wrong is named.
	for _, c := range []struct{ target, body, pointer string }{
		{device, `{"tags":{"a/b~":"` + strings.Repeat("v", 257) + `"}}`, "/tags/a~1b~0"}, {metric, `{"tags":{"":"x"}}`, "/tags/"},
		{metric, `{"tags":{"a":"\u0000"}}`, "/tags/a"},
	} {
		r := b.want(http.StatusUnprocessableEntity, http.MethodPatch, c.target, c.body)
		if !strings.Contains(r.Body.String(), `"pointer":"`+c.pointer+`"`) {
			t.Errorf("%s: %s", c.body, r.Body)
		}
	}
	many := map[string]string{}
	for i := range 17 {
		many[strings.Repeat("k", i+1)] = ""
	}
	body, _ := json.Marshal(map[string]any{"tags": many})
	if r := b.want(http.StatusUnprocessableEntity, http.MethodPatch, device, string(body)); !strings.Contains(r.Body.String(), "at most 16 tags") {
		t.Error(r.Body)
	}
	b.want(http.StatusBadRequest, http.MethodPatch, device, `{"tags":{"a":1}}`)
	b.want(http.StatusBadRequest, http.MethodPatch, device, `{"name":"x"}`)

	// The change travels: as an entry, sorted, and in every checkpoint.
	b.want(http.StatusOK, http.MethodPatch, metric, `{"tags":{"z":"1","a":"2","m":"3"}}`)
	all, err := b.db.AllControls(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	devices := 0
	for _, c := range all {
		if s := c.GetMetricSettings(); s != nil && string(s.MetricId) == string(id[:]) {
			for _, tag := range s.Tags {
				keys = append(keys, tag.Key)
			}
		}
		if s := c.GetDeviceSettings(); s != nil && len(s.Tags) == 1 && s.Tags[0].Key == "hall" && s.Tags[0].Value == "device" {
			devices++
		}
	}
	if !slices.Equal(keys, []string{"a", "m", "z"}) || devices != 1 {
		t.Errorf("the checkpoint has tags %q of the metric, and %d times those of the device", keys, devices)
	}
}
