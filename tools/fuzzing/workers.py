"""Processes that do the cases, one after the other, and that may crash, hang and run out of memory while doing so."""

from __future__ import annotations

import multiprocessing as mp
import os
import resource
import shutil
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from . import cases
from .cases import Plan
from .trial import Verdict

GIB = 2**30
START = 120.0  #: seconds that a process may take to start

Prelude = Callable[[], None]  #: run in each process before its first case; the tests break the package with it


def serve(pipe: Connection, memory: int, folder: Path, prelude: Prelude | None) -> None:
    """What a process does until nobody asks any more."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if prelude is not None:
        prelude()
    pipe.send(None)
    while True:
        try:
            plan = pipe.recv()
        except EOFError:
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            verdict = cases.perform(plan, folder)
        except MemoryError:
            verdict = Verdict("unjudged", "too little memory to judge it")
        except Exception:
            verdict = Verdict("judge failed", traceback.format_exc()[-1500:])
        pipe.send(verdict)


class Worker:
    """One process; it is started anew when it has died or had to be killed."""

    def __init__(self, folder: Path, limit: float, memory: int = 4 * GIB, prelude: Prelude | None = None) -> None:
        self.folder, self.limit = folder, limit
        self._memory, self._prelude = memory, prelude
        self._process: Any = None
        self.plan: Plan | None = None
        self.number = -1
        self.until = 0.0

    def start(self) -> None:
        """Start the process."""
        context = mp.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        arguments = (theirs, self._memory, self.folder, self._prelude)
        self._process = context.Process(target=serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()
        if not self.pipe.poll(START):
            raise RuntimeError("a worker did not start")
        self.pipe.recv()

    def ask(self, number: int, plan: Plan) -> None:
        """Give it a case."""
        if self._process is None:
            self.start()
        self.number, self.plan, self.until = number, plan, time.monotonic() + self.limit
        self.pipe.send(plan)

    def answer(self) -> Verdict | None:
        """The verdict, if there is one; that it crashed or hung, if it did; ``None`` if it is still at it."""
        try:
            if self.pipe.poll():
                verdict: Verdict = self.pipe.recv()
                return verdict
        except (EOFError, OSError):
            self._process.join(5)
            code = self._process.exitcode
            self.stop()
            name = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
            return Verdict("crash", f"the process died: {name}")
        if time.monotonic() > self.until:
            self.stop()
            return Verdict("hang", f"not done within {self.limit:g} s")
        return None

    def do(self, plan: Plan) -> Verdict:
        """Do a case and wait for it."""
        self.ask(-1, plan)
        while (verdict := self.answer()) is None:
            wait([self.pipe], max(self.until - time.monotonic(), 0) + 0.01)
        return verdict

    def stop(self) -> None:
        """Kill the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self.pipe.close()
            self._process = None


def all_of(workers: list[Worker], plans: Iterator[tuple[int, Plan]]) -> Iterator[tuple[Worker, Verdict, float]]:
    """Do every case; the worker, what came of it, and how many seconds it took. The worker is idle meanwhile."""
    idle, busy = list(workers), list[Worker]()
    while True:
        while idle and (following := next(plans, None)) is not None:
            worker = idle.pop()
            worker.ask(*following)
            busy.append(worker)
        if not busy:
            return
        wait([w.pipe for w in busy], max(min(w.until for w in busy) - time.monotonic(), 0) + 0.01)
        for worker in list(busy):
            verdict = worker.answer()
            if verdict is not None:
                busy.remove(worker)
                yield worker, verdict, worker.limit - (worker.until - time.monotonic())
                idle.append(worker)


def shrunk(
    worker: Worker, plan: Plan, verdict: Verdict, tries: int = 60, seconds: float = 90.0
) -> tuple[Plan, Verdict]:
    """A smaller plan that fails in the same way: whatever can be left out, one thing after the other, is left out."""
    until = time.monotonic() + seconds
    smaller = True
    while smaller:
        smaller = False
        for candidate in cases.reductions(plan):
            tries -= 1
            if tries < 0 or time.monotonic() > until:
                return plan, verdict
            found = worker.do(candidate)
            if (found.kind, cases.reason(found.text)[:60]) == (verdict.kind, cases.reason(verdict.text)[:60]):
                plan, verdict, smaller = candidate, found, True
                break
    return plan, verdict


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
