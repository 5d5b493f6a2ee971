-- Projections: every row here is a function of a log and may be thrown away.
-- Each carries partition and root, the way back to its bytes. Column names are
-- those of the log entry (schemas/log.proto); instants are timestamptz,
-- enumerations lower-case text without their prefix.

-- +goose Up

CREATE TABLE projection_positions (
  log        text NOT NULL,
  partition  smallint NOT NULL,
  root       bigint NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (log, partition)
) WITH (fillfactor = 20); -- updated with every commit: room for in-page updates

-- POINTS

CREATE TABLE devices (
  device_id          uuid PRIMARY KEY,
  tenant_id          uuid NOT NULL,
  device_external_id text NOT NULL,
  first_seen         timestamptz NOT NULL,
  root               bigint NOT NULL,
  partition          smallint NOT NULL
);
CREATE INDEX devices_page ON devices (tenant_id, first_seen DESC, device_id DESC);
CREATE INDEX devices_external ON devices (tenant_id, device_external_id);

CREATE TABLE metrics (
  metric_id  uuid PRIMARY KEY,
  tenant_id  uuid NOT NULL,
  device_id  uuid NOT NULL,
  name       text NOT NULL,
  unit       text NOT NULL DEFAULT '',
  tags       jsonb,                      -- {"key": "value"}
  first_seen timestamptz NOT NULL,
  root       bigint NOT NULL,
  partition  smallint NOT NULL
);
CREATE INDEX metrics_page ON metrics (tenant_id, first_seen DESC, metric_id DESC);
CREATE INDEX metrics_device ON metrics (device_id, name);

CREATE TABLE ingest_batches ( -- one row per part of a request
  tenant_id       uuid NOT NULL,
  request_id      text NOT NULL,
  part            int NOT NULL,
  parts           int NOT NULL,
  partition       smallint NOT NULL,
  root            bigint NOT NULL,
  received_at     timestamptz NOT NULL,
  key_id          text NOT NULL DEFAULT '',
  source          text NOT NULL DEFAULT '',
  idempotency_key text NOT NULL DEFAULT '',
  body_sha256     bytea,
  bytes           bigint NOT NULL DEFAULT 0,
  points          bigint NOT NULL DEFAULT 0,
  accepted        bigint NOT NULL DEFAULT 0,
  duplicate       bigint NOT NULL DEFAULT 0,
  conflicting     bigint NOT NULL DEFAULT 0,
  late            bigint NOT NULL DEFAULT 0,
  rejected        bigint NOT NULL DEFAULT 0,
  rejections      jsonb,                 -- [{"pointer", "code", "detail"}], as api.Rejection
  repeat          boolean NOT NULL DEFAULT false,
  backfill        boolean NOT NULL DEFAULT false,
  PRIMARY KEY (tenant_id, request_id, part)
);
CREATE INDEX ingest_batches_root ON ingest_batches (partition, root);
CREATE INDEX ingest_batches_time ON ingest_batches (tenant_id, received_at DESC);

CREATE TABLE datapoint_rows ( -- as COPY wrote them; read through the view datapoints
  tenant_id uuid NOT NULL,
  metric_id uuid NOT NULL,
  ts        timestamptz NOT NULL,
  value     float8 NOT NULL,
  root      bigint NOT NULL,
  flags     int NOT NULL DEFAULT 0,      -- bits of PointFlag
  partition smallint NOT NULL
);
CREATE INDEX datapoint_rows_series ON datapoint_rows (metric_id, ts, root);
CREATE INDEX datapoint_rows_root ON datapoint_rows USING brin (root) WITH (pages_per_range = 32, autosummarize = on);

-- Beyond the window's memory the same (metric, ts) may have been accepted twice: the lowest root wins.
CREATE VIEW datapoints WITH (security_invoker = true) AS
  SELECT DISTINCT ON (metric_id, ts) tenant_id, metric_id, ts, value, flags, partition, root
  FROM datapoint_rows
  ORDER BY metric_id, ts, root;

CREATE TABLE usage (
  tenant_id uuid NOT NULL,
  day       date NOT NULL,
  requests  bigint NOT NULL DEFAULT 0,
  points    bigint NOT NULL DEFAULT 0,
  bytes     bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant_id, day)
);

-- FEATURES

CREATE TABLE features (
  tenant_id    uuid NOT NULL,
  device_id    uuid NOT NULL,
  metric_id    uuid NOT NULL,
  ts           timestamptz NOT NULL,
  window_start timestamptz NOT NULL,
  window_end   timestamptz NOT NULL,
  last_ts      timestamptz,
  received_at  timestamptz NOT NULL,
  value        float8,
  extreme      float8,
  last         float8,
  mean         float8,
  std          float8,
  median       float8,
  mad          float8,
  min          float8,
  max          float8,
  range        float8,
  slope        float8,
  missing_rate float8,
  step         float8,
  root         bigint NOT NULL,
  count        int,
  stuck_run    int,
  partition    smallint NOT NULL,
  tick         boolean NOT NULL DEFAULT false,
  backfill     boolean NOT NULL DEFAULT false,
  low_variance boolean NOT NULL DEFAULT false,
  silent       boolean NOT NULL DEFAULT false
);
CREATE INDEX features_series ON features (metric_id, ts, root);

-- SCORES

CREATE TABLE anomaly_scores ( -- every evaluation, normal or not
  tenant_id      uuid NOT NULL,
  device_id      uuid NOT NULL,
  metric_id      uuid NOT NULL,
  ts             timestamptz NOT NULL,
  window_start   timestamptz NOT NULL,
  window_end     timestamptz NOT NULL,
  received_at    timestamptz NOT NULL,
  value          float8,
  score          float8 NOT NULL,
  alarm_score    float8 NOT NULL,
  expected       float8,
  lower          float8,
  upper          float8,
  root           bigint NOT NULL,
  warm_up_eta_us bigint NOT NULL DEFAULT 0,
  partition      smallint NOT NULL,
  tick           boolean NOT NULL DEFAULT false,
  backfill       boolean NOT NULL DEFAULT false,
  silent         boolean NOT NULL DEFAULT false,
  severity       text NOT NULL,          -- none, info, warning, critical
  label          text NOT NULL,          -- none, spike, drop, drift, missingness, stuck
  sub_label      text NOT NULL,          -- none, level, noise
  warm_up        text NOT NULL,          -- warming, calibrating, trusted
  explanation    text NOT NULL DEFAULT '',
  contributors   jsonb,                  -- [{"name", "share"}]
  model_version  bytea
);
CREATE INDEX anomaly_scores_series ON anomaly_scores (metric_id, ts, root, tick);
CREATE INDEX anomaly_scores_anomalies ON anomaly_scores (tenant_id, ts, metric_id, root, tick) WHERE severity <> 'none';

CREATE VIEW anomalies WITH (security_invoker = true) AS
  SELECT * FROM anomaly_scores WHERE severity <> 'none';

CREATE TABLE models (
  tenant_id uuid NOT NULL,
  metric_id uuid NOT NULL,
  version   bytea NOT NULL,              -- SHA-256 of the artefact
  ts        timestamptz NOT NULL,
  rows      bigint NOT NULL,
  root      bigint NOT NULL,
  partition smallint NOT NULL,
  artefact  bytea,
  PRIMARY KEY (tenant_id, metric_id, version)
);

-- ALERTS

CREATE TABLE alert_events (
  event_id           uuid PRIMARY KEY,
  alert_id           uuid NOT NULL,
  rule_id            uuid NOT NULL,
  rule_name          text NOT NULL,
  tenant_id          uuid NOT NULL,
  device_id          uuid NOT NULL,
  metric_id          uuid NOT NULL,
  device_external_id text NOT NULL,
  metric_name        text NOT NULL,
  unit               text NOT NULL DEFAULT '',
  state              text NOT NULL,      -- opened, updated, resolved
  ordinal            int NOT NULL,
  opened_at          timestamptz NOT NULL,
  ts                 timestamptz NOT NULL,
  window_start       timestamptz NOT NULL,
  window_end         timestamptz NOT NULL,
  received_at        timestamptz NOT NULL,
  value              float8,
  score              float8 NOT NULL,
  alarm_score        float8 NOT NULL,
  expected           float8,
  lower              float8,
  upper              float8,
  severity           text NOT NULL,
  label              text NOT NULL,
  sub_label          text NOT NULL,
  explanation        text NOT NULL DEFAULT '',
  contributors       jsonb,
  backfill           boolean NOT NULL DEFAULT false,
  notify             boolean NOT NULL DEFAULT true,
  suppressed_by      text NOT NULL DEFAULT '',
  opening_root       bigint NOT NULL,
  root               bigint NOT NULL,
  partition          smallint NOT NULL
);
CREATE INDEX alert_events_page ON alert_events (tenant_id, ts DESC, event_id DESC);
CREATE INDEX alert_events_alert ON alert_events (tenant_id, alert_id, ordinal);
CREATE INDEX alert_events_metric ON alert_events (metric_id, ts DESC);

-- DELIVERIES

CREATE TABLE webhook_deliveries ( -- one row per plan, attempt or disabling
  tenant_id   uuid NOT NULL,
  endpoint_id uuid NOT NULL,
  webhook_id  uuid,
  event_id    uuid,
  kind        text NOT NULL,             -- planned, attempted, endpoint_disabled
  attempt     int NOT NULL,              -- 0 = the plan
  at          timestamptz NOT NULL,
  outcome     text NOT NULL,             -- unspecified (of a plan), delivered, retry, gave_up
  status      int NOT NULL DEFAULT 0,
  error       text NOT NULL DEFAULT '',
  next_at     timestamptz,
  duration_us bigint NOT NULL DEFAULT 0,
  event_root  bigint NOT NULL DEFAULT 0, -- of the event, in INGEST
  root        bigint NOT NULL,           -- of the record, in DELIVERIES
  partition   smallint NOT NULL
);
CREATE INDEX webhook_deliveries_event ON webhook_deliveries (tenant_id, event_id, at);
CREATE INDEX webhook_deliveries_endpoint ON webhook_deliveries (tenant_id, endpoint_id, at DESC);

-- any derived log

CREATE TABLE dead_letters (
  stage     text NOT NULL,
  partition smallint NOT NULL,
  root      bigint NOT NULL,
  index     int NOT NULL,
  reason    text NOT NULL,
  detail    text NOT NULL DEFAULT '',
  tenant_id uuid,                        -- when known
  entry     bytea,                       -- encoded Entry, may be cut
  PRIMARY KEY (stage, partition, root, index)
);
CREATE INDEX dead_letters_tenant ON dead_letters (tenant_id, root DESC);

SELECT protect_tenant_table(t::regclass) FROM unnest(ARRAY[
  'devices', 'metrics', 'ingest_batches', 'datapoint_rows', 'usage', 'features', 'anomaly_scores', 'models',
  'alert_events', 'webhook_deliveries', 'dead_letters']) t;

GRANT SELECT, INSERT, UPDATE ON projection_positions, devices, metrics, ingest_batches, datapoint_rows, usage, features,
  anomaly_scores, models, alert_events, webhook_deliveries, dead_letters TO edgepulse_writer;
GRANT SELECT ON devices, metrics, ingest_batches, datapoint_rows, datapoints, usage, features, anomaly_scores, anomalies,
  models, alert_events, webhook_deliveries, dead_letters TO edgepulse_app, edgepulse_analyst, edgepulse_writer;

-- +goose Down
DROP VIEW anomalies, datapoints;
DROP TABLE dead_letters, webhook_deliveries, alert_events, models, anomaly_scores, features, usage, datapoint_rows,
  ingest_batches, metrics, devices, projection_positions;
