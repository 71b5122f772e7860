"""``dense``: all answers of a large image in one pass, against its windows one by one.

(a) every image crop through the original, (b) every feature crop through the original's head, one by one and as one
batch, behind one run of its backbone. Where windows are many, some are run and the time is scaled, as the table says.
Beside it how many times as many operations the crops take, and how fast the pass is: the time that its operations take
at the rate of onnxruntime's own matrix product on this machine, in per cent of its time. All take turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto

from onnx_fc2conv import Grid, convert

from .. import bench_windows
from . import flops
from .models import inference_cases
from .plan import Plan, answer, require_same, session
from .tables import Table, duration
from .timing import medians

COLUMNS = ("model", "image", "windows", "way", "runs", "time", "times one pass", "operations", "of the product's rate")
DETECTOR = Path(__file__).parents[2] / "models" / "reference_detector.onnx"
SAMPLE = 16  #: windows of a large network that are run
SAMPLED_FROM = 5e9  #: operations; windows of smaller networks are all run
IMAGES = {"AlexNet-like": 480, "VGG16-like": 992}
SMALL_IMAGES = {"AlexNet-like": 160, "VGG16-like": 160}


def run(plan: Plan) -> list[Table]:
    """Measure the detector and two large networks."""
    about = (__doc__ or "").partition("\n\n")[2].replace("\n", " ").strip()
    table = Table("bench dense", about, COLUMNS)
    large = (160, 192) if plan.small else (512, 1024)
    measure("reference detector", onnx.load(DETECTOR), large, plan, table)
    cases = inference_cases(plan.small)
    for name, side in (SMALL_IMAGES if plan.small else IMAGES).items():
        measure(name, cases[name].made(), (side, side), plan, table)
    return [table]


def measure(name: str, model: ModelProto, size: tuple[int, int], plan: Plan, table: Table) -> None:
    """The rows of one model."""
    result = convert(model, verify=False)
    grid: Grid = result.geometry.grid
    exact = result.report.verdict == "exact"
    count = int(np.prod(grid.grid_size(size)))
    once, pass_ = flops.of(model, tuple(grid.trained_size)), flops.of(result.model, size)
    sampled = min(count, SAMPLE) if once * count > SAMPLED_FROM else count
    crops = Crops(model, result.model, result.report.heads[0].feature_map, grid, size, sampled)
    crops.require_same_answers(name, exact)
    found = medians(crops.ways(), plan.rounds)
    some, note = (str(count), "") if sampled == count else (f"{sampled} of {count}", ", scaled")
    heads = f"1 + {some} heads{note}"
    runs = {"one pass": "1", "image crops": f"{some}{note}", "feature crops": heads, "feature crops, one batch": heads}
    base, backbone = found["one pass"], found.pop("backbone")
    table_size = "x".join(map(str, size))
    for way, seconds in found.items():
        if way == "image crops":
            seconds *= count / sampled
        elif way != "one pass":
            seconds = backbone + seconds * count / sampled
        first = way == "one pass"
        begin = (name, table_size, str(count)) if first else ("", "", "")
        work = f"{once * count / pass_:.3g} x" if way == "image crops" else f"{pass_ / 1e9:.3g} G" if first else ""
        share = pass_ / flops.rate() / base
        cells = (duration(seconds), f"{seconds / base:.3g}", work, f"{100 * share:.0f}%" if first else "")
        figures = {"seconds": seconds, "ratio": seconds / base, "sampled": 1 if first else sampled, "windows": count}
        about = {"pass": pass_, "crops": once * count, "rate": flops.rate(), "share": share, "pairs": plan.rounds}
        table.add((*begin, way, runs[way], *cells), model=name, way=way, size=size, operations=about, **figures)


class Crops:
    """One image, and the ways to its answers."""

    def __init__(
        self,
        original: ModelProto,
        converted: ModelProto,
        feature_map: str,
        grid: Grid,
        size: tuple[int, int],
        sampled: int,
    ) -> None:
        """Load all models, and choose so many windows, evenly among all."""
        backbone, head = bench_windows.split(original, feature_map)
        for dim, letter in zip(backbone.graph.input[0].type.tensor_type.shape.dim[2:], "hw", strict=False):
            dim.dim_param = letter
        self.whole, self.one_pass = session(original), session(converted)
        self.backbone, self.head = session(backbone), session(head)
        channels = original.graph.input[0].type.tensor_type.shape.dim[1].dim_value
        self.picture = np.random.default_rng(1).standard_normal((1, channels, *size), np.float32)
        self.grid = grid
        count = int(np.prod(grid.grid_size(size)))
        self.chosen = sorted({i * count // sampled for i in range(sampled)})

    def ways(self) -> dict[str, Callable[[], object]]:
        """What is timed; cutting the windows out counts."""
        return {
            "one pass": self.in_one_pass,
            "image crops": self.by_image_crops,
            "backbone": self.features,
            "feature crops": lambda: self.by_features(False),
            "feature crops, one batch": lambda: self.by_features(True),
        }

    def in_one_pass(self) -> np.ndarray:
        """Answers [N, K, GH, GW]."""
        return answer(self.one_pass, {self.one_pass.get_inputs()[0].name: self.picture})

    def by_image_crops(self) -> np.ndarray:
        """Answers [windows, K] of the chosen windows."""
        name = self.whole.get_inputs()[0].name
        cut = self._cut(self.picture, self.grid.trained_size, self.grid.stride)
        return np.concatenate([answer(self.whole, {name: c}) for c in cut])

    def features(self) -> np.ndarray:
        """The feature map of the whole image."""
        self._map = answer(self.backbone, {self.backbone.get_inputs()[0].name: self.picture})
        return self._map

    def by_features(self, together: bool) -> np.ndarray:
        """The same from the feature map, which is there already."""
        name = self.head.get_inputs()[0].name
        cut = self._cut(self._map, self.grid.window, (1,) * len(self.grid.window))
        if together:
            return answer(self.head, {name: np.concatenate(list(cut))})
        return np.concatenate([answer(self.head, {name: c}) for c in cut])

    def require_same_answers(self, name: str, exact: bool) -> None:
        """All ways give the same; image crops only where the conversion is exact.

        Raises:
            SystemExit: one does not.
        """
        grid = self.in_one_pass()
        expected = grid.reshape(grid.shape[1], -1).T[self.chosen]
        self.features()
        require_same(f"{name}, feature crops", self.by_features(False), expected)
        require_same(f"{name}, feature crops in one batch", self.by_features(True), expected)
        if exact:
            require_same(f"{name}, image crops", self.by_image_crops(), expected)

    def _cut(self, values: np.ndarray, window: Sequence[int], stride: Sequence[int]) -> Iterator[np.ndarray]:
        wanted = set(self.chosen)
        columns = (values.shape[3] - window[1]) // stride[1] + 1
        for i in sorted(wanted):
            y, x = i // columns * stride[0], i % columns * stride[1]
            yield np.ascontiguousarray(values[:, :, y : y + window[0], x : x + window[1]])
