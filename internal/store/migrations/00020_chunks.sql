-- Series in chunks. A chunk is one row that holds many samples of one series,
-- column by column, in arrays: a seventh of the bytes of a row per sample, and a
-- small part of its cost. What the projector has just written stands in
-- <kind>_recent, one small chunk per gather; what has been sealed (merged, freed
-- of duplicates, cut to size) stands in <kind>_chunks, partitioned by week.
--
-- Sealed chunks of one series never overlap in time, and no chunk of either
-- table crosses a week (Monday 00:00 UTC): readers rely on both.
-- The views datapoints, features and anomaly_scores show plain rows.

-- +goose Up

-- The first instant of the week a chunk belongs to.
CREATE FUNCTION chunk_week(ts timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT date_bin('7 days', ts, '1970-01-05 00:00:00+00')
$$;

-- make_chunk_table makes one kind's tables. Arrays hold their columns one after
-- the other: longs[1:n] is the first integer column, longs[n+1:2*n] the second.
-- +goose StatementBegin
CREATE FUNCTION make_chunk_table(kind text) RETURNS void LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
  t text;
  c text;
  -- What is older than this has one partition: a backfill of a century must not make thousands.
  cutoff timestamptz := chunk_week(now() - interval '730 days');
BEGIN
  FOREACH t IN ARRAY ARRAY[kind || '_recent', kind || '_chunks'] LOOP
    EXECUTE format($q$
      CREATE TABLE %I (
        tenant_id uuid NOT NULL,
        device_id uuid NOT NULL,
        metric_id uuid NOT NULL,
        first_ts  timestamptz NOT NULL,
        last_ts   timestamptz NOT NULL,
        root      bigint NOT NULL,
        n         int NOT NULL,
        unit      int NOT NULL,
        partition smallint NOT NULL,
        offsets   int[],
        wide      bigint[],
        roots     int[],
        flags     int[],
        longs     bigint[],
        reals     float8[] NOT NULL,
        words     bytea[]
      ) %s $q$, t, CASE WHEN t LIKE '%chunks' THEN 'PARTITION BY RANGE (first_ts)' END);
    EXECUTE format('COMMENT ON COLUMN %I.root IS %L', t, 'lowest root in the chunk');
    EXECUTE format('COMMENT ON COLUMN %I.n IS %L', t, 'number of samples');
    EXECUTE format('COMMENT ON COLUMN %I.unit IS %L', t, 'µs per step of offsets and wide');
    EXECUTE format('COMMENT ON COLUMN %I.offsets IS %L', t, 'ts of each sample, in units after first_ts, ascending; NULL = all 0, or see wide');
    EXECUTE format('COMMENT ON COLUMN %I.wide IS %L', t, 'instead of offsets, where those do not fit an int');
    EXECUTE format('COMMENT ON COLUMN %I.roots IS %L', t, 'root of each sample, after the column root; NULL = all 0');
    EXECUTE format('COMMENT ON COLUMN %I.flags IS %L', t, 'bits of each sample; NULL = all 0');
    EXECUTE format('COMMENT ON COLUMN %I.longs IS %L', t, 'integer columns, one after the other');
    EXECUTE format('COMMENT ON COLUMN %I.reals IS %L', t, 'float columns, one after the other; of datapoints the value');
    EXECUTE format('COMMENT ON COLUMN %I.words IS %L', t, 'texts that samples refer to from flags >> 16, from 1');
  END LOOP;
  FOREACH c IN ARRAY ARRAY['offsets', 'wide', 'roots', 'flags', 'longs', 'reals'] LOOP
    -- Recent chunks stay as they are, most of them within their row: compressing costs more than the write.
    EXECUTE format('ALTER TABLE %I ALTER COLUMN %I SET STORAGE EXTERNAL', kind || '_recent', c);
    BEGIN
      EXECUTE format('ALTER TABLE %I ALTER COLUMN %I SET COMPRESSION lz4', kind || '_chunks', c);
    EXCEPTION WHEN feature_not_supported THEN
      NULL; -- this server was built without; its own method is slower
    END;
  END LOOP;
  EXECUTE format('ALTER TABLE %I ADD COLUMN written_at timestamptz NOT NULL DEFAULT now()', kind || '_recent');
  EXECUTE format('CREATE INDEX %I ON %I (metric_id)', kind || '_recent_series', kind || '_recent');
  -- Rows live for minutes here. Vacuum often, and never lock the table to shrink it.
  EXECUTE format('ALTER TABLE %I SET (autovacuum_vacuum_scale_factor = 0.2, autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_insert_scale_factor = 10, autovacuum_analyze_scale_factor = 10, autovacuum_analyze_threshold = 100000,
    vacuum_truncate = off, toast_tuple_target = 8160)', kind || '_recent');
  EXECUTE format('CREATE UNIQUE INDEX %I ON %I (metric_id, first_ts)', kind || '_chunks_series', kind || '_chunks');
  EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (MINVALUE) TO (%L)', kind || '_chunks_old', kind || '_chunks', cutoff);
  PERFORM protect_tenant_table(t2::regclass) FROM unnest(ARRAY[kind || '_recent', kind || '_chunks', kind || '_chunks_old']) t2;
  EXECUTE format('GRANT SELECT, INSERT, DELETE ON %I, %I TO edgepulse_writer', kind || '_recent', kind || '_chunks');
  EXECUTE format('GRANT SELECT ON %I, %I TO edgepulse_app, edgepulse_analyst', kind || '_recent', kind || '_chunks');
END $$;
-- +goose StatementEnd

SELECT make_chunk_table(kind) FROM unnest(ARRAY['datapoint', 'feature', 'score']) kind;
DROP FUNCTION make_chunk_table(text);

-- Roll-ups stand in the chunk itself: none can be missing, or be of other samples.
-- Fine: cells of 1 s, 10 s, 1 min, 10 min or 1 h, so that one holds 16 samples or
-- more. Coarse: the chunk as a whole, as if it were one cell.
ALTER TABLE datapoint_chunks ADD COLUMN whole float8[], ADD COLUMN cell_us bigint, ADD COLUMN cell_at int[], ADD COLUMN cells float8[];
ALTER TABLE score_chunks ADD COLUMN whole float8[], ADD COLUMN cell_us bigint, ADD COLUMN cell_at int[], ADD COLUMN cells float8[];
COMMENT ON COLUMN datapoint_chunks.whole IS 'count, min, max, sum, last; NULL = a value is not finite';
COMMENT ON COLUMN score_chunks.whole IS 'count, sum of expected, of lower, of upper (of evaluations by points), highest score, highest alarm_score';
COMMENT ON COLUMN datapoint_chunks.cell_us IS 'width of a cell in µs; NULL = too few samples for cells';
COMMENT ON COLUMN datapoint_chunks.cell_at IS 'number of each cell, from floor(first_ts / cell_us) on';
COMMENT ON COLUMN datapoint_chunks.cells IS 'columns as in whole, one after the other';

-- The writer asks for the partition of a week before it seals into it.
-- Attaching locks out neither readers nor writers.
-- +goose StatementBegin
CREATE FUNCTION make_chunk_week(kind text, ts timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
  week   timestamptz := public.chunk_week(ts);
  parent text := kind || '_chunks';
  name   text := parent || to_char(week, '_IYYY"w"IW');
BEGIN
  IF kind NOT IN ('datapoint', 'feature', 'score') OR NOT isfinite(ts) THEN
    RAISE EXCEPTION 'no chunks of kind % at %', kind, ts USING ERRCODE = 'invalid_parameter_value';
  END IF;
  PERFORM pg_advisory_xact_lock(hashtext('make_chunk_week'), hashtext(kind));
  IF to_regclass('public.' || quote_ident(name)) IS NOT NULL THEN
    RETURN;
  END IF;
  EXECUTE format('CREATE TABLE public.%I (LIKE public.%I INCLUDING ALL)', name, parent);
  PERFORM public.protect_tenant_table(format('public.%I', name)::regclass);
  EXECUTE format('ALTER TABLE public.%I ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)', parent, name, week, week + interval '7 days');
EXCEPTION WHEN invalid_object_definition THEN
  NULL; -- would overlap: the partition of old times holds this week
END $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION make_chunk_week(text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION make_chunk_week(text, timestamptz) TO edgepulse_writer;

-- Scores that are not normal stay plain rows with their own indexes.
CREATE TABLE anomaly_rows (LIKE anomaly_scores INCLUDING DEFAULTS INCLUDING STORAGE);
INSERT INTO anomaly_rows SELECT * FROM anomaly_scores WHERE severity <> 'none' OR explanation <> '' OR contributors IS NOT NULL;
CREATE INDEX anomaly_rows_series ON anomaly_rows (metric_id, ts, root, tick);
CREATE INDEX anomaly_rows_of_metric ON anomaly_rows (metric_id, ts) WHERE severity <> 'none';
CREATE INDEX anomaly_rows_page ON anomaly_rows (tenant_id, ts, metric_id, root, tick) WHERE severity <> 'none';
SELECT protect_tenant_table('anomaly_rows');
GRANT SELECT, INSERT ON anomaly_rows TO edgepulse_writer;
GRANT SELECT ON anomaly_rows TO edgepulse_app, edgepulse_analyst;

-- The latest evaluation that called a metric silent: one is made on the change,
-- then one a minute.
CREATE TABLE silent_metrics (
  metric_id   uuid PRIMARY KEY,
  tenant_id   uuid NOT NULL,
  root        bigint NOT NULL,
  received_at timestamptz NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX silent_metrics_tenant ON silent_metrics (tenant_id);
INSERT INTO silent_metrics SELECT DISTINCT ON (metric_id) metric_id, tenant_id, root, received_at
  FROM anomaly_scores WHERE silent ORDER BY metric_id, root DESC;
SELECT protect_tenant_table('silent_metrics');
GRANT SELECT, INSERT, UPDATE ON silent_metrics TO edgepulse_writer;
GRANT SELECT ON silent_metrics TO edgepulse_app, edgepulse_analyst;

-- ingest_batches_page serves what this one did.
DROP INDEX ingest_batches_time;

-- What is there already moves into the recent tables; sealing does the rest.
INSERT INTO datapoint_recent (tenant_id, device_id, metric_id, partition, first_ts, last_ts, root, n, unit, wide, roots, flags, reals)
  SELECT tenant_id, device_id, metric_id, partition, min(ts), max(ts), min(root), count(*), 1,
    array_agg(us - first_us ORDER BY at), array_agg((root - first_root)::int ORDER BY at), array_agg(flags ORDER BY at), array_agg(coalesce(value, 'NaN') ORDER BY at)
  FROM (SELECT g.*, min(us) OVER w AS first_us, min(root) OVER w AS first_root FROM (
      SELECT r.*, coalesce(m.device_id, '00000000-0000-0000-0000-000000000000') AS device_id, chunk_week(ts) AS week,
        (extract(epoch FROM ts) * 1000000)::bigint AS us, row_number() OVER s AS at, row_number() OVER s / 1000 AS cut
      FROM datapoint_rows r LEFT JOIN metrics m USING (metric_id)
      WINDOW s AS (PARTITION BY r.metric_id, r.partition, chunk_week(ts) ORDER BY ts, r.root)) g
    WINDOW w AS (PARTITION BY metric_id, partition, week, cut)) p
  GROUP BY tenant_id, device_id, metric_id, partition, week, cut;

INSERT INTO feature_recent (tenant_id, device_id, metric_id, partition, first_ts, last_ts, root, n, unit, wide, roots, flags, longs, reals)
  SELECT tenant_id, device_id, metric_id, partition, min(ts), max(ts), min(root), count(*), 1,
    array_agg(us - first_us ORDER BY at), array_agg((root - first_root)::int ORDER BY at),
    array_agg(tick::int + backfill::int * 2 + low_variance::int * 4 + silent::int * 8 ORDER BY at),
    array_agg((extract(epoch FROM window_start - ts) * 1000000)::bigint ORDER BY at)
      || array_agg((extract(epoch FROM window_end - ts) * 1000000)::bigint ORDER BY at)
      || array_agg((extract(epoch FROM coalesce(last_ts, ts) - ts) * 1000000)::bigint ORDER BY at)
      || array_agg((extract(epoch FROM received_at - ts) * 1000000)::bigint ORDER BY at)
      || array_agg(coalesce(count, 0)::bigint ORDER BY at) || array_agg(coalesce(stuck_run, 0)::bigint ORDER BY at),
    array_agg(coalesce(value, 'NaN') ORDER BY at) || array_agg(coalesce(extreme, 'NaN') ORDER BY at) || array_agg(coalesce(last, 'NaN') ORDER BY at) || array_agg(coalesce(mean, 'NaN') ORDER BY at)
      || array_agg(coalesce(std, 'NaN') ORDER BY at) || array_agg(coalesce(median, 'NaN') ORDER BY at) || array_agg(coalesce(mad, 'NaN') ORDER BY at) || array_agg(coalesce(min, 'NaN') ORDER BY at)
      || array_agg(coalesce(max, 'NaN') ORDER BY at) || array_agg(coalesce(range, 'NaN') ORDER BY at) || array_agg(coalesce(slope, 'NaN') ORDER BY at)
      || array_agg(coalesce(missing_rate, 'NaN') ORDER BY at) || array_agg(coalesce(step, 'NaN') ORDER BY at)
  FROM (SELECT g.*, min(us) OVER w AS first_us, min(root) OVER w AS first_root FROM (
      SELECT r.*, chunk_week(ts) AS week, (extract(epoch FROM ts) * 1000000)::bigint AS us, row_number() OVER s AS at, row_number() OVER s / 1000 AS cut
      FROM features r WINDOW s AS (PARTITION BY r.metric_id, r.partition, chunk_week(ts) ORDER BY ts, r.root, tick)) g
    WINDOW w AS (PARTITION BY metric_id, partition, week, cut)) p
  GROUP BY tenant_id, device_id, metric_id, partition, week, cut;

INSERT INTO score_recent (tenant_id, device_id, metric_id, partition, first_ts, last_ts, root, n, unit, wide, roots, flags, longs, reals, words)
  SELECT tenant_id, device_id, metric_id, partition, min(ts), max(ts), min(root), count(*), 1,
    array_agg(us - first_us ORDER BY at), array_agg((root - first_root)::int ORDER BY at),
    array_agg(tick::int + backfill::int * 2 + silent::int * 8
      + (array_position(ARRAY['none', 'spike', 'drop', 'drift', 'missingness', 'stuck'], label) - 1) * 16
      + (array_position(ARRAY['none', 'level', 'noise'], sub_label) - 1) * 256
      + (array_position(ARRAY['warming', 'calibrating', 'learning', 'trusted'], warm_up) - 1) * 4096
      + CASE WHEN model_version IS NULL THEN 0 ELSE 65536 END ORDER BY at),
    array_agg((extract(epoch FROM window_start - ts) * 1000000)::bigint ORDER BY at)
      || array_agg((extract(epoch FROM window_end - ts) * 1000000)::bigint ORDER BY at)
      || array_agg((extract(epoch FROM received_at - ts) * 1000000)::bigint ORDER BY at)
      || array_agg(warm_up_eta_us ORDER BY at),
    array_agg(coalesce(value, 'NaN') ORDER BY at) || array_agg(score ORDER BY at) || array_agg(alarm_score ORDER BY at)
      || array_agg(coalesce(expected, 'NaN') ORDER BY at) || array_agg(coalesce(lower, 'NaN') ORDER BY at) || array_agg(coalesce(upper, 'NaN') ORDER BY at),
    CASE WHEN model_version IS NULL THEN NULL ELSE ARRAY[model_version] END
  FROM (SELECT g.*, min(us) OVER w AS first_us, min(root) OVER w AS first_root FROM (
      SELECT r.*, chunk_week(ts) AS week, (extract(epoch FROM ts) * 1000000)::bigint AS us, row_number() OVER s AS at, row_number() OVER s / 1000 AS cut
      FROM anomaly_scores r WHERE severity = 'none' AND explanation = '' AND contributors IS NULL
      WINDOW s AS (PARTITION BY r.metric_id, r.partition, model_version, chunk_week(ts) ORDER BY ts, r.root, tick)) g
    WINDOW w AS (PARTITION BY metric_id, partition, model_version, week, cut)) p
  GROUP BY tenant_id, device_id, metric_id, partition, model_version, week, cut;

DROP VIEW anomalies, datapoints;
DROP TABLE datapoint_rows, features, anomaly_scores;

-- Views. chunk_first and chunk_last bound the chunk a sample stands in: a query
-- that gives them reads those chunks only (see points).

-- Every stored point, as often as it was stored.
CREATE VIEW datapoint_samples WITH (security_invoker = true) AS
  SELECT c.tenant_id, c.device_id, c.metric_id, c.first_ts + coalesce(u.o, u.w, 0) * c.unit * interval '1 microsecond' AS ts,
    u.v AS value, coalesce(u.f, 0) AS flags, c.partition, c.root + coalesce(u.r, 0) AS root, c.first_ts AS chunk_first, c.last_ts AS chunk_last
  FROM datapoint_recent c, unnest(c.offsets, c.wide, c.roots, c.flags, c.reals) AS u(o, w, r, f, v)
  UNION ALL
  SELECT c.tenant_id, c.device_id, c.metric_id, c.first_ts + coalesce(u.o, u.w, 0) * c.unit * interval '1 microsecond',
    u.v, coalesce(u.f, 0), c.partition, c.root + coalesce(u.r, 0), c.first_ts, c.last_ts
  FROM datapoint_chunks c, unnest(c.offsets, c.wide, c.roots, c.flags, c.reals) AS u(o, w, r, f, v);

-- Beyond the window's memory the same (metric, ts) may have been accepted twice: the lowest root wins.
CREATE VIEW datapoints WITH (security_invoker = true) AS
  SELECT DISTINCT ON (metric_id, ts) tenant_id, metric_id, ts, value, flags, partition, root
  FROM datapoint_samples
  ORDER BY metric_id, ts, root;

-- points reads one metric in [from, to): the chunks of that span and no others.
CREATE FUNCTION points(metric uuid, from_ts timestamptz DEFAULT '-infinity', to_ts timestamptz DEFAULT 'infinity')
RETURNS TABLE (tenant_id uuid, metric_id uuid, ts timestamptz, value float8, flags int, partition smallint, root bigint)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT DISTINCT ON (s.ts) s.tenant_id, s.metric_id, s.ts, s.value, s.flags, s.partition, s.root
  FROM datapoint_samples s
  WHERE s.metric_id = metric AND s.chunk_first >= chunk_week(from_ts) AND s.chunk_first < to_ts AND s.chunk_last >= from_ts
    AND s.ts >= from_ts AND s.ts < to_ts
  ORDER BY s.ts, s.root
$$;

-- last_point is the newest point of a metric: samples ascend within a chunk.
CREATE FUNCTION last_point(metric uuid) RETURNS TABLE (tenant_id uuid, ts timestamptz, value float8, root bigint)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT c.tenant_id, c.last_ts, c.reals[c.n], c.root + coalesce(c.roots[c.n], 0)
  FROM (SELECT r.tenant_id, r.last_ts, r.reals, r.n, r.root, r.roots FROM datapoint_recent r WHERE r.metric_id = metric
    UNION ALL (SELECT s.tenant_id, s.last_ts, s.reals, s.n, s.root, s.roots FROM datapoint_chunks s WHERE s.metric_id = metric ORDER BY s.first_ts DESC LIMIT 1)) c
  ORDER BY c.last_ts DESC, 4 LIMIT 1
$$;

CREATE VIEW feature_samples WITH (security_invoker = true) AS
  SELECT c.*, c.first_ts + coalesce(u.o, u.w, 0) * c.unit * interval '1 microsecond' AS ts, u.*
  FROM (SELECT tenant_id, device_id, metric_id, partition, root AS base, first_ts, last_ts, n, unit, offsets, wide, roots, flags, longs, reals FROM feature_recent
    UNION ALL
    SELECT tenant_id, device_id, metric_id, partition, root, first_ts, last_ts, n, unit, offsets, wide, roots, flags, longs, reals FROM feature_chunks) c,
  unnest(offsets, wide, roots, flags,
    longs[1:n], longs[n+1:2*n], longs[2*n+1:3*n], longs[3*n+1:4*n], longs[4*n+1:5*n], longs[5*n+1:6*n],
    reals[1:n], reals[n+1:2*n], reals[2*n+1:3*n], reals[3*n+1:4*n], reals[4*n+1:5*n], reals[5*n+1:6*n], reals[6*n+1:7*n],
    reals[7*n+1:8*n], reals[8*n+1:9*n], reals[9*n+1:10*n], reals[10*n+1:11*n], reals[11*n+1:12*n], reals[12*n+1:13*n])
    AS u(o, w, r, f, window_start_us, window_end_us, last_us, received_us, count, stuck_run,
      value, extreme, last, mean, std, median, mad, min, max, range, slope, missing_rate, step);

CREATE VIEW features WITH (security_invoker = true) AS
  SELECT tenant_id, device_id, metric_id, ts,
    ts + window_start_us * interval '1 microsecond' AS window_start, ts + window_end_us * interval '1 microsecond' AS window_end,
    ts + last_us * interval '1 microsecond' AS last_ts, ts + received_us * interval '1 microsecond' AS received_at,
    value, extreme, last, mean, std, median, mad, min, max, range, slope, missing_rate, step, base + coalesce(r, 0) AS root,
    count::int, stuck_run::int, partition, coalesce(f, 0) & 1 <> 0 AS tick, coalesce(f, 0) & 2 <> 0 AS backfill,
    coalesce(f, 0) & 4 <> 0 AS low_variance, coalesce(f, 0) & 8 <> 0 AS silent, first_ts AS chunk_first, last_ts AS chunk_last
  FROM feature_samples;

CREATE VIEW score_samples WITH (security_invoker = true) AS
  SELECT c.*, c.first_ts + coalesce(u.o, u.w, 0) * c.unit * interval '1 microsecond' AS ts, u.*
  FROM (SELECT tenant_id, device_id, metric_id, partition, root AS base, first_ts, last_ts, n, unit, offsets, wide, roots, flags, longs, reals, words FROM score_recent
    UNION ALL
    SELECT tenant_id, device_id, metric_id, partition, root, first_ts, last_ts, n, unit, offsets, wide, roots, flags, longs, reals, words FROM score_chunks) c,
  unnest(offsets, wide, roots, flags,
    longs[1:n], longs[n+1:2*n], longs[2*n+1:3*n], longs[3*n+1:4*n],
    reals[1:n], reals[n+1:2*n], reals[2*n+1:3*n], reals[3*n+1:4*n], reals[4*n+1:5*n], reals[5*n+1:6*n])
    AS u(o, w, r, f, window_start_us, window_end_us, received_us, warm_up_eta_us, value, score, alarm_score, expected, lower, upper);

-- Every evaluation, normal or not.
CREATE VIEW anomaly_scores WITH (security_invoker = true) AS
  SELECT tenant_id, device_id, metric_id, ts, window_start, window_end, received_at, value, score, alarm_score, expected, lower, upper,
    root, warm_up_eta_us, partition, tick, backfill, silent, severity, label, sub_label, warm_up, explanation, contributors, model_version,
    ts AS chunk_first, ts AS chunk_last
  FROM anomaly_rows
  UNION ALL
  SELECT tenant_id, device_id, metric_id, ts,
    ts + window_start_us * interval '1 microsecond', ts + window_end_us * interval '1 microsecond', ts + received_us * interval '1 microsecond',
    value, score, alarm_score, expected, lower, upper, base + coalesce(r, 0), warm_up_eta_us, partition,
    coalesce(f, 0) & 1 <> 0, coalesce(f, 0) & 2 <> 0, coalesce(f, 0) & 8 <> 0, 'none',
    (ARRAY['none', 'spike', 'drop', 'drift', 'missingness', 'stuck'])[(coalesce(f, 0) >> 4 & 15) + 1],
    (ARRAY['none', 'level', 'noise'])[(coalesce(f, 0) >> 8 & 15) + 1],
    (ARRAY['warming', 'calibrating', 'learning', 'trusted'])[(coalesce(f, 0) >> 12 & 15) + 1],
    '', NULL::jsonb, words[f >> 16], first_ts, last_ts
  FROM score_samples;

-- last_evaluation is the newest evaluation of a metric, as far as it is about the metric's state.
CREATE FUNCTION last_evaluation(metric uuid) RETURNS TABLE (tenant_id uuid, ts timestamptz, root bigint, warm_up text)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT e.tenant_id, e.ts, e.root, e.warm_up
  FROM (SELECT c.tenant_id, c.last_ts AS ts, c.root + coalesce(c.roots[c.n], 0) AS root,
      (ARRAY['warming', 'calibrating', 'learning', 'trusted'])[(coalesce(c.flags[c.n], 0) >> 12 & 15) + 1] AS warm_up
    FROM (SELECT r.tenant_id, r.last_ts, r.n, r.root, r.roots, r.flags FROM score_recent r WHERE r.metric_id = metric
      UNION ALL (SELECT s.tenant_id, s.last_ts, s.n, s.root, s.roots, s.flags FROM score_chunks s WHERE s.metric_id = metric ORDER BY s.first_ts DESC LIMIT 1)) c
    UNION ALL (SELECT a.tenant_id, a.ts, a.root, a.warm_up FROM anomaly_rows a WHERE a.metric_id = metric ORDER BY a.ts DESC, a.root DESC, a.tick DESC LIMIT 1)) e
  ORDER BY e.ts DESC, e.root DESC LIMIT 1
$$;

CREATE VIEW anomalies WITH (security_invoker = true) AS
  SELECT * FROM anomaly_rows WHERE severity <> 'none';

GRANT SELECT ON datapoint_samples, datapoints, feature_samples, features, score_samples, anomaly_scores, anomalies
  TO edgepulse_app, edgepulse_analyst, edgepulse_writer;

-- +goose Down
-- Chunks are not taken apart again: `edgepulse rebuild POINTS --truncate` fills the older tables from the logs.
-- +goose StatementBegin
DO $$ BEGIN RAISE EXCEPTION 'the series tables have no way back: restore a backup, or start with an empty database and rebuild'; END $$;
-- +goose StatementEnd
