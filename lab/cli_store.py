"""Commands on what is judged and kept: versions of rules, gaps, dead letters, retention. Registered in lab/cli.py."""

import sys
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from lab.console import Progress

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
RuleName = Annotated[str | None, typer.Option("--rule", help="Only this rule.")]
ALL_VERSIONS = "Also those of versions that are no longer active."


def rules(json: Json = False) -> None:
    """The versions of each rule: parameters, alerts, rows judged, records behind, which one is active."""
    from lab import versions
    from lab.stack.stack import standard_stack

    versions.show(standard_stack(Progress(quiet=True)), as_json=json)


def rebuild(
    rule: Annotated[str, typer.Argument(help="The rule to judge anew.")],
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "judged anew by command",
) -> None:
    """Judge the whole log anew by one rule, under a new version, beside what is stored."""
    from lab.stack.stack import standard_stack

    version = standard_stack(Progress()).rebuilder().rebuild(rule, reason)
    sys.stdout.write(f"{rule}: judged anew as version {version}; twinpath rules shows how far\n")


def resync(
    anyway: Annotated[bool, typer.Option("--anyway", help="Also when no gap is found.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Bring the line back behind a gap in its log, and say what the gap destroyed.

    For a slot that was dropped, lost or moved on, and for a topic that was trimmed, deleted or made anew. The table is
    read anew: its rows teach and raise no alert, stored alerts stay. Services and agents run afterwards.
    """
    from lab.stack import lost
    from lab.stack.resync import Resync
    from lab.stack.stack import standard_stack

    stack = standard_stack(progress := Progress())
    with_stream = stack.spark_stream().started()
    stack.start_services(with_connect=False)
    found = Resync(stack).run(anyway=anyway)
    if found is None:
        progress.say("found no gap, so nothing was changed; --anyway reads the table anew all the same")
        return
    said = [msgspec.json.encode(found).decode()] if json else lost.said(found)
    sys.stdout.write("".join(f"{line}\n" for line in said))
    sys.stdout.flush()  # what was lost is known, whatever comes of the start
    stack.up(with_spark_stream=with_stream)


def dead_letters(
    rule: RuleName = None,
    redrive: Annotated[
        bool, typer.Option("--redrive", help="Try them again; where one can be read, judge the whole log anew.")
    ] = False,
    payload: Annotated[bool, typer.Option("--show", help="Also the first bytes of key and value.")] = False,
    all_versions: Annotated[bool, typer.Option("--all-versions", help=ALL_VERSIONS)] = False,
    json: Json = False,
) -> None:
    """Records that could not be read: where, why, how long; --redrive once they can."""
    from lab import dead_letters as letters
    from lab.stack.stack import standard_stack

    stack = standard_stack(Progress())
    if redrive:
        letters.redrive(stack, rule=rule, as_json=json)
    else:
        letters.show(stack, rule=rule, all_versions=all_versions, payload=payload, as_json=json)


def prune(
    older_than: Annotated[str | None, typer.Option("--older-than", help="Days or hours: 30d, 12h.")] = None,
    alerts: Annotated[bool, typer.Option("--alerts", help="Alerts of changes committed before that.")] = False,
    dead_letters: Annotated[bool, typer.Option("--dead-letters", help="Dead letters recorded before that.")] = False,
    runs: Annotated[bool, typer.Option("--runs", help="Folders of runs/ that began before that.")] = False,
    superseded: Annotated[
        bool, typer.Option("--superseded", help="Versions that are no longer active; with an age, for that long.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes/--dry-run", help="Remove it; otherwise only say what would be.")] = False,
) -> None:
    """Remove what is old: it says what it would remove, and removes it only with --yes."""
    from lab import retention
    from lab.stack.stack import standard_stack

    stack = standard_stack(Progress(quiet=True))
    span = None if older_than is None else retention.age(older_than)
    wanted = retention.Wanted(span, alerts=alerts, dead_letters=dead_letters, runs=runs, superseded=superseded)
    dsn = stack.credentials.alerts_dsn(stack.settings, "twinpath_lab")
    for line in retention.prune(dsn, wanted, datetime.now(tz=UTC), do_it=yes):
        sys.stdout.write(f"{'removed' if yes else 'would remove'} {line}\n")
    if not yes:
        sys.stderr.write("nothing was removed; --yes removes it\n")
