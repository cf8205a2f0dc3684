-- The captured table, in the source database; idempotent. The setting twinpath.publication names the
-- publication (default: transactions). An existing table is taken as it is.
CREATE TABLE IF NOT EXISTS public.transactions (
    id          serial PRIMARY KEY,
    user_id     int,
    amount      numeric(10, 2),
    card_type   varchar(20),
    merchant_id int,
    created_at  timestamptz DEFAULT current_timestamp
);
-- The topic is keyed by user_id, and corrections need the whole row before and after.
ALTER TABLE public.transactions REPLICA IDENTITY FULL;
GRANT CREATE ON SCHEMA public TO twinpath_owner;
ALTER TABLE public.transactions OWNER TO twinpath_owner;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.transactions TO twinpath_writer;
GRANT SELECT ON public.transactions TO twinpath_cdc, twinpath_reader;
DO $$
DECLARE
    publication text := coalesce(nullif(current_setting('twinpath.publication', true), ''), 'transactions');
    ids text := pg_get_serial_sequence('public.transactions', 'id');
BEGIN
    IF ids IS NOT NULL THEN
        EXECUTE format('GRANT USAGE ON SEQUENCE %s TO twinpath_writer', ids);
    END IF;
    IF NOT EXISTS (SELECT FROM pg_publication WHERE pubname = publication) THEN
        EXECUTE format('CREATE PUBLICATION %I FOR TABLE public.transactions '
                       'WITH (publish = ''insert, update, delete'')', publication);
    ELSIF NOT EXISTS (SELECT FROM pg_publication_tables
                      WHERE pubname = publication AND schemaname = 'public' AND tablename = 'transactions') THEN
        EXECUTE format('ALTER PUBLICATION %I ADD TABLE public.transactions', publication);
    END IF;
END
$$;
