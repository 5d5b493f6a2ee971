-- Autovacuum must not look into the arrays of chunks, and receipts are smaller.

-- +goose Up

-- ANALYZE counts every element of every array it samples: half a processor while
-- series are written, for statistics that no plan uses.
-- +goose StatementBegin
DO $$
DECLARE
  t regclass;
  c name;
BEGIN
  FOR t, c IN
    SELECT a.attrelid, a.attname FROM pg_attribute a
      JOIN pg_type y ON y.oid = a.atttypid AND y.typcategory = 'A'
      JOIN pg_class k ON k.oid = a.attrelid AND k.relkind IN ('r', 'p') AND k.relnamespace = 'public'::regnamespace
    WHERE k.relname ~ '^(datapoint|feature|score)_(recent|chunks)' AND NOT a.attisdropped
  LOOP
    EXECUTE format('ALTER TABLE ONLY %s ALTER COLUMN %I SET STATISTICS 0', t, c);
  END LOOP;
END $$;
-- +goose StatementEnd

-- A table that is made like another does not take this over.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION make_chunk_week(kind text, ts timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
  week   timestamptz := public.chunk_week(ts);
  parent text := kind || '_chunks';
  name   text := parent || to_char(week, '_IYYY"w"IW');
  arrays text;
BEGIN
  IF kind NOT IN ('datapoint', 'feature', 'score') OR NOT isfinite(ts) THEN
    RAISE EXCEPTION 'no chunks of kind % at %', kind, ts USING ERRCODE = 'invalid_parameter_value';
  END IF;
  PERFORM pg_advisory_xact_lock(hashtext('make_chunk_week'), hashtext(kind));
  IF to_regclass('public.' || quote_ident(name)) IS NOT NULL THEN
    RETURN;
  END IF;
  EXECUTE format('CREATE TABLE public.%I (LIKE public.%I INCLUDING ALL)', name, parent);
  SELECT string_agg(format('ALTER COLUMN %I SET STATISTICS 0', a.attname), ', ') INTO arrays
    FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid AND y.typcategory = 'A'
    WHERE a.attrelid = format('public.%I', name)::regclass AND NOT a.attisdropped;
  EXECUTE format('ALTER TABLE public.%I %s', name, arrays);
  PERFORM public.protect_tenant_table(format('public.%I', name)::regclass);
  EXECUTE format('ALTER TABLE public.%I ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)', parent, name, week, week + interval '7 days');
EXCEPTION WHEN invalid_object_definition THEN
  NULL; -- would overlap: the partition of old times holds this week
END $$;
-- +goose StatementEnd

-- No request has a thousand million points.
ALTER TABLE ingest_batches
  ALTER COLUMN bytes TYPE int, ALTER COLUMN points TYPE int, ALTER COLUMN accepted TYPE int, ALTER COLUMN duplicate TYPE int,
  ALTER COLUMN conflicting TYPE int, ALTER COLUMN late TYPE int, ALTER COLUMN rejected TYPE int;

-- Where old rows can be, at next to no bytes and writes: rows come in about the order of their time.
CREATE INDEX ingest_batches_age ON ingest_batches USING brin (received_at) WITH (autosummarize = on);
CREATE INDEX anomaly_rows_age ON anomaly_rows USING brin (ts) WITH (autosummarize = on);

-- +goose Down
DROP INDEX anomaly_rows_age, ingest_batches_age;
-- The function and the statistics may stay as they are.
ALTER TABLE ingest_batches
  ALTER COLUMN bytes TYPE bigint, ALTER COLUMN points TYPE bigint, ALTER COLUMN accepted TYPE bigint, ALTER COLUMN duplicate TYPE bigint,
  ALTER COLUMN conflicting TYPE bigint, ALTER COLUMN late TYPE bigint, ALTER COLUMN rejected TYPE bigint;
