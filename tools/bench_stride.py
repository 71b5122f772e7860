"""Time of denser answers, ``--stride S``, against running the plain conversion on shifted copies, in one run.

``python -m tools.bench_stride`` prints a Markdown table. Shift-and-stitch (Long, Shelhamer, Darrell, 2015) gives such
answers without any change of the network: of an effective stride E the plain conversion runs on the (E / S)^2 copies
of the image that begin 0, S, 2 S, .. pixels further on, and the grids are interleaved. Times are medians of runs that
take turns (A B C A B C ..), in default sessions, relative to one run of the plain conversion. Where the network is
exact, the answers of both are compared.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

import onnx_fc2conv as fc2conv
from tools.benchmarks.tables import print_head, print_row

MODELS = Path(__file__).parent.parent / "models"
SECONDS = 3.0  #: that all runs of one way take, about
COLUMNS = ("model", "image", "stride", "answers", "`--stride`", "shift-and-stitch", "saved")


@dataclass(frozen=True)
class Case:
    """One model to measure.

    Attributes:
        name: in the table.
        make: builds or reads it.
        size: of the image, in pixels.
        strides: that are asked for.
    """

    name: str
    make: Callable[[], ModelProto]
    size: tuple[int, int]
    strides: tuple[int, ...]


def stored(name: str) -> Callable[[], ModelProto]:
    """A model of ``models/``."""
    return lambda: onnx.load(MODELS / f"{name}.onnx")


def residual(widths: Sequence[int] = (32, 64, 128, 256)) -> ModelProto:
    """A residual classifier of 64x64 pixels: two padded 3x3 Convs a stage, strides 2 by Conv, ten classes."""
    rng, value, channels = np.random.default_rng(0), "x", 3
    arrays: dict[str, np.ndarray] = {}
    nodes: list[NodeProto] = []

    def conv(source: str, units: int, kernel: int, stride: int) -> str:
        name = f"c{len(nodes)}"
        shape = (units, channels if source == value else units, kernel, kernel)
        arrays[f"{name}.w"] = (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        pads, strides = [kernel // 2] * 4, [stride] * 2
        nodes.append(helper.make_node("Conv", [source, f"{name}.w"], [name], name=name, strides=strides, pads=pads))
        return name

    def then(op_type: str, *inputs: str) -> str:
        name = f"v{len(nodes)}"
        nodes.append(helper.make_node(op_type, list(inputs), [name], name=name))
        return name

    for units in widths:
        first = then("Relu", conv(value, units, 3, 2))
        value, channels = then("Relu", then("Add", conv(first, units, 3, 1), conv(value, units, 1, 2))), units
    arrays["fc"] = rng.standard_normal((channels, 10)).astype(np.float32)
    nodes.append(helper.make_node("GlobalAveragePool", [value], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    nodes.append(helper.make_node("Gemm", ["flat", "fc"], ["y"], name="fc"))
    graph = helper.make_graph(
        nodes,
        "residual",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 64, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(v, k) for k, v in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


CASES = [
    Case("reference_detector.onnx", stored("reference_detector"), (512, 1024), (16, 8, 4)),
    Case("reference_detector_padded.onnx", stored("reference_detector_padded"), (512, 1024), (16, 8, 4)),
    Case("residual classifier", residual, (256, 256), (8, 4)),
]


class Way:
    """One way to have the answers, loaded."""

    def __init__(self, model: ModelProto, image: np.ndarray) -> None:
        self._session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        self._name, self._image = self._session.get_inputs()[0].name, image

    def run(self) -> np.ndarray:
        """The answers for the whole image."""
        return self._one(self._image)

    def stitched(self, ratio: Sequence[int], stride: Sequence[int]) -> np.ndarray:
        """The answers for shifted copies, interleaved."""
        parts = {
            (p, q): self._one(np.ascontiguousarray(self._image[:, :, p * stride[0] :, q * stride[1] :]))
            for p, q in itertools.product(*map(range, ratio))
        }
        counts = [sum(parts[_phase(i, p)].shape[2 + i] for p in range(r)) for i, r in enumerate(ratio)]
        first = parts[0, 0]
        found = np.empty((*first.shape[:2], *counts), first.dtype)
        for (p, q), part in parts.items():
            found[:, :, p :: ratio[0], q :: ratio[1]] = part
        return found

    def _one(self, image: np.ndarray) -> np.ndarray:
        (found,) = self._session.run(None, {self._name: image})
        return np.asarray(found)


def _phase(axis: int, p: int) -> tuple[int, int]:
    return (p, 0) if axis == 0 else (0, p)


def medians(ways: Sequence[Callable[[], object]]) -> list[float]:
    """Median seconds of each; the runs take turns."""
    for way in ways:
        way()
    measured: list[list[float]] = [[] for _ in ways]
    end = time.perf_counter() + SECONDS * len(ways)
    while time.perf_counter() < end or len(measured[0]) < 3:
        for way, found in zip(ways, measured, strict=True):
            start = time.perf_counter()
            way()
            found.append(time.perf_counter() - start)
    return [statistics.median(found) for found in measured]


def rows(case: Case) -> Iterator[tuple[str, ...]]:
    """The table's rows of one case."""
    model = case.make()
    plain = fc2conv.convert(model, verify=False)
    shape = [d.dim_value or 1 for d in plain.model.graph.input[0].type.tensor_type.shape.dim[:2]]
    image = np.random.default_rng(1).standard_normal((*shape, *case.size)).astype(np.float32)
    sparse = Way(plain.model, image)
    for i, asked in enumerate(case.strides):
        result = fc2conv.convert(model, stride=asked, verify=False)
        dense, stride = Way(result.model, image), result.geometry.stride
        ratio = [e // s for e, s in zip(plain.geometry.stride, stride, strict=True)]
        answers = dense.run()
        if result.report.verdict == "exact":
            np.testing.assert_allclose(answers, sparse.stitched(ratio, stride), rtol=1e-4, atol=1e-4)
        once, at_once, shifted = medians(
            [sparse.run, dense.run, lambda way=sparse, r=ratio, s=stride: way.stitched(r, s)]  # type: ignore[misc]
        )
        grid = "x".join(map(str, answers.shape[2:]))
        head = (case.name, "x".join(map(str, case.size))) if i == 0 else ("", "")
        steps = f"{'x'.join(map(str, plain.geometry.stride))} -> {'x'.join(map(str, stride))}"
        yield (*head, steps, grid, f"{at_once / once:.1f}", f"{shifted / once:.1f}", f"{shifted / at_once:.1f} x")


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
