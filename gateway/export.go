package gateway

import (
	"encoding/csv"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

const exportMetrics = 50 // at most, in one export

// handleExport streams a range of some metrics, oldest first, one metric after the
// other. What fails after the first byte ends the connection: a file that was cut
// must not look whole.
func (s *Server) handleExport(w http.ResponseWriter, r *http.Request) {
	p := readParams(r, "kind", "format", "metric_id*", "from", "to")
	e := exporter{s: s, r: r, tenant: keyFrom(r).TenantID, rg: p.between(), kind: p.oneOf("kind", "datapoints", "scores"), format: p.oneOf("format", "csv", "ndjson")}
	if e.kind == "" {
		e.kind = "datapoints"
	}
	if e.format == "" {
		e.format = "csv"
	}
	for _, v := range p.values["metric_id"] {
		id, ok := parseID(v)
		if !ok {
			p.refuse("metric_id", "expected a UUID")
		}
		if !slices.Contains(e.metrics, id) {
			e.metrics = append(e.metrics, id)
		}
	}
	switch {
	case len(e.metrics) == 0:
		p.refuse("metric_id", "is required: a UUID, up to "+strconv.Itoa(exportMetrics)+" times")
	case len(e.metrics) > exportMetrics:
		p.refuse("metric_id", "at most "+strconv.Itoa(exportMetrics)+" metrics in one export")
	case e.rg.From.IsZero():
		p.refuse("from", "is required: an export has a range")
	case e.rg.To.IsZero():
		p.refuse("to", "is required: an export has a range")
	}
	if p.problem != nil {
		s.problem(w, r, p.problem)
		return
	}
	for _, id := range e.metrics { // all, before the first byte
		device, name, err := s.deps.Queries.MetricNames(r.Context(), e.tenant, id)
		if err != nil {
			s.queryFailed(w, r, err)
			return
		}
		e.names = append(e.names, [2]string{device, name})
	}
	h := w.Header()
	h.Set("Content-Type", map[string]string{"csv": "text/csv; charset=utf-8; header=present", "ndjson": "application/x-ndjson"}[e.format])
	h.Set("Content-Disposition", `attachment; filename="edgepulse-`+e.kind+"."+e.format+`"`)
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	if err := e.run(w); err != nil {
		if r.Context().Err() == nil {
			s.logger.Error("export failed", "request_id", requestID(r.Context()), "error", err)
		}
		panic(http.ErrAbortHandler)
	}
}

type exporter struct {
	s            *Server
	r            *http.Request
	tenant       schemas.ID
	metrics      []schemas.ID
	names        [][2]string // device, metric
	rg           api.Range
	kind, format string
}

// rows writes some rows of a metric at a time.
type rows interface {
	head(columns ...string)
	row(cells []string, object any)
	flush() error
}

func (e *exporter) run(w http.ResponseWriter) error {
	control := http.NewResponseController(w)
	var out rows = &csvRows{csv.NewWriter(w)}
	if e.format == "ndjson" {
		out = &jsonRows{enc: json.NewEncoder(w)}
	}
	if e.kind == "datapoints" {
		out.head("metric_id", "device_external_id", "metric_name", "ts", "value", "flags", "root")
	} else {
		out.head("metric_id", "device_external_id", "metric_name", "ts", "value", "score", "alarm_score", "severity", "label",
			"expected", "lower", "upper", "warm_up", "model_version", "tick", "backfill", "root")
	}
	for i := range e.metrics {
		req := api.PageRequest{Limit: seriesMost}
		for more := true; more; {
			_ = control.SetWriteDeadline(time.Now().Add(writeTimeout)) // of a page, not of the whole
			var err error
			if req.Cursor, more, err = e.page(i, req, out); err != nil {
				return err
			}
			if err := out.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// page writes one page of metric i.
func (e *exporter) page(i int, req api.PageRequest, out rows) (next string, more bool, err error) {
	f := SeriesFilter{MetricID: e.metrics[i], Range: e.rg, OldestFirst: true}
	lead := []string{e.metrics[i].String(), e.names[i][0], e.names[i][1]}
	if e.kind == "scores" {
		page, err := e.s.deps.Queries.Scores(e.r.Context(), e.tenant, req, f)
		for _, v := range page.Data {
			out.row(append(lead[:3:3], stamp(v.TS), float(&v.Value), float(&v.Score), float(&v.AlarmScore), v.Severity, v.Label,
				float(v.Expected), float(v.Lower), float(v.Upper), v.WarmUp, v.ModelVersion, strconv.FormatBool(v.Tick), strconv.FormatBool(v.Backfill),
				strconv.FormatUint(v.Root, 10)), v)
		}
		return page.NextCursor, page.HasMore, err
	}
	page, err := e.s.deps.Queries.Datapoints(e.r.Context(), e.tenant, req, f)
	for _, v := range page.Data {
		out.row(append(lead[:3:3], stamp(v.TS), float(&v.Value), strings.Join(v.Flags, " "), strconv.FormatUint(v.Root, 10)),
			exportedPoint{lead[0], lead[1], lead[2], v})
	}
	return page.NextCursor, page.HasMore, err
}

// exportedPoint is a point that says whose it is.
type exportedPoint struct {
	MetricID         string `json:"metric_id"`
	DeviceExternalID string `json:"device_external_id"`
	MetricName       string `json:"metric_name"`
	api.Datapoint
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// float is empty for nil; else the shortest text that reads back as the same number.
func float(v *float64) string {
	if v == nil {
		return ""
	}
	return strconv.FormatFloat(*v, 'g', -1, 64)
}

// csvRows writes RFC 4180 with a header line.
type csvRows struct{ w *csv.Writer }

func (c *csvRows) head(columns ...string)    { _ = c.w.Write(columns) } // flush says what failed
func (c *csvRows) row(cells []string, _ any) { _ = c.w.Write(cells) }
func (c *csvRows) flush() error              { c.w.Flush(); return c.w.Error() }

// jsonRows writes one object a line.
type jsonRows struct {
	enc *json.Encoder
	err error
}

func (j *jsonRows) head(...string) {}
func (j *jsonRows) row(_ []string, object any) {
	if j.err == nil {
		j.err = j.enc.Encode(object)
	}
}
func (j *jsonRows) flush() error { return j.err }
