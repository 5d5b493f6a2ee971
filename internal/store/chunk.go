package store

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"sort"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/edgepulse/edgepulse/stream"
)

// A chunk is one row that holds many samples of one series, column by column in
// arrays (see migrations/00020_chunks.sql, which documents each column). This
// file writes them; chunkread.go reads them.

// chunkMax is how many samples a chunk holds at most.
const chunkMax = 1000

const weekMicros = 7 * dayMicros

// weekOf is the number of the week (from Monday 00:00 UTC) of an instant: no chunk crosses one.
func weekOf(us int64) int64 {
	const monday = 4 * dayMicros // 1970-01-05
	d := us - monday
	w := d / weekMicros
	if d%weekMicros < 0 {
		w--
	}
	return w
}

// chunkColumns are those of both tables; sealed chunks may have rollupColumns too.
var chunkColumns = []string{"tenant_id", "device_id", "metric_id", "first_ts", "last_ts", "root", "n", "unit", "partition",
	"offsets", "wide", "roots", "flags", "longs", "reals", "words"}

// sealedColumns are those of a sealed chunk of a kind.
func sealedColumns(spec *stream.SeriesSpec) []string {
	if rollings[spec] == nil {
		return chunkColumns
	}
	return append(chunkColumns[:len(chunkColumns):len(chunkColumns)], rollupColumns...)
}

// order sorts samples by instant, then root, then kind. They usually are.
func order(s *stream.Samples) {
	sorted := true
	for i := range s.TS {
		s.TS[i] = max(s.TS[i], firstInstant)
		sorted = sorted && (i == 0 || compareSamples(s, i-1, i) <= 0)
	}
	if sorted {
		return
	}
	at := make([]int32, s.Len())
	for i := range at {
		at[i] = int32(i)
	}
	slices.SortStableFunc(at, func(i, j int32) int { return compareSamples(s, int(i), int(j)) })
	pick(s, at)
}

// pick keeps the samples with these numbers, in their order.
func pick(s *stream.Samples, at []int32) {
	s.TS, s.Root, s.Flags = picked(s.TS, at), picked(s.Root, at), picked(s.Flags, at)
	for i := range s.Longs {
		s.Longs[i] = picked(s.Longs[i], at)
	}
	for i := range s.Reals {
		s.Reals[i] = picked(s.Reals[i], at)
	}
	if len(s.Words) > 0 {
		s.Words = picked(s.Words, at)
	}
}

func picked[T any](column []T, at []int32) []T {
	out := make([]T, len(at))
	for i, k := range at {
		out[i] = column[k]
	}
	return out
}

func compareSamples(s *stream.Samples, i, j int) int {
	if c := cmp.Compare(s.TS[i], s.TS[j]); c != 0 {
		return c
	}
	if c := cmp.Compare(s.Root[i], s.Root[j]); c != 0 {
		return c
	}
	return cmp.Compare(s.Flags[i]&stream.SampleTick, s.Flags[j]&stream.SampleTick)
}

// distinct leaves one of ordered samples that are the same: of a kind with one
// sample per instant the first, which has the lowest root.
func distinct(spec *stream.SeriesSpec, s *stream.Samples) {
	same := func(i int) bool {
		if spec.Unique {
			return s.TS[i] == s.TS[i-1]
		}
		return compareSamples(s, i-1, i) == 0
	}
	var keep []int32
	for i := range s.TS {
		switch {
		case i > 0 && same(i):
			if keep == nil {
				keep = make([]int32, i, s.Len())
				for k := range keep {
					keep[k] = int32(k)
				}
			}
		case keep != nil:
			keep = append(keep, int32(i))
		}
	}
	if keep != nil {
		pick(s, keep)
	}
}

// cut divides ordered samples into chunks [lo, hi) of about equal size: none
// crosses a week, none parts samples of one instant unless they fill more than one.
func cut(s *stream.Samples, yield func(lo, hi int)) {
	for lo := 0; lo < s.Len(); {
		end := lo + sort.Search(s.Len()-lo, func(i int) bool { return weekOf(s.TS[lo+i]) > weekOf(s.TS[lo]) })
		for lo < end {
			pieces := (end - lo + chunkMax - 1) / chunkMax
			hi := lo + (end-lo+pieces-1)/pieces
			hi = min(hi, rootsFit(s, lo, hi))
			at := hi
			for at < end && at > lo && s.TS[at-1] == s.TS[at] {
				at--
			}
			if at > lo {
				hi = at
			}
			yield(lo, hi)
			lo = hi
		}
	}
}

// rootsFit shortens [lo, hi) until the distances of its roots fit an int.
func rootsFit(s *stream.Samples, lo, hi int) int {
	least, most := s.Root[lo], s.Root[lo]
	for i := lo; i < hi; i++ {
		least, most = min(least, s.Root[i]), max(most, s.Root[i])
		if most-least > math.MaxInt32 {
			return i
		}
	}
	return hi
}

// appendChunk appends the COPY row of samples [lo, hi), which are ordered.
func appendChunk(b []byte, spec *stream.SeriesSpec, s *stream.Samples, lo, hi, partition int, sealed bool) []byte {
	columns := len(chunkColumns)
	if sealed {
		columns = len(sealedColumns(spec))
	}
	n := hi - lo
	b = slices.Grow(b, 512+n*(12*(3+len(spec.Longs)+len(spec.Reals))))
	b = binary.BigEndian.AppendUint16(b, uint16(columns))
	for _, id := range [][16]byte{s.Key.Tenant, s.Key.Device, s.Key.Metric} {
		b = binary.BigEndian.AppendUint32(b, 16)
		b = append(b, id[:]...)
	}
	first, last := s.TS[lo], s.TS[hi-1]
	root := slices.Min(s.Root[lo:hi])
	unit := unitOf(s.TS[lo:hi])
	b = appendField8(b, uint64(first-pgEpoch))
	b = appendField8(b, uint64(last-pgEpoch))
	b = appendField8(b, root)
	b = appendField4(b, uint32(n))
	b = appendField4(b, uint32(unit))
	b = binary.BigEndian.AppendUint32(b, 2)
	b = binary.BigEndian.AppendUint16(b, uint16(partition))

	switch {
	case first == last:
		b = appendNull(appendNull(b))
	case (last-first)/unit <= math.MaxInt32:
		b = appendArray4(b, n, func(i int) uint32 { return uint32((s.TS[lo+i] - first) / unit) })
		b = appendNull(b)
	default:
		b = appendNull(b)
		b = appendArrayHeader(b, pgtype.Int8OID, n, 8)
		for _, ts := range s.TS[lo:hi] {
			b = appendField8(b, uint64((ts-first)/unit))
		}
	}
	if slices.Max(s.Root[lo:hi]) == root {
		b = appendNull(b)
	} else {
		b = appendArray4(b, n, func(i int) uint32 { return uint32(s.Root[lo+i] - root) })
	}
	b, words := appendFlags(b, s, lo, hi)
	if len(s.Longs) == 0 {
		b = appendNull(b)
	} else {
		b = appendArrayHeader(b, pgtype.Int8OID, n*len(s.Longs), 8)
		for _, c := range s.Longs {
			for _, v := range c[lo:hi] {
				b = appendField8(b, uint64(v))
			}
		}
	}
	b = appendArrayHeader(b, pgtype.Float8OID, n*len(s.Reals), 8)
	for _, c := range s.Reals {
		for _, v := range c[lo:hi] {
			b = appendField8(b, math.Float64bits(v))
		}
	}
	b = appendWords(b, words)
	if r := rollings[spec]; sealed && r != nil {
		b = r.appendRollups(b, s, lo, hi)
	}
	return b
}

// appendFlags writes the flags, each with the number of its sample's word, and
// returns the words in the order of their numbers.
func appendFlags(b []byte, s *stream.Samples, lo, hi int) ([]byte, []string) {
	if len(s.Words) == 0 {
		for _, f := range s.Flags[lo:hi] {
			if f != 0 {
				return appendArray4(b, hi-lo, func(i int) uint32 { return s.Flags[lo+i] }), nil
			}
		}
		return appendNull(b), nil
	}
	var words []string
	b = appendArray4(b, hi-lo, func(i int) uint32 {
		f := s.Flags[lo+i] & (1<<stream.SampleWordShift - 1)
		w := s.Words[lo+i]
		if w == "" {
			return f
		}
		at := len(words) - 1
		for at >= 0 && words[at] != w {
			at--
		}
		if at < 0 {
			at = len(words)
			words = append(words, w)
		}
		return f | uint32(at+1)<<stream.SampleWordShift
	})
	return b, words
}

func appendWords(b []byte, words []string) []byte {
	if len(words) == 0 {
		return appendNull(b)
	}
	at := len(b)
	b = appendArrayHeader(b, pgtype.ByteaOID, len(words), 0)
	for _, w := range words {
		b = binary.BigEndian.AppendUint32(b, uint32(len(w)))
		b = append(b, w...)
	}
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	return b
}

// unitOf is the greatest common divisor of the distances, in µs, as far as it fits an int.
func unitOf(ts []int64) int64 {
	unit := int64(0)
	for _, t := range ts[1:] {
		d := t - ts[0]
		if unit != 0 && d%unit == 0 {
			continue
		}
		for d != 0 {
			unit, d = d, unit%d
		}
		if unit == 1 {
			break
		}
	}
	for unit > math.MaxInt32 {
		if unit%2 != 0 {
			return 1
		}
		unit /= 2
	}
	return max(unit, 1)
}

func appendNull(b []byte) []byte { return binary.BigEndian.AppendUint32(b, math.MaxUint32) }

func appendField8(b []byte, v uint64) []byte {
	b = binary.BigEndian.AppendUint32(b, 8)
	return binary.BigEndian.AppendUint64(b, v)
}

func appendField4(b []byte, v uint32) []byte {
	b = binary.BigEndian.AppendUint32(b, 4)
	return binary.BigEndian.AppendUint32(b, v)
}

// appendArrayHeader begins a field that is an array of one dimension; size is that of an element.
func appendArrayHeader(b []byte, oid uint32, n, size int) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(20+n*(4+size)))
	b = binary.BigEndian.AppendUint32(b, 1) // dimensions
	b = binary.BigEndian.AppendUint32(b, 0) // no NULLs
	b = binary.BigEndian.AppendUint32(b, oid)
	b = binary.BigEndian.AppendUint32(b, uint32(n))
	return binary.BigEndian.AppendUint32(b, 1) // lower bound
}

func appendArray4(b []byte, n int, at func(int) uint32) []byte {
	b = appendArrayHeader(b, pgtype.Int4OID, n, 4)
	for i := range n {
		b = appendField4(b, at(i))
	}
	return b
}
