-- Artefacts wait in the row of their model until the archiver has put them into
-- the object store; the index holds only those that wait.

-- +goose Up
CREATE INDEX models_waiting ON models (version) WHERE artefact IS NOT NULL;
CREATE INDEX models_version ON models (version);

-- +goose Down
DROP INDEX models_waiting;
DROP INDEX models_version;
