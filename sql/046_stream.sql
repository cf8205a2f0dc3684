-- What the streaming jobs keep beside the alert log, in the alert store.
-- Their marks are in checkpoints (partition: of the topic). Their counters are in counters: there `partition` is the
-- bucket of users, because state and counts are kept by bucket; -1 is what only the store can tell.

-- One row for each query: which versions of rules it folds, which Spark checkpoint is its own, and how far it is.
CREATE TABLE IF NOT EXISTS stream_queries (
    path          text        NOT NULL,
    topic_id      text        NOT NULL,
    query         text        NOT NULL,
    number        int         NOT NULL,             -- counts the queries of this topic
    rules         jsonb       NOT NULL,             -- [[rule, rule_version], ...] that it began with
    location      text        NOT NULL,             -- folder of its Spark checkpoint
    checkpoint_id text,                             -- Spark's id of that checkpoint; NULL: nothing stored yet
    batch_id      bigint,                           -- last micro-batch that is stored
    next_offsets  jsonb       NOT NULL DEFAULT '{}',    -- partition -> offset after it
    progress      jsonb       NOT NULL DEFAULT '{}',    -- what that micro-batch was, for people
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (path, topic_id, query)
);
DO $$
BEGIN
    ALTER TABLE stream_queries OWNER TO twinpath_owner;
END
$$;
GRANT SELECT, INSERT, UPDATE ON stream_queries TO twinpath_alerts;
GRANT SELECT ON stream_queries TO twinpath_reader;
