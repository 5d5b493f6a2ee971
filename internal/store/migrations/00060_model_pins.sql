-- Pins of models: which forest a metric scores with while it is pinned.

-- +goose Up

CREATE TABLE model_pins ( -- configuration: survives the metric's projection
  metric_id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL REFERENCES tenants,
  model     bytea,                       -- SHA-256 of the artefact; NULL = unpinned, the version of the control stays
  artefact  bytea,                       -- as the logs carry it: a pin needs neither the row of its model nor its object
  version   bigint NOT NULL,             -- of the control entry that carries it
  pinned_at timestamptz NOT NULL DEFAULT now(),
  pinned_by text NOT NULL,               -- as in the audit log
  CHECK ((model IS NULL) = (artefact IS NULL))
);
CREATE INDEX model_pins_tenant ON model_pins (tenant_id);
SELECT protect_tenant_table('model_pins');
GRANT SELECT, INSERT, UPDATE ON model_pins TO edgepulse_app;
GRANT SELECT ON model_pins TO edgepulse_writer;

-- The metric's first value; NULL for models announced without it.
ALTER TABLE models ADD COLUMN anchor float8;
-- A metric's models in the order in which they were grown: rows only ever rise.
CREATE INDEX models_growth ON models (tenant_id, metric_id, rows DESC);

-- +goose Down
DROP INDEX models_growth;
ALTER TABLE models DROP COLUMN anchor;
DROP TABLE model_pins;
