"""How the writers of a drill find rows, and how they are fenced."""

import threading

from lab.drills.work import Target
from lab.drills.writers import RECENT_ROWS, Gate, Rows
from lab.operations import LoggedRow
from tests.conftest import wait_for


def rows(*ids: int, cents: int = 10_00) -> list[LoggedRow]:
    return [LoggedRow(tx_id, 7, cents, 0) for tx_id in ids]


def test_no_row_is_found_before_one_was_committed() -> None:
    assert [Rows().find(Target(among, 0.5)) for among in ("recent", "old", "loud")] == [None, None, None]


def test_recent_old_and_loud_rows_are_where_they_should_be() -> None:
    found = Rows()
    found.add(rows(*range(1, 1_001)))
    found.add(rows(1_001, cents=500_01))
    found.add(rows(1_002, cents=500_00))
    assert [found.find(Target("loud", nth)) for nth in (0.0, 0.999)] == [1_001, 1_001]
    assert [found.find(Target("recent", nth)) for nth in (0.0, 0.999)] == [1_003 - RECENT_ROWS, 1_002]
    assert [found.find(Target("old", nth)) for nth in (0.0, 0.999)] == [1, 601]


def test_a_closed_gate_waits_for_those_inside_and_lets_nobody_in() -> None:
    gate = Gate()
    inside, leave, closed, second = (threading.Event() for _ in range(4))

    def first_writer() -> None:
        with gate.inside():
            inside.set()
            leave.wait(10)

    def second_writer() -> None:
        with gate.inside():
            second.set()

    def close() -> None:
        gate.close()
        closed.set()

    threads = [threading.Thread(target=first_writer), threading.Thread(target=close)]
    threads[0].start()
    inside.wait(10)
    threads[1].start()
    wait_for(lambda: not gate.is_open, "the gate is closed to newcomers")
    threads.append(threading.Thread(target=second_writer))
    threads[2].start()
    assert not closed.wait(0.05), "somebody is still inside"
    leave.set()
    assert closed.wait(10)
    assert not second.wait(0.05), "nobody passes a closed gate"
    gate.open()
    assert second.wait(10)
    for one in threads:
        one.join()
