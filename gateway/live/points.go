package live

import (
	"encoding/json"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/stream"
)

// takePoints hands the points of a commit to those who want them, and counts what
// tenants with subscribers send.
func (h *Hub) takePoints(m stream.Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.subs) == 0 {
		return
	}
	for _, root := range m.Roots {
		for _, raw := range root.Entries {
			switch schemas.KindOf(raw) {
			case schemas.KindPoints:
				h.takeSeries(raw)
			case schemas.KindReceipt:
				h.takeReceipt(raw)
			}
		}
	}
}

func (h *Hub) takeSeries(raw []byte) {
	e := &schemas.Entry{}
	if err := e.UnmarshalVTUnsafe(raw); err != nil {
		return // the projector has said so
	}
	p := e.GetPoints()
	tenant, err := schemas.IDFrom(p.TenantId)
	if err != nil || len(h.subs[tenant]) == 0 {
		return
	}
	for _, series := range p.Series {
		metric, err := schemas.IDFrom(series.MetricId)
		if err != nil || len(series.Ts) != len(series.Values) {
			continue
		}
		var points [][2]float64
		for s := range h.subs[tenant] {
			if !s.wants.Points || !s.wants.Metrics[metric] {
				continue
			}
			if points == nil {
				points = pointsOf(series)
			}
			s.pushPoints(metric, points)
		}
	}
}

// pointsOf are the samples of a series as pairs of unix milliseconds and value.
func pointsOf(series *schemas.Series) [][2]float64 {
	out := make([][2]float64, len(series.Ts))
	ts := int64(0)
	for i, d := range series.Ts {
		ts += d
		out[i] = [2]float64{float64(ts) / 1000, series.Values[i]}
	}
	return out
}

func (h *Hub) takeReceipt(raw []byte) {
	e := &schemas.Entry{}
	if err := e.UnmarshalVTUnsafe(raw); err != nil {
		return
	}
	receipt := e.GetReceipt()
	tenant, err := schemas.IDFrom(receipt.TenantId)
	if err != nil || len(h.subs[tenant]) == 0 {
		return
	}
	r := h.rates[tenant]
	if r == nil {
		r = &rate{}
		h.rates[tenant] = r
	}
	r.points += uint64(receipt.Accepted)
	if receipt.Part == 0 {
		r.requests++
	}
}

func ingestEvent(r rate, seconds float64) Event {
	data, err := json.Marshal(api.LiveIngest{PointsPerSecond: float64(r.points) / seconds, RequestsPerSecond: float64(r.requests) / seconds})
	if err != nil {
		data = []byte("{}") // of two numbers: can't fail
	}
	return Event{Name: "ingest", Data: data}
}
