package scorer

// echoRows is how long the end of a gap or of a stuck run resounds: the jump to
// where the metric has gone meanwhile, in the averages over a few rows.
const echoRows = 6

// echo remembers what has just ended. The jump back to life belongs to it; what
// is still anomalous after that is judged by its own shape.
type echo struct {
	label uint32
	rows  uint32 // left, the present one included
}

// follow takes whether the row ends a gap or a stuck run.
func (e *echo) follow(gap, released bool) {
	switch {
	case gap:
		*e = echo{uint32(Missingness), echoRows}
	case released:
		*e = echo{uint32(Stuck), echoRows}
	case e.rows > 0:
		e.rows--
	}
}

// since counts the rows from the one that began the echo to the one before the present.
func (e *echo) since() int { return echoRows - int(e.rows) }

func (e *echo) code(c *coder) {
	c.count(&e.label, uint32(Stuck))
	c.count(&e.rows, echoRows)
}
