-- Configuration and identity: the only rows that are not derived from a log.
-- The roles exist before the first migration (Migrate makes them).

-- +goose Up

-- protect_tenant_table scopes a table by its tenant column: the last line of
-- defence behind the tenant condition that every query carries itself.
-- +goose StatementBegin
CREATE FUNCTION protect_tenant_table(t regclass, tenant_column name DEFAULT 'tenant_id') RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', t);
  EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', t);
  EXECUTE format('CREATE POLICY owner_all ON %s TO CURRENT_USER USING (true) WITH CHECK (true)', t);
  EXECUTE format('CREATE POLICY writer_all ON %s TO edgepulse_writer USING (true) WITH CHECK (true)', t);
  EXECUTE format('CREATE POLICY app_tenant ON %s TO edgepulse_app
      USING (%I = NULLIF(current_setting(''app.tenant'', true), '''')::uuid)
      WITH CHECK (%I = NULLIF(current_setting(''app.tenant'', true), '''')::uuid)', t, tenant_column, tenant_column);
  EXECUTE format('CREATE POLICY analyst_tenant ON %s FOR SELECT TO edgepulse_analyst
      USING (%I = (SELECT l.tenant_id FROM analyst_logins l WHERE l.role_name = current_user))', t, tenant_column);
END $$;
-- +goose StatementEnd

CREATE TABLE plans (
  name              text PRIMARY KEY,
  points_per_second bigint,             -- NULL = unbounded
  max_metrics       bigint,
  retention_days    int NOT NULL DEFAULT 90,
  created_at        timestamptz NOT NULL DEFAULT now()
);
INSERT INTO plans (name) VALUES ('default');

CREATE TABLE tenants (
  id          uuid PRIMARY KEY,
  name        text NOT NULL UNIQUE,
  plan        text NOT NULL DEFAULT 'default' REFERENCES plans,
  disabled_at timestamptz,
  created_at  timestamptz NOT NULL DEFAULT now()
);

-- Which tenant an analyst's login role sees.
CREATE TABLE analyst_logins (
  role_name name PRIMARY KEY,
  tenant_id uuid NOT NULL REFERENCES tenants,
  created_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE analyst_logins ENABLE ROW LEVEL SECURITY;
ALTER TABLE analyst_logins FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_all ON analyst_logins TO CURRENT_USER USING (true) WITH CHECK (true);
CREATE POLICY analyst_self ON analyst_logins FOR SELECT TO edgepulse_analyst USING (role_name = current_user);

CREATE TABLE api_keys (
  key_id         text PRIMARY KEY,
  tenant_id      uuid NOT NULL REFERENCES tenants,
  name           text NOT NULL DEFAULT '',
  env            text NOT NULL,
  hash           bytea NOT NULL,         -- HMAC-SHA256(pepper, secret)
  pepper_version int NOT NULL,
  scopes         text[] NOT NULL,
  created_at     timestamptz NOT NULL DEFAULT now(),
  expires_at     timestamptz,
  revoked_at     timestamptz
);
CREATE INDEX api_keys_tenant ON api_keys (tenant_id, created_at DESC);

CREATE TABLE alert_rules (
  rule_id    uuid PRIMARY KEY,
  tenant_id  uuid NOT NULL REFERENCES tenants,
  name       text NOT NULL,
  definition jsonb NOT NULL,             -- api.AlertRule without id, version and times
  version    bigint NOT NULL,            -- of the control entry that carries it
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  deleted_at timestamptz
);
CREATE INDEX alert_rules_tenant ON alert_rules (tenant_id, created_at DESC, rule_id DESC) WHERE deleted_at IS NULL;

CREATE TABLE silences (
  silence_id     uuid PRIMARY KEY,
  tenant_id      uuid NOT NULL REFERENCES tenants,
  device_pattern text NOT NULL DEFAULT '',
  metric_pattern text NOT NULL DEFAULT '',
  rule_id        uuid,
  starts_at      timestamptz NOT NULL,
  ends_at        timestamptz NOT NULL,
  comment        text NOT NULL DEFAULT '',
  version        bigint NOT NULL,
  created_at     timestamptz NOT NULL DEFAULT now(),
  deleted_at     timestamptz
);
CREATE INDEX silences_tenant ON silences (tenant_id, created_at DESC) WHERE deleted_at IS NULL;

CREATE TABLE webhooks (
  endpoint_id           uuid PRIMARY KEY,
  tenant_id             uuid NOT NULL REFERENCES tenants,
  url                   text NOT NULL,
  description           text NOT NULL DEFAULT '',
  min_severity          text NOT NULL DEFAULT '',
  enabled               boolean NOT NULL DEFAULT true,
  disabled_reason       text NOT NULL DEFAULT '',
  secret                bytea NOT NULL,  -- AES-256-GCM, bound to endpoint_id
  previous_secret       bytea,           -- still signs until previous_secret_until
  previous_secret_until timestamptz,
  created_at            timestamptz NOT NULL DEFAULT now(),
  deleted_at            timestamptz
);
CREATE INDEX webhooks_tenant ON webhooks (tenant_id, created_at DESC, endpoint_id DESC) WHERE deleted_at IS NULL;

-- Configuration on its way into the logs. The version is taken after the row it
-- describes is locked, so versions of one key rise in the order of its writes.
CREATE TABLE control_outbox (
  version      bigserial PRIMARY KEY,
  tenant_id    uuid REFERENCES tenants,  -- NULL: concerns every tenant
  payload      bytea NOT NULL,           -- encoded Control
  created_at   timestamptz NOT NULL DEFAULT now(),
  published_at timestamptz
);
CREATE INDEX control_outbox_pending ON control_outbox (version) WHERE published_at IS NULL;

CREATE TABLE feedback (
  feedback_id uuid PRIMARY KEY,
  tenant_id   uuid NOT NULL REFERENCES tenants,
  event_id    uuid,
  metric_id   uuid,
  ts          timestamptz,
  verdict     text NOT NULL,
  comment     text NOT NULL DEFAULT '',
  created_by  text NOT NULL DEFAULT '',
  created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX feedback_tenant ON feedback (tenant_id, created_at DESC);

CREATE TABLE audit_log (
  id        bigserial PRIMARY KEY,
  at        timestamptz NOT NULL DEFAULT now(),
  tenant_id uuid,
  actor     text NOT NULL,
  action    text NOT NULL,
  subject   text NOT NULL DEFAULT '',
  detail    jsonb
);
CREATE INDEX audit_log_tenant ON audit_log (tenant_id, id DESC);
-- +goose StatementBegin
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
-- +goose StatementEnd
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE archive_segments (
  log           text NOT NULL,
  partition     smallint NOT NULL,
  first_root    bigint NOT NULL,
  last_root     bigint NOT NULL,
  first_at      timestamptz NOT NULL,    -- received_at of the first entry
  last_at       timestamptz NOT NULL,
  object_key    text NOT NULL,
  bytes         bigint NOT NULL,
  entries       bigint NOT NULL,
  sha256        bytea NOT NULL,
  created_at    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (log, partition, first_root)
);
CREATE INDEX archive_segments_time ON archive_segments (log, partition, last_at);

-- The gateway learns about a key before it knows a tenant: through this only.
-- +goose StatementBegin
CREATE FUNCTION lookup_api_key(wanted text)
RETURNS TABLE (key_id text, tenant_id uuid, hash bytea, pepper_version int, scopes text[],
               expires_at timestamptz, revoked_at timestamptz, tenant_disabled boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT k.key_id, k.tenant_id, k.hash, k.pepper_version, k.scopes, k.expires_at, k.revoked_at, t.disabled_at IS NOT NULL
  FROM public.api_keys k JOIN public.tenants t ON t.id = k.tenant_id
  WHERE k.key_id = wanted
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION lookup_api_key(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION protect_tenant_table(regclass, name) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION lookup_api_key(text) TO edgepulse_app;

SELECT protect_tenant_table('tenants', 'id');
SELECT protect_tenant_table(t::regclass) FROM unnest(ARRAY[
  'api_keys', 'alert_rules', 'silences', 'webhooks', 'control_outbox', 'feedback', 'audit_log']) t;

GRANT USAGE ON SCHEMA public TO edgepulse_app, edgepulse_writer, edgepulse_analyst;
GRANT SELECT ON plans TO edgepulse_app, edgepulse_writer;
GRANT SELECT ON tenants TO edgepulse_app, edgepulse_writer;
GRANT SELECT ON analyst_logins TO edgepulse_analyst;
GRANT SELECT (key_id, tenant_id, name, env, scopes, created_at, expires_at, revoked_at) ON api_keys TO edgepulse_app;
GRANT SELECT, INSERT, UPDATE ON alert_rules, silences, webhooks TO edgepulse_app;
GRANT SELECT, INSERT ON control_outbox, feedback, audit_log TO edgepulse_app;
GRANT USAGE ON SEQUENCE control_outbox_version_seq, audit_log_id_seq TO edgepulse_app, edgepulse_writer;
GRANT SELECT, UPDATE ON control_outbox, webhooks TO edgepulse_writer;
GRANT SELECT ON alert_rules, silences TO edgepulse_writer;
GRANT INSERT ON audit_log TO edgepulse_writer;
GRANT SELECT, INSERT ON archive_segments TO edgepulse_writer;
GRANT SELECT ON alert_rules, silences, feedback TO edgepulse_analyst;

-- +goose Down
DROP TABLE archive_segments, audit_log, feedback, control_outbox, webhooks, silences, alert_rules, api_keys, analyst_logins, tenants, plans;
DROP FUNCTION lookup_api_key(text);
DROP FUNCTION refuse_change();
DROP FUNCTION protect_tenant_table(regclass, name);
