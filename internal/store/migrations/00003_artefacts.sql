-- Artefacts wait in the row of their model until the archiver has put them into
-- the object store; the index holds only those that wait. The deliverer asks for the
-- newest success of an endpoint.

-- +goose Up
CREATE INDEX models_waiting ON models (version) WHERE artefact IS NOT NULL;
CREATE INDEX models_version ON models (version);
CREATE INDEX webhook_deliveries_delivered ON webhook_deliveries (tenant_id, endpoint_id, at DESC) WHERE outcome = 'delivered';

-- +goose Down
DROP INDEX models_waiting;
DROP INDEX models_version;
DROP INDEX webhook_deliveries_delivered;
