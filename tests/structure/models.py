"""Small models in odd structures, and their judge: the original file itself, run by onnxruntime on every image crop.

The backbone is one unpadded Conv whose kernel equals its stride, so that windows of the map are those of the image.
Weights and images are small integers: answers are compared bit for bit.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, SparseTensorProto, helper, numpy_helper, parser

import onnx_fc2conv as fc2conv

from ..networks import integers, session

STRIDE, SIZE = 2, (6, 4)
LINEAR = {"w": (12, 3), "b": (3,)}


def build(
    text: str,
    weights: Mapping[str, Any] = LINEAR,
    functions: Sequence[str] = (),
    *,
    outputs: Mapping[str, Sequence[int | str]] | None = None,
    opset: int = 17,
    ir_version: int = 10,
    domain_version: int = 1,
    batch: int | str = "N",
) -> ModelProto:
    """A model of input ``x`` [N, 1, 6, 4], feature map ``map`` [N, 2, 3, 2] and the nodes of ``text`` behind it.

    Args:
        text: nodes as in ``onnx.parser``.
        weights: initializers; a shape stands for seeded small integers.
        functions: model-local functions as in ``onnx.parser``, of domain ``l``.
        outputs: dims of the graph outputs; default: ``y`` [N, 3].
        opset: of the standard domain.
        ir_version: of the file.
        domain_version: of domain ``l``.
        batch: declared batch size.
    """
    nodes = parser.parse_graph(
        "g (float x) => (float y) { [conv] map = Conv <strides = [2, 2]> (x, backbone)\n" + text + "}"
    ).node
    arrays = {"backbone": integers((2, 1, 2, 2), seed=7, low=-1, high=2)}
    for i, (name, value) in enumerate(weights.items()):
        arrays[name] = integers(value, seed=11 + i) if isinstance(value, tuple) else np.asarray(value)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, [batch, 1, *SIZE])],
        [helper.make_tensor_value_info(n, 1, list(d)) for n, d in (outputs or {"y": [batch, 3]}).items()],
        [numpy_helper.from_array(a, n) for n, a in arrays.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    if functions:
        opsets.append(helper.make_opsetid("l", domain_version))
    model = helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)
    model.functions.extend(parser.parse_function(f) for f in functions)
    return model


def assert_converted(model: ModelProto, outputs: Sequence[str] = ("y",), batch: int = 2) -> fc2conv.Result:
    """Convert with all checks, and compare every cell with the original on its image crop."""
    before = model.SerializeToString()
    result = fc2conv.convert(model)
    assert model.SerializeToString() == before
    onnx.checker.check_model(result.model, full_check=True)
    image = integers((batch, 1, 10, 12), seed=3)
    found = dict(zip(outputs, session(result.model).run(list(outputs), {"x": image}), strict=True))
    run = session(model)
    for i, j in itertools.product(range(3), range(5)):
        crop = image[:, :, STRIDE * i : STRIDE * i + SIZE[0], STRIDE * j : STRIDE * j + SIZE[1]]
        expected = run.run(list(outputs), {"x": np.ascontiguousarray(crop)})
        for name, reference in zip(outputs, expected, strict=True):
            assert found[name].shape == (*reference.shape, 3, 5)
            np.testing.assert_array_equal(found[name][..., i, j], reference)
    return result


def kinds(model: ModelProto) -> list[str]:
    """The op_types of the main graph, in order."""
    return [node.op_type for node in model.graph.node]


def sparse(array: np.ndarray, name: str, linear: bool = True) -> SparseTensorProto:
    """The array without its zeros, indexed by one number each or by coordinates."""
    indices = np.flatnonzero(array) if linear else np.argwhere(array)
    values = array[array != 0]
    return helper.make_sparse_tensor(
        numpy_helper.from_array(values, name),
        numpy_helper.from_array(indices.astype(np.int64), f"{name}_indices"),
        list(array.shape),
    )
