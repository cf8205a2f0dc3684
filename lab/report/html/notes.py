"""How an experiment was run, as notes below its section."""

from lab.bench.result import Result
from lab.report.saved_experiments import rounds_of


def notes_of(result: Result) -> list[str]:
    """The command, its rounds and the machine's disturbances, and what keeps the figures from being published."""
    count, disturbed = rounds_of(result), sum(one.disturbed for one in result.rounds)
    said = f"Made by {result.command}: {count} {'round' if count == 1 else 'rounds'}"
    said += f", {disturbed} of {len(result.rounds)} phases disturbed by other programs." if disturbed else "."
    reasons = [reason for reason in result.not_publishable if "disturbed" not in reason]
    return [said, *([f"Not to be published: {'; '.join(reasons)}."] if reasons else [])]
