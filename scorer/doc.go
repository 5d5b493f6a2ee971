// Package scorer judges every evaluation of a metric by that metric's own past.
//
// In: observations of one metric in order of evaluation (Observation). Out: one
// Verdict per observation: a continuous score, a rate-limited alarm, the
// forecast with its 99 % band, a label, a severity, the channels that took part,
// the warm-up state and, when asked, a sentence.
// Order: strictly causal; the verdict of a row depends on the rows up to it and
// on nothing else, no clock and no global randomness.
// State: Model, 12 KB stored and 45 KB resident; AppendState is canonical,
// and a decoded model continues bit for bit.
// Failure: none while scoring (values that are no numbers teach nothing);
// DecodeState refuses what no model wrote.
//
//	                      +-- mixture of forecasters --+-- band (expected, lower, upper)
//	observation -- row ---+                            |
//	                      +-- ranked channels ---------+-- calibrator each --+
//	                      |   level forecast mean      |                     |
//	                      |   season range linear      |                     +-- combine -- S -- alarm gate -- a
//	                      +-- fast channel ------------+---------------------+                       |
//	                      +-- pattern channel (forest over the features) ----+                   severity
//	                      |
//	                      +-- runs, gap, event shape ------ label, onset, revision
//
// Read model.go first, then channel.go (the registry: a channel is a file and a
// line), calibration.go, combine.go and alarm.go.
package scorer
