"""The tables of `twinpath experiment crossover`."""

from statistics import median

import msgspec

from lab.bench.result import shown
from lab.crossover import SIDES, Fit, Load, turning_consumers, turning_interval
from lab.experiments.crossover_result import CrossoverResult

CONSUMERS = (1, 2, 4)
TEMPERATURE = Load(rate=1 / 60, rows=100_000, interval_s=600)


def tables(result: CrossoverResult) -> list[str]:
    """What was measured, the model, and what it answers."""
    cdc = {
        "CDC, CPU ms/s": "cdc_cpu_ms_per_s",
        "of it its sessions": "sessions_cpu_ms_per_s",
        "CDC, CPU us/row": "cdc_cpu_us_per_row",
        "of it its sessions, us/row": "sessions_cpu_us_per_row",
        "with - without, us/row": "difference_cpu_us_per_row",
        "writers, CPU us/row": "writers_cpu_us_per_row",
        "Connect, CPU ms/s": "connect_cpu_ms_per_s",
        "Kafka, CPU ms/s": "kafka_cpu_ms_per_s",
    }
    polls = {
        "CPU ms/poll": "postgres_cpu_ms_per_poll",
        "rows returned": "rows_returned_per_poll",
        "statements ms/poll": "statements_ms_per_poll",
        "blocks/poll": "blocks_per_poll",
        "run s": "run_s",
    }
    schedule = {
        "CPU ms/s": "polling_cpu_ms_per_s",
        "interval s": "interval_s",
        "rows returned": "rows_returned_per_poll",
        "run s": "run_s",
    }
    lines = [*result.table("cdc", cdc), *result.table("polls", polls), *result.table("schedule", schedule)]
    lines += result.table("cold", {"whole s": "whole_s", "start s": "start_s"})
    return lines if result.model is None else [*lines, *_costs(result.model.fit), *_answers(result)]


def _costs(fit: Fit) -> list[str]:
    heads = ("idle, per s", "per row", "per wake-up", "per poll", "per row scanned", "per row returned")
    lines = ["", f"| cost to PostgreSQL, CPU us | {' | '.join(heads)} |", f"|---|{'---:|' * len(heads)}"]
    cdc = [_us(value) for value in (fit.cdc.idle, fit.cdc.per_row, fit.cdc.per_wakeup)]
    lines.append(f"| cdc | {' | '.join(cdc)} | - | - | - |")
    for name, one in (("safe", fit.safe), ("naive_id", fit.naive_id)):
        cells = [_us(value) for value in (one.per_poll, one.per_row_scanned, one.per_row_returned)]
        lines.append(f"| {name} | - | - | - | {' | '.join(cells)} |")
    lines += ["", "| the model against points held out | points | median error | worst |", "|---|---:|---:|---:|"]
    for side in SIDES:
        found = fit.errors[side]
        median, worst = ("-" if one is None else f"{one:.0%}" for one in (found.median, found.worst))
        lines.append(f"| {side} | {found.points} | {median} | {worst} |")
    return lines


def _idle_ms(result: CrossoverResult) -> float:
    """CPU of what CDC needs beside PostgreSQL, in ms per second, while nothing is written."""
    return sum(median(one.idle_cpu_ms_per_s) for one in result.needs.values() if one.idle_cpu_ms_per_s)


def _us(value: float) -> str:
    return shown(value * 1e6)


def _answers(result: CrossoverResult) -> list[str]:
    """From which interval on the loss-free poll costs less, for the measured rates and sizes."""
    assert result.model is not None  # noqa: S101  its caller looked
    fit = result.model.fit
    heads = [f"{count} consumer{'s' if count > 1 else ''}" for count in CONSUMERS]
    lines = [
        "",
        f"| polls (safe) cost less from this interval on | rows | {' | '.join(heads)} | CDC from, at 1 s, consumers |",
    ]
    lines.append("|---|---:|" + "---:|" * (len(heads) + 1))
    loads = [Load(rate, rows, 1.0) for rate in result.options["rates"] for rows in result.options["rows"]]
    for load in [*loads, TEMPERATURE]:
        turns = [turning_interval(fit.cdc, fit.safe, msgspec.structs.replace(load, consumers=n)) for n in CONSUMERS]
        cells = ["at none" if one is None else f"{shown(one)} s" for one in turns]
        consumers = turning_consumers(fit.cdc, fit.safe, msgspec.structs.replace(load, interval_s=1.0))
        name = f"{load.rate:g} rows/s" if load.rate >= 1 else "1 row a minute"
        lines.append(f"| {name} | {load.rows:,.0f} | {' | '.join(cells)} | {consumers} |")
    polled, captured = fit.cost("safe", TEMPERATURE), fit.cost("cdc", TEMPERATURE)
    memory = sum(one.rss_mb for one in result.needs.values())
    lines += [
        "",
        f"1 row a minute, looked at every 10 minutes in {TEMPERATURE.rows:,.0f} rows: {shown(polled * 1e3)} ms of CPU "
        f"per second by polls, {shown(captured * 1e3)} by CDC, both nothing; but Kafka and Connect would take "
        f"{shown(_idle_ms(result))} ms per second and {memory:,.0f} MB beside "
        "it, for no gain: stay with SQL.",
    ]
    return lines
