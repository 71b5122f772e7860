"""What is made wrong: a model, how it was converted, and the checks that judge the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto

import onnx_fc2conv as fc2conv
from onnx_fc2conv import model_io, pipeline, reverse
from onnx_fc2conv.settings import ReverseSettings

from . import networks

MODELS = Path(__file__).parents[3] / "models"
#: Of trained ones, and of alexnet_mini, units sleep on random images, so that a mistake in them shows on others only.
AWAKE = ("conv1d", "conv3d", "lenet", "reference_detector", "reference_detector_padded", "two_heads_prelu")
#: What is less than a step of a quantised type shows only in how many values go to the next one, so it takes many.
MANY = ((24, 20),)
Sizes = dict[str, tuple[int, ...]]  #: of each image, in pixels


@dataclass(frozen=True)
class Subject:
    """A model, and how it is converted.

    Attributes:
        name: in tables.
        original: the model, or its path.
        options: of ``convert``; with ``form`` those of ``convolution_to_matmul``.
        sizes: to verify at; default: those that ``verify`` chooses.
    """

    name: str
    original: ModelProto | Path
    options: Mapping[str, Any]
    sizes: tuple[tuple[int, ...], ...] = ()

    @cached_property
    def source(self) -> ModelProto:
        """The model before conversion."""
        return onnx.load(self.original) if isinstance(self.original, Path) else self.original

    @cached_property
    def right(self) -> ModelProto:
        """The model after it, not checked yet."""
        convert: Callable[..., Any] = fc2conv.convolution_to_matmul if "form" in self.options else fc2conv.convert
        proto: ModelProto = convert(self.source, verify=False, **self.options).model
        return proto

    def verify(self, model: ModelProto) -> None:
        """Run the checks.

        Raises:
            Fc2ConvError: they do not accept the model.
        """
        if "form" not in self.options:
            fc2conv.verify(self.source, model, sizes=self.sizes, **self.options)
            return
        settings = ReverseSettings(**self.options)
        read = reverse._read(*model_io.load(self.source), settings)
        lowering = reverse._lowered(read, settings, lambda _: None)
        reverse._checked(read, lowering, model, settings, pipeline.no_progress)

    @property
    def enlarged(self) -> Iterator[Sizes]:
        """The trained size, and three larger ones at which every cell that there is can be told from the others."""
        free = _free(self.source, self.right)
        props = {prop.key: prop.value for prop in self.right.metadata_props}
        stride: tuple[int, ...] = ()
        if "onnx_fc2conv.geometry" in props:
            grids = fc2conv.Geometry.from_json(props["onnx_fc2conv.geometry"]).outputs.values()
            stride = tuple(max(n) for n in zip(*(grid.stride for grid in grids), strict=True))
        for steps in ((0, 0, 0), (1, 2, 1), (3, 1, 2), (4, 4, 1)) if free else ((0, 0, 0),):
            sizes: Sizes = {}
            for name, trained in free.items():
                grown = stride or (1,) * len(trained)
                sizes[name] = tuple(t + n * s for t, n, s in zip(trained, steps, grown, strict=False))
            yield sizes


def _free(original: ModelProto, converted: ModelProto) -> Sizes:
    """The trained sizes of the images whose sizes were freed, or were free: 9 where nothing says how large."""
    before = {i.name: i.type.tensor_type.shape.dim for i in original.graph.input}
    found = {}
    for image in converted.graph.input:
        dims = image.type.tensor_type.shape.dim
        axes = [i for i, dim in enumerate(dims) if i > 1 and not dim.dim_value]
        if axes:
            found[image.name] = tuple(before[image.name][i].dim_value or 9 for i in axes)
    return found


SUBJECTS = [
    *(Subject(name, MODELS / f"{name}.onnx", {}) for name in AWAKE),
    Subject("mlp", networks.MLP, {}),
    Subject("normed", networks.NORMED, {}),
    Subject("two heads", networks.TWO_HEADS, {}),
    Subject("branches", networks.BRANCHES, {}),
    Subject("pooled", networks.POOLED, {}),
    Subject("pooled, kept global", networks.POOLED, {"global_pool": "keep"}),
    Subject("channels last, opset 11", networks.CHANNELS_LAST, {}),
    Subject("groups, dilations, two maps", networks.BACKBONE, {}),
    Subject("padded", networks.PADDED, {}),
    Subject("a map as output", networks.WITH_MAP, {}),
    Subject("selecting", networks.SELECTING, {}),
    Subject("two images", networks.SIAMESE, {}),
    Subject("quantised", networks.QUANTISED, {}, MANY),
    Subject("--output rows", networks.TWO_HEADS, {"output": "rows"}),
    Subject("--output mean", networks.TWO_HEADS, {"output": "mean"}),
    Subject("--output max", networks.TWO_HEADS, {"output": "max"}),
    Subject("--stride 1", networks.MLP, {"stride": 1}),
    Subject("--stride 1, padded", networks.PADDED, {"stride": 1}),
    Subject("--static", networks.MLP, {"static": True}),
    Subject("--static, branches", networks.BRANCHES, {"static": True}),
    Subject("--static, quantised", networks.QUANTISED, {"static": True}),
    Subject("--max-channels 8", networks.TWO_HEADS, {"max_channels": 8, "max_kernel": 2}),
    Subject("--form matmul", networks.CONVOLUTIONS, {"form": "matmul"}),
    Subject("--form dense", networks.CONVOLUTIONS, {"form": "dense", "sizes": ((9, 8),)}),
]
