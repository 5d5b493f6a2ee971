package featurizer

import (
	"encoding/binary"
	"time"
)

// Bounds of what may be set, in µs; the API has narrower ones and a better message.
const (
	maxWindow = int64(31 * 86400 * 1e6)
	maxHop    = int64(86400 * 1e6)
)

// settings of a metric that concern this stage; 0 is what holds without.
type settings struct {
	version  uint64
	expected int64 // interval in µs; 0 = learned
	window   int64 // µs; 0 = Config.Window
	hop      int64 // µs; 0 = Config.Hop
}

// bound takes what a log can hold: nothing below zero, nothing absurd.
func bound(us, most int64) int64 { return min(max(us, 0), most) }

// set brings settings into force. The hop counts from the next point on. The
// window is cut or widened at once, from the samples that it holds: a longer one
// fills as points come, and says until then that it does not cover all of its span.
func (m *metric) set(s settings, cfg Config) {
	m.settings = s
	if s.window > 0 {
		cfg.Window = time.Duration(s.window) * time.Microsecond
	}
	m.window.Resize(cfg.Window)
}

func (m *metric) hopOf(cfg Config) time.Duration {
	if m.settings.hop > 0 {
		return time.Duration(m.settings.hop) * time.Microsecond
	}
	return cfg.Hop
}

// AppendState implements stream.Record.
func (s *settings) AppendState(b []byte) []byte {
	b = append(b, 1)
	b = binary.AppendUvarint(b, s.version)
	for _, v := range [...]int64{s.expected, s.window, s.hop} {
		b = binary.AppendVarint(b, v)
	}
	return b
}

// DecodeState implements stream.Record.
func (s *settings) DecodeState(b []byte) error {
	d := decoder{b: b}
	d.require(d.byte() == 1, "settings: version")
	*s = settings{version: d.uint(), expected: d.int(), window: d.int(), hop: d.int()}
	d.require(s.window >= 0 && s.window <= maxWindow && s.hop >= 0 && s.hop <= maxHop, "settings: bounds")
	d.require(len(d.b) == 0, "settings: length")
	return d.err
}
