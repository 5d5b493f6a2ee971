-- Tags of devices and metrics that were set by API, and more settings of metrics.

-- +goose Up

ALTER TABLE metric_settings
  ADD COLUMN timezone    text   NOT NULL DEFAULT '',  -- IANA name; '' = UTC
  ADD COLUMN window_us   bigint NOT NULL DEFAULT 0,   -- 0 = the service's
  ADD COLUMN hop_us      bigint NOT NULL DEFAULT 0,   -- likewise
  ADD COLUMN sensitivity float8 NOT NULL DEFAULT 1,
  ADD COLUMN tags        jsonb  NOT NULL DEFAULT '{}';

CREATE TABLE device_settings ( -- configuration: survives the device's projection
  device_id  uuid PRIMARY KEY,
  tenant_id  uuid NOT NULL REFERENCES tenants,
  tags       jsonb NOT NULL DEFAULT '{}',
  version    bigint NOT NULL,                         -- of the control entry that carries it
  updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX device_settings_tenant ON device_settings (tenant_id);
SELECT protect_tenant_table('device_settings');
GRANT SELECT, INSERT, UPDATE ON device_settings TO edgepulse_app;
GRANT SELECT ON device_settings TO edgepulse_writer, edgepulse_analyst;

-- The tags of a metric as rules and filters see them: those of the payload, over
-- them those set on its device, over both those set on the metric.
CREATE VIEW metric_tags WITH (security_invoker = true) AS
  SELECT m.tenant_id, m.device_id, m.metric_id, coalesce(m.tags, '{}') || coalesce(d.tags, '{}') || coalesce(s.tags, '{}') AS tags
  FROM metrics m
    LEFT JOIN device_settings d ON d.device_id = m.device_id AND d.tenant_id = m.tenant_id
    LEFT JOIN metric_settings s ON s.metric_id = m.metric_id AND s.tenant_id = m.tenant_id;
GRANT SELECT ON metric_tags TO edgepulse_app, edgepulse_analyst;

-- +goose Down
DROP VIEW metric_tags;
DROP TABLE device_settings;
ALTER TABLE metric_settings DROP COLUMN tags, DROP COLUMN sensitivity, DROP COLUMN hop_us, DROP COLUMN window_us, DROP COLUMN timezone;
