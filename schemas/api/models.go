package api

import "time"

// ModelPin says at which model a metric is held, since when and by whom.
type ModelPin struct {
	Version string    `json:"version"`
	At      time.Time `json:"at"`
	By      string    `json:"by"` // as in the audit log
}

// MetricModel says which model a metric scores with.
type MetricModel struct {
	MetricID string    `json:"metric_id"`
	InUse    string    `json:"in_use"` // "" before the first model
	Newest   string    `json:"newest"` // the last that was made
	Pinned   *ModelPin `json:"pinned"` // nil = not pinned: the newest is in use
	Version  uint64    `json:"version"`
}

// ModelDiff compares two models of one metric.
type ModelDiff struct {
	MetricID         string        `json:"metric_id"`
	DeviceExternalID string        `json:"device_external_id"`
	MetricName       string        `json:"metric_name"`
	From             ModelShape    `json:"from"`
	To               ModelShape    `json:"to"`
	Changes          *ModelChanges `json:"changes"` // nil of a model that was announced without its anchor
}

// ModelShape is one side of a ModelDiff.
type ModelShape struct {
	Model      Model          `json:"model"`
	SampleRows int            `json:"sample_rows"`
	Trees      int            `json:"trees"`
	Nodes      int            `json:"nodes"`
	MeanDepth  float64        `json:"mean_depth"` // of the leaves
	Features   []ModelFeature `json:"features"`
}

// ModelFeature is a feature in the sample and the forest of a model.
type ModelFeature struct {
	Name       string  `json:"name"`
	Min        float64 `json:"min"`
	Max        float64 `json:"max"`
	SplitShare float64 `json:"split_share"`      // of all splits of the forest
	SplitDepth float64 `json:"mean_split_depth"` // 0 = a root
}

// ModelChanges is what the last evaluations of a metric would have been.
type ModelChanges struct {
	Evaluations int             `json:"evaluations"`
	Forest      ModelDifference `json:"forest"` // of the forests' own scores
	Score       ModelDifference `json:"score"`  // of the scores from all channels
	Warnings    ModelWarnings   `json:"warnings"`
	Largest     []ModelInstant  `json:"largest"` // difference of scores, at most ten
}

// ModelDifference is absolute.
type ModelDifference struct {
	Mean float64 `json:"mean"`
	Max  float64 `json:"max"`
}

// ModelWarnings counts evaluations of severity warning or above.
type ModelWarnings struct {
	From    int `json:"from"`
	To      int `json:"to"`
	Changed int `json:"changed"` // crossed the threshold, up or down
}

// ModelInstant is one evaluation in the eyes of both models.
type ModelInstant struct {
	TS    time.Time    `json:"ts"`
	Value float64      `json:"value"`
	From  ModelOpinion `json:"from"`
	To    ModelOpinion `json:"to"`
}

// ModelOpinion is what a model makes of one evaluation.
type ModelOpinion struct {
	Forest   float64 `json:"forest"`
	Score    float64 `json:"score"`
	Severity string  `json:"severity,omitempty"`
}
