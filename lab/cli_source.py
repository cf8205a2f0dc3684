"""`twinpath check-source`: is a given PostgreSQL ready for change data capture? Registered in lab/cli.py."""

import re
from typing import Annotated

import typer

from twinpath.errors import ConfigurationError

SLOT_NAME = "[a-z0-9_]{1,63}"


def check_source(
    dsn: Annotated[
        str, typer.Argument(help="libpq DSN; without it SOURCE_DSN. Leave the password to PGPASSWORD.")
    ] = "",
    role: Annotated[str, typer.Option(help="The role that the connector uses; without it that of the DSN.")] = "",
    table: Annotated[str, typer.Option(help="The table to capture.")] = "public.transactions",
    publication: Annotated[str, typer.Option(help="Without it that of the settings.")] = "",
    slot: Annotated[str, typer.Option(help="Without it that of the settings.")] = "",
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Say what a database lacks for change data capture, and the SQL that mends it. Changes nothing.

    Exit status 0 when nothing is missing, 4 when something is; advice does not count.
    """
    from lab import check_source as checks
    from lab.source_facts import Wanted, gather
    from twinpath.settings import load_settings

    settings = load_settings()
    dsn = dsn or settings.source_dsn.get_secret_value()
    if not dsn:
        raise ConfigurationError("found no DSN, wanted one as argument or in SOURCE_DSN")
    slot = slot or settings.slot
    if not re.fullmatch(SLOT_NAME, slot):
        raise ConfigurationError(
            f"--slot: found {slot!r}, wanted at most 63 lower-case letters, digits and underscores: PostgreSQL takes "
            "no other name for a slot"
        )
    schema, _, name = table.rpartition(".")
    wanted = Wanted(schema or "public", name, publication or settings.publication, slot, role)
    facts = gather(dsn, wanted)
    verdicts = checks.judge(facts, wanted)
    checks.show(verdicts, facts.database, as_json=json)
    raise typer.Exit(0 if checks.ready(verdicts) else 4)
