// Package archive keeps what must outlive the logs: immutable segments of raw
// log messages in an object store (a folder, S3 or R2), and the object store
// itself behind stream.Blobs.
//
// What comes in: the messages of a log of truth (INGEST, DELIVERIES) with their
// roots and times. What goes out: segment objects named after the roots they
// hold, and a row per segment for the index in Postgres. In what order: root
// order, without gaps, within a segment and from one to the next. Which state:
// none besides the store; the last segment's name says where to go on. On
// failure: a segment exists completely or not at all; one that was written and
// not yet indexed is indexed at the next start; one that a second archiver wrote
// meanwhile is compared and taken when it holds the same messages.
package archive
