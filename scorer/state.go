package scorer

// stateVersion is the first byte of a stored model. A change of layout or of
// what a stored number means takes a new one.
const stateVersion = 3

// AppendState appends the model's state to b: canonical (equal models, equal
// bytes) and complete (a decoded model continues bit for bit).
func (m *Model) AppendState(b []byte) []byte {
	c := coder{buf: append(b, stateVersion)}
	m.code(&c)
	return c.buf
}

// DecodeState replaces the model by a stored one. On an error, which wraps
// ErrState, the model is empty.
func (m *Model) DecodeState(b []byte) error {
	m.reset(0)
	if len(b) == 0 || b[0] != stateVersion {
		return ErrState
	}
	c := coder{buf: b[1:], reading: true}
	m.code(&c)
	if c.err == nil && len(c.buf) > 0 {
		c.fail()
	}
	if c.err != nil {
		m.reset(0)
	}
	return c.err
}

func (m *Model) code(c *coder) {
	c.word64(&m.rng.State)
	c.uvarint(&m.rows)
	c.float(&m.anchor)
	c.int64(&m.first)
	c.int64(&m.last)
	m.step.code(c)
	m.span.code(c)
	m.mix.code(c)
	for _, r := range [...]*ring{&m.values, &m.residuals, &m.seasonals, &m.linears} {
		r.code(c)
	}
	for i := range m.calibration {
		m.calibration[i].code(c)
	}
	m.fast.code(c)
	m.pattern.code(c)
	m.gate.code(c)
	m.band.code(c)
	m.event.code(c)
	m.echo.code(c)
	m.runs.code(c)
	c.float(&m.lastStep)
	c.float(&m.lastValue)
}
