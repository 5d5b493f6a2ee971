-- Settings of metrics, versions of webhooks, and the Idempotency-Keys of requests
-- that made something.

-- +goose Up

CREATE TABLE metric_settings ( -- configuration: survives the metric's projection
  metric_id            uuid PRIMARY KEY,
  tenant_id            uuid NOT NULL REFERENCES tenants,
  display_unit         text NOT NULL DEFAULT '',
  expected_interval_us bigint NOT NULL DEFAULT 0,
  direction            text NOT NULL DEFAULT 'both',
  min_abs_deviation    float8 NOT NULL DEFAULT 0,
  enabled              boolean NOT NULL DEFAULT true,
  version              bigint NOT NULL,   -- of the control entry that carries it
  updated_at           timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX metric_settings_tenant ON metric_settings (tenant_id);

ALTER TABLE webhooks ADD COLUMN version bigint NOT NULL DEFAULT 1;
ALTER TABLE silences ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now();
CREATE INDEX silences_page ON silences (tenant_id, created_at DESC, silence_id DESC) WHERE deleted_at IS NULL;
DROP INDEX silences_tenant;
CREATE INDEX models_page ON models (tenant_id, ts DESC, metric_id DESC, version DESC);

CREATE TABLE created_things ( -- one row per Idempotency-Key that made something
  tenant_id       uuid NOT NULL REFERENCES tenants,
  kind            text NOT NULL,          -- alert_rule, silence, webhook
  idempotency_key text NOT NULL,
  body_sha256     bytea NOT NULL,
  thing_id        uuid NOT NULL,
  created_at      timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, kind, idempotency_key)
);

SELECT protect_tenant_table(t::regclass) FROM unnest(ARRAY['metric_settings', 'created_things']) t;
GRANT SELECT, INSERT, UPDATE ON metric_settings TO edgepulse_app;
GRANT SELECT, INSERT, DELETE ON created_things TO edgepulse_app;
GRANT SELECT ON metric_settings TO edgepulse_writer, edgepulse_analyst;

-- +goose Down
DROP TABLE created_things, metric_settings;
DROP INDEX models_page;
CREATE INDEX silences_tenant ON silences (tenant_id, created_at DESC) WHERE deleted_at IS NULL;
DROP INDEX silences_page;
ALTER TABLE silences DROP COLUMN updated_at;
ALTER TABLE webhooks DROP COLUMN version;
