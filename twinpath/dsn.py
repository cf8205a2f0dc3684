"""DSNs that people give: checked before they are used, and never repeated, because they may hold a password."""

from psycopg2 import ProgrammingError
from psycopg2.extensions import parse_dsn

from twinpath.errors import ConfigurationError

EXAMPLES = "'host=db dbname=alerts user=twinpath_alerts' or 'postgresql://twinpath_alerts@db/alerts'"
LARGEST_PORT = 65535


def checked(name: str, dsn: str) -> str:
    """The DSN itself, when libpq reads it as it was meant; else ConfigurationError, without a word of it.

    libpq's own messages quote what they stumbled over, which in a URL is often a part of the password: an @ or a :
    in it ends it early, and the rest is taken for a host or a port.
    """
    try:
        parts = parse_dsn(dsn)
    except ProgrammingError:
        raise ConfigurationError(
            f"{name} is no DSN that libpq can read, wanted such as {EXAMPLES}. It is not repeated here: it may hold a "
            "password"
        ) from None
    ports = [port for port in str(parts.get("port", "")).split(",") if port]
    if "@" in parts.get("host", "") or not all(port.isdigit() and 1 <= int(port) <= LARGEST_PORT for port in ports):
        raise ConfigurationError(
            f"{name} is read with a host or port that cannot be one. In a URL an @ of a password is written %40, a : "
            "%3A and a / %2F. It is not repeated here"
        )
    return dsn
