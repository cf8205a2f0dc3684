"""Each experiment in a tiny form on the shared stack: who asks the source for what, told by its own counters.

CPU means nothing at this length, and nothing here depends on it; counts of sessions, statements and rows do hold.
"""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from lab.experiments import bill, consumers
from lab.stack.stack import Stack
from tests.e2e.test_bench import COMMON, figures, left_nothing, names_of, written

__all__ = ["left_nothing"]
pytestmark = pytest.mark.e2e
TINY = {"rounds": 1, "rate": 100, "seconds": 4.0, "rows": 2_000, "interval": 1.0, "seed": 3}
COMMITS = 400
