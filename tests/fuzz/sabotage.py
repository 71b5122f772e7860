"""Ways to break the package, as each would be by a mistake; a worker process may be told to begin with one."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import numpy_helper

from onnx_fc2conv import cli, heads, pipeline
from onnx_fc2conv.cli import command
from onnx_fc2conv.model_io import staging

Set = Callable[[Any, str, Any], None]  #: ``monkeypatch.setattr``, or ``setattr`` in a process that ends soon


def swapped_axes(put: Set) -> None:
    """Height and width change places in every kernel that is made."""
    assemble = pipeline.assemble

    def broken(model: Any, rewrite: Any) -> Any:
        made = assemble(model, rewrite)
        before = {t.name: t.SerializeToString() for t in model.proto.graph.initializer}
        for tensor in made.graph.initializer if hasattr(made, "graph") else made.proto.graph.initializer:
            if len(tensor.dims) == 4 and before.get(tensor.name) != tensor.SerializeToString():
                values = numpy_helper.to_array(tensor)
                values = values.swapaxes(2, 3).reshape(values.shape)
                tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))
        return made

    put(pipeline, "assemble", broken)


def partial_file(put: Set) -> None:
    """The target is written before the work is done, and then the work fails."""

    def broken(stage: Any) -> None:
        stage.target.write_bytes(stage.model.read_bytes()[:100])
        raise OSError("disk full")

    put(staging, "_publish", broken)


def stray_file(put: Set) -> None:
    """What was written on the way stays."""
    put(staging.shutil, "rmtree", lambda *a, **b: None)


def wrong_error(put: Set) -> None:
    """A room raises what it should not."""
    put(heads, "find", _raises)


def _raises(*_: Any) -> None:
    raise ValueError("no idea")


def traceback(put: Set) -> None:
    """Nobody catches what was raised."""
    put(heads, "find", _raises)
    put(command, "guarded", lambda program, work: work())


def two_lines(put: Set) -> None:
    """The one line on stderr is two."""

    def broken(program: str, message: str, code: int) -> int:
        print(f"{program}: {message}\nand more", file=sys.stderr)
        return code

    put(command, "say", broken)


def odd_exit_code(put: Set) -> None:
    """An exit code that no page lists."""
    put(cli, "main", lambda argv: 7)


TURN = "ONNX_FC2CONV_TURN"  #: environment variable: a file whose length says how many processes there were


def in_turn() -> None:
    """The first process hangs, the second dies, the third asks for too much memory, and others do their work."""
    with open(os.environ[TURN], "ab") as file:
        turn = file.tell()
        file.write(b".")
    ways: list[Callable[..., Any]] = [
        lambda *_: time.sleep(1000),
        lambda *_: os.kill(os.getpid(), signal.SIGSEGV),
        lambda *_: bytearray(2**40),
    ]
    if turn < len(ways):
        heads.find = ways[turn]
