package store

import (
	"encoding/binary"
	"math"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/edgepulse/edgepulse/stream"
)

// A roll-up is a row of numbers that stands for many samples: a cell of a chunk,
// the chunk as a whole, a bucket of a chart. Two of them make one of all.
type rollup []float64

// cellWidths are the widths a chunk's cells may have, in µs: each divides the next.
var cellWidths = []int64{1e6, 10e6, 60e6, 600e6, 3600e6}

// cellSamples is how many samples a cell holds on average at least: a chart then
// reads a sixteenth of the data.
const cellSamples = 16

// rollupColumns are those of a sealed chunk of a kind that has roll-ups.
var rollupColumns = []string{"whole", "cell_us", "cell_at", "cells"}

// rolling makes roll-ups of one kind of samples.
type rolling struct {
	size  int
	one   func(s *stream.Samples, i int) rollup
	merge func(into, from rollup) // from is the later one
}

// Columns of roll-ups, as the migration documents them.
const (
	rollCount = 0
	pointMin  = 1
	pointMax  = 2
	pointSum  = 3
	pointLast = 4

	scoreExpected = 1 // sums, over evaluations by points
	scoreUpper    = 3
	scoreMax      = 4
	scoreAlarm    = 5
)

var rollings = map[*stream.SeriesSpec]*rolling{
	stream.DatapointSeries: {
		size: 5,
		one: func(s *stream.Samples, i int) rollup {
			v := s.Reals[0][i]
			return rollup{1, v, v, v, v}
		},
		merge: func(into, from rollup) {
			into[rollCount] += from[rollCount]
			into[pointMin] = min(into[pointMin], from[pointMin])
			into[pointMax] = max(into[pointMax], from[pointMax])
			into[pointSum] += from[pointSum]
			into[pointLast] = from[pointLast]
		},
	},
	stream.ScoreSeries: {
		size: 6,
		one: func(s *stream.Samples, i int) rollup {
			return scoreRollup(s.Flags[i]&stream.SampleTick != 0, s.Reals[3][i], s.Reals[4][i], s.Reals[5][i], s.Reals[1][i], s.Reals[2][i])
		},
		merge: func(into, from rollup) {
			for i := rollCount; i <= scoreUpper; i++ {
				into[i] += from[i]
			}
			into[scoreMax], into[scoreAlarm] = max(into[scoreMax], from[scoreMax]), max(into[scoreAlarm], from[scoreAlarm])
		},
	},
}

// scoreRollup is that of one evaluation: of a tick only the scores count.
func scoreRollup(tick bool, expected, lower, upper, score, alarm float64) rollup {
	if tick {
		return rollup{0, 0, 0, 0, score, alarm}
	}
	return rollup{1, expected, lower, upper, score, alarm}
}

// cells rolls ordered samples [lo, hi) up in cells of the finest width of which
// one holds cellSamples; width 0 = there is none.
func (r *rolling) cells(s *stream.Samples, lo, hi int) (width int64, at []int64, cells []rollup) {
	for _, w := range cellWidths {
		n := 1
		for i := lo + 1; i < hi; i++ {
			if floorDiv(s.TS[i], w) != floorDiv(s.TS[i-1], w) {
				n++
			}
		}
		if n*cellSamples <= hi-lo {
			width = w
			break
		}
	}
	if width == 0 {
		return 0, nil, nil
	}
	for i := lo; i < hi; i++ {
		c := floorDiv(s.TS[i], width) - floorDiv(s.TS[lo], width)
		if n := len(at); n > 0 && at[n-1] == c {
			r.merge(cells[n-1], r.one(s, i))
		} else {
			at, cells = append(at, c), append(cells, r.one(s, i))
		}
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

// appendRollups appends the rollupColumns of samples [lo, hi).
func (r *rolling) appendRollups(b []byte, s *stream.Samples, lo, hi int) []byte {
	whole := r.one(s, lo)
	for i := lo + 1; i < hi; i++ {
		r.merge(whole, r.one(s, i))
	}
	// A value that is not finite would swallow those it is added to: such chunks are read in full.
	for _, v := range whole[1:4] {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return appendNull(appendNull(appendNull(appendNull(b))))
		}
	}
	b = appendReals(b, len(whole), func(i int) float64 { return whole[i] })
	width, at, cells := r.cells(s, lo, hi)
	if width == 0 {
		return appendNull(appendNull(appendNull(b)))
	}
	m := len(cells)
	b = appendField8(b, uint64(width))
	b = appendArray4(b, m, func(i int) uint32 { return uint32(at[i]) })
	return appendReals(b, r.size*m, func(i int) float64 { return cells[i%m][i/m] })
}

func appendReals(b []byte, n int, at func(int) float64) []byte {
	b = appendArrayHeader(b, pgtype.Float8OID, n, 8)
	for i := range n {
		b = binary.BigEndian.AppendUint32(b, 8)
		b = binary.BigEndian.AppendUint64(b, math.Float64bits(at(i)))
	}
	return b
}

// decodeCells takes the cells of a chunk that begins at first apart: fn gets the
// instant a cell begins, and the roll-up, which it may keep.
func (r *rolling) decodeCells(first, width int64, at, cells []byte, fn func(ts int64, c rollup)) error {
	numbers, m, err := arrayData(at)
	if err != nil {
		return err
	}
	values, n, err := arrayData(cells)
	if err != nil || n != m*r.size || len(numbers) != 8*m || len(values) != 12*n {
		return errArray
	}
	base := floorDiv(first, width)
	for i := range m {
		c := make(rollup, r.size)
		for k := range c {
			c[k] = realAt(values, k*m+i)
		}
		fn((base+int64(binary.BigEndian.Uint32(numbers[8*i+4:])))*width, c)
	}
	return nil
}

// realAt is element i of an array of floats.
func realAt(data []byte, i int) float64 {
	return math.Float64frombits(binary.BigEndian.Uint64(data[12*i+4:]))
}
