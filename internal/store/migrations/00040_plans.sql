-- What a tenant may use and has used: plans, keys bound to devices, usage from
-- every log, an audit log that tells who asked and what it changed.

-- +goose Up

-- NULL = unbounded, everywhere.
ALTER TABLE plans
  ADD COLUMN points_per_month    bigint CHECK (points_per_month > 0),
  ADD COLUMN requests_per_second bigint CHECK (requests_per_second > 0),
  ADD COLUMN max_webhooks        bigint CHECK (max_webhooks >= 0),
  ADD COLUMN max_rules           bigint CHECK (max_rules >= 0),
  ADD CONSTRAINT plans_points_per_second CHECK (points_per_second > 0),
  ADD CONSTRAINT plans_max_metrics CHECK (max_metrics > 0),
  ADD CONSTRAINT plans_retention_days CHECK (retention_days > 0);

-- A glob over device_external_id; empty = any device.
ALTER TABLE api_keys ADD COLUMN device_pattern text NOT NULL DEFAULT '';

-- A tenant's admin makes and ends keys through the API. The hash can be written
-- and never read.
GRANT INSERT (key_id, tenant_id, name, env, hash, pepper_version, scopes, expires_at, edge_hash, device_pattern) ON api_keys TO edgepulse_app;
GRANT UPDATE (expires_at, revoked_at) ON api_keys TO edgepulse_app;
GRANT SELECT (device_pattern) ON api_keys TO edgepulse_app;

-- When a key was used last, written in batches. Beside the keys and not in them:
-- a change of api_keys is told to the edge.
CREATE TABLE api_key_uses (
  key_id       text PRIMARY KEY REFERENCES api_keys ON DELETE CASCADE,
  tenant_id    uuid NOT NULL,
  last_used_at timestamptz NOT NULL
) WITH (fillfactor = 50);
SELECT protect_tenant_table('api_key_uses');
GRANT SELECT ON api_key_uses TO edgepulse_app;

-- The gateway notes the keys of all tenants at once; a key that is gone is passed over.
-- +goose StatementBegin
CREATE FUNCTION note_key_uses(ids text[], at timestamptz[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  INSERT INTO public.api_key_uses AS u (key_id, tenant_id, last_used_at)
  SELECT k.key_id, k.tenant_id, n.at FROM unnest(ids, at) AS n(id, at) JOIN public.api_keys k ON k.key_id = n.id
  ORDER BY k.key_id
  ON CONFLICT (key_id) DO UPDATE SET last_used_at = greatest(u.last_used_at, excluded.last_used_at)
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION note_key_uses(text[], timestamptz[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION note_key_uses(text[], timestamptz[]) TO edgepulse_app;

-- The plan's limits travel with the key: no second question per request.
DROP FUNCTION lookup_api_key(text);
-- +goose StatementBegin
CREATE FUNCTION lookup_api_key(wanted text)
RETURNS TABLE (key_id text, tenant_id uuid, hash bytea, pepper_version int, scopes text[],
               expires_at timestamptz, revoked_at timestamptz, disabled_at timestamptz, edge_hash bytea, device_pattern text,
               plan text, points_per_month bigint, points_per_second bigint, requests_per_second bigint, max_metrics bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT k.key_id, k.tenant_id, k.hash, k.pepper_version, k.scopes, k.expires_at, k.revoked_at, t.disabled_at, k.edge_hash, k.device_pattern,
    p.name, p.points_per_month, p.points_per_second, p.requests_per_second, p.max_metrics
  FROM public.api_keys k JOIN public.tenants t ON t.id = k.tenant_id JOIN public.plans p ON p.name = t.plan
  WHERE k.key_id = wanted
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION lookup_api_key(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION lookup_api_key(text) TO edgepulse_app;

-- Usage: each log counts in a table of its own, in the transaction that moves its
-- position. One table for all could not be emptied when one log is derived again.
CREATE TABLE usage_evaluations ( -- from SCORES
  tenant_id   uuid NOT NULL,
  day         date NOT NULL,             -- of received_at, UTC
  evaluations bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant_id, day)
) WITH (fillfactor = 50);
CREATE TABLE usage_deliveries ( -- from DELIVERIES
  tenant_id uuid NOT NULL,
  day       date NOT NULL,               -- of the attempt, UTC
  attempts  bigint NOT NULL DEFAULT 0,
  delivered bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant_id, day)
) WITH (fillfactor = 50);
-- What was projected before is counted once; from here on the projectors count.
INSERT INTO usage_evaluations SELECT tenant_id, (received_at AT TIME ZONE 'UTC')::date, count(*) FROM anomaly_scores GROUP BY 1, 2;
INSERT INTO usage_deliveries SELECT tenant_id, (at AT TIME ZONE 'UTC')::date, count(*), count(*) FILTER (WHERE outcome = 'delivered')
  FROM webhook_deliveries WHERE kind = 'attempted' GROUP BY 1, 2;
SELECT protect_tenant_table(t::regclass) FROM unnest(ARRAY['usage_evaluations', 'usage_deliveries']) t;
GRANT SELECT, INSERT, UPDATE ON usage_evaluations, usage_deliveries TO edgepulse_writer;
GRANT SELECT ON usage_evaluations, usage_deliveries TO edgepulse_app, edgepulse_analyst;

-- A day of a tenant over all logs. bytes are those of the payloads, as archived.
CREATE VIEW usage_days WITH (security_invoker = true) AS
  SELECT tenant_id, day, sum(requests)::bigint AS requests, sum(points)::bigint AS points, sum(bytes)::bigint AS bytes,
    sum(evaluations)::bigint AS evaluations, sum(attempts)::bigint AS webhook_attempts, sum(delivered)::bigint AS webhooks_delivered
  FROM (SELECT tenant_id, day, requests, points, bytes, 0 AS evaluations, 0 AS attempts, 0 AS delivered FROM usage
    UNION ALL SELECT tenant_id, day, 0, 0, 0, evaluations, 0, 0 FROM usage_evaluations
    UNION ALL SELECT tenant_id, day, 0, 0, 0, 0, attempts, delivered FROM usage_deliveries) u
  GROUP BY tenant_id, day;
GRANT SELECT ON usage_days TO edgepulse_app, edgepulse_analyst, edgepulse_writer;

-- Hashes of what was changed, before and after; NULL = there was, or is, nothing.
ALTER TABLE audit_log
  ADD COLUMN request_id  text NOT NULL DEFAULT '',
  ADD COLUMN before_hash bytea,
  ADD COLUMN after_hash  bytea;
REVOKE UPDATE, DELETE, TRUNCATE ON audit_log FROM PUBLIC, edgepulse_app, edgepulse_writer, edgepulse_analyst;

-- +goose Down
ALTER TABLE audit_log DROP COLUMN request_id, DROP COLUMN before_hash, DROP COLUMN after_hash;
DROP VIEW usage_days;
DROP TABLE usage_deliveries, usage_evaluations;
DROP FUNCTION lookup_api_key(text);
-- +goose StatementBegin
CREATE FUNCTION lookup_api_key(wanted text)
RETURNS TABLE (key_id text, tenant_id uuid, hash bytea, pepper_version int, scopes text[],
               expires_at timestamptz, revoked_at timestamptz, disabled_at timestamptz, edge_hash bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT k.key_id, k.tenant_id, k.hash, k.pepper_version, k.scopes, k.expires_at, k.revoked_at, t.disabled_at, k.edge_hash
  FROM public.api_keys k JOIN public.tenants t ON t.id = k.tenant_id
  WHERE k.key_id = wanted
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION lookup_api_key(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION lookup_api_key(text) TO edgepulse_app;
DROP FUNCTION note_key_uses(text[], timestamptz[]);
DROP TABLE api_key_uses;
REVOKE INSERT (key_id, tenant_id, name, env, hash, pepper_version, scopes, expires_at, edge_hash, device_pattern) ON api_keys FROM edgepulse_app;
REVOKE UPDATE (expires_at, revoked_at) ON api_keys FROM edgepulse_app;
ALTER TABLE api_keys DROP COLUMN device_pattern;
ALTER TABLE plans DROP COLUMN points_per_month, DROP COLUMN requests_per_second, DROP COLUMN max_webhooks, DROP COLUMN max_rules,
  DROP CONSTRAINT plans_points_per_second, DROP CONSTRAINT plans_max_metrics, DROP CONSTRAINT plans_retention_days;
