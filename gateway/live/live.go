// Package live fans the logs out to those who watch: one Hub per process follows
// SCORES, POINTS and ALERTS, however many subscribers there are.
//
// What comes in: commits of the derived logs (Source), and older alerts of the
// database (Backlog). What goes out: events per subscriber, of one tenant only.
//
// Order: alerts of a partition come in the order of their roots, and within a
// root by event time, alert and ordinal, an order that log and database share.
// Between partitions and between kinds of events there is none.
//
// State: a ring of recent alerts, so that a subscriber who comes back is served
// without asking anybody, and bounded queues. A log is followed while somebody
// wants something of it, and a little longer.
//
// Failure: alerts are never lost. A subscriber's Cursor says what it was sent; one
// that is too slow for its queue, or comes back, gets what is missing from the
// ring, and what the ring no longer holds from the database, which is waited for
// as long as its projection is behind. Scores and points are dropped when a
// reader is slow, and the reader is told how many. A log that proves changed is
// followed anew from where it is.
package live

import (
	"context"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/stream"
)

// Source is the logs.
type Source interface {
	// News is the root after which a log's entries are new.
	News(ctx context.Context, log stream.LogName, partition int) (uint64, error)
	// Follow hands on what a log holds after a root until ctx ends, take says stop,
	// or the log proves changed.
	Follow(ctx context.Context, log stream.LogName, partition int, from uint64, take func(stream.Message) (stop bool, err error)) error
}

// Backlog is the projection of ALERTS.
type Backlog interface {
	// AlertsFrom returns a tenant's alert events of a partition, at most limit, from
	// a root on, without the first skip of them, in the order of this package.
	// through is a root up to which the projection certainly was complete.
	AlertsFrom(ctx context.Context, tenant schemas.ID, partition int, root uint64, skip, limit int) (events []api.AlertEvent, through uint64, err error)
}

// Wants says what a subscriber is to be sent.
type Wants struct {
	Alerts    bool
	Anomalies bool // evaluations of any metric whose severity is not none
	Scores    bool // evaluations of Metrics
	Points    bool // points of Metrics
	Ingest    bool // rates of the tenant, once a second
	Metrics   map[schemas.ID]bool
	// MinSeverity holds for alerts and anomalies.
	MinSeverity schemas.Severity
}

func (w *Wants) logs() map[stream.LogName]bool {
	return map[stream.LogName]bool{
		stream.Alerts: w.Alerts,
		stream.Scores: w.Anomalies || w.Scores && len(w.Metrics) > 0,
		stream.Points: w.Ingest || w.Points && len(w.Metrics) > 0,
	}
}

// Event is one event of the stream.
type Event struct {
	Name string // alert, anomaly, score, points, ingest, dropped
	ID   string // of an alert: where to go on after it
	Data []byte // JSON
}

// Bounds.
const (
	ringSize     = 4096 // alerts of all tenants per partition
	ringRoots    = 1000 // how far before the news a log of alerts is followed, for those who come back
	alertQueue   = 1000 // alerts that wait for one subscriber
	scoreQueue   = 1000 // scores and anomalies that do
	pointQueue   = 500  // points of one metric that do
	pointsEvery  = 200 * time.Millisecond
	backlogPage  = 500
	backlogRetry = 200 * time.Millisecond
	// linger is how long a log is followed after the last who wanted it has gone:
	// a page that is loaded anew comes back at once.
	linger = 10 * time.Second
)
