"""A table of payments to be judged by batch: few alerts, histories of many payments, made inside of the server."""

from contextlib import closing

import psycopg2

from lab.bench.bed import Segment

ROWS_PER_COMMIT = 1_000
ALERT_SHARE = 0.002
FILL = """DO $$ BEGIN FOR step IN 0..%s LOOP
    INSERT INTO transactions (user_id, amount, card_type, merchant_id, created_at)
    SELECT 1000 + floor(random() * %s)::int,
           round((CASE WHEN random() < %s THEN 1000 + random() * 4000 ELSE 5 + random() * 195 END)::numeric, 2),
           'visa', 1 + floor(random() * 500)::int,
           timestamptz '2026-01-01 00:00:00Z' + (step * %s + number) * interval '100 milliseconds'
    FROM generate_series(1, %s) AS number;
    COMMIT;
END LOOP; END $$"""


def fill(segment: Segment, rows: int, users: int, seed: int) -> int:
    """Commit `rows` rows (a multiple of 1,000, one at least) and vacuum; returns how many there are.

    A row comes every 100 ms of its created_at, so that a user's payments lie minutes apart and bursts are rare.
    """
    commits = max(1, rows // ROWS_PER_COMMIT)
    with closing(psycopg2.connect(segment.dsn(segment.settings.source_database))) as session:
        session.autocommit = True
        with session.cursor() as cursor:
            cursor.execute("SET synchronous_commit = off")  # the table is what counts, not how it came to be
            cursor.execute("SELECT setseed(%s)", [1 / (1 + seed)])
            cursor.execute(FILL, [commits - 1, users, ALERT_SHARE, ROWS_PER_COMMIT, ROWS_PER_COMMIT])
            cursor.execute("VACUUM (ANALYZE) transactions")
    segment.checkpoint()
    return commits * ROWS_PER_COMMIT
