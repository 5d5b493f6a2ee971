package importer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/edgepulse/edgepulse/schemas/api"
)

// batchRows is how many rows travel in one request.
const batchRows = 2000

// Sender is the API.
type Sender interface {
	Ingest(ctx context.Context, body []byte, idempotencyKey string) (api.IngestAnswer, error)
	Get(ctx context.Context, path string, query url.Values, into any) error
}

// Target names the series that a file becomes.
type Target struct {
	Device, Metric, Unit string
}

// Summary says what became of the rows.
type Summary struct {
	Rows        int `json:"rows"`
	Accepted    int `json:"accepted"`
	Duplicate   int `json:"duplicate"`
	Conflicting int `json:"conflicting"`
	Late        int `json:"late"`
	Rejected    int `json:"rejected"`
	Batches     int `json:"batches"`
	Repeated    int `json:"repeated"` // batches that the service had taken before
	First, Last time.Time
	Rejections  []api.Rejection `json:"rejections,omitempty"`
	ids         []string
}

// Send posts a file as backfill, in order, one request after the other: history
// must arrive in order to be scored. Every request carries an Idempotency-Key
// made of the file's content and the target, so importing twice changes nothing.
func Send(ctx context.Context, c Sender, path string, o Options, t Target, progress func(rows int)) (Summary, error) {
	f, err := os.Open(path)
	if err != nil {
		return Summary{}, fmt.Errorf("open file: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return Summary{}, fmt.Errorf("read file: %w", err)
	}
	fmt.Fprintf(h, "\x00%s\x00%s\x00%s", t.Device, t.Metric, t.Unit)
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return Summary{}, fmt.Errorf("read file: %w", err)
	}
	b := batcher{ctx: ctx, c: c, target: t, prefix: hex.EncodeToString(h.Sum(nil)[:20]), progress: progress}
	err = Read(f, o, b.add)
	if err == nil {
		err = b.flush()
	}
	if err != nil {
		return b.sum, fmt.Errorf("import %s: %w", path, err)
	}
	return b.sum, nil
}

type batcher struct {
	ctx      context.Context
	c        Sender
	target   Target
	prefix   string
	progress func(int)
	rows     []Row
	sum      Summary
}

func (b *batcher) add(r Row) error {
	b.rows = append(b.rows, r)
	b.sum.Rows++
	at := time.UnixMicro(r.TS).UTC()
	if b.sum.First.IsZero() || at.Before(b.sum.First) {
		b.sum.First = at
	}
	if at.After(b.sum.Last) {
		b.sum.Last = at
	}
	if len(b.rows) == batchRows {
		return b.flush()
	}
	return nil
}

func (b *batcher) flush() error {
	if len(b.rows) == 0 {
		return nil
	}
	body, err := Body(b.target, b.rows)
	if err != nil {
		return err
	}
	answer, err := b.c.Ingest(b.ctx, body, b.prefix+"-"+strconv.Itoa(b.sum.Batches))
	if err != nil {
		return fmt.Errorf("send lines %d to %d: %w", b.rows[0].Line, b.rows[len(b.rows)-1].Line, err)
	}
	b.sum.Batches++
	if answer.Repeat {
		// The service knows the request; its receipt is that of the first time.
		b.sum.Repeated++
		b.sum.Duplicate += len(b.rows)
	} else {
		b.sum.ids = append(b.sum.ids, answer.BatchID)
	}
	b.rows = b.rows[:0]
	if b.progress != nil {
		b.progress(b.sum.Rows)
	}
	return nil
}

// Body is the ingest payload of some rows, as backfill.
func Body(t Target, rows []Row) ([]byte, error) {
	name, err := json.Marshal(t.Metric)
	if err != nil {
		return nil, fmt.Errorf("encode metric: %w", err)
	}
	device, err := json.Marshal(t.Device)
	if err != nil {
		return nil, fmt.Errorf("encode device: %w", err)
	}
	unit := []byte(nil)
	if t.Unit != "" {
		if unit, err = json.Marshal(t.Unit); err != nil {
			return nil, fmt.Errorf("encode unit: %w", err)
		}
	}
	out := fmt.Appendf(nil, `{"device_external_id":%s,"backfill":true,"metrics":[`, device)
	for i, r := range rows {
		if i > 0 {
			out = append(out, ',')
		}
		out = fmt.Appendf(out, `{"name":%s,"ts":"%s","value":`, name, time.UnixMicro(r.TS).UTC().Format("2006-01-02T15:04:05.999999Z"))
		out = strconv.AppendFloat(out, r.Value, 'g', -1, 64)
		if unit != nil {
			out = append(append(out, `,"unit":`...), unit...)
		}
		out = append(out, '}')
	}
	return append(out, "]}"...), nil
}

// Wait reads the receipts until all are complete and adds them up.
func (s *Summary) Wait(ctx context.Context, c Sender, progress func(done, of int)) error {
	for i, id := range s.ids {
		for {
			var r api.Receipt
			if err := c.Get(ctx, "/v1/batches/"+id, nil, &r); err == nil && r.Complete {
				s.Accepted += r.Accepted
				s.Duplicate += r.Duplicate
				s.Conflicting += r.Conflicting
				s.Late += r.Late
				s.Rejected += r.Rejected
				s.Rejections = append(s.Rejections, r.Rejections...)
				break
			} else if err != nil && ctx.Err() != nil {
				return fmt.Errorf("read receipt %s: %w", id, err)
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("read receipt %s: %w", id, ctx.Err())
			case <-time.After(50 * time.Millisecond):
			}
		}
		if progress != nil {
			progress(i+1, len(s.ids))
		}
	}
	return nil
}
