"""A call in a child: what it gives, what it raises, and that it may end its process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from onnx_fc2conv import forked
from onnx_fc2conv.forked import Died, Raised

PARENT = os.getpid()


def elsewhere() -> bytes:
    """Whether it runs in another process than the test."""
    return str(os.getpid() != PARENT).encode()


def raises(error: BaseException) -> Callable[[], bytes]:
    def work() -> bytes:
        raise error

    return work


@pytest.mark.parametrize("length", [0, 1, 2**16, 2**22])
def test_what_it_gives_comes_back_whole(length: int) -> None:
    """Pipes hold 64 KiB."""
    assert forked.forked(lambda: bytes(i % 251 for i in range(256)) * (length // 256) + b"x" * (length % 256)) == (
        bytes(i % 251 for i in range(256)) * (length // 256) + b"x" * (length % 256)
    )


def test_it_runs_in_another_process_and_leaves_nothing() -> None:
    before = set(os.listdir("/proc/self/fd"))
    kept: list[int] = []
    assert forked.forked(elsewhere) == b"True"
    assert forked.forked(lambda: str(kept.append(1)).encode()) == b"None"
    assert not kept
    assert set(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV, signal.SIGKILL])
def test_it_may_end_its_process(number: signal.Signals, capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> bytes:
        os.write(2, b"Assertion failed")
        os.kill(os.getpid(), number)
        return b""

    with pytest.raises(Died, match=number.name):
        forked.forked(work)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("error", [ValueError("such \u00fc"), KeyError("k"), SystemExit("out")], ids=repr)
def test_what_it_raises_comes_back_as_text(error: BaseException) -> None:
    with pytest.raises(Raised) as caught:
        forked.forked(raises(error))
    assert str(caught.value) == str(error)


def test_a_lack_of_memory_is_one_here() -> None:
    with pytest.raises(MemoryError, match="no more"):
        forked.forked(raises(MemoryError("no more")))


def test_a_child_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a fork that inherited a lock; then the call is made here."""
    monkeypatch.setattr(forked, "SECONDS", 0.2)

    def work() -> bytes:
        if os.getpid() != PARENT:
            time.sleep(60)
        return elsewhere()

    assert forked.forked(work) == b"False"


def test_where_there_is_no_fork_the_call_is_made_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> int:
        raise OSError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(forked.sys, "platform", "win32")
        assert forked.forked(elsewhere) == b"False"
    monkeypatch.setattr(forked.os, "fork", refused)
    assert forked.forked(elsewhere) == b"False"


@pytest.mark.parametrize("closed", ["", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_standard_streams_may_be_closed(closed: str, tmp_path: Path) -> None:
    """Then a pipe gets their numbers."""
    code = "from onnx_fc2conv.forked import forked\nopen('out', 'wb').write(forked(lambda: b'x' * 99999))\n"
    (tmp_path / "code.py").write_text(code)
    command = f"{sys.executable} code.py {closed}"
    assert subprocess.run(command, shell=True, cwd=tmp_path, check=False).returncode == 0
    assert (tmp_path / "out").read_bytes() == b"x" * 99999


def test_an_interruption_ends_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(forked.select, "select", interrupted)
    with pytest.raises(KeyboardInterrupt):
        forked.forked(lambda: str(time.sleep(60)).encode())
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
