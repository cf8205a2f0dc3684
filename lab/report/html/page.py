"""`report.html` of a run folder, and its charts as files: from saved data alone, without a service or a network."""

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from lab.report.html import drills_section, experiment_sections, losses, money, sections
from lab.report.html.blocks import Section
from lab.report.html.rounds_section import rounds
from lab.report.html.svg import TEMPLATES, standing_alone
from lab.report.html.verdict import head, headline
from lab.report.saved import Saved, read_run
from lab.runs import write_whole
from twinpath.settings import ROOT

REPORT = "report.html"


def render(folder: Path, checkout: Path = ROOT) -> Path:
    """Write the page and its charts into a run folder; returns the path of the page. Drills are the checkout's."""
    saved = read_run(folder, checkout)
    parts, absent = _sections(saved)
    for chart in (chart for part in parts for chart in part.charts):
        write_whole(folder / f"{chart.name}.svg", standing_alone(chart.wide.svg))
    path = folder / REPORT
    write_whole(
        path,
        page(
            "report.html.j2",
            saved=saved,
            head=head(saved),
            sections=parts,
            absent=absent,
            ids=[part.id for part in parts],
        ),
    )
    return path


def _sections(saved: Saved) -> tuple[list[Section], list[str]]:
    """The sections that this run has data for, and the names of the others."""
    summary = saved.summary
    measured = {
        "the paths side by side": headline(summary),
        "latency": sections.latency(saved),
        "hops": sections.where_time_goes(saved),
        "the run over time": sections.over_time(saved),
        "losses": losses.section(summary),
        "money (what left before the alert)": money.section(summary),
        "agreement of the alerts": sections.agreement(summary),
        **experiment_sections.by_name(saved.experiments),
        "complexity, counted": sections.complexity(summary),
        "Airflow's runs": sections.airflow(summary),
        "temperatures": sections.temperature(summary),
        "claims": sections.claim_table(saved),
    }
    found = [part for part in measured.values() if part]
    place = 1 if measured["the paths side by side"] else 0
    found[place:place] = [sections.definition(summary), *filter(None, [rounds(summary)])]
    found.append(drills_section.section(saved.drills))
    found += [sections.environment(saved), sections.reproduce(saved), sections.limits(summary)]
    found.append(sections.raw_data(saved))
    return found, [name for name, part in measured.items() if part is None]


def page(template: str, **values: object) -> str:
    """A template with its values; every text in them is escaped, the drawings were escaped as they were drawn."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"drawing": Markup, "firm": firm, "breakable": breakable}
    return environment.get_template(template).render(**values)


def breakable(text: str) -> Markup:
    """A name that may be broken behind each underscore, for the head of a column."""
    return escape(text).replace("_", Markup("_<wbr>"))


def firm(text: str) -> str:
    """No line breaks between a figure and its unit, nor within `n = 41`."""
    return re.sub(r"(?<=\d) (?=(ms|s|min)\b)|(?<=n) (?==)|(?<=n =) ", "\N{NO-BREAK SPACE}", text)
