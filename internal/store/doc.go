// Package store is EdgePulse's PostgreSQL: the schema, the database side of the
// projectors, and the queries of the API. It is the sole owner of the driver.
//
// What comes in: rows that projections made of log entries (Sink), configuration
// that people write (rules, webhooks, keys). What goes out: the shapes of
// schemas/api, control entries for the logs, endpoints for the deliverer. Order:
// rows of a log's partition are applied in the order of their roots; a
// transaction holds rows and position together, so none is applied twice or
// skipped. State: the database; everything except configuration can be thrown
// away and projected again (TruncateProjected). On failure a transaction leaves
// nothing behind and the caller gets an error; ErrNotFound, ErrBadCursor,
// ErrConflict and stream.ErrPositionMoved are the ones to decide on.
//
// Every query of the API carries its tenant twice: as a condition, and as
// app.tenant of its transaction, which row-level security compares on its own.
// A process opens only the pools of the roles whose addresses it was given:
//
//	owner             migrations, tenants, keys, rebuilds
//	edgepulse_writer  projectors, outbox relay, deliverer, archiver, trace
//	edgepulse_app     the API: sees the rows of one tenant per transaction
//	edgepulse_analyst SQL logins of people: their tenant, read only
package store
