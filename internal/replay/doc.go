// Package replay takes what was received through the folds once more.
//
// What comes in: messages of INGEST from the archive, and from the log itself
// what is not archived yet. What goes out: a shadow, that is a second set of logs
// with the same roots, worked on by the same runners; or the live INGEST again,
// where every message is known and folds as an empty root. In what order: roots
// ascending, each partition for itself. Which state: a shadow's plan stands in
// the metadata of its INGEST, its position is its last sequence, its stages keep
// snapshots of their own, so a replay that was killed goes on where it was. On
// failure: an error that names what is missing and what to do; the live logs are
// never changed by a shadow.
//
// Compare holds the outputs of two sets of logs against each other, root by root.
package replay
