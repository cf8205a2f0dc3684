-- What measuring needs, in the database postgres; run as the superuser, idempotent.
-- pg_stat_statements: every statement's count, for all databases. pg_walinspect: the COMMIT records, which
-- are the order witness (exactness: independent of Debezium).
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
CREATE EXTENSION IF NOT EXISTS pg_walinspect;
GRANT EXECUTE ON FUNCTION pg_get_wal_records_info(pg_lsn, pg_lsn) TO twinpath_lab;
