-- Data keys of tenants, retention by tenant, and the marks of a deletion.

-- +goose Up

-- One key seals what a tenant has in the archive. It is wrapped with the
-- service's secret key, so neither a dump nor the bucket alone opens anything.
-- Destroying it erases the tenant's archive; the row stays, so that a late reader
-- learns that this is so, and a late writer makes no new one.
CREATE TABLE data_keys (
  key_id       uuid PRIMARY KEY,
  tenant_id    uuid NOT NULL UNIQUE,
  wrapped      bytea,                    -- AES-256-GCM, bound to key_id; NULL = destroyed
  created_at   timestamptz NOT NULL DEFAULT now(),
  destroyed_at timestamptz,
  CHECK ((wrapped IS NULL) = (destroyed_at IS NOT NULL))
);
SELECT protect_tenant_table('data_keys');
GRANT SELECT, INSERT ON data_keys TO edgepulse_writer;
-- The gateway traces an alert back to its archived bytes: its tenant's key only.
GRANT SELECT ON data_keys TO edgepulse_app;

-- NULL: as the plan says.
ALTER TABLE tenants ADD COLUMN retention_days int CHECK (retention_days > 0);
-- When the deletion of the tenant began; its keys are refused from then on.
ALTER TABLE tenants ADD COLUMN deleted_at timestamptz;

-- What the sweep has to do with rows and the index of the archive.
GRANT DELETE ON ingest_batches, anomaly_rows, archive_segments, ingest_minutes, dead_letters, webhook_deliveries, alert_events, alerts TO edgepulse_writer;

-- +goose Down
REVOKE DELETE ON ingest_batches, anomaly_rows, archive_segments, ingest_minutes, dead_letters, webhook_deliveries, alert_events, alerts FROM edgepulse_writer;
ALTER TABLE tenants DROP COLUMN deleted_at, DROP COLUMN retention_days;
DROP TABLE data_keys;
