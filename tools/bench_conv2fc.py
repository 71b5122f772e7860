"""Time and memory of convolutions as matrix products, against the same convolutions as they are, in one run.

``python -m tools.bench_conv2fc`` prints a Markdown table: for each form the bytes of the weights, the peak memory of a
process that loads and runs the model beyond that of one that only imports onnxruntime, and the time of one image
relative to the original. Times are medians of runs that take turns (A B C A B C ..), in default sessions.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnx_fc2conv import Unliftable, convolution_to_matmul
from onnx_fc2conv.report import percent
from tools.benchmarks.tables import print_head, print_row, size

MODELS = Path(__file__).parent.parent / "models"
FORMS = ("Conv", "matmul", "dense")
LARGEST = 2**28  #: bytes; what is larger is estimated only
#: what the refusal of a matrix that is too large says of it
NUMBERS = re.compile(r"matrix of (\d+ x \d+) takes .* bytes, ([\d.]+)% of it zeros; .* take (\d+) bytes")
SECONDS = 1.0  #: that all runs of one form take, about
COLUMNS = ("model", "form", "matrix", "zeros", "weights", "peak memory", "time")


@dataclass(frozen=True)
class Case:
    """One model to measure.

    Attributes:
        name: in the table.
        make: builds or reads it.
    """

    name: str
    make: Callable[[], ModelProto]


def conv(channels: int, units: int, size: int, kernel: int, stride: int = 1, group: int = 1) -> ModelProto:
    """A model of one padded Conv on a square map."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((units, channels // group, kernel, kernel)).astype(np.float32) / kernel
    bias = rng.standard_normal(units).astype(np.float32)
    node = helper.make_node(
        "Conv", ["x", "w", "b"], ["y"], name="conv", strides=[stride] * 2, pads=[kernel // 2] * 4, group=group
    )
    graph = helper.make_graph(
        [node],
        "conv",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


def stored(name: str) -> Callable[[], ModelProto]:
    """A model of ``models/``."""
    return lambda: onnx.load(MODELS / f"{name}.onnx")


CASES = [
    Case("1x1, 256 to 256, 28x28", lambda: conv(256, 256, 28, 1)),
    Case("3x3, 64 to 64, 56x56", lambda: conv(64, 64, 56, 3)),
    Case("3x3 stride 2, 64 to 128, 56x56", lambda: conv(64, 128, 56, 3, 2)),
    Case("7x7 stride 2, 3 to 64, 224x224", lambda: conv(3, 64, 224, 7, 2)),
    Case("depthwise 3x3, 128, 28x28", lambda: conv(128, 128, 28, 3, 1, 128)),
    Case("5x5, 1 to 8, 28x28", lambda: conv(1, 8, 28, 5)),
    Case("lenet.onnx", stored("lenet")),
    Case("reference_detector_padded.onnx", stored("reference_detector_padded")),
]


@dataclass(frozen=True)
class Made:
    """One form of a case; without a model it is an estimate."""

    form: str
    model: ModelProto | None
    matrix: str
    zeros: float
    weights: int


def made(case: Case, form: str) -> Made:
    """The case in one form, or what it would be if that is too large."""
    model = case.make()
    if form == "Conv":
        return Made(form, model, "", 0.0, sum(len(t.raw_data) for t in model.graph.initializer))
    try:
        result = convolution_to_matmul(model, form=form, max_bytes=LARGEST if form == "dense" else 2**31)
    except Unliftable as e:
        ((matrix, zeros, total),) = NUMBERS.findall(e.reason)
        return Made(form, None, matrix, float(zeros) / 100, int(total))
    rows = result.report.products
    largest = max(rows, key=lambda p: p.count * p.rows * p.columns)
    matrix = f"{f'{largest.count} of ' if largest.count > 1 else ''}{largest.rows} x {largest.columns}"
    entries = sum(p.count * p.rows * p.columns for p in rows)
    zeros = sum(p.zeros * p.count * p.rows * p.columns for p in rows) / entries
    return Made(form, result.model, matrix, zeros, sum(len(t.raw_data) for t in result.model.graph.initializer))


def feeds(session: ort.InferenceSession) -> dict[str, np.ndarray]:
    """One random image."""
    rng = np.random.default_rng(1)
    shapes = {i.name: [d if isinstance(d, int) else 1 for d in i.shape] for i in session.get_inputs()}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def times(models: Sequence[ModelProto]) -> list[float]:
    """Median seconds of each model; the runs take turns."""
    sessions = [ort.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]) for m in models]
    inputs = [feeds(s) for s in sessions]
    measured: list[list[float]] = [[] for _ in sessions]
    end = time.perf_counter() + SECONDS * len(sessions)
    while time.perf_counter() < end or len(measured[0]) < 5:
        for session, given, found in zip(sessions, inputs, measured, strict=True):
            start = time.perf_counter()
            session.run(None, given)
            found.append(time.perf_counter() - start)
    return [statistics.median(found) for found in measured]


#: Linux counts the peak per process, and starts again when 5 is written to clear_refs
PEAK = """
import sys, numpy, onnxruntime

def status(key):
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(key))

with open("/proc/self/clear_refs", "w") as f:
    f.write("5")
before = status("VmRSS")
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
shapes = {i.name: [d if isinstance(d, int) else 1 for d in i.shape] for i in session.get_inputs()}
for _ in range(3):
    session.run(None, {name: numpy.ones(shape, numpy.float32) for name, shape in shapes.items()})
print((status("VmHWM") - before) * 1024)
"""


def peak(model: ModelProto) -> int:
    """Bytes of memory that a process needs at most to load and run a model, beyond what it needs anyway."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.onnx")
        onnx.save(model, path)
        done = subprocess.run([sys.executable, "-c", PEAK, path], capture_output=True, text=True, check=True)
    return int(done.stdout)


def rows(case: Case, forms: Sequence[str] = FORMS) -> list[tuple[str, ...]]:
    """The table's rows of one case."""
    all_forms = [made(case, form) for form in forms]
    built = [m.model for m in all_forms if m.model is not None]
    seconds = dict(zip((m.form for m in all_forms if m.model is not None), times(built), strict=True))
    found: list[tuple[str, ...]] = []
    for m in all_forms:
        name = case.name if m.form == forms[0] else ""
        if m.model is None:
            found.append((name, m.form, m.matrix, percent(m.zeros), size(m.weights), "not built", ""))
            continue
        ratio = f"{seconds[m.form] / seconds[forms[0]]:.2f}"
        zeros = percent(m.zeros) if m.zeros else ""
        found.append((name, m.form, m.matrix, zeros, size(m.weights), size(peak(m.model)), ratio))
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", metavar="TEXT", default="", help="measure only cases whose name holds TEXT")
    arguments = parser.parse_args(argv)
    print_head(COLUMNS)
    for case in CASES:
        if arguments.only in case.name:
            for row in rows(case):
                print_row(row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
