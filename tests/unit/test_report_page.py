"""The page of a run: what is shown, what is named as not measured, and what odd data comes to."""

import csv
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import msgspec
import pytest

from lab.measure.latency import Sample, cell_text, write_samples
from lab.report.html.latency_charts import computed_share
from lab.report.html.lines import PATHS
from lab.report.html.page import render
from lab.report.html.svg import TEMPLATES, Scale, around
from lab.report.model import Summary, schema
from lab.report.saved import read_run
from lab.report.summary import build, write_files
from lab.report.tables import escaped
from tests.unit.saved_runs import BEGAN, samples_of, summary, write_run
from tests.unit.test_report import evidence, with_batch, with_stream
from twinpath.settings import ROOT

NASTY = '=cmd()|<script>alert("x")</script>'
EVERY = [
    "paths", "definition", "latency", "hops", "timeline", "losses", "money", "agreement", "airflow", "temperature",
    "claims", "drills", "environment", "reproduce", "limits", "raw",
]  # fmt: skip


class Outline(HTMLParser):
    """Sections, drawings, ids, links and text of a page; fails on a tag that is not closed."""

    VOID = frozenset({"meta", "link", "br", "wbr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sections: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.drawings = 0
        self.said: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag not in self.VOID:
            self._open.append(tag)
        self.ids += [values["id"] or ""] if "id" in values else []
        self.links += [values["href"] or ""] if "href" in values else []
        self.sections += [values["id"] or ""] if tag == "section" else []
        self.drawings += tag == "svg"
        assert tag not in {"script", "img", "iframe", "object"}

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.said.append(data)


def page_of(folder: Path) -> tuple[str, Outline]:
    text = render(folder).read_text()
    return text, Outline(text)


def absent(text: str) -> str:
    (found,) = re.findall(r"Not measured in this run: ([^<]*)\.", text)
    return found


def test_a_run_of_all_paths_has_every_section_and_each_chart_with_its_figures(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    text, outline = page_of(folder)
    assert outline.sections == EVERY
    assert outline.drawings == 2 * len(list(folder.glob("*.svg"))) == 12
    assert text.count("<figcaption") == 0
    assert text.count("The figures, and <a") == 6
    assert len(outline.ids) == len(set(outline.ids))
    assert {link[1:] for link in outline.links if link.startswith("#")} <= set(outline.ids)
    assert absent(text).startswith(
        "lateness of each side alone, by the interval of the batch job, what each side costs PostgreSQL, the price"
    )


def test_the_first_screen_says_which_path_was_first_and_by_how_much(tmp_path: Path) -> None:
    text, _ = page_of(write_run(tmp_path / "run"))
    first = text.partition("<main")[0].replace("\N{NO-BREAK SPACE}", " ")
    found = read_run(tmp_path / "run").summary.paths
    ratio = found["spark_batch"].latency_ms.p50 / found["agent"].latency_ms.p50
    assert "✔ Pass" in first
    assert f"({ratio:,.0f}x)" in first
    assert "2 processes were killed" in first


def test_links_lead_to_files_of_the_folder_and_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    text, outline = page_of(folder)
    files = [link for link in outline.links if not link.startswith(("#", "data:"))]
    assert files
    assert [link for link in files if not (folder / link).exists()] == []
    assert re.findall(r"(?:\s(?:src|srcset|action)=|url\(|@import|https?://(?!www\.w3\.org/2000/svg))", text) == []


def test_a_charts_file_stands_alone_with_its_colours(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    render(folder)
    for path in folder.glob("*.svg"):
        text = path.read_text()
        assert text.startswith("<svg ")
        assert text.count("<style>") == 1
        assert "prefers-color-scheme: dark" in text


def test_one_side_alone_gives_a_page_that_names_what_is_not_there(tmp_path: Path) -> None:
    only = {"agent": samples_of("agent")}
    text, outline = page_of(write_run(tmp_path / "run", only))
    assert {"airflow", "temperature"} & set(outline.sections) == set()
    assert "computed: a run every" not in text
    assert "Airflow&#39;s runs, temperatures" in absent(text)
    batch = {"spark_batch": samples_of("spark_batch")}
    text, outline = page_of(write_run(tmp_path / "batch", batch))
    assert "agent" not in outline.said
    assert "airflow" in outline.sections


def test_a_run_without_any_path_says_so(tmp_path: Path) -> None:
    nothing = {
        "agreement": {"reference_alerts": 0, "pairs": []},
        "losses": {},
        "faults": [],
        "goals": [],
        "money": None,
    }
    text, outline = page_of(write_run(tmp_path / "run", {}, verdict="fail", **nothing))
    assert "No path was measured." in text
    assert "✘ Fail" in text
    assert outline.sections == ["definition", "drills", "environment", "reproduce", "limits", "raw"]


def test_zero_alerts_are_told_and_nothing_is_drawn_of_them(tmp_path: Path) -> None:
    text, outline = page_of(write_run(tmp_path / "run", {"agent": [], "spark_stream": []}))
    assert "there is no latency to tell of" in text
    assert "no alert at an insert" in text
    assert {"latency", "timeline"} & set(outline.sections) == set()
    assert absent(text).startswith("latency, the run over time")


def test_one_sample_is_called_one_and_has_no_percentiles(tmp_path: Path) -> None:
    text, outline = page_of(write_run(tmp_path / "run", {"agent": samples_of("agent", 1)}))
    assert "one alert, no percentiles" in text
    assert "latency" in outline.sections
    assert not (tmp_path / "run" / "percentiles.svg").exists()


def test_money_is_told_by_path_with_its_load_and_what_is_assumed(tmp_path: Path) -> None:
    text, outline = page_of(write_run(tmp_path / "run"))
    assert "agent 68.5 %, spark_stream 68.5 %, spark_batch 90.2 % and spark_batch_naive_id 90.2 %" in text
    assert (
        "60 payments of 2.0 simulated days, in the mean 2,820 times as fast as the clock; 20.0 % of them are fraud"
        in text
    )
    assert "real seconds and is not compressed" in text
    assert "money" in outline.sections
    assert "spark_batch: 90.2 %, p50 " in (tmp_path / "run" / "money.svg").read_text()


def test_a_run_without_planted_fraud_names_money_as_not_measured(tmp_path: Path) -> None:
    text, outline = page_of(write_run(tmp_path / "run", money=None))
    assert "money" not in outline.sections
    assert "money (what left before the alert)" in absent(text)


def test_a_missed_goal_names_path_and_transactions(tmp_path: Path) -> None:
    goal = {
        "id": "log", "kind": "correctness", "text": "alerts equal replay()", "target": 0, "ok": False,
        "measured": {"agent spending": 2, "agent velocity": 0}, "transactions": {"agent spending": [17, 18]},
    }  # fmt: skip
    text, _ = page_of(write_run(tmp_path / "run", verdict="fail", goals=[goal]))
    assert "agent spending 2 (transactions 17, 18), agent velocity 0" in text


def test_what_a_class_of_operation_means_stands_below_the_table(tmp_path: Path) -> None:
    text, _ = page_of(write_run(tmp_path / "run"))
    assert "update: Of values." in text


def test_equal_latencies_draw_a_step(tmp_path: Path) -> None:
    same = [Sample("spending", BEGAN, 100.0, (None,) * 5)] * 3
    text, _ = page_of(write_run(tmp_path / "run", {"agent": same}))
    assert "p50 100 ms" in text
    assert "nan" not in (tmp_path / "run" / "staleness.svg").read_text()


def test_a_negative_latency_is_flagged_and_counts_as_it_is(tmp_path: Path) -> None:
    found = [Sample("spending", BEGAN, value, (None,) * 5) for value in (-5.0, 10.0, 20.0)]
    text, _ = page_of(write_run(tmp_path / "run", {"agent": found}))
    assert "Negative latencies of agent: 1 of 3, down to -5.0\N{NO-BREAK SPACE}ms" in text.partition("<main")[0]
    assert "p50 10 ms" in text
    assert read_run(tmp_path / "run").samples["agent"][0].latency_ms == -5.0


def test_latencies_that_are_no_numbers_are_left_out_and_counted(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    with (folder / "latencies.csv").open("a") as more:
        more.write(f"agent,spending,{BEGAN.isoformat()},nan,,,,,\n")
    text, _ = page_of(folder)
    assert "No numbers among the latencies of latencies.csv: 1; they are left out." in text


def test_a_figure_that_was_not_measured_is_a_dash_and_not_nought(tmp_path: Path) -> None:
    paths = summary({"agent": samples_of("agent")})["paths"]
    paths["agent"] |= {"cpu_s": None, "peak_rss_mb": None}
    text, _ = page_of(write_run(tmp_path / "run", {"agent": samples_of("agent")}, paths=paths))
    assert re.search(r'CPU s</th><td class="figure">-</td>', text)


def test_a_missing_file_of_latencies_leaves_the_charts_out_and_says_so(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    (folder / "latencies.csv").unlink()
    text, outline = page_of(folder)
    assert "latencies.csv is not in the folder" in text
    assert {"latency", "timeline"} & set(outline.sections) == set()
    assert "hops" in outline.sections


def test_names_from_the_data_are_escaped_in_the_page_and_its_charts(tmp_path: Path) -> None:
    found = {NASTY: [Sample(NASTY, BEGAN, 5.0, (None,) * 5), Sample(NASTY, BEGAN, 9.0, (None,) * 5)]}
    paths = {NASTY: summary({"agent": samples_of("agent")})["paths"]["agent"]}
    text, outline = page_of(write_run(tmp_path / "run", found, paths=paths, run_id=NASTY, faults=[
        {"killed": NASTY, "at": BEGAN.isoformat()}
    ]))  # fmt: skip
    assert "<script" not in text
    assert NASTY in outline.said
    assert "<script" not in (tmp_path / "run" / "staleness.svg").read_text()


def test_names_are_no_formulas_in_csv_and_no_markup_in_markdown(tmp_path: Path) -> None:
    write_samples({NASTY: [Sample("-1+2", BEGAN, -1.5, (None,) * 5)]}, tmp_path / "latencies.csv")
    with (tmp_path / "latencies.csv").open(newline="") as lines:
        (row,) = csv.DictReader(lines)
    assert (row["path"], row["rule"], row["latency_ms"]) == (f"'{NASTY}", "'-1+2", "-1.5")
    assert [cell_text(name) for name in ("agent", "@a", "\ta")] == ["agent", "'@a", "'\ta"]
    assert escaped(f"{NASTY}\n| x") == '=cmd()\\|&lt;script>alert("x")&lt;/script> \\| x'


def test_more_differences_than_a_page_bears_are_cut_with_a_word(tmp_path: Path) -> None:
    facts = [[number, "RAISED", 40, "because"] for number in range(500)]
    pair = {"a": "agent spending", "b": "replay of the topic", "only_a": facts, "only_b": [], "unexplained": 500}
    text, _ = page_of(write_run(tmp_path / "run", agreement={"reference_alerts": 1, "pairs": [pair]}))
    assert "200 of 500 differences are shown; all are in summary.json." in text


def test_many_samples_make_no_bigger_drawing(tmp_path: Path) -> None:
    many = [Sample("spending", BEGAN, 1.0 + number % 977, (None,) * 5) for number in range(20_000)]
    text, _ = page_of(write_run(tmp_path / "run", {"agent": many}))
    assert len(text) < 150_000
    assert "p99.9" in text


def test_rendering_twice_gives_the_same_page_and_leaves_nothing_beside(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    first = render(folder).read_text()
    assert render(folder).read_text() == first
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_the_computed_share_waits_uniformly_and_adds_the_run() -> None:
    assert [computed_share(1000 * at, 60.0, [20.0]) for at in (10, 20, 50, 80, 99)] == [0.0, 0.0, 50.0, 100.0, 100.0]
    assert computed_share(50_000, 60.0, [20.0, 50.0]) == 25.0


def test_a_scale_puts_round_values_on_its_axis() -> None:
    assert around([3.0, 1700.0]) == (1.0, 2000.0)
    assert around([5.0, 5.0]) == (1.0, 10.0)
    assert around([-3.0, 0.0]) == (1.0, 1000.0)
    axis = Scale(1.0, 1000.0, 0.0, 300.0, log=True)
    assert [round(axis.at(value)) for value in (-7.0, 1.0, 10.0, 1000.0)] == [0, 0, 100, 300]
    assert Scale(0.0, 90.0, 0.0, 1.0).ticks(5) == [0.0, 20.0, 40.0, 60.0, 80.0]


def luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def themes() -> Iterator[dict[str, str]]:
    for block in re.findall(r":root, svg\.chart \{(.*?)\}", (TEMPLATES / "chart.css").read_text(), re.DOTALL):
        yield dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block))


def test_every_colour_stands_out_from_the_paper_in_every_theme() -> None:
    found = list(themes())
    assert len(found) == 3
    for theme in found:
        paper = luminance(theme["paper"])
        for name, colour in theme.items():
            light, dark = sorted([paper, luminance(colour)], reverse=True)
            least = 1.0 if name in {"paper", "grid"} else 4.5 if name in {"ink", "soft", "agent", "fault"} else 3.0
            assert (light + 0.05) / (dark + 0.05) >= least, (name, colour)


def test_no_two_paths_share_a_hue_a_mark_or_a_dash() -> None:
    css = (TEMPLATES / "chart.css").read_text()
    dashes = [re.findall(rf"\.line\.{one.kind} {{ stroke-dasharray: ([^;]*);", css) for one in PATHS.values()]
    assert len({str(dash) for dash in dashes}) == len({one.mark for one in PATHS.values()}) == len(PATHS) == 6


def test_the_schema_in_the_repository_is_that_of_the_summary() -> None:
    found = (ROOT / "docs" / "summary.schema.json").read_bytes()
    assert found == schema(), "python -m lab.report.model > docs/summary.schema.json"


def test_what_the_demo_writes_becomes_a_page(tmp_path: Path) -> None:
    assert write_files(with_batch(), {"agent": samples_of("agent")}, tmp_path)
    text, outline = page_of(tmp_path)
    assert [one for one in outline.sections if one in {"airflow", "temperature", "complexity", "claims", "hops"}] == [
        "hops", "complexity", "airflow", "temperature", "claims",
    ]  # fmt: skip
    saved = read_run(tmp_path)
    assert {path: len(found) for path, found in saved.samples.items()} == {"agent": 60, "spark_batch": 2}
    assert saved.summary.claims
    assert "computed: a run every 60 s" in text
    assert "Missing" in (tmp_path / "summary.md").read_text()


@pytest.mark.parametrize("run", [evidence(), with_batch(), with_stream()], ids=["agents", "batch", "stream"])
def test_what_the_demo_writes_fits_the_schema_and_the_model(run: object) -> None:
    written = msgspec.json.encode(build(run, {}))  # type: ignore[arg-type]
    jsonschema.validate(msgspec.json.decode(written), msgspec.json.decode(schema()))
    assert msgspec.json.decode(written, type=Summary).run_id == "abc123"


def test_a_summary_that_lacks_a_stable_key_does_not_fit_the_schema() -> None:
    written = build(evidence(), {})
    for key in ("verdict", "goals", "paths", "losses", "agreement", "environment"):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(
                msgspec.json.decode(msgspec.json.encode({name: one for name, one in written.items() if name != key})),
                msgspec.json.decode(schema()),
            )
