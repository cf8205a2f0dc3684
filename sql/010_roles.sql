-- The roles of design: each may do one thing. Run as the superuser on the database postgres; idempotent.
-- Passwords are set apart from this file; no role here is a superuser.
DO $$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        SELECT * FROM (VALUES
            ('twinpath_owner',  'NOLOGIN'),                        -- owns the tables
            ('twinpath_writer', 'LOGIN'),                          -- the application that takes payments
            ('twinpath_cdc',    'LOGIN REPLICATION'),              -- Debezium
            ('twinpath_reader', 'LOGIN'),                          -- people and reports: read only
            ('twinpath_alerts', 'LOGIN'),                          -- agents and jobs that store alerts
            ('twinpath_averages', 'LOGIN'),                        -- who averages temperatures and stores that
            ('twinpath_lab',    'LOGIN CREATEDB REPLICATION'),     -- commands of lab/ only
            ('twinpath_airflow', 'LOGIN')                          -- owns Airflow's metadata, nothing else
        ) AS roles (name, options)
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted.name) THEN
            EXECUTE format('CREATE ROLE %I', wanted.name);
        END IF;
        EXECUTE format('ALTER ROLE %I NOSUPERUSER %s', wanted.name, wanted.options);
    END LOOP;
END
$$;
GRANT twinpath_owner TO twinpath_lab;
GRANT pg_monitor, pg_checkpoint TO twinpath_lab;
