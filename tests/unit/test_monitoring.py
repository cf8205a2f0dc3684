"""docker/grafana: every query asks for metrics and labels that a program of ours exports."""

import json
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import CollectorRegistry

from lab.line_exporter import LineMetrics
from spark_jobs.stream_metrics import StreamMetrics
from streaming.metrics import Metrics
from tests.unit.containers import DOCKER, environment, services
from twinpath.settings import load_settings

GRAFANA = DOCKER / "grafana"
SCRAPED = {"job", "instance"}  # Prometheus adds these


def registries() -> list[CollectorRegistry]:
    return [Metrics("spending").registry, StreamMetrics().registry, LineMetrics(load_settings()).registry]


def exported() -> dict[str, set[str]]:
    """Names as they are scraped -> labels: of the collectors themselves, for some have no sample yet."""
    found: dict[str, set[str]] = {"up": set(SCRAPED)}
    for registry in registries():
        for collector in registry._collector_to_names:
            labels = set(getattr(collector, "_labelnames", ())) | SCRAPED
            for family in collector.collect():
                names = {sample.name for sample in family.samples}
                names |= {f"{family.name}_total"} if family.type == "counter" else {family.name}
                names |= {f"{family.name}_bucket"} if family.type == "histogram" else set()
                for name in names:
                    found[name] = labels | ({"le"} if name.endswith("_bucket") else set())
    return found


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GRAFANA / "dashboards" / "twinpath.json").read_text())
    return found


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((GRAFANA / "prometheus" / "alerts.yaml").read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def queries() -> list[str]:
    shown = [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])]
    return shown + [rule["expr"] for rule in rules()]


def selectors(expression: Any) -> Iterator[Any]:
    """Every selector of a parsed query."""
    if isinstance(expression, promql_parser.VectorSelector):
        yield expression
    elif isinstance(expression, promql_parser.MatrixSelector):
        yield expression.vector_selector
    else:
        for part in ("lhs", "rhs", "expr", "param"):
            yield from selectors(getattr(expression, part)) if getattr(expression, part, None) is not None else ()
        for argument in getattr(expression, "args", None) or ():
            yield from selectors(argument)


def grouping(expression: Any) -> set[str]:
    """The labels that aggregations of a query keep."""
    found: set[str] = set()
    modifier = getattr(expression, "modifier", None)
    if isinstance(expression, promql_parser.AggregateExpr) and modifier is not None:
        found |= set(modifier.labels)
    for part in ("lhs", "rhs", "expr"):
        if getattr(expression, part, None) is not None:
            found |= grouping(getattr(expression, part))
    return found.union(*(grouping(one) for one in getattr(expression, "args", None) or ()))


@pytest.mark.parametrize("query", queries())
def test_a_query_asks_for_what_is_exported(query: str) -> None:
    parsed = promql_parser.parse(query)
    asked = list(selectors(parsed))
    assert asked
    known = exported()
    for one in asked:
        assert one.name in known, f"{one.name} is exported by nobody"
        labels = {matcher.name for matcher in one.matchers.matchers}
        assert labels <= known[one.name], one.name
    assert grouping(parsed) <= set.intersection(*(known[one.name] for one in asked))


def test_an_unknown_metric_would_be_noticed() -> None:
    (one,) = selectors(promql_parser.parse("sum by (rule) (rate(twinpath_agent_recrods_total[1m])) > 0"))
    assert one.name not in exported()
    assert "twinpath_agent_records_total" in exported()
    assert exported()["twinpath_agent_decision_latency_seconds_bucket"] == {"rule", "le", "job", "instance"}


def test_what_is_to_be_alerted_has_a_rule_that_says_what_to_do() -> None:
    names = {rule["alert"] for rule in rules()}
    assert names >= {"AgentLags", "SparkStreamLags", "SlotRetainsWal", "TaskFailed", "DeadLetters", "CheckpointOld"}
    assert len(names) == len(rules())
    for rule in rules():
        assert set(rule["annotations"]) == {"summary", "action"}
        assert rule["labels"]["severity"] in {"warning", "critical"}


def test_alerts_come_before_it_is_too_late() -> None:
    bound = next(rule for rule in rules() if rule["alert"] == "SlotRetainsWal")["expr"].split("> ")[1]
    keep = next(one for one in services()["postgres"]["command"] if "max_slot_wal_keep_size" in one)
    assert ":-1GB}" in keep
    assert float(bound) < 1024**3 / 2
    old = next(rule for rule in rules() if rule["alert"] == "CheckpointOld")["expr"].split("> ")[1]
    assert float(old) == 3 * load_settings(checkpoint_every_s=60.0).checkpoint_every_s


def test_prometheus_asks_every_container_that_serves_metrics() -> None:
    config = yaml.safe_load((GRAFANA / "prometheus" / "prometheus.yaml").read_text())
    asked = {target for job in config["scrape_configs"] for one in job["static_configs"] for target in one["targets"]}
    serving = {f"{name}:{environment(one).get('METRICS_PORT')}" for name, one in services().items()}
    assert asked == {one for one in serving if not one.endswith(":None")}
    assert [name for name in config["rule_files"] if not (GRAFANA / "prometheus" / name).exists()] == []
    jobs = {job["job_name"] for job in config["scrape_configs"]}
    assert jobs == {"agents", "spark-stream", "line"}


def test_grafana_finds_its_source_and_its_dashboard() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    used = {panel["datasource"]["uid"] for panel in dashboard()["panels"] if panel["type"] != "row"}
    assert used == {source["uid"]}
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/twinpath.yaml").read_text())["providers"]
    mounts = {mount.split(":")[1]: mount.split(":")[0] for mount in services()["grafana"]["volumes"]}
    assert mounts[provider["options"]["path"]] == "./grafana/dashboards"
    assert mounts["/etc/grafana/provisioning"] == "./grafana/provisioning"


def test_panels_do_not_overlap_and_have_names_and_units() -> None:
    taken: set[tuple[int, int]] = set()
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + across, place["y"] + down) for across in range(place["w"]) for down in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
        assert panel["title"]
        assert panel["type"] == "row" or panel["fieldConfig"]["defaults"]["unit"]
