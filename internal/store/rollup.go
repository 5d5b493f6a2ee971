package store

import (
	"encoding/binary"
	"math"

	"github.com/jackc/pgx/v5/pgtype"
)

// cellWidths are the widths a chunk's cells may have, in µs: each divides the next.
var cellWidths = []int64{1e6, 10e6, 60e6, 600e6, 3600e6}

// cellPoints is how many points a cell holds on average at least: cells then add
// 2 bytes a point at most, and a chart reads a sixteenth of the data.
const cellPoints = 16

// summary is what is left of points when only their range matters. Points that
// are not finite count, and have no other part in it.
type summary struct {
	n             int64
	min, max, sum float64
	finite        int64
}

func (s *summary) add(v float64) {
	s.n++
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return
	}
	s.merge(summary{min: v, max: v, sum: v, finite: 1})
}

func (s *summary) merge(o summary) {
	s.n += o.n
	if o.finite == 0 {
		return
	}
	if s.finite == 0 {
		s.min, s.max = o.min, o.max
	}
	s.min, s.max, s.sum, s.finite = min(s.min, o.min), max(s.max, o.max), s.sum+o.sum, s.finite+o.finite
}

// cellsOf summarises ordered points in cells of the finest width of which one
// holds cellPoints points; width 0 = there is none.
func cellsOf(ts []int64, values []float64) (width int64, at []int64, cells []summary) {
	for _, w := range cellWidths {
		n := 1
		for i := 1; i < len(ts); i++ {
			if floorDiv(ts[i], w) != floorDiv(ts[i-1], w) {
				n++
			}
		}
		if n*cellPoints <= len(ts) {
			width = w
			break
		}
	}
	if width == 0 {
		return 0, nil, nil
	}
	for i, v := range values {
		c := floorDiv(ts[i], width) - floorDiv(ts[0], width)
		if len(at) == 0 || at[len(at)-1] != c {
			at, cells = append(at, c), append(cells, summary{})
		}
		cells[len(cells)-1].add(v)
	}
	return width, at, cells
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// appendRollups appends rollupColumns of one chunk.
func appendRollups(b []byte, ts []int64, values []float64) []byte {
	var all summary
	for _, v := range values {
		all.add(v)
	}
	if all.finite == 0 {
		b = appendNull(appendNull(appendNull(b)))
	} else {
		b = appendField8(b, math.Float64bits(all.min))
		b = appendField8(b, math.Float64bits(all.max))
		b = appendField8(b, math.Float64bits(all.sum))
	}
	width, at, cells := cellsOf(ts, values)
	// A cell without a finite point can't be told from one: such chunks are rare, and read in full.
	for _, c := range cells {
		if c.finite != c.n {
			width = 0
		}
	}
	if width == 0 || all.finite != all.n {
		return appendNull(appendNull(appendNull(b)))
	}
	m := len(cells)
	b = appendField8(b, uint64(width))
	b = appendArray4(b, 2*m, func(i int) uint32 {
		if i < m {
			return uint32(at[i])
		}
		return uint32(cells[i-m].n)
	})
	b = appendArrayHeader(b, pgtype.Float8OID, 3*m, 8)
	for _, part := range []func(summary) float64{
		func(s summary) float64 { return s.min }, func(s summary) float64 { return s.max }, func(s summary) float64 { return s.sum },
	} {
		for _, c := range cells {
			b = binary.BigEndian.AppendUint32(b, 8)
			b = binary.BigEndian.AppendUint64(b, math.Float64bits(part(c)))
		}
	}
	return b
}
