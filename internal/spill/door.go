package spill

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/edgepulse/edgepulse/schemas/api"
)

// gateway is a Door over HTTP. The gateway is the one writer of INGEST, in its own
// process or in ours; the drain needs its address and no secret.
type gateway struct {
	address func() string
	http    *http.Client
}

// NewGateway is the gateway at an address; it is asked before every request,
// because in one process the gateway opens its port after the drain has begun.
func NewGateway(address func() string) Door {
	return gateway{address, &http.Client{
		Timeout:       30 * time.Second,
		Transport:     &http.Transport{MaxIdleConnsPerHost: lanes, Proxy: http.ProxyFromEnvironment},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// CheckAddress says what is wrong with the address of a gateway.
func CheckAddress(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return fmt.Errorf("%q is not an http(s) address", s)
	}
	return nil
}

// Ready implements Door.
func (g gateway) Ready(ctx context.Context) error {
	base := g.address()
	if base == "" {
		return fmt.Errorf("the gateway does not listen yet")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(base, "/")+"/v1/ready", nil)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	res, err := g.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %d", res.StatusCode)
	}
	return nil
}

// Put implements Door.
func (g gateway) Put(ctx context.Context, object []byte) (Answer, error) {
	base := g.address()
	if base == "" {
		return Answer{}, fmt.Errorf("the gateway does not listen yet")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(base, "/")+"/v1/edge/spills", bytes.NewReader(object))
	if err != nil {
		return Answer{}, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	res, err := g.http.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return Answer{}, fmt.Errorf("read answer: %w", err)
	}
	a := Answer{Status: res.StatusCode}
	if a.Status == http.StatusAccepted {
		var taken api.IngestAnswer
		if err := json.Unmarshal(body, &taken); err != nil || taken.BatchID == "" {
			return Answer{}, fmt.Errorf("answer 202 is not that of a gateway")
		}
		a.Repeat = taken.Repeat
		return a, nil
	}
	var p api.Problem
	if err := json.Unmarshal(body, &p); err != nil || p.Code == "" {
		// Something between us and the gateway: not a judgement about the request.
		return Answer{}, fmt.Errorf("answer %d is not that of a gateway", a.Status)
	}
	if p.Code == "unknown_path" || p.Code == "method_not_allowed" {
		return Answer{}, fmt.Errorf("the gateway at this address takes no spills (an older version?)")
	}
	a.Code, a.Detail = p.Code, p.Detail
	return a, nil
}
