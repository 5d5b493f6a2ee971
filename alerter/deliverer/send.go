package deliverer

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
)

// maxAnswer bounds what is read of an answer; nothing of it is kept.
const maxAnswer = 64 << 10

// noEndpoint ends a delivery without an attempt; it says nothing about the endpoint's health.
const noEndpoint = "endpoint is gone or disabled"

// answer is what came of one attempt, before the schedule was asked.
type answer struct {
	delivery *delivery
	at       time.Time // when the attempt began
	took     time.Duration
	status   int    // 0 = no answer
	err      string // short, without URL, secret or body; empty = delivered
	wait     time.Duration
	noTry    bool // nothing was sent: there is no such endpoint any more
	postpone bool // nothing was sent: the settings could not be read; not a fact
	disable  string
}

// attempt makes one attempt and, where the endpoint has proved dead, disables it.
// The endpoint is disabled before the attempt is recorded: a crash in between
// repeats both.
func (d *Deliverer) attempt(ctx context.Context, dl *delivery, failingSince time.Time) answer {
	now := d.cfg.Clock.Now()
	ep, found, err := d.endpoints.find(ctx, dl.tenant, dl.endpoint)
	if err != nil {
		d.log.Warn("read webhook endpoints", "error", err)
		return answer{delivery: dl, at: now, postpone: true}
	}
	if !found {
		return answer{delivery: dl, at: now, noTry: true, err: noEndpoint}
	}
	a := d.post(ctx, dl, ep, now)
	if a.took > 0 {
		d.metrics.duration.Observe(a.took.Seconds())
	}
	reason := ""
	switch {
	case a.err == "":
	case a.status == http.StatusGone:
		reason = "the endpoint answered 410 Gone"
	case !failingSince.IsZero() && now.Sub(failingSince) >= disableAfter && ep.LastDelivered.Before(failingSince):
		reason = fmt.Sprintf("every attempt failed for %d days; the last with: %s", int(disableAfter.Hours())/24, a.err)
	}
	if reason == "" {
		return a
	}
	if err := d.endpoints.disable(ctx, dl.tenant, dl.endpoint, reason); err != nil {
		// The next attempt will find the endpoint as dead as this one did.
		d.log.Warn("disable webhook endpoint", "error", err)
		return a
	}
	a.disable = reason
	return a
}

// post makes one attempt at an endpoint.
func (d *Deliverer) post(ctx context.Context, dl *delivery, ep Endpoint, now time.Time) answer {
	a := answer{delivery: dl, at: now}
	body, err := encodeBody(dl.event, dl.root, dl.partition)
	if err != nil {
		a.err = err.Error()
		return a
	}
	d.sender.send(ctx, &a, dl.webhook.String(), ep, body)
	return a
}

// sender sends signed requests through the guard.
type sender struct {
	guard   *Guard
	client  *http.Client
	timeout time.Duration
}

func newSender(guard *Guard, cfg Config) sender { return sender{guard, guard.client(cfg), cfg.Timeout} }

// send sends one signed request at a.at, and says in a what came of it.
func (s sender) send(ctx context.Context, a *answer, id string, ep Endpoint, body []byte) {
	if err := s.guard.CheckURL(ep.URL); err != nil {
		a.err = err.Error()
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, ep.URL, bytes.NewReader(body))
	if err != nil {
		a.err = "webhook URL can't be used"
		return
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "EdgePulse-Webhooks/1")
	req.Header.Set("webhook-id", id)
	req.Header.Set("webhook-timestamp", strconv.FormatInt(a.at.Unix(), 10))
	req.Header.Set("webhook-signature", sign(id, a.at, body, ep.Secrets))
	begun := time.Now() // a duration, not an instant: the injected clock may stand still
	res, err := s.client.Do(req)
	if err != nil {
		a.took, a.err = time.Since(begun), short(err)
		return
	}
	defer res.Body.Close()
	// The answer counts when it is complete: a receiver that never ends it has not taken the event.
	_, err = io.Copy(io.Discard, io.LimitReader(res.Body, maxAnswer))
	a.took, a.status = time.Since(begun), res.StatusCode
	switch {
	case err != nil:
		a.err = short(err)
	case res.StatusCode >= 200 && res.StatusCode < 300:
	case res.StatusCode >= 300 && res.StatusCode < 400:
		a.err = fmt.Sprintf("status %d: redirects are not followed", res.StatusCode)
	default:
		a.err = fmt.Sprintf("status %d", res.StatusCode)
		a.wait = retryAfter(res, a.at)
	}
}

// short names the cause of an error without its URL, which may hold a secret.
func short(err error) string {
	var (
		dns    *net.DNSError
		record tls.RecordHeaderError
		cert   *tls.CertificateVerificationError
		host   x509.HostnameError
		auth   x509.UnknownAuthorityError
		netErr net.Error
	)
	switch {
	case errors.Is(err, ErrBlocked):
		return ErrBlocked.Error()
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return "time-out"
	case errors.Is(err, context.Canceled):
		return "interrupted"
	case errors.As(err, &dns):
		return "name not resolved"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed"
	case errors.As(err, &cert), errors.As(err, &host), errors.As(err, &auth):
		return "certificate not trusted"
	case errors.As(err, &record):
		return "not a TLS server"
	default:
		return "request failed"
	}
}

// facts turns an answer into what DELIVERIES records of it.
func (d *Deliverer) facts(a answer) []*schemas.Delivery {
	dl := a.delivery
	f := dl.fact(schemas.DeliveryKind_DELIVERY_KIND_ATTEMPTED, a.at)
	f.Attempt = dl.attempts + 1
	f.Status, f.Error, f.DurationUs = uint32(a.status), a.err, a.took.Microseconds()
	f.Outcome = schemas.DeliveryOutcome_DELIVERY_OUTCOME_GAVE_UP
	if a.err == "" {
		f.Outcome = schemas.DeliveryOutcome_DELIVERY_OUTCOME_DELIVERED
	} else if !a.noTry && a.disable == "" {
		if next, more := nextAttempt(f.Attempt, a.at, a.wait, d.cfg.Jitter()); more {
			f.Outcome, f.NextAt = schemas.DeliveryOutcome_DELIVERY_OUTCOME_RETRY, next.UnixMicro()
		}
	}
	out := []*schemas.Delivery{f}
	if a.disable != "" {
		gone := dl.fact(schemas.DeliveryKind_DELIVERY_KIND_ENDPOINT_DISABLED, a.at)
		gone.Error = a.disable
		out = append(out, gone)
	}
	return out
}
