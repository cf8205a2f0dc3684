"""Those who judge: the alert store that they need, each rule's agent, and its consumer group."""

from collections.abc import Callable, Mapping
from functools import partial

import msgspec
import psycopg2
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from lab.doctor.hop import RESYNC, RESYNC_NOTE, UP, Check, Finding, broken, holds
from lab.doctor.services import last_words, well
from lab.doctor.view import View
from lab.stack import process
from twinpath.detection.rules import RULES
from twinpath.errors import ChangeLogUnavailable, first_line
from twinpath.kafka_topic import LIBRDKAFKA, TIMEOUT_S

STORE = {  # what an agent needs of the alert store: relation -> privileges
    "alert_log": "SELECT, INSERT",
    "dead_letters": "SELECT, INSERT",
    "sources": "SELECT, INSERT",
    "rule_generations": "SELECT, INSERT",
    "rule_activations": "SELECT, INSERT",
    "checkpoints": "SELECT, INSERT, UPDATE",
    "counters": "SELECT, INSERT, UPDATE",
    "state_buckets": "SELECT, INSERT, UPDATE, DELETE",
    "active_rules": "SELECT",
    "alerts_current": "SELECT",
}
KNOWN = "SELECT topic_id FROM sources WHERE topic = %s ORDER BY incarnation DESC LIMIT 1"


def _store(view: View) -> Finding:
    """The way of an agent: its DSN, its role, its tables; and that they belong to this topic."""
    settings = view.settings
    given = bool(settings.alerts_dsn.get_secret_value())
    try:
        with view.cursor(view.stack.credentials.alerts_dsn(settings)) as cursor:
            cursor.execute("SELECT name, to_regclass(name) IS NOT NULL FROM unnest(%s) AS name", [list(STORE)])
            missing = [name for name, there in cursor.fetchall() if not there]
            if missing:
                note = f"what they held is gone; {UP} makes them anew, and twinpath rebuild RULE judges the whole log"
                return broken(f"the alert store has no {', '.join(missing)}", note=note)
            denied = []
            for name, rights in STORE.items():
                for right in rights.split(", "):
                    cursor.execute("SELECT has_table_privilege(%s, %s)", [name, right])
                    denied += [f"{right} on {name}"] if cursor.fetchone() == (False,) else []
            if denied:
                return broken(f"the role of the alert store lacks {', '.join(denied)}")
            cursor.execute(KNOWN, [settings.topic])
            known = cursor.fetchone()
    except psycopg2.OperationalError as error:
        note = "unset ALERTS_DSN in your shell and in .env, or correct it" if given else ""
        return broken(f"alert store: {first_line(error)}", note=note)
    topic_id, _ = view.topic
    if known is not None and known[0] != topic_id:
        evidence = f"the alert store knows topic {settings.topic} as {known[0]}, Kafka as {topic_id}: it was made anew"
        return broken(evidence, RESYNC, RESYNC_NOTE)
    return holds(f"{len(STORE)} tables and views, {'ALERTS_DSN' if given else settings.alerts_database}")


def _agent(rule: str, view: View) -> Finding:
    agents = view.stack.agents()
    name = agents.name(rule)
    if process.running(view.stack.home, name) is None:
        last = last_words(view, name)
        mend, note = (RESYNC, RESYNC_NOTE) if RESYNC in last else (UP, "")
        return broken(f"does not run; {last}", mend, note)
    return well(view, name, agents.url(rule), partial(agents.healthy, rule))


class Member(msgspec.Struct, frozen=True):
    """A member of a consumer group: its lasting name or client id, its host, the partitions that it was given."""

    name: str
    host: str
    partitions: list[int]


def _members(view: View, group: str) -> tuple[str, list[Member]]:
    """State and members of a consumer group."""
    client = AdminClient({"bootstrap.servers": view.settings.kafka_bootstrap_servers}, logger=LIBRDKAFKA)
    try:
        future = client.describe_consumer_groups([group], request_timeout=TIMEOUT_S)[group]
        found = future.result(timeout=TIMEOUT_S + 1)
    except KafkaException as error:
        raise ChangeLogUnavailable(f"group {group}: {error.args[0].str()}") from None
    except TimeoutError:
        raise ChangeLogUnavailable(f"group {group}: no answer") from None
    members = []
    for one in found.members:
        ours = [place.partition for place in one.assignment.topic_partitions if place.topic == view.settings.topic]
        members.append(Member(one.group_instance_id or one.client_id, one.host, sorted(ours)))
    return found.state.name, members


def _group(rule: str, view: View) -> Finding:
    """Every partition is read by an agent, and how far each rule's checkpoints are."""
    group = view.settings.group(rule)
    state, members = _members(view, group)
    _, partitions = view.topic
    lag, version, due = _lag(rule, view)
    unread = sorted(set(range(partitions)) - {number for one in members for number in one.partitions})
    if unread:
        evidence = f"group {group} is {state} with {len(members)} members: nobody reads partitions {unread}"
        return broken(evidence, note="a group that was just joined settles within seconds; then look again")
    ours = view.stack.agents().name(rule)
    for one in members:
        behind = [number for number in one.partitions if lag.get(number, 0) > 0]
        if behind and not one.name.startswith(ours):
            evidence = f"partitions {behind} of group {group} were given to {one.name} on {one.host}, which judges none"
            return broken(evidence, "", f"stop that program, or give it another group: {group} belongs to the agents")
    return holds(f"group {group}, version {version}, {sum(lag.values())} records past its checkpoint{due}")


def _lag(rule: str, view: View) -> tuple[Mapping[int, int], str, str]:
    """Records past the checkpoint by partition, the version that is folded, and what is due instead."""
    standing = view.stack.rebuilder().standing(rule)
    version = standing.active.rule_version if standing.active else standing.wanted.version
    with view.cursor(view.stack.credentials.alerts_dsn(view.settings)) as cursor:
        cursor.execute(
            "SELECT partition, coalesce(next_offset, 0) FROM checkpoints "
            "WHERE path = 'agent' AND rule = %s AND rule_version = %s AND topic_id = %s",
            [rule, version, view.topic[0]],
        )
        known = dict(cursor.fetchall())
    due = f"; {standing.changed}: {UP} begins the other version" if standing.changed else ""
    return {number: max(0, end - known.get(number, 0)) for number, end in view.ends.items()}, version, due


STORE_THERE = Check(
    "alert store",
    "it does not answer, refuses the password (`ALERTS_DSN`), lacks a table or a right, or belongs to another topic",
    "`twinpath up`; `unset ALERTS_DSN`, or correct it; another topic: `twinpath resync`",
    _store,
    needs=("topic",),
)


def _of_rule(rule: str) -> tuple[Check, Check]:
    look_agent: Callable[[View], Finding] = partial(_agent, rule)
    look_group: Callable[[View], Finding] = partial(_group, rule)
    agent = Check(
        f"agent {rule}",
        "it ended (the evidence has its last line), is halted, or does not turn its loop any more",
        "`twinpath up`; halted: `kill -CONT` and its process id",
        look_agent,
    )
    group = Check(
        f"group {rule}",
        "nobody reads a partition, or another program took one",
        "wait for the group to settle; stop the other program",
        look_group,
        needs=("alert store", f"agent {rule}"),
    )
    return agent, group


OF_RULES = [check for rule in RULES for check in _of_rule(rule)]
