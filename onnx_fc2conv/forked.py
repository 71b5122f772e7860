"""A call that may end the process, in a process of its own.

Libraries in C++ abort where an assertion of theirs fails, or are ended by the system where they touch memory that is
not theirs. Nothing catches that, so what is known to do it runs in a forked child, which has everything in its memory
and gives back bytes. Where there is no safe fork (it is used on Linux only), or the system refuses one, it runs here.
"""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable

SECONDS = 300.0  #: after which a child is given up; it may have inherited a lock that another thread held
BLOCK = 2**16
GIVEN, RAISED, NO_MEMORY = b"=", b"!", b"m"  #: what an answer begins with


class Died(Exception):
    """The child ended by a signal; its name is the message."""


class Raised(Exception):
    """What the child's call raised, as text."""


def forked(work: Callable[[], bytes]) -> bytes:
    """What a call gives, from a child.

    Args:
        work: the call; it must not depend on other threads, and what it changes stays in the child.

    Raises:
        Died: it ended its process.
        Raised: it raised something.
        MemoryError: it did so, or there was no memory for it.
    """
    if sys.platform != "linux":
        return work()
    read, write = os.pipe()
    try:
        with warnings.catch_warnings():  # Python 3.12 warns of forks where there are threads: this one takes no locks
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
    except OSError:
        os.close(read)
        os.close(write)
        return work()
    if not pid:
        _child(work, write)
    os.close(write)
    answer = None
    try:
        answer = _all_of(read)
    finally:
        os.close(read)
        if answer is None:
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    if answer is None:
        return work()
    return _result(answer, status)


def _child(work: Callable[[], bytes], write: int) -> None:
    """Never returns."""
    try:
        import fcntl  # which other systems have not

        write = fcntl.fcntl(write, fcntl.F_DUPFD, 3)  # it is 1 or 2 where these are closed
        faulthandler.disable()  # it has a stream of its own
        nowhere = os.open(os.devnull, os.O_RDWR)  # libraries print which assertion failed
        for stream in (1, 2):
            os.dup2(nowhere, stream)
        try:
            answer = GIVEN + work()
        except BaseException as e:  # whatever it is, it goes back as text
            answer = (NO_MEMORY if isinstance(e, MemoryError) else RAISED) + str(e).encode("utf-8", "replace")
        with os.fdopen(write, "wb") as pipe:
            pipe.write(answer)
    finally:
        os._exit(0)


def _all_of(read: int) -> bytes | None:
    """What a child writes until its end; ``None`` if that does not come."""
    until, parts = time.monotonic() + SECONDS, list[bytes]()
    while select.select([read], [], [], max(0.0, until - time.monotonic()))[0]:
        part = os.read(read, BLOCK)
        if not part:
            return b"".join(parts)
        parts.append(part)
    return None


def _result(answer: bytes, status: int) -> bytes:
    if os.WIFSIGNALED(status):
        raise Died(signal.Signals(os.WTERMSIG(status)).name)
    kind, text = answer[:1], answer[1:]
    if kind == GIVEN:
        return text
    if kind == NO_MEMORY:
        raise MemoryError(text.decode())
    raise Raised(text.decode())
