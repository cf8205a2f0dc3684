"""Records as the connector writes them, byte by byte, and others that are no change or that nobody can read."""

from datetime import UTC, datetime, timedelta

from streaming.simulation.clock import START_US
from twinpath.detection.model import Transaction

EPOCH_START = datetime(1970, 1, 1, tzinfo=UTC)
DATABASE = "mydb"


def key_of(user_id: int) -> bytes:
    return b'{"user_id":%d}' % user_id


def _row(row: Transaction | None) -> str:
    if row is None:
        return "null"
    sign, cents = "-" if row.amount_cents < 0 else "", abs(row.amount_cents)
    created = (EPOCH_START + timedelta(microseconds=row.created_us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return (
        f'{{"id":{row.tx_id},"user_id":{row.user_id},"amount":"{sign}{cents // 100}.{cents % 100:02d}",'
        f'"card_type":"visa","merchant_id":{row.merchant_id},"created_at":"{created}"}}'
    )


def value_of(
    op: str,
    before: Transaction | None,
    after: Transaction | None,
    sequence: str,
    xid: int,
    committed_us: int,
    captured_us: int,
) -> bytes:
    """A value with exactly the fields of Debezium 3.7, in its order."""
    quoted = sequence.replace('"', '\\"')
    lsn = int(sequence.rpartition(",")[2].strip('"]'))
    snapshot = '"true"' if op == "r" else "null"
    return (
        f'{{"before":{_row(before)},"after":{_row(after)},"source":{{"version":"3.7.0.Final",'
        f'"connector":"postgresql","name":"dbserver1","ts_ms":{committed_us // 1000},'
        f'"snapshot":{snapshot},"db":"{DATABASE}","sequence":"{quoted}",'
        f'"ts_us":{committed_us},"ts_ns":{committed_us}000,"schema":"public","table":"transactions",'
        f'"txId":{xid},"lsn":{lsn},"xmin":null,"origin":null,"origin_lsn":null}},'
        f'"transaction":null,"op":"{op}",'
        f'"ts_ms":{captured_us // 1000},"ts_us":{captured_us},"ts_ns":{captured_us}000}}'
    ).encode()


_USER = '{"user_id":USER}'
_PAID = Transaction(1, 1, 100, START_US, 1)
_TEXT = value_of("c", None, _PAID, '["1","2"]', 1, START_US, START_US).decode().replace('"user_id":1', '"user_id":USER')

NOISE = (
    (_USER, None),
    (_USER, '{"ts_ms":1795413623000}'),
    (_USER, _TEXT.replace('"op":"c"', '"op":"m"')),
    (_USER, _TEXT.replace('"op":"c"', '"op":"t"')),
    (_USER, _TEXT.replace('"table":"transactions"', '"table":"others"')),
)
POISON = (
    (_USER, "{"),
    (_USER, _TEXT.replace('"1.00"', '"NaN"')),
    (_USER, _TEXT.replace('"amount":', '"sum":')),
    ('{"user_id":OTHER}', _TEXT),
    (_USER, _TEXT.replace('[\\"1\\",\\"2\\"]', "")),
)
