package scorer

import (
	"encoding/binary"
	"errors"
	"math"
)

// ErrState marks bytes that no model wrote.
var ErrState = errors.New("model state is not valid")

// coder walks a model's state in one fixed order, writing it or reading it back,
// so that the layout exists once. After the first error it does nothing more.
type coder struct {
	buf     []byte // written so far, or left to read
	reading bool
	err     error
}

func (c *coder) fail() {
	if c.err == nil {
		c.err = ErrState
	}
	c.buf = c.buf[:0]
}

func (c *coder) word64(v *uint64) {
	if !c.reading {
		c.buf = binary.LittleEndian.AppendUint64(c.buf, *v)
		return
	}
	if len(c.buf) < 8 {
		c.fail()
		return
	}
	*v = binary.LittleEndian.Uint64(c.buf)
	c.buf = c.buf[8:]
}

// float accepts finite numbers only: none else can be in a model.
func (c *coder) float(v *float64) {
	w := math.Float64bits(*v)
	c.word64(&w)
	f := math.Float64frombits(w)
	if math.IsNaN(f) || math.IsInf(f, 0) {
		c.fail()
		return
	}
	*v = f
}

func (c *coder) floats(v []float64) {
	for i := range v {
		c.float(&v[i])
	}
}

func (c *coder) float32(v *float32) {
	if !c.reading {
		c.buf = binary.LittleEndian.AppendUint32(c.buf, math.Float32bits(*v))
		return
	}
	if len(c.buf) < 4 {
		c.fail()
		return
	}
	f := math.Float32frombits(binary.LittleEndian.Uint32(c.buf))
	if f-f != 0 {
		c.fail()
		return
	}
	*v, c.buf = f, c.buf[4:]
}

func (c *coder) uvarint(v *uint64) {
	if !c.reading {
		c.buf = binary.AppendUvarint(c.buf, *v)
		return
	}
	u, n := binary.Uvarint(c.buf)
	if n <= 0 {
		c.fail()
		return
	}
	*v, c.buf = u, c.buf[n:]
}

// count is a number in [0,limit].
func (c *coder) count(v *uint32, limit uint32) {
	u := uint64(*v)
	c.uvarint(&u)
	if u > uint64(limit) {
		c.fail()
		return
	}
	*v = uint32(u)
}

func (c *coder) int64(v *int64) {
	u := uint64(*v)
	c.word64(&u)
	*v = int64(u)
}

func (c *coder) flag(v *bool) {
	u := uint64(0)
	if *v {
		u = 1
	}
	c.uvarint(&u)
	if u > 1 {
		c.fail()
		return
	}
	*v = u == 1
}

// flags stores eight to a byte.
func (c *coder) flags(v []bool) {
	for ; len(v) > 0; v = v[min(8, len(v)):] {
		eight := v[:min(8, len(v))]
		if !c.reading {
			b := byte(0)
			for i, set := range eight {
				if set {
					b |= 1 << i
				}
			}
			c.buf = append(c.buf, b)
			continue
		}
		if len(c.buf) == 0 || int(c.buf[0])>>len(eight) != 0 {
			c.fail()
			return
		}
		for i := range eight {
			eight[i] = c.buf[0]>>i&1 == 1
		}
		c.buf = c.buf[1:]
	}
}

// rows stores a row-major matrix of at most limit rows.
func (c *coder) rows(v *[]float32, cols, limit int) {
	n := uint32(len(*v) / cols)
	c.count(&n, uint32(limit))
	if c.err != nil {
		return
	}
	if c.reading {
		*v = append((*v)[:0], make([]float32, int(n)*cols)...)
	}
	for i := range *v {
		c.float32(&(*v)[i])
	}
}

// coarseBits are the low bits of a float32 that a reservoir does without. What is
// left resolves 2^-17 of a value; the floor of a calibration is at least .02 of the
// range, which no value of the history exceeds but by winsorising.
const coarseBits = 8

// coarse rounds to the resolution of a reservoir. Of the two zeros, which compare
// equal but differ as bits, it knows one.
func coarse(f float32) float32 {
	b := math.Float32bits(f)
	f = math.Float32frombits((b + 1<<(coarseBits-1)) &^ (1<<coarseBits - 1))
	if f == 0 {
		return 0
	}
	return f
}

// sortedCoarse stores an ascending list of coarse values as differences of
// order-preserving bit patterns: neighbours share their high bits, and a list of
// 512 takes two bytes a value.
func (c *coder) sortedCoarse(v *[]float32, limit int) {
	n := uint32(len(*v))
	c.count(&n, uint32(limit))
	if c.err != nil {
		return
	}
	if c.reading {
		*v = (*v)[:0]
	}
	last := uint64(0)
	for i := range int(n) {
		var step uint64
		if !c.reading {
			step = uint64(ordered((*v)[i])>>coarseBits) - last
		}
		c.uvarint(&step)
		last += step
		if c.err != nil || step > math.MaxUint32>>coarseBits || last > math.MaxUint32>>coarseBits {
			c.fail()
			return
		}
		if c.reading {
			u := uint32(last) << coarseBits
			if u>>31 == 0 {
				u |= 1<<coarseBits - 1 // a negative number is ordered by its complement
			}
			f := unordered(u)
			if f-f != 0 || f == 0 && math.Signbit(float64(f)) {
				c.fail()
				return
			}
			*v = append(*v, f)
		}
	}
}

// ordered maps float32 to integers in the same order; unordered is its inverse.
func ordered(f float32) uint32 {
	b := math.Float32bits(f)
	if b>>31 == 1 {
		return ^b
	}
	return b | 1<<31
}

func unordered(u uint32) float32 {
	if u>>31 == 1 {
		return math.Float32frombits(u &^ (1 << 31))
	}
	return math.Float32frombits(^u)
}
