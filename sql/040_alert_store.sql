-- The alert store, a database of its own: every path writes its alerts here; idempotent.
-- A position is (incarnation, previous_commit_lsn, row_lsn): see docs/adr/0004.

-- Append-only: an alert is a fact about what was known at its position. Nobody is granted UPDATE or DELETE.
CREATE TABLE IF NOT EXISTS alert_log (
    path                text     NOT NULL CHECK (path IN ('agent', 'spark_stream', 'spark_batch',
                            'spark_batch_full', 'spark_batch_naive_id', 'spark_batch_naive_time')),
    rule                text     NOT NULL,
    rule_version        text     NOT NULL,
    user_id             bigint   NOT NULL,
    tx_id               bigint   NOT NULL,
    incarnation         int      NOT NULL,
    previous_commit_lsn bigint   NOT NULL,
    row_lsn             bigint   NOT NULL,
    op                  text     NOT NULL CHECK (op IN ('c', 'u', 'd')),
    status              text     NOT NULL CHECK (status IN ('RAISED', 'REVISED', 'RETRACTED')),
    score               bigint   NOT NULL,
    reason              text     NOT NULL,
    features            jsonb    NOT NULL,
    digest              text     NOT NULL,          -- of status, score, reason, features
    source_xid          bigint,                     -- the transaction that made the change
    committed_at        timestamptz,                -- hop stamps: source.ts_us (the server's commit time)
    captured_at         timestamptz,                -- the connector's clock
    appended_at         timestamptz,                -- Kafka's record timestamp
    polled_at           timestamptz,                -- the consumer received it
    decided_at          timestamptz,                -- the rule had judged it
    PRIMARY KEY (path, rule, rule_version, user_id, tx_id, incarnation, previous_commit_lsn, row_lsn)
);

-- Which change log is which: a topic id belongs to one source; incarnations count re-created sources.
-- first_offsets maps a partition to the first offset of this incarnation (absent: 0).
CREATE TABLE IF NOT EXISTS sources (
    topic             text        NOT NULL,
    topic_id          text        NOT NULL,
    incarnation       int         NOT NULL CHECK (incarnation >= 1),
    system_identifier text,
    slot              text,
    first_offsets     jsonb       NOT NULL DEFAULT '{}',
    registered_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, incarnation)
);

-- One row per partition that a rule reads: who owns it (epoch) and up to where state and counters go.
CREATE TABLE IF NOT EXISTS checkpoints (
    path         text        NOT NULL,
    rule         text        NOT NULL,
    rule_version text        NOT NULL,
    topic_id     text        NOT NULL,
    partition    int         NOT NULL,
    epoch        bigint      NOT NULL,
    next_offset  bigint,                            -- NULL: nothing folded yet
    partitions   int         NOT NULL,              -- of the topic when the state was made
    buckets      int         NOT NULL,
    updated_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (path, rule, rule_version, topic_id, partition)
);

CREATE TABLE IF NOT EXISTS state_buckets (
    path         text   NOT NULL,
    rule         text   NOT NULL,
    rule_version text   NOT NULL,
    topic_id     text   NOT NULL,
    partition    int    NOT NULL,
    bucket       int    NOT NULL,
    part         int    NOT NULL,                   -- 0: the whole bucket; n: what changed since part n - 1
    state        bytea  NOT NULL,
    PRIMARY KEY (path, rule, rule_version, topic_id, partition, bucket, part)
);
DO $$                                               -- a store made before: it had no parts, and was compressed
BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'state_buckets'::regclass AND attname = 'part') THEN
        ALTER TABLE state_buckets ADD COLUMN part int NOT NULL DEFAULT 0;
        ALTER TABLE state_buckets ALTER COLUMN part DROP DEFAULT, DROP CONSTRAINT state_buckets_pkey,
            ADD PRIMARY KEY (path, rule, rule_version, topic_id, partition, bucket, part);
    END IF;
    -- Not compressed: states shrink little, and compressing them cost six times as much CPU as storing them.
    IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'state_buckets'::regclass AND attname = 'state'
               AND attstorage <> 'e') THEN
        ALTER TABLE state_buckets ALTER COLUMN state SET STORAGE EXTERNAL;
    END IF;
END
$$;

-- What was counted, written in the checkpoint's transaction.
CREATE TABLE IF NOT EXISTS counters (
    path         text   NOT NULL,
    rule         text   NOT NULL,
    rule_version text   NOT NULL,
    topic_id     text   NOT NULL,
    partition    int    NOT NULL,
    name         text   NOT NULL,
    value        bigint NOT NULL,
    PRIMARY KEY (path, rule, rule_version, topic_id, partition, name)
);

-- Records that could not be read: kept, with the reason, never world-readable. Like an alert, a dead letter
-- belongs to the version that met it: one that a later version could read has no row under that version.
CREATE TABLE IF NOT EXISTS dead_letters (
    path         text        NOT NULL,
    rule         text        NOT NULL,
    rule_version text        NOT NULL,
    topic_id     text        NOT NULL,
    partition    int         NOT NULL,
    kafka_offset bigint      NOT NULL,
    reason       text        NOT NULL,
    record_key   bytea,
    record_value bytea,                             -- its first bytes, up to a limit
    value_bytes  int,                               -- its whole length
    recorded_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (path, rule, rule_version, topic_id, partition, kafka_offset)
);

-- The current view: the last position of each row; at a tie the alert of an insert stands.
CREATE OR REPLACE VIEW alerts_current AS
SELECT DISTINCT ON (path, rule, rule_version, tx_id) *
FROM alert_log
ORDER BY path, rule, rule_version, tx_id,
         incarnation DESC, previous_commit_lsn DESC, row_lsn DESC, (op = 'c') DESC;

GRANT CREATE ON SCHEMA public TO twinpath_owner;
DO $$
DECLARE
    relation text;
BEGIN
    FOREACH relation IN ARRAY ARRAY['alert_log', 'sources', 'checkpoints', 'state_buckets', 'counters',
                                    'dead_letters'] LOOP
        EXECUTE format('ALTER TABLE %I OWNER TO twinpath_owner', relation);
    END LOOP;
    ALTER VIEW alerts_current OWNER TO twinpath_owner;
END
$$;
GRANT SELECT, INSERT ON alert_log, dead_letters, sources TO twinpath_alerts;
GRANT SELECT, INSERT, UPDATE ON checkpoints, state_buckets, counters TO twinpath_alerts;
GRANT DELETE ON state_buckets TO twinpath_alerts;   -- a whole bucket replaces its parts
GRANT SELECT ON alerts_current TO twinpath_alerts, twinpath_reader;
GRANT SELECT ON alert_log, sources, checkpoints, counters TO twinpath_reader;

-- Which versions of a rule were folded. Both tables only grow: the highest generation is the one to fold, the
-- last activation is the version that is active on a path.
CREATE TABLE IF NOT EXISTS rule_generations (
    path       text        NOT NULL,
    rule       text        NOT NULL,
    generation int         NOT NULL CHECK (generation >= 2),    -- without a row it is 1
    reason     text        NOT NULL,                -- why the log is judged again
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (path, rule, generation)
);
CREATE TABLE IF NOT EXISTS rule_activations (
    path         text        NOT NULL,
    rule         text        NOT NULL,
    number       int         NOT NULL,              -- counts the activations of this rule on this path
    rule_version text        NOT NULL,
    generation   int         NOT NULL,
    parameters   jsonb       NOT NULL,
    reading      jsonb       NOT NULL,              -- the settings by which records are read
    activated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (path, rule, number)
);
CREATE OR REPLACE VIEW active_rules AS
SELECT DISTINCT ON (path, rule) *
FROM rule_activations
ORDER BY path, rule, number DESC;

-- A store made before dead letters had a version: each goes to the version that was folded last.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'dead_letters'::regclass AND attname = 'rule_version') THEN
        ALTER TABLE dead_letters ADD COLUMN rule_version text NOT NULL DEFAULT '';
        UPDATE dead_letters letter SET rule_version = coalesce(
            (SELECT point.rule_version FROM checkpoints point
             WHERE point.path = letter.path AND point.rule = letter.rule
             ORDER BY point.updated_at DESC LIMIT 1), '');
        ALTER TABLE dead_letters ALTER COLUMN rule_version DROP DEFAULT,
            DROP CONSTRAINT dead_letters_pkey,
            ADD PRIMARY KEY (path, rule, rule_version, topic_id, partition, kafka_offset);
    END IF;
    ALTER TABLE rule_generations OWNER TO twinpath_owner;
    ALTER TABLE rule_activations OWNER TO twinpath_owner;
    ALTER VIEW active_rules OWNER TO twinpath_owner;
END
$$;
GRANT SELECT, INSERT ON rule_generations, rule_activations TO twinpath_alerts;
GRANT SELECT ON active_rules TO twinpath_alerts, twinpath_reader;
GRANT SELECT ON rule_generations, rule_activations TO twinpath_reader;
