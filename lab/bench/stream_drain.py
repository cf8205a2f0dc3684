"""How fast the Spark stream comes to the end of a full topic (P9), beside its parts and other forms of it.

Each form is a spark-submit of its own on two local cores. Its first micro-batches, in which the JVM compiles and Python
workers start, are dropped.
"""

import subprocess
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec

from lab.bench.bed import Bed, Segment
from lab.bench.drain import reset
from lab.bench.envelopes import Stream, publish
from lab.bench.result import Figure, Result
from lab.bench.rounds import in_turn
from lab.stack.java import java
from lab.stack.spark import job_environment
from twinpath.detection.rules import RULES
from twinpath.errors import ServiceFault
from twinpath.settings import LOOPBACK, ROOT

PART, GROWTH = "drain", "growth"
LIMIT, WHOLE, ONE_RULE = "decode", "state and sink", "state and sink, one rule"
FORMS: dict[str, str] = {
    "read": "the Kafka source to nowhere",
    LIMIT: "and the envelope decoded in Python: the limit",
    "state": "and buckets folded with state, to nowhere",
    WHOLE: "the job as it is: and alerts stored",
    ONE_RULE: "the job with --rules spending",
    "from_json": "the Kafka source and Spark's from_json instead, to nowhere",
    "transform": "as state, by transformWithStateInPandas",
    "users": "as state, a group for each user instead of for each bucket",
}
FORMS_OF = {
    "drain": ("read", LIMIT, "state", WHOLE),
    "forms": ("state", WHOLE, ONE_RULE, "from_json", "transform", "users"),
}
"""What each part of the bench drains by."""
RULES_OF = {WHOLE: list(RULES), ONE_RULE: ["spending"]}
COLD_BATCHES = 2
PARTITIONS = 2
GROWN_BUCKETS = (64, 1024)
Batches = list[dict[str, float]]


def compare(
    bed: Bed, result: Result, stream: Stream, rounds: int, per_batch: int, parts: Collection[str] = tuple(FORMS_OF)
) -> None:
    """P9's drains, all over one topic, by the forms of the given parts."""
    forms = [form for form in FORMS if any(form in FORMS_OF[part] for part in parts)]
    with bed.segment(topic_partitions=PARTITIONS, stream_max_records=per_batch) as segment:
        _fill(bed, segment, stream)
        for number, form in in_turn(forms, rounds):
            with bed.metered() as usage:
                found = _whole(segment, RULES_OF[form]) if form in RULES_OF else _form(segment, form)
            figures = rates(found["batches"]) | {"state_mb": round(found["state_bytes"] / 2**20, 1)}
            result.add(PART, form, number, figures, usage)
            mark = " (disturbed)" if usage.disturbed else ""
            bed.progress.say(f"{PART}, round {number}, {form}: {figures['events_per_s']} events/s{mark}")
    result.variants |= {f"{PART}: {form}": FORMS[form] for form in forms}
    result.warm_up["each drain"] = f"its first {COLD_BATCHES} micro-batches"


def grow(bed: Bed, result: Result, users: int, rounds: int, per_batch: int, seed: int) -> None:
    """State that grows to many users of one payment each, by number of buckets: the last micro-batch tells."""
    for buckets in GROWN_BUCKETS:
        with bed.segment(topic_partitions=PARTITIONS, stream_max_records=per_batch, stream_buckets=buckets) as segment:
            _fill(bed, segment, Stream(users, users, in_turn=True, alert_share=0.0, seed=seed))
            for number in range(1, rounds + 1):
                with bed.metered() as usage:
                    found = _form(segment, "state")
                whole = [one for one in found["batches"] if one["records"] >= per_batch * 0.9] or found["batches"]
                figures: dict[str, Figure] = {
                    "users": users,
                    "first_batch_s": whole[min(COLD_BATCHES, len(whole) - 1)]["seconds"],
                    "last_batch_s": whole[-1]["seconds"],
                    "state_mb": round(found["state_bytes"] / 2**20, 1),
                }
                result.add(GROWTH, f"{buckets} buckets", number, figures, usage)
                bed.progress.say(f"{GROWTH}, round {number}, {buckets} buckets: {figures}")


def rates(batches: Batches) -> dict[str, Figure]:
    """Events per second of the warm micro-batches, between their beginnings and ends."""
    warm = batches[COLD_BATCHES:] or batches
    events, seconds = sum(one["records"] for one in warm), sum(one["seconds"] for one in warm)
    return {"events": events, "events_per_s": round(events / seconds) if seconds else None}


def _fill(bed: Bed, segment: Segment, stream: Stream) -> None:
    with bed.progress.step(f"{stream.events} envelopes") as step:
        step.done, step.detail = "written", f"{publish(stream, segment.settings):.0f} bytes each"


def _form(segment: Segment, form: str) -> dict[str, Any]:
    lines = _submit(segment, "stream_limits.py", "--what", form)
    return dict(msgspec.json.decode(next(line for line in lines if line.startswith('{"what"'))))


def _whole(segment: Segment, rules: list[str]) -> dict[str, Any]:
    """The job itself, on an empty alert store and without a checkpoint; every event is accounted for."""
    reset(segment)
    with tempfile.TemporaryDirectory() as folder:
        alerts = segment.stack.credentials.alerts_dsn(segment.settings)
        given = {"ALERTS_DSN": alerts, "STREAM_CHECKPOINTS": folder}
        lines = _submit(segment, "fraud_stream.py", "--until-empty", "--rules", ",".join(rules), **given)
    found = [msgspec.json.decode(line) for line in lines if line.startswith("{") and '"event": "micro-batch"' in line]
    judged, wanted = (
        segment.rows("SELECT coalesce(sum(value), 0)::bigint FROM counters WHERE name = 'judged'")[0][0],
        segment.arrived() * len(rules),
    )
    if judged != wanted:
        raise ServiceFault(f"the stream judged {judged} of {wanted} events: a figure of a wrong result is none")
    batches = [{"records": one["records"], "seconds": one["seconds"]["triggerExecution"]} for one in found]
    return {"batches": batches, "state_bytes": found[-1]["state_bytes"]}


def _submit(segment: Segment, job: str, *arguments: str, **more: str) -> list[str]:
    command = ["spark-submit", str(ROOT / "spark_jobs" / job), *arguments]
    done = subprocess.run(command, env=environment(segment, more), capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServiceFault(f"{' '.join(command)} failed: {(done.stdout + done.stderr).strip()[-1500:]}")
    return [*done.stdout.splitlines(), *done.stderr.splitlines()]


def environment(segment: Segment, more: Mapping[str, str]) -> dict[str, str]:
    """What a job is told, on loopback."""
    return {
        **job_environment(segment.settings),
        "JAVA_HOME": str(Path(java()).parents[1]),
        "SPARK_LOCAL_IP": LOOPBACK,
        **more,
    }
