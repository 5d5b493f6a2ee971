package janitor

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgepulse/edgepulse/internal/embedded"
	"github.com/edgepulse/edgepulse/stream"
)

// house is a janitor over real logs, of which INGEST holds 20 messages.
type house struct {
	*Janitor
	t    *testing.T
	ctx  context.Context
	b    *stream.Broker
	reg  *prometheus.Registry
	said *bytes.Buffer
}

func newHouse(t *testing.T, cfg Config, readers ...Reader) *house {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	quiet := slog.New(slog.DiscardHandler)
	n, err := embedded.StartNATS(embedded.NATSOptions{StoreDir: t.TempDir(), Port: -1, MaxFileStore: 1 << 30, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Stop)
	user, password := n.Credentials()
	url := strings.Replace(n.ClientURL(), "://", "://"+user+":"+password+"@", 1)
	b, err := stream.Connect(stream.BrokerConfig{URL: url, Partitions: 1, Replicas: 1, MaxBytes: 256 << 20, Timeout: 10 * time.Second}, "test", n, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	if err := errors.Join(b.WaitConnected(ctx), b.Provision(ctx)); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if _, err := b.Append(ctx, stream.Ingest, 0, []byte("a group of requests")); err != nil {
			t.Fatal(err)
		}
	}
	h := &house{t: t, ctx: ctx, b: b, reg: prometheus.NewRegistry(), said: &bytes.Buffer{}}
	h.Janitor = New(cfg, b, readers, NewMetrics(h.reg), slog.New(slog.NewTextHandler(h.said, &slog.HandlerOptions{Level: slog.LevelWarn})), []int{0})
	return h
}

func (h *house) round() {
	h.t.Helper()
	if err := h.Round(h.ctx, 0); err != nil {
		h.t.Fatal(err)
	}
}

// first is the first message of INGEST that is left, and the root announced.
func (h *house) first() (first, announced uint64) {
	h.t.Helper()
	st, err := h.b.StatusOf(h.ctx, stream.Ingest, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	cuts, err := h.b.Announced(h.ctx, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	return st.FirstSeq, cuts[stream.Ingest]
}

func (h *house) want(first, announced uint64) {
	h.t.Helper()
	if f, a := h.first(); f != first || a != announced {
		h.t.Fatalf("INGEST begins with %d and %d is announced, expected %d and %d", f, a, first, announced)
	}
}

// metric of INGEST and a stage.
func (h *house) metric(name, stage string) float64 {
	h.t.Helper()
	families, err := h.reg.Gather()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.Metric {
			of := map[string]string{}
			for _, l := range m.Label {
				of[l.GetName()] = l.GetValue()
			}
			if of["log"] == "ingest" && of["stage"] == stage {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	h.t.Fatalf("no %s of %s", name, stage)
	return 0
}

// reader of INGEST that is done with what *done says.
func reader(name string, done *uint64) Reader {
	return Reader{Name: name, Log: stream.Ingest, Done: func(context.Context, int, uint64) (uint64, error) { return *done, nil }}
}

// later is a clock for which every message is old.
func later() time.Time { return time.Now().Add(time.Hour) }

func TestACutIsAnnouncedARoundBefore(t *testing.T) {
	done := uint64(10)
	h := newHouse(t, Config{Now: later}, reader("normaliser", &done))
	h.round()
	h.want(1, 10)
	done = 15
	h.round()
	h.want(11, 15)
	if n := h.metric("edgepulse_janitor_truncated_messages_total", ""); n != 10 {
		t.Errorf("%g messages counted as truncated, expected 10", n)
	}
	// A reader that needs more than before, as after the loss of its snapshot: what was
	// announced is not cut, and not taken back.
	done = 12
	h.round()
	h.want(13, 15)
	done = 20
	h.round()
	h.round()
	h.want(20, 19) // the last message stays
}

func TestTheLastReaderHolds(t *testing.T) {
	quick, slow := uint64(15), uint64(5)
	h := newHouse(t, Config{Now: later}, reader("projector", &quick), reader("normaliser", &slow))
	h.round()
	h.want(1, 5)
	h.round()
	h.want(6, 5)
	if q, s := h.metric("edgepulse_janitor_held_bytes", "projector"), h.metric("edgepulse_janitor_held_bytes", "normaliser"); q != 0 || s == 0 {
		t.Errorf("held by the projector %g, by the normaliser %g bytes: expected the normaliser alone", q, s)
	}
	if n := strings.Count(h.said.String(), "a log is held back"); n != 1 || !strings.Contains(h.said.String(), "reason=normaliser") {
		t.Errorf("warned %d times in two rounds, expected once and by name: %s", n, h.said)
	}
	quick, slow = 20, 20
	h.round()
	h.round()
	h.want(20, 19)
	if s := h.metric("edgepulse_janitor_held_bytes", "normaliser"); s != 0 {
		t.Errorf("%g bytes are held by a reader that is done", s)
	}
}

// What one reader can't tell makes nothing of its log go, although it was announced.
func TestAReaderThatCanNotAnswer(t *testing.T) {
	done := uint64(10)
	away := error(nil)
	h := newHouse(t, Config{Now: later}, reader("normaliser", &done), Reader{Name: "projector", Log: stream.Ingest,
		Done: func(context.Context, int, uint64) (uint64, error) { return 20, away }})
	h.round()
	away = errors.New("database is away")
	err := h.Round(h.ctx, 0)
	if !errors.Is(err, away) || !strings.Contains(err.Error(), "projector") || !strings.Contains(err.Error(), "INGEST") {
		t.Errorf("error %v, expected one that names the projector and the log", err)
	}
	h.want(1, 10)
	away = nil
	h.round()
	h.want(11, 10)
}

func TestNothingGoesWithoutReaders(t *testing.T) {
	h := newHouse(t, Config{Now: later})
	h.round()
	h.round()
	h.want(1, 0)
}

// Young messages stay, but for those beyond the log's room.
func TestAgeAndRoom(t *testing.T) {
	done := uint64(20)
	h := newHouse(t, Config{Keep: 24 * time.Hour, Room: .5}, reader("normaliser", &done))
	h.round()
	h.round()
	h.want(1, 0)
	h.cfg.Room = 400. / (256 << 20) // 400 bytes: a few messages
	h.round()
	h.round()
	first, _ := h.first()
	if first < 10 || first > 20 {
		t.Errorf("the log begins with message %d, expected a few of 20 left", first)
	}
}

// TestAFullLogIsNotWaitedFor: two rounds come long before the second one's turn where a
// log is far beyond its room, and not before it where it is not.
func TestAFullLogIsNotWaitedFor(t *testing.T) {
	const every = 12 * time.Second
	done := uint64(24)
	h := newHouse(t, Config{Every: every, Keep: 24 * time.Hour, Room: .05}, reader("normaliser", &done))
	if h.pressed(h.ctx) {
		t.Fatal("pressed by 20 short messages")
	}
	group := make([]byte, 6<<20)
	for range 5 {
		if _, err := h.b.Append(h.ctx, stream.Ingest, 0, group); err != nil {
			t.Fatal(err)
		}
	}
	if !h.pressed(h.ctx) {
		t.Fatal("not pressed by 30 MiB of 102")
	}
	ctx, stop := context.WithCancel(h.ctx)
	ended := make(chan error, 1)
	begun := time.Now()
	go func() { ended <- h.Run(ctx) }()
	for first := uint64(1); first == 1; first, _ = h.first() {
		if time.Since(begun) > 2*every-every/hurry {
			t.Fatal("nothing was cut before two rounds in their turn")
		}
		time.Sleep(20 * time.Millisecond)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A costly reader is asked about what all others are done with, and not at all when
// nothing would go.
func TestCostlyReaders(t *testing.T) {
	done, whole := uint64(12), uint64(8)
	var asked []uint64
	costly := Reader{Name: "archiver", Log: stream.Ingest, Costly: true, Done: func(_ context.Context, _ int, upTo uint64) (uint64, error) {
		asked = append(asked, upTo)
		return min(whole, upTo), nil
	}}
	h := newHouse(t, Config{Keep: 24 * time.Hour, Room: .5}, costly, reader("normaliser", &done))
	h.round()
	if len(asked) > 0 {
		t.Errorf("asked about %v, although all messages are young", asked)
	}
	h.cfg = Config{Now: later}
	h.round()
	if len(asked) != 1 || asked[0] != 12 {
		t.Errorf("asked about %v, expected once about 12", asked)
	}
	h.round()
	h.want(9, 8)
	whole = 100
	h.round()
	h.round()
	h.want(13, 12)
}

func TestConfigNamesTheSetting(t *testing.T) {
	for setting, cfg := range map[string]Config{"janitor-every": {Every: -1}, "janitor-keep": {Keep: -1}, "janitor-room": {Room: 1.5}} {
		if err := cfg.Check(); err == nil || !strings.Contains(err.Error(), setting) {
			t.Errorf("%s: %v", setting, err)
		}
	}
	if err := (Config{Every: time.Minute, Keep: time.Hour, Room: .5}).Check(); err != nil {
		t.Error(err)
	}
}
