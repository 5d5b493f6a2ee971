package app

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgepulse/edgepulse/gateway"
	"github.com/edgepulse/edgepulse/internal/archive"
	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/internal/store/storetest"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/schemas/contract"
	"github.com/edgepulse/edgepulse/stream"
)

const (
	patience       = 60 * time.Second
	livePartitions = 2
)

// liveBench is a broker, a database and a gateway that can be started anew; the
// test writes the logs as their stages would.
type liveBench struct {
	t      *testing.T
	db     *storetest.DB
	broker *stream.Broker
	js     jetstream.JetStream
	srv    *gateway.Server
	addr   string
	logs   map[string]*derivedLog
	quiet  *slog.Logger
}

func newLiveBench(t *testing.T) *liveBench {
	t.Helper()
	b := &liveBench{t: t, db: storetest.New(t), logs: map[string]*derivedLog{}, quiet: slog.New(slog.DiscardHandler)}
	nats1, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), SyncAlways: true,
		NoSigs: true, NoLog: true, MaxPayload: stream.MaxPayload, JetStreamMaxStore: 2 << 30})
	if err != nil {
		t.Fatal(err)
	}
	nats1.Start()
	t.Cleanup(func() { nats1.Shutdown(); nats1.WaitForShutdown() })
	if !nats1.ReadyForConnections(patience) {
		t.Fatal("broker did not start")
	}
	cfg := stream.BrokerConfig{URL: nats1.ClientURL(), Partitions: livePartitions, Replicas: 1, MaxBytes: 1 << 30, Timeout: 10 * time.Second}
	if b.broker, err = stream.Connect(cfg, "live-test", nil, b.quiet); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.broker.Close)
	if err := b.broker.Provision(t.Context()); err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(nats1.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if b.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	b.addr = "127.0.0.1:0"
	b.start()
	t.Cleanup(func() { b.stop() })
	return b
}

// start runs a gateway where the one before was.
func (b *liveBench) start() {
	b.t.Helper()
	cfg := gateway.DefaultConfig()
	cfg.Addr, cfg.Partitions, cfg.Pepper, cfg.Ticks = b.addr, livePartitions, string(b.db.Config.Pepper), false
	srv, err := gateway.New(cfg, gateway.Deps{Log: ingestLog{b.broker}, Keys: keys{b.db.Store}, Queries: queries{s: b.db.Store}, Live: b.broker,
		Logger: b.quiet, Registry: prometheus.NewRegistry()})
	if err != nil {
		b.t.Fatal(err)
	}
	if err := srv.Start(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	b.srv = srv
	if b.addr != srv.Addr() { // the first start; later ones keep it, and readers read it meanwhile
		b.addr = srv.Addr()
	}
}

func (b *liveBench) stop() time.Duration {
	b.t.Helper()
	begun := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := b.srv.Stop(ctx); err != nil {
		b.t.Errorf("stop with open streams: %v", err)
	}
	return time.Since(begun)
}

// project runs the projector of ALERTS until the test or the returned function ends it.
func (b *liveBench) project() (stop func()) {
	i := slices.IndexFunc(projections, func(p projected) bool { return p.log == stream.Alerts })
	p := stream.NewProjector(stream.Alerts, projections[i].projection, b.db.Store, b.broker, stream.NewMetrics(prometheus.NewRegistry()), b.quiet, []int{0, 1})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = p.Run(ctx) }()
	stop = func() { cancel(); <-done }
	b.t.Cleanup(stop)
	return stop
}

func (b *liveBench) key(w *world) string {
	b.t.Helper()
	key, _, err := b.db.CreateKey(b.t.Context(), w.tenant, []string{store.ScopeRead}, store.KeyOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	return key
}

// derivedLog writes a partition of a derived log: commits that name their predecessor.
type derivedLog struct {
	b         *liveBench
	log       stream.LogName
	partition int
	mu        sync.Mutex
	seq, root uint64
	sum       []byte
	entries   map[uint64][]*schemas.Entry // what was written, to write it again
}

func (b *liveBench) log(log stream.LogName, partition int) *derivedLog {
	name := stream.StreamName(log, partition)
	if b.logs[name] == nil {
		b.logs[name] = &derivedLog{b: b, log: log, partition: partition, entries: map[uint64][]*schemas.Entry{}}
	}
	return b.logs[name]
}

// append commits entries as the next root.
func (d *derivedLog) append(entries ...*schemas.Entry) {
	d.b.t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries[d.root+1] = entries
	d.commit(d.root + 1)
}

// commit writes the roots up to one in a single message.
func (d *derivedLog) commit(to uint64) {
	d.b.t.Helper()
	c := &schemas.Commit{Log: stream.StreamName(d.log, d.partition), Epoch: 1, Nonce: make([]byte, 16), From: d.root, To: to,
		PrevSeq: d.seq, PrevChain: d.sum, FoldVersion: 1}
	for root := d.root + 1; root <= to; root++ {
		o := &schemas.RootOutputs{Root: root}
		for _, e := range d.entries[root] {
			raw, err := e.MarshalVT()
			if err != nil {
				d.b.t.Fatal(err)
			}
			o.Entries = append(o.Entries, raw)
		}
		if len(o.Entries) > 0 {
			c.Outputs = append(c.Outputs, o)
		}
	}
	raw, err := c.MarshalVT()
	if err != nil {
		d.b.t.Fatal(err)
	}
	if d.seq, err = d.b.broker.Append(context.Background(), d.log, d.partition, raw); err != nil {
		d.b.t.Error(err)
	}
	sum := sha256.Sum256(raw)
	d.sum, d.root = sum[:], to
}

// again begins the log anew, as a rebuild leaves it.
func (d *derivedLog) again() {
	d.seq, d.root, d.sum = 0, 0, nil
}

// reader is a client of the stream.
type reader struct {
	t      *testing.T
	b      *liveBench
	key    string
	query  string
	mu     sync.Mutex
	last   string              // id of the last event
	alerts []api.AlertEvent    // in the order of their arrival
	delays []time.Duration     // from their explanation's instant
	others map[string][]string // data by event
	ends   int                 // streams that ended
	got    chan struct{}
}

func newReader(t *testing.T, b *liveBench, key, query string) *reader {
	return &reader{t: t, b: b, key: key, query: query, others: map[string][]string{}, got: make(chan struct{}, 1)}
}

// run reads one stream after the other until ctx ends; more, if given, says after
// how many events a stream is cut by its reader.
func (r *reader) run(ctx context.Context, cut int) {
	client := &http.Client{Transport: &http.Transport{}}
	for ctx.Err() == nil {
		r.one(ctx, client, cut)
		r.mu.Lock()
		r.ends++
		r.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (r *reader) one(ctx context.Context, client *http.Client, cut int) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.b.addr+"/v1/live?"+r.query, nil)
	if err != nil {
		r.t.Error(err)
		return
	}
	req.Header.Set("X-API-Key", r.key)
	r.mu.Lock()
	if r.last != "" {
		req.Header.Set("Last-Event-ID", r.last)
	}
	r.mu.Unlock()
	res, err := client.Do(req)
	if err != nil {
		return // the gateway is down
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		if res.StatusCode != http.StatusUnauthorized && res.StatusCode != http.StatusServiceUnavailable {
			r.t.Errorf("stream is answered %d", res.StatusCode)
		}
		return
	}
	s := bufio.NewScanner(res.Body)
	s.Buffer(nil, 1<<20)
	var id, event, data string
	for n := 0; s.Scan(); {
		field, value, _ := strings.Cut(s.Text(), ": ")
		switch field {
		case "id":
			id = value
		case "event":
			event = value
		case "data":
			data = value
		case "":
			r.take(id, event, data)
			if id, event, data = "", "", ""; event == "" {
				n++
			}
			if cut > 0 && n >= cut {
				return
			}
		}
	}
}

func (r *reader) take(id, event, data string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if id != "" {
		r.last = id
	}
	switch event {
	case "":
	case "alert":
		var a api.AlertEvent
		if err := json.Unmarshal([]byte(data), &a); err != nil {
			r.t.Error(err)
		}
		if id == "" {
			r.t.Error("an alert without id")
		}
		r.alerts = append(r.alerts, a)
		if at, err := time.Parse(time.RFC3339Nano, a.Explanation); err == nil {
			r.delays = append(r.delays, time.Since(at))
		}
	default:
		r.others[event] = append(r.others[event], data)
	}
	select {
	case r.got <- struct{}{}:
	default:
	}
}

// wait waits until ok; the reader is locked meanwhile.
func (r *reader) wait(what string, ok func() bool) {
	r.t.Helper()
	deadline := time.After(patience) // without progress
	for {
		r.mu.Lock()
		done := ok()
		n := len(r.alerts)
		r.mu.Unlock()
		if done {
			return
		}
		select {
		case <-r.got:
			deadline = time.After(patience)
		case <-time.After(200 * time.Millisecond):
		case <-deadline:
			r.t.Fatalf("%s: does not come; %d alerts have", what, n)
		}
	}
}

// positioned waits until the reader knows where it would begin again.
func (r *reader) positioned() {
	r.t.Helper()
	r.wait("first position", func() bool { return r.last != "" })
}

// goes runs a reader for the rest of the test.
func goes(t *testing.T, r *reader, cut int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.run(ctx, cut) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

// numbered makes an alert whose number and instant can be read back.
func (w *world) numbered(n int) *schemas.Entry {
	var id schemas.ID
	copy(id[:], fmt.Sprintf("%08d", n))
	e := w.alerted(id, 0, schemas.AlertState_ALERT_STATE_OPENED, n)
	e.GetAlertEvent().RuleName = fmt.Sprint(n)
	e.GetAlertEvent().Explanation = time.Now().Format(time.RFC3339Nano)
	return e
}

// numbers are those of the alerts that arrived, per partition in the order of arrival.
func (r *reader) numbers() (out [livePartitions][]string) {
	for _, a := range r.alerts {
		out[a.Partition] = append(out[a.Partition], a.RuleName)
	}
	return out
}

// TestLiveAlertsAreNeitherLostNorRepeated: 200 readers of two tenants; some cut
// their own streams, the gateway is stopped and started twice while alerts come.
// Everyone gets every alert of their tenant once, in the order of its partition.
func TestLiveAlertsAreNeitherLostNorRepeated(t *testing.T) {
	b := newLiveBench(t)
	b.project()
	worlds := []*world{newWorld(t, b.db, "acme"), newWorld(t, b.db, "other")}
	ks := []string{b.key(worlds[0]), b.key(worlds[1])}
	// Something lies in the logs before anybody comes: it is nobody's news.
	for p := range livePartitions {
		b.log(stream.Alerts, p).append(worlds[0].numbered(1_000_000+p), worlds[1].numbered(2_000_000+p))
	}
	var readers []*reader
	for i := range 200 {
		r := newReader(t, b, ks[i%2], "types=alert")
		readers = append(readers, r)
		goes(t, r, map[bool]int{true: 40 + i}[i%5 == 0])
	}
	for _, r := range readers {
		r.positioned()
	}
	var want [2][livePartitions][]string
	const alerts = 300
	for n := range alerts {
		p := n % livePartitions
		var entries []*schemas.Entry
		for k, w := range worlds {
			number := k*100_000 + n
			entries = append(entries, w.numbered(number))
			want[k][p] = append(want[k][p], fmt.Sprint(number))
			if n%10 == 0 { // several of one tenant at one root
				entries = append(entries, w.numbered(number+50_000))
				want[k][p] = append(want[k][p], fmt.Sprint(number+50_000))
			}
		}
		b.log(stream.Alerts, p).append(entries...)
		if n == alerts/3 || n == 2*alerts/3 {
			if took := b.stop(); took > 5*time.Second {
				t.Errorf("stopping with 200 streams took %s", took)
			}
			// Alerts go on while nobody serves them.
			for p := range livePartitions {
				for k, w := range worlds {
					number := k*100_000 + 10_000 + n + p
					b.log(stream.Alerts, p).append(w.numbered(number))
					want[k][p] = append(want[k][p], fmt.Sprint(number))
				}
			}
			b.start()
		}
	}
	total := len(want[0][0]) + len(want[0][1])
	for i, r := range readers {
		r.wait(fmt.Sprintf("reader %d", i), func() bool { return len(r.alerts) >= total })
	}
	var delays []time.Duration
	ends := 0
	for i, r := range readers {
		r.mu.Lock()
		got := r.numbers()
		for p := range livePartitions {
			if !slices.Equal(got[p], want[i%2][p]) {
				t.Errorf("reader %d, partition %d: %d alerts, want %d; the first difference is at %d", i, p, len(got[p]), len(want[i%2][p]), firstDifference(got[p], want[i%2][p]))
			}
		}
		delays = append(delays, r.delays...)
		ends += r.ends
		r.mu.Unlock()
	}
	slices.Sort(delays)
	t.Logf("%d alerts to 200 readers, %d streams ended on the way; delay p50 %s, p99 %s", total, ends, delays[len(delays)/2], delays[len(delays)*99/100])
}

func firstDifference(a, b []string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// TestLiveComesBackFromTheDatabase: a reader who has been away longer than memory
// and log go back gets what the projection has, and waits for one that is behind.
func TestLiveComesBackFromTheDatabase(t *testing.T) {
	b := newLiveBench(t)
	w := newWorld(t, b.db, "acme")
	key := b.key(w)
	r := newReader(t, b, key, "types=alert")
	stop := goes(t, r, 0)
	r.positioned()
	stop()
	b.stop()
	var want [livePartitions][]string
	put := func(from, to int) {
		for n := from; n < to; n++ {
			b.log(stream.Alerts, n%livePartitions).append(w.numbered(n))
			want[n%livePartitions] = append(want[n%livePartitions], fmt.Sprint(n))
		}
	}
	put(0, 40)
	end := b.project()
	b.waitProjected(20)
	end()
	put(40, 60)
	b.start()
	// The log is cut off below its last message: the projection has 20 roots of 30.
	for p := range livePartitions {
		s, err := b.js.Stream(t.Context(), stream.StreamName(stream.Alerts, p))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Purge(t.Context(), jetstream.WithPurgeSequence(25)); err != nil {
			t.Fatal(err)
		}
	}
	goes(t, r, 0)
	r.wait("what is projected", func() bool { return len(r.alerts) >= 40 })
	// What lies between projection and log is not lost: it is waited for. Here it
	// never comes by the log, so the projection is told.
	for p := range livePartitions {
		entries := b.log(stream.Alerts, p).entries
		for root := uint64(21); root <= 30; root++ {
			w.projectAt(stream.Alerts, p, root, entries[root]...)
		}
	}
	r.wait("what was projected later", func() bool { return len(r.alerts) >= 60 })
	put(60, 64)
	r.wait("what is new", func() bool { return len(r.alerts) >= 64 })
	r.mu.Lock()
	defer r.mu.Unlock()
	if got := r.numbers(); !slices.Equal(got[0], want[0]) || !slices.Equal(got[1], want[1]) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func (b *liveBench) waitProjected(root uint64) {
	b.t.Helper()
	deadline := time.Now().Add(patience)
	for p := range livePartitions {
		for {
			pos, err := b.db.Position(b.t.Context(), stream.Alerts, p)
			if err == nil && pos >= root {
				break
			}
			if time.Now().After(deadline) {
				b.t.Fatalf("projection of partition %d stands at %d: %v", p, pos, err)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// TestLiveSurvivesARebuild: a log that is thrown away and derived again, with
// other boundaries, repeats nothing and goes on, for those who are there and those who come.
func TestLiveSurvivesARebuild(t *testing.T) {
	b := newLiveBench(t)
	b.project()
	w := newWorld(t, b.db, "acme")
	key := b.key(w)
	blobs, err := archive.NewFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := newReader(t, b, key, "types=alert")
	goes(t, r, 0)
	r.positioned()
	for n := range 20 {
		for p := range livePartitions { // INGEST is what a rebuild measures by
			if _, err := b.broker.Append(t.Context(), stream.Ingest, p, []byte{}); err != nil {
				t.Fatal(err)
			}
		}
		b.log(stream.Alerts, n%livePartitions).append(w.numbered(n))
		b.log(stream.Alerts, (n+1)%livePartitions).append()
	}
	r.wait("before the rebuild", func() bool { return len(r.alerts) == 20 })
	if _, err := b.broker.Rebuild(t.Context(), stream.Alerts, blobs, nil); err != nil {
		t.Fatal(err)
	}
	fresh := newReader(t, b, key, "types=alert")
	goes(t, fresh, 0)
	for p := range livePartitions {
		l := b.log(stream.Alerts, p)
		l.again()
		for _, to := range []uint64{7, 13, 20} {
			l.commit(to)
		}
	}
	fresh.positioned()
	for n := 20; n < 30; n++ {
		b.log(stream.Alerts, n%livePartitions).append(w.numbered(n))
	}
	r.wait("after the rebuild", func() bool { return len(r.alerts) >= 30 })
	fresh.wait("who came meanwhile", func() bool { return len(fresh.alerts) >= 10 })
	r.mu.Lock()
	defer r.mu.Unlock()
	fresh.mu.Lock()
	defer fresh.mu.Unlock()
	if len(r.alerts) != 30 || len(fresh.alerts) != 10 {
		t.Errorf("%d and %d alerts, want 30 and 10", len(r.alerts), len(fresh.alerts))
	}
	// Partitions follow each other in any order; within one the order is the log's.
	var seen [livePartitions]int
	for i, a := range r.alerts[:20] {
		if want := fmt.Sprint(a.Partition + livePartitions*seen[a.Partition]); a.RuleName != want {
			t.Errorf("alert %d is %s, want %s", i, a.RuleName, want)
		}
		seen[a.Partition]++
	}
}

// TestLiveTellsSlowReadersWhatTheyMissed: scores are dropped and counted, alerts come all.
func TestLiveTellsSlowReadersWhatTheyMissed(t *testing.T) {
	b := newLiveBench(t)
	b.project()
	w := newWorld(t, b.db, "acme")
	r := newReader(t, b, b.key(w), "metric_id="+w.metric.String())
	// The reader holds its lock: it reads nothing, and the socket fills.
	goes(t, r, 0)
	r.positioned()
	r.mu.Lock()
	const scores, alerts = 20_000, 3_000
	padding := strings.Repeat("x", 2000)
	for n := 0; n < scores; n += 500 {
		var list []*schemas.Entry
		for i := range 500 {
			list = append(list, w.scored(w.metric, n+i, func(s *schemas.Score) { s.Explanation = padding[:200] }))
		}
		b.log(stream.Scores, 0).append(list...)
	}
	for n := 0; n < alerts; n += 50 {
		var list []*schemas.Entry
		for i := range 50 {
			e := w.numbered(n + i)
			e.GetAlertEvent().Unit = padding
			list = append(list, e)
		}
		b.log(stream.Alerts, 0).append(list...)
	}
	r.mu.Unlock()
	seen := func() (n int) {
		n = len(r.others["score"])
		for _, d := range r.others["dropped"] {
			var v api.LiveDropped
			if err := json.Unmarshal([]byte(d), &v); err != nil {
				t.Error(err)
			}
			n += int(v.Count)
		}
		return n
	}
	r.wait("every alert", func() bool { return len(r.alerts) >= alerts })
	r.wait("every score, or that it was dropped", func() bool { return seen() >= scores })
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, a := range r.alerts {
		if a.RuleName != fmt.Sprint(i) {
			t.Fatalf("alert %d is %s", i, a.RuleName)
		}
	}
	if len(r.alerts) != alerts || seen() != scores || len(r.others["dropped"]) == 0 {
		t.Errorf("%d alerts; %d scores and %d reports of drops account for %d", len(r.alerts), len(r.others["score"]), len(r.others["dropped"]), seen())
	}
}

// holdToContract lets every event that readers get from now on be held against the
// contract, once their streams have ended.
func (b *liveBench) holdToContract() {
	b.t.Helper()
	c, err := contract.Load()
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		for _, name := range []string{"alert", "anomaly", "score", "points", "ingest"} {
			if c.Events()[name] == 0 {
				b.t.Errorf("no event %s was held against the contract", name)
			}
		}
		b.t.Logf("held against the contract: %v", c.Events())
	})
	checked := httptest.NewServer(c.Handler(b.srv.Handler(), func(why string) { b.t.Error(why) }))
	b.t.Cleanup(checked.Close)
	b.addr = strings.TrimPrefix(checked.URL, "http://")
}

// TestLiveKinds: who is sent what.
func TestLiveKinds(t *testing.T) {
	b := newLiveBench(t)
	b.holdToContract()
	w, other := newWorld(t, b.db, "acme"), newWorld(t, b.db, "other")
	metric, declared := w.declared("temperature")
	w.project(stream.Points, 1, declared)
	second, _ := w.declared("humidity")
	all := newReader(t, b, b.key(w), "min_severity=warning&metric_id="+metric.String())
	few := newReader(t, b, b.key(w), "types=anomaly,ingest")
	foreign := newReader(t, b, b.key(other), "metric_id="+metric.String())
	for _, r := range []*reader{all, few, foreign} {
		goes(t, r, 0)
	}
	all.positioned()
	foreign.positioned()
	few.wait("rates", func() bool { return len(few.others["ingest"]) > 0 })
	all.wait("rates", func() bool { return len(all.others["ingest"]) > 0 })
	severe := func(s schemas.Severity) func(*schemas.Score) {
		return func(x *schemas.Score) { x.Severity, x.Label = s, schemas.Label_LABEL_SPIKE }
	}
	b.log(stream.Scores, 1).append(w.scored(metric, 1, nil), w.scored(metric, 2, severe(schemas.Severity_SEVERITY_INFO)), w.scored(metric, 3, severe(schemas.Severity_SEVERITY_CRITICAL)),
		w.scored(second, 4, severe(schemas.Severity_SEVERITY_CRITICAL)), w.scored(second, 5, nil))
	b.log(stream.Points, 1).append(w.samples(metric, []int64{us(1), us(2)}, func(i int) float64 { return float64(i) }), w.samples(second, []int64{us(1)}, func(int) float64 { return 7 }),
		&schemas.Entry{Kind: &schemas.Entry_Receipt{Receipt: &schemas.Receipt{TenantId: w.tenant[:], Accepted: 3, Parts: 1}}})
	b.log(stream.Alerts, 1).append(w.alerted(schemas.ID{1}, 0, schemas.AlertState_ALERT_STATE_OPENED, 1), w.alerted(schemas.ID{1}, 1, schemas.AlertState_ALERT_STATE_UPDATED, 2))
	all.wait("everything", func() bool {
		return len(all.others["score"]) == 3 && len(all.others["anomaly"]) == 2 && len(all.others["points"]) == 1 && len(all.alerts) == 1
	})
	few.wait("anomalies", func() bool { return len(few.others["anomaly"]) == 3 })
	few.wait("a rate", func() bool {
		return slices.ContainsFunc(few.others["ingest"], func(d string) bool { return !strings.HasPrefix(d, `{"points_per_second":0,`) })
	})
	all.mu.Lock()
	few.mu.Lock()
	foreign.mu.Lock()
	defer all.mu.Unlock()
	defer few.mu.Unlock()
	defer foreign.mu.Unlock()
	if all.alerts[0].Severity != "warning" {
		t.Errorf("min_severity: %+v", all.alerts[0])
	}
	if want := fmt.Sprintf(`{"metric_id":"%s","points":[[%d,0],[%d,1]]}`, metric, us(1)/1000, us(2)/1000); all.others["points"][0] != want {
		t.Errorf("points %s, want %s", all.others["points"][0], want)
	}
	if d := all.others["anomaly"][0]; !strings.Contains(d, `"metric_name":"temperature"`) || !strings.Contains(d, `"device_external_id":"press-1"`) || !strings.Contains(d, `"severity":"critical"`) {
		t.Errorf("an anomaly says where it is: %s", d)
	}
	if len(few.alerts) != 0 || len(few.others["score"]) != 0 || len(few.others["points"]) != 0 {
		t.Errorf("not asked for: %v", few.others)
	}
	if len(foreign.alerts) != 0 || len(foreign.others["score"])+len(foreign.others["anomaly"])+len(foreign.others["points"]) != 0 {
		t.Errorf("of another tenant: %v", foreign.others)
	}
	for _, d := range foreign.others["ingest"] {
		if d != `{"points_per_second":0,"requests_per_second":0}` {
			t.Errorf("rate of another tenant: %s", d)
		}
	}
}

// TestLiveEndsWithItsKey: a revocation ends open streams within 5 s.
func TestLiveEndsWithItsKey(t *testing.T) {
	b := newLiveBench(t)
	w := newWorld(t, b.db, "acme")
	key, k, err := b.db.CreateKey(t.Context(), w.tenant, []string{store.ScopeRead}, store.KeyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r := newReader(t, b, key, "types=alert")
	goes(t, r, 0)
	r.positioned()
	begun := time.Now()
	if err := b.db.RevokeKey(t.Context(), w.tenant, k.KeyID); err != nil {
		t.Fatal(err)
	}
	r.wait("the end", func() bool { return r.ends > 0 })
	if took := time.Since(begun); took > 5*time.Second+500*time.Millisecond {
		t.Errorf("ended %s after the revocation", took)
	}
}
