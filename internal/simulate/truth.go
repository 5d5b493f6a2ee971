package simulate

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"time"
)

// GroundTruth lists the anomalies that touch true time [from, to), by start.
// It is computed, not recorded: any span of time, before or after its points.
func (f *Fleet) GroundTruth(from, to time.Time) []Anomaly {
	var out []Anomaly
	for i := range f.devices {
		d := &f.devices[i]
		for _, s := range d.spans(d.firstAt(from.UnixMicro()), d.firstAt(to.UnixMicro())-1) {
			out = append(out, Anomaly{
				Device:    d.id,
				Metric:    d.metrics[s.metric].spec.name,
				Label:     s.label,
				Start:     d.stamp(s.first),
				End:       d.stamp(s.last),
				Magnitude: s.magnitude,
			})
		}
	}
	slices.SortStableFunc(out, func(a, b Anomaly) int { return cmp.Compare(a.Start, b.Start) })
	return out
}

// WriteJSONLines writes one JSON object per line.
func WriteJSONLines(w io.Writer, truth []Anomaly) error {
	e := json.NewEncoder(w)
	for _, a := range truth {
		if err := e.Encode(a); err != nil {
			return err
		}
	}
	return nil
}

// WriteCSV writes a header and one row per anomaly, in the order of the JSON fields.
func WriteCSV(w io.Writer, truth []Anomaly) error {
	c := csv.NewWriter(w)
	rows := [][]string{{"device_external_id", "metric", "label", "start", "end", "magnitude"}}
	for _, a := range truth {
		rows = append(rows, []string{
			a.Device, a.Metric, a.Label.String(),
			strconv.FormatInt(a.Start, 10), strconv.FormatInt(a.End, 10),
			strconv.FormatFloat(a.Magnitude, 'g', -1, 64),
		})
	}
	return c.WriteAll(rows)
}
