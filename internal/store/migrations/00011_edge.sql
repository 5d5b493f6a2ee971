-- What the edge may know about keys, and how it hears of a change.

-- +goose Up

-- HMAC-SHA256(pepper of the edge, secret). NULL for keys made before: they work,
-- but only through the origin.
ALTER TABLE api_keys ADD COLUMN edge_hash bytea;

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

-- All that may leave for the edge: keys that work now, without the hash that the
-- gateway verifies.
-- +goose StatementBegin
CREATE FUNCTION edge_keys()
RETURNS TABLE (key_id text, tenant_id uuid, edge_hash bytea, scopes text[], expires_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT k.key_id, k.tenant_id, k.edge_hash, k.scopes, k.expires_at
  FROM public.api_keys k JOIN public.tenants t ON t.id = k.tenant_id
  WHERE k.revoked_at IS NULL AND t.disabled_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
  ORDER BY k.key_id
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION edge_keys() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION edge_keys() TO edgepulse_writer;

-- +goose StatementBegin
CREATE FUNCTION notify_keys() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('edgepulse_keys', '');
  RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER api_keys_changed AFTER INSERT OR UPDATE OR DELETE ON api_keys FOR EACH STATEMENT EXECUTE FUNCTION notify_keys();
CREATE TRIGGER tenants_changed AFTER UPDATE OF disabled_at ON tenants FOR EACH STATEMENT EXECUTE FUNCTION notify_keys();

-- +goose Down
DROP TRIGGER tenants_changed ON tenants;
DROP TRIGGER api_keys_changed ON api_keys;
DROP FUNCTION notify_keys();
DROP FUNCTION edge_keys();
DROP FUNCTION lookup_api_key(text);
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
GRANT EXECUTE ON FUNCTION lookup_api_key(text) TO edgepulse_app;
ALTER TABLE api_keys DROP COLUMN edge_hash;
