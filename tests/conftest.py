"""What all tests share: which of them coverage is measured on, and how many threads a session has.

Tracing costs more than most tests do, and the rows of a table go through the same lines over and over. Measured are all
tests that are no rows, and of a table's rows those whose name says something that none above them says. Random models
and the corpus are left out: what they happen to reach is no claim that a case covers it, and the corpus is not always
there. So the figure is a lower bound of the true one, and the same in every run.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import onnxruntime
import pytest

WORD = re.compile(r"[A-Za-z_]{2,}")
UNMEASURED = re.compile(r"_random|_corpus")


class OneThread(onnxruntime.SessionOptions):
    """Options of a session that computes in one thread: the workers share the cores, and the models are small."""

    def __init__(self) -> None:
        super().__init__()
        self.intra_op_num_threads = 1


def pytest_configure() -> None:
    """In this process; the commands that tests start have sessions as users have them."""
    onnxruntime.SessionOptions = OneThread


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that are not measured."""
    said: dict[Any, set[str]] = defaultdict(set)
    for item in items:
        test, _, row = item.nodeid.partition("[")
        words = {*WORD.findall(row)}
        if UNMEASURED.search(test) or (row and words <= said[test]):
            item.add_marker("no_cover")
        said[test] |= words
