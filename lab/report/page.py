"""A summary as a page for people: the verdict first."""

from typing import Any

import msgspec

from lab.measure.verdict import PATH

SHOWN = 5  # differences named on the page; all are in summary.json


def markdown(summary: dict[str, Any]) -> str:
    """The summary for people: verdict first."""
    path = summary["paths"][PATH]
    workload = summary["workload"]
    lines = [
        f"# Twinpath demo {summary['run_id']}: {summary['verdict']}",
        "",
        f"{workload['rows_inserted']} rows were committed at {workload['achieved_rate']}/s "
        f"(offered {workload['rate']:.0f}/s, profile {workload['profile']}, seed {summary['seed']}), "
        f"{len(summary['faults'])} processes were killed in between; "
        f"{path['alerts']} alerts, missing {path['missing']}, extra {path['extra']}, "
        f"unexplained {path['unexplained']}, duplicates suppressed {path['duplicates_suppressed']}.",
        "",
        "| | goal | wanted | measured |",
        "|---|---|---|---|",
    ]
    for goal in summary["goals"]:
        measured = ", ".join(f"{rule} {value}" for rule, value in goal["measured"].items())
        lines.append(f"| {'met' if goal['ok'] else 'MISSED'} | {goal['text']} | {goal['target']} | {measured} |")
    lines += ["", "## Latency: commit to alert committed, by PostgreSQL's clock, ms", ""]
    lines += ["| alerts | n | p50 | p90 | p99 | max |", "|---|---|---|---|---|---|"]
    rows = [("all rows", path["latency_ms"])]
    warm_up, *kills = summary["left_out_of_calm_s"]
    calm = f"without the first {warm_up:.0f} s" + (f" and the {kills[0]:.0f} s after each kill" if kills else "")
    rows.append((calm, path["latency_ms_calm"]))
    rows += [(f"all rows, {rule}", one["latency_ms"]) for rule, one in path["rules"].items()]
    for name, figures in rows:
        shown = " | ".join(
            "-" if figures[key] is None else str(figures[key]) for key in ("n", "p50", "p90", "p99", "max")
        )
        lines.append(f"| {name} | {shown} |")
    hops = ", ".join(f"{hop} {'-' if ms is None else ms}" for hop, ms in path["hops_ms_p50"].items())
    lines += [
        "",
        f"Median of each hop ({calm}), ms: {hops}. No p99 is given below 1,000 samples.",
        "",
    ]
    lines += [
        "## What each class of operation came to",
        "",
        "| class | done | seen by every agent |",
        "|---|---|---|",
    ]
    for name, one in summary["losses"].items():
        lines.append(f"| {name} | {one['done']} | {one['seen'][PATH]} |")
    lines += _differences(summary)
    lines += ["", f"Environment: {msgspec.json.encode(summary['environment']).decode()}", ""]
    return "\n".join(lines)


def _differences(summary: dict[str, Any]) -> list[str]:
    """The first differences, when there are any."""
    lines = []
    for pair in summary["agreement"]["pairs"]:
        for side, found in (
            ("only in " + pair["a"], pair["only_a"]),
            ("only in " + pair["b"], pair["only_b"]),
        ):
            for fact in found[:SHOWN]:
                lines.append(f"- {side}: transaction {fact[0]}, {fact[1]}, score {fact[2]}: {fact[3]}")
    return ["", "## Differences", "", *lines] if lines else []
