"""Backbones with the trained size in their shapes, each beside a twin that has none, and a loop oracle over both.

The twin computes the same with other operators (a Gather for a channel shuffle, SpaceToDepth for a Reshape) or with
shapes that follow the image's, so it runs at any size. The oracle runs the twin on an enlarged image, and the FC of the
original, as NumPy, on every window of the map that comes out. Weights and images are small integers, so both must agree
bit for bit.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

import onnx_fc2conv as fc2conv

from ..networks import integers, session

UNITS = 3


def array(value: Any, name: str) -> np.ndarray:
    """A tuple stands for seeded small integers, a list for int64 numbers."""
    if isinstance(value, tuple):
        return integers(value, sum(map(ord, name)))
    return np.asarray(value, np.int64) if isinstance(value, list) else np.asarray(value)


@dataclass(frozen=True)
class Baked:
    """A backbone that carries the trained size.

    Attributes:
        text: nodes from ``x`` to ``map``, as in ``onnx.parser``.
        twin: nodes that compute the same at any size.
        weights: initializers of both; see ``array``.
        image: shape of ``x``; a first entry ``"N"`` is a symbolic batch.
        rewritten: names of the nodes that must be rewritten; ``None``: not looked at.
        grown: the size that it is tried at.
    """

    text: str
    twin: str
    weights: Mapping[str, Any] = field(default_factory=dict)
    image: tuple[Any, ...] = (1, 2, 8, 12)
    rewritten: Sequence[str] | None = None
    grown: tuple[int, ...] = (16, 20)
    opset: int = 17
    elem_type: int = TensorProto.FLOAT

    def part(self, text: str, output: str = "map", image: tuple[Any, ...] | None = None) -> ModelProto:
        """Some nodes behind ``x`` as a model."""
        nodes = parser.parse_graph("g (float x) => (float y) {\n" + text + "\n}").node
        used = {name for node in nodes for name in node.input}
        dims = (self.image[0], UNITS) if output == "y" else None
        dtype = helper.tensor_dtype_to_np_dtype(self.elem_type)
        arrays = {k: array(v, k) for k, v in self.weights.items() if k in used}
        arrays = {
            k: v.astype(dtype) if v.dtype == np.float32 and k not in ("scales", "roi") else v for k, v in arrays.items()
        }
        graph = helper.make_graph(
            nodes,
            "backbone",
            [helper.make_tensor_value_info("x", self.elem_type, image or self.image)],
            [helper.make_tensor_value_info(output, self.elem_type, dims)],
            [numpy_helper.from_array(v, k) for k, v in arrays.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)

    def pixels(self, size: Sequence[int] | None = None, batch: int = 1) -> np.ndarray:
        """An image of small integers."""
        channels_and_size = self.image[1:] if size is None else (self.image[1], *size)
        values = integers((batch, *channels_and_size), 99, -2, 4)
        return values.astype(helper.tensor_dtype_to_np_dtype(self.elem_type))

    def map_of(self, text: str, image: np.ndarray) -> np.ndarray:
        """What some nodes make of an image."""
        free: tuple[Any, ...] = tuple(None for _ in image.shape)
        (found,) = session(self.part(text, image=free)).run(["map"], {"x": image})
        return np.asarray(found)

    @property
    def window(self) -> tuple[int, ...]:
        """Shape of the map at the trained size, without the batch."""
        batch = self.image[0] if isinstance(self.image[0], int) else 1
        (found,) = session(self.part(self.text, image=self.image)).run(["map"], {"x": self.pixels(batch=batch)})
        return tuple(found.shape[1:])

    @property
    def fc(self) -> np.ndarray:
        """The FC's weight, ``[units, features]``."""
        return integers((UNITS, int(np.prod(self.window))), 5).astype(self.pixels().dtype)

    @property
    def model(self) -> ModelProto:
        """The classifier."""
        proto = self.part(self.text + "\n[flatten] flat = Flatten (map)\n[fc] y = MatMul (flat, fc)", "y")
        proto.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(self.fc.T), "fc"))
        onnx.checker.check_model(proto, full_check=True)
        return proto

    def expected(self, image: np.ndarray, step: Sequence[int]) -> np.ndarray:
        """The original's FC on every window of the twin's map, ``step`` cells apart."""
        enlarged, window, weight = self.map_of(self.twin, image), self.window, self.fc
        spatial = [n - w for n, w in zip(enlarged.shape[2:], window[1:], strict=True)]
        grid = [n // s + 1 for n, s in zip(spatial, step, strict=True)]
        answers = np.empty((len(image), UNITS, *grid), weight.dtype)
        for cell in itertools.product(*map(range, grid)):
            cut = tuple(slice(i * s, i * s + w) for i, s, w in zip(cell, step, window[1:], strict=True))
            answers[(slice(None), slice(None), *cell)] = (
                enlarged[(slice(None), slice(None), *cut)].reshape(len(image), -1) @ weight.T
            )
        return answers

    def check(self) -> fc2conv.Result:
        """Convert, and compare with the loop."""
        np.testing.assert_array_equal(self.map_of(self.twin, self.pixels()), self.map_of(self.text, self.pixels()))
        result = fc2conv.convert(self.model, sizes=[self.grown])
        assert result.report.verified
        image = self.pixels(self.grown)
        (found,) = session(result.model).run(None, {"x": image})
        np.testing.assert_array_equal(found, self.expected(image, [1] * len(self.grown)))
        assert max(found.shape[2:]) > 1
        if self.rewritten is not None:
            said = [line.split(":")[0] for line in result.report.unbaked]
            assert said == [name for name in self.rewritten]
        return result
