"""A picture in one pass, against its windows one by one: the image's crops, and the feature map's. In one run.

``python -m tools.bench_windows`` prints a Markdown table for the detector of dresses on 512 x 1024 pixels. What cuts
the windows is timed too. Times are medians of rounds in which all ways take turns, in default sessions on the CPU.
Every way gives the same answers, which is checked first.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto, helper

from onnx_fc2conv import Grid, convert
from tools.benchmarks.tables import print_head, print_row

MODEL = Path(__file__).parent.parent / "models" / "dress_64x128.onnx"
SIZE = (512, 1024)
ROUNDS = 9
CLOSE = 1e-4  #: of a probability; each way sums in another order
COLUMNS = ("way", "runs", "time", "times one pass")

Way = Callable[[np.ndarray], np.ndarray]  #: a picture [1, C, H, W] -> answers [windows]


def session(model: ModelProto) -> ort.InferenceSession:
    """A default session on the CPU."""
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def split(model: ModelProto, value: str) -> tuple[ModelProto, ModelProto]:
    """The model up to a value, and from there on; the rows of weights that a part does not need go with it."""
    at = next(i for i, node in enumerate(model.graph.node) if value in node.output) + 1
    parts = []
    for nodes, source, target in (
        (model.graph.node[:at], model.graph.input[0].name, value),
        (model.graph.node[at:], value, model.graph.output[0].name),
    ):
        used = {name for node in nodes for name in node.input}
        weights = [t for t in model.graph.initializer if t.name in used]
        ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in (source, target)]
        graph = helper.make_graph(nodes, "part", ends[:1], ends[1:], weights)
        parts.append(helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version))
    return parts[0], parts[1]


def crops(values: np.ndarray, window: Sequence[int], stride: Sequence[int]) -> Iterator[np.ndarray]:
    """All windows of an array [1, C, H, W], row by row, as arrays of their own."""
    for y in range(0, values.shape[2] - window[0] + 1, stride[0]):
        for x in range(0, values.shape[3] - window[1] + 1, stride[1]):
            yield np.ascontiguousarray(values[:, :, y : y + window[0], x : x + window[1]])


def ways(model: ModelProto) -> dict[str, tuple[Way, str]]:
    """Each way to all answers, and how often it runs what: name -> (way, runs)."""
    result = convert(model, sizes=[SIZE])
    grid: Grid = result.geometry.grid
    backbone, head = map(session, split(model, result.report.heads[0].feature_map))
    whole, one_pass = session(model), session(result.model)
    count = int(np.prod(grid.grid_size(SIZE)))
    name = model.graph.input[0].name
    inner = head.get_inputs()[0].name

    def run(what: ort.InferenceSession, values: np.ndarray, key: str = name) -> np.ndarray:
        found: np.ndarray = what.run(None, {key: values})[0].reshape(-1)
        return found

    def image(picture: np.ndarray) -> Iterator[np.ndarray]:
        return crops(picture, grid.trained_size, grid.stride)

    def features(picture: np.ndarray) -> Iterator[np.ndarray]:
        return crops(backbone.run(None, {name: picture})[0], grid.window, (1, 1))

    batch = np.concatenate
    return {
        "one pass of the converted model": (lambda p: run(one_pass, p), "1"),
        "feature-map crops, one by one": (
            lambda p: batch([run(head, c, inner) for c in features(p)]),
            f"1 + {count} heads",
        ),
        "feature-map crops, one batch": (
            lambda p: run(head, batch(list(features(p))), inner),
            f"1 + 1 head of {count}",
        ),
        "image crops, one by one": (lambda p: batch([run(whole, c) for c in image(p)]), f"{count}"),
        "image crops, one batch": (lambda p: run(whole, batch(list(image(p)))), f"1 of {count}"),
    }


def rows(model: ModelProto, rounds: int = ROUNDS) -> list[tuple[str, ...]]:
    """The table's rows.

    Raises:
        SystemExit: two ways give different answers.
    """
    all_ways = ways(model)
    channels = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    picture = np.random.default_rng(0).random((1, channels, *SIZE), np.float32)
    answers = {name: way(picture) for name, (way, _) in all_ways.items()}
    first = next(iter(answers.values()))
    for name, found in answers.items():
        if found.shape != first.shape or np.abs(found - first).max() > CLOSE:
            raise SystemExit(f"{name}: other answers than in one pass")
    seconds: dict[str, list[float]] = {name: [] for name in all_ways}
    for _ in range(rounds):
        for name, (way, _) in all_ways.items():
            start = time.perf_counter()
            way(picture)
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    base = next(iter(medians.values()))
    return [
        (name, all_ways[name][1], f"{1000 * median:.3g} ms", f"{median / base:.3g}") for name, median in medians.items()
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"default: {ROUNDS}")
    rounds = parser.parse_args(argv).rounds
    print_head(COLUMNS)
    for row in rows(onnx.load(MODEL), rounds):
        print_row(row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
