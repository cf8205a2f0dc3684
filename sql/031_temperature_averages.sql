-- What the consumer and the DAG keep of the small case, in the database office_db; idempotent.
-- A window without a reading has a row as well: readings 0, average NULL; for each sensor that was heard in
-- the day before, or, when there was none, one row without a sensor. Hence NULL is a sensor of its own.
CREATE TABLE IF NOT EXISTS public.temperature_averages (
    window_start timestamptz NOT NULL,
    window_end   timestamptz NOT NULL,          -- exclusive
    sensor_id    text,
    average      double precision,
    readings     bigint      NOT NULL,
    unusable     bigint      NOT NULL,          -- rows without a temperature: NULL, NaN, infinite
    computed_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE NULLS NOT DISTINCT (window_start, window_end, sensor_id),
    CHECK (window_start < window_end),
    CHECK ((readings = 0) = (average IS NULL))
);
ALTER TABLE public.temperature_averages OWNER TO twinpath_owner;
GRANT SELECT ON public.temperature_readings TO twinpath_averages;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.temperature_averages TO twinpath_averages;
GRANT SELECT ON public.temperature_averages TO twinpath_reader;
