"""The section on money: what had left before the alert, by the delay of the alerts."""

from lab.report import money as words
from lab.report.html.blocks import Chart, Section, Table, Text
from lab.report.html.lines import Axis, Look, Series, line_chart, look
from lab.report.html.svg import Point
from lab.report.model import Summary
from lab.report.words import duration, percent, whole

LOW_MS, HIGH_MS = 10.0, 86_400_000.0
TICKS = (
    (10.0, "10 ms"),
    (100.0, "100 ms"),
    (1_000.0, "1 s"),
    (10_000.0, "10 s"),
    (60_000.0, "1 min"),
    (600_000.0, "10 min"),
    (3_600_000.0, "1 h"),
    (HIGH_MS, "1 day"),
)


def section(summary: Summary) -> Section | None:
    """None without a planted fraud or without a path."""
    money = summary.money
    if money is None or not money.paths:
        return None
    tables = [
        Table("How good the alerts are", words.quality_columns(money), words.quality_rows(money)),
        *(
            Table(f"How good those of {rule} are", words.quality_columns(money), rows, folded=True)
            for rule, rows in words.rule_rows(money).items()
        ),
        Table("Money that had left, by kind of fraud", words.scenario_columns(money), words.scenario_rows(money)),
        Table(words.FIRST.rstrip(":"), words.first_alert_columns(money), words.first_alert_rows(money)),
    ]
    return Section(
        "money",
        "Money: what had left before the alert",
        texts=[Text([words.load_said(money)])],
        tables=tables,
        charts=[_chart(summary)],
        notes=words.NOTES,
    )


def _chart(summary: Summary) -> Chart:
    money = summary.money
    assert money is not None  # noqa: S101  section asks first
    curve: list[Point] = [(1000 * one.delay_s, 100 * (words.share(one.cents, money) or 0.0)) for one in money.curve]
    name = f"computed: alerts of {next(iter(money.paths))}, each so late"
    lines = [Series(name, Look("computed", "circle"), curve)]
    for path, one in money.paths.items():
        figures = summary.paths.get(path)
        late = figures.latency_ms.p50 if figures else None
        if late is not None:
            left = words.share(one.left_cents, money)
            at = min(max(late, LOW_MS), HIGH_MS)
            name = f"{path}: {percent(left)}, p50 {duration(late)}"
            lines.append(Series(name, look(path), [], [(at, 100 * (left or 0.0))]))
    title = "Share of the fraud's money that had left before the alert"
    said = words.said(money)
    x = Axis("from commit of payment to commit of alert", LOW_MS, HIGH_MS, duration, log=True, ticks=TICKS)
    y = Axis("% of the fraud's money", 0, 100, whole)
    wide, narrow = line_chart("money", title, said, lines, x, y)
    columns = [*words.LEFT_COLUMNS, *words.delay_columns()]
    return Chart("money", title, said, wide, narrow, Table("Money that had left", columns, words.left_rows(money)))
