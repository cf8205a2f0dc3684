-- The small case, in the database office_db: one temperature a minute; idempotent.
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
GRANT USAGE ON SEQUENCE public.temperature_readings_id_seq TO twinpath_writer;
