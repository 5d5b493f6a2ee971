package schemas

import (
	"encoding/binary"
	"errors"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// PointsBuffer is a decoded Points entry whose memory serves the next one: a
// reader of POINTS meets thousands of them a second, most of whose series hold a
// single sample.
type PointsBuffer struct {
	Tenant, Device ID
	ReceivedAt     int64
	Backfill       bool
	Series         []SeriesBuffer
	TS             []int64 // of all series, one after the other; absolute
	Values         []float64
	Flags          []uint32
}

// SeriesBuffer is the part [From, To) of the columns.
type SeriesBuffer struct {
	Metric   ID
	From, To int
}

var errPoints = errors.New("not an entry of points")

// Decode reads an encoded Entry of kind points. It takes what the generated code
// takes, and beyond that demands identifiers of 16 bytes and columns of one length.
// After an error the buffer's content means nothing.
func (p *PointsBuffer) Decode(entry []byte) error {
	p.Tenant, p.Device, p.ReceivedAt, p.Backfill = Nil, Nil, 0, false
	p.Series, p.TS, p.Values, p.Flags = p.Series[:0], p.TS[:0], p.Values[:0], p.Flags[:0]
	return fields(entry, func(number protowire.Number, kind protowire.Type, _ uint64, b []byte) error {
		if number != protowire.Number(KindPoints) || kind != protowire.BytesType {
			return errPoints
		}
		return fields(b, p.field)
	})
}

func (p *PointsBuffer) field(number protowire.Number, kind protowire.Type, v uint64, b []byte) error {
	switch {
	case number == 1 && kind == protowire.BytesType:
		return readID(&p.Tenant, b)
	case number == 2 && kind == protowire.BytesType:
		return readID(&p.Device, b)
	case number == 3 && kind == protowire.VarintType:
		p.ReceivedAt = int64(v)
	case number == 4 && kind == protowire.VarintType:
		p.Backfill = v != 0
	case number == 5 && kind == protowire.BytesType:
		return p.series(b)
	}
	return nil
}

func (p *PointsBuffer) series(b []byte) error {
	s := SeriesBuffer{From: len(p.TS)}
	last := int64(0)
	err := fields(b, func(number protowire.Number, kind protowire.Type, v uint64, b []byte) error {
		switch {
		case number == 1 && kind == protowire.BytesType:
			return readID(&s.Metric, b)
		case number == 2 && kind == protowire.BytesType:
			for len(b) > 0 {
				v, n := protowire.ConsumeVarint(b)
				if n < 0 {
					return errPoints
				}
				b = b[n:]
				last += protowire.DecodeZigZag(v)
				p.TS = append(p.TS, last)
			}
		case number == 2 && kind == protowire.VarintType:
			last += protowire.DecodeZigZag(v)
			p.TS = append(p.TS, last)
		case number == 3 && kind == protowire.BytesType:
			if len(b)%8 != 0 {
				return errPoints
			}
			for ; len(b) > 0; b = b[8:] {
				p.Values = append(p.Values, math.Float64frombits(binary.LittleEndian.Uint64(b)))
			}
		case number == 3 && kind == protowire.Fixed64Type:
			p.Values = append(p.Values, math.Float64frombits(v))
		case number == 4 && kind == protowire.BytesType:
			for len(b) > 0 {
				v, n := protowire.ConsumeVarint(b)
				if n < 0 {
					return errPoints
				}
				b = b[n:]
				p.Flags = append(p.Flags, uint32(v))
			}
		case number == 4 && kind == protowire.VarintType:
			p.Flags = append(p.Flags, uint32(v))
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.To = len(p.TS)
	if s.Metric == Nil || len(p.Values) != s.To || (len(p.Flags) != s.From && len(p.Flags) != s.To) {
		return errPoints
	}
	for len(p.Flags) < s.To {
		p.Flags = append(p.Flags, 0) // absent: all zero
	}
	p.Series = append(p.Series, s)
	return nil
}

func readID(id *ID, b []byte) error {
	if len(b) != len(id) {
		return errPoints
	}
	*id = ID(b)
	return nil
}

// fields walks the fields of a message: v holds a varint or fixed number, b a
// length-delimited one.
func fields(b []byte, yield func(number protowire.Number, kind protowire.Type, v uint64, b []byte) error) error {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errPoints
		}
		b = b[n:]
		var v uint64
		var sub []byte
		switch kind {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			v, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			sub, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(number, kind, b)
		}
		if n < 0 {
			return errPoints
		}
		b = b[n:]
		if err := yield(number, kind, v, sub); err != nil {
			return err
		}
	}
	return nil
}
