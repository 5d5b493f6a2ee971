// Package stream is the spine of EdgePulse: the logs, who reads and writes them,
// and the one runner under every stage.
//
//	sensor ─HTTPS─> gateway ── group commit ──> INGEST_<p>          the truth, fsync'd
//	                                               │ ├──────────────> archiver ──> R2 / folder
//	                                               ▼
//	                                          normaliser ──> POINTS_<p>    ──> projector ──> Postgres
//	                                                            ▼
//	                                          featurizer ──> FEATURES_<p>  ──> projector ──> Postgres
//	                                                            ▼
//	                                              scorer ──> SCORES_<p>    ──> projector ──> Postgres
//	                                                            ▼
//	                                             alerter ──> ALERTS_<p>    ──> projector ──> Postgres
//	                                                            ▼
//	                                           deliverer ──> DELIVERIES_<p> ─> projector ──> Postgres
//	                                               │  the truth about the outside world
//	                                               └──HTTPS──> webhooks
//
// What comes in: messages of one log and partition, in order. What goes out:
// commits (outputs and position in one message) in the next log. Order: root
// sequences, the stream sequence of the message in INGEST_<p> from which all
// follows. State: one keyed table set per partition, snapshotted to blobs. On
// failure a partition stops with an error that names the log, or goes on from
// its last commit; it never skips and never applies twice.
package stream

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// LogName names a kind of log; a log has one stream per partition.
type LogName string

// The logs, in the order of the data path.
const (
	Ingest     LogName = "INGEST"
	Points     LogName = "POINTS"
	Features   LogName = "FEATURES"
	Scores     LogName = "SCORES"
	Alerts     LogName = "ALERTS"
	Deliveries LogName = "DELIVERIES"
)

// LogSpec says what a log is. This table is the only place that names streams.
type LogSpec struct {
	Name   LogName
	Writer string  // the stage that writes it
	From   LogName // the log it is derived from; empty for INGEST
	Truth  bool    // never rebuilt: it can't be derived from anything else
	Share  float64 // of the broker's storage budget, over all partitions
}

// Topology is THE MAP.
var Topology = []LogSpec{
	{Name: Ingest, Writer: "gateway", Truth: true, Share: 0.40},
	{Name: Points, Writer: "normaliser", From: Ingest, Share: 0.15},
	{Name: Features, Writer: "featurizer", From: Points, Share: 0.15},
	{Name: Scores, Writer: "scorer", From: Features, Share: 0.15},
	{Name: Alerts, Writer: "alerter", From: Scores, Share: 0.05},
	{Name: Deliveries, Writer: "deliverer", From: Alerts, Truth: true, Share: 0.10},
}

// Limits of messages, bytes and time.
const (
	// CommitCap bounds a commit or group before the next one begins. A larger cap
	// moves the same bytes per second at several times the latency.
	CommitCap = 512 << 10
	// MaxPayload admits one outsized root (an inflated body of 4 MiB and its outputs).
	MaxPayload = 8 << 20
	// positionEvery bounds how long a partition without output keeps its position to itself.
	positionEvery = 300 * time.Millisecond
	// positionRoots does the same in roots.
	positionRoots = 200
	// idleCheck is how long a reader waits before it compares the log's last sequence with its own.
	idleCheck = 500 * time.Millisecond
	// ownerCheck is how long an owner that has nothing to write believes that its log is unchanged.
	ownerCheck = 2 * time.Second
)

// quotaBucket is the one bucket: the gateways tell each other in it what they have
// taken of the tenants' plans. It is in memory, and nothing is derived from it.
const (
	quotaBucket = "edgepulse_quota"
	sharesLive  = time.Minute
	sharesBytes = 16 << 20
)

// StreamName is the JetStream stream of a log's partition.
func StreamName(log LogName, partition int) string { return fmt.Sprintf("%s_%d", log, partition) }

// Subject is the one subject of that stream. Those of shadows have a first token
// of their own, so that rights on it can be given and withheld.
func Subject(log LogName, partition int) string {
	if shadow, base := log.split(); shadow != "" {
		return fmt.Sprintf("shadow.%s.%s.%d", shadow, lower(base), partition)
	}
	return fmt.Sprintf("%s.%d", lower(log), partition)
}

// A shadow is a second set of the logs from INGEST to ALERTS, filled by a replay:
// SHADOW_<name>_INGEST_<p> and so on, with the roots of the live ones. Its logs
// are LogNames like any other, so the same reader, runner and commits work on
// them. Nobody projects or delivers from a shadow, and dropping it loses nothing.
const (
	shadowPrefix   = "SHADOW_"
	shadowSubjects = "shadow.>"
)

var shadowName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// In names a log of a shadow; of the live set when shadow is empty.
func (l LogName) In(shadow string) LogName {
	if shadow == "" {
		return l
	}
	return LogName(shadowPrefix + shadow + "_" + string(l))
}

// split is the reverse of In.
func (l LogName) split() (shadow string, base LogName) {
	rest, ok := strings.CutPrefix(string(l), shadowPrefix)
	if !ok {
		return "", l
	}
	name, log, _ := strings.Cut(rest, "_") // a shadow's name has no underscore
	return name, LogName(log)
}

// Shadowed are the logs that a shadow has, in the order of the data path.
func Shadowed() []LogName {
	return append([]LogName{Ingest}, Downstream(Points)...)
}

func lower(log LogName) string {
	b := []byte(log)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// Spec finds a log in the map; a shadow's is described like the live one.
func Spec(log LogName) (LogSpec, bool) {
	shadow, base := log.split()
	for _, s := range Topology {
		if s.Name == base {
			s.Name = log
			if s.From != "" {
				s.From = s.From.In(shadow)
			}
			return s, true
		}
	}
	return LogSpec{}, false
}

// Downstream lists a log and all that derives from it, in order of the path,
// without the logs of truth: what a rebuild of it throws away.
func Downstream(log LogName) []LogName {
	var out []LogName
	reached := map[LogName]bool{}
	for _, s := range Topology {
		if s.Name == log || reached[s.From] {
			reached[s.Name] = true
			if !s.Truth {
				out = append(out, s.Name)
			}
		}
	}
	return out
}
