// Package client speaks EdgePulse's HTTP API on behalf of the command line.
//
// It retries what is safe to retry (a time-out, 429, 5xx, a lost connection),
// always with the same Idempotency-Key, and honours Retry-After.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/klauspost/compress/gzip"

	"github.com/edgepulse/edgepulse/schemas/api"
)

// Client is bound to one service and key.
type Client struct {
	base string
	key  string
	http *http.Client
	// Patience bounds the retries of one call.
	Patience time.Duration
}

// New returns a client for a base URL such as http://127.0.0.1:8787.
func New(base, key string) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("--url %q is not an http(s) address, expected something like http://127.0.0.1:8787", base)
	}
	if key == "" {
		return nil, errors.New("no API key: pass --key or set EDGEPULSE_API_KEY (`edgepulse key create` makes one; `up` writes one to <data>/dev.env)")
	}
	return &Client{base: strings.TrimRight(u.String(), "/"), key: key, Patience: 2 * time.Minute,
		http: &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64, Proxy: http.ProxyFromEnvironment}}}, nil
}

// Error is a problem the service answered.
type Error struct {
	Problem api.Problem
	retry   time.Duration
}

func (e *Error) Error() string {
	p := e.Problem
	s := fmt.Sprintf("%d %s: %s", p.Status, p.Code, p.Detail)
	if p.Detail == "" {
		s = fmt.Sprintf("%d %s: %s", p.Status, p.Code, p.Title)
	}
	for i, item := range p.Errors {
		if i == 3 {
			s += fmt.Sprintf("\n  … and %d more", max(p.ErrorCount, len(p.Errors))-3)
			break
		}
		s += fmt.Sprintf("\n  %s: %s (%s)", item.Pointer, item.Detail, item.Code)
	}
	if p.Status == http.StatusUnauthorized {
		s += "\n  check EDGEPULSE_API_KEY or --key; `edgepulse key ls` lists the keys"
	}
	if p.RequestID != "" {
		s += "\n  request " + p.RequestID
	}
	return s
}

// Ingest posts one body; the key makes a retry harmless.
func (c *Client) Ingest(ctx context.Context, body []byte, idempotencyKey string) (api.IngestAnswer, error) {
	var zipped bytes.Buffer
	z, _ := gzip.NewWriterLevel(&zipped, gzip.BestSpeed)
	if _, err := z.Write(body); err != nil {
		return api.IngestAnswer{}, fmt.Errorf("compress body: %w", err)
	}
	if err := z.Close(); err != nil {
		return api.IngestAnswer{}, fmt.Errorf("compress body: %w", err)
	}
	h := http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}}
	if idempotencyKey != "" {
		h.Set("Idempotency-Key", idempotencyKey)
	}
	var answer api.IngestAnswer
	err := c.Do(ctx, http.MethodPost, "/v1/ingest", zipped.Bytes(), h, &answer)
	return answer, err
}

// Get reads a JSON document.
func (c *Client) Get(ctx context.Context, path string, query url.Values, into any) error {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return c.Do(ctx, http.MethodGet, path, nil, nil, into)
}

// Post sends a JSON document once: only calls with an Idempotency-Key are retried.
func (c *Client) Post(ctx context.Context, path string, body, into any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode body: %w", err)
	}
	return c.once(ctx, http.MethodPost, path, b, http.Header{"Content-Type": {"application/json"}}, into)
}

// Do sends a request until it is answered for good.
func (c *Client) Do(ctx context.Context, method, path string, body []byte, h http.Header, into any) error {
	policy := backoff.NewExponentialBackOff()
	policy.InitialInterval, policy.MaxInterval = 100*time.Millisecond, 5*time.Second
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := c.once(ctx, method, path, body, h, into)
		var e *Error
		switch {
		case errors.As(err, &e) && e.retry > 0:
			return struct{}{}, backoff.RetryAfter(int(e.retry.Seconds()))
		case errors.As(err, &e) && e.Problem.Status < 500 && e.Problem.Status != http.StatusTooManyRequests && e.Problem.Status != http.StatusConflict:
			return struct{}{}, backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(policy), backoff.WithMaxElapsedTime(c.Patience))
	return err
}

func (c *Client) once(ctx context.Context, method, path string, body []byte, h http.Header, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	for k, v := range h {
		req.Header[k] = v
	}
	req.Header.Set("X-API-Key", c.key)
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("reach %s: %w (is `edgepulse up` running?)", c.base, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		return problem(resp, b)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("decode answer of %s: %w", path, err)
	}
	return nil
}

func problem(resp *http.Response, b []byte) error {
	e := &Error{}
	if json.Unmarshal(b, &e.Problem) != nil || e.Problem.Status == 0 {
		e.Problem = api.Problem{Status: resp.StatusCode, Title: http.StatusText(resp.StatusCode), Code: "unexpected_answer"}
	}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
		e.retry = time.Duration(s) * time.Second
	}
	return e
}

// Stream opens a long-lived GET and hands the body over.
func (c *Client) Stream(ctx context.Context, path string, h http.Header) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	for k, v := range h {
		req.Header[k] = v
	}
	req.Header.Set("X-API-Key", c.key)
	resp, err := (&http.Client{Transport: c.http.Transport}).Do(req)
	if err != nil {
		return nil, fmt.Errorf("reach %s: %w", c.base, err)
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		return nil, problem(resp, b)
	}
	return resp.Body, nil
}
