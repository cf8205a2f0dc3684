-- What the batch jobs keep beside the alert log, in the alert store. State is in state_buckets (partition 0).

-- One row for each rule that a batch path folds: how far it went. `run` is compared and set, so that of two
-- overlapping jobs one merges and the other discards.
CREATE TABLE IF NOT EXISTS batch_progress (
    path         text        NOT NULL,
    rule         text        NOT NULL,
    rule_version text        NOT NULL,
    source       text        NOT NULL,              -- system identifier and database of the table
    run          bigint      NOT NULL,              -- merged runs
    horizon      bigint      NOT NULL,              -- every transaction below it was folded (safe), xid8
    watermark    bigint      NOT NULL,              -- highest id (naive-id) or created_at in microseconds (naive-time)
    folded       bytea       NOT NULL,              -- (id, xid) pairs at or above the horizon that were folded
    judged       bytea       NOT NULL,              -- ids that were judged, as ranges
    updated_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (path, rule, rule_version, source)
);

-- Every merged run, with what it could see: the snapshot as xmin:xmax:running (widened transaction ids), and the
-- interval of created_at in microseconds, if it had one. What a run was to judge can be told from it afterwards.
CREATE TABLE IF NOT EXISTS batch_runs (
    path         text        NOT NULL,
    rule         text        NOT NULL,
    rule_version text        NOT NULL,
    source       text        NOT NULL,
    run          bigint      NOT NULL,
    snapshot     text        NOT NULL,
    begin_us     bigint,
    end_us       bigint,
    merged_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (path, rule, rule_version, source, run)
);

-- Executors write here under the id of their attempt; the driver merges, and removes what an attempt left.
CREATE TABLE IF NOT EXISTS batch_staged (
    attempt   text        NOT NULL,
    rule      text        NOT NULL,
    bucket    int         NOT NULL,
    state     bytea       NOT NULL,
    alerts    bytea       NOT NULL,
    letters   bytea       NOT NULL,
    staged_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (attempt, rule, bucket)
);
DO $$
BEGIN
    ALTER TABLE batch_progress OWNER TO twinpath_owner;
    ALTER TABLE batch_runs OWNER TO twinpath_owner;
    ALTER TABLE batch_staged OWNER TO twinpath_owner;
    -- Not compressed, like state_buckets: it is read and removed seconds later.
    IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'batch_staged'::regclass AND attname = 'state'
               AND attstorage <> 'e') THEN
        ALTER TABLE batch_staged ALTER COLUMN state SET STORAGE EXTERNAL;
    END IF;
END
$$;
GRANT SELECT, INSERT, UPDATE ON batch_progress TO twinpath_alerts;
GRANT SELECT, INSERT ON batch_runs TO twinpath_alerts;
GRANT SELECT, INSERT, UPDATE, DELETE ON batch_staged TO twinpath_alerts;
GRANT SELECT ON batch_progress, batch_runs TO twinpath_reader;
