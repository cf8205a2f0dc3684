-- Latency by one clock: commit of the alert's row minus commit of the transaction that made the change,
-- both by track_commit_timestamp of one server. Transaction ids are cluster-wide, so the view needs no
-- other database; it tells nothing when the alert store is on another server than the source.
-- A NULL stamp is shown, not dropped: latency_ms is then NULL.
CREATE OR REPLACE VIEW alert_latency AS
SELECT path, rule, rule_version, user_id, tx_id, op, status, incarnation, previous_commit_lsn, row_lsn,
       source_xid, changed_at, alerted_at,
       extract(epoch FROM alerted_at - changed_at) * 1000 AS latency_ms,
       committed_at, captured_at, appended_at, polled_at, decided_at
FROM (
    SELECT *,
           CASE WHEN source_xid >= 3 AND source_xid < 4294967296
                THEN pg_xact_commit_timestamp(source_xid::text::xid) END AS changed_at,
           pg_xact_commit_timestamp(xmin) AS alerted_at
    FROM alert_log
) stamped;
ALTER VIEW alert_latency OWNER TO twinpath_owner;
GRANT SELECT ON alert_latency TO twinpath_reader, twinpath_alerts;
