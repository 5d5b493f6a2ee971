package scorer

import (
	"encoding/binary"
	"math"
	"strings"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/zones"
)

// Bounds of the sensitivity; the API has narrower ones.
const leastSensitive, mostSensitive = .01, 100

// settings of a metric that concern this stage. The zero value is what holds without any.
type settings struct {
	version      uint64
	direction    schemas.Direction
	minDeviation float64
	// sensitivity is about how many times as many alarms; 0 = 1.
	sensitivity float64
	timezone    string // IANA name; empty = UTC
}

func settingsFrom(version uint64, s *schemas.MetricSettings) settings {
	out := settings{version: version, direction: s.Direction, minDeviation: s.MinAbsDeviation, timezone: strings.Clone(s.Timezone)}
	if s.Sensitivity > 0 && finite(s.Sensitivity) && s.Sensitivity != 1 {
		out.sensitivity = min(max(s.Sensitivity, leastSensitive), mostSensitive)
	}
	if _, err := zones.Find(out.timezone); err != nil {
		out.timezone = "" // the API refuses it; a log may hold anything
	}
	return out
}

// set brings settings into force, for the rows that follow.
func (m *metric) set(s settings) {
	m.settings, m.direction, m.minDeviation = s.version, s.direction, s.minDeviation
	m.sensitivity, m.timezone = s.sensitivity, s.timezone
	if m.model != nil {
		zone, _ := zones.Find(s.timezone) // was found before
		m.model.Move(zone)
	}
}

// AppendState implements stream.Record.
func (s *settings) AppendState(b []byte) []byte {
	b = append(b, 1, byte(s.direction))
	b = binary.AppendUvarint(b, s.version)
	b = appendFloat(b, s.minDeviation)
	return appendOwn(b, s.sensitivity, s.timezone)
}

// DecodeState implements stream.Record.
func (s *settings) DecodeState(b []byte) error {
	if len(b) < 3 || b[0] != 1 {
		return errRecord
	}
	version, n := binary.Uvarint(b[2:])
	if n <= 0 || len(b) < 2+n+8 {
		return errRecord
	}
	*s = settings{version: version, direction: schemas.Direction(b[1]), minDeviation: readFloat(b[2+n:])}
	var err error
	if s.sensitivity, s.timezone, b, err = readOwn(b[2+n+8:]); err == nil && len(b) > 0 {
		err = errRecord
	}
	return err
}

// appendOwn and readOwn code what was added to the settings later: a metric
// without any is stored as it always was.
func appendOwn(b []byte, sensitivity float64, timezone string) []byte {
	b = appendFloat(b, sensitivity)
	b = binary.AppendUvarint(b, uint64(len(timezone)))
	return append(b, timezone...)
}

func readOwn(b []byte) (sensitivity float64, timezone string, rest []byte, err error) {
	if len(b) < 9 {
		return 0, "", nil, errRecord
	}
	sensitivity = readFloat(b)
	length, n := binary.Uvarint(b[8:])
	if n <= 0 || length > uint64(len(b)-8-n) || math.IsNaN(sensitivity) {
		return 0, "", nil, errRecord
	}
	b = b[8+n:]
	timezone = string(b[:length])
	if _, err := zones.Find(timezone); err != nil {
		return 0, "", nil, errRecord
	}
	return sensitivity, timezone, b[length:], nil
}
