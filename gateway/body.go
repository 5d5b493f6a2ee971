package gateway

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/edgepulse/edgepulse/schemas"
)

// budget bounds the bytes of requests in work, over all tenants and for each.
type budget struct {
	mu       sync.Mutex
	total    int64
	byTenant map[schemas.ID]int64
	max      int64
	share    int64
	gauge    interface{ Set(float64) }
}

func newBudget(cfg *Config, m *metrics) *budget {
	return &budget{byTenant: map[schemas.ID]int64{}, max: cfg.Inflight, share: cfg.TenantShare, gauge: m.inflight}
}

// take reserves n bytes or says with which answer to refuse.
func (b *budget) take(tenant schemas.ID, n int64) *problem {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.byTenant[tenant]+n > b.share:
		return newProblem(http.StatusTooManyRequests, "too_much_in_flight", "too many bytes of this tenant are in work; send fewer requests at a time").retry(1)
	case b.total+n > b.max:
		return newProblem(http.StatusServiceUnavailable, "overloaded", "the gateway has too much in work").retry(1)
	}
	b.byTenant[tenant] += n
	b.total += n
	b.gauge.Set(float64(b.total))
	return nil
}

func (b *budget) give(tenant schemas.ID, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total -= n
	if b.byTenant[tenant] -= n; b.byTenant[tenant] == 0 {
		delete(b.byTenant, tenant)
	}
	b.gauge.Set(float64(b.total))
}

// bodyReader reads one body within the bounds. Its memory is reserved from the
// budget before it is used, so a bomb is stopped while it inflates.
type bodyReader struct {
	s      *Server
	tenant schemas.ID
	buf    []byte
	held   int64
	wire   int64
}

var bodyPool = sync.Pool{New: func() any { return new([]byte) }}

// release gives memory and budget back; the bytes of the body are invalid then.
func (b *bodyReader) release() {
	b.s.budget.give(b.tenant, b.held)
	if cap(b.buf) <= 1<<20 {
		b.buf = b.buf[:0]
		bodyPool.Put(&b.buf)
	}
}

// grow reserves the next stretch of memory: what a body uses is charged, not what
// the pool happens to hold.
func (b *bodyReader) grow(most int64) *problem {
	want := min(max(2*b.held, 16<<10), most)
	if p := b.s.budget.take(b.tenant, want-b.held); p != nil {
		return p
	}
	b.held = want
	if int64(cap(b.buf)) < want {
		grown := make([]byte, len(b.buf), want)
		copy(grown, b.buf)
		b.buf = grown
	}
	return nil
}

var (
	gzipPool sync.Pool
	zstdPool sync.Pool
)

// readBody returns the bytes of a JSON body after Content-Encoding. The caller
// releases the reader, also after a problem.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request, tenant schemas.ID, maxWire, maxInflated int64) (*bodyReader, *problem) {
	b := &bodyReader{s: s, tenant: tenant, buf: (*bodyPool.Get().(*[]byte))[:0]}
	if p := checkContentType(r); p != nil {
		return b, p
	}
	if r.ContentLength > maxWire {
		return b, tooLarge("the body", maxWire, "bytes on the wire")
	}
	wire := &countingReader{r: http.MaxBytesReader(w, r.Body, maxWire)}
	src, limit, done, p := s.decompressor(r, wire, maxInflated, maxWire)
	if p != nil {
		return b, p
	}
	defer done()
	for {
		if int64(len(b.buf)) == b.held {
			if p := b.grow(limit + 1); p != nil {
				return b, p
			}
		}
		n, err := src.Read(b.buf[len(b.buf):b.held])
		b.buf = b.buf[:len(b.buf)+n]
		b.wire = wire.n
		switch size := int64(len(b.buf)); {
		case size > limit:
			return b, tooLarge("the body after Content-Encoding", limit, "bytes")
		case size > 64<<10 && src != io.Reader(wire) && size > s.cfg.MaxRatio*wire.n:
			return b, newProblem(http.StatusRequestEntityTooLarge, "ratio_too_high", "the body inflates more than real data does").header("Connection", "close")
		}
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return b, readProblem(err, maxWire)
		}
	}
}

func readProblem(err error, maxWire int64) *problem {
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		return tooLarge("the body", maxWire, "bytes on the wire")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return newProblem(http.StatusRequestTimeout, "body_too_slow", "the body did not arrive in time").header("Connection", "close")
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded):
		return newProblem(http.StatusRequestEntityTooLarge, "body_too_large", "the zstd frame asks for more memory than a body may have")
	default:
		return newProblem(http.StatusBadRequest, "bad_body", "the body does not match its Content-Encoding or Content-Length")
	}
}

func tooLarge(what string, limit int64, unit string) *problem {
	return newProblem(http.StatusRequestEntityTooLarge, "body_too_large", what+" exceeds "+itoa(limit)+" "+unit+"; split the request").header("Connection", "close")
}

func checkContentType(r *http.Request) *problem {
	values := r.Header.Values("Content-Type")
	if len(values) == 1 {
		mt, params, err := mime.ParseMediaType(values[0])
		charset, given := params["charset"]
		if err == nil && mt == "application/json" && (!given || strings.EqualFold(charset, "utf-8")) {
			return nil
		}
	}
	return newProblem(http.StatusUnsupportedMediaType, "unsupported_media_type", "expected Content-Type: application/json").header("Accept", "application/json")
}

// decompressor undoes Content-Encoding, which may name one encoding only.
func (s *Server) decompressor(r *http.Request, wire io.Reader, maxInflated, maxWire int64) (src io.Reader, limit int64, done func(), p *problem) {
	switch enc := strings.ToLower(strings.TrimSpace(strings.Join(r.Header.Values("Content-Encoding"), ","))); enc {
	case "", "identity":
		return wire, maxWire, func() {}, nil
	case "gzip", "x-gzip":
		z, _ := gzipPool.Get().(*gzip.Reader)
		if z == nil {
			z = new(gzip.Reader)
		}
		if err := z.Reset(wire); err != nil {
			gzipPool.Put(z)
			return nil, 0, nil, readProblem(err, maxWire)
		}
		return z, maxInflated, func() { gzipPool.Put(z) }, nil
	case "zstd":
		z, _ := zstdPool.Get().(*zstd.Decoder)
		if z == nil {
			var err error
			if z, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20)); err != nil {
				panic("zstd options: " + err.Error()) // constants
			}
		}
		if err := z.Reset(wire); err != nil {
			zstdPool.Put(z)
			return nil, 0, nil, readProblem(err, maxWire)
		}
		return z, maxInflated, func() { _ = z.Reset(nil); zstdPool.Put(z) }, nil
	default:
		return nil, 0, nil, newProblem(http.StatusUnsupportedMediaType, "unsupported_encoding", "expected Content-Encoding gzip, zstd or none").
			header("Accept-Encoding", "gzip, zstd")
	}
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
