package schemas

// The words that the API, Postgres and webhooks use for the enums of the logs.
// The first word of a list stands for the zero value.
var (
	severityWords = []string{"none", "info", "warning", "critical"}
	labelWords    = []string{"none", "spike", "drop", "drift", "missingness", "stuck"}
	subLabelWords = []string{"none", "level", "noise"}
	warmUpWords   = []string{"warming", "calibrating", "learning", "trusted"}
	stateWords    = []string{"", "opened", "updated", "resolved"}
	directWords   = []string{"both", "up", "down"}
	outcomeWords  = []string{"planned", "delivered", "retry", "gave_up"}
)

func word(words []string, i int32) string {
	if i < 0 || int(i) >= len(words) {
		return "unknown"
	}
	return words[i]
}

func parse(words []string, s string) (int32, bool) {
	for i, w := range words {
		if w == s {
			return int32(i), true
		}
	}
	return 0, false
}

// Word is the severity as people read it.
func (s Severity) Word() string { return word(severityWords, int32(s)) }

// Word is the label as people read it.
func (l Label) Word() string { return word(labelWords, int32(l)) }

// Word is the sub-label as people read it.
func (l SubLabel) Word() string { return word(subLabelWords, int32(l)) }

// Word is the warm-up state as people read it.
func (w WarmUp) Word() string { return word(warmUpWords, int32(w)) }

// Word is the alert state as people read it.
func (s AlertState) Word() string { return word(stateWords, int32(s)) }

// Word is the direction as people read it.
func (d Direction) Word() string { return word(directWords, int32(d)) }

// Word is the outcome as people read it; an unspecified one is a plan.
func (o DeliveryOutcome) Word() string { return word(outcomeWords, int32(o)) }

// ParseSeverity reads what Word wrote; an empty string is none.
func ParseSeverity(s string) (Severity, bool) {
	if s == "" {
		return Severity_SEVERITY_NONE, true
	}
	i, ok := parse(severityWords, s)
	return Severity(i), ok
}

// ParseLabel reads what Word wrote; an empty string is none.
func ParseLabel(s string) (Label, bool) {
	if s == "" {
		return Label_LABEL_NONE, true
	}
	i, ok := parse(labelWords, s)
	return Label(i), ok
}

// ParseDirection reads what Word wrote; an empty string is both.
func ParseDirection(s string) (Direction, bool) {
	if s == "" {
		return Direction_DIRECTION_BOTH, true
	}
	i, ok := parse(directWords, s)
	return Direction(i), ok
}
