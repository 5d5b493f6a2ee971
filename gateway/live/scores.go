package live

import (
	"context"
	"encoding/json"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/stream"
)

// Names finds what a score does not hold: how its metric and device are called.
type Names interface {
	MetricNames(ctx context.Context, tenant, metric schemas.ID) (device, metricName string, err error)
}

// named is a metric's place in the cache of names.
type named struct{ device, metric string }

// maxNames bounds the cache; metrics that have anomalies are few.
const maxNames = 10_000

// unnamedAnomaly waits until somebody has looked up how its metric is called.
type unnamedAnomaly struct {
	tenant, metric schemas.ID
	severity       schemas.Severity
	score          api.Score
}

// takeScores hands the evaluations of a commit to those who want them.
func (h *Hub) takeScores(m stream.Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, root := range m.Roots {
		for _, raw := range root.Entries {
			if schemas.KindOf(raw) == schemas.KindScore && len(h.subs) > 0 {
				h.takeScore(raw, root.Root)
			}
		}
	}
}

// takeScore encodes a score when there is somebody to send it to. h.mu is held.
func (h *Hub) takeScore(raw []byte, root uint64) {
	e := &schemas.Entry{}
	if err := e.UnmarshalVTUnsafe(raw); err != nil {
		return // the projector has said so
	}
	score := e.GetScore()
	tenant, err := schemas.IDFrom(score.TenantId)
	if err != nil {
		return
	}
	metric, err := schemas.IDFrom(score.MetricId)
	if err != nil {
		return
	}
	anomaly := score.Severity != schemas.Severity_SEVERITY_NONE
	var data []byte
	wanted := false
	for s := range h.subs[tenant] {
		wanted = wanted || anomaly && s.wantsAnomaly(score.Severity)
		if !s.wants.Scores || !s.wants.Metrics[metric] {
			continue
		}
		if data == nil {
			shown, err := api.ScoreOf(score, root)
			if err != nil {
				return
			}
			if data, err = json.Marshal(shown); err != nil {
				return
			}
		}
		s.push(Event{Name: "score", Data: data})
	}
	if wanted {
		if shown, err := api.ScoreOf(score, root); err == nil {
			h.anomaly(unnamedAnomaly{tenant, metric, score.Severity, shown})
		}
	}
}

// anomaly sends an anomaly, or lets its metric be looked up before. h.mu is held.
func (h *Hub) anomaly(a unnamedAnomaly) {
	if n, ok := h.known[a.metric]; ok {
		h.sendAnomaly(a, n)
		return
	}
	select {
	case h.unnamed <- a:
	default: // better without a name than late
		h.sendAnomaly(a, named{})
	}
}

func (h *Hub) sendAnomaly(a unnamedAnomaly, n named) {
	a.score.DeviceExternalID, a.score.MetricName = n.device, n.metric
	data, err := json.Marshal(a.score)
	if err != nil {
		return
	}
	for s := range h.subs[a.tenant] {
		if s.wantsAnomaly(a.severity) {
			s.push(Event{Name: "anomaly", Data: data})
		}
	}
}

// runNames looks up the names of metrics that have an anomaly for the first time.
func (h *Hub) runNames() {
	for {
		select {
		case <-h.ctx.Done():
			return
		case a := <-h.unnamed:
			n, ok := h.nameOf(a.metric)
			if !ok {
				ctx, cancel := context.WithTimeout(h.ctx, 500*time.Millisecond)
				device, metric, err := h.names.MetricNames(ctx, a.tenant, a.metric)
				cancel()
				n, ok = named{device, metric}, err == nil
			}
			h.mu.Lock()
			if ok {
				if len(h.known) >= maxNames {
					clear(h.known)
				}
				h.known[a.metric] = n
			}
			h.sendAnomaly(a, n)
			h.mu.Unlock()
		}
	}
}

func (h *Hub) nameOf(metric schemas.ID) (named, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n, ok := h.known[metric]
	return n, ok
}
