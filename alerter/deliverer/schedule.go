package deliverer

import (
	"net/http"
	"strconv"
	"time"
)

// schedule is the wait before each attempt, from Standard Webhooks 1.0.0: ten
// attempts over three days.
var schedule = []time.Duration{
	0, 5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour,
	5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
}

const (
	// jitterShare spreads waits by ±20 %, so that endpoints that came back are not met by a wall.
	jitterShare = 0.2
	// maxRetryAfter bounds how long an endpoint can make us wait.
	maxRetryAfter = 24 * time.Hour
	// disableAfter is how long an endpoint may fail without one success.
	disableAfter = 5 * 24 * time.Hour
)

// nextAttempt is when to try again after an attempt (1-based) that failed at an
// instant; false when the schedule is at its end.
func nextAttempt(attempt uint32, failedAt time.Time, retryAfter time.Duration, jitter float64) (time.Time, bool) {
	if int(attempt) >= len(schedule) {
		return time.Time{}, false
	}
	wait := schedule[attempt]
	wait += time.Duration(float64(wait) * jitterShare * (2*jitter - 1))
	return failedAt.Add(max(wait, min(retryAfter, maxRetryAfter))), true
}

// retryAfter reads the header of an answer that asks for patience, in seconds or as a date.
func retryAfter(res *http.Response, now time.Time) time.Duration {
	switch res.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
	default:
		return 0
	}
	value := res.Header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
