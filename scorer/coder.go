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

// sortedFloats stores an ascending list as differences of order-preserving bit
// patterns: neighbours share their high bits, which saves a third.
func (c *coder) sortedFloats(v *[]float32, limit int) {
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
			step = uint64(ordered((*v)[i])) - last
		}
		c.uvarint(&step)
		last += step
		if c.err != nil || step > math.MaxUint32 || last > math.MaxUint32 {
			c.fail()
			return
		}
		if c.reading {
			f := unordered(uint32(last))
			if f-f != 0 {
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
