-- What the dashboard asks for often, folded as the logs are projected: an alert
-- by its latest event, what was received per minute. Both are projections like
-- all of 00002 and may be thrown away.

-- +goose Up

CREATE TABLE alerts ( -- one row per alert; the events themselves are in alert_events
  alert_id    uuid PRIMARY KEY,
  tenant_id   uuid NOT NULL,
  rule_id     uuid NOT NULL,
  device_id   uuid NOT NULL,
  metric_id   uuid NOT NULL,
  event_id    uuid NOT NULL,             -- the latest
  state       text NOT NULL,             -- of the latest event
  severity    text NOT NULL,             -- of the latest event
  label       text NOT NULL,             -- of the latest event
  opened_at   timestamptz NOT NULL,
  resolved_at timestamptz,
  events      bigint NOT NULL
);
CREATE INDEX alerts_page ON alerts (tenant_id, opened_at DESC, alert_id DESC);
CREATE INDEX alerts_open ON alerts (tenant_id, opened_at DESC, alert_id DESC) WHERE state <> 'resolved';
CREATE INDEX alerts_metric ON alerts (metric_id, opened_at DESC, alert_id DESC);
INSERT INTO alerts
  SELECT DISTINCT ON (alert_id) alert_id, tenant_id, rule_id, device_id, metric_id, event_id, state, severity, label, opened_at,
         CASE WHEN state = 'resolved' THEN ts END, count(*) OVER (PARTITION BY alert_id)
  FROM alert_events ORDER BY alert_id, ordinal DESC;

-- A live stream goes on after a position in ALERTS.
CREATE INDEX alert_events_root ON alert_events (tenant_id, partition, root);

CREATE TABLE ingest_minutes (
  tenant_id uuid NOT NULL,
  minute    timestamptz NOT NULL,        -- of received_at
  requests  bigint NOT NULL DEFAULT 0,
  points    bigint NOT NULL DEFAULT 0,   -- accepted
  rejected  bigint NOT NULL DEFAULT 0,   -- points
  PRIMARY KEY (tenant_id, minute)
) WITH (fillfactor = 50);                -- a minute's row changes with every commit
INSERT INTO ingest_minutes
  SELECT tenant_id, date_trunc('minute', received_at), count(*) FILTER (WHERE part = 0), sum(accepted), sum(rejected)
  FROM ingest_batches GROUP BY 1, 2;

CREATE INDEX ingest_batches_page ON ingest_batches (tenant_id, received_at DESC, request_id DESC) WHERE part = 0;
CREATE INDEX ingest_batches_rejected ON ingest_batches (tenant_id, received_at DESC, request_id DESC) WHERE rejected > 0;

CREATE INDEX anomaly_scores_of_metric ON anomaly_scores (metric_id, ts) WHERE severity <> 'none';
CREATE INDEX anomaly_scores_silent ON anomaly_scores (tenant_id, received_at) WHERE silent;

SELECT protect_tenant_table(t::regclass) FROM unnest(ARRAY['alerts', 'ingest_minutes']) t;
GRANT SELECT, INSERT, UPDATE ON alerts, ingest_minutes TO edgepulse_writer;
GRANT SELECT ON alerts, ingest_minutes TO edgepulse_app, edgepulse_analyst;

-- A live stream that goes on from here must know whether the projection of ALERTS
-- is far enough: through this only.
-- +goose StatementBegin
CREATE FUNCTION projected_root(of_log text, of_partition int) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT coalesce((SELECT p.root FROM public.projection_positions p WHERE p.log = of_log AND p.partition = of_partition), 0)
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION projected_root(text, int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION projected_root(text, int) TO edgepulse_app;

-- +goose Down
DROP FUNCTION projected_root(text, int);
DROP INDEX anomaly_scores_silent, anomaly_scores_of_metric, ingest_batches_rejected, ingest_batches_page, alert_events_root;
DROP TABLE ingest_minutes, alerts;
