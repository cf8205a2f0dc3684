-- The small case, in the database office_db: one temperature a minute; idempotent. An existing table is taken
-- as it is; a recorded_at without time zone is read as UTC.
CREATE TABLE IF NOT EXISTS public.temperature_readings (
    id          serial PRIMARY KEY,
    sensor_id   varchar(50),
    temperature double precision,
    recorded_at timestamptz DEFAULT now()
);
CREATE INDEX IF NOT EXISTS temperature_readings_recorded_at ON public.temperature_readings (recorded_at);
GRANT CREATE ON SCHEMA public TO twinpath_owner;
ALTER TABLE public.temperature_readings OWNER TO twinpath_owner;
GRANT SELECT, INSERT ON public.temperature_readings TO twinpath_writer;
GRANT SELECT ON public.temperature_readings TO twinpath_reader;
DO $$
DECLARE
    ids text := pg_get_serial_sequence('public.temperature_readings', 'id');
BEGIN
    IF ids IS NOT NULL THEN
        EXECUTE format('GRANT USAGE ON SEQUENCE %s TO twinpath_writer', ids);
    END IF;
END
$$;
