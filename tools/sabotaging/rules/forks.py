"""Work in processes that are forked from this one, which has imported what is slow to import and is not mutated."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

Task = TypeVar("Task")
MEMORY = 12 << 30  #: bytes of addresses that one process may ask for; a mutant may ask for all
READ = 1 << 16


def preload() -> None:
    """Import everything that workers use and that does not import the package."""
    import coverage  # noqa: F401
    import hypothesis
    import numpy  # noqa: F401
    import onnx.reference  # noqa: F401
    import onnx_graphsurgeon  # noqa: F401
    import onnxruntime  # noqa: F401
    import pytest  # noqa: F401
    import rich.table  # noqa: F401

    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]  # a counter-example need not be a small one
    hypothesis.settings.register_profile(
        "sabotage", derandomize=True, database=None, deadline=None, phases=phases, print_blob=False
    )
    hypothesis.settings.load_profile("sabotage")
    if any(name.split(".")[0] == "onnx_fc2conv" for name in sys.modules):
        raise RuntimeError("the package was imported before its workers were forked, so nothing of it can be replaced")


@dataclass
class _Running:
    pid: int
    read: int
    until: float
    text: bytes = b""


def in_processes(
    tasks: Iterable[Task], work: Callable[[Task], Any], jobs: int, seconds: float
) -> Iterator[tuple[Task, Any]]:
    """Each task's result, as soon as it is there, from a process of its own; None if it took too long or died.

    Args:
        tasks: taken one after the other, as processes become free.
        work: called in the child; its result goes through JSON.
        jobs: processes at a time.
        seconds: after which a process is killed.
    """
    waiting = iter(tasks)
    running: dict[int, tuple[Task, _Running]] = {}
    try:
        while True:
            while len(running) < jobs and (task := next(waiting, None)) is not None:
                started = _start(task, work, seconds)
                running[started.read] = (task, started)
            if not running:
                return
            for read in _ready(running):
                task, child = running[read]
                part = os.read(read, READ) if time.monotonic() < child.until else b""
                child.text += part
                if not part:
                    del running[read]
                    yield task, _end(child)
    finally:
        for _, child in running.values():
            _end(child)


def _ready(running: dict[int, tuple[Any, _Running]]) -> list[int]:
    """The processes that wrote something, ended, or are out of time."""
    now = time.monotonic()
    left = max(0.0, min(child.until for _, child in running.values()) - now)
    found, _, _ = select.select(list(running), [], [], left)
    late = [read for read, (_, child) in running.items() if time.monotonic() >= child.until]
    return list(dict.fromkeys([*found, *late]))


def _start(task: Task, work: Callable[[Task], Any], seconds: float) -> _Running:
    sys.stdout.flush()
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        return _Running(pid, read, time.monotonic() + seconds)
    try:
        os.setsid()
        os.close(read)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        _silence()
        with os.fdopen(write, "w") as pipe:
            json.dump(work(task), pipe)
    finally:  # whatever happened: what was not written did not come to an end
        os._exit(0)


def _silence() -> None:
    """Nothing of what runs here is for the terminal."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)


def _end(child: _Running) -> Any:
    """What the child said, or None; it and what it started are gone afterwards."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # it has gone, or has not come as far as a group of its own
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
    os.waitpid(child.pid, 0)
    os.close(child.read)
    try:
        return json.loads(child.text)
    except ValueError:
        return None
