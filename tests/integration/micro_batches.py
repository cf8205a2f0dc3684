"""A streaming query without Spark: its fold and its alert store are the real ones, what numbers and repeats its
micro-batches is a seed.

Each micro-batch is folded from the state that the one before left, and stored; kills behind its write make it run
again, with the same records and the same state, by a driver that begins anew.
"""

import json
import random
from collections import Counter
from contextlib import closing

import psycopg2

from spark_jobs.stream_fold import BucketFold, BucketFolder, Plan, Record
from spark_jobs.stream_queries import QueryPlan
from spark_jobs.stream_store import PATH, Batch, StreamStore
from streaming.simulation.clock import START_US
from streaming.simulation.log import Topic
from streaming.simulation.records import DATABASE
from streaming.simulation.source import Source
from streaming.simulation.truth import key_of, said
from streaming.simulation.world import SMALL
from tests.conftest import Line
from twinpath.alert_rows import Incarnation, read_alerts
from twinpath.detection.buckets import bucket_of
from twinpath.detection.envelope import EnvelopeFormat
from twinpath.detection.replay import Replay
from twinpath.detection.rules import Rule, configured
from twinpath.rule_versions import RuleVersions, reading_of

STEPS, BUCKETS, MOST_RECORDS = 120, 4, 12
FORMAT = EnvelopeFormat(database=DATABASE)
ALERTS, COUNTS = "the alerts are those of the log", "every record is counted once"


def failed_checks(line: Line, seed: int, generation: int) -> set[str]:
    """Judge the log of a seed by every rule, in a generation in which nothing was judged before; the failed checks."""
    chance = random.Random(seed)
    source, topic = Source(chance, STEPS), Topic(chance.randint(1, 3))
    for sent in source.sent:
        topic.append(sent, START_US)
    rules = tuple(configured(name, SMALL, generation) for name in SMALL)
    dsn = line.stack.credentials.alerts_dsn(line.settings)
    for rule in rules:
        RuleVersions(dsn, PATH).activate(rule, reading_of(FORMAT))
    topic_id = f"simulated-{generation}"
    with closing(StreamStore(dsn, topic_id, len(topic.records), BUCKETS)) as store:
        _run(store, Plan(rules, BUCKETS, FORMAT, "simulated", (Incarnation(1, topic_id, {}),)), topic, chance)
    return set().union(*(_differing(line, rule, source) for rule in rules))


def _run(store: StreamStore, plan: Plan, topic: Topic, chance: random.Random) -> None:
    query = QueryPlan("-".join(rule.version for rule in plan.rules), plan.rules, None)
    states: dict[int, bytes] = {}
    offsets, ends, number = dict.fromkeys(topic.ends(), 0), topic.ends(), 0
    while offsets != ends:
        until = {one: min(ends[one], offset + chance.randint(0, MOST_RECORDS)) for one, offset in offsets.items()}
        for _ in range(chance.choice((1, 1, 2, 3))):
            store.begin(query, "nowhere")
            folds, after = _fold(plan, topic, offsets, until, states)
            store.write(query, Batch(number, "a checkpoint", until, folds, {}))
        states, offsets, number = after, until, number + 1


def _fold(
    plan: Plan, topic: Topic, offsets: dict[int, int], until: dict[int, int], states: dict[int, bytes]
) -> tuple[list[BucketFold], dict[int, bytes]]:
    """What the micro-batch comes to, and the states after it; those before it are left as they are."""
    buckets: dict[int, list[Record]] = {}
    for number, records in enumerate(topic.records):
        for one in records[offsets[number] : until[number]]:
            user_id = int(json.loads(one.key or b"{}")["user_id"])
            record = (number, one.offset, one.key, one.value, one.appended_us)
            buckets.setdefault(bucket_of(user_id, BUCKETS), []).append(record)
    folder, folds, after = BucketFolder(plan), [], dict(states)
    for bucket, ours in sorted(buckets.items()):
        fold, after[bucket] = folder.fold(bucket, ours, states.get(bucket))
        folds.append(fold)
    return folds, after


def _differing(line: Line, rule: Rule, source: Source) -> set[str]:
    """Checks of one rule that fail: alerts and counts against `replay` of what the connector meant."""
    wanted = Replay(rule)
    counts: Counter[str] = Counter()
    for sent in source.sent:
        counts["skipped"] += sent.kind == "skipped"
        counts["dead_letters"] += sent.kind == "unreadable"
        for change in sent.changes:
            wanted.apply(change)
    counts.update(wanted.counts)
    dsn = line.stack.credentials.dsn("twinpath_lab", line.settings.alerts_database)
    with closing(psycopg2.connect(dsn)) as session, session.cursor() as cursor:
        alerts = read_alerts(cursor, PATH, rule.name, rule.version)
        cursor.execute(
            "SELECT name, sum(value)::int FROM counters WHERE path = %s AND rule = %s AND rule_version = %s GROUP BY 1",
            [PATH, rule.name, rule.version],
        )
        counted = Counter(dict(cursor.fetchall()))
    stored, called_for = ({key_of(one): said(one) for one in each} for each in (alerts, wanted.alerts))
    del counted["alerts"], counted["alerts_refused"]
    return {name for name, equal in ((ALERTS, stored == called_for), (COUNTS, counted == counts)) if not equal}
